//! Registers the supervisor's MCP server with the agent. The bottle works without it, so a failure is a warning.

mod scopes;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::call::{Call, Diagnosis, Question, Remedy};
use bottle_common::call_error::NO_CLAUDE;
use bottle_common::check::{Check, Difference, Facts, LIST, Listing};
use bottle_common::checked::HttpUrl;
use bottle_common::guest;
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::receipt;
use bottle_common::step::{self, Step};
use bottle_common::work::{Outcome, Work};
use serde_json::{Deserializer, Value};

/// Where Claude Code writes down our server, as JSON pointers.
const URL: &str = "/mcpServers/supervise/url";
const TYPE: &str = "/mcpServers/supervise/type";

const NOTHING: &str = "the bottle has no supervisor";

const STEP: Step<NoOptions> = Step {
    name: "bottle-supervise",
    about: "Registers the supervisor's MCP server with Claude Code in the guest",
    prepare,
    check,
};

/// Claude's own file, then what the project has for everybody. As files: `claude mcp get` would try to connect.
const READ: &str = "set -eu; cat \"$1\"; if [ -f \"$2\" ]; then cat \"$2\"; fi";

fn main() -> ExitCode {
    step::main(&STEP)
}

#[allow(clippy::unnecessary_wraps, reason = "the type that every step's `prepare` has")]
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let Some(url) = &plan.supervise_url else {
        return Ok(Work::nothing(NOTHING));
    };
    let already_there = Remedy {
        words: "already exists",
        unless: Some(Question {
            call: Call::script(READ, &[&guest::home(".claude.json"), &guest::home("workspace/.mcp.json")])
                .to("read what is registered")
                .private(),
            holds: vec![(URL, url.to_string()), (TYPE, "http".to_owned())],
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

    let (line, receipt) = (format!("MCP server at {url}"), receipt::Supervise { url: url.to_string() });
    let project = plan.user_cwd.as_deref().filter(|_| plan.copy_cwd);
    let warnings = project.and_then(scopes::brought_by).into_iter().collect();
    let work = Work::new(vec![add], {
        let receipt = receipt.clone();
        move |done| Outcome::done(line, &receipt).warning(done.answers.iter().flat_map(|answer| scopes::others(answer)))
    });
    Ok(work.warning(warnings).optional(&receipt))
}

#[allow(clippy::unnecessary_wraps, reason = "the type that every step's `check` has")]
fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let Some(url) = plan.supervise_url.clone() else {
        return Ok(Check::nothing(NOTHING));
    };
    let path = guest::home(".claude.json");
    let ask = format!("{LIST} list \"0:$1\"; for file; do if [ -f \"$file\" ]; then cat \"$file\"; fi; done");
    let call = Call::script(&ask, &[&path, &guest::home("workspace/.mcp.json")]);
    let facts = Facts { kind: "file", owner: Some(guest::OWNER.to_owned()), ..Facts::default() };
    let expected = Listing::default().with(&path, facts);
    Ok(Check::new(call, format!("MCP server at {url}"), move |answer| {
        let (found, settings) = Listing::parse(answer)?;
        let mut differences = expected.differences(&found);
        let others = scopes::others(settings);
        let settings =
            Deserializer::from_str(settings).into_iter::<Value>().next().and_then(Result::ok).unwrap_or_default();
        let registered = settings.pointer(URL).and_then(Value::as_str);
        let kind = settings.pointer(TYPE).and_then(Value::as_str);
        if registered.is_some() && kind != Some("http") {
            differences.push(Difference::new("type of supervise", &path, "http", kind));
        }
        if found.0.contains_key(&*path) && registered != Some(&url) {
            // Not as it is there: it may hold credentials.
            let may_be_said = |url: &str| !url.contains(['?', '#']) && HttpUrl::try_from(url.to_owned()).is_ok();
            let registered = registered.map(|url| if may_be_said(url) { url } else { "another" });
            differences.push(Difference::new("url of supervise", &path, &*url, registered));
        }
        differences.extend(others.iter().map(|other| Difference::extra("other scope", &path, other)));
        Ok(differences)
    }))
}

fn claude_mcp<S>(args: &[&str]) -> Call<S> {
    let home = format!("HOME={}", guest::HOME);
    Call::exec(&[&["runuser", "-u", "node", "--", "env", &home, "claude", "mcp"], args].concat())
}

#[cfg(test)]
#[test]
fn the_documents_are_those_of_the_command_line() {
    harness::step_documents(&STEP.command());
}
