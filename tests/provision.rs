//! `scripts/provision`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use harness::{KEPT, MACHINE, Outcome, STEPS, Sandbox, fingerprint, keys, need, send, wait_for};
use serde_json::{Value, json};

/// One of the programs; the others are in the same directory.
const BUILT: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const HELP: &str = "hint: `provision --help` shows the options\n";

/// What each step says of the plan that `Sandbox::set_up` writes, in a guest that has nothing yet.
fn lines(sandbox: &Sandbox) -> [String; 5] {
    let fingerprint = fingerprint(&sandbox.path("ca.pem"));
    [
        format!("bottle-ca: trusts pipelock CA, sha256 {fingerprint} (_s)\n"),
        "bottle-prompt: prompt in /home/node/.claude-bottle-prompt.txt (_s)\n".to_owned(),
        "bottle-skills: verify in /home/node/.claude/skills (_s)\n".to_owned(),
        "bottle-git: DIR/project/.git in /home/node/workspace/.git; claude-bottle through the gate at 127.0.0.1:55555; \
         commits as Ada Lovelace <ada@example.com> (_s)\n"
            .to_owned(),
        "bottle-supervise: MCP server at http://127.0.0.1:55556/ (_s)\n".to_owned(),
    ]
}

/// Puts a shell script in the place of a step.
fn replace(sandbox: &Sandbox, step: &str, script: &str) {
    let path = sandbox.path(format!("bin/bottle-{step}"));
    fs::remove_file(&path).unwrap();
    sandbox.write(&path, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Asserts that smolvm was not even asked for its version.
#[track_caller]
fn made_no_call(sandbox: &Sandbox) {
    assert_eq!(sandbox.log(), "");
}

/// Starts the command `words`, whose temporary files go into `tmp`, and whose smolvm call number
/// `hang` hangs.
fn start(sandbox: &Sandbox, words: &[&str], hang: &str) -> Child {
    fs::create_dir_all(sandbox.path("tmp")).unwrap();
    let run = sandbox.run_interruptible(words[0]).args(&words[1..]);
    run.env("TMPDIR", sandbox.path("tmp"))
        .env("STAND_IN_HANG", hang)
        .start()
}

/// Sends `signal` and waits for the end of `child`; asserts that no process and no file is left.
#[track_caller]
fn end(sandbox: &Sandbox, mut child: Child, signal: &str) -> Outcome {
    send(signal, &child.id().to_string());
    wait_for("the end of provision", || {
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(sandbox.left_over(), "");
    assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
    assert_eq!(sandbox.staged(), [""; 0]);
    sandbox.outcome(child)
}

/// Signals that end a program, and the exit status after each.
const SIGNALS: [(&str, i32); 4] = [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)];

#[test]
fn a_signal_ends_provision_and_its_step() {
    for (signal, status) in SIGNALS {
        let sandbox = Sandbox::new();
        sandbox.set_up(BUILT);
        let child = start(
            &sandbox,
            &[
                "provision",
                "-f",
                "plan.json",
                "--keep-plan",
                "tmp/kept.json",
            ],
            "1",
        );
        wait_for("the first call", || sandbox.path("log.count").exists());
        fs::remove_file(sandbox.path("tmp/kept.json")).unwrap();
        end(&sandbox, child, signal).fails(status, "bottle-ca: interrupted\n");
    }
}

#[test]
fn a_signal_while_the_directory_is_made_leaves_none() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::create_dir(sandbox.path("tmp")).unwrap();
    let mktemp = "#!/bin/sh\n/usr/bin/mktemp \"$@\"\nkill \"$(cat pid)\"\n";
    let mktemp = sandbox.write("bin/mktemp", mktemp);
    fs::set_permissions(mktemp, fs::Permissions::from_mode(0o755)).unwrap();
    for shell in ["dash", "bash --posix", "busybox sh"] {
        let run = format!("exec {shell} bin/provision -f plan.json");
        let outcome = sandbox.sh(&format!("export TMPDIR=tmp; sh -c 'echo $$ >pid; {run}'"));
        outcome.fails(143, "");
        assert_eq!(fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
    }
    made_no_call(&sandbox);
}

/// SIGKILL leaves a directory with the plan in it, which may hold secrets.
#[test]
fn what_killed_runs_left_is_removed_after_a_day() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let script = "mkdir -p tmp/bottle-provision.old/x tmp/bottle-provision.new tmp/other victim; \
        ln -s ../victim tmp/bottle-provision.link; \
        touch -hd '2 days ago' tmp/bottle-provision.old tmp/bottle-provision.link tmp/other victim; \
        TMPDIR=tmp provision -q < plan.json >/dev/null; ls tmp victim";
    let outcome = sandbox.sh(script);
    let left = "tmp:\nbottle-provision.link\nbottle-provision.new\nother\n\nvictim:\n";
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (0, left),
        "{outcome:?}"
    );
}

#[test]
fn a_signal_ends_all_steps_at_once() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let child = start(&sandbox, &["provision", "-jf", "plan.json"], "*");
    wait_for("the first call", || sandbox.path("log.count").exists());
    end(&sandbox, child, "INT").fails(130, "");
}

#[test]
fn a_signal_ends_the_rehearsal() {
    for (signal, status) in SIGNALS {
        let sandbox = Sandbox::new();
        sandbox.set_up(BUILT);
        replace(&sandbox, "skills", ": >reached; exec sleep 1000000");
        let child = start(
            &sandbox,
            &["provision", "-f", "plan.json", "--keep-plan", "kept.json"],
            "",
        );
        wait_for("the third step", || sandbox.path("reached").exists());
        end(&sandbox, child, signal).fails(status, "");
        made_no_call(&sandbox);
        assert!(!sandbox.path("kept.json").exists());
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let child = start(&sandbox, &["provision"], "");
    let has_begun = || {
        fs::read_dir(sandbox.path("tmp"))
            .unwrap()
            .any(|entry| entry.unwrap().path().join("plan").exists())
    };
    wait_for("a file for the plan", has_begun);
    end(&sandbox, child, "INT").fails(130, "");
}

#[test]
fn provision_runs_all_steps_in_order() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let receipts = sandbox
        .sh("provision < plan.json")
        .is(0, &plan, &lines(&sandbox).concat());
    assert_eq!(keys(&receipts), STEPS);
}

#[test]
fn smolvm_is_asked_for_its_version_once() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for args in ["", "-j"] {
        let outcome = sandbox.sh(&format!("provision -q {args} < plan.json"));
        assert_eq!(outcome.status, 0, "{args}: {outcome:?}");
        assert_eq!(sandbox.log().matches("--version").count(), 1, "{args}");
        assert!(sandbox.calls().len() > 1);
    }
}

#[test]
fn provision_runs_the_chosen_steps() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    for (args, steps) in [
        ("--only git", &["git"][..]),
        ("--only=skills,ca", &["ca", "skills"]),
        ("--from git", &["git", "supervise"]),
        ("--from=ca", &STEPS),
        ("--from skills --only ca,git", &["git"]),
    ] {
        let receipts = sandbox
            .sh(&format!("provision -q {args} -f plan.json"))
            .is(0, &plan, "");
        assert_eq!(keys(&receipts), steps, "{args}");
    }
    sandbox.calls();
    // No word is used as a pattern, even if a file or a step matches it.
    fs::write(sandbox.path("git"), "").unwrap();
    for (args, name) in [
        ("--only get", "get"),
        ("--only 'ca,*'", "*"),
        ("--only='?it'", "?it"),
        ("--from '[c]a'", "[c]a"),
    ] {
        let stderr = format!(
            "provision: no step `{name}`\nhint: the steps are ca prompt skills git supervise\n"
        );
        sandbox
            .sh(&format!("provision {args} < plan.json"))
            .fails(2, &stderr);
    }
    let stderr = format!("provision: --only ca --from git leaves no step\n{HELP}");
    sandbox
        .sh("provision --only ca --from git < plan.json")
        .fails(2, &stderr);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn provision_checks_its_own_options() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let twice = |option: &str| format!("the argument '{option}' cannot be used multiple times");
    let empty = |option: &str| format!("a value is required for '{option}' but none was supplied");
    for (args, message) in [
        ("--only ca --only=ca", twice("--only <STEP,...>")),
        ("--from ca --from git", twice("--from <STEP>")),
        ("--keep-plan a --keep-plan b", twice("--keep-plan <FILE>")),
        ("-f plan.json --file=plan.json", twice("--file <FILE>")),
        ("-qfplan.json -f-", twice("--file <FILE>")),
        ("-f - -f plan.json", twice("--file <FILE>")),
        ("-qo plan", "-o: only a step has this option".to_owned()),
        (
            "--check --output=plan",
            "--output=plan: only a step has this option".to_owned(),
        ),
        ("--only", empty("--only <STEP,...>")),
        ("--only=", empty("--only <STEP,...>")),
        ("-q x --keep-plan", empty("--keep-plan <FILE>")),
        ("--keep-plan --jobs", empty("--keep-plan <FILE>")),
        (
            "-n --keep-plan x",
            "--keep-plan: a dry run makes no plan".to_owned(),
        ),
    ] {
        sandbox
            .sh(&format!("provision {args} < plan.json"))
            .fails(2, &format!("provision: {message}\n{HELP}"));
    }
    let kept = "provision: write stage: not a regular file\n";
    sandbox
        .sh("provision --keep-plan stage < plan.json")
        .fails(1, kept);
    let missing = "provision: read the plan: head: cannot open 'missing.json' for reading: No such file or directory\n";
    sandbox.sh("provision -f missing.json").fails(1, missing);
    for option in ["-h", "-V"] {
        let outcome = sandbox.sh(&format!("provision {option} -q < plan.json >/dev/full"));
        assert_ne!(outcome.status, 0, "{option}: {outcome:?}");
    }
    made_no_call(&sandbox);
}

#[test]
fn the_steps_check_all_other_words_before_the_first_call() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    for (args, message) in [
        ("--foo", "unexpected argument '--foo' found"),
        ("'*'", "unexpected argument '*' found"),
        ("'?' --only ca", "unexpected argument '?' found"),
        ("''", "unexpected argument '' found"),
        ("-qx", "unexpected argument '-x' found"),
        ("-j2", "unexpected argument '-2' found"),
        ("-j 2", "unexpected argument '2' found"),
        ("--jobs=2", "unexpected argument '--jobs' found"),
        ("-- --only git", "unexpected argument '--only' found"),
        ("-- -h", "unexpected argument '-h' found"),
        (
            "--timeout x",
            "invalid value 'x' for '--timeout <DURATION>': not a duration such as `30s` or `5m`",
        ),
        (
            "-m",
            "a value is required for '--machine <NAME>' but none was supplied",
        ),
        (
            "-m --only ca",
            "a value is required for '--machine <NAME>' but none was supplied",
        ),
        (
            "-q -q",
            "the argument '--quiet' cannot be used multiple times",
        ),
    ] {
        for action in ["", "-j", "--check", "-n"] {
            let outcome = sandbox.sh(&format!("provision {action} {args} < plan.json"));
            outcome.fails(2, &format!("provision: {message}\n{HELP}"));
        }
    }
    for (args, message) in [
        (
            "-n --known x",
            "the argument '--known <FILE>' cannot be used multiple times",
        ),
        (
            "--archive /x",
            "the argument '--dry-run' cannot be used with '--archive <PATH>'",
        ),
        (
            "--receipt=x",
            "the argument '--dry-run' cannot be used with '--receipt <FILE>'",
        ),
        (
            "-n --dry-run",
            "the argument '--dry-run' cannot be used multiple times",
        ),
        (
            "--check --check",
            "the argument '--check' cannot be used multiple times",
        ),
        (
            "-n --check",
            "the argument '--dry-run' cannot be used with '--check'",
        ),
        (
            "--check -n",
            "the argument '--check' cannot be used with '--dry-run'",
        ),
    ] {
        sandbox
            .sh(&format!("provision {args} < plan.json"))
            .fails(2, &format!("provision: {message}\n{HELP}"));
    }
    // This holds even if only the last step refuses.
    replace(
        &sandbox,
        "supervise",
        "echo 'bottle-supervise: no' >&2; exit 2",
    );
    for action in ["", "-j", "--check", "-n"] {
        sandbox
            .sh(&format!("provision {action} < plan.json"))
            .fails(2, "provision: no\n");
    }
    made_no_call(&sandbox);
    for args in [
        "-q -- < plan.json",
        "-qfplan.json --",
        "-jq -f plan.json",
        "-jqfplan.json",
    ] {
        let receipts = sandbox
            .sh(&format!("provision --only ca {args}"))
            .is(0, &plan, "");
        assert_eq!(keys(&receipts), ["ca"], "{args}");
    }
}

/// If one step would refuse the plan, no step makes a call.
#[test]
fn nothing_is_changed_when_a_step_would_fail() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.set_up(BUILT);
    let missing = "No such file or directory (os error 2)";
    let said = |step: &str, status| {
        format!("provision: bottle-{step} would fail, exit status {status}; nothing was changed\n")
    };
    fs::rename(
        sandbox.path("home/.claude/skills/verify"),
        sandbox.path("verify"),
    )
    .unwrap();
    let skill = format!(
        "bottle-skills: skill `verify`: read DIR/home/.claude/skills/verify: {missing}\n\
         hint: --host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than $HOME/.claude/skills\n"
    );
    for args in [
        "< plan.json",
        "-j < plan.json",
        "-vm other --keep-plan kept.json < plan.json",
        "-q --machine=other -fplan.json",
        "-f - < plan.json",
        "-n < plan.json",
    ] {
        let stderr = skill.clone() + &said("skills", 1);
        sandbox.sh(&format!("provision {args}")).fails(1, &stderr);
    }
    let json = sandbox.sh("provision --error-format json < plan.json");
    assert_eq!(
        (json.status, json.stderr.lines().count()),
        (1, 1),
        "{json:?}"
    );
    assert!(
        json.stderr
            .starts_with("{\"error\":{\"code\":\"HOST_FILE\",\"message\":\"bottle-skills: "),
        "{json:?}"
    );
    fs::rename(
        sandbox.path("verify"),
        sandbox.path("home/.claude/skills/verify"),
    )
    .unwrap();

    fs::rename(sandbox.path("prompt.txt"), sandbox.path("prompt")).unwrap();
    let stderr = format!("bottle-prompt: prompt_file: read DIR/prompt.txt: {missing}\n");
    sandbox
        .sh("provision < plan.json")
        .fails(1, &(stderr + &said("prompt", 1)));
    fs::rename(sandbox.path("ca.pem"), sandbox.path("ca")).unwrap();
    let stderr = format!("bottle-ca: proxy_plan.ca_cert_host_path: read DIR/ca.pem: {missing}\n");
    sandbox
        .sh("provision < plan.json")
        .fails(1, &(stderr + &said("ca", 1)));

    plan["spec"]["agent_name"] = json!("nobody");
    sandbox.write("bad.json", plan.to_string());
    let stderr = "bottle-git: spec.agent_name: no `nobody` in spec.manifest.agents, only `demo`\n";
    let outcome = sandbox.sh("provision --from git -f bad.json");
    outcome.fails(65, &(stderr.to_owned() + &said("git", 65)));
    let stderr = "bottle-ca: no plan on stdin: did the step before fail?\n";
    sandbox
        .sh("provision < /dev/null")
        .fails(65, &(stderr.to_owned() + &said("ca", 65)));

    made_no_call(&sandbox);
    assert!(!sandbox.path("kept.json").exists());
    assert_eq!(sandbox.staged(), [""; 0]);
}

/// The rehearsal does not print what the step itself will print.
#[test]
fn a_warning_is_printed_once() {
    let sandbox = Sandbox::new();
    let mut plan = sandbox.set_up(BUILT);
    sandbox.write("home/.claude/skills/Odd/notes", "a skill without SKILL.md");
    plan["spec"]["manifest"]["agents"]["demo"]["skills"] = json!(["Odd"]);
    sandbox.write("plan.json", plan.to_string());
    let alone = sandbox.sh("bottle-skills -q < plan.json");
    assert_eq!(
        (alone.status, alone.stderr.matches("warning").count()),
        (0, 1),
        "{alone:?}"
    );
    for args in ["", "-j", "--only skills"] {
        sandbox
            .sh(&format!("provision -q {args} < plan.json"))
            .is(0, &plan, &alone.stderr);
    }
    let outcome = sandbox.sh("provision -qn < plan.json");
    assert_eq!((outcome.status, outcome.stderr), (0, alone.stderr));
}

#[test]
fn provision_says_what_did_not_run_and_how_to_go_on() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    // Call 6 is the first call of bottle-skills.
    let outcome = sandbox
        .sh("STAND_IN_FAIL='6 1 boom' provision -q -m other --keep-plan kept.json < plan.json");
    outcome.fails(
        1,
        "bottle-skills: mkdir -p /home/node/.claude/skills: smolvm machine exec: exit status 1: boom\n\
         provision: bottle-skills failed, exit status 1; not run: git supervise\n\
         hint: bottle-skills -q -m other < kept.json runs it alone\n",
    );
    assert_eq!(
        fs::metadata(sandbox.path("kept.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let receipts = sandbox
        .sh("provision -q --from skills < kept.json")
        .is(0, &plan, "");
    assert_eq!(keys(&receipts), STEPS);
    assert_eq!(sandbox.sh("ls -A | grep kept").stdout, "kept.json\n");
    let json = sandbox.sh("STAND_IN_FAIL='* 1 boom' provision --error-format=json < plan.json");
    assert_eq!(
        (json.status, json.stderr.lines().count()),
        (1, 1),
        "{json:?}"
    );
}

#[test]
fn provision_leaves_no_files_behind() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::create_dir(sandbox.path("tmp")).unwrap();
    for script in [
        "provision -q < plan.json",
        "provision -q < /dev/null",
        "provision --foo < plan.json",
    ] {
        sandbox
            .run("sh")
            .args(["-c", script])
            .env("TMPDIR", sandbox.path("tmp"))
            .end();
        assert_eq!(
            fs::read_dir(sandbox.path("tmp")).unwrap().count(),
            0,
            "{script}"
        );
    }
    assert_eq!(sandbox.staged(), [""; 0]);
}

#[test]
fn a_missing_step_has_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    fs::remove_file(sandbox.path("bin/bottle-git")).unwrap();
    // A copy is used, because target/release beside the original may contain the program.
    let copy = "cp bin/provision elsewhere && PATH=$PWD/bin:/usr/bin:/bin sh elsewhere < plan.json";
    let outcome = sandbox.sh(copy);
    outcome.fails(
        1,
        "elsewhere: bottle-git: not beside elsewhere, in target/release or on PATH\n\
         hint: cargo build --release\n",
    );
    made_no_call(&sandbox);
}

#[test]
fn provision_runs_in_any_posix_shell() {
    need("busybox", "busybox");
    for shell in ["dash", "bash --posix", "busybox sh"] {
        let sandbox = Sandbox::new();
        let plan = sandbox.set_up(BUILT);
        let lines = lines(&sandbox).concat();
        for args in ["", "-j"] {
            let run = format!("{shell} bin/provision {args} --keep-plan 'a b' < plan.json");
            let receipts = sandbox.sh(&run).is(0, &plan, &lines);
            assert_eq!(keys(&receipts), STEPS, "{run}");
            sandbox.sh("cat 'a b'").is(0, &plan, "");
        }
        let refused = format!("provision: unexpected argument '*' found\n{HELP}");
        sandbox
            .sh(&format!("{shell} bin/provision -j '*' < plan.json"))
            .fails(2, &refused);
        sandbox.calls();
        for signal in ["TERM", "INT"] {
            let _ = fs::remove_file(sandbox.path("log.count"));
            let words: Vec<_> = shell
                .split(' ')
                .chain(["bin/provision", "-f", "plan.json"])
                .collect();
            let child = start(&sandbox, &words, "1");
            wait_for("the first call", || sandbox.path("log.count").exists());
            let status = if signal == "INT" { 130 } else { 143 };
            end(&sandbox, child, signal).fails(status, "bottle-ca: interrupted\n");
        }
    }
}

#[test]
fn provision_works_in_a_guest() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.set_up(BUILT);
    sandbox.add_claude();
    let receipts = sandbox
        .sh("provision < plan.json")
        .is(0, &plan, &lines(&sandbox).concat());
    assert_eq!(keys(&receipts), STEPS);
    let left =
        sandbox.guest("find / -xdev -name '*.bottle*' 2>/dev/null; find /home/node ! -user node");
    assert_eq!(left, "");
}

/// `receipts` without what differs from run to run.
fn without_times(mut receipts: Value) -> Value {
    for receipt in receipts.as_object_mut().unwrap().values_mut() {
        receipt["ms"] = Value::Null;
        // A bare machine refuses --user only once, to whichever step is first.
        receipt["calls"] = Value::Null;
    }
    receipts
}

#[test]
fn jobs_give_the_same_result_as_a_sequence() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    let stderr = lines(&sandbox).concat();
    let receipts = without_times(sandbox.sh("provision < plan.json").is(0, &plan, &stderr));
    let count = sandbox.calls().len();
    for jobs in ["-j", "--jobs"] {
        let beside = sandbox.sh(&format!(
            "provision {jobs} --keep-plan kept.json < plan.json"
        ));
        assert_eq!(
            without_times(beside.is(0, &plan, &stderr)),
            receipts,
            "{jobs}"
        );
        assert_eq!(sandbox.calls().len(), count);
        assert_eq!(
            fs::read_to_string(sandbox.path("kept.json")).unwrap(),
            beside.stdout
        );
    }
}

#[test]
fn jobs_work_in_a_guest() {
    let sandbox = Sandbox::with_guest();
    let plan = sandbox.set_up(BUILT);
    sandbox.add_claude();
    let lines = lines(&sandbox);
    let receipts = without_times(
        sandbox
            .sh("provision < plan.json")
            .is(0, &plan, &lines.concat()),
    );
    let tree = sandbox.tree();
    // The guest has the repository now.
    let again = lines[3].replace(
        "DIR/project/.git in /home/node/workspace/.git",
        "/home/node/workspace/.git as it was",
    );
    let stderr = lines.concat().replace(&lines[3], &format!("{KEPT}{again}"));
    let in_sequence = without_times(sandbox.sh("provision < plan.json").is(0, &plan, &stderr));
    let beside = without_times(sandbox.sh("provision -j < plan.json").is(0, &plan, &stderr));
    assert_eq!(beside, in_sequence);
    assert_eq!(keys(&beside), keys(&receipts));
    assert_eq!(sandbox.tree(), tree);
    assert_eq!(sandbox.sh("provision -j --check -q < plan.json").status, 0);
    sandbox.guest("chmod 644 /home/node/.claude-bottle-prompt.txt");
    let outcome = sandbox.sh("provision -jq --check < plan.json");
    let differs = "bottle-prompt: /home/node/.claude-bottle-prompt.txt: mode: `600` in the plan, `644` in the guest\n";
    assert_eq!((outcome.status, outcome.stderr.as_str()), (3, differs));
    let checked: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(keys(&checked["checks"]), STEPS);
}

#[test]
fn the_first_failure_of_jobs_counts() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let fails = |status| {
        format!("case $* in *--dry-run*) exit ;; esac; echo 'bottle-prompt: no' >&2; exit {status}")
    };
    replace(&sandbox, "prompt", &fails(7));
    replace(&sandbox, "skills", &fails(8).replace("prompt", "skills"));
    let lines = lines(&sandbox);
    let outcome = sandbox.sh("provision -j --keep-plan kept.json < plan.json");
    let stderr = format!(
        "{}bottle-prompt: no\nbottle-skills: no\n{}{}\
         provision: bottle-prompt failed, exit status 7; run without a receipt: skills git supervise\n\
         hint: bottle-prompt < kept.json runs it alone\n",
        lines[0], lines[3], lines[4]
    );
    outcome.fails(7, &stderr);
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path("kept.json")).unwrap()).unwrap();
    assert_eq!(keys(&kept["receipts"]), ["ca"]);
    assert_eq!(sandbox.staged(), [""; 0]);
}

/// A step that finds the machine busy does not hide what the others say.
#[test]
fn jobs_show_each_steps_own_error() {
    let busy =
        format!("Error: agent operation failed: connect: machine '{MACHINE}' is not running");
    let smolvm = format!(
        "case $* in
        *--version) echo smolvm 1.32.2 ;;
        *prompt*) echo >>busy/calls; echo \"{busy}\" >&2; exit 1 ;;
        *ca-certificates*|*certs*)
            until [ \"$(wc -l <busy/calls)\" -ge 4 ]; do sleep 0.1; done
            echo 'Error: boom' >&2; exit 1 ;;
        *gitconfig*) echo 'Error: other' >&2; exit 1 ;;
        *) printf '1 added\\nway: quick\\n' ;;
        esac"
    );
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let smolvm = sandbox.write("busy/smolvm", format!("#!/bin/sh\n{smolvm}\n"));
    fs::set_permissions(smolvm, fs::Permissions::from_mode(0o755)).unwrap();
    // The step tries a call four times that finds the machine busy.
    let run = |options: &str| {
        sandbox.write("busy/calls", "");
        sandbox.sh(&format!(
            "provision --smolvm busy/smolvm {options} < plan.json"
        ))
    };
    let outcome = run("-j");
    for said in [
        "Error: boom",
        &busy,
        "bottle-skills: verify",
        "Error: other",
    ] {
        assert_eq!(
            outcome.stderr.matches(said).count(),
            1,
            "{said}: {outcome:?}"
        );
    }
    assert_eq!(outcome.status, 1);
    let last = run("-j --error-format json").stderr;
    let last = last.lines().last().unwrap().to_owned();
    assert!(last.starts_with("{\"error\":"), "{last}");
    let outcome = run("-j --check");
    assert_eq!(outcome.status, 1);
    for said in ["Error: boom", &busy, "bottle-skills: ", "Error: other"] {
        assert!(outcome.stderr.contains(said), "{said}: {outcome:?}");
    }
}

#[test]
fn a_stderr_that_cannot_be_written_to_changes_nothing() {
    let sandbox = Sandbox::new();
    let plan = sandbox.set_up(BUILT);
    sandbox.write("bad.json", "{}");
    for shell in ["dash", "bash --posix", "busybox sh"] {
        for options in ["", "-j"] {
            let run = format!("{shell} bin/provision {options} <plan.json 2>/dev/full");
            assert_eq!(keys(&sandbox.sh(&run).is(0, &plan, "")), STEPS, "{run}");
        }
        for stderr in ["/dev/full", "&-"] {
            for (options, status) in [("-n <plan.json", 0), ("<bad.json", 65), ("--jobs=2", 2)] {
                let run = format!("{shell} bin/provision {options} 2>{stderr}");
                let outcome = sandbox.sh(&run);
                assert_eq!(outcome.status, status, "{run}: {outcome:?}");
                assert_eq!(outcome.stdout.is_empty(), status != 0, "{run}");
            }
        }
    }
}

/// A stdin that is closed, one without an end, and nowhere to put the plan.
#[test]
fn a_plan_that_cannot_be_read_or_kept_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    let fate = "provision: bottle-ca would fail, exit status 65; nothing was changed\n";
    for (command, status, why) in [
        (
            "provision <&-",
            65,
            format!("bottle-ca: no plan on stdin: did the step before fail?\n{fate}"),
        ),
        (
            "provision </dev/zero",
            65,
            format!("bottle-ca: the plan on stdin is larger than 16 MiB\n{fate}"),
        ),
        (
            "provision -f /dev/zero",
            65,
            format!("bottle-ca: the plan on stdin is larger than 16 MiB\n{fate}")
                .replace("PLAN", "/dev/zero"),
        ),
        (
            "TMPDIR=/nowhere provision <plan.json",
            1,
            "provision: write to /nowhere: it is full or not writable\n\
             hint: TMPDIR names another place\n"
                .to_owned(),
        ),
        (
            "provision plan.json",
            2,
            "provision: unexpected argument 'plan.json' found\n\
             hint: the plan is read from stdin: `< FILE`, or from a file: `-f FILE`\n"
                .to_owned(),
        ),
        (
            "CLAUDE_BOTTLE_TIMEOUT=x provision <plan.json",
            2,
            format!(
                "provision: invalid value 'x' for the variable CLAUDE_BOTTLE_TIMEOUT: not a duration such as `30s` or `5m`\n{HELP}"
            ),
        ),
    ] {
        sandbox.sh(command).fails(status, &why);
    }
    made_no_call(&sandbox);
}

#[test]
fn a_stopped_machine_is_said_once() {
    let sandbox = Sandbox::with_guest();
    sandbox.set_up(BUILT);
    sandbox.sh(&format!("smolvm machine stop --name {MACHINE}"));
    let down = format!(
        "Error: agent operation failed: connect: machine '{MACHINE}' is not running. Start it with \
         'smolvm machine start --name {MACHINE}'; if a start is already in progress, retry once it \
         finishes.\nhint: `smolvm machine start --name {MACHINE}` starts it; if it is running, it is \
         busy: try again\n"
    );
    let copy = "bottle-ca: write /usr/local/share/ca-certificates/claude-bottle-mitm.crt: smolvm machine cp";
    let look = "bottle-ca: look into the guest: smolvm machine exec";
    let failed = |fate: &str| {
        format!(
            "provision: bottle-ca failed, exit status 1; {fate}: prompt skills git supervise\n\
             hint: bottle-ca < PLAN runs it alone\n"
        )
    };
    for (options, doing, fate) in [
        ("", copy, failed("not run")),
        ("--jobs", copy, failed("run without a receipt")),
        ("--check", look, String::new()),
        ("--check --jobs", look, String::new()),
    ] {
        let stderr = format!("{doing}: exit status 1: {down}{fate}");
        let outcome = sandbox.sh(&format!("provision {options} < plan.json"));
        outcome.fails(1, &stderr);
        let outcome = sandbox.sh(&format!("provision {options} -m nowhere < plan.json"));
        assert_eq!(outcome.status, 1, "{outcome:?}");
        let times = outcome.stderr.matches("vm not found").count();
        assert_eq!(times, 1, "{options}: {}", outcome.stderr);
    }
}

#[test]
fn a_terminal_on_stdout_gets_the_receipts() {
    let sandbox = Sandbox::new();
    sandbox.set_up(BUILT);
    for options in ["", "-j"] {
        let command = format!("provision -q {options} --keep-plan kept.json -f plan.json");
        let run = sandbox.run("script").args(["-qec", &command, "/dev/null"]);
        let outcome = run.end();
        let shown: Vec<_> = outcome
            .stdout
            .lines()
            .filter(|line| !line.starts_with([' ', '{', '}', '[', ']']))
            .collect();
        let names = STEPS.map(|step| format!("{step}:"));
        assert_eq!(
            (outcome.status, shown),
            (0, names.each_ref().map(|name| &**name).to_vec())
        );
        let kept = fs::read_to_string(sandbox.path("kept.json")).unwrap();
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(keys(&kept["receipts"]), STEPS);
    }
}
