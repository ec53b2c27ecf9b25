//! Copies the agent's skills, each a directory on the host, into the guest as node's.

mod manifest;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bottle_common::archive::{Directory, Existing};
use bottle_common::call::Call;
use bottle_common::check::{Check, DEEP, Facts, Listing};
use bottle_common::checked::{GuestPath, SkillName};
use bottle_common::failure::hinted;
use bottle_common::guest;
use bottle_common::options::checked;
use bottle_common::pack::Packed;
use bottle_common::plan::Plan;
use bottle_common::receipt;
use bottle_common::step::{self, Step};
use bottle_common::work::{Outcome, Work};

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

const STEP: Step<Options> =
    Step { name: "bottle-skills", about: "Copies the agent's skills into the guest", prepare, check };

const NOTHING: &str = "the agent has no skills";

fn main() -> ExitCode {
    step::main(&STEP)
}

fn prepare(plan: &Plan, options: &Options) -> Result<Work> {
    if plan.skills.is_empty() {
        return Ok(Work::nothing(NOTHING));
    }
    let guest_dir = &options.guest_skills_dir;
    let mut calls = vec![Call::exec(&["mkdir", "-p", guest_dir])];
    let (mut skills, mut warnings) = (Vec::new(), Vec::new());
    for (lane, (name, directory)) in (1..).zip(find_all(plan, options)?) {
        let broken = directory.layers.iter().flat_map(|layer| manifest::warnings(&layer.source, &name));
        warnings.extend(broken.map(|warning| format!("{}: {warning}", directory.name)));
        let path = guest_dir.join(&name);
        let mut own = vec![Call::exec(&["rm", "-rf", &path])];
        own.extend(directory.unpack(guest_dir, &name, Existing::Replace)?);
        own.push(Call::exec(&["chown", "-R", guest::OWNER, &path]));
        calls.extend(own.into_iter().map(|call| call.in_lane(lane)));
        skills.push((name, path));
    }
    let line = line(plan, options);
    let work = Work::new(calls, |done| {
        let receipt = |((name, path), packed): ((SkillName, GuestPath), Packed)| {
            let (name, path) = (name.to_string(), path.to_string());
            receipt::Skill { name, path, files: packed.files, sha256: packed.sha256 }
        };
        let skills = skills.into_iter().zip(done.packed).map(receipt).collect();
        Outcome::done(line, &receipt::Skills { skills })
    });
    Ok(work.warning(warnings))
}

/// Every file of every skill, and that node owns what is above them: Claude Code writes its settings there.
fn check(plan: &Plan, options: &Options) -> Result<Check> {
    if plan.skills.is_empty() {
        return Ok(Check::nothing(NOTHING));
    }
    let guest_dir = &options.guest_skills_dir;
    let (mut roots, mut expected) = (Vec::new(), Listing::default());
    for parent in guest_dir.below(guest::HOME) {
        roots.push(format!("0:{parent}"));
        expected = expected.with(&parent, Facts::directory(guest::OWNER));
    }
    for (name, directory) in find_all(plan, options)? {
        let path = guest_dir.join(&name);
        roots.push(format!("{DEEP}:{path}"));
        expected.0.append(&mut directory.listing(&path)?.0);
    }
    let roots: Vec<_> = roots.iter().map(String::as_str).collect();
    Ok(Check::listing(line(plan, options), &roots, expected))
}

fn line(plan: &Plan, options: &Options) -> String {
    let names: Vec<_> = plan.skills.iter().map(ToString::to_string).collect();
    format!("{} in {}", names.join(", "), options.guest_skills_dir)
}

/// The plan's skills on the host. One that is missing fails the step before anything else is done.
fn find_all(plan: &Plan, options: &Options) -> Result<Vec<(SkillName, Directory)>> {
    let host_dir = match &options.host_skills_dir {
        Some(dir) => dir.clone(),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".claude/skills"),
    };
    plan.skills.iter().map(|name| Ok((name.clone(), find(&host_dir, name)?))).collect()
}

fn find(dir: &Path, name: &SkillName) -> Result<Directory> {
    let source = dir.join(&**name);
    let what = format!("skill `{name}`");
    let hint =
        || "--host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory than $HOME/.claude/skills";
    match source.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(Directory::new(what, source)),
        Ok(_) => Err(hinted(format!("{what}: {} is not a directory", source.display()), hint())),
        Err(error) => Err(hinted(format!("{what}: read {}: {error}", source.display()), hint())),
    }
}

#[cfg(test)]
#[test]
fn the_documents_are_those_of_the_command_line() {
    harness::step_documents(&STEP.command());
}
