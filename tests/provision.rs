//! `scripts/provision`, from the outside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has to panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{STEPS, Sandbox, keys};
use serde_json::Value;

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

#[test]
fn side_by_side_is_as_one_after_another() {
    let Some(sandbox) = Sandbox::with_guest() else { return };
    let plan = sandbox.set_up(BUILT);
    sandbox.add_claude();
    let outcome = sandbox.sh("provision < plan.json");
    let (receipts, tree) = (outcome.is(0, &plan, &outcome.stderr), sandbox.tree());
    let kept = "bottle-git: warning: /home/node/workspace/.git was there already and is kept; --replace-repository replaces it";
    let copied = outcome.stderr.lines().find(|line| line.starts_with("bottle-git")).unwrap();
    let again = copied.replace("DIR/project/.git in /home/node/workspace/.git", "/home/node/workspace/.git as it was");
    let stderr = outcome.stderr.replace(copied, &format!("{kept}\n{again}"));
    for jobs in ["-j", "--jobs", "-j2", "-j 3", "--jobs=4", "--jobs 1"] {
        let beside = sandbox.sh(&format!("provision {jobs} --keep-plan kept.json < plan.json"));
        let others = beside.is(0, &plan, &stderr);
        assert_eq!(keys(&others), keys(&receipts), "{jobs}");
        for step in ["ca", "prompt", "skills", "supervise"] {
            let without_time = |receipts: &Value| {
                let mut receipt = receipts[step].clone();
                receipt["ms"] = Value::Null;
                receipt["calls"] = Value::Null;
                receipt
            };
            assert_eq!(without_time(&others), without_time(&receipts), "{jobs} {step}");
        }
        assert_eq!(fs::read_to_string(sandbox.path("kept.json")).unwrap(), beside.stdout);
        assert_eq!(sandbox.tree(), tree, "{jobs}");
        assert_eq!(sandbox.sh(&format!("provision {jobs} --check -q < plan.json")).status, 0);
    }
    sandbox.guest("chmod 644 /home/node/.claude-bottle-prompt.txt");
    let outcome = sandbox.sh("provision -jq --check < plan.json");
    let differs = "bottle-prompt: /home/node/.claude-bottle-prompt.txt: mode: `600` in the plan, `644` in the guest\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (3, differs));
}

#[test]
fn side_by_side_the_first_failure_counts_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::remove_file(sandbox.path("prompt.txt")).unwrap();
    let outcome = sandbox.sh("TMPDIR=$PWD/stage provision -jq < plan.json");
    outcome.fails(
        1,
        "bottle-prompt: prompt_file: read DIR/prompt.txt: No such file or directory (os error 2)\n\
         provision: bottle-prompt failed, exit status 1; run without a receipt: skills git supervise\n\
         hint: bottle-prompt < PLAN runs it alone\n",
    );
    assert_eq!(sandbox.staged(), [""; 0]);
    for jobs in ["--jobs=0", "--jobs=x", "--jobs=2x"] {
        assert_eq!(sandbox.sh(&format!("provision {jobs} < plan.json")).status, 2, "{jobs}");
    }
    sandbox.write("prompt.txt", "");
    let outcome = sandbox.sh("TMPDIR=$PWD/stage STAND_IN_HANG=1 timeout -s INT 2 provision -j < plan.json");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (124, ""), "{outcome:?}");
    assert_eq!((sandbox.left_over(), sandbox.staged()), (String::new(), Vec::new()));
}
