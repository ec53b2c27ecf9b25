//! Registers the supervisor's MCP server with the agent. The bottle works without it, so a failure is a warning.

mod scopes;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::call::{Call, Diagnosis, Question, Remedy};
use bottle_common::call_error::{CallError, NO_CLAUDE};
use bottle_common::failure::Code;
use bottle_common::guest;
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Outcome, Step, Work};
use serde_json::json;

/// Claude's own file, then what the project has for everybody. As files: `claude mcp get` would try to connect.
const READ: &str = "set -eu; cat \"$1\"; if [ -f \"$2\" ]; then cat \"$2\"; fi";

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
        unless: Some(Question {
            call: Call::script(READ, &[&guest::home(".claude.json"), &guest::home("workspace/.mcp.json")])
                .to("read what is registered"),
            pointer: "/mcpServers/supervise/url",
            value: url.to_string(),
        }),
        calls: vec![claude_mcp(&["remove", "--scope", "user", "supervise"])],
    };
    // Where its own installer puts it; a login shell looks there, runuser does not.
    let in_local_bin = Diagnosis {
        words: NO_CLAUDE,
        call: Call::exec(&["test", "-x", &guest::home(".local/bin/claude")]),
        hint: "Claude Code is in /home/node/.local/bin, which is not on the guest's PATH: \
               `ln -s /home/node/.local/bin/claude /usr/local/bin/` in the image puts it there",
    };
    let add = claude_mcp(&["add", "--scope", "user", "--transport", "http", "supervise", url])
        .or(already_there)
        .diagnosed_by(in_local_bin);

    let (line, details) = (format!("MCP server at {url}"), json!({"url": **url}));
    let finish = |answers: Result<Vec<String>, CallError>| match answers {
        Ok(answers) => {
            let others = answers.iter().flat_map(|answer| scopes::others(answer));
            Ok(Outcome::done(line, details).warning(others))
        }
        Err(error) if matches!(error.code, Code::SmolvmMissing | Code::Interrupted) => Err(error.into()),
        Err(error) => Ok(Outcome::failed(&error, details)),
    };
    let project = plan.user_cwd.as_deref().filter(|_| plan.copy_cwd);
    let warnings = project.and_then(scopes::brought_by).into_iter().collect();
    Ok(Work { calls: vec![add], warnings, finish: Box::new(finish) })
}

fn claude_mcp(args: &[&str]) -> Call {
    let home = format!("HOME={}", guest::HOME);
    Call::exec(&[&["runuser", "-u", "node", "--", "env", &home, "claude", "mcp"], args].concat())
}
