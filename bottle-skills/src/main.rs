//! Copies the agent's skills into the guest. Each skill is a directory, and its copy belongs to
//! `node`.

mod manifest;
mod source;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use bottle_common::guest::listing::{Attributes, DEEP, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::Plan;
use bottle_common::plan::values::{GuestPath, SkillName};
use bottle_common::smolvm::call::Calls;
use bottle_common::smolvm::install::{
    Existing, give_to_node, install, make_directory, remove_directory,
};
use bottle_common::step::options::{Questions, checked};
use bottle_common::step::{CallResults, Check, Prepared, Report, Step, live, program, receipt};

use crate::source::Skill;

#[derive(clap::Args)]
struct Options {
    /// Directory of the skills on the host [default: $HOME/.claude/skills]
    #[arg(long, value_name = "DIR", env = "CLAUDE_BOTTLE_HOST_SKILLS_DIR")]
    host_skills_dir: Option<PathBuf>,

    /// Directory of the skills in the guest
    #[arg(
        long,
        value_name = "DIR",
        env = "CLAUDE_BOTTLE_GUEST_SKILLS_DIR",
        default_value = "/home/node/.claude/skills",
        value_parser = checked::<GuestPath>
    )]
    guest_skills_dir: GuestPath,
}

const STEP: Step<Options> = Step {
    name: "bottle-skills",
    about: "Copies the agent's skills into the guest",
    notes: "",
    prepare,
    check,
    live,
};

const NOTHING: &str = "the agent has no skills";
fn main() -> ExitCode {
    program::main(&STEP)
}

fn prepare(plan: &Plan, options: &Options) -> Result<Prepared> {
    if plan.skills.is_empty() {
        return Ok(Prepared::nothing(NOTHING));
    }
    let guest_dir = &options.guest_skills_dir;
    let mut calls = Calls::from(vec![make_directory(guest_dir).into()]);
    let mut warnings = Vec::new();
    let mut skills = Vec::new();
    for skill in find_all(plan, options)? {
        let name = skill.name;
        for warning in skill.warnings {
            warnings.push(format!("{}: {warning}", skill.tree.name));
        }
        let path = guest_dir.join(&name);
        let mut group = install(skill.tree, guest_dir, &name, Existing::Replace)?;
        group.calls.insert(0, remove_directory(&path).into());
        group.calls.push(give_to_node(&path).into());
        calls.side_by_side.push(group);
        skills.push((name, path));
    }
    let line = line(plan, options);
    let prepared = Prepared::new(calls, |results| {
        let skills = receipts(skills, results);
        Ok(Report::done(line, &receipt::Skills { skills }))
    });
    Ok(prepared.warn(warnings))
}

/// Makes the receipts of the skills, whose order is that of the packed directories.
fn receipts(skills: Vec<(SkillName, GuestPath)>, results: CallResults) -> Vec<receipt::Skill> {
    let mut receipts = Vec::new();
    for ((name, path), packed) in skills.into_iter().zip(results.packed) {
        receipts.push(receipt::Skill {
            name: name.to_string(),
            path: path.to_string(),
            files: packed.files,
            sha256: packed.sha256,
        });
    }
    receipts
}

/// Looks at every file of every skill, and at the owners of the directories above the skills,
/// because Claude Code writes its settings there.
fn check(plan: &Plan, options: &Options) -> Result<Check> {
    if plan.skills.is_empty() {
        return Ok(Check::nothing(NOTHING));
    }
    let guest_dir = &options.guest_skills_dir;
    let mut roots = Vec::new();
    let mut expected = Listing::default();
    for parent in guest_dir.below(paths::HOME) {
        roots.push(format!("0:{parent}"));
        expected = expected.with(&parent, Attributes::directory(paths::OWNER));
    }
    for skill in find_all(plan, options)? {
        let path = guest_dir.join(&skill.name);
        roots.push(format!("{DEEP}:{path}"));
        let mut listing = Listing::of_tree(&skill.tree, &path)?;
        expected.0.append(&mut listing.0);
    }
    let roots: Vec<_> = roots.iter().map(String::as_str).collect();
    Ok(Check::listing(line(plan, options), &roots, expected))
}

/// Asks whether node can read every file of every skill.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the type that every step's `live` has"
)]
fn live(plan: &Plan, options: &Options, questions: &Questions) -> Result<Check> {
    if plan.skills.is_empty() {
        return Ok(Check::nothing("and so nothing to read"));
    }
    let guest_dir = &options.guest_skills_dir;
    let targets: Vec<_> = plan
        .skills
        .iter()
        .map(|name| guest_dir.join(name))
        .collect();
    let directories = [paths::HOME, &paths::home(".claude"), guest_dir];
    let line = "node can read them";
    Ok(live::files(
        line,
        &plan.guest_env,
        questions,
        &targets,
        &directories,
    ))
}

fn line(plan: &Plan, options: &Options) -> String {
    let names: Vec<_> = plan.skills.iter().map(ToString::to_string).collect();
    format!("{} in {}", names.join(", "), options.guest_skills_dir)
}

/// Finds the plan's skills on the host. One that is missing fails the step before anything else is
/// done.
fn find_all(plan: &Plan, options: &Options) -> Result<Vec<Skill>> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let host_dir = match (&options.host_skills_dir, &home) {
        (Some(dir), _) => dir.clone(),
        (None, Some(home)) => home.join(".claude/skills"),
        (None, None) => bail!("HOME is not set"),
    };
    let agents_dir = home.map(|home| home.join(".agents"));
    let mut skills = Vec::new();
    for name in &plan.skills {
        skills.push(source::find(&host_dir, agents_dir.as_deref(), name)?);
    }
    Ok(skills)
}

#[cfg(test)]
#[test]
fn the_documents_match_the_command_line() {
    let files = [
        ("~/.claude/skills", "The skills on the host."),
        (
            "/home/node/.claude/skills",
            "In the guest: the copied skills.",
        ),
    ];
    harness::step_documents(&STEP.command(), &files);
}
