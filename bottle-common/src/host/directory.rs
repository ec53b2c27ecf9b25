//! A directory on the host, held by its file descriptor. Its files are opened relative to the
//! descriptor and without following links. So somebody who replaces files while they are read
//! cannot make the program read a file elsewhere.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

/// The flags with which the parents of a directory are opened. They need not be readable.
#[cfg(target_os = "linux")]
const PARENT: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PARENT: OFlags = OFlags::RDONLY;

/// An open directory.
pub struct Directory {
    descriptor: File,
    path: PathBuf,
}

/// The names in a directory, sorted.
pub struct Names {
    /// All names, each followed by a NUL. A separate allocation for each name would take several
    /// times as much memory.
    bytes: Vec<u8>,
    /// The index in `bytes` at which each name begins.
    starts: Vec<u32>,
}

impl Directory {
    /// Opens the directory at the absolute path `path`.
    ///
    /// # Errors
    ///
    /// If a component of `path` is a link, or if the directory cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let parent = PARENT | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut descriptor = rustix::fs::open("/", parent, Mode::empty())?;
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => {
                    descriptor = openat(&descriptor, name, parent, Mode::empty())?;
                }
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        let here = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            descriptor: openat(descriptor, ".", here, Mode::empty())?.into(),
            path: path.to_owned(),
        })
    }

    /// The path of the directory, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the metadata of the directory itself.
    ///
    /// # Errors
    ///
    /// If the system returns an error.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.descriptor.metadata()
    }

    /// Opens the directory `name` in this directory.
    ///
    /// # Errors
    ///
    /// If it is a link, or if it cannot be opened.
    pub fn open_directory(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            descriptor: openat(self, name, flags, Mode::empty())?.into(),
            path: self.path.join(name),
        })
    }

    /// Opens the regular file `name` in this directory. Returns `None` if it is not a regular file.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn open_file(&self, name: &OsStr) -> io::Result<Option<File>> {
        // Without NONBLOCK, opening a FIFO would wait for a writer.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(self, name, flags, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            // LOOP means a link, and the others a socket, on Linux and on macOS.
            Err(Errno::LOOP | Errno::NXIO | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// Reads the metadata of `name` in this directory. If it is a link, this is the metadata of the
    /// link. By the time the file is opened, another file may have taken its place.
    ///
    /// # Errors
    ///
    /// If the system returns an error.
    pub fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        // The standard library has no fstatat(2), so the file is opened to get its metadata.
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            File::from(openat(self, name, flags, Mode::empty())?).metadata()
        }
        // Elsewhere a path of more than 1,024 bytes is too long although its file is there.
        #[cfg(not(target_os = "linux"))]
        match self.path.join(name).symlink_metadata() {
            Err(error)
                if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error())
                    && name.len() < 256 =>
            {
                Err(io::Error::other("its path is too long"))
            }
            metadata => metadata,
        }
    }

    /// Reads the target of the link `name` in this directory.
    ///
    /// # Errors
    ///
    /// If it is not a link, or if it cannot be read.
    pub fn target(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = readlinkat(self, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Opens the parent directory of `path`, which is relative to this directory, and calls `read`
    /// with it and the last component of `path`.
    ///
    /// # Errors
    ///
    /// If a parent is a link or cannot be opened, and the errors of `read`.
    pub fn below<T>(
        &self,
        path: &Path,
        read: impl FnOnce(&Self, &OsStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut names = path.iter();
        let name = names.next().ok_or(io::ErrorKind::InvalidInput)?;
        let rest = names.as_path();
        if rest.as_os_str().is_empty() {
            return read(self, name);
        }
        let mut directory = self.open_directory(name)?;
        for name in rest.parent().into_iter().flatten() {
            directory = directory.open_directory(name)?;
        }
        read(
            &directory,
            rest.file_name().ok_or(io::ErrorKind::InvalidInput)?,
        )
    }

    /// Reads the names in this directory. Returns `None` if they take more than `room` bytes.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn names(&self, room: usize) -> io::Result<Option<Names>> {
        let mut names = Names {
            bytes: Vec::new(),
            starts: Vec::new(),
        };
        for entry in Dir::read_from(self)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(start) = u32::try_from(names.bytes.len()) else {
                return Ok(None);
            };
            names.starts.push(start);
            names.bytes.extend_from_slice(name.to_bytes_with_nul());
            if names.size() > room {
                return Ok(None);
            }
        }
        let Names { bytes, starts } = &mut names;
        starts.sort_unstable_by_key(|&start| name_at(bytes, start));
        Ok(Some(names))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Names {
    /// Iterates over the names.
    pub fn iter(&self) -> impl Iterator<Item = &OsStr> {
        let names = self.starts.iter();
        names.map(|&start| OsStr::from_bytes(name_at(&self.bytes, start)))
    }

    /// The number of bytes that the names take in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }
}

/// Returns the name that begins at `start`.
fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let name = CStr::from_bytes_until_nul(&bytes[start as usize..]);
    name.map_or(&[], CStr::to_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::Directory;

    #[test]
    fn no_link_is_followed_and_nothing_but_a_file_is_opened() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        fs::write(root.join("directory/file"), "content").unwrap();
        symlink("directory", root.join("link")).unwrap();
        symlink("directory/file", root.join("link-to-file")).unwrap();
        let fifo = root.join("fifo");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let _socket = UnixListener::bind(root.join("socket")).unwrap();

        let directory = Directory::open(&root).unwrap();
        for name in ["directory", "fifo", "link", "link-to-file", "socket"] {
            assert!(
                directory.open_file(name.as_ref()).unwrap().is_none(),
                "{name}"
            );
        }
        assert!(directory.open_directory("link".as_ref()).is_err());
        assert!(Directory::open(&root.join("link")).is_err());
        assert!(Directory::open(&root.join("link/../directory")).is_err());
        assert!(Directory::open("relative".as_ref()).is_err());

        let inner = directory.open_directory("directory".as_ref()).unwrap();
        let mut content = String::new();
        let file = inner.open_file("file".as_ref()).unwrap();
        file.unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(
            (content.as_str(), inner.path()),
            ("content", &*root.join("directory"))
        );
        assert!(directory.look("link".as_ref()).unwrap().is_symlink());
        assert_eq!(
            directory.target("link".as_ref()).unwrap(),
            "directory".as_ref() as &std::path::Path
        );
    }

    #[test]
    fn names_are_sorted_and_limited() {
        let temporary = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c.d", "c"] {
            fs::write(temporary.path().join(name), "").unwrap();
        }
        let directory = Directory::open(&temporary.path().canonicalize().unwrap()).unwrap();
        let size = "a b c c.d ".len() + 4 * 4;
        let names = directory.names(size).unwrap().unwrap();
        assert!(names.iter().eq(["a", "b", "c", "c.d"]));
        assert_eq!(names.size(), size);
        assert!(directory.names(size - 1).unwrap().is_none());
    }
}
