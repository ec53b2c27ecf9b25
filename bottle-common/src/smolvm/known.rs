//! What the steps of one chain tell each other, so that only the first of them has to ask smolvm.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// A file that the steps of a chain share. It holds one word.
#[derive(Debug)]
pub struct Known(File);

/// Who runs guest commands, as far as it is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownUser {
    /// smolvm takes `--user root`, which a bare machine may yet refuse.
    RootUnlessRefused,
    /// `--user root` was taken.
    Root,
    /// `--user` cannot be given.
    None,
}

impl Known {
    /// Opens the file at `path`, which is made when missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map(Self)
    }

    /// Gives what is known. When nothing is, it calls `ask` and keeps the answer; meanwhile the
    /// other steps wait.
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

    /// Keeps what is known. Where it cannot be kept, the next step finds out by itself.
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

/// The words have one length, so that one can be written over another.
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
