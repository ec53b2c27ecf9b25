//! Copies the project's `.git`, routes git through the gate and sets the identity that commits are made with.

mod gate;
mod repository;

use std::process::ExitCode;

use anyhow::Result;
use bottle_common::call::{Call, Remedy};
use bottle_common::guest;
use bottle_common::plan::{Identity, Plan};
use bottle_common::step::{self, Outcome, Step, Work};
use serde_json::json;

use crate::gate::StagedConfig;
use crate::repository::Repository;

#[derive(clap::Args)]
struct Options {
    /// Do one part alone
    #[arg(long, value_name = "PART")]
    only: Option<Part>,

    /// Replace a repository that is already in the guest; what the agent committed there is lost
    #[arg(long)]
    replace_repository: bool,
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

fn main() -> ExitCode {
    step::main(&Step {
        name: "bottle-git",
        about: "Copies the project's .git into the guest, routes git through the gate, sets the git identity",
        prepare,
    })
}

fn prepare(plan: &Plan, options: &Options) -> Result<Work> {
    let wants = |part| options.only.is_none_or(|only| only == part);
    let (mut calls, mut warnings, mut lines, mut details) = (Vec::new(), Vec::new(), Vec::new(), json!({}));

    let mut repository = None;
    if wants(Part::Repository) && plan.copy_cwd {
        match &plan.user_cwd {
            Some(user_cwd) => {
                repository = Repository::pack(user_cwd, &plan.stage_dir)?;
                if repository.is_none() {
                    warnings.push(format!("spec.copy_cwd is true, but there is no .git in {}", user_cwd.display()));
                }
            }
            None => warnings.push("spec.copy_cwd is true, but spec.user_cwd is unset".to_owned()),
        }
    }
    if let Some(repository) = &mut repository {
        warnings.append(&mut repository.archive.warnings);
        calls.extend(repository.calls(options.replace_repository));
        details["repository"] = repository.receipt();
    }

    let mut config = None;
    if let Some(gate) = plan.gate.as_ref().filter(|_| wants(Part::Gate)) {
        let staged = StagedConfig::write(gate, &plan.stage_dir)?;
        calls.extend(staged.calls());
        let remotes: Vec<_> = gate.remotes.iter().map(|remote| remote.name.to_string()).collect();
        lines.push(format!("{} through the gate at {}", remotes.join(", "), gate.host));
        details["gate"] = staged.receipt(gate);
        config = Some(staged);
        if options.only == Some(Part::Gate) && plan.identity.is_set() {
            warnings
                .push("~/.gitconfig was replaced, and the identity in it: --only identity sets it again".to_owned());
        }
    }

    if wants(Part::Identity) && plan.identity.is_set() {
        calls.extend(identity_calls(&plan.identity));
        let (name, email) = (plan.identity.name.as_deref(), plan.identity.email.as_deref());
        lines.push(match (name, email) {
            (name, Some(email)) => {
                format!("commits as {}<{email}>", name.map_or(String::new(), |name| format!("{name} ")))
            }
            (name, None) => format!("commits as {}", name.map_or("", String::as_str)),
        });
        details["identity"] = json!({"name": name, "email": email});
    }

    if calls.is_empty() {
        return Ok(Work::nothing("no repository, no remotes, no identity").warning(warnings));
    }
    let finish = move |answers: Result<Vec<String>, _>| {
        let answers = answers?;
        let mut warning = None;
        if let Some(repository) = &repository {
            // The repository's calls come first.
            let (line, kept) = repository.outcome(&answers, &mut details["repository"]);
            lines.insert(0, line);
            warning = kept;
        }
        Ok(Outcome::done(lines.join("; "), details).warning(warning))
    };
    Ok(Work { calls, warnings, finish: Box::new(finish) }.holding(config))
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
