//! What of the host's files may not go into the guest, however they lie there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use harness::{Outcome, Sandbox};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-skills");
const SECRET: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

fn with_skill(sandbox: &Sandbox, name: &str) -> Value {
    let mut plan = sandbox.plan();
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!([name]);
    plan
}

/// Runs a shell command in the directory of the host's skills.
fn make(sandbox: &Sandbox, script: &str) {
    let script = format!("cd home/.claude/skills && {script}");
    let outcome = sandbox.run("sh").args(["-c", &script]).end();
    assert_eq!(outcome.status, 0, "{script}: {}", outcome.stderr);
}

fn run(sandbox: &Sandbox, name: &str) -> Outcome {
    let plan = with_skill(sandbox, name);
    sandbox.run("timeout").args(["20", STEP]).plan(&plan).end()
}

fn done(name: &str) -> String {
    format!("bottle-skills: {name} in /home/node/.claude/skills (_s)\n")
}

/// Puts a key into `~/.ssh`.
fn with_key(sandbox: &Sandbox) {
    sandbox.write("home/.ssh/id_ed25519", SECRET);
}

#[test]
fn a_name_that_leads_to_no_skill_is_refused() {
    let sandbox = Sandbox::new();
    with_key(&sandbox);
    for (target, leads_to) in [
        ("../../.ssh", "DIR/home/.ssh"),
        ("../..", "DIR/home"),
        (".", "DIR/home/.claude/skills"),
        ("other", "DIR/home/.claude/skills/other"),
        ("/etc", "/etc"),
    ] {
        make(
            &sandbox,
            &format!("rm -rf pdf; mkdir -p other; ln -s {target} pdf"),
        );
        let why = format!(
            "bottle-skills: skill `pdf`: DIR/home/.claude/skills/pdf leads to {leads_to}, which has \
             no file SKILL.md\n\
             hint: a link has to lead to a skill: remove it, or put a skill in its place\n"
        );
        run(&sandbox, "pdf").fails(1, &why);
    }
    assert!(sandbox.calls().is_empty());
}

/// A SKILL.md that is a link does not make a directory a skill.
#[test]
fn a_name_that_leads_to_a_skill_md_that_is_a_link_is_refused() {
    let sandbox = Sandbox::new();
    make(
        &sandbox,
        "echo --- > ../../file; mkdir ../../.ssh; ln -s ../file ../../.ssh/SKILL.md; ln -s ../../.ssh pdf",
    );
    let outcome = run(&sandbox, "pdf");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    assert!(sandbox.calls().is_empty());
}

#[test]
fn a_link_to_a_skill_elsewhere_is_warned_about_unless_an_installer_made_it() {
    let sandbox = Sandbox::new();
    let skill = "---\nname: pdf\n---\n";
    for (place, target, is_said) in [
        ("home/.agents/skills/pdf", "../../.agents/skills/pdf", false),
        (
            "home/.claude/skills/collection/pdf",
            "collection/pdf",
            false,
        ),
        ("checkout/pdf", "../../../checkout/pdf", true),
    ] {
        sandbox.write(format!("{place}/SKILL.md"), skill);
        make(&sandbox, &format!("rm -f pdf; ln -s {target} pdf"));
        let warning = format!(
            "bottle-skills: warning: skill `pdf`: DIR/home/.claude/skills/pdf leads to DIR/{place}\n"
        );
        let warning = if is_said { &*warning } else { "" };
        let plan = with_skill(&sandbox, "pdf");
        run(&sandbox, "pdf").is(0, &plan, &format!("{warning}{}", done("pdf")));
    }
}

/// Both are often links into a directory of dotfiles.
#[test]
fn the_skills_directory_and_the_agents_own_may_be_links() {
    let sandbox = Sandbox::new();
    sandbox.write("dotfiles/agents/skills/pdf/SKILL.md", "---\n---\n");
    make(
        &sandbox,
        "cd ../..; rmdir .claude/skills; mkdir ../dotfiles/skills; \
         ln -s ../../dotfiles/skills .claude/skills; ln -s ../dotfiles/agents .agents; \
         ln -s ../agents/skills/pdf ../dotfiles/skills/pdf",
    );
    let plan = with_skill(&sandbox, "pdf");
    run(&sandbox, "pdf").is(0, &plan, &done("pdf"));
}

#[test]
fn a_skill_md_that_leads_out_is_not_read() {
    let sandbox = Sandbox::with_guest();
    with_key(&sandbox);
    make(
        &sandbox,
        "mkdir pdf; ln -s ../../../.ssh/id_ed25519 pdf/SKILL.md",
    );
    let plan = with_skill(&sandbox, "pdf");
    let warning = "bottle-skills: warning: skill `pdf`:";
    let path = "DIR/home/.claude/skills/pdf";
    let stderr = format!(
        "{warning} read {path}/SKILL.md: a link that leads out of the skill\n\
         {warning} {path}/SKILL.md leads out of {path}: copied as a link\n{}",
        done("pdf")
    );
    run(&sandbox, "pdf").is(0, &plan, &stderr);
    let found = sandbox.guest("grep -r OPENSSH /home/node /var 2>/dev/null | wc -l");
    assert_eq!(found, "0\n");
}

#[test]
fn a_skill_md_that_leads_to_another_file_of_the_skill_is_read() {
    let sandbox = Sandbox::new();
    sandbox.write("home/.claude/skills/pdf/docs/skill", "---\n---\n");
    make(&sandbox, "ln -s docs/skill pdf/SKILL.md");
    let plan = with_skill(&sandbox, "pdf");
    run(&sandbox, "pdf").is(0, &plan, &done("pdf"));
}

#[test]
fn fifos_and_sockets_are_left_out_without_waiting() {
    let sandbox = Sandbox::with_guest();
    sandbox.write_skill("pdf");
    make(&sandbox, "mkfifo pdf/fifo; mkdir pdf/d; mkfifo pdf/d/fifo");
    let plan = with_skill(&sandbox, "pdf");
    let warning = "bottle-skills: warning: skill `pdf`: DIR/home/.claude/skills/pdf";
    let why = "is neither file, directory nor link: left out\n";
    let stderr = format!("{warning}/d/fifo {why}{warning}/fifo {why}{}", done("pdf"));
    run(&sandbox, "pdf").is(0, &plan, &stderr);
    let check = sandbox.run("timeout").args(["20", STEP, "--check"]);
    assert_eq!(check.plan(&plan).end().status, 0);
}

#[test]
fn an_endless_tree_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("pdf");
    make(
        &sandbox,
        "cd pdf; i=0; while [ $i -lt 300 ]; do mkdir d; cd -P d; i=$((i + 1)); done",
    );
    let outcome = run(&sandbox, "pdf");
    let path = format!("DIR/home/.claude/skills/pdf{}", "/d".repeat(128));
    let why = "more than 128 directories are inside each other";
    outcome.fails(
        1,
        &format!("bottle-skills: skill `pdf`: read {path}: {why}\n"),
    );
    assert!(sandbox.calls().is_empty());
}

/// Gives a directory that belongs to another user, and the user's number.
fn of_another_user(sandbox: &Sandbox) -> (String, u32) {
    let path = sandbox.path("anothers");
    fs::create_dir(&path).unwrap();
    if chown(&path, Some(12345), Some(12345)).is_ok() {
        return (path.to_str().unwrap().to_owned(), 12345);
    }
    ("/usr".to_owned(), 0)
}

fn fails_with_stage_dir(sandbox: &Sandbox, stage_dir: &str, stderr: &str) {
    let mut plan = with_skill(sandbox, "pdf");
    plan["stage_dir"] = json!(stage_dir);
    let outcome = sandbox.run(STEP).plan(&plan).end();
    outcome.fails(1, stderr);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn a_stage_dir_in_which_others_can_write_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("pdf");
    let us = fs::metadata(sandbox.path("home")).unwrap().uid();
    let (anothers, owner) = of_another_user(&sandbox);
    let shown = anothers.replace(sandbox.path("").to_str().unwrap(), "DIR/");
    let another =
        "hint: stage_dir in the plan names another directory, which is made when missing\n";
    fails_with_stage_dir(
        &sandbox,
        &anothers,
        &format!(
            "bottle-skills: stage_dir {shown} belongs to user {owner}, and this runs as user {us}\n\
             {another}"
        ),
    );

    let stage = sandbox.path("stage");
    let set_mode =
        |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o777, 0o1777, 0o770, 0o720, 0o702] {
        set_mode(&stage, mode);
        let why = format!("has mode {mode:04o}: others can exchange what goes into the guest");
        let hint = "hint: chmod go-w DIR/stage\n";
        let stderr = format!("bottle-skills: stage_dir DIR/stage {why}\n{hint}");
        fails_with_stage_dir(&sandbox, stage.to_str().unwrap(), &stderr);
    }
    set_mode(&stage, 0o755);

    symlink("stage", sandbox.path("link")).unwrap();
    for name in ["link", "link/"] {
        let hint = "hint: stage_dir in the plan names the directory itself\n";
        let stderr = format!("bottle-skills: stage_dir DIR/link is a link\n{hint}");
        fails_with_stage_dir(&sandbox, sandbox.path(name).to_str().unwrap(), &stderr);
    }

    let open = sandbox.path("open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o777);
    let why = "can be replaced by anyone who writes in DIR/open";
    fails_with_stage_dir(
        &sandbox,
        open.join("stage").to_str().unwrap(),
        &format!("bottle-skills: stage_dir DIR/open/stage {why}\n{another}"),
    );

    // The mode of /tmp.
    set_mode(&open, 0o1777);
    let mut plan = with_skill(&sandbox, "pdf");
    plan["stage_dir"] = json!(open.join("state/stage"));
    let outcome = sandbox.run(STEP).plan(&plan).end();
    outcome.is(0, &plan, &done("pdf"));
    for name in ["state", "state/stage"] {
        let mode = fs::metadata(open.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
}

/// Files of killed runs are removed only from a directory of our own.
#[test]
fn nothing_is_removed_from_a_stage_dir_that_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("pdf");
    sandbox.write("stage/bottle-abc", "");
    let stage = sandbox.path("stage");
    fs::set_permissions(&stage, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(&sandbox, "pdf").status, 1);
    assert_eq!(sandbox.staged(), ["bottle-abc"]);
}
