//! `bottle-prompt`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::os::unix::net::UnixListener;

use harness::{Sandbox, converges, cp, exec_as, tool};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-prompt");
const PATH: &str = "/home/node/.claude-bottle-prompt.txt";
const DONE: &str = "bottle-prompt: prompt in /home/node/.claude-bottle-prompt.txt (_s)\n";
const EMPTY: &str = "bottle-prompt: empty prompt in /home/node/.claude-bottle-prompt.txt (_s)\n";

fn with_prompt(sandbox: &Sandbox, prompt: &str) -> Value {
    let mut plan = sandbox.plan();
    plan["spec"]["manifest"]["agents"]["demo"]["prompt"] = json!(prompt);
    plan
}

#[test]
fn cp_uses_smolvm_machine_cp_with_machine_path_syntax() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, EMPTY);
    let copies: Vec<_> = sandbox
        .calls()
        .into_iter()
        .filter(|call| call[1] == "cp")
        .collect();
    let expected = cp(&sandbox.path("prompt.txt"), PATH);
    assert_eq!(copies, [expected]);
}

#[test]
fn returns_path_when_agent_has_prompt() {
    let sandbox = Sandbox::new();
    let plan = with_prompt(&sandbox, "You are a helpful assistant.");
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, DONE);
    assert_eq!(receipts["prompt"]["prompt_path"], PATH);
}

#[test]
fn returns_none_when_agent_has_no_prompt() {
    let sandbox = Sandbox::new();
    let plan = with_prompt(&sandbox, "");
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, EMPTY);
    assert_eq!(receipts["prompt"]["prompt_path"], Value::Null);
    assert_eq!(
        sandbox
            .calls()
            .iter()
            .filter(|call| call[1] == "cp")
            .count(),
        1
    );
}

#[test]
fn chowns_to_node_after_copy() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, EMPTY);
    let expected = [
        cp(&sandbox.path("prompt.txt"), PATH),
        exec_as("node", &["chown", "node:node", PATH]),
        exec_as("node", &["chmod", "600", PATH]),
    ];
    assert_eq!(sandbox.calls(), expected);
}

#[test]
fn the_receipt_says_what_was_installed() {
    let sandbox = Sandbox::new();
    sandbox.write("prompt.txt", "hello\n");
    let plan = with_prompt(&sandbox, "hello");
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, DONE);
    let mut receipt = receipts["prompt"].clone();
    assert!(receipt["ms"].is_u64());
    receipt["ms"] = json!(0);
    let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(
        receipt,
        json!({"status": "done", "ms": 0, "calls": 3, "prompt_path": PATH, "sha256": sha256})
    );
}

#[test]
fn only_node_can_read_it_in_the_guest() {
    let sandbox = Sandbox::with_guest();
    let plan = with_prompt(&sandbox, "You are a helpful assistant.");
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, DONE);
    let seen = sandbox.guest(&format!(
        "stat -c '%a %U:%G' {PATH}; runuser -u node -- cat {PATH}"
    ));
    assert_eq!(seen, "600 node:node\nYou are a helpful assistant.\n");
}

#[test]
fn converges_wherever_it_was_killed() {
    converges(STEP, |sandbox| {
        with_prompt(sandbox, "You are a helpful assistant.")
    });
}

#[test]
fn a_prompt_file_that_cannot_be_copied_fails_before_the_first_call() {
    let sandbox = Sandbox::new();
    let missing = "No such file or directory (os error 2)";
    let mut plan = sandbox.plan();
    tool("mkfifo").arg(sandbox.path("fifo")).status().unwrap();
    sandbox.write("long", vec![b'x'; (1 << 20) + 1]);
    let _socket = UnixListener::bind(sandbox.path("socket")).unwrap();
    for (name, why) in [
        ("missing.txt", missing),
        ("long", "it is longer than 1.0 MiB"),
        ("socket", "not a regular file"),
        ("stage", "not a regular file"),
        ("fifo", "not a regular file"),
    ] {
        plan["prompt_file"] = json!(sandbox.path(name));
        let stderr = format!("bottle-prompt: prompt_file: read DIR/{name}: {why}\n");
        sandbox.run(STEP).plan(&plan).end().fails(1, &stderr);
    }
    assert_eq!(sandbox.calls(), [""; 0].map(|_| Vec::<String>::new()));
}

#[test]
fn a_path_that_smolvm_does_not_take_is_copied_through_stage_dir() {
    let sandbox = Sandbox::with_guest();
    sandbox.write("a:b/prompt.txt", "by way of stage_dir\n");
    let mut plan = with_prompt(&sandbox, "x");
    plan["prompt_file"] = json!(sandbox.path("a:b/prompt.txt"));
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, DONE);
    assert_eq!(
        sandbox.guest(&format!("cat {PATH}")),
        "by way of stage_dir\n"
    );
    let copies: Vec<_> = sandbox.calls();
    let copy = copies.iter().find(|call| call[1] == "cp").unwrap();
    let stage = sandbox.path("stage").display().to_string();
    assert!(copy[2].starts_with(&stage), "{copy:?}");
    assert_eq!(sandbox.staged(), [""; 0]);
    plan["stage_dir"] = json!(sandbox.path("c:d"));
    sandbox.run(STEP).plan(&plan).end().fails(
        1,
        "bottle-prompt: stage_dir DIR/c:d is no path for smolvm, which takes UTF-8 without a colon\n\
         hint: stage_dir in the plan names another directory\n",
    );
    assert!(sandbox.calls().is_empty());
}

/// smolvm is there, but the host has no descriptor left to start it.
#[test]
fn a_host_without_descriptors_is_not_told_to_install_smolvm() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let mut said = String::new();
    // The loop ends with the first number of descriptors that is enough.
    for number in 4.. {
        let script = format!("ulimit -n {number}; exec \"$0\"");
        let run = sandbox.run("sh").args(["-c", &script, STEP]);
        let outcome = run.plan(&plan).end();
        if outcome.status == 0 {
            break;
        }
        assert_eq!((outcome.status, &*outcome.stdout), (1, ""), "{outcome:?}");
        let why = "Too many open files (os error 24)\n";
        assert!(outcome.stderr.ends_with(why), "{outcome:?}");
        said += &outcome.stderr;
    }
    assert!(!said.contains("hint: "), "{said}");
    assert!(
        said.contains("smolvm machine cp: cannot be started: "),
        "{said}"
    );
}

#[test]
fn the_machine_option_overrides_the_plan() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    sandbox
        .run(STEP)
        .args(["-m", "other"])
        .plan(&plan)
        .end()
        .is(0, &plan, EMPTY);
    let calls = sandbox.calls();
    assert_eq!(calls[0][3], "other:/home/node/.claude-bottle-prompt.txt");
    assert_eq!(calls[1][..4], ["machine", "exec", "--name", "other"]);
}

#[test]
fn a_variable_that_is_empty_counts_as_unset() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    for name in ["SMOLVM", "EXEC_USER", "TIMEOUT"] {
        let run = sandbox.run(STEP).env(&format!("CLAUDE_BOTTLE_{name}"), "");
        run.plan(&plan).end().is(0, &plan, EMPTY);
    }
}

#[test]
fn only_an_executable_file_on_path_is_run() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    sandbox.write("text/smolvm", "no program");
    sandbox.write("directory/smolvm/file", "");
    let directories = ["text", "directory", "nowhere", "bin"].map(|name| sandbox.path(name));
    let path = std::env::join_paths(
        directories
            .iter()
            .chain([&"/usr/bin".into(), &"/bin".into()]),
    );
    let run = sandbox.run(STEP).env("PATH", path.unwrap());
    run.plan(&plan).end().is(0, &plan, EMPTY);
}

#[test]
fn an_error_in_json_is_one_line() {
    let sandbox = Sandbox::new();
    let args = ["-f", "a\nb\u{1b}", "--error-format", "json"];
    let message =
        r"bottle-prompt: read the plan from a\\nb\\u{1b}: No such file or directory (os error 2)";
    sandbox.run(STEP).args(args).end().fails(
        1,
        &format!(
            "{{\"error\":{{\"code\":\"HOST_FILE\",\"message\":\"{message}\",\"hint\":null}}}}\n"
        ),
    );
}
