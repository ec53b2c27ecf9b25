//! Copies the agent's system prompt to the file where the agent reads it. The file belongs to
//! `node` and has mode 0600.

use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::guest::listing::{Attributes, Listing};
use bottle_common::guest::paths;
use bottle_common::host::files;
use bottle_common::plan::Plan;
use bottle_common::plan::values::GuestPath;
use bottle_common::smolvm::call::{Call, Exec, Hands, Recovery, Source};
use bottle_common::step::options::{NoOptions, Questions};
use bottle_common::step::{Check, Prepared, Report, Step, live, program, receipt};

const MODE: &str = "600";
/// The maximum length of a prompt, in bytes. It is more than a model reads, so a longer file is
/// probably not a prompt.
const MAX_SIZE: u64 = 1 << 20;

/// Makes node the owner of a file that node can read.
const OWN: &str = include_str!("own.sh");

const STEP: Step<NoOptions> = Step {
    name: "bottle-prompt",
    about: "Puts the agent's prompt into the guest",
    notes: "",
    prepare,
    check,
    live,
};

fn main() -> ExitCode {
    program::main(&STEP)
}

/// Copies the file even if the prompt is empty, because the agent needs the file. In that case the
/// receipt does not name it.
fn prepare(plan: &Plan, _: &NoOptions) -> Result<Prepared> {
    let path = path();
    let sha256 = sha256(plan)?;
    let from = Source::File(plan.prompt_file.clone());
    let own = Exec::new(&["chown", paths::OWNER, &path]).by(Hands::Node);
    let calls = vec![
        Call::copy(from, path.clone()),
        own.recover_with(copy_by_node(&path)).into(),
        Exec::new(&["chmod", MODE, &path]).by(Hands::Node).into(),
    ];
    let prompt_path = plan.has_prompt.then(|| path.to_string());
    let what = if plan.has_prompt {
        "prompt"
    } else {
        "empty prompt"
    };
    let receipt = receipt::Prompt {
        prompt_path,
        sha256,
    };
    let report = Report::done(format!("{what} in {path}"), &receipt);
    Ok(Prepared::new(calls, |_| Ok(report)))
}

/// Returns what to do if node cannot be given the file at `path`, which is root's: node puts a copy
/// of its own in its place.
fn copy_by_node(path: &GuestPath) -> Recovery {
    let copy = Exec::script(format!("copy {path} by node"), OWN, &[path]).by(Hands::Node);
    Recovery {
        words: "Operation not permitted",
        guard: None,
        calls: vec![copy],
    }
}

fn check(plan: &Plan, _: &NoOptions) -> Result<Check> {
    let path = path();
    let sha256 = sha256(plan)?;
    let file = Attributes::file(MODE, paths::OWNER, &sha256);
    let expected = Listing::default().with(&path, file);
    Ok(Check::listing(
        format!("prompt in {path}"),
        &[&format!("0:{path}")],
        expected,
    ))
}

/// Asks whether node can read the prompt, and write where Claude Code keeps its settings.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `live` has"
)]
fn live(plan: &Plan, _: &NoOptions, questions: &Questions) -> Result<Check> {
    let directories = [paths::HOME, &paths::home(".claude")];
    let line = "node can read it";
    Ok(live::files(
        line,
        &plan.guest_env,
        questions,
        &[path()],
        &directories,
    ))
}

/// Reads the prompt and gives its SHA-256, in hex.
fn sha256(plan: &Plan) -> Result<String> {
    let file = &plan.prompt_file;
    let content = files::read(file, MAX_SIZE).context("prompt_file")?;
    files::sha256(&*content, file)
}

fn path() -> GuestPath {
    paths::home(".claude-bottle-prompt.txt")
}

#[cfg(test)]
#[test]
fn the_documents_match_the_command_line() {
    let files = [(
        "/home/node/.claude-bottle-prompt.txt",
        "In the guest: the prompt, mode 0600.",
    )];
    harness::step_documents(&STEP.command(), &files);
}
