//! The plan's stage directory: files that are made on the host for the guest. They are private, and
//! removed when the run that made them ends.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock, statvfs};
use tempfile::{Builder, NamedTempFile};

use crate::error::hinted;
use crate::text;

/// What the names of staged files begin with.
const PREFIX: &str = "bottle-";

/// The directory, which is made when its first file is.
pub struct StageDir(PathBuf);

impl StageDir {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes a new file that only we can read, in the directory, which is made (0700) when missing.
    /// The file is locked as long as it is open: a run that finds it unlocked knows that its maker
    /// is dead.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    pub fn create_file(&self) -> Result<NamedTempFile> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("make stage_dir {}", self.0.display()))?;
        self.create_locked()
            .with_context(|| format!("write a file in stage_dir {}", self.0.display()))
    }

    fn create_locked(&self) -> io::Result<NamedTempFile> {
        loop {
            let file = Builder::new().prefix(PREFIX).tempfile_in(&self.0)?;
            flock(file.as_file(), FlockOperation::LockExclusive)?;
            // Between the two another run may have taken it for a dead one's.
            if file.as_file().metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    /// Removes the files of runs that were killed.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let is_ours = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes());
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_ours && is_file && is_unlocked(&entry.path()) {
                // Another run that is clearing up may have been faster.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Fails unless the directory has room for `needed` bytes.
    ///
    /// # Errors
    ///
    /// When there is less, with the numbers and a hint.
    pub fn check_room(&self, needed: u64) -> Result<()> {
        // A directory that is not there yet is on its parent's file system. Where the system does
        // not tell, writing will show.
        let Some(system) = self.0.ancestors().find_map(|path| statvfs(path).ok()) else {
            return Ok(());
        };
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free >= needed {
            return Ok(());
        }
        let (needed, free) = (text::size(needed), text::size(free));
        Err(hinted(
            format!(
                "no room in stage_dir {}: {needed} needed, {free} free",
                self.0.display()
            ),
            "stage_dir in the plan names another directory",
        ))
    }
}

/// Whether no process holds the lock of the file at `path`.
fn is_unlocked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // On a file system without locks it cannot be told whose file it is: it stays.
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::StageDir;

    #[test]
    fn what_a_living_run_staged_stays_and_the_rest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stage");
        let stage_dir = StageDir::new(&path);
        let living = stage_dir.create_file().unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&*path), mode(living.path())), (0o700, 0o600));
        let (dead, other) = (path.join("bottle-dead"), path.join("other"));
        fs::write(&dead, "").unwrap();
        fs::write(&other, "").unwrap();
        fs::create_dir(path.join("bottle-directory")).unwrap();
        stage_dir.clear();
        assert!(living.path().exists() && other.exists() && !dead.exists());
        assert!(path.join("bottle-directory").exists());
    }

    #[test]
    fn room_is_asked_for() {
        let stage_dir = StageDir::new("/nowhere/stage".as_ref());
        stage_dir.check_room(0).unwrap();
        let error = stage_dir.check_room(u64::MAX).unwrap_err().to_string();
        assert!(
            error.starts_with("no room in stage_dir /nowhere/stage: "),
            "{error}"
        );
    }
}
