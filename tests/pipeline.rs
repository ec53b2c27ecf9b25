//! The steps in a pipeline, and what all of them do when something around them goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{MACHINE, STEPS, Sandbox, keys, send, wait_for};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const PIPELINE: &str = "bottle-ca -q < plan.json | bottle-prompt -q | bottle-skills -q | bottle-git -q | bottle-supervise -q";
const NO_PLAN: &str = "no plan on stdin: did the step before fail?";

#[test]
fn a_pipeline_provisions_and_keeps_the_plan() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let receipts = sandbox.sh(PIPELINE).is(0, &plan, "");
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn a_pipeline_in_which_a_filter_fails_fails() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::remove_file(sandbox.path("prompt.txt")).unwrap();
    let outcome = sandbox.sh(PIPELINE);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (65, ""));
    let missing =
        "bottle-prompt: prompt_file: read DIR/prompt.txt: No such file or directory (os error 2)";
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
    sandbox.set_up(BUILT);
    for (program, stderr) in [
        (
            "bottle-prompt",
            "bottle-prompt: write to stdout: Broken pipe (os error 32)\n",
        ),
        ("provision", "provision: write to stdout\n"),
    ] {
        let run = sandbox.run(program).args(["-q", "-f", "plan.json"]);
        run.without_reader().end().fails(1, stderr);
    }
}

#[test]
fn a_terminal_on_stdin_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for (program, shown) in [("bottle-git", "bottle-git"), ("provision", "provision")] {
        let outcome = sandbox
            .run("script")
            .args(["-qec", program, "/dev/null"])
            .end();
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
    sandbox.set_up(BUILT);
    let outcome = sandbox
        .run("script")
        .args(["-qec", "bottle-prompt -q -f plan.json", "/dev/null"])
        .end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(
        outcome
            .stdout
            .starts_with("{\r\n  \"status\": \"done\",\r\n"),
        "{}",
        outcome.stdout
    );
}

/// A smolvm whose commands in the guest do not end until the file `enough` exists.
const SLOW_EXEC: &str = r#"#!/bin/sh
while [ "$2" = exec ] && [ ! -e enough ]; do sleep 0.05; done
exec smolvm "$@"
"#;

#[test]
fn a_terminal_on_stderr_sees_for_how_long_a_call_has_been_going_on() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let slow = sandbox.write("slow", SLOW_EXEC);
    fs::set_permissions(slow, fs::Permissions::from_mode(0o755)).unwrap();
    for (options, line) in [("", "chown"), ("--check", "look into the guest")] {
        let command = format!("bottle-prompt {options} --smolvm ./slow -f plan.json >printed");
        let child = sandbox
            .run("script")
            .args(["-qefc", &command, "typescript"])
            .start();
        let seen = || fs::read_to_string(sandbox.path("typescript")).unwrap_or_default();
        let shown = |seen: &str| {
            seen.split('\r')
                .any(|part| part.starts_with(line) && part.ends_with("s\x1b[K"))
        };
        wait_for("the time", || shown(&seen()));
        sandbox.write("enough", "");
        let outcome = sandbox.outcome(child);
        assert!(
            outcome.stdout.contains("\r\x1b[Kbottle-prompt: "),
            "{outcome:?}"
        );
        fs::remove_file(sandbox.path("enough")).unwrap();
    }
}

/// A smolvm whose copies print progress until the file `enough` exists. The size of the file `said`
/// is the number of lines so far.
const SLOW: &str = r#"#!/bin/sh
while [ "$2" = cp ] && [ ! -e enough ]; do
    printf '\rUploading a -> b: 1 B / 2 B (50.0%%, 1 B/s)' >&2
    printf x >>said
    sleep 0.05
done
exec smolvm "$@"
"#;

#[test]
fn a_terminal_on_stderr_gets_the_progress_of_a_long_copy() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let slow = sandbox.write("slow", SLOW);
    fs::set_permissions(slow, fs::Permissions::from_mode(0o755)).unwrap();
    let command = "bottle-prompt --smolvm ./slow -f plan.json > provisioned.json";
    let child = sandbox
        .run("script")
        .args(["-qefc", command, "typescript"])
        .start();
    let seen = || fs::read_to_string(sandbox.path("typescript")).unwrap_or_default();
    let path = "/home/node/.claude-bottle-prompt.txt";
    let line = format!("\rwrite {path}: 1 B / 2 B (50.0%, 1 B/s)\x1b[K");
    // The line is printed again and again.
    wait_for("progress", || seen().matches(&line).count() > 1);
    sandbox.write("enough", "");
    let outcome = sandbox.outcome(child);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    // The line is removed before the result is printed.
    let seen = outcome.stdout;
    let done = format!("\r\x1b[Kbottle-prompt: prompt in {path} (");
    let (before, _) = seen.split_once(&done).unwrap_or_else(|| panic!("{seen:?}"));
    assert_eq!(before.replace(&line, ""), "");

    // Progress is not shown without a terminal or with -q.
    let quiet = "bottle-prompt -q --smolvm ./slow -f plan.json > provisioned.json";
    for run in [
        sandbox.run("script").args(["-qefc", quiet, "typescript"]),
        sandbox
            .run("bottle-prompt")
            .args(["-q", "--smolvm", "./slow", "-f", "plan.json"]),
    ] {
        fs::remove_file(sandbox.path("enough")).unwrap();
        fs::remove_file(sandbox.path("said")).unwrap();
        let child = run.start();
        // This takes twice as long as progress needs to appear.
        wait_for("20 lines", || {
            fs::metadata(sandbox.path("said")).is_ok_and(|said| said.len() >= 20)
        });
        sandbox.write("enough", "");
        let outcome = sandbox.outcome(child);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        assert!(!outcome.stdout.contains("50.0%"), "{}", outcome.stdout);
    }
}

#[test]
fn every_step_has_the_common_options() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let outcome = sandbox.sh("bottle-prompt -o receipt -f plan.json");
    let receipt: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(receipt["status"], "done");
    let calls = sandbox.calls();
    let verbose = sandbox.sh("bottle-prompt -v -f plan.json");
    let lines: Vec<_> = verbose.stderr.lines().collect();
    let (output, lines): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.starts_with("    "));
    assert_eq!(output[0], "    # smolvm 1.32.2");
    assert_eq!(lines.len(), 5);
    assert!(
        lines[1].starts_with("smolvm --version  # exit status 0, "),
        "{}",
        lines[1]
    );
    assert!(lines[3].starts_with(&format!(
        "smolvm machine exec --name {MACHINE} --user node -- chmod 600 /home/node/"
    )));
    assert!(
        lines[3].contains("  # exit status 0, ") && lines[3].ends_with(" ms"),
        "{}",
        lines[3]
    );
    // The lines can be pasted into a shell.
    sandbox.calls();
    let pasted = lines[..4].join("\n").replace(
        "DIR",
        sandbox.path("").to_str().unwrap().trim_end_matches('/'),
    );
    assert_eq!(sandbox.sh(&pasted).status, 0);
    assert_eq!(sandbox.calls(), calls);
    sandbox
        .sh("CLAUDE_BOTTLE_TIMEOUT= CLAUDE_BOTTLE_EXEC_USER= CLAUDE_BOTTLE_SMOLVM= bottle-prompt -qf plan.json")
        .is(0, &plan, "");
    let version = sandbox.sh("bottle-prompt --version");
    assert_eq!(
        version.stdout,
        concat!("bottle-prompt ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_command_line_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let help = "hint: `bottle-git --help` shows the options\n";
    for (args, stderr) in [
        ("--foo", format!("bottle-git: unexpected argument '--foo' found\n{help}")),
        ("--onyl gate", "bottle-git: unexpected argument '--onyl' found\nhint: a similar argument exists: '--only'\n".to_owned()),
        ("-m a:b", format!("bottle-git: invalid value 'a:b' for '--machine <NAME>': a machine name has letters, digits, `_` and `-` only, and begins with a letter or a digit\n{help}")),
        ("--timeout 0s", format!("bottle-git: invalid value '0s' for '--timeout <DURATION>': it must be longer than 0\n{help}")),
        ("--exec-user -x", format!("bottle-git: unexpected argument '-x' found\n{help}")),
        ("-f missing.json", String::new()),
        ("--error-format json --only x", "{\"error\":{\"code\":\"USAGE\",\"message\":\"bottle-git: invalid value 'x' for '--only <PART>' [possible values: repository, gate, identity]\",\"hint\":\"`bottle-git --help` shows the options\"}}\n".to_owned()),
    ] {
        let outcome = sandbox.sh(&format!("bottle-git {args} < plan.json"));
        if stderr.is_empty() {
            outcome.fails(1, "bottle-git: read the plan from missing.json: No such file or directory (os error 2)\n");
        } else {
            outcome.fails(2, &stderr);
        }
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn errors_can_be_json() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let outcome = sandbox.sh(
        "STAND_IN_FAIL='1 1 Error: vm not found: x' bottle-prompt --error-format json < plan.json",
    );
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""));
    let error: Value = serde_json::from_str(&outcome.stderr).unwrap();
    let message = "bottle-prompt: write /home/node/.claude-bottle-prompt.txt: smolvm machine cp: exit status 1: Error: vm \
                   not found: x";
    let hint =
        "`smolvm machine ls` lists the machines; -m NAME provisions another one than the plan's";
    assert_eq!(
        error,
        json!({"error": {"code": "SMOLVM_ERROR", "message": message, "hint": hint}})
    );
}

/// The table of all hints is tested beside the code. This is how one is printed.
#[test]
fn a_hint_is_on_the_last_line() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let stopped = format!(
        "the machine stopped during the call: start it with `smolvm machine start --name \
         {MACHINE}`, then run this step again"
    );
    let progress = "Uploading a -> b: 1.0 MB / 2.0 MB (50.0%, 9.9 MB/s)";
    let closed = "Error: io operation failed: connection closed";
    let full = "tar: x: Cannot write: No space left on device";
    for (status, printed, said, hint) in [
        (1, format!("{progress}{closed}"), closed, &*stopped),
        (2, full.to_owned(), full, "the machine's disk is full"),
    ] {
        let run = sandbox.run("bottle-prompt").args(["-f", "plan.json"]);
        let fault = format!("* {status} {printed}");
        let outcome = run.env("STAND_IN_FAIL", fault).end();
        let end = format!("exit status {status}: {said}\nhint: {hint}\n");
        assert_eq!(outcome.status, 1, "{outcome:?}");
        assert!(outcome.stderr.ends_with(&end), "{outcome:?}");
    }
}

#[test]
fn a_smolvm_that_cannot_be_run_has_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let hint = "hint: install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM\n";
    let doing = "bottle-prompt: write /home/node/.claude-bottle-prompt.txt:";
    sandbox.write("not-executable", "#!/bin/sh\n");
    for (smolvm, why) in [
        ("no-such-smolvm", "No such file or directory (os error 2)"),
        ("./not-executable", "Permission denied (os error 13)"),
    ] {
        let outcome = sandbox.sh(&format!("bottle-prompt --smolvm {smolvm} < plan.json"));
        let said = format!("{doing} {smolvm} machine cp: cannot be run: {why}\n{hint}");
        outcome.fails(69, &said);
    }
}

#[test]
fn a_smolvm_that_is_too_old_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let run = |user: &str, version: &str| {
        let run =
            sandbox
                .run("bottle-supervise")
                .args(["-f", "plan.json", "-q", "--exec-user", user]);
        run.env("STAND_IN_VERSION", version).end()
    };
    let argv = "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise \
                http://127.0.0.1:55556/";
    run("auto", "0.5.15").fails(
        69,
        &format!(
            "bottle-supervise: {argv}: smolvm machine exec: smolvm 0.5.15 is too old: 0.5.16 or later is needed\n\
             hint: install a newer smolvm, or name one with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM\n"
        ),
    );
    // An unknown version is not an error, and the version does not matter for every user.
    for (user, version) in [("auto", "0.5.16"), ("auto", "nightly"), ("none", "0.5.15")] {
        assert_eq!(run(user, version).status, 0, "{user} {version}");
    }
}

#[test]
fn the_output_of_a_guest_cannot_move_the_cursor() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let outcome = sandbox.sh(
        "STAND_IN_FAIL=$(printf '2 1 a\\033[2Jb\\nbottle-prompt: done') bottle-prompt < plan.json",
    );
    let doing = "bottle-prompt: chown node:node /home/node/.claude-bottle-prompt.txt: smolvm machine exec: exit status 1:";
    outcome.fails(1, &format!("{doing} a\\u{{1b}}[2Jb; bottle-prompt: done\n"));
}

#[test]
fn transient_failures_are_repeated() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let busy = format!(
        "1 1 Error: agent operation failed: connect: machine '{MACHINE}' is not running. Start it with 'smolvm machine \
         start --name {MACHINE}'; if a start is already in progress, retry once it finishes."
    );
    let taken = "1 1 Error: agent operation failed: begin streaming write: failed to open staging file: File exists (os error 17)";
    for (fault, calls) in [
        ("2 137", 4),
        ("1 1 Error: agent operation failed: database is locked", 4),
        (taken, 4),
        (&busy, 4),
    ] {
        let _ = fs::remove_file(sandbox.path("log.count"));
        let run = sandbox.run("bottle-prompt").args(["-qf", "plan.json"]);
        let outcome = run.env("STAND_IN_FAIL", fault).end();
        assert_eq!(
            (outcome.status, outcome.stderr.as_str()),
            (0, ""),
            "{fault}"
        );
        assert_eq!(sandbox.calls().len(), calls, "{fault}");
    }
    let outcome = sandbox.sh(
        "rm -f log.count; STAND_IN_FAIL='* 1 Error: database is locked' bottle-prompt < plan.json",
    );
    assert_eq!(outcome.status, 1);
    assert_eq!(sandbox.calls().len(), 4, "once, and three times more");
    // The trouble of another machine, and the same words from a command in the guest.
    for fault in [
        "* 1 Error: connect: machine 'other' is not running".to_owned(),
        busy.replace("1 1 Error: ", "* 1 "),
    ] {
        let run = sandbox.run("bottle-prompt").args(["-f", "plan.json"]);
        assert_eq!(run.env("STAND_IN_FAIL", &fault).end().status, 1);
        assert_eq!(sandbox.calls().len(), 1, "{fault}");
    }
}

#[test]
fn a_deadline_ends_the_call() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    // The first call hangs, so that no other call has to be faster than the deadline.
    let run = sandbox
        .run("bottle-skills")
        .args(["--exec-user", "none", "--timeout", "300ms"]);
    let outcome = run
        .args(["-f", "plan.json"])
        .env("STAND_IN_HANG", "1")
        .end();
    outcome.fails(
        1,
        "bottle-skills: mkdir -p /home/node/.claude/skills: smolvm machine exec: \
         timed out after 300ms\n\
         hint: allow more with --timeout\n",
    );
    assert_eq!(sandbox.left_over(), "");
}

#[test]
fn a_step_does_not_wait_for_a_daemon_of_smolvm() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let program = sandbox.write("daemon", "#!/bin/sh\nsetsid sleep 1000000 &\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = sandbox.sh("bottle-prompt --smolvm ./daemon < plan.json");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let left_over = sandbox.left_over();
    sandbox.kill_left_over();
    assert!(
        left_over.contains("sleep"),
        "the step waited for the daemon"
    );
}

#[test]
fn a_signal_ends_the_call_and_removes_staged_files() {
    for (step, signal, status) in [
        ("bottle-skills", "INT", 130),
        ("bottle-git", "TERM", 143),
        ("bottle-supervise", "INT", 130),
        ("bottle-ca", "HUP", 129),
    ] {
        let sandbox = Sandbox::new();
        sandbox.set_up(BUILT);
        let outcome = sandbox.interrupt(step, signal);
        outcome.fails(status, &format!("{step}: interrupted\n"));
        assert_eq!(sandbox.staged(), [""; 0]);
        assert_eq!(sandbox.left_over(), "");
    }
}

/// Staged files may contain secrets of the plan.
#[test]
fn staged_files_are_private() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::remove_dir(sandbox.path("stage")).unwrap();
    let run = sandbox
        .run_interruptible("bottle-skills")
        .args(["-f", "plan.json"]);
    let child = run.env("STAND_IN_HANG", "2").start();
    sandbox.wait_for_call(2);
    assert_eq!(sandbox.sh("stat -c %a stage stage/*").stdout, "700\n600\n");
    send("TERM", &child.id().to_string());
    sandbox
        .outcome(child)
        .fails(143, "bottle-skills: interrupted\n");
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn a_group_is_undone_even_after_a_signal() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let run = sandbox
        .run_interruptible("bottle-skills")
        .args(["-f", "plan.json"]);
    let outcome = sandbox.interrupt_at_call(run, 2, "TERM");
    outcome.fails(143, "bottle-skills: interrupted\n");
    let calls = sandbox.calls();
    let undo = include_str!("../bottle-common/src/guest/scripts/undo.sh");
    assert!(calls.len() == 3 && calls[2].iter().any(|word| word.ends_with(undo)));
}

/// The guest decides how much it prints. Both streams count.
#[test]
fn a_smolvm_that_prints_without_end_is_killed() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for stream in ["1", "2"] {
        let script = format!(
            "#!/bin/sh\ncase $* in --version) echo 1.32.2 ;; *) exec yes '\u{85}' >&{stream} ;; esac\n"
        );
        let program = sandbox.write("bin/talks", script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let run = sandbox.run("prlimit").args(["--as=134217728"]);
        let run = run.args(["bottle-prompt", "--smolvm", "talks", "-f", "plan.json"]);
        run.end().fails(
            1,
            "bottle-prompt: write /home/node/.claude-bottle-prompt.txt: smolvm machine cp: printed more than 12 MiB\n",
        );
    }
}

/// What fails with as much as may be printed is shown by its end.
#[test]
fn a_long_failure_is_shown_by_its_end() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let script = "#!/bin/sh\ncase $* in --version) echo 1.32.2 && exit ;; esac\n\
                  yes | head -c 11000000 >&2; echo 'Error: the end' >&2; exit 1\n";
    let program = sandbox.write("bin/talks", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = sandbox.run("prlimit").args(["--as=134217728"]);
    let run = run.args(["bottle-prompt", "--smolvm", "talks", "-f", "plan.json"]);
    let outcome = run.end();
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stderr.ends_with("y; y; Error: the end\n"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.len() < 3000);
}

/// nohup(1) ignores signals, and so does a shell for its background jobs.
#[test]
fn an_ignored_signal_stays_ignored() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let run = sandbox.run("env").args([
        "--default-signal=INT,TERM",
        "--ignore-signal=HUP",
        "bottle-skills",
        "-f",
        "plan.json",
    ]);
    let child = run.env("STAND_IN_HANG", "1").start();
    sandbox.wait_for_call(1);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let of = |kind: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(kind));
        let mask = u32::from_str_radix(&mask.unwrap().trim()[8..], 16).unwrap();
        // SIGHUP, SIGINT and SIGTERM.
        [1, 2, 15].map(|signal| mask & (1 << (signal - 1)) != 0)
    };
    assert_eq!(of("SigIgn:"), [true, false, false]);
    assert_eq!(of("SigCgt:"), [false, true, true]);
    send("HUP", &child.id().to_string());
    send("TERM", &child.id().to_string());
    sandbox
        .outcome(child)
        .fails(143, "bottle-skills: interrupted\n");
}

#[test]
fn the_next_run_removes_the_staged_files_of_a_killed_one() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    sandbox.write("stage/bottle-dead", "");
    sandbox.write("stage/other", "");
    let outcome = sandbox.sh("bottle-skills -q < plan.json");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
    assert_eq!(sandbox.staged(), ["other"]);
}

#[test]
fn smolvm_does_not_read_the_steps_stdin() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let program = sandbox.write("stdin", "#!/bin/sh\nreadlink /proc/self/fd/0 >>seen\n");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = sandbox.run("bottle-prompt").args(["--smolvm", "./stdin"]);
    let outcome = run.args(["-f", "plan.json"]).stdin("more").end();
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let seen = fs::read_to_string(sandbox.path("seen")).unwrap();
    assert!(seen.lines().count() > 1 && seen.lines().all(|line| line == "/dev/null"));
}
