//! `bottle-supervise`, from the outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has to panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{Sandbox, exec};
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const URL: &str = "http://127.0.0.1:9100/";

fn with_supervisor(sandbox: &Sandbox, url: &str) -> Value {
    let mut plan = sandbox.plan();
    plan["supervise_plan"] = json!({"slug": "demo-abc12"});
    plan["agent_supervise_url"] = json!(url);
    plan
}

fn with_claude() -> Sandbox {
    let sandbox = Sandbox::with_guest();
    sandbox.add_claude();
    sandbox
}

fn done(url: &str) -> String {
    format!("bottle-supervise: MCP server at {url} (_s)\n")
}

fn claude_mcp(args: &[&str]) -> Vec<String> {
    exec(
        &[
            &[
                "runuser",
                "-u",
                "node",
                "--",
                "env",
                "HOME=/home/node",
                "claude",
                "mcp",
            ],
            args,
        ]
        .concat(),
    )
}

fn add(url: &str) -> Vec<String> {
    claude_mcp(&[
        "add",
        "--scope",
        "user",
        "--transport",
        "http",
        "supervise",
        url,
    ])
}

#[test]
fn noop_when_supervise_not_enabled() {
    let sandbox = Sandbox::new();
    let plan = sandbox.plan();
    let stderr = "bottle-supervise: nothing to do: the bottle has no supervisor\n";
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, stderr);
    assert_eq!(receipts["supervise"]["status"], "nothing to do");
    assert!(!sandbox.path("log").exists());
}

#[test]
fn calls_claude_mcp_add_when_supervise_enabled() {
    let sandbox = Sandbox::new();
    let plan = with_supervisor(&sandbox, URL);
    let receipts = sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
    assert_eq!(sandbox.calls(), [add(URL)]);
    assert_eq!(
        (
            &receipts["supervise"]["status"],
            &receipts["supervise"]["url"]
        ),
        (&json!("done"), &json!(URL))
    );
}

#[test]
fn non_zero_exit_logs_warning_but_does_not_raise() {
    let sandbox = Sandbox::new();
    let plan = with_supervisor(&sandbox, URL);
    let run = sandbox
        .run(STEP)
        .args(["-q"])
        .plan(&plan)
        .env("STAND_IN_FAIL", "* 1 boom");
    let why = format!(
        "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise {URL}: smolvm \
         machine exec: exit status 1: boom"
    );
    let receipts = run
        .end()
        .is(0, &plan, &format!("bottle-supervise: warning: {why}\n"));
    assert_eq!(
        (
            &receipts["supervise"]["status"],
            &receipts["supervise"]["why"]
        ),
        (&json!("failed"), &json!(why))
    );
}

#[test]
fn a_second_run_changes_nothing_and_another_port_is_registered() {
    let sandbox = with_claude();
    let entry = "cat /home/node/.claude.json";
    let written = |url: &str| {
        format!(
            "{{\"mcpServers\":{{\"supervise\":{{\"type\":\"http\",\"url\":\"{url}\"}}}},\"token\":\"SECRET\"}}\n"
        )
    };
    let bare = |calls: Vec<Vec<String>>| -> Vec<Vec<String>> {
        // The first is refused: a bare machine takes no --user.
        let without_user = |mut call: Vec<String>| {
            call.drain(4..6);
            call
        };
        calls.into_iter().map(without_user).collect()
    };
    let read = include_str!("../bottle-supervise/src/read.sh");
    let question = exec(&[
        "sh",
        "-c",
        read,
        "sh",
        "/home/node/.claude.json",
        "/home/node/workspace/.mcp.json",
    ]);

    let plan = with_supervisor(&sandbox, URL);
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
    assert_eq!(sandbox.guest(entry), written(URL));
    let tree = sandbox.tree();

    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
    assert_eq!(sandbox.calls()[1..], bare(vec![add(URL), question.clone()]));
    assert_eq!(sandbox.tree(), tree);

    let other = "http://127.0.0.1:9200/";
    let plan = with_supervisor(&sandbox, other);
    let verbose = sandbox.run(STEP).args(["-v"]).plan(&plan).end();
    assert_eq!(verbose.status, 0);
    assert!(!verbose.stderr.contains("SECRET") && !verbose.stdout.contains("SECRET"));
    let remove = claude_mcp(&["remove", "--scope", "user", "supervise"]);
    assert_eq!(
        sandbox.calls()[1..],
        bare(vec![add(other), question, remove, add(other)])
    );
    assert_eq!(sandbox.guest(entry), written(other));
}

#[test]
fn converges_wherever_it_was_killed() {
    // The same test as for the other steps, with a claude in the guest.
    harness::converges(STEP, |sandbox| {
        sandbox.add_claude();
        with_supervisor(sandbox, URL)
    });
}

#[test]
fn a_guest_without_claude_is_a_warning() {
    let sandbox = Sandbox::with_guest();
    // The host may have a claude in /usr, which the guest shares.
    let env = sandbox.write(
        "guest-bin/env",
        "#!/bin/bash\nPATH=/nowhere exec -a env /usr/bin/env \"$@\"\n",
    );
    fs::set_permissions(env, fs::Permissions::from_mode(0o755)).unwrap();
    let plan = with_supervisor(&sandbox, URL);
    let outcome = sandbox.run(STEP).plan(&plan).end();
    let why = format!(
        "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise {URL}: smolvm \
         machine exec: exit status 127: env: 'claude': No such file or directory"
    );
    let hint = "hint: Claude Code is not on the guest's PATH: install it in the image with `npm install \
                -g @anthropic-ai/claude-code` or, if its own installer put it into ~/.local/bin, \
                run `ln -s /home/node/.local/bin/claude /usr/local/bin/`";
    let receipts = outcome.is(
        0,
        &plan,
        &format!("bottle-supervise: warning: {why}\n{hint}\n"),
    );
    assert_eq!(receipts["supervise"]["why"], why);
}

#[test]
fn a_missing_smolvm_is_an_error_in_this_step_too() {
    let sandbox = Sandbox::new();
    let plan = with_supervisor(&sandbox, URL);
    let outcome = sandbox
        .run(STEP)
        .args(["--smolvm", "./no-smolvm"])
        .plan(&plan)
        .end();
    let argv = format!(
        "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise {URL}"
    );
    outcome.fails(
        69,
        &format!(
            "bottle-supervise: {argv}: ./no-smolvm machine exec: cannot be run: No such file or directory (os error 2)\n\
             hint: install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM\n"
        ),
    );
}

#[test]
fn the_output_of_a_guest_in_the_receipt_cannot_move_the_cursor() {
    let sandbox = Sandbox::new();
    let plan = with_supervisor(&sandbox, URL);
    let run = sandbox.run(STEP).env("STAND_IN_FAIL", "* 1 \u{1b}[2J");
    let outcome = run.plan(&plan).end();
    let printed: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let why = printed["receipts"]["supervise"]["why"].as_str().unwrap();
    assert!(why.ends_with(r"exit status 1: \u{1b}[2J"), "{why}");
    let warning = format!("bottle-supervise: warning: {why}\n");
    assert_eq!((outcome.status, outcome.stderr), (0, warning));
}

#[test]
fn a_project_that_is_not_copied_is_not_searched_for_servers() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("project/.mcp.json", r#"{"mcpServers": {"supervise": {}}}"#);
    let mut plan = with_supervisor(&sandbox, URL);
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
    plan["spec"]["copy_cwd"] = json!(true);
    let warning = "bottle-supervise: warning: the MCP server `supervise` of project scope in DIR/project/.mcp.json takes \
                   the place of ours once it is approved in the guest\n";
    let run = sandbox.run(STEP).plan(&plan);
    run.end().is(0, &plan, &format!("{warning}{}", done(URL)));
    // A file that is not JSON or not regular is ignored.
    fs::write(&file, "rubbish").unwrap();
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &done(URL));
}
