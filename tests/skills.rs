//! `bottle-skills`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::{ffi::OsString, fs};

use harness::{Sandbox, converges, cp_for_root, exec, exec_as, tar_of, tool};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-skills");
const HINT: &str = "hint: --host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than \
                    $HOME/.claude/skills\n";

fn with_skills(sandbox: &Sandbox, names: &[&str]) -> Value {
    let mut plan = sandbox.plan();
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(names);
    plan
}

fn tar(name: &str) -> String {
    tar_of(&format!("/home/node/.claude/skills/{name}"))
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn done(names: &str) -> String {
    format!("bottle-skills: {names} in /home/node/.claude/skills (_s)\n")
}

#[test]
fn no_op_when_agent_has_no_skills() {
    let sandbox = Sandbox::new();
    let plan = with_skills(&sandbox, &[]);
    let stderr = "bottle-skills: nothing to do: the agent has no skills\n";
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);
    assert_eq!(receipts["skills"]["status"], "nothing to do");
    assert!(
        !sandbox.path("log").exists(),
        "not even smolvm's version is asked for"
    );
}

#[test]
fn mkdir_plus_cp_per_skill() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("init-prd");
    sandbox.write_skill("verify");
    let plan = with_skills(&sandbox, &["init-prd", "verify"]);
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &done("init-prd, verify"));

    let calls = sandbox.calls();
    assert_eq!(calls.len(), 9);
    assert_eq!(
        calls[0],
        exec_as("node", &["mkdir", "-p", "/home/node/.claude/skills"])
    );
    for (calls, name) in calls[1..].chunks(4).zip(["init-prd", "verify"]) {
        let path = format!("/home/node/.claude/skills/{name}");
        assert_eq!(calls[0], exec_as("node", &["rm", "-rf", &path]));
        let tar = tar(name);
        assert_eq!(calls[1], cp_for_root(Path::new(&calls[1][8]), &tar));
        assert!(
            calls[1][8].starts_with(sandbox.path("stage").to_str().unwrap()),
            "{}",
            calls[1][8]
        );
        assert_eq!(
            calls[2],
            exec(&[&["sh", "-c"], &words(&calls[2][9..])[..]].concat())
        );
        assert_eq!(calls[2][7..9], ["sh", "-c"]);
        assert_eq!(calls[2][10..13], ["sh", "/home/node/.claude/skills", name]);
        assert_eq!(calls[2][14], tar);
        let chown = ["chown", "-R", "node:node", &path];
        assert_eq!(calls[3], exec_as("node", &chown));
    }
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn skills_dir_overridable_via_env() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "elsewhere/init-prd/SKILL.md",
        "---\nname: init-prd\ndescription: Writes one\n---\n",
    );
    let plan = with_skills(&sandbox, &["init-prd"]);
    let run = sandbox
        .run(STEP)
        .plan(&plan)
        .env("CLAUDE_BOTTLE_GUEST_SKILLS_DIR", "/srv/skills");
    let outcome = run
        .env("CLAUDE_BOTTLE_HOST_SKILLS_DIR", sandbox.path("elsewhere"))
        .end();
    outcome.is(0, &plan, "bottle-skills: init-prd in /srv/skills (_s)\n");
    let calls = sandbox.calls();
    assert_eq!(calls[0], exec(&["mkdir", "-p", "/srv/skills"]));
    assert_eq!(calls[1], exec(&["rm", "-rf", "/srv/skills/init-prd"]));
    assert_eq!(
        calls[4],
        exec_as(
            "node",
            &["chown", "-R", "node:node", "/srv/skills/init-prd"]
        )
    );
}

#[test]
fn missing_skill_dies() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("init-prd");
    sandbox.write("home/.claude/skills/a-file", "");
    for (name, why) in [
        (
            "missing",
            "read DIR/home/.claude/skills/missing: No such file or directory (os error 2)",
        ),
        (
            "a-file",
            "DIR/home/.claude/skills/a-file is not a directory",
        ),
    ] {
        let plan = with_skills(&sandbox, &["init-prd", name]);
        let stderr = format!("bottle-skills: skill `{name}`: {why}\n{HINT}");
        sandbox.run(STEP).plan(&plan).end().fails(1, &stderr);
    }
    assert!(sandbox.calls().is_empty());
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn skills_arrive_as_they_are() {
    let sandbox = Sandbox::with_guest();
    let skill = sandbox.path("home/.claude/skills/odd");
    sandbox.write_skill("odd");
    for name in [
        OsString::from("with space"),
        OsString::from("new\nline"),
        OsString::from_vec(b"not-utf8-\xff".to_vec()),
    ] {
        fs::write(skill.join(name), "x").unwrap();
    }
    let script = sandbox.write("home/.claude/skills/odd/bin/run.sh", "#!/bin/sh\n");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write(
        format!("home/.claude/skills/odd/{}/deep", "long".repeat(50)),
        "deep",
    );
    symlink("SKILL.md", skill.join("inside")).unwrap();
    symlink("nowhere", skill.join("dangling")).unwrap();
    symlink("circle", skill.join("circle")).unwrap();
    symlink("../../../../prompt.txt", skill.join("outside")).unwrap();
    symlink("/etc/passwd", skill.join("bin/absolute")).unwrap();
    let _socket = UnixListener::bind(skill.join("socket")).unwrap();

    let plan = with_skills(&sandbox, &["odd"]);
    let in_skill = "bottle-skills: warning: skill `odd`: DIR/home/.claude/skills/odd";
    let leads_out = "leads out of DIR/home/.claude/skills/odd: copied as a link";
    let stderr = format!(
        "{in_skill}/bin/absolute {leads_out}\n{in_skill}/outside {leads_out}\n\
         {in_skill}/socket is neither file, directory nor link: left out\n{}",
        done("odd")
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);

    fs::remove_file(skill.join("socket")).unwrap();
    let list = "{ find . -printf '%P %y %m %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum; } | od -c";
    let here = tool("sh")
        .args(["-c", list])
        .current_dir(&skill)
        .output()
        .unwrap();
    let there = sandbox.guest(&format!("cd /home/node/.claude/skills/odd && {list}"));
    assert_eq!(there, String::from_utf8_lossy(&here.stdout));
    let owners =
        "cd /home/node && find .claude ! -user node -o ! -group node; ls -A .claude/skills";
    assert_eq!(sandbox.guest(owners), "odd\n");
}

#[test]
fn a_link_to_a_skill_is_followed_and_the_agents_own_skill_stays() {
    let sandbox = Sandbox::with_guest();
    sandbox.write(
        "checkout/verify/SKILL.md",
        "---\nname: verify\ndescription: checked out\n---\n",
    );
    symlink(
        sandbox.path("checkout/verify"),
        sandbox.path("home/.claude/skills/verify"),
    )
    .unwrap();
    let leads = "bottle-skills: warning: skill `verify`: DIR/home/.claude/skills/verify leads to \
                 DIR/checkout/verify\n";
    sandbox.guest(
        "mkdir -p /home/node/.claude/skills/own && touch /home/node/.claude/skills/own/SKILL.md",
    );
    let plan = with_skills(&sandbox, &["verify"]);
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &format!("{leads}{}", done("verify")));
    let seen = "cd /home/node/.claude/skills; grep -o 'checked out' verify/SKILL.md; ls";
    assert_eq!(sandbox.guest(seen), "checked out\nown\nverify\n");
}

#[test]
fn a_skill_that_agents_do_not_find_is_warned_about_and_copied() {
    let sandbox = Sandbox::with_guest();
    let write = |name: &str, text: &str| {
        sandbox.write(format!("home/.claude/skills/{name}/SKILL.md"), text)
    };
    write("fine", "---\nname: fine\n---\n# Fine\n");
    write("plain", "# Plain\n");
    write("cloned", "---\nname: cloned\n---\n");
    sandbox.write("home/.claude/skills/cloned/.git/config", "");
    sandbox.write("home/.claude/skills/empty/notes", "");
    let plan = with_skills(&sandbox, &["fine", "plain", "empty", "cloned"]);
    let warning = "bottle-skills: warning: skill";
    let stderr = format!(
        "{warning} `plain`: SKILL.md has no front matter between two lines of `---`, so agents \
         cannot find the skill\n\
         {warning} `empty`: there is no SKILL.md, so agents cannot find the skill\n\
         {warning} `cloned`: .git is copied, too; its configuration may hold a token\n{}",
        done("fine, plain, empty, cloned")
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &stderr);
    assert_eq!(sandbox.guest("ls /home/node/.claude/skills | wc -l"), "4\n");
}

#[test]
fn files_that_a_skill_lost_are_removed() {
    let sandbox = Sandbox::with_guest();
    sandbox.write_skill("verify");
    let old = sandbox.write("home/.claude/skills/verify/old", "");
    let plan = with_skills(&sandbox, &["verify"]);
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &done("verify"));
    fs::remove_file(old).unwrap();
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &done("verify"));
    assert_eq!(
        sandbox.guest("ls -A /home/node/.claude/skills/verify"),
        "SKILL.md\n"
    );
}

#[test]
fn the_same_skill_is_the_same_archive() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("verify");
    let plan = with_skills(&sandbox, &["verify"]);
    let [first, second] = [(); 2].map(|()| {
        sandbox
            .run(STEP)
            .plan(&plan)
            .end()
            .is(0, &plan, &done("verify"))
    });
    assert_eq!(first["skills"]["skills"], second["skills"]["skills"]);
    sandbox.write("home/.claude/skills/verify/more", "");
    let third = sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &done("verify"));
    assert_ne!(first["skills"]["skills"], third["skills"]["skills"]);
}

#[test]
fn converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        let file = sandbox.write_skill("verify");
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
        with_skills(sandbox, &["verify"])
    });
}

#[test]
fn a_stage_dir_that_cannot_be_written_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    sandbox.write_skill("verify");
    let mut plan = with_skills(&sandbox, &["verify"]);
    plan["stage_dir"] = json!(sandbox.path("prompt.txt/stage"));
    let stderr =
        "bottle-skills: make stage_dir DIR/prompt.txt/stage: Not a directory (os error 20)\n";
    sandbox.run(STEP).plan(&plan).end().fails(1, stderr);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn many_skills_are_copied_side_by_side_each_in_order() {
    let sandbox = Sandbox::with_guest();
    let names: Vec<_> = (0..6).map(|number| format!("skill-{number}")).collect();
    for name in &names {
        sandbox.write_skill(name);
    }
    let plan = with_skills(
        &sandbox,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let outcome = sandbox
        .run(STEP)
        .args(["--exec-user", "none"])
        .plan(&plan)
        .end();
    let receipts = outcome.is(0, &plan, &done(&names.join(", ")));
    assert_eq!(receipts["skills"]["calls"], 1 + 4 * 6);
    let listed: Vec<_> = receipts["skills"]["skills"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skill| &skill["name"])
        .collect();
    assert_eq!(
        listed,
        names
            .iter()
            .map(|name| json!(name))
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    let calls = sandbox.calls();
    assert_eq!(
        (calls.len(), calls[0].last().unwrap().as_str()),
        (25, "/home/node/.claude/skills")
    );
    for name in &names {
        let is_its = |call: &&Vec<String>| {
            call.iter().any(|word| {
                word.ends_with(&format!("/{name}")) || word == name || word.ends_with(&tar(name))
            })
        };
        let order: Vec<_> = calls
            .iter()
            .filter(is_its)
            .map(|call| call.get(5).cloned().unwrap_or_default())
            .collect();
        assert_eq!(order.len(), 4, "{order:?}");
        assert_eq!(
            (order[0].as_str(), order[2].as_str(), order[3].as_str()),
            ("rm", "sh", "chown")
        );
    }
    assert_eq!(
        sandbox
            .run(STEP)
            .args(["--check", "-q"])
            .plan(&plan)
            .end()
            .status,
        0
    );

    // A failure ends the step and undoes the group, and the next run completes everything.
    sandbox.calls();
    let outcome = sandbox
        .run(STEP)
        .args(["-q"])
        .plan(&plan)
        .env("STAND_IN_FAIL", "2 1 Error: no")
        .end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let calls = sandbox.calls();
    let is_begun = |name: &&String| {
        let target = format!("/home/node/.claude/skills/{name}");
        calls.iter().any(|call| call.contains(&target))
    };
    let begun = names.iter().filter(is_begun).count();
    assert!(begun <= 4, "no further skill is begun: {calls:?}");
    assert_eq!(
        sandbox.guest("ls -A /home/node/.claude/skills | grep -v ^skill || :"),
        ""
    );
    assert_eq!(sandbox.run(STEP).args(["-q"]).plan(&plan).end().status, 0);
    assert_eq!(
        sandbox
            .run(STEP)
            .args(["--check", "-q"])
            .plan(&plan)
            .end()
            .status,
        0
    );
}

#[test]
fn a_skill_md_that_is_not_a_file_is_a_warning() {
    let sandbox = Sandbox::new();
    for (name, make) in [
        ("pipe", "mkfifo SKILL.md"),
        ("directory", "mkdir SKILL.md"),
        ("dangling", "ln -s no SKILL.md"),
    ] {
        let made = sandbox.run("sh").args([
            "-c",
            &format!("mkdir -p home/.claude/skills/{name}; cd home/.claude/skills/{name}; {make}"),
        ]);
        assert_eq!(made.end().status, 0);
        let plan = with_skills(&sandbox, &[name]);
        let outcome = sandbox.run("timeout").args(["10", STEP]).plan(&plan).end();
        assert_eq!(outcome.status, 0, "{outcome:?}");
        let warning = format!(
            "bottle-skills: warning: skill `{name}`: read DIR/home/.claude/skills/{name}/SKILL.md: "
        );
        assert!(outcome.stderr.starts_with(&warning), "{}", outcome.stderr);
    }
}

#[test]
fn skills_become_nodes_but_not_the_targets_of_their_links() {
    let sandbox = Sandbox::with_guest();
    let plan = with_skills(&sandbox, &["own"]);
    sandbox.write_skill("own");
    let skill = sandbox.path("home/.claude/skills/own");
    symlink("/root/secret", skill.join("link")).unwrap();
    sandbox.guest("touch /root/secret");
    // root moves the tar; node unpacks it, and moves the directory into place at the end.
    let own = tar_of("/home/node/.claude/skills/own")
        .replace("/var/lib/bottle/", ".bottle-")
        .replace(".tar", "");
    for name in ["tar", "mv"] {
        let script = format!(
            "#!/bin/sh\necho \"{name} by $(id -un): $(ls -A | sed 's/\\.[^.]*$//')\" >>/tmp/seen\nexec /bin/{name} \"$@\"\n"
        );
        let program = sandbox.write(format!("guest-bin/{name}"), script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    sandbox.guest("install -m 666 /dev/null /tmp/seen");
    assert_eq!(sandbox.run(STEP).plan(&plan).end().status, 0);
    let seen = "cat /tmp/seen; stat -c %U:%G /root/secret; cd /home/node && find .claude -printf '%u:%g %P\\n' | sort";
    assert_eq!(
        sandbox.guest(seen),
        format!(
            "mv by root: \ntar by node: {own}\nmv by node: {own}\n\
         root:root\nnode:node \nnode:node skills\nnode:node skills/own\n\
         node:node skills/own/SKILL.md\nnode:node skills/own/link\n"
        )
    );
}
