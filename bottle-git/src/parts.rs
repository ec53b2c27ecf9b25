//! The parts of the step: those that the options ask for, as far as the plan contains them.

use std::path::PathBuf;

use anyhow::Result;
use bottle_common::error::hinted;
use bottle_common::plan::wire::Identity;
use bottle_common::plan::{Gate, Plan};

use crate::gate;
use crate::importer;
use crate::repository::Repository;

/// The step's own options.
#[derive(clap::Args)]
pub struct Options {
    /// Do only this part
    #[arg(long, value_name = "PART")]
    pub only: Option<Part>,

    /// Replace a repository in the guest; the agent's commits in it are lost
    ///
    /// With `spec.copy_worktree`, the whole workspace is replaced.
    #[arg(long)]
    pub replace_repository: bool,

    /// Copy the configuration, and files unknown to git, as they are
    #[arg(long)]
    pub keep_config: bool,

    /// Let the project use repositories in DIR, outside of it; repeatable
    #[arg(long, value_name = "DIR")]
    pub allow_outside: Vec<PathBuf>,
}

/// A part of the step, for `--only`.
#[derive(Clone, Copy, Eq, PartialEq, clap::ValueEnum)]
pub enum Part {
    /// the project's .git
    Repository,
    /// ~/.gitconfig, which routes the remotes through the gate
    Gate,
    /// user.name and user.email
    Identity,
}

/// The parts that there are. A part is `None` if the options do not ask for it, or if the plan does
/// not contain it.
pub struct Parts<'a> {
    /// The project's repository.
    pub repository: Option<Repository>,
    /// The gate that the remotes are routed through.
    pub gate: Option<&'a Gate>,
    /// The git identity.
    pub identity: Option<&'a Identity>,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

impl<'a> Parts<'a> {
    /// Finds the parts in the plan, and the repository on the host.
    ///
    /// # Errors
    ///
    /// The errors of [`importer::find`].
    pub fn new(plan: &'a Plan, options: &Options) -> Result<Self> {
        let wants = |part| options.only.is_none_or(|only| only == part);
        let mut warnings = Vec::new();
        let mut repository = None;
        if wants(Part::Repository) && plan.copy_cwd {
            repository = find_repository(plan, options, &mut warnings)?;
        } else if wants(Part::Repository) && plan.copy_worktree {
            let warning = "spec.copy_worktree is true, but spec.copy_cwd is not: nothing is copied";
            warnings.push(warning.to_owned());
        }
        let gate = plan.gate.as_ref().filter(|_| wants(Part::Gate));
        if let Some(gate) = gate {
            warnings.extend(gate::proxy_warning(gate, &plan.guest_env));
        }
        let has_identity = wants(Part::Identity) && plan.identity.is_set();
        let identity = has_identity.then_some(&plan.identity);
        Ok(Self {
            repository,
            gate,
            identity,
            warnings,
        })
    }

    /// Whether there is no part, so nothing to do.
    pub fn is_empty(&self) -> bool {
        self.repository.is_none() && self.gate.is_none() && self.identity.is_none()
    }

    /// Describes the gate and the identity for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(gate) = self.gate {
            let names = gate.remotes.iter().map(|remote| remote.name.as_str());
            let names: Vec<_> = names.collect();
            let names = names.join(", ");
            lines.push(format!("{names} through the gate at {}", gate.host));
        }
        if let Some(Identity { name, email }) = self.identity {
            let mut words = vec!["commits as".to_owned()];
            words.extend(name.as_ref().map(ToString::to_string));
            words.extend(email.as_ref().map(|email| format!("<{email}>")));
            lines.push(words.join(" "));
        }
        lines
    }
}

/// Finds the repository on the host, and adds warnings about it to `warnings`.
fn find_repository(
    plan: &Plan,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Option<Repository>> {
    let refused = |why: String| {
        let hint = "without spec.copy_worktree, bottle-git copies no files; git init makes a \
                    repository of a directory";
        hinted(format!("spec.copy_worktree is true, but {why}"), hint)
    };
    let Some(user_cwd) = &plan.user_cwd else {
        if plan.copy_worktree {
            return Err(refused("spec.user_cwd is unset".to_owned()));
        }
        warnings.push("spec.copy_cwd is true, but spec.user_cwd is unset".to_owned());
        return Ok(None);
    };
    if !user_cwd.is_dir() {
        return Err(hinted(
            format!("spec.user_cwd: {} is not a directory", user_cwd.display()),
            "it names the project to copy; without spec.copy_cwd, nothing is copied",
        ));
    }
    let repository = importer::find(user_cwd, plan, options.keep_config, &options.allow_outside)?;
    if let Some(repository) = &repository {
        warnings.extend(repository.warnings.iter().cloned());
    } else {
        let directory = user_cwd.display();
        if plan.copy_worktree {
            return Err(refused(format!("there is no .git in {directory}")));
        }
        warnings.push(format!(
            "spec.copy_cwd is true, but there is no .git in {directory}"
        ));
    }
    Ok(repository)
}
