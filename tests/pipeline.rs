//! The steps together: in a pipeline, in `scripts/provision`, and when something around them goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has to panic")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use harness::{MACHINE, Outcome, Sandbox, repository};
use serde_json::{Value, json};

const STEPS: [&str; 5] = ["ca", "prompt", "skills", "git", "supervise"];
const PIPELINE: &str =
    "bottle-ca -q < plan.json | bottle-prompt -q | bottle-skills -q | bottle-git -q | bottle-supervise -q";
const NO_PLAN: &str = "no plan on stdin: did the step before fail?";

/// A sandbox with all programs on PATH and a full plan in `plan.json`.
fn set_up(sandbox: &Sandbox) -> Value {
    let built = Path::new(env!("CARGO_BIN_EXE_bottle-supervise")).parent().unwrap();
    for step in STEPS {
        let program = built.join(format!("bottle-{step}"));
        assert!(program.exists(), "{} is not built: run the tests of the whole workspace", program.display());
        symlink(program, sandbox.path(format!("bin/bottle-{step}"))).unwrap();
    }
    symlink(repository().join("scripts/provision"), sandbox.path("bin/provision")).unwrap();
    sandbox.write_skill("verify");
    let git = Command::new("git").args(["init", "-q", "project"]).current_dir(sandbox.path("")).status();
    assert!(git.unwrap().success());
    let mut plan = sandbox.plan();
    plan["spec"]["copy_cwd"] = json!(true);
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(["verify"]);
    plan["spec"]["manifest"]["agents"]["demo"]["prompt"] = json!("You are a helpful assistant.");
    plan["spec"]["manifest"]["bottles"]["dev"]["git"] = json!({
        "remotes": {"host": {"Name": "claude-bottle", "Upstream": "ssh://git@host/repo.git"}},
        "user": {"name": "Ada Lovelace", "email": "ada@example.com"},
    });
    plan["supervise_plan"] = json!({});
    sandbox.write("plan.json", plan.to_string());
    plan
}

fn sh(sandbox: &Sandbox, script: &str) -> Outcome {
    sandbox.run("sh").args(["-c", script]).end()
}

fn keys(receipts: &Value) -> Vec<&str> {
    receipts.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The command lines of processes that were started in this sandbox and are still there.
fn left_over(sandbox: &Sandbox) -> String {
    let mark = format!("SMOLVM_FAKE_LOG={}", sandbox.path("log").display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = processes.filter(|process| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    });
    ours.map(|process| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default()).collect()
}

#[test]
fn a_pipeline_provisions_and_keeps_the_plan() {
    let sandbox = Sandbox::new();
    let plan = set_up(&sandbox);
    let receipts = sh(&sandbox, PIPELINE).is(0, &plan, "");
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn a_pipeline_in_which_a_filter_fails_fails() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    fs::remove_file(sandbox.path("prompt.txt")).unwrap();
    let outcome = sh(&sandbox, PIPELINE);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (65, ""));
    let missing = "bottle-prompt: prompt_file: read DIR/prompt.txt: No such file or directory (os error 2)";
    let mut lines: Vec<_> = outcome.stderr.lines().collect();
    lines.sort_unstable();
    let later = ["git", "skills", "supervise"].map(|step| format!("bottle-{step}: {NO_PLAN}"));
    assert_eq!(lines, [&later[0], missing, &later[1], &later[2]]);
    // Two calls of bottle-ca, none of the others.
    assert_eq!(sandbox.calls().len(), 2);
}

#[test]
fn a_closed_stdout_is_a_failure() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    // The reader is gone before the step writes.
    let outcome = sh(&sandbox, "{ sleep 1; bottle-prompt < plan.json; echo $? >&2; } | true");
    assert_eq!(outcome.stderr, "bottle-prompt: write to stdout: Broken pipe (os error 32)\n1\n");
    let outcome = sh(&sandbox, "{ sleep 1; provision -q < plan.json; echo $? >&2; } | true");
    assert_eq!(outcome.stderr, "provision: write to stdout\n1\n");
}

#[test]
fn a_terminal_on_stdin_is_refused() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    if !Path::new("/usr/bin/script").exists() {
        assert!(std::env::var_os("CI").is_none(), "script(1) is not there");
        return eprintln!("skipped: script(1) is not there");
    }
    for (program, shown) in [("bottle-git", "bottle-git"), ("provision", "provision")] {
        let outcome = sandbox.run("script").args(["-qec", program, "/dev/null"]).end();
        assert_eq!(outcome.status, 2, "{outcome:?}");
        let said = format!(
            "{shown}: stdin is a terminal, not a plan\r\nhint: {shown} < plan.json, or {shown} -f plan.json\r\n"
        );
        assert_eq!(outcome.stdout, said);
    }
}

#[test]
fn a_terminal_on_stdout_gets_the_receipt_alone() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    if !Path::new("/usr/bin/script").exists() {
        assert!(std::env::var_os("CI").is_none(), "script(1) is not there");
        return eprintln!("skipped: script(1) is not there");
    }
    let outcome = sandbox.run("script").args(["-qec", "bottle-prompt -q -f plan.json", "/dev/null"]).end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("{\r\n  \"status\": \"done\",\r\n"), "{}", outcome.stdout);
}

#[test]
fn options_of_every_step() {
    let sandbox = Sandbox::new();
    let plan = set_up(&sandbox);
    let outcome = sh(&sandbox, "bottle-prompt -o receipt -f plan.json");
    let receipt: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(receipt["status"], "done");
    let calls = sandbox.calls();
    let verbose = sh(&sandbox, "bottle-prompt -v -f plan.json");
    let lines: Vec<_> = verbose.stderr.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[1].starts_with("smolvm --version  # exit status 0, "), "{}", lines[1]);
    assert!(
        lines[3].starts_with(&format!("smolvm machine exec --name {MACHINE} --user root -- chmod 600 /home/node/"))
    );
    assert!(lines[3].contains("  # exit status 0, ") && lines[3].ends_with(" ms"), "{}", lines[3]);
    // The lines can be pasted.
    sandbox.calls();
    let pasted = lines[..4].join("\n").replace("DIR", sandbox.path("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(sh(&sandbox, &pasted).status, 0);
    assert_eq!(sandbox.calls(), calls);
    sh(&sandbox, "CLAUDE_BOTTLE_TIMEOUT= CLAUDE_BOTTLE_EXEC_USER= CLAUDE_BOTTLE_SMOLVM= bottle-prompt -qf plan.json")
        .is(0, &plan, "");
    let version = sh(&sandbox, "bottle-prompt --version");
    assert_eq!(version.stdout, concat!("bottle-prompt ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let help = "hint: `bottle-git --help` shows the options\n";
    for (args, stderr) in [
        ("--foo", format!("bottle-git: unexpected argument '--foo' found\n{help}")),
        ("--onyl gate", "bottle-git: unexpected argument '--onyl' found\nhint: a similar argument exists: '--only'\n".to_owned()),
        ("-m a:b", format!("bottle-git: invalid value 'a:b' for '--machine <NAME>': a machine name has letters, digits, `_` and `-` only, and begins with a letter or a digit\n{help}")),
        ("--timeout 0s", format!("bottle-git: invalid value '0s' for '--timeout <DURATION>': a call needs some time\n{help}")),
        ("--exec-user -x", format!("bottle-git: unexpected argument '-x' found\n{help}")),
        ("-f missing.json", String::new()),
        ("--error-format json --only x", "{\"error\":{\"code\":\"USAGE\",\"message\":\"bottle-git: invalid value 'x' for '--only <PART>' [possible values: repository, gate, identity]\",\"hint\":\"`bottle-git --help` shows the options\"}}\n".to_owned()),
    ] {
        let outcome = sh(&sandbox, &format!("bottle-git {args} < plan.json"));
        if stderr.is_empty() {
            outcome.fails(1, "bottle-git: read the plan from missing.json: No such file or directory (os error 2)\n");
        } else {
            outcome.fails(2, &stderr);
        }
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn errors_as_json() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let outcome =
        sh(&sandbox, "SMOLVM_FAKE_FAIL='1 1 Error: vm not found: x' bottle-prompt --error-format json < plan.json");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    let message = "bottle-prompt: write /home/node/.claude-bottle-prompt.txt: smolvm machine cp: exit status 1: Error: vm \
                   not found: x";
    let hint = "`smolvm machine ls` shows the machines there are; -m NAME takes another than the plan's";
    assert_eq!(error, json!({"error": {"code": "SMOLVM_ERROR", "message": message, "hint": hint}}));
}

/// What the real smolvm 1.32.2 and a Debian guest say, and the way out of it.
#[test]
fn hints() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let programs = "the guest lacks a program: it needs Debian's ca-certificates, git, tar and util-linux";
    let node = "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node image";
    let root = "the command needs root in the guest: --exec-user auto asks for it from smolvm 1.14.0 on; with an older one \
                the machine's own user has to be root";
    for (status, words, hint) in [
        (127, "sh: 1: tar: not found", programs),
        (1, "runuser: failed to execute git: No such file or directory", programs),
        (255, "executable file `runuser` not found in $PATH: No such file or directory", programs),
        (
            1,
            "Error: agent operation failed: vm exec: failed to spawn command: No such file or directory (os error 2)",
            programs,
        ),
        (1, "chown: invalid user: 'node:node'", node),
        (1, "runuser: user node does not exist or the user entry does not contain all the required fields", node),
        (2, "tar: x: Cannot write: No space left on device", "the machine's disk is full"),
        (1, "chown: changing ownership of 'x': Operation not permitted", root),
    ] {
        let run = sandbox.run("bottle-prompt").args(["-f", "plan.json"]);
        let outcome = run.env("SMOLVM_FAKE_FAIL", format!("* {status} {words}")).end();
        assert_eq!(outcome.status, 1);
        assert!(
            outcome.stderr.ends_with(&format!("exit status {status}: {words}\nhint: {hint}\n")),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_smolvm_that_cannot_be_run() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let hint = "hint: install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM\n";
    let doing = "bottle-prompt: write /home/node/.claude-bottle-prompt.txt: smolvm machine cp: cannot be run:";
    sandbox.write("not-executable", "#!/bin/sh\n");
    for (smolvm, why) in [
        ("no-such-smolvm", "No such file or directory (os error 2)"),
        ("./not-executable", "Permission denied (os error 13)"),
    ] {
        let outcome = sh(&sandbox, &format!("bottle-prompt --smolvm {smolvm} < plan.json"));
        outcome.fails(69, &format!("{doing} {why}\n{hint}"));
    }
}

#[test]
fn a_smolvm_that_talks_too_much() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let program = sandbox.write("loud", "#!/bin/sh\nhead -c 104857600 /dev/zero | tr '\\0' x >&2\nexit 3\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = sh(&sandbox, "bottle-prompt --smolvm ./loud < plan.json");
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    assert!(outcome.stderr.contains("exit status 3: …xxx") && outcome.stderr.len() < 3000, "{}", outcome.stderr.len());
}

#[test]
fn a_guests_words_cannot_move_the_cursor() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let outcome =
        sh(&sandbox, "SMOLVM_FAKE_FAIL=$(printf '2 1 a\\033[2Jb\\nbottle-prompt: done') bottle-prompt < plan.json");
    let doing =
        "bottle-prompt: chown node:node /home/node/.claude-bottle-prompt.txt: smolvm machine exec: exit status 1:";
    outcome.fails(1, &format!("{doing} a\\u{{1b}}[2Jb; bottle-prompt: done\n"));
}

#[test]
fn calls_that_fail_for_no_fault_of_their_own_are_repeated() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    for (fault, calls) in [("2 137", 4), ("1 1 Error: agent operation failed: database is locked", 4)] {
        let outcome =
            sh(&sandbox, &format!("rm -f log.count; SMOLVM_FAKE_FAIL='{fault}' bottle-prompt -q < plan.json"));
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{fault}");
        assert_eq!(sandbox.calls().len(), calls, "{fault}");
    }
    let outcome =
        sh(&sandbox, "rm -f log.count; SMOLVM_FAKE_FAIL='* 1 Error: database is locked' bottle-prompt < plan.json");
    assert_eq!(outcome.status, 1);
    assert_eq!(sandbox.calls().len(), 4, "once, and three times more");
}

#[test]
fn a_deadline_ends_the_call() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let outcome = sh(&sandbox, "SMOLVM_FAKE_HANG=2 bottle-prompt --timeout 300ms < plan.json");
    outcome.fails(
        1,
        "bottle-prompt: chown node:node /home/node/.claude-bottle-prompt.txt: smolvm machine exec: not done after 300ms\n\
         hint: --timeout allows a call more than 300ms\n",
    );
    assert_eq!(left_over(&sandbox), "");
}

#[test]
fn a_smolvm_that_leaves_a_daemon_does_not_hold_us() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let program = sandbox.write("daemon", "#!/bin/sh\nsetsid sleep 20 &\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    // timeout(1) is the judge: 124 is its status.
    let outcome = sh(&sandbox, "timeout 30 bottle-prompt --smolvm ./daemon --timeout 1s < plan.json");
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
}

/// Starts `program`, waits for its first smolvm call, which hangs, and sends it `signal`.
fn interrupt(sandbox: &Sandbox, program: &str, signal: &str) -> Outcome {
    let child = sandbox.run(program).args(["-f", "plan.json"]).env("SMOLVM_FAKE_HANG", "1").start();
    for _ in 0..500 {
        if sandbox.path("log.count").exists() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    sandbox.outcome(child)
}

#[test]
fn a_signal_ends_the_call_and_removes_what_was_staged() {
    for (step, signal, status) in [
        ("bottle-skills", "INT", 130),
        ("bottle-git", "TERM", 143),
        ("bottle-supervise", "INT", 130),
        ("bottle-ca", "HUP", 129),
    ] {
        let sandbox = Sandbox::new();
        set_up(&sandbox);
        let outcome = interrupt(&sandbox, step, signal);
        outcome.fails(status, &format!("{step}: interrupted\n"));
        assert_eq!(sandbox.staged(), [""; 0]);
        assert_eq!(left_over(&sandbox), "");
    }
}

#[test]
fn a_signal_ends_provision_and_its_step() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let sandbox = Sandbox::new();
        set_up(&sandbox);
        let outcome = interrupt(&sandbox, "provision", signal);
        outcome.fails(status, "bottle-ca: interrupted\n");
        assert_eq!(left_over(&sandbox), "");
    }
}

#[test]
fn provision_runs_all_steps_in_order() {
    let sandbox = Sandbox::new();
    let plan = set_up(&sandbox);
    let outcome = sh(&sandbox, "provision < plan.json");
    let steps: Vec<_> = outcome.stderr.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(steps, STEPS.map(|step| format!("bottle-{step}")));
    let receipts = outcome.is(0, &plan, &outcome.stderr);
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn provision_runs_some_steps() {
    let sandbox = Sandbox::new();
    let plan = set_up(&sandbox);
    for (args, steps) in [
        ("--only git", &["git"][..]),
        ("--only=skills,ca", &["ca", "skills"]),
        ("--from git", &["git", "supervise"]),
        ("--from skills --only ca,git", &["git"]),
    ] {
        let receipts = sh(&sandbox, &format!("provision -q {args} -f plan.json")).is(0, &plan, "");
        assert_eq!(keys(&receipts), steps, "{args}");
    }
    sh(&sandbox, "provision --only get < plan.json")
        .fails(2, "provision: no step `get`\nhint: the steps are ca prompt skills git supervise\n");
}

#[test]
fn provision_judges_all_options_before_the_first_step() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    let help = "hint: `bottle-ca --help` shows the options\n";
    for (args, stderr) in [
        ("--foo", format!("bottle-ca: unexpected argument '--foo' found\n{help}")),
        (
            "--timeout x",
            format!("bottle-ca: invalid value 'x' for '--timeout <DURATION>': expected number at 0\n{help}"),
        ),
        ("-o receipt", "provision: -o receipt: the provisioned plan is what is printed\nhint: `provision --help` shows the options\n".to_owned()),
        ("-qfplan.json", format!("bottle-ca: the argument '--file <FILE>' cannot be used multiple times\n{help}")),
        ("--only=", "provision: --only: a value is required\nhint: `provision --help` shows the options\n".to_owned()),
        ("-m", "provision: -m: a value is required\nhint: `provision --help` shows the options\n".to_owned()),
    ] {
        sh(&sandbox, &format!("provision {args} < plan.json")).fails(2, &stderr);
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn provision_says_what_did_not_run_and_how_to_go_on() {
    let sandbox = Sandbox::new();
    let plan = set_up(&sandbox);
    fs::remove_file(sandbox.path("home/.claude/skills/verify/SKILL.md")).unwrap();
    fs::remove_dir(sandbox.path("home/.claude/skills/verify")).unwrap();
    let outcome = sh(&sandbox, "provision -q -m other --keep-plan kept.json < plan.json");
    outcome.fails(
        1,
        "bottle-skills: skill `verify`: read DIR/home/.claude/skills/verify: No such file or directory (os error 2)\n\
         hint: --host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than $HOME/.claude/skills\n\
         provision: bottle-skills failed, exit status 1; not run: git supervise\n\
         hint: bottle-skills -m other < kept.json runs it alone\n",
    );
    assert_eq!(fs::metadata(sandbox.path("kept.json")).unwrap().permissions().mode() & 0o777, 0o600);
    sandbox.write_skill("verify");
    let receipts = sh(&sandbox, "provision -q --from skills < kept.json").is(0, &plan, "");
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn provision_leaves_no_files_behind() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
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
    let plan = set_up(&sandbox);
    let outcome = sh(&sandbox, "provision < plan.json");
    let receipts = outcome.is(0, &plan, &outcome.stderr);
    assert_eq!(keys(&receipts), STEPS);
    let left = sandbox.guest("find / -xdev -name '*.bottle*' 2>/dev/null; find /home/node ! -user node");
    assert_eq!(left, "");
}

/// The plan's place on disk is no other user's business.
#[test]
fn staged_files_are_private() {
    let sandbox = Sandbox::new();
    set_up(&sandbox);
    fs::remove_dir(sandbox.path("stage")).unwrap();
    let outcome = sh(
        &sandbox,
        "SMOLVM_FAKE_HANG=2 bottle-skills --timeout 2s < plan.json & sleep 1; stat -c %a stage stage/*; wait",
    );
    assert_eq!(outcome.stdout, "700\n600\n");
}
