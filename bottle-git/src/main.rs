//! Copies the project's `.git`, routes git through the gate, and sets the git identity.

mod alternates;
mod check;
mod collector;
mod config;
mod config_filter;
mod credentials;
#[cfg(test)]
mod fuzz;
mod gate;
mod git_dirs;
mod host_git;
mod importer;
mod inside;
mod layout;
mod links;
mod lister;
mod live;
mod parts;
mod repository;
mod secret_names;
mod worktree;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::guest::paths;
use bottle_common::plan::Plan;
use bottle_common::plan::wire::Identity;
use bottle_common::smolvm::call::{Call, Calls, Exec, Hands, Recovery};
use bottle_common::step::{Check, Prepared, Report, Step, program, receipt};

use crate::parts::{Options, Part, Parts};

const STEP: Step<Options> = Step {
    name: "bottle-git",
    about: "Copies the project's .git, routes git through the gate, sets the git identity",
    notes: "\
  git sends the spellings of a remote's address that people and tools write to
  the gate, by url.*.insteadOf. It compares the beginning of an address byte by
  byte, so it cannot recognise another case of the host, percent-encoding or an
  alias in ~/.ssh/config, and the agent can change its own configuration. The
  egress proxy has to stop what goes around the gate.",
    prepare,
    check,
    live: live::live,
};

const NOTHING: &str = "no repository, no remotes, no identity";

fn main() -> ExitCode {
    program::main(&STEP)
}

/// Decides which calls to make.
///
/// # Errors
///
/// If the repository on the host cannot be used, or if a signal comes.
fn prepare(plan: &Plan, options: &Options) -> Result<Prepared> {
    let mut parts = Parts::new(plan, options)?;
    if parts.is_empty() {
        return Ok(Prepared::nothing(NOTHING).warn(parts.warnings));
    }
    let mut calls = Calls::none();
    let mut receipt = receipt::Git::default();
    if let Some(repository) = &parts.repository {
        calls.first = repository.calls(options.replace_repository)?;
    }
    if let Some(gate) = parts.gate {
        calls.first.calls.extend(gate::calls(gate));
        receipt.gate = Some(gate::receipt(gate));
        if options.only == Some(Part::Gate) && plan.identity.is_set() {
            let warning =
                "~/.gitconfig is replaced without an identity: --only identity sets it again";
            parts.warnings.push(warning.to_owned());
        }
    }
    if let Some(identity) = parts.identity {
        calls.first.calls.extend(identity_calls(identity));
        let text = |text: &Option<_>| text.as_ref().map(ToString::to_string);
        let (name, email) = (text(&identity.name), text(&identity.email));
        receipt.identity = Some(receipt::Identity { name, email });
    }
    let mut lines = parts.lines();
    let Parts {
        repository,
        warnings,
        ..
    } = parts;
    let prepared = Prepared::new(calls, move |results| {
        let mut warning = None;
        if let Some(repository) = repository {
            let (line, copied, found) = repository.report(&results);
            lines.insert(0, line);
            receipt.repository = Some(copied);
            warning = found;
        }
        Ok(Report::done(lines.join("; "), &receipt).warn(warning))
    });
    Ok(prepared.warn(warnings))
}

/// Decides what to look at in the guest.
///
/// # Errors
///
/// If the repository on the host cannot be used, or if a signal comes.
fn check(plan: &Plan, options: &Options) -> Result<Check> {
    let parts = Parts::new(plan, options)?;
    if !parts.is_empty() {
        return check::check(&parts);
    }
    let why = [&[NOTHING.to_owned()], &*parts.warnings].concat();
    Ok(Check::nothing(&why.join("; ")))
}

/// Makes the calls that set the identity.
fn identity_calls(identity: &Identity) -> Vec<Call> {
    let mut calls = Vec::new();
    for (key, value) in [
        ("user.name", &identity.name),
        ("user.email", &identity.email),
    ] {
        let Some(value) = value else { continue };
        let argv = ["git", "config", "--global", key, value];
        let set = Exec::as_node(format!("set {key}"), &argv);
        calls.push(set.recover_with(stale_lock()).into());
    }
    calls
}

/// Removes the lock file of `~/.gitconfig` if git fails because of it: a killed git may have left
/// it, or another run may hold it at the same time.
fn stale_lock() -> Recovery {
    let lock = paths::home(".gitconfig.lock");
    Recovery {
        words: "/.gitconfig",
        guard: None,
        calls: vec![Exec::new(&["rm", "-f", &lock]).by(Hands::Node)],
    }
}

#[cfg(test)]
#[test]
fn the_documents_match_the_command_line() {
    let files = [
        ("/home/node/workspace", "In the guest: the project."),
        (
            "/home/node/.gitconfig",
            "In the guest: the rules that route git through the gate, and the identity.",
        ),
    ];
    harness::step_documents(&STEP.command(), &files);
}
