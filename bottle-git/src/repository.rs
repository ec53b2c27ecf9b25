//! The project's `.git` on its way to the agent's workspace.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bottle_common::archive::{Archive, Existing, was_kept};
use bottle_common::call::Call;
use bottle_common::checked::GuestPath;
use bottle_common::failure::hinted;
use bottle_common::{command, guest};
use serde_json::{Value, json};

/// Which of the calls unpacks.
const UNPACK: usize = 2;

/// A repository, packed.
pub struct Repository {
    /// What is copied.
    pub archive: Archive,
    source: PathBuf,
    workspace: GuestPath,
}

impl Repository {
    /// Packs the `.git` in `user_cwd`, if there is one.
    pub fn pack(user_cwd: &Path, stage_dir: &Path) -> Result<Option<Self>> {
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
        let mut archive = Archive::pack(&source, stage_dir)?;
        if is_unreadable(&source) {
            archive
                .warnings
                .insert(0, format!("{} is no repository that git can read: copied as it is", source.display()));
        }
        Ok(Some(Self { archive, source, workspace: guest::home("workspace") }))
    }

    /// The calls that put it in place, which are to be the step's first.
    pub fn calls(&self, replace: bool) -> Vec<Call> {
        let existing = if replace { Existing::Replace } else { Existing::Keep };
        let mut calls = vec![Call::exec(&["mkdir", "-p", &self.workspace])];
        calls.extend(self.archive.unpack(&self.workspace, ".git", existing));
        calls.push(Call::exec(&["chown", "-R", guest::OWNER, &self.workspace.join(".git")]));
        calls
    }

    /// What the receipt says of it.
    pub fn receipt(&self) -> Value {
        json!({"path": *self.workspace.join(".git"), "files": self.archive.files, "sha256": self.archive.sha256})
    }

    /// The line for people, and a warning where the guest had a repository of its own; that is in the receipt, too.
    pub fn outcome(&self, answers: &[String], receipt: &mut Value) -> (String, Option<String>) {
        let path = self.workspace.join(".git");
        let kept = answers.get(UNPACK).is_some_and(|answer| was_kept(answer));
        if !kept {
            return (format!("{} in {path}", self.source.display()), None);
        }
        *receipt = json!({"path": *path, "kept": true});
        let warning = format!("{path} was there already and is kept; --replace-repository replaces it");
        (format!("{path} as it was"), Some(warning))
    }
}

/// Whether the host's git, if there is one, does not take `path` for a repository.
fn is_unreadable(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    let args = ["--git-dir", path, "rev-parse", "--git-dir"];
    command::run(OsStr::new("git"), args, Duration::from_secs(10)).is_ok_and(|output| !output.status.success())
}
