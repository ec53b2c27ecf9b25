//! Refuses links that lead out of a repository. Their targets would be missing in the guest, or
//! would be files of the host that nobody chose.

use std::fs;
use std::path::Path;

use anyhow::Result;
use bottle_common::error::hinted;
use bottle_common::host::signals;

use crate::git_dirs::GitDirs;
use crate::inside::CLONE;

/// The files of a repository that must not be links that lead out of it, because they would be
/// missing in the guest.
const ESSENTIAL: &[&str] = &[
    "config",
    "config.worktree",
    "info",
    "logs",
    "objects",
    "objects/info",
    "objects/pack",
    "packed-refs",
    "refs",
    "refs/heads",
    "refs/remotes",
    "refs/tags",
    "shallow",
];

/// Fails if a necessary file of the repository is a link that leads out of it.
pub fn refuse_links_out(dirs: &GitDirs) -> Result<()> {
    let GitDirs {
        git_dir,
        common_dir,
    } = dirs;
    let own = ["HEAD", "config.worktree", "index", "logs", "refs"].map(|name| git_dir.join(name));
    let shared = ESSENTIAL.iter().map(|name| common_dir.join(name));
    for part in own.into_iter().chain(shared) {
        refuse_link_out(&part, common_dir)?;
    }
    refuse_objects_out(&common_dir.join("objects"), common_dir)
}

/// Fails if the object directory `objects` contains a link that leads out of `root`.
pub fn refuse_objects_out(objects: &Path, root: &Path) -> Result<()> {
    for directory in [objects, &objects.join("pack")] {
        for part in fs::read_dir(directory).into_iter().flatten().flatten() {
            signals::check()?;
            refuse_link_out(&part.path(), root)?;
        }
    }
    Ok(())
}

/// Fails if `part` is a link that leads out of `root`.
fn refuse_link_out(part: &Path, root: &Path) -> Result<()> {
    if part.is_symlink() && fs::canonicalize(part).is_ok_and(|target| !target.starts_with(root)) {
        let part = part.display();
        return Err(hinted(
            format!("{part} is a link that leads out of the repository"),
            CLONE,
        ));
    }
    Ok(())
}
