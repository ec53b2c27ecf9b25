//! Puts the agent's system prompt where the agent reads it: one file, node's own, mode 0600.

use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::call::Call;
use bottle_common::options::NoOptions;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Outcome, Step, Work};
use bottle_common::{guest, stage};
use serde_json::json;

fn main() -> ExitCode {
    step::main(&Step { name: "bottle-prompt", about: "Puts the agent's prompt into the guest", prepare })
}

/// Also for an agent without a prompt: the file has to be there, only the receipt does not name it.
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Work> {
    let path = guest::home(".claude-bottle-prompt.txt");
    let sha256 = stage::sha256(&plan.prompt_file).context("prompt_file")?;
    let calls = vec![
        Call::copy(&plan.prompt_file, path.clone()),
        Call::exec(&["chown", guest::OWNER, &path]),
        Call::exec(&["chmod", "600", &path]),
    ];
    let prompt_path = plan.has_prompt.then(|| path.to_string());
    let what = if plan.has_prompt { "prompt" } else { "empty prompt" };
    let outcome = Outcome::done(format!("{what} in {path}"), json!({"prompt_path": prompt_path, "sha256": sha256}));
    Ok(Work::new(calls, outcome))
}
