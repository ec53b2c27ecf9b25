//! What the host's git says of a repository. No hook, filter or command configured in it is
//! executed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Result, anyhow};
use bottle_common::host::process::{self, Unfinished};

use crate::config::{self, Entry};

/// Where a repository's parts are, in git's own words.
pub struct GitDirs {
    /// What the work tree has for itself.
    pub git_dir: PathBuf,
    /// What linked worktrees have in common. Where there are none it is the same as `git_dir`.
    pub common_dir: PathBuf,
    pub is_bare: bool,
}

/// What git said, or why it said nothing.
pub enum Answer<T> {
    Yes(T),
    /// git refused, in these words.
    No(String),
    /// There is no git on this host.
    NoGit(io::Error),
}

impl<T> Answer<T> {
    fn map<U>(self, read: impl FnOnce(T) -> Answer<U>) -> Answer<U> {
        match self {
            Self::Yes(output) => read(output),
            Self::No(words) => Answer::No(words),
            Self::NoGit(error) => Answer::NoGit(error),
        }
    }
}

/// Finds the parts of the repository at `path`, a directory or a file that names one. Since the
/// repository is named, git does not ask whose it is.
pub fn git_dirs(path: &Path) -> Result<Answer<GitDirs>> {
    let answer = git(&[
        "--git-dir".as_ref(),
        path.as_os_str(),
        "rev-parse".as_ref(),
        "--git-dir".as_ref(),
        "--git-common-dir".as_ref(),
        "--is-bare-repository".as_ref(),
    ])?;
    Ok(answer.map(|output| {
        let output = String::from_utf8(output.stdout).unwrap_or_default();
        match output.lines().collect::<Vec<_>>()[..] {
            [git_dir, common_dir, is_bare] => Answer::Yes(GitDirs {
                git_dir: git_dir.into(),
                common_dir: common_dir.into(),
                is_bare: is_bare == "true",
            }),
            _ => Answer::No("its path holds a newline, or is not UTF-8".to_owned()),
        }
    }))
}

/// Reads all that `file` sets. What it includes is another file's.
pub fn entries(file: &Path) -> Result<Answer<Vec<Entry>>> {
    let answer = git(&[
        "config".as_ref(),
        "-f".as_ref(),
        file.as_os_str(),
        "--no-includes".as_ref(),
        "--list".as_ref(),
        "-z".as_ref(),
    ])?;
    Ok(answer.map(|output| Answer::Yes(config::parse(&output.stdout))))
}

/// Lists the object directories that the repository at `path` borrows from, with those that they
/// borrow from themselves.
pub fn alternates(path: &Path) -> Result<Answer<Vec<PathBuf>>> {
    let answer = git(&[
        "--git-dir".as_ref(),
        path.as_os_str(),
        "count-objects".as_ref(),
        "-v".as_ref(),
    ])?;
    Ok(answer.map(|output| {
        if let Some(error) = String::from_utf8_lossy(&output.stderr).lines().next() {
            return Answer::No(error.to_owned());
        }
        let mut paths = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(path) = line.strip_prefix("alternate: ") {
                paths.push(PathBuf::from(path));
            }
        }
        // git quotes a path with characters of its own meaning.
        let is_quoted = |path: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"\"");
        if paths.is_empty() || paths.iter().any(is_quoted) {
            return Answer::No("git does not find it".to_owned());
        }
        Answer::Yes(paths)
    }))
}

fn git(args: &[&OsStr]) -> Result<Answer<Output>> {
    match process::git(args.iter().copied()) {
        Ok(output) if output.status.success() => Ok(Answer::Yes(output)),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            Ok(Answer::No(
                words.lines().next().unwrap_or_default().to_owned(),
            ))
        }
        Err(Unfinished::Missing(error)) => Ok(Answer::NoGit(error)),
        Err(Unfinished::Interrupted(error)) => Err(error.into()),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")),
    }
}
