//! Reads files of a repository. The repository may be hostile, so no link below its directory is
//! followed, only regular files are opened, and there is a limit for their length.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use bottle_common::error::hinted;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// The hint for a repository whose files are not all in one place.
pub const CLONE: &str =
    "a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd";

/// Opens the regular file at the path `below` in the directory `root`. Returns `None` if it is
/// missing.
///
/// # Errors
///
/// If the file or one of its parents below `root` is a link, if it is not a regular file, or if it
/// cannot be opened.
pub fn open(root: &Path, below: &Path) -> Result<Option<File>> {
    let path = root.join(below);
    let reading = || format!("read {}", path.display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = flags | OFlags::DIRECTORY;
    let mut parent: OwnedFd = openat(CWD, root, directory, Mode::empty()).with_context(reading)?;
    let mut names = below.iter().peekable();
    while let Some(name) = names.next() {
        let metadata = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            metadata => metadata.with_context(reading)?,
        };
        match FileType::from_raw_mode(metadata.st_mode) {
            FileType::Symlink => {
                let what = format!("{} is a link, or is behind one", path.display());
                return Err(hinted(what, CLONE));
            }
            FileType::Directory if names.peek().is_some() => {
                parent = openat(&parent, name, directory, Mode::empty()).with_context(reading)?;
            }
            FileType::RegularFile if names.peek().is_none() => {
                let file = openat(&parent, name, flags | OFlags::NONBLOCK, Mode::empty());
                return Ok(Some(file.with_context(reading)?.into()));
            }
            _ => {
                let error = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
                return Err(error).with_context(reading);
            }
        }
    }
    Ok(None)
}

/// Reads the regular file at the path `below` in the directory `root`. Returns `None` if it is
/// missing.
///
/// # Errors
///
/// The errors of [`open`] and [`contents`].
pub fn read(root: &Path, below: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(root, below.as_ref())? else {
        return Ok(None);
    };
    let path = root.join(below);
    contents(file, &path, limit).map(Some)
}

/// Reads all of `file`, which is at `path`.
///
/// # Errors
///
/// If the file is longer than `limit` bytes, which no file that git writes should be, or if it
/// cannot be read.
pub fn contents(file: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .with_context(|| format!("read {}", path.display()))?;
    if content.len() as u64 > limit {
        let path = path.display();
        let hint = format!("git itself writes no such file; see what is in it: less {path}");
        return Err(hinted(format!("{path} is longer than {limit} bytes"), hint));
    }
    Ok(content)
}

/// Reads up to `length` bytes from the beginning of the file at the path `below` in the directory
/// `root`. Errors are ignored, and what could not be read is missing.
pub fn beginning(root: &Path, below: impl AsRef<Path>, length: u64) -> Vec<u8> {
    let mut content = Vec::new();
    if let Ok(Some(file)) = open(root, below.as_ref()) {
        // After an error, `content` holds what was read before.
        let _ = file.take(length).read_to_end(&mut content);
    }
    content
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use bottle_common::error::{Code, Error};

    use super::{CLONE, beginning, open, read};

    #[test]
    fn only_regular_files_that_no_link_leads_to_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "text").unwrap();
        fs::write(directory.path().join("outside"), "secret").unwrap();
        symlink("a/b/file", root.join("link")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        symlink("b", root.join("a/c")).unwrap();
        let fifo = harness::tool("mkfifo").arg(root.join("fifo")).status();
        assert!(fifo.unwrap().success());
        let link = "is a link, or is behind one";
        let irregular = "not a regular file";
        for (name, expected) in [
            ("a/b/file", Ok(Some("text"))),
            ("none", Ok(None)),
            ("a/none/file", Ok(None)),
            ("", Ok(None)),
            ("link", Err(link)),
            ("out", Err(link)),
            ("a/c/file", Err(link)),
            ("a/b", Err(irregular)),
            ("fifo", Err(irregular)),
            ("fifo/file", Err(irregular)),
            ("a/b/file/x", Err(irregular)),
        ] {
            match (read(&root, name, 9), expected) {
                (Ok(content), Ok(expected)) => {
                    assert_eq!(content.as_deref(), expected.map(str::as_bytes), "{name}");
                    assert_eq!(
                        open(&root, Path::new(name)).unwrap().is_some(),
                        content.is_some()
                    );
                }
                (Err(error), Err(expected)) => {
                    let said = format!("{error:#}");
                    assert!(said.ends_with(expected), "{name}: {said}");
                    let hint = Error::flatten(Code::HostFile, &error).hint;
                    let expected = (expected == link).then_some(CLONE);
                    assert_eq!(hint.as_deref(), expected, "{name}");
                }
                (result, _) => panic!("{name}: {result:?}"),
            }
        }
        assert!(open(&root.join("none"), Path::new("file")).is_err());
    }

    #[test]
    fn the_length_of_a_file_is_limited() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("file"), "four").unwrap();
        assert_eq!(read(root, "file", 4).unwrap().unwrap(), b"four");
        let error = read(root, "file", 3).unwrap_err().to_string();
        let shown = root.join("file");
        assert_eq!(error, format!("{} is longer than 3 bytes", shown.display()));
        for (length, expected) in [(0, ""), (3, "fou"), (9, "four")] {
            assert_eq!(beginning(root, "file", length), expected.as_bytes());
        }
        assert_eq!(beginning(root, "none", 9), b"");
    }
}
