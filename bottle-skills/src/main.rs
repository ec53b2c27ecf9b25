//! Copies the agent's skills, each a directory on the host, into the guest as node's.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::archive::{Archive, Existing};
use bottle_common::call::Call;
use bottle_common::checked::{GuestPath, SkillName};
use bottle_common::failure::hinted;
use bottle_common::guest;
use bottle_common::options::checked;
use bottle_common::plan::Plan;
use bottle_common::step::{self, Outcome, Step, Work};
use serde_json::json;

#[derive(clap::Args)]
struct Options {
    /// Where the skills are on the host [default: $HOME/.claude/skills]
    #[arg(long, value_name = "DIR", env = "CLAUDE_BOTTLE_HOST_SKILLS_DIR")]
    host_skills_dir: Option<PathBuf>,

    /// Where the skills go in the guest
    #[arg(
        long,
        value_name = "DIR",
        env = "CLAUDE_BOTTLE_GUEST_SKILLS_DIR",
        default_value = "/home/node/.claude/skills",
        value_parser = checked::<GuestPath>
    )]
    guest_skills_dir: GuestPath,
}

fn main() -> ExitCode {
    step::main(&Step { name: "bottle-skills", about: "Copies the agent's skills into the guest", prepare })
}

fn prepare(plan: &Plan, options: &Options) -> Result<Work> {
    if plan.skills.is_empty() {
        return Ok(Work::nothing("the agent has no skills"));
    }
    let host_dir = match &options.host_skills_dir {
        Some(dir) => dir.clone(),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".claude/skills"),
    };
    // All that are missing fail before the first is packed.
    for name in &plan.skills {
        find(&host_dir, name)?;
    }
    let guest_dir = &options.guest_skills_dir;
    let mut calls = vec![Call::exec(&["mkdir", "-p", guest_dir])];
    let (mut warnings, mut archives, mut skills) = (Vec::new(), Vec::new(), Vec::new());
    for name in &plan.skills {
        let path = guest_dir.join(name);
        let mut archive =
            Archive::pack(&host_dir.join(&**name), &plan.stage_dir).with_context(|| format!("skill `{name}`"))?;
        calls.push(Call::exec(&["rm", "-rf", &path]));
        calls.extend(archive.unpack(guest_dir, name, Existing::Replace));
        calls.push(Call::exec(&["chown", "-R", guest::OWNER, &path]));
        skills.push(json!({"name": **name, "path": *path, "files": archive.files, "sha256": archive.sha256}));
        warnings.extend(archive.warnings.drain(..).map(|warning| format!("skill `{name}`: {warning}")));
        archives.push(archive);
    }
    let names: Vec<_> = plan.skills.iter().map(ToString::to_string).collect();
    let outcome = Outcome::done(format!("{} in {guest_dir}", names.join(", ")), json!({"skills": skills}));
    Ok(Work::new(calls, outcome).warning(warnings).holding(archives))
}

fn find(dir: &Path, name: &SkillName) -> Result<()> {
    let path = dir.join(&**name);
    let hint =
        || "--host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than $HOME/.claude/skills";
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(hinted(format!("skill `{name}`: {} is not a directory", path.display()), hint())),
        Err(error) => Err(hinted(format!("skill `{name}`: read {}: {error}", path.display()), hint())),
    }
}
