//! Registers the supervisor's MCP server with the agent. The bottle works without it, so a failure is a warning.

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::call::{Call, Question, Remedy};
use bottle_common::call_error::CallError;
use bottle_common::failure::Code;
use bottle_common::guest;
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Outcome, Step, Work};
use serde_json::json;

fn main() -> ExitCode {
    step::main(&Step {
        name: "bottle-supervise",
        about: "Registers the supervisor's MCP server with Claude Code in the guest",
        prepare,
    })
}

#[allow(clippy::unnecessary_wraps, reason = "the type that every step's `prepare` has")]
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let Some(url) = &plan.supervise_url else {
        return Ok(Work::nothing("the bottle has no supervisor"));
    };
    let already_there = Remedy {
        words: "already exists",
        // Read as a file: `claude mcp get` would try to connect.
        unless: Some(Question {
            call: Call::exec(&["cat", &guest::home(".claude.json")]),
            pointer: "/mcpServers/supervise/url",
            value: url.to_string(),
        }),
        calls: vec![claude_mcp(&["remove", "--scope", "user", "supervise"])],
    };
    let add = claude_mcp(&["add", "--scope", "user", "--transport", "http", "supervise", url]).or(already_there);

    let (line, details) = (format!("MCP server at {url}"), json!({"url": **url}));
    let finish = |answers: Result<Vec<String>, CallError>| match answers {
        Ok(_) => Ok(Outcome::done(line, details)),
        Err(error) if matches!(error.code, Code::SmolvmMissing | Code::Interrupted) => Err(error.into()),
        Err(error) => Ok(Outcome::failed(&error, details)),
    };
    Ok(Work { calls: vec![add], warnings: Vec::new(), finish: Box::new(finish) })
}

fn claude_mcp(args: &[&str]) -> Call {
    let home = format!("HOME={}", guest::HOME);
    Call::exec(&[&["runuser", "-u", "node", "--", "env", &home, "claude", "mcp"], args].concat())
}
