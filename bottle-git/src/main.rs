//! Copies the project's `.git`, routes git through the gate and sets the identity that commits are made with.

mod check;
mod config;
mod gate;
mod host;
mod layout;
mod repository;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::call::{Call, Remedy};
use bottle_common::check::Check;
use bottle_common::guest;
use bottle_common::plan::{Gate, Identity, Plan};
use bottle_common::receipt;
use bottle_common::step::{self, Step};
use bottle_common::work::{Outcome, Work};

use crate::repository::Repository;

#[derive(clap::Args)]
struct Options {
    /// Do one part alone
    #[arg(long, value_name = "PART")]
    only: Option<Part>,

    /// Replace a repository that is already in the guest; what the agent committed there is lost
    #[arg(long)]
    replace_repository: bool,

    /// Copy the repository's configuration, and files whose names are those of secrets, as they are
    #[arg(long)]
    keep_config: bool,
}

#[derive(Clone, Copy, Eq, PartialEq, clap::ValueEnum)]
enum Part {
    /// the project's .git
    Repository,
    /// ~/.gitconfig, with the remotes routed through the gate
    Gate,
    /// user.name and user.email
    Identity,
}

const STEP: Step<Options> = Step {
    name: "bottle-git",
    about: "Copies the project's .git into the guest, routes git through the gate, sets the git identity",
    prepare,
    check,
};

const NOTHING: &str = "no repository, no remotes, no identity";

fn main() -> ExitCode {
    step::main(&STEP)
}

/// The parts that are asked for and that the plan has.
struct Parts<'a> {
    repository: Option<Repository>,
    gate: Option<&'a Gate>,
    identity: Option<&'a Identity>,
    warnings: Vec<String>,
}

fn parts<'a>(plan: &'a Plan, options: &Options) -> Result<Parts<'a>> {
    let wants = |part| options.only.is_none_or(|only| only == part);
    let (mut repository, mut warnings) = (None, Vec::new());
    if wants(Part::Repository) && plan.copy_cwd {
        match &plan.user_cwd {
            Some(user_cwd) => {
                repository = Repository::find(user_cwd, plan, options.keep_config)?;
                if repository.is_none() {
                    warnings.push(format!("spec.copy_cwd is true, but there is no .git in {}", user_cwd.display()));
                }
            }
            None => warnings.push("spec.copy_cwd is true, but spec.user_cwd is unset".to_owned()),
        }
    }
    warnings.extend(repository.iter().flat_map(|repository| repository.warnings.clone()));
    let gate = plan.gate.as_ref().filter(|_| wants(Part::Gate));
    let identity = Some(&plan.identity).filter(|identity| wants(Part::Identity) && identity.is_set());
    Ok(Parts { repository, gate, identity, warnings })
}

impl Parts<'_> {
    /// What the gate and the identity come to, for people.
    fn lines(&self) -> Vec<String> {
        let gate = self.gate.map(|gate| {
            let remotes: Vec<_> = gate.remotes.iter().map(|remote| remote.name.to_string()).collect();
            format!("{} through the gate at {}", remotes.join(", "), gate.host)
        });
        let identity = self.identity.map(|Identity { name, email }| {
            let name = name.as_ref().map(ToString::to_string);
            let email = email.as_ref().map(|email| format!("<{email}>"));
            format!("commits as {}", name.into_iter().chain(email).collect::<Vec<_>>().join(" "))
        });
        gate.into_iter().chain(identity).collect()
    }
}

fn prepare(plan: &Plan, options: &Options) -> Result<Work> {
    let mut parts = parts(plan, options)?;
    let (mut calls, mut receipt) = (Vec::new(), receipt::Git::default());
    if let Some(repository) = &parts.repository {
        calls.extend(repository.calls(options.replace_repository)?);
    }
    if let Some(gate) = parts.gate {
        calls.extend(gate::calls(gate));
        receipt.gate = Some(gate::receipt(gate));
        if options.only == Some(Part::Gate) && plan.identity.is_set() {
            let warning = "~/.gitconfig is replaced, and the identity in it: --only identity sets it again";
            parts.warnings.push(warning.to_owned());
        }
    }
    if let Some(identity) = parts.identity {
        calls.extend(identity_calls(identity));
        let [name, email] = [&identity.name, &identity.email].map(|text| text.as_ref().map(ToString::to_string));
        receipt.identity = Some(receipt::Identity { name, email });
    }
    if calls.is_empty() {
        return Ok(Work::nothing(NOTHING).warning(parts.warnings));
    }
    let mut lines = parts.lines();
    let (repository, warnings) = (parts.repository, parts.warnings);
    let work = Work::new(calls, move |done| {
        let mut warning = None;
        if let Some(repository) = repository {
            let (line, copied, kept) = repository.outcome(&done);
            lines.insert(0, line);
            receipt.repository = Some(copied);
            warning = kept;
        }
        Outcome::done(lines.join("; "), &receipt).warning(warning)
    });
    Ok(work.warning(warnings))
}

fn check(plan: &Plan, options: &Options) -> Result<Check> {
    let parts = parts(plan, options)?;
    let is_empty = parts.repository.is_none() && parts.gate.is_none() && parts.identity.is_none();
    Ok(if is_empty { Check::nothing(NOTHING) } else { check::check(parts) })
}

fn identity_calls(identity: &Identity) -> Vec<Call> {
    let lock = guest::home(".gitconfig.lock");
    [("user.name", &identity.name), ("user.email", &identity.email)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
        .map(|(key, value)| {
            Call::exec_as_node(&["git", "config", "--global", key, value])
                .to(format!("set {key}"))
                // Left by a git that was killed; nobody else writes this file now.
                .or(Remedy {
                    words: "could not lock config file",
                    unless: None,
                    calls: vec![Call::exec(&["rm", "-f", &lock])],
                })
        })
        .collect()
}

#[cfg(test)]
#[test]
fn the_documents_are_those_of_the_command_line() {
    harness::step_documents(&STEP.command());
}
