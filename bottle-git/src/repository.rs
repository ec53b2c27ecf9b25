//! The project's `.git` on its way to the agent's workspace.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bottle_common::archive::{Directory, Existing, was_kept};
use bottle_common::call::Call;
use bottle_common::checked::GuestPath;
use bottle_common::failure::hinted;
use bottle_common::work::Done;
use bottle_common::{command, guest, receipt};

/// Which of the calls unpacks.
const UNPACK: usize = 2;

/// A repository of the host.
pub struct Repository {
    source: PathBuf,
    /// Whether the host's git, if there is one, takes it for a repository.
    pub is_readable: bool,
}

impl Repository {
    /// Finds the `.git` in `user_cwd`, if there is one.
    pub fn find(user_cwd: &Path) -> Result<Option<Self>> {
        let source = user_cwd.join(".git");
        let reading = || format!("read {}", source.display());
        match source.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(reading),
            Ok(metadata) if metadata.is_file() => {
                return Err(hinted(
                    format!("{} is a file: linked worktrees and submodules are not supported yet", source.display()),
                    "a clone has a .git of its own: git clone --no-local OLD NEW, with NEW as spec.user_cwd",
                ));
            }
            Ok(metadata) if !metadata.is_dir() => bail!("{}: not a directory", reading()),
            Ok(_) => {}
        }
        let is_readable = is_readable(&source);
        Ok(Some(Self { source, is_readable }))
    }

    /// What a person should know beforehand.
    pub fn warning(&self) -> Option<String> {
        let warning = || format!("{} is no repository that git can read: copied as it is", self.source.display());
        (!self.is_readable).then(warning)
    }

    /// The calls that put it in place, which are to be the step's first.
    pub fn calls(&self, replace: bool) -> Vec<Call> {
        let existing = if replace { Existing::Replace } else { Existing::Keep };
        let directory = Directory { name: "repository".to_owned(), source: self.source.clone() };
        let mut calls = vec![Call::exec(&["mkdir", "-p", &workspace()])];
        calls.extend(directory.unpack(&workspace(), ".git", existing));
        calls.push(Call::exec(&["chown", "-R", guest::OWNER, &path()]));
        calls
    }

    /// The line for people, the receipt, and a warning where the guest had a repository of its own.
    pub fn outcome(&self, done: &Done) -> (String, receipt::Repository, Option<String>) {
        let path = path().to_string();
        if done.answers.get(UNPACK).is_some_and(|answer| was_kept(answer)) {
            let warning = format!("{path} was there already and is kept; --replace-repository replaces it");
            return (format!("{path} as it was"), receipt::Repository::Kept { path, kept: true }, Some(warning));
        }
        let packed = done.packed.first();
        let (files, sha256) = packed.map(|packed| (packed.files, packed.sha256.clone())).unwrap_or_default();
        let line = format!("{} in {path}", self.source.display());
        (line, receipt::Repository::Copied { path, files, sha256 }, None)
    }
}

/// The agent's work tree.
pub fn workspace() -> GuestPath {
    guest::home("workspace")
}

/// The repository in the guest.
pub fn path() -> GuestPath {
    workspace().join(".git")
}

/// Whether the host's git, if there is one, takes `path` for a repository.
fn is_readable(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return true };
    let args = ["--git-dir", path, "rev-parse", "--git-dir"];
    !command::run(OsStr::new("git"), args, Duration::from_secs(10)).is_ok_and(|output| !output.status.success())
}
