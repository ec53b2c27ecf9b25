//! Registers the supervisor's MCP server with the agent. A failure is only a warning, because the
//! bottle works without the supervisor.

mod http;
mod live;
mod registration;
mod scopes;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::Plan;
use bottle_common::plan::values::{GuestPath, HttpUrl};
use bottle_common::smolvm::call::{Exec, Guard, Hands, Recovery};
use bottle_common::step::options::NoOptions;
use bottle_common::step::{Check, Prepared, Report, Step, program, receipt};

use crate::registration::{Registration, TYPE, URL};

const NOTHING: &str = "the bottle has no supervisor";
const READ: &str = include_str!("read.sh");
const LOOK: &str = include_str!("look.sh");

const STEP: Step<NoOptions> = Step {
    name: "bottle-supervise",
    about: "Registers the supervisor's MCP server with Claude Code in the guest",
    notes: "\
  The URL becomes an argument of a command, and every user of the host can read
  arguments. So a URL with credentials or a query is refused.",
    prepare,
    check,
    live: live::live,
};

fn main() -> ExitCode {
    program::main(&STEP)
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `prepare` has"
)]
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Prepared> {
    let Some(url) = &plan.supervise_url else {
        return Ok(Prepared::nothing(NOTHING));
    };
    let add = claude_mcp(&[
        "add",
        "--scope",
        "user",
        "--transport",
        "http",
        "supervise",
        url,
    ]);
    let calls = vec![add.recover_with(already_registered(url)).into()];

    let mut warnings = Vec::new();
    if let Some(project) = plan.user_cwd.as_deref().filter(|_| plan.copy_cwd) {
        warnings.extend(scopes::brought_by(project));
    }
    if plan.guest_env.has_proxy_for(&url.host()) {
        warnings.push(format!(
            "guest_env sets a proxy, and its NO_PROXY leaves out the supervisor's host {}: the \
             agent's MCP calls would go to the proxy and fail",
            url.host()
        ));
    }
    let line = format!("MCP server at {url}");
    let receipt = receipt::Supervise {
        url: url.to_string(),
    };
    let report = Report::done(line, &receipt);
    let prepared = Prepared::new(calls, |results| {
        let mut warnings = Vec::new();
        for answer in &results.answers {
            warnings.extend(scopes::others(answer));
        }
        Ok(report.warn(warnings))
    });
    Ok(prepared.warn(warnings).optional(&receipt))
}

/// What to do if the server is already registered: nothing if the entry is ours, otherwise replace
/// it.
fn already_registered(url: &HttpUrl) -> Recovery {
    let (settings, shared) = files();
    Recovery {
        words: "already exists",
        guard: Some(Guard {
            call: Exec::script("read what is registered", READ, &[&settings, &shared])
                .by(Hands::Node)
                .private(),
            holds: vec![(URL, url.to_string()), (TYPE, "http".to_owned())],
        }),
        calls: vec![claude_mcp(&["remove", "--scope", "user", "supervise"])],
    }
}

/// Runs `claude mcp` as the agent's user.
fn claude_mcp(args: &[&str]) -> Exec {
    let home = format!("HOME={}", paths::HOME);
    let claude = ["runuser", "-u", "node", "--", "env", &home, "claude", "mcp"];
    Exec::new(&[&claude, args].concat())
}

/// The files in which Claude Code registers servers: the agent's settings, and the project's file.
fn files() -> (GuestPath, GuestPath) {
    (
        paths::home(".claude.json"),
        paths::home("workspace/.mcp.json"),
    )
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `check` has"
)]
fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let Some(url) = plan.supervise_url.clone() else {
        return Ok(Check::nothing(NOTHING));
    };
    let (settings, shared) = files();
    let exec = Check::exec(LOOK, &[&settings, &shared]);
    Ok(Check::new(
        exec,
        format!("MCP server at {url}"),
        move |answer| compare(&url, answer),
    ))
}

/// Compares `answer`, the output of [`LOOK`], with a guest in which `url` is registered.
fn compare(url: &HttpUrl, answer: &str) -> Result<Vec<Difference>> {
    let (path, _) = files();
    let file = Attributes {
        kind: "file",
        owner: Some(paths::OWNER.to_owned()),
        ..Attributes::default()
    };
    let expected = Listing::default().with(&path, file);
    let (found, settings) = Listing::parse(answer)?;
    let mut differences = expected.differences(&found);
    if found.0.contains_key(&*path) {
        differences.extend(Registration::parse(settings).differences(url, &path));
    }
    for other in scopes::others(settings) {
        differences.push(Difference::extra("other scope", &path, &other));
    }
    Ok(differences)
}

#[cfg(test)]
#[test]
fn the_documents_match_the_command_line() {
    let files = [(
        "/home/node/.claude.json",
        "In the guest: where claude mcp add registers the MCP server.",
    )];
    harness::step_documents(&STEP.command(), &files);
}
