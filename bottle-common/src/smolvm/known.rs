//! A file through which the steps of scripts/provision tell each other what they know about smolvm,
//! so that only the first step has to ask it. Another file tells scripts/provision that a step has
//! found the machine not there or not running, which is said once.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};
use semver::Version;

/// The maximum length of the file, in bytes. No version is as long.
const MAX_LENGTH: u64 = 256;

/// The file that the steps share. Its first line is a word that says whether smolvm accepts
/// `--user`, and its second line is smolvm's version. A file of the same name with a step's process
/// id as its extension says that this step has found the machine not there or not running.
#[derive(Debug)]
pub struct Known {
    file: File,
    down: PathBuf,
}

/// What is known about smolvm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownSmolvm {
    /// Its version, if it could be read.
    pub version: Option<Version>,
    /// Whether it accepts `--user`.
    pub user: KnownUser,
}

/// What is known about `machine exec --user`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownUser {
    /// smolvm accepts `--user`, but a bare machine may refuse it.
    UnlessRefused,
    /// The machine accepted `--user`.
    Taken,
    /// smolvm or the machine does not accept `--user`.
    None,
}

impl Known {
    /// Opens the file at `path`, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map(|file| Self {
                file,
                down: path.with_extension(process::id().to_string()),
            })
    }

    /// Returns what the file says. If it is empty, calls `ask` and writes the answer to the file.
    /// The other steps wait meanwhile.
    ///
    /// # Errors
    ///
    /// The errors of `ask`.
    pub fn get_or_ask<E>(
        &self,
        ask: impl FnOnce() -> Result<KnownSmolvm, E>,
    ) -> Result<KnownSmolvm, E> {
        let is_locked = flock(&self.file, FlockOperation::LockExclusive).is_ok();
        let smolvm = match self.read() {
            Some(smolvm) => Ok(smolvm),
            None => ask().inspect(|smolvm| self.write(&text(smolvm))),
        };
        if is_locked {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
        smolvm
    }

    /// Writes to the file whether the machine accepts `--user`.
    pub fn set(&self, user: KnownUser) {
        self.write(word(user));
    }

    /// Makes the file that says that the machine is not there or not running, for
    /// scripts/provision. If this fails, each step says so itself.
    pub fn set_down(&self) {
        let _ = File::create(&self.down);
    }

    /// Overwrites the beginning of the file. If this fails, the next step asks smolvm itself.
    fn write(&self, text: &str) {
        let mut file = &self.file;
        let _ = file.rewind().and_then(|()| file.write_all(text.as_bytes()));
    }

    fn read(&self) -> Option<KnownSmolvm> {
        let mut text = String::new();
        let mut file = &self.file;
        file.rewind().ok()?;
        file.take(MAX_LENGTH).read_to_string(&mut text).ok()?;
        let (_, version) = text.strip_suffix('\n')?.split_once('\n')?;
        let all = [KnownUser::UnlessRefused, KnownUser::Taken, KnownUser::None];
        let user = all.into_iter().find(|&user| text.starts_with(word(user)))?;
        let version = version.parse().ok();
        Some(KnownSmolvm { version, user })
    }
}

/// Returns the text of the file.
fn text(KnownSmolvm { version, user }: &KnownSmolvm) -> String {
    let version = version.as_ref().map(ToString::to_string);
    format!("{}{}\n", word(*user), version.unwrap_or_default())
}

/// Returns the word for `user`, with the end of its line. All words have the same length, so that
/// one can overwrite another.
fn word(user: KnownUser) -> &'static str {
    match user {
        KnownUser::UnlessRefused => "try\n",
        KnownUser::Taken => "yes\n",
        KnownUser::None => "no!\n",
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use semver::Version;
    use tempfile::NamedTempFile;

    use super::{Known, KnownSmolvm, KnownUser};

    #[test]
    fn only_the_first_step_asks_smolvm() {
        let file = NamedTempFile::new().unwrap();
        let (first, second) = (
            Known::open(file.path()).unwrap(),
            Known::open(file.path()).unwrap(),
        );
        assert_eq!(first.get_or_ask(|| Err(1)), Err(1));
        let mut smolvm = KnownSmolvm {
            version: Some(Version::new(1, 32, 2)),
            user: KnownUser::UnlessRefused,
        };
        let asked = first.get_or_ask(|| Ok::<_, ()>(smolvm.clone()));
        assert_eq!(asked.as_ref(), Ok(&smolvm));
        assert_eq!(second.get_or_ask(|| Err(())).as_ref(), Ok(&smolvm));
        for user in [KnownUser::None, KnownUser::Taken] {
            first.set(user);
            smolvm.user = user;
            assert_eq!(second.get_or_ask(|| Err(())).as_ref(), Ok(&smolvm));
        }
        let known = std::fs::read(file.path()).unwrap();
        let down = file.path().with_extension(process::id().to_string());
        assert!(!down.exists());
        second.set_down();
        assert!(down.exists());
        std::fs::remove_file(down).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), known);
        for rubbish in ["rubbish", "try\n1.32", "try\n", "\n\n"] {
            std::fs::write(file.path(), rubbish).unwrap();
            assert_eq!(second.get_or_ask(|| Err(2)), Err(2), "{rubbish:?}");
        }
    }

    #[test]
    fn a_version_that_cannot_be_read_is_not_asked_for_again() {
        let file = NamedTempFile::new().unwrap();
        let known = Known::open(file.path()).unwrap();
        let smolvm = KnownSmolvm {
            version: None,
            user: KnownUser::None,
        };
        let asked = known.get_or_ask(|| Ok::<_, ()>(smolvm.clone()));
        assert_eq!(asked.as_ref(), Ok(&smolvm));
        assert_eq!(known.get_or_ask(|| Err(())), Ok(smolvm));
    }
}
