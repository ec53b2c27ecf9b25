//! The plan's stage directory, in which files for the guest are created on the host. The files are
//! private, and they are removed when the run that created them ends.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstatvfs, openat, unlinkat};
use rustix::process::geteuid;
use tempfile::{Builder, NamedTempFile};

use crate::error::hinted;
use crate::host::directory::Directory;
use crate::text;

/// The prefix of the names of staged files.
const PREFIX: &str = "bottle-";
/// The maximum memory for the names in the directory, in bytes.
const MAX_NAMES: usize = 1 << 20;

/// The user that owns the files of users who are not in this user namespace (Linux's default).
const UNMAPPED: u32 = 65534;
/// The mode bits with which the group or all users can write.
const OTHERS_WRITE: u32 = 0o022;
/// The mode bits with which all users can write. On macOS, all are in the group `staff`.
const EVERYBODY_WRITES: u32 = if cfg!(target_os = "linux") {
    0o002
} else {
    OTHERS_WRITE
};
/// The mode bit of a directory in which only the owner of a file can remove or rename it.
const STICKY: u32 = 0o1000;

/// The stage directory. It belongs to the user that runs the step, and nobody else can write in it.
/// Otherwise somebody else could replace a file before smolvm copies it.
pub struct StageDir(Directory);

impl StageDir {
    /// Opens the directory at `path`. If it is missing, it is created with its parents, with mode
    /// 0700.
    ///
    /// # Errors
    ///
    /// If it is a link, belongs to another user, or is writable for others; and if it cannot be
    /// created or opened.
    pub fn open(path: &Path) -> Result<Self> {
        // This removes a trailing slash, with which the system would follow a link.
        let path: PathBuf = path.components().collect();
        let opening = || format!("open stage_dir {}", path.display());
        if path.is_symlink() {
            return Err(refused(&path, "is a link", "names the directory itself"));
        }
        if path.to_str().is_none_or(|path| path.contains(':')) {
            let why = "is no path for smolvm, which takes UTF-8 without a colon";
            return Err(refused(&path, why, "names another directory"));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("make stage_dir {}", path.display()))?;
        let resolved = resolve_parents(&path).with_context(opening)?;
        let directory = Directory::open(&resolved).with_context(opening)?;
        judge(&directory)?;
        Ok(Self(directory))
    }

    /// Creates a new file in the directory that only we can read. The file is locked as long as it
    /// is open. So a run that finds an unlocked file knows that the run that created it is dead.
    ///
    /// # Errors
    ///
    /// If the file cannot be created or locked.
    pub fn create_file(&self) -> Result<NamedTempFile> {
        self.create_locked()
            .with_context(|| format!("write a file in stage_dir {}", self.0.path().display()))
    }

    fn create_locked(&self) -> io::Result<NamedTempFile> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        loop {
            let file = Builder::new()
                .prefix(PREFIX)
                .make_in(self.0.path(), |path| {
                    let name = path.file_name().unwrap_or_default();
                    Ok(File::from(openat(&self.0, name, flags, mode)?))
                })?;
            flock(file.as_file(), FlockOperation::LockExclusive)?;
            // Before the lock was taken, another run may have removed the file as left over.
            if file.as_file().metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
    }

    /// Removes the files that killed runs have left over.
    pub fn clear(&self) {
        let Ok(Some(names)) = self.0.names(MAX_NAMES) else {
            return;
        };
        for name in names.iter() {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            // A run that has just made the file waits for this lock, and then finds it removed.
            if let Some(_locked) = self.lock_dead(name) {
                // This fails if another run has removed the file in the meantime.
                let _ = unlinkat(&self.0, name, AtFlags::empty());
            }
        }
    }

    /// Opens and locks the file `name`, if no process has locked it.
    fn lock_dead(&self, name: &OsStr) -> Option<File> {
        let file = self.0.open_file(name).ok()??;
        // On a file system without locks this fails, and the file is not removed.
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(file)
    }

    /// Checks that the disk of the directory has `needed` bytes free.
    ///
    /// # Errors
    ///
    /// If there is less free space. The message has both numbers and a hint.
    pub fn check_room(&self, needed: u64) -> Result<()> {
        // If the system does not report the free space, the step tries to write the file.
        let Ok(system) = fstatvfs(&self.0) else {
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
                self.0.path().display()
            ),
            "stage_dir in the plan names another directory",
        ))
    }
}

/// Resolves the links in the parents of `path`. The last component is not resolved: if it is a
/// link, opening it fails.
fn resolve_parents(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(path),
    }
}

/// Checks that `directory` belongs to us, that nobody else can write in it, and that nobody else
/// can replace it by another directory.
fn judge(directory: &Directory) -> Result<()> {
    let path = directory.path();
    let metadata = directory.metadata();
    let metadata = metadata.with_context(|| format!("open stage_dir {}", path.display()))?;
    let (us, owner) = (geteuid().as_raw(), metadata.uid());
    let another = "names another directory, which is made when missing";
    if owner != us {
        let why = format!("belongs to user {owner}, and this runs as user {us}");
        return Err(refused(path, &why, another));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 {
        let what = format!(
            "stage_dir {} has mode {mode:04o}: others can exchange what goes into the guest",
            path.display()
        );
        return Err(hinted(what, format!("chmod go-w {}", path.display())));
    }
    for parent in path.ancestors().skip(1) {
        let metadata = parent.metadata();
        let metadata = metadata.with_context(|| format!("read {}", parent.display()))?;
        let (mode, owner) = (metadata.mode(), metadata.uid());
        if ![0, us, UNMAPPED].contains(&owner) {
            let parent = parent.display();
            let why = format!("can be replaced by user {owner}, who owns {parent}");
            return Err(refused(path, &why, another));
        }
        if mode & EVERYBODY_WRITES != 0 && mode & STICKY == 0 {
            let why = format!(
                "can be replaced by anyone who writes in {}",
                parent.display()
            );
            return Err(refused(path, &why, another));
        }
    }
    Ok(())
}

/// Makes an error that says `why` the directory is refused, and a hint at `instead`.
fn refused(path: &Path, why: &str, instead: &str) -> anyhow::Error {
    hinted(
        format!("stage_dir {} {why}", path.display()),
        format!("stage_dir in the plan {instead}"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::StageDir;

    #[test]
    fn only_files_of_dead_runs_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/stage");
        let stage_dir = StageDir::open(&path).unwrap();
        let living = stage_dir.create_file().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!((mode(&path), mode(living.path())), (0o700, 0o600));
        let (dead, other) = (path.join("bottle-dead"), path.join("other"));
        fs::write(&dead, "").unwrap();
        fs::write(&other, "").unwrap();
        fs::create_dir(path.join("bottle-directory")).unwrap();
        symlink(&other, path.join("bottle-link")).unwrap();
        stage_dir.clear();
        assert!(living.path().exists() && other.exists() && !dead.exists());
        assert!(path.join("bottle-directory").exists());
        assert!(path.join("bottle-link").is_symlink());
    }

    #[test]
    fn a_file_that_is_just_being_made_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let stage_dir = StageDir::open(directory.path()).unwrap();
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        stage_dir.clear();
                    }
                });
            }
            let are_kept = (0..200).all(|_| {
                let file = stage_dir.create_file().unwrap();
                // Meanwhile the other threads go through the directory.
                stage_dir.clear();
                file.path().exists()
            });
            is_done.store(true, Ordering::Relaxed);
            assert!(are_kept);
        });
    }

    #[test]
    fn a_directory_without_room_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let stage_dir = StageDir::open(directory.path()).unwrap();
        stage_dir.check_room(0).unwrap();
        let error = stage_dir.check_room(u64::MAX).unwrap_err().to_string();
        let what = format!("no room in stage_dir {}: ", directory.path().display());
        assert!(error.starts_with(&what), "{error}");
    }

    #[test]
    fn staged_files_are_made_in_the_directory_that_was_checked() {
        let directory = tempfile::tempdir().unwrap();
        let [path, moved] = ["stage", "moved"].map(|name| directory.path().join(name));
        let stage_dir = StageDir::open(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        let _file = stage_dir.create_file().unwrap();
        let count = |path| fs::read_dir(path).unwrap().count();
        assert_eq!((count(&path), count(&moved)), (0, 1));
    }
}
