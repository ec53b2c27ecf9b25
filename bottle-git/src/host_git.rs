//! Reads configuration files with the host's git.
//!
//! The repository may be hostile, so git is never run in it. It runs in `/` and reads one file that
//! this step has opened without following links. It does not follow includes, and `git config` runs
//! no hook, filter or command of a configuration. This step reads all other files of a repository
//! itself.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, anyhow};
use bottle_common::error::hinted;
use bottle_common::host::process::{self, Unfinished};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::config::{self, ENTRY_COST, Entry};
use crate::inside;

/// The maximum length of a configuration file, in bytes.
const LIMIT: u64 = 1 << 20;
/// The maximum memory for the entries of a repository and its submodules, in bytes. Each entry
/// contains the name of its section, so they can take much more than the files.
pub const MAX_COST: usize = 8 << 20;

/// What came of running git.
pub enum GitAnswer<T> {
    /// git succeeded.
    Yes(T),
    /// git failed.
    No,
    /// There is no git on this host.
    NoGit(io::Error),
}

/// Reads all entries of the configuration file `name` in `root`. Returns `None` if it is missing.
/// Files that it includes are not read.
///
/// # Errors
///
/// If the file is a link, is not a regular file, cannot be read or is too large, if git does not
/// run to its end, or if a signal comes.
pub fn entries(root: &Path, name: &str) -> Result<Option<GitAnswer<Vec<Entry>>>> {
    let answer = config(root, name, &["-z", "--list"])?;
    Ok(answer.map(|answer| match answer {
        GitAnswer::Yes(output) => GitAnswer::Yes(config::parse(&output.stdout)),
        GitAnswer::No => GitAnswer::No,
        GitAnswer::NoGit(error) => GitAnswer::NoGit(error),
    }))
}

/// Whether the boolean `key` in the configuration file `name` in `root` is true. It is false if the
/// file or the key is missing, or if git cannot read it.
///
/// # Errors
///
/// The errors of [`entries`].
pub fn is_true(root: &Path, name: &str, key: &str) -> Result<bool> {
    let answer = config(root, name, &["--type=bool", "--get", key])?;
    Ok(matches!(answer, Some(GitAnswer::Yes(output)) if output.stdout == b"true\n"))
}

/// Runs `git config` with the arguments `question` for the file `name` in `root`.
fn config(root: &Path, name: &str, question: &[&str]) -> Result<Option<GitAnswer<Output>>> {
    let Some(file) = inside::open(root, name.as_ref())? else {
        return Ok(None);
    };
    let path = root.join(name);
    if cost(&inside::contents(&file, &path, LIMIT)?) > MAX_COST {
        return Err(too_many_entries(&path));
    }
    // git inherits the descriptor, so it reads the file that was checked, even if another file has
    // taken its place.
    let reading = || format!("read {}", path.display());
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).with_context(reading)?;
    fcntl_setfd(&file, FdFlags::empty()).with_context(reading)?;
    let file = format!("/dev/fd/{}", file.as_raw_fd());
    let args = ["-C", "/", "config", "-f", &file, "--no-includes"];
    let args = args.iter().chain(question).map(OsStr::new);
    match process::git(args) {
        Ok(output) if output.status.success() => Ok(Some(GitAnswer::Yes(output))),
        Ok(_) => Ok(Some(GitAnswer::No)),
        Err(Unfinished::Missing(error)) => Ok(Some(GitAnswer::NoGit(error))),
        Err(Unfinished::Interrupted(error)) => Err(error.into()),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")).with_context(reading),
    }
}

/// Makes the error that the file at `path`, or all files up to it, have more entries than anybody
/// needs.
pub fn too_many_entries(path: &Path) -> anyhow::Error {
    let path = path.display();
    hinted(
        format!("{path} has too many entries"),
        format!("see what is in it: less {path}"),
    )
}

/// Estimates the memory that the entries of a configuration take, or more. It assumes that each
/// line sets one variable, and that the name of a section is on one line.
fn cost(text: &[u8]) -> usize {
    let (mut cost, mut section) = (0, 0);
    for line in text.split(|&byte| byte == b'\n') {
        if line.contains(&b'[') {
            section = section.max(line.len());
        }
        cost += section + line.len() + ENTRY_COST;
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::{MAX_COST, cost};
    use crate::config::ENTRY_COST;

    #[test]
    fn a_long_section_name_counts_for_each_entry() {
        assert_eq!(cost(b"[ab]\nc\n"), 3 * ENTRY_COST + 8 + 5 + 4);
        let many = "[branch \"a-topic-with-a-long-name\"]\n\tremote = origin\n".repeat(10_000);
        assert!(cost(many.as_bytes()) < MAX_COST);
        let long = format!("[{}]\n{}", "a".repeat(1000), "b\n".repeat(10_000));
        assert!(cost(long.as_bytes()) > MAX_COST);
    }
}
