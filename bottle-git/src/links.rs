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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{ESSENTIAL, refuse_links_out};
    use crate::git_dirs::GitDirs;

    /// The result for a linked worktree in a repository in which `name` is a link to `target`.
    fn judged(name: &str, target: &str) -> Result<(), String> {
        let host = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(host.path()).unwrap();
        for directory in ["git/worktrees/w", "git/inside", "outside"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let link = root.join("git").join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(root.join(target), &link).unwrap();
        let dirs = GitDirs {
            git_dir: root.join("git/worktrees/w"),
            common_dir: root.join("git"),
        };
        let result = refuse_links_out(&dirs).map_err(|error| error.to_string());
        let link = link.display();
        let why = format!("{link} is a link that leads out of the repository");
        assert!(result.is_ok() || result == Err(why), "{result:?}");
        result
    }

    #[test]
    fn no_necessary_file_is_a_link_that_leads_out() {
        let own = ["HEAD", "config.worktree", "index", "logs", "refs"];
        let own = own.map(|name| format!("worktrees/w/{name}"));
        let objects = ["objects/ab", "objects/pack/x.pack"].map(str::to_owned);
        let shared = ESSENTIAL.iter().map(|&name| name.to_owned());
        for name in own.into_iter().chain(objects).chain(shared) {
            assert!(judged(&name, "outside").is_err(), "{name}");
            assert_eq!(judged(&name, "git/inside"), Ok(()), "{name}");
            assert_eq!(judged(&name, "nowhere"), Ok(()), "{name}");
        }
        assert_eq!(judged("rr-cache", "outside"), Ok(()));
    }
}
