//! What the steps of scripts/provision tell each other about smolvm, so that only the first step
//! has to ask it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A file that the steps share. It contains one word.
#[derive(Debug)]
pub struct Known(File);

/// What is known about the user that runs guest commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownUser {
    /// smolvm accepts `--user root`, but a bare machine may refuse it.
    RootUnlessRefused,
    /// The machine accepted `--user root`.
    Root,
    /// smolvm or the machine does not accept `--user`.
    None,
}

impl Known {
    /// Opens the file at `path`, and creates it if it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map(Self)
    }

    /// Gives what is known. If nothing is known, calls `ask` and writes the answer to the file. The
    /// other steps wait meanwhile.
    ///
    /// # Errors
    ///
    /// The errors of `ask`.
    pub fn get_or_ask<E>(
        &self,
        ask: impl FnOnce() -> Result<KnownUser, E>,
    ) -> Result<KnownUser, E> {
        let is_locked = flock(&self.0, FlockOperation::LockExclusive).is_ok();
        let user = match self.read() {
            Some(user) => Ok(user),
            None => ask().inspect(|&user| self.set(user)),
        };
        if is_locked {
            let _ = flock(&self.0, FlockOperation::Unlock);
        }
        user
    }

    /// Writes what is known to the file. If that fails, the next step asks smolvm itself.
    pub fn set(&self, user: KnownUser) {
        let mut file = &self.0;
        let _ = file
            .rewind()
            .and_then(|()| file.write_all(word(user).as_bytes()));
    }

    fn read(&self) -> Option<KnownUser> {
        let mut text = String::new();
        let mut file = &self.0;
        file.rewind().ok()?;
        file.take(8).read_to_string(&mut text).ok()?;
        let all = [
            KnownUser::RootUnlessRefused,
            KnownUser::Root,
            KnownUser::None,
        ];
        all.into_iter().find(|&user| word(user) == text)
    }
}

/// Gives the word in the file. All words have the same length, so that one overwrites another.
fn word(user: KnownUser) -> &'static str {
    match user {
        KnownUser::RootUnlessRefused => "try\n",
        KnownUser::Root => "yes\n",
        KnownUser::None => "no!\n",
    }
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::{Known, KnownUser};

    #[test]
    fn the_first_one_asks_for_all() {
        let file = NamedTempFile::new().unwrap();
        let (first, second) = (
            Known::open(file.path()).unwrap(),
            Known::open(file.path()).unwrap(),
        );
        assert_eq!(first.get_or_ask(|| Err(1)), Err(1));
        let try_root = KnownUser::RootUnlessRefused;
        assert_eq!(first.get_or_ask(|| Ok::<_, ()>(try_root)), Ok(try_root));
        assert_eq!(second.get_or_ask(|| Err(())), Ok(try_root));
        for user in [KnownUser::None, KnownUser::Root] {
            first.set(user);
            assert_eq!(second.get_or_ask(|| Err(())), Ok(user));
        }
        std::fs::write(file.path(), "rubbish").unwrap();
        assert_eq!(second.get_or_ask(|| Err(2)), Err(2));
    }
}
