//! Walks through the directories of a tree, each by its file descriptor.

use std::ffi::OsStr;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;

use crate::host::choice::Choice;
use crate::host::directory::Directory;
use crate::host::file_list::FileList;
use crate::host::signals;
use crate::host::tree::{Files, Layer, PinnedTree};

/// The maximum number of nested directories. Each open directory takes a file descriptor, and macOS
/// allows 256 of them.
const MAX_DEPTH: usize = 128;
/// The maximum length of a path in the tree, in bytes. A path in the guest has at most 4096 bytes,
/// which include the path of the tree.
const MAX_PATH: usize = 4096 - 256;
/// The maximum memory for the names in all open directories, in bytes. It is enough for half a
/// million files in one directory.
const MAX_NAMES: usize = 16 << 20;

/// A file that is visited.
pub struct Entry<'a> {
    /// The path on the host, for messages.
    pub source: PathBuf,
    /// The path in the tree; empty for the tree's own directory.
    pub path: PathBuf,
    /// The path of the layer that the file belongs to, without links.
    pub root: &'a Path,
    /// The decision on the file; never [`Choice::Exclude`].
    pub choice: Choice,
    /// Whether the file is from a list.
    pub is_listed: bool,
    /// The metadata at the time of the visit. For a link, it is that of the link itself.
    pub metadata: Metadata,
    /// The directory that contains the file; `None` for the layer's own directory.
    directory: Option<&'a Directory>,
}

impl Entry<'_> {
    /// Opens the file, which was a regular file at the time of the visit.
    ///
    /// # Errors
    ///
    /// If it is no longer a regular file, or if it cannot be opened.
    pub fn open(&self) -> Result<File> {
        let file = self.in_directory(Directory::open_file)?;
        file.with_context(|| format!("read {}: it changed while it was read", self.shown()))
    }

    /// Reads the target of the link.
    ///
    /// # Errors
    ///
    /// If it is not a link, or if it cannot be read.
    pub fn target(&self) -> Result<PathBuf> {
        self.in_directory(Directory::target)
    }

    fn in_directory<T>(&self, read: fn(&Directory, &OsStr) -> io::Result<T>) -> Result<T> {
        let read = match (self.directory, self.source.file_name()) {
            (Some(directory), Some(name)) => read(directory, name),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        };
        read.with_context(|| format!("read {}", self.shown()))
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.source.display()
    }
}

/// A walk through one layer.
struct Walk<'a, V> {
    tree: &'a PinnedTree,
    layer: &'a Layer,
    /// The earlier layers that may contain the same files.
    earlier: Vec<(&'a Layer, Directory)>,
    visit: V,
    /// The number of bytes that the names in all open directories take.
    names: usize,
}

impl PinnedTree {
    /// Visits every file that is copied or needs a warning, in a fixed order.
    ///
    /// # Errors
    ///
    /// If a layer cannot be read, has too many nested directories or too many files, or if a signal
    /// comes; and the errors of `visit`.
    pub fn walk(&self, mut visit: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        for (number, layer) in self.layers.iter().enumerate() {
            let mut earlier = Vec::new();
            for other in &self.layers[..number] {
                if other.may_meet(layer) {
                    earlier.push((other, open(&other.source)?));
                }
            }
            let mut walk = Walk {
                tree: self,
                layer,
                earlier,
                visit: &mut visit,
                names: 0,
            };
            walk.root(open(&layer.source)?)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<Directory> {
    Directory::open(path).with_context(|| format!("read {}", path.display()))
}

impl<V: FnMut(&Entry) -> Result<()>> Walk<'_, V> {
    /// Visits the layer's own directory `root` and everything in it.
    fn root(&mut self, root: Directory) -> Result<()> {
        let metadata = root.metadata();
        let entry = Entry {
            source: root.path().to_owned(),
            path: self.layer.place.clone(),
            root: &self.layer.source,
            choice: Choice::Include,
            is_listed: matches!(self.layer.files, Files::Listed(_)),
            metadata: metadata.with_context(|| format!("read {}", root.path().display()))?,
            directory: None,
        };
        if !self.tree.files.contains_key(&entry.path) {
            (self.visit)(&entry)?;
        }
        match &self.layer.files {
            Files::Chosen(_) => self.directory(&root, Path::new(""), 1),
            Files::Listed(files) => self.listed(root, files),
        }
    }

    /// Visits those of `files` in the layer's directory `root` that are there, and the directories
    /// in which they are.
    fn listed(&mut self, root: Directory, files: &FileList) -> Result<()> {
        // The open directories, each in the one before, and the path of the last one in the layer.
        let (mut open, mut below) = (vec![root], PathBuf::new());
        for (path, choice) in files.iter() {
            signals::check()?;
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            while !parent.starts_with(&below) {
                below.pop();
                open.pop();
            }
            while let (Some(directory), Some(next)) = (open.last(), next(parent, &below)) {
                check_depth(directory, open.len() + 1)?;
                let source = directory.path().join(next);
                let inner = match directory.open_directory(next) {
                    Err(error) if is_no_directory(&error) => break,
                    inner => inner.with_context(|| format!("read {}", source.display()))?,
                };
                let metadata = inner.metadata();
                below.push(next);
                (self.visit)(&Entry {
                    metadata: metadata.with_context(|| format!("read {}", source.display()))?,
                    source,
                    path: self.layer.place.join(&below),
                    root: &self.layer.source,
                    choice: Choice::Include,
                    is_listed: true,
                    directory: Some(directory),
                })?;
                open.push(inner);
            }
            if let Some(directory) = open.last().filter(|_| below == parent) {
                self.file(directory, name, path, &|_| choice)?;
            }
        }
        Ok(())
    }

    /// Visits everything in `directory`, whose path in the layer is `below`.
    fn directory(&mut self, directory: &Directory, below: &Path, depth: usize) -> Result<()> {
        let Files::Chosen(choose) = self.layer.files else {
            return Ok(());
        };
        check_depth(directory, depth)?;
        let shown = directory.path().display();
        let names = directory.names(MAX_NAMES - self.names);
        let names = names.with_context(|| format!("read {shown}"))?;
        let names = names.with_context(|| format!("read {shown}: too many files in it"))?;
        self.names += names.size();
        for name in names.iter() {
            signals::check()?;
            let below = below.join(name);
            if self.file(directory, name, &below, &|kind| choose(&below, kind))? {
                let reading = || format!("read {}", directory.path().join(name).display());
                let inner = directory.open_directory(name).with_context(reading)?;
                self.directory(&inner, &below, depth + 1)?;
            }
        }
        self.names -= names.size();
        Ok(())
    }

    /// Visits the file `name` in `directory`, on which `choose` decides by its type. The path of
    /// the file in the layer is `below`. Returns whether it is a directory that is copied.
    fn file(
        &mut self,
        directory: &Directory,
        name: &OsStr,
        below: &Path,
        choose: &dyn Fn(FileType) -> Choice,
    ) -> Result<bool> {
        let source = directory.path().join(name);
        let reading = || format!("read {}", source.display());
        let metadata = match directory.look(name) {
            Ok(metadata) => metadata,
            // The file has just been removed, as it happens to the lock of a running program.
            Err(error) if is_no_directory(&error) => return Ok(false),
            Err(error) => return Err(error).with_context(reading),
        };
        let kind = metadata.file_type();
        let choice = choose(kind);
        let path = self.layer.place.join(below);
        if matches!(choice, Choice::Exclude) {
            return Ok(false);
        }
        if path.as_os_str().len() > MAX_PATH {
            bail!("{}: its path is longer than {MAX_PATH} bytes", reading());
        }
        let is_replaced =
            self.tree.files.contains_key(&path) || !kind.is_dir() && self.is_earlier(&path, kind);
        if !is_replaced {
            (self.visit)(&Entry {
                source: source.clone(),
                path,
                root: &self.layer.source,
                choice,
                is_listed: matches!(self.layer.files, Files::Listed(_)),
                metadata,
                directory: Some(directory),
            })?;
        }
        Ok(kind.is_dir() && choice.is_copied())
    }

    /// Whether the file at `path` in the tree comes from an earlier layer.
    fn is_earlier(&self, path: &Path, kind: FileType) -> bool {
        let mut earlier = self.earlier.iter();
        earlier.any(|(layer, root)| {
            let Ok(below) = path.strip_prefix(&layer.place) else {
                return false;
            };
            // If `below` is empty, it is the layer's own directory, which exists.
            let is_there =
                || below.as_os_str().is_empty() || root.below(below, Directory::look).is_ok();
            let is_copied = match layer.files {
                Files::Chosen(choose) => choose(below, kind).is_copied(),
                Files::Listed(_) => false,
            };
            is_copied && is_there()
        })
    }
}

/// Fails if `directory` is nested too deeply.
fn check_depth(directory: &Directory, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        let shown = directory.path().display();
        bail!("read {shown}: more than {MAX_DEPTH} directories are inside each other");
    }
    Ok(())
}

/// Returns the component of `path` that follows `start`; `None` if they are equal.
fn next<'a>(path: &'a Path, start: &Path) -> Option<&'a OsStr> {
    path.strip_prefix(start).ok()?.iter().next()
}

/// Whether there is no directory of that name, and perhaps something else: a file or a link.
fn is_no_directory(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(
        error,
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::Arc;

    use super::{MAX_DEPTH, MAX_PATH};
    use crate::host::file_list::FileList;
    use crate::host::tree::{Files, PinnedTree, Tree};

    fn tree(source: &Path) -> PinnedTree {
        PinnedTree::without_links(Tree::new("t".to_owned(), source.to_owned()))
    }

    /// Walks through `tree`, reads all files, and gives their paths. `before` is called with each
    /// between its examination and the reading.
    fn read(tree: &PinnedTree, mut before: impl FnMut(&Path)) -> Result<Vec<PathBuf>, String> {
        let mut paths = Vec::new();
        let result = tree.walk(|entry| {
            before(&entry.path);
            if entry.metadata.is_file() {
                entry.open()?;
            } else if entry.metadata.is_symlink() {
                entry.target()?;
            }
            paths.push(entry.path.clone());
            Ok(())
        });
        result.map(|()| paths).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn nothing_outside_is_read_whatever_replaces_a_file() {
        for (name, make) in [
            ("file", "rm -r file && ln -s ../secret/key file"),
            ("file", "rm -r file && ln -s /etc/passwd file"),
            ("file", "rm -r file && mkfifo file"),
            ("file", "rm -r file && mkdir file"),
            ("inner", "rm -r inner && ln -s ../secret inner"),
            ("inner", "rm -r inner && mkfifo inner"),
            (
                "inner/key",
                "mv inner old && ln -s ../secret inner && rm old/key",
            ),
            (
                "inner/key",
                "rm inner/key && ln -s ../../secret/key inner/key",
            ),
        ] {
            let temporary = tempfile::tempdir().unwrap();
            let root = temporary.path().canonicalize().unwrap().join("root");
            fs::create_dir_all(root.join("inner")).unwrap();
            fs::create_dir(root.join("../secret")).unwrap();
            for file in ["file", "inner/key", "../secret/key"] {
                fs::write(root.join(file), "").unwrap();
            }
            let found = read(&tree(&root), |path| {
                if path == Path::new(name) {
                    let mut sh = Command::new("sh");
                    sh.args(["-c", make]).current_dir(&root);
                    assert!(sh.status().unwrap().success(), "{make}");
                }
            });
            let error = found.expect_err(make);
            let shown = root.join(name);
            assert!(
                error.starts_with(&format!("read {}: ", shown.display())),
                "{error}"
            );
        }
    }

    #[test]
    fn of_a_list_what_is_there_is_visited_and_no_link_is_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join("../secret/d")).unwrap();
        for file in [
            "a/b/c/f",
            "a/b-",
            "a/x",
            "g",
            "../secret/key",
            "../secret/d/key",
        ] {
            fs::write(root.join(file), "").unwrap();
        }
        symlink("../secret", root.join("link")).unwrap();
        let list = |paths: &[&str]| {
            let mut list = FileList::default();
            for path in paths {
                assert!(list.push(Path::new(path), None));
            }
            list.sort();
            let mut tree = Tree::new("t".to_owned(), root.clone());
            tree.layers[0].place = "at".into();
            tree.layers[0].files = Files::Listed(Arc::new(list));
            PinnedTree::without_links(tree)
        };
        let all = list(&[
            "a/b/c/f",
            "a/b-",
            "a/x/none",
            "g",
            "link",
            "link/key",
            "link/d/key",
            "none/a",
            "a/b",
            "g/a",
            "a/none",
        ]);
        let paths = read(&all, |_| {}).unwrap();
        let expected = [
            "at",
            "at/a",
            "at/a/b",
            "at/a/b-",
            "at/a/b",
            "at/a/b/c",
            "at/a/b/c/f",
        ];
        let expected = [&expected[..], &["at/g", "at/link"]].concat();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(paths, expected);

        for (name, make) in [
            ("at/a/b", "rm -r a/b && ln -s ../../secret a/b"),
            ("at/g", "rm g && ln -s ../secret/key g"),
        ] {
            let found = read(&list(&["a/b/key", "g"]), |path| {
                if path == Path::new(name) {
                    let mut sh = Command::new("sh");
                    sh.args(["-c", make]).current_dir(&root);
                    assert!(sh.status().unwrap().success(), "{make}");
                }
            });
            match found {
                Ok(paths) => assert!(!paths.contains(&"at/a/b/key".into()), "{make}"),
                Err(error) => assert!(error.starts_with("read "), "{error}"),
            }
        }
    }

    #[test]
    fn a_file_that_is_removed_during_the_walk_is_skipped() {
        let temporary = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| temporary.path().join(name));
        fs::write(&first, "").unwrap();
        fs::write(&second, "").unwrap();
        let paths = read(&tree(temporary.path()), |_| drop(fs::remove_file(&second)));
        assert_eq!(paths.unwrap(), ["", "first"].map(PathBuf::from));
    }

    #[test]
    fn a_root_that_is_replaced_by_a_link_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().canonicalize().unwrap();
        for name in ["root", "secret"] {
            fs::create_dir(directory.join(name)).unwrap();
        }
        let tree = tree(&directory.join("root"));
        assert_eq!(read(&tree, |_| {}).unwrap(), [PathBuf::new()]);
        fs::remove_dir(directory.join("root")).unwrap();
        symlink("secret", directory.join("root")).unwrap();
        assert!(read(&tree, |_| {}).is_err());
    }

    #[test]
    fn the_depth_and_the_path_length_of_a_tree_are_limited() {
        for (name, number, why) in [
            ("d", MAX_DEPTH - 1, None),
            (
                "d",
                MAX_DEPTH,
                Some("more than 128 directories are inside each other"),
            ),
            (&*"d".repeat(255), MAX_PATH / 256, None),
            (
                &*"d".repeat(255),
                MAX_PATH / 256 + 1,
                Some("its path is longer than 3840 bytes"),
            ),
        ] {
            let temporary = tempfile::tempdir().unwrap();
            // A path of that length cannot be given at once.
            let make = format!(
                "i=0; while [ $i -lt {number} ]; do mkdir {name} && cd -P {name} || exit; i=$((i + 1)); done"
            );
            let mut sh = Command::new("bash");
            sh.args(["-c", &make]).current_dir(temporary.path());
            assert!(sh.status().unwrap().success(), "{make}");
            let found = read(&tree(temporary.path()), |_| {});
            match why {
                None => assert_eq!(found.unwrap().len(), number + 1),
                Some(why) => assert!(found.unwrap_err().ends_with(why)),
            }
            let mut rm = Command::new("rm");
            rm.args(["-rf", name]).current_dir(temporary.path());
            assert!(rm.status().unwrap().success());
        }
    }
}
