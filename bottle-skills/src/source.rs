//! Finds a skill on the host, and decides whether it may be copied into the guest.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use bottle_common::error::hinted;
use bottle_common::host::directory::Directory;
use bottle_common::host::tree::PinnedTree;
use bottle_common::plan::values::SkillName;

use crate::manifest;

const HINT: &str = "--host-skills-dir or CLAUDE_BOTTLE_HOST_SKILLS_DIR names another directory \
                    than $HOME/.claude/skills";

/// A skill on the host.
pub struct Skill {
    /// The skill's name in the plan.
    pub name: SkillName,
    /// The skill's files.
    pub tree: PinnedTree,
    /// Warnings for people.
    pub warnings: Vec<String>,
}

/// Finds the skill `name` in `host_dir`. Both may be links, which are followed. Installers of
/// skills make links to `agents_dir`, so such a link causes no warning.
///
/// # Errors
///
/// If there is no such directory, or if a link leads to a directory that is not a skill.
pub fn find(host_dir: &Path, agents_dir: Option<&Path>, name: &SkillName) -> Result<Skill> {
    let what = format!("skill `{name}`");
    let source = host_dir.join(&**name);
    let shown = source.display();
    let fail = |why: String| hinted(format!("{what}: {why}"), HINT);
    let place =
        fs::canonicalize(&source).map_err(|error| fail(format!("read {shown}: {error}")))?;
    let directory = Directory::open(&place).map_err(|error| match error.kind() {
        ErrorKind::NotADirectory => fail(format!("{shown} is not a directory")),
        _ => fail(format!("read {shown}: {error}")),
    })?;

    let mut warnings = Vec::new();
    let host_dir = fs::canonicalize(host_dir)?;
    if place != host_dir.join(&**name) {
        // The link may come from a collection of skills that somebody else made. Then it may lead
        // to any directory of this host.
        if !manifest::is_in(&directory) {
            let place = place.display();
            return Err(hinted(
                format!("{what}: {shown} leads to {place}, which has no file SKILL.md"),
                "a link has to lead to a skill: remove it, or put a skill in its place",
            ));
        }
        let is_inside = |dir: &Path| fs::canonicalize(dir).is_ok_and(|dir| place.starts_with(dir));
        if !place.starts_with(&host_dir) && !agents_dir.is_some_and(is_inside) {
            warnings.push(format!("{shown} leads to {}", place.display()));
        }
    }
    warnings.extend(manifest::warning(&directory));
    // In a submodule it is a file.
    if place.join(".git").is_dir() {
        let warning = ".git is copied, too; its configuration may hold a token";
        warnings.push(warning.to_owned());
    }
    Ok(Skill {
        name: name.clone(),
        tree: PinnedTree::new(what, &directory),
        warnings,
    })
}
