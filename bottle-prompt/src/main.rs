//! Puts the agent's system prompt where the agent reads it: one file, node's own, mode 0600.

use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::call::{Call, Source};
use bottle_common::check::{Check, Facts, Listing};
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Step};
use bottle_common::work::{Outcome, Work};
use bottle_common::{guest, receipt, stage};

const MODE: &str = "600";

const STEP: Step<NoOptions> =
    Step { name: "bottle-prompt", about: "Puts the agent's prompt into the guest", prepare, check };

fn main() -> ExitCode {
    step::main(&STEP)
}

/// Also for an agent without a prompt: the file has to be there, only the receipt does not name it.
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let path = guest::home(".claude-bottle-prompt.txt");
    let sha256 = stage::sha256(&plan.prompt_file).context("prompt_file")?;
    let calls = vec![
        Call::copy(Source::File(plan.prompt_file.clone()), path.clone()),
        Call::exec(&["chown", guest::OWNER, &path]),
        Call::exec(&["chmod", MODE, &path]),
    ];
    let prompt_path = plan.has_prompt.then(|| path.to_string());
    let what = if plan.has_prompt { "prompt" } else { "empty prompt" };
    let outcome = Outcome::done(format!("{what} in {path}"), &receipt::Prompt { prompt_path, sha256 });
    Ok(Work::new(calls, |_| outcome))
}

fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let path = guest::home(".claude-bottle-prompt.txt");
    let sha256 = stage::sha256(&plan.prompt_file).context("prompt_file")?;
    let expected = Listing::default().with(&path, Facts::file(MODE, guest::OWNER, &sha256));
    Ok(Check::listing(format!("prompt in {path}"), &[&format!("0:{path}")], expected))
}

#[cfg(test)]
#[test]
fn the_documents_are_those_of_the_command_line() {
    harness::step_documents(&STEP.command());
}
