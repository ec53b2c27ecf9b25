//! Asks the host's git about a repository. No hook, filter or command that is configured in the
//! repository is executed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Result, anyhow};
use bottle_common::host::process::{self, Unfinished};

use crate::config::{self, Entry};

/// The directories of a repository, as git names them.
pub struct GitDirs {
    /// The directory with what belongs to one work tree, such as `HEAD` and the index.
    pub git_dir: PathBuf,
    /// The directory with what linked worktrees share. Without linked worktrees it is `git_dir`.
    pub common_dir: PathBuf,
    pub is_bare: bool,
}

/// What git answered.
pub enum Answer<T> {
    /// git succeeded.
    Yes(T),
    /// git failed with this message.
    No(String),
    /// git cannot be run on this host.
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

/// Finds the directories of the repository at `path`, which is a directory, or a file that names
/// one. git does not check who owns the repository, because `--git-dir` names it.
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

/// Reads the entries of the configuration `file`, but not those of files that it includes.
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

/// Lists the object directories from which the repository at `path` borrows objects, and those from
/// which they borrow in turn.
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
        // git quotes a path with special characters.
        let is_quoted = |path: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"\"");
        if paths.is_empty() || paths.iter().any(is_quoted) {
            return Answer::No("git does not find it".to_owned());
        }
        Answer::Yes(paths)
    }))
}

/// Runs git. The message of a failure is the first line of its stderr.
fn git(args: &[&OsStr]) -> Result<Answer<Output>> {
    match process::git(args.iter().copied()) {
        Ok(output) if output.status.success() => Ok(Answer::Yes(output)),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let message = stderr.lines().next().unwrap_or_default();
            Ok(Answer::No(message.to_owned()))
        }
        Err(Unfinished::Missing(error)) => Ok(Answer::NoGit(error)),
        Err(Unfinished::Interrupted(error)) => Err(error.into()),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")),
    }
}
