//! What the host's git says of a repository. Nothing of the repository is run: no hook, no helper, no monitor.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Result, anyhow};
use bottle_common::command::{self, Unfinished};

use crate::config::{self, Entry};

/// Where a repository's parts are.
pub struct Places {
    /// What the work tree has for itself.
    pub own: PathBuf,
    /// What linked worktrees have in common; the same where there are none.
    pub shared: PathBuf,
    pub is_bare: bool,
}

/// What git said, or why it did not.
pub enum Said<T> {
    Yes(T),
    /// It refused, in these words.
    No(String),
    /// There is no git here.
    Absent(std::io::Error),
}

/// Finds the parts of the repository at `path`, a directory or a file that names one.
///
/// Since it is named, git does not ask whose it is.
pub fn places(path: &Path) -> Result<Said<Places>> {
    let args = ["rev-parse", "--git-dir", "--git-common-dir", "--is-bare-repository"].map(OsStr::new);
    Ok(match git(["--git-dir".as_ref(), path.as_os_str()].into_iter().chain(args))? {
        Said::Yes(output) => {
            let output = String::from_utf8(output.stdout).unwrap_or_default();
            match output.lines().collect::<Vec<_>>()[..] {
                [own, shared, is_bare] => {
                    Said::Yes(Places { own: own.into(), shared: shared.into(), is_bare: is_bare == "true" })
                }
                _ => Said::No("its path holds a newline, or is not UTF-8".to_owned()),
            }
        }
        Said::No(words) => Said::No(words),
        Said::Absent(error) => Said::Absent(error),
    })
}

/// All that `file` sets; what it includes is another file's.
pub fn entries(file: &Path) -> Result<Said<Vec<Entry>>> {
    let args = ["--no-includes", "--list", "-z"].map(OsStr::new);
    let head = ["config".as_ref(), "-f".as_ref(), file.as_os_str()];
    Ok(match git(head.into_iter().chain(args))? {
        Said::Yes(output) => Said::Yes(config::parse(&output.stdout)),
        Said::No(words) => Said::No(words),
        Said::Absent(error) => Said::Absent(error),
    })
}

/// The object directories that the repository at `path` borrows from, those that they borrow from themselves included.
pub fn alternates(path: &Path) -> Result<Said<Vec<PathBuf>>> {
    let args = ["--git-dir".as_ref(), path.as_os_str(), "count-objects".as_ref(), "-v".as_ref()];
    Ok(match git(args)? {
        Said::Yes(output) => {
            let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
            let paths: Vec<_> = stdout.lines().filter_map(|line| line.strip_prefix("alternate: ")).collect();
            if let Some(error) = String::from_utf8_lossy(&output.stderr).lines().next() {
                return Ok(Said::No(error.to_owned()));
            }
            // What is odd in a path git quotes.
            if paths.is_empty() || paths.iter().any(|path| path.starts_with('"')) {
                return Ok(Said::No("git does not find it".to_owned()));
            }
            Said::Yes(paths.into_iter().map(PathBuf::from).collect())
        }
        Said::No(words) => Said::No(words),
        Said::Absent(error) => Said::Absent(error),
    })
}

fn git<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Said<Output>> {
    match command::git(args) {
        Ok(output) if output.status.success() => Ok(Said::Yes(output)),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Ok(Said::No(words.lines().next().unwrap_or_default().to_owned()))
        }
        Err(Unfinished::NotStarted(error)) => Ok(Said::Absent(error)),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")),
    }
}
