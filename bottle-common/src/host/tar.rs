//! Packs a tree into one reproducible tar: equal content gives equal bytes, on every host and at
//! any time.

use std::borrow::Cow;
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::host::choice::Choice;
use crate::host::signals;
use crate::host::tree::{PinnedTree, mode};
use crate::host::walk::Entry;
use crate::text;

/// The name of the tree's own directory in the tar.
const ROOT: &str = "root";
/// The size of a block, in bytes. Headers and contents are padded to whole blocks.
const BLOCK: u64 = 512;
/// The maximum length of a name that fits into a header, in bytes.
const MAX_NAME: usize = 99;
/// The maximum length of a link's target that fits into a header, in bytes.
const MAX_LINK: usize = 100;
/// The maximum length of a tar, in bytes. It keeps sparse files of any length from making the list
/// of copies long.
const MAX_SIZE: u64 = 1 << 40;
/// The maximum length of a line that is rewritten, in bytes. A whole line is held in memory.
const MAX_LINE: u64 = 1 << 20;
/// The maximum length of a file whose content is judged, in bytes. It is held in memory.
const MAX_JUDGED: u64 = 1 << 20;
/// The maximum number of warnings about one tree.
const MAX_WARNINGS: usize = 100;
/// The number of bytes that are read at once. The crate `tar` would read 8 KiB at a time.
const BUFFER: usize = 1 << 16;

/// A tree that has been packed.
pub struct Packed {
    /// The number of regular files in the tar.
    pub files: u64,
    /// Those of them that are from lists.
    pub listed: Count,
    /// SHA-256 of the tar, in hex.
    pub sha256: String,
    /// Warnings for people, about links that lead out of the tree and files that are not copied.
    pub warnings: Vec<String>,
}

/// A number of regular files, and their length together.
#[derive(Clone, Copy, Default)]
pub struct Count {
    /// How many files there are.
    pub files: u64,
    /// Their length, in bytes.
    pub bytes: u64,
}

/// Returns the maximum length of the tar of `tree`, in bytes. Every file is opened, so that an
/// unreadable file is found before anything is copied.
///
/// # Errors
///
/// If `tree` or a file in it cannot be read, if the tar would be longer than 1 TiB, or if a signal
/// comes.
pub fn size(tree: &PinnedTree) -> Result<u64> {
    let mut size = 2 * BLOCK;
    let result = tree.walk(|entry| {
        let metadata = &entry.metadata;
        size += BLOCK + long_name(&entry.path);
        if metadata.is_symlink() {
            size += BLOCK + padded(metadata.len() + 1);
        } else if metadata.is_file() && !matches!(entry.choice, Choice::Warn(_)) {
            entry.open()?;
            size = size.saturating_add(padded(metadata.len().min(MAX_SIZE)));
        }
        ensure!(
            size <= MAX_SIZE,
            "read {}: with it, there is more than {}",
            entry.source.display(),
            text::size(MAX_SIZE)
        );
        Ok(())
    });
    result.with_context(|| tree.name.clone())?;
    for (path, content) in &tree.files {
        size += BLOCK + long_name(path) + padded(content.len() as u64);
    }
    Ok(size)
}

/// The number of additional bytes for a name that does not fit into a header.
fn long_name(path: &Path) -> u64 {
    let length = ROOT.len() + 1 + path.as_os_str().len();
    if length > MAX_NAME {
        BLOCK + padded(length as u64 + 1)
    } else {
        0
    }
}

fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK)
}

/// Writes `tree` to `out` as one tar, and calls `progress` with the number of bytes that have been
/// written. Messages call the output `place`.
///
/// Links in the tree are never followed. Sockets, FIFOs and devices are not copied, and a warning
/// says so.
///
/// # Errors
///
/// If the tree cannot be read, if it changes while it is read, if `out` fails, or if a signal
/// comes.
pub fn pack(
    tree: &PinnedTree,
    out: impl Write,
    place: &str,
    progress: impl FnMut(u64),
) -> Result<Packed> {
    pack_tree(tree, out, place, progress).with_context(|| tree.name.clone())
}

fn pack_tree(
    tree: &PinnedTree,
    out: impl Write,
    place: &str,
    progress: impl FnMut(u64),
) -> Result<Packed> {
    let out = BufWriter::with_capacity(BUFFER, out);
    let out = HashingWriter {
        inner: out,
        hash: Sha256::new(),
        written: 0,
        progress,
    };
    let mut packer = Packer {
        tar: Builder::new(out),
        place,
        files: 0,
        listed: Count::default(),
        warnings: Vec::new(),
        unsaid: 0,
    };
    tree.walk(|entry| packer.append(entry))?;
    for (path, content) in &tree.files {
        packer.append_made(path, content)?;
    }
    let Packer {
        tar,
        files,
        listed,
        mut warnings,
        unsaid,
        ..
    } = packer;
    if unsaid > 0 {
        warnings.push(format!("{unsaid} more warnings like these"));
    }
    let writing = || format!("write {place}");
    let mut out = tar.into_inner().with_context(writing)?;
    out.flush().with_context(writing)?;
    let sha256 = format!("{:x}", out.hash.finalize());
    let warnings = warnings
        .iter()
        .map(|warning| format!("{}: {warning}", tree.name))
        .collect();
    Ok(Packed {
        files,
        listed,
        sha256,
        warnings,
    })
}

struct Packer<'a, W: Write> {
    tar: Builder<W>,
    place: &'a str,
    files: u64,
    listed: Count,
    warnings: Vec<String>,
    /// The number of warnings that are not in `warnings`.
    unsaid: u64,
}

impl<W: Write> Packer<'_, W> {
    fn append(&mut self, entry: &Entry) -> Result<()> {
        let shown = entry.source.display();
        let metadata = &entry.metadata;
        if let Choice::Warn(why) = entry.choice {
            self.warn(format!("{shown} is left out: {why}"));
            return Ok(());
        }
        if metadata.is_file() {
            return self.append_file(entry);
        }
        let packing = || format!("pack {shown} into {}", self.place);
        let name = name(&entry.path);
        let mut header = header(mode(metadata));
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.tar
                .append_data(&mut header, &name, io::empty())
                .with_context(packing)?;
        } else if metadata.is_symlink() {
            let target = entry.target()?;
            header.set_entry_type(EntryType::Symlink);
            append_link(&mut self.tar, header, &name, &target).with_context(packing)?;
            if leads_out(entry.root, &entry.source, &target) {
                let root = entry.root.display();
                self.warn(format!("{shown} leads out of {root}: copied as a link"));
            }
        } else {
            self.warn(format!(
                "{shown} is neither file, directory nor link: left out"
            ));
        }
        Ok(())
    }

    fn append_file(&mut self, entry: &Entry) -> Result<()> {
        let path = &entry.source;
        let reading = || format!("read {}", path.display());
        let packing = || format!("pack {} into {}", path.display(), self.place);
        let mut file = entry.open()?;
        let metadata = file.metadata().with_context(reading)?;
        let mut header = header(mode(&metadata));
        let name = name(&entry.path);
        if let Choice::Unless(finds) = entry.choice {
            // What is judged is what is packed.
            let mut content = Vec::new();
            let mut beginning = (&file).take(MAX_JUDGED + 1);
            beginning.read_to_end(&mut content).with_context(reading)?;
            let why = if content.len() as u64 > MAX_JUDGED {
                Some("it is too long for its name")
            } else {
                finds(&content)
            };
            if let Some(why) = why {
                self.warn(format!("{} is left out: {why}", path.display()));
                return Ok(());
            }
            let size = metadata.len();
            header.set_size(size);
            let content = ExactReader {
                inner: content.as_slice().take(size),
                left: size,
            };
            self.tar
                .append_data(&mut header, &name, content)
                .with_context(packing)?;
        } else if let Choice::Rewrite(rewrite) = entry.choice {
            // The file is rewritten twice, first only to find its size, so that it need not be held
            // in memory.
            let size = match RewrittenLines::new(&file, rewrite).size() {
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.warn(format!("{} is left out: {error}", path.display()));
                    return Ok(());
                }
                Err(error) => return Err(error).with_context(reading),
            };
            file.rewind().with_context(reading)?;
            header.set_size(size);
            let lines = RewrittenLines::new(&file, rewrite).take(size);
            let content = ExactReader {
                inner: lines,
                left: size,
            };
            self.tar
                .append_data(&mut header, &name, content)
                .with_context(packing)?;
        } else {
            let size = metadata.len();
            header.set_size(size);
            let content = BufReader::with_capacity(BUFFER, &file).take(size);
            let content = ExactReader {
                inner: content,
                left: size,
            };
            self.tar
                .append_data(&mut header, &name, content)
                .with_context(packing)?;
        }
        let size = file.metadata().with_context(reading)?.len();
        ensure!(
            size == metadata.len(),
            "read {}: it grew while it was read",
            path.display()
        );
        self.files += 1;
        if entry.is_listed {
            self.listed.files += 1;
            self.listed.bytes += size;
        }
        Ok(())
    }

    /// Adds a warning. Their number is limited, because a hostile tree could cause any number.
    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.unsaid += 1;
        }
    }

    /// Appends a file that was created for the guest.
    fn append_made(&mut self, path: &Path, content: &str) -> Result<()> {
        let mut header = header(0o644);
        header.set_size(content.len() as u64);
        self.tar
            .append_data(&mut header, name(path), content.as_bytes())
            .with_context(|| format!("pack {} into {}", path.display(), self.place))?;
        self.files += 1;
        Ok(())
    }
}

/// Appends the link `name` to `tar`. The crate's own function would change a target such as `a//b`.
fn append_link(
    tar: &mut Builder<impl Write>,
    mut header: Header,
    name: &Path,
    target: &Path,
) -> io::Result<()> {
    let target = target.as_os_str().as_bytes();
    if target.len() > MAX_LINK {
        // The whole target is in an entry before, as GNU tar does it.
        let mut long = Header::new_gnu();
        long.set_path("././@LongLink")?;
        long.set_entry_type(EntryType::GNULongLink);
        long.set_size(target.len() as u64 + 1);
        long.set_cksum();
        tar.append(&long, target.chain(&b"\0"[..]))?;
    }
    header.set_link_name_literal(&target[..target.len().min(MAX_LINK)])?;
    tar.append_data(&mut header, name, io::empty())
}

/// Returns the name in the tar for `path` in the tree.
fn name(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        ROOT.into()
    } else {
        Path::new(ROOT).join(path)
    }
}

/// Makes a header without owner and time, which would differ between hosts and between copies.
fn header(mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// Whether the link at `link` with the target `target` leads out of `root`, as far as this can be
/// seen on the host.
fn leads_out(root: &Path, link: &Path, target: &Path) -> bool {
    if target.is_absolute() || fs::canonicalize(link).is_ok_and(|path| !path.starts_with(root)) {
        return true;
    }
    let mut path = PathBuf::from(link.parent().unwrap_or(root));
    for component in target.components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
        if !path.starts_with(root) {
            return true;
        }
    }
    false
}

/// A reader that fails if it ends too early. A file that is shorter than its header says would
/// corrupt the tar.
struct ExactReader<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for ExactReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        signals::check().map_err(io::Error::other)?;
        let read = self.inner.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it shrank while it was read"));
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// A reader of a file whose lines are rewritten.
struct RewrittenLines<R> {
    inner: BufReader<R>,
    rewrite: fn(&[u8]) -> Cow<'_, [u8]>,
    line: Vec<u8>,
    done: usize,
}

impl<R: Read> RewrittenLines<R> {
    fn new(inner: R, rewrite: fn(&[u8]) -> Cow<'_, [u8]>) -> Self {
        Self {
            inner: BufReader::new(inner),
            rewrite,
            line: Vec::new(),
            done: 0,
        }
    }

    /// Returns the length of the rewritten file in bytes. A line that is too long is an error of
    /// the kind `InvalidData`.
    fn size(mut self) -> io::Result<u64> {
        io::copy(&mut self, &mut io::sink())
    }
}

impl<R: Read> Read for RewrittenLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done == self.line.len() {
            let mut line = Vec::new();
            let mut inner = (&mut self.inner).take(MAX_LINE + 1);
            inner.read_until(b'\n', &mut line)?;
            if line.len() as u64 > MAX_LINE {
                let why = format!("it has a line of more than {}", text::size(MAX_LINE));
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.line = (self.rewrite)(&line).into_owned();
            self.done = 0;
        }
        let read = (&self.line[self.done..]).read(buffer)?;
        self.done += read;
        Ok(read)
    }
}

/// A writer that hashes what it writes and reports its progress.
struct HashingWriter<W, P> {
    inner: W,
    hash: Sha256,
    written: u64,
    progress: P,
}

impl<W: Write, P: FnMut(u64)> Write for HashingWriter<W, P> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.written += written as u64;
        (self.progress)(self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs::Permissions;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, SystemTime};
    use std::{fs, io, thread};

    use sha2::{Digest, Sha256};

    use super::{
        ExactReader, MAX_JUDGED, MAX_LINE, MAX_SIZE, MAX_WARNINGS, Packed, RewrittenLines,
        leads_out, pack, size,
    };
    use crate::host::choice::Choice;
    use crate::host::tree::{Files, Layer, PinnedTree, Tree};

    fn packed(tree: &PinnedTree) -> (Packed, Vec<u8>) {
        let mut tar = Vec::new();
        let packed = pack(tree, &mut tar, "tar", |_| {}).unwrap();
        (packed, tar)
    }

    fn tree(source: &Path) -> Tree {
        Tree::new("t".to_owned(), source.to_owned())
    }

    #[test]
    fn equal_content_gives_an_equal_tar() {
        let mut trees = Vec::new();
        for age in [0, 100_000] {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("b")).unwrap();
            for name in ["z", "b/c", "a"] {
                let path = directory.path().join(name);
                fs::write(&path, name).unwrap();
                let time = SystemTime::now() - Duration::from_secs(age);
                fs::File::options()
                    .append(true)
                    .open(path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
            symlink("b/c", directory.path().join("link")).unwrap();
            let (packed, tar) = packed(&PinnedTree::without_links(tree(directory.path())));
            assert_eq!((packed.files, packed.warnings.len()), (3, 0));
            trees.push((packed.sha256, tar));
        }
        assert!(trees[0] == trees[1]);
    }

    #[test]
    fn the_size_is_known_in_advance() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a".repeat(200)), [0; 1000]).unwrap();
        fs::write(directory.path().join("b"), "").unwrap();
        let mut tree = tree(directory.path());
        tree.files.insert("made".into(), "content".to_owned());
        let tree = PinnedTree::without_links(tree);
        let (packed, tar) = packed(&tree);
        assert_eq!((packed.files, size(&tree).unwrap()), (3, tar.len() as u64));
    }

    /// A file of one line: `length` bytes, the line's end among them.
    fn one_line(length: u64) -> Vec<u8> {
        let mut line = vec![b'x'; usize::try_from(length).unwrap()];
        line.pop();
        line.push(b'\n');
        line
    }

    #[test]
    fn a_file_with_a_line_that_is_too_long_is_left_out() {
        for (length, files) in [(MAX_LINE, 1), (MAX_LINE + 1, 0)] {
            let directory = tempfile::tempdir().unwrap();
            let content = [b"secret\n".to_vec(), one_line(length), b"secret".to_vec()].concat();
            fs::write(directory.path().join("log"), content).unwrap();
            let mut tree = tree(directory.path());
            tree.layers[0].files = Files::Chosen(|_, _| {
                Choice::Rewrite(|line| {
                    let text = String::from_utf8_lossy(line);
                    text.replace("secret", "*").into_bytes().into()
                })
            });
            let (packed, tar) = packed(&PinnedTree::without_links(tree));
            assert_eq!(packed.files, files);
            assert!(!tar.windows(6).any(|window| window == b"secret"));
            let path = directory.path().join("log");
            let why = "is left out: it has a line of more than 1.0 MiB";
            let warning = format!("t: {} {why}", path.display());
            let warnings = if files == 0 { vec![warning] } else { vec![] };
            assert_eq!(packed.warnings, warnings);
        }
    }

    #[test]
    fn links_keep_their_targets_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let long = format!("{}end", "a//".repeat(60));
        let mut targets = vec!["a//b", "a/./b", "..//.", "//x", "/", "d/", "./", &*long];
        let exact = "b".repeat(100);
        let one_more = "b".repeat(101);
        targets.extend([&*exact, &*one_more]);
        for (number, target) in targets.iter().enumerate() {
            symlink(target, directory.path().join(number.to_string())).unwrap();
        }
        let tree = PinnedTree::without_links(tree(directory.path()));
        let (_, tar) = packed(&tree);
        let mut found = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap().skip(1) {
            let target = entry.unwrap().link_name_bytes().unwrap().into_owned();
            found.push(String::from_utf8(target).unwrap());
        }
        assert_eq!(found, targets);
        assert!(tar.len() as u64 <= size(&tree).unwrap());
    }

    #[test]
    fn sparse_files_of_any_length_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = fs::File::create(directory.path().join("a")).unwrap();
        for length in [MAX_SIZE - 4 * 512, MAX_SIZE, 1 << 43] {
            if file.set_len(length).is_err() {
                continue; // not every file system has files of that length
            }
            let result = size(&PinnedTree::without_links(tree(directory.path())));
            let error = result.map_err(|error| format!("{error:#}"));
            match error {
                Ok(size) => assert_eq!((length, size), (MAX_SIZE - 4 * 512, MAX_SIZE)),
                Err(error) => assert!(error.ends_with("there is more than 1024.0 GiB"), "{error}"),
            }
        }
    }

    #[test]
    fn a_file_in_whose_content_something_is_found_is_left_out() {
        let long = usize::try_from(MAX_JUDGED).unwrap();
        for (content, why) in [
            (b"harmless".to_vec(), None),
            (b"secret".to_vec(), Some("it is secret")),
            (vec![b'x'; long], None),
            (vec![b'x'; long + 1], Some("it is too long for its name")),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().canonicalize().unwrap().join("file");
            fs::write(&path, &content).unwrap();
            let mut tree = tree(directory.path());
            tree.layers[0].files = Files::Chosen(|_, _| {
                Choice::Unless(|content| (content == b"secret").then_some("it is secret"))
            });
            let tree = PinnedTree::without_links(tree);
            let (packed, tar) = packed(&tree);
            let warning = why.map(|why| format!("t: {} is left out: {why}", path.display()));
            assert_eq!(packed.warnings, Vec::from_iter(warning));
            assert_eq!(packed.files, u64::from(why.is_none()));
            let is_whole = tar.windows(content.len()).any(|part| part == content);
            assert_eq!(is_whole, why.is_none());
            assert!(tar.len() as u64 <= size(&tree).unwrap());
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_held_in_memory() {
        let mut lines = RewrittenLines::new(io::repeat(b'x'), |line| line.into());
        let error = io::copy(&mut lines, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_number_of_warnings_is_limited() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..MAX_WARNINGS + 7 {
            symlink("/etc", directory.path().join(number.to_string())).unwrap();
        }
        let (packed, _) = packed(&PinnedTree::without_links(tree(directory.path())));
        assert_eq!(packed.warnings.len(), MAX_WARNINGS + 1);
        assert_eq!(
            packed.warnings[MAX_WARNINGS],
            "t: 7 more warnings like these"
        );
    }

    /// Replaces the file by a link to a secret and back, again and again.
    #[test]
    fn a_file_that_is_replaced_by_a_link_never_gives_the_content_of_its_target() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = temporary.path().canonicalize().unwrap();
        let [root, good, bad] = ["root", "good", "bad"].map(|name| directory.join(name));
        fs::create_dir(&root).unwrap();
        fs::write(&good, "harmless").unwrap();
        fs::write(directory.join("key"), "secret").unwrap();
        fs::write(root.join("file"), "harmless").unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    symlink(directory.join("key"), &bad).unwrap();
                    fs::rename(&bad, root.join("file")).unwrap();
                    fs::hard_link(&good, directory.join("one")).unwrap();
                    fs::rename(directory.join("one"), root.join("file")).unwrap();
                }
            });
            let tree = PinnedTree::without_links(tree(&root));
            for _ in 0..500 {
                let mut tar = Vec::new();
                let _ = pack(&tree, &mut tar, "tar", |_| {});
                assert!(!tar.windows(6).any(|window| window == b"secret"));
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn links_that_lead_out_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("a")).unwrap();
        for (target, is_out) in [
            ("b", false),
            ("../b", false),
            ("../../x", true),
            ("../a/../../x", true),
            ("../../", true),
            ("/etc/passwd", true),
            ("./c/d", false),
        ] {
            assert_eq!(
                leads_out(&root, &root.join("a/link"), target.as_ref()),
                is_out,
                "{target}"
            );
        }
    }

    #[test]
    fn a_tar_has_plain_modes_and_no_owners_and_times() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "content").unwrap();
        fs::write(path("made"), "replaced").unwrap();
        symlink("/etc/passwd", path("link")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, mode) in [("d", 0o3750), ("d/file", 0o6711), ("", 0o755)] {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
        let mut tree = Tree::new("t".to_owned(), directory.path().to_owned());
        tree.files.insert("made".into(), "of ours".to_owned());
        let (packed, tar) = packed(&PinnedTree::without_links(tree));
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            let owner_and_time = (header.uid(), header.gid(), header.mtime());
            let owner_and_time = (
                owner_and_time.0.unwrap(),
                owner_and_time.1.unwrap(),
                owner_and_time.2.unwrap(),
            );
            assert_eq!(owner_and_time, (0, 0, 0));
            let mode = header.mode().unwrap();
            let path = entry.path().unwrap().display().to_string();
            let target = entry.link_name().unwrap();
            let target = target.map(|target| target.display().to_string());
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            entries.push(format!(
                "{path} {mode:o} {content}{}",
                target.unwrap_or_default()
            ));
        }
        assert_eq!(
            entries,
            [
                "root 755 ",
                "root/d 750 ",
                "root/d/file 711 content",
                "root/link 777 /etc/passwd",
                "root/made 644 of ours",
            ]
        );
        let shown = directory.path().canonicalize().unwrap();
        let shown = shown.display();
        assert_eq!(
            packed.warnings,
            [
                format!("t: {shown}/link leads out of {shown}: copied as a link"),
                format!("t: {shown}/socket is neither file, directory nor link: left out"),
            ]
        );
        assert_eq!(packed.files, 2);
        assert_eq!(packed.sha256, format!("{:x}", Sha256::digest(&tar)));
    }

    #[test]
    fn the_first_layer_with_a_file_wins_and_choices_are_followed() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, name, content) in [
            (&first, "z", "first"),
            (&first, "both", "first"),
            (&second, "both", "second"),
            (&second, "lines", "one\ntwo\n"),
            (&second, "out/a", "no"),
            (&second, "warn/a", "no"),
        ] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut tree = Tree::new("t".to_owned(), first.path().to_owned());
        tree.layers.push(Layer {
            source: second.path().to_owned(),
            place: "".into(),
            files: Files::Chosen(|path, _| match path.to_str() {
                Some("out") => Choice::Exclude,
                Some("warn") => Choice::Warn("why"),
                Some("lines") => Choice::Rewrite(|line| Cow::Owned(line.repeat(2))),
                _ => Choice::Include,
            }),
        });
        let (packed, tar) = packed(&PinnedTree::without_links(tree));
        let mut entries = Vec::new();
        for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            entries.push([path, content]);
        }
        assert_eq!(
            entries,
            [
                ["root", ""],
                ["root/both", "first"],
                ["root/z", "first"],
                ["root", ""],
                ["root/lines", "one\none\ntwo\ntwo\n"],
            ]
        );
        let shown = second.path().canonicalize().unwrap();
        assert_eq!(
            packed.warnings,
            [format!("t: {}/warn is left out: why", shown.display())]
        );
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        for (left, result) in [
            (3, Ok(3)),
            (2, Ok(3)),
            (4, Err("it shrank while it was read".to_owned())),
        ] {
            let mut reader = ExactReader {
                inner: &b"abc"[..],
                left,
            };
            let read = reader.read_to_end(&mut Vec::new());
            assert_eq!(read.map_err(|error| error.to_string()), result);
        }
    }

    #[test]
    fn a_link_may_lead_out_through_another_link() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        symlink("/", root.join("top")).unwrap();
        symlink("top/etc", root.join("link")).unwrap();
        assert!(leads_out(&root, &root.join("link"), Path::new("top/etc")));
        // If the target does not exist, its path decides.
        assert!(leads_out(&root, &root.join("none"), Path::new("/nowhere")));
        assert!(!leads_out(&root, &root.join("none"), Path::new("nowhere")));
        // The directory has another path in the guest.
        assert!(leads_out(&root, &root.join("none"), &root.join("inside")));
    }

    #[test]
    fn a_file_that_grows_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, vec![0; 200_000]).unwrap();
        let tree = Tree::new("t".to_owned(), directory.path().to_owned());
        // Half of the file is packed by then.
        let grow = |done| {
            if done > 100_000 {
                fs::write(&file, vec![0; 200_001]).unwrap();
            }
        };
        let error = pack(
            &PinnedTree::without_links(tree),
            std::io::sink(),
            "tar",
            grow,
        )
        .err()
        .unwrap();
        let shown = file.canonicalize().unwrap();
        assert_eq!(
            format!("{error:#}"),
            format!("t: read {}: it grew while it was read", shown.display())
        );
    }
}
