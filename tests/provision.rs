//! `scripts/provision`, from the outside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has to panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{STEPS, Sandbox, keys};

/// Of the programs, this test's own; the others are beside it.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");

#[test]
fn a_signal_ends_provision_and_its_step() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let sandbox = Sandbox::new();
        sandbox.set_up(BUILT);
        let outcome = sandbox.interrupt("provision", signal);
        outcome.fails(status, "bottle-ca: interrupted\n");
        assert_eq!(sandbox.left_over(), "");
    }
}

#[test]
fn provision_runs_all_steps_in_order() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let outcome = sandbox.sh("provision < plan.json");
    let steps: Vec<_> = outcome.stderr.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(steps, STEPS.map(|step| format!("bottle-{step}")));
    let receipts = outcome.is(0, &plan, &outcome.stderr);
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn provision_runs_some_steps() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    for (args, steps) in [
        ("--only git", &["git"][..]),
        ("--only=skills,ca", &["ca", "skills"]),
        ("--from git", &["git", "supervise"]),
        ("--from skills --only ca,git", &["git"]),
    ] {
        let receipts = sandbox.sh(&format!("provision -q {args} -f plan.json")).is(0, &plan, "");
        assert_eq!(keys(&receipts), steps, "{args}");
    }
    sandbox
        .sh("provision --only get < plan.json")
        .fails(2, "provision: no step `get`\nhint: the steps are ca prompt skills git supervise\n");
}

#[test]
fn provision_judges_all_options_before_the_first_step() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let help = "hint: `bottle-ca --help` shows the options\n";
    for (args, stderr) in [
        ("--foo", format!("bottle-ca: unexpected argument '--foo' found\n{help}")),
        (
            "--timeout x",
            format!("bottle-ca: invalid value 'x' for '--timeout <DURATION>': expected number at 0\n{help}"),
        ),
        ("-o receipt", "provision: -o receipt: the provisioned plan is what is printed\nhint: `provision --help` shows the options\n".to_owned()),
        ("-qx", format!("bottle-ca: unexpected argument '-x' found\n{help}")),
        ("--only=", "provision: --only: a value is required\nhint: `provision --help` shows the options\n".to_owned()),
        ("-m", "provision: -m: a value is required\nhint: `provision --help` shows the options\n".to_owned()),
    ] {
        sandbox.sh(&format!("provision {args} < plan.json")).fails(2, &stderr);
    }
    assert!(sandbox.calls().is_empty());
    assert_eq!(sandbox.sh("provision -qfplan.json").stderr, "");
}

#[test]
fn provision_says_what_did_not_run_and_how_to_go_on() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    fs::remove_file(sandbox.path("home/.claude/skills/verify/SKILL.md")).unwrap();
    fs::remove_dir(sandbox.path("home/.claude/skills/verify")).unwrap();
    let outcome = sandbox.sh("provision -q -m other --keep-plan kept.json < plan.json");
    outcome.fails(
        1,
        "bottle-skills: skill `verify`: read DIR/home/.claude/skills/verify: No such file or directory (os error 2)\n\
         hint: --host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than $HOME/.claude/skills\n\
         provision: bottle-skills failed, exit status 1; not run: git supervise\n\
         hint: bottle-skills -m other < kept.json runs it alone\n",
    );
    assert_eq!(fs::metadata(sandbox.path("kept.json")).unwrap().permissions().mode() & 0o777, 0o600);
    sandbox.write_skill("verify");
    let receipts = sandbox.sh("provision -q --from skills < kept.json").is(0, &plan, "");
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn provision_leaves_no_files_behind() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::create_dir(sandbox.path("tmp")).unwrap();
    for script in ["provision -q < plan.json", "provision -q < /dev/null", "provision --foo < plan.json"] {
        sandbox.run("sh").args(["-c", script]).env("TMPDIR", sandbox.path("tmp")).end();
        assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0, "{script}");
    }
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn provision_in_a_guest() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    let plan = sandbox.set_up(BUILT);
    let outcome = sandbox.sh("provision < plan.json");
    let receipts = outcome.is(0, &plan, &outcome.stderr);
    assert_eq!(keys(&receipts), STEPS);
    let left = sandbox.guest("find / -xdev -name '*.bottle*' 2>/dev/null; find /home/node ! -user node");
    assert_eq!(left, "");
}
