//! `bottle-supervise` with the real Claude Code, in the guest of a real smolvm.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]

use harness::Sandbox;
use serde_json::{Value, json};

const STEP: &str = env!("CARGO_BIN_EXE_bottle-supervise");
const ADD: &str =
    "runuser -u node -- env HOME=/home/node claude mcp add --scope user --transport http supervise";

/// A guest that has Claude Code.
#[track_caller]
fn with_claude() -> Sandbox {
    let sandbox = Sandbox::with_real_guest();
    let claude = sandbox.guest("command -v claude || :");
    assert!(
        !claude.is_empty(),
        "this test needs Claude Code in the guest {}",
        sandbox.machine()
    );
    sandbox
}

fn plan(sandbox: &Sandbox, port: u16) -> Value {
    let mut plan = sandbox.plan();
    plan["supervise_plan"] = json!({});
    plan["agent_supervise_url"] = json!(format!("http://127.0.0.1:{port}/"));
    plan
}

fn done(port: u16) -> String {
    format!("bottle-supervise: MCP server at http://127.0.0.1:{port}/ (_s)\n")
}

/// Runs Claude Code as the agent does, in its workspace.
fn claude(sandbox: &Sandbox, args: &str) -> String {
    sandbox.guest(&format!(
        "mkdir -p /home/node/workspace && cd /home/node/workspace && chown node:node . && \
         runuser -u node -- env HOME=/home/node claude mcp {args}"
    ))
}

/// Gives the agent's settings without times and random values.
fn settings(sandbox: &Sandbox) -> (Value, Value) {
    let settings: Value =
        serde_json::from_str(&sandbox.guest("cat /home/node/.claude.json")).unwrap();
    (settings["mcpServers"].clone(), settings["projects"].clone())
}

fn entry(port: u16) -> Value {
    json!({"supervise": {"type": "http", "url": format!("http://127.0.0.1:{port}/")}})
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_second_run_with_another_port_changes_the_registered_url() {
    let sandbox = with_claude();
    let first = plan(&sandbox, 9100);
    sandbox
        .run(STEP)
        .plan(&first)
        .end()
        .is(0, &first, &done(9100));
    assert_eq!(settings(&sandbox), (entry(9100), Value::Null));
    assert_eq!(
        sandbox.guest("stat -c '%a %U:%G' /home/node/.claude.json"),
        "600 node:node\n"
    );
    let file = sandbox.guest("sha256sum /home/node/.claude.json");
    sandbox
        .run(STEP)
        .plan(&first)
        .end()
        .is(0, &first, &done(9100));
    assert_eq!(sandbox.guest("sha256sum /home/node/.claude.json"), file);

    claude(
        &sandbox,
        "add --scope user --transport http other http://127.0.0.1:1/",
    );
    let second = plan(&sandbox, 9200);
    sandbox
        .run(STEP)
        .plan(&second)
        .end()
        .is(0, &second, &done(9200));
    let mut both = entry(9200);
    both["other"] = json!({"type": "http", "url": "http://127.0.0.1:1/"});
    assert_eq!(settings(&sandbox).0, both);
    let seen = claude(&sandbox, "get supervise");
    assert!(
        seen.contains("Scope: User config") && seen.contains("URL: http://127.0.0.1:9200/"),
        "{seen}"
    );
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn an_entry_of_another_scope_is_warned_about_and_left_alone() {
    let sandbox = with_claude();
    let warning = "bottle-supervise: warning:";
    let local = format!(
        "{warning} in /home/node/workspace an MCP server `supervise` of local scope takes the place of ours: \
         `claude mcp remove --scope local supervise` there removes it\n"
    );
    let shared = |file: &str| {
        format!(
            "{warning} the MCP server `supervise` of project scope in {file} takes the place of ours once it is approved \
             in the guest\n"
        )
    };
    let plan = plan(&sandbox, 9100);
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &done(9100));
    claude(
        &sandbox,
        "add --scope local --transport http supervise http://127.0.0.1:1/",
    );
    sandbox
        .run(STEP)
        .plan(&plan)
        .end()
        .is(0, &plan, &format!("{local}{}", done(9100)));
    // The agent would use this server.
    assert!(claude(&sandbox, "get supervise").contains("URL: http://127.0.0.1:1/"));

    claude(
        &sandbox,
        "add --scope project --transport http supervise http://127.0.0.1:2/",
    );
    let both = format!(
        "{local}{}{}",
        shared("/home/node/workspace/.mcp.json"),
        done(9100)
    );
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &both);
    let (servers, projects) = settings(&sandbox);
    assert_eq!(servers, entry(9100));
    assert_eq!(
        projects["/home/node/workspace"]["mcpServers"],
        entry_at("http://127.0.0.1:1/")
    );

    // A project on the host may contain what Claude Code wrote there.
    sandbox.write(
        "project/.mcp.json",
        sandbox.guest("cat /home/node/workspace/.mcp.json"),
    );
    sandbox.guest("cd /home/node && rm -r .claude.json workspace");
    let mut plan = plan;
    plan["spec"]["copy_cwd"] = json!(true);
    let brought = format!("{}{}", shared("DIR/project/.mcp.json"), done(9100));
    sandbox.run(STEP).plan(&plan).end().is(0, &plan, &brought);
}

fn entry_at(url: &str) -> Value {
    json!({"supervise": {"type": "http", "url": url}})
}

#[test]
#[ignore = "needs CLAUDE_BOTTLE_TEST_MACHINE, a machine of a real smolvm"]
fn a_claude_that_is_not_on_the_path_is_a_warning() {
    let sandbox = with_claude();
    let plan = plan(&sandbox, 9100);
    let quote = if sandbox.is_image() {
        ["‘", "’"]
    } else {
        ["'"; 2]
    };
    let stderr = |hint: &str| {
        format!(
            "bottle-supervise: warning: {ADD} http://127.0.0.1:9100/: smolvm machine exec: exit status 127: \
             env: {}claude{}: No such file or directory\nhint: {hint}\n",
            quote[0], quote[1]
        )
    };
    let path = sandbox.guest("command -v claude").trim().to_owned();
    sandbox.guest(&format!("mv {path} {path}.away"));
    let nowhere = sandbox.run(STEP).plan(&plan).end();
    sandbox.guest(&format!("mv {path}.away {path}"));
    let hint = "Claude Code is not on the guest's PATH: install it in the image with `npm install \
                -g @anthropic-ai/claude-code` or, if its own installer put it into ~/.local/bin, \
                run `ln -s /home/node/.local/bin/claude /usr/local/bin/`";
    let receipts = nowhere.is(0, &plan, &stderr(hint));
    assert_eq!(receipts["supervise"]["status"], "failed");
}
