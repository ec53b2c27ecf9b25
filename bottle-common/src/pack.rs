//! A directory as one reproducible tar.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::archive::{Choice, Directory, Item};
use crate::interrupt;

/// The longest file that smolvm copies. A longer tar goes in parts.
pub(crate) const PART: u64 = 4 << 30;

/// Where the directory is in its tar.
const ROOT: &str = "root";
/// What tar pads everything to.
const BLOCK: u64 = 512;
/// The longest name that has a place in a header.
const NAME: usize = 99;

/// A directory that was packed.
pub struct Packed {
    /// How many regular files are in the tar.
    pub files: u64,
    /// SHA-256 of the tar, in hex.
    pub sha256: String,
    /// What a person should know: links that lead out, files that stay behind.
    pub warnings: Vec<String>,
}

/// How long the tar of `directory` is, or a little less than that.
pub(crate) fn size(directory: &Directory) -> Result<u64> {
    let name = |path: &Path| {
        let length = ROOT.len() + 1 + path.as_os_str().len();
        if length > NAME { BLOCK + padded(length as u64 + 1) } else { 0 }
    };
    let mut size = 2 * BLOCK;
    for item in directory.items() {
        let Item { entry, path, choice, .. } = item?;
        let metadata = entry.metadata().with_context(|| format!("read {}", entry.path().display()))?;
        size += BLOCK + name(&path);
        if metadata.is_symlink() {
            size += BLOCK + padded(metadata.len() + 1);
        } else if metadata.is_file() && !matches!(choice, Choice::LeftOut(_)) {
            size += padded(metadata.len());
        }
    }
    for (path, content) in &directory.files {
        size += BLOCK + name(path) + padded(content.len() as u64);
    }
    Ok(size)
}

fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK)
}

/// Writes `directory` to `out`, called `place`, as one tar. Links in it are never followed; sockets, FIFOs and devices
/// are left out, with a warning. `progress` is told how much was written.
pub(crate) fn pack(
    directory: &Directory,
    out: &mut dyn Write,
    place: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<Packed> {
    directory.about(|| {
        let mut packed = Packed { files: 0, sha256: String::new(), warnings: Vec::new() };
        let out = BufWriter::with_capacity(1 << 16, out);
        let mut tar = Builder::new(Watched { inner: out, hash: Sha256::new(), written: 0, progress });
        for item in directory.items() {
            packed.append(&mut tar, &item?, place)?;
        }
        for (path, content) in &directory.files {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(1);
            header.set_size(content.len() as u64);
            let packing = || format!("pack {} into {place}", path.display());
            tar.append_data(&mut header, Path::new(ROOT).join(path), content.as_bytes()).with_context(packing)?;
            packed.files += 1;
        }
        let writing = || format!("write {place}");
        let mut watched = tar.into_inner().with_context(writing)?;
        watched.flush().with_context(writing)?;
        packed.sha256 = format!("{:x}", watched.hash.finalize());
        packed.warnings.iter_mut().for_each(|warning| *warning = format!("{}: {warning}", directory.name));
        Ok(packed)
    })
}

impl Packed {
    fn append(&mut self, tar: &mut Builder<impl Write>, item: &Item, place: &str) -> Result<()> {
        let Item { entry, path, root, choice } = item;
        let shown = entry.path().display();
        let (reading, packing) = (|| format!("read {shown}"), || format!("pack {shown} into {place}"));
        let name = if path.as_os_str().is_empty() { PathBuf::from(ROOT) } else { Path::new(ROOT).join(path) };
        let metadata = entry.metadata().with_context(reading)?;
        let mut header = header(&metadata);
        if let Choice::LeftOut(why) = choice {
            self.warnings.push(format!("{shown} is left out: {why}"));
        } else if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, &name, io::empty()).with_context(packing)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).with_context(reading)?;
            if leads_out(root, entry.path(), &target) {
                self.warnings.push(format!("{shown} leads out of {}: copied as a link", root.display()));
            }
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, &name, &target).with_context(packing)?;
        } else if metadata.is_file() {
            let file = File::open(entry.path()).with_context(reading)?;
            let size = metadata.len();
            if let Choice::Lines(make) = choice {
                // Twice, so that a long file need not be held.
                let size = Lines::new(File::open(entry.path()).with_context(reading)?, *make).size();
                let size = size.with_context(reading)?;
                header.set_size(size);
                let lines = Lines::new(&file, *make);
                tar.append_data(&mut header, &name, Exactly { inner: lines.take(size), left: size })
                    .with_context(packing)?;
            } else {
                header.set_size(size);
                // What writes the tar asks for 8 KiB at a time.
                let content = BufReader::with_capacity(1 << 16, &file).take(size);
                let content = Exactly { inner: content, left: size };
                tar.append_data(&mut header, &name, content).with_context(packing)?;
            }
            ensure!(file.metadata().with_context(reading)?.len() == size, "read {shown}: it grew while it was read");
            self.files += 1;
        } else {
            self.warnings.push(format!("{shown} is neither file, directory nor link: left out"));
        }
        Ok(())
    }
}

/// The permissions that a file has in the guest: no set-id bits.
pub(crate) fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// The same for the same file on every host: no owner.
fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode(metadata));
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// Whether the link at `link` with this `target` leads out of `root`, as far as can be said without a guest.
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

/// A file that must be as long as it was when its header was written; another length would spoil the tar.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check().map_err(io::Error::other)?;
        let read = self.inner.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it shrank while it was read"));
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// A file with each line as `make` makes it.
struct Lines<R> {
    inner: BufReader<R>,
    make: fn(&[u8]) -> Cow<'_, [u8]>,
    line: Vec<u8>,
    done: usize,
}

impl<R: Read> Lines<R> {
    fn new(inner: R, make: fn(&[u8]) -> Cow<'_, [u8]>) -> Self {
        Self { inner: BufReader::new(inner), make, line: Vec::new(), done: 0 }
    }

    /// How much there is to read.
    fn size(mut self) -> io::Result<u64> {
        io::copy(&mut self, &mut io::sink())
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done == self.line.len() {
            let mut line = Vec::new();
            self.inner.read_until(b'\n', &mut line)?;
            (self.line, self.done) = ((self.make)(&line).into_owned(), 0);
        }
        let read = (&self.line[self.done..]).read(buffer)?;
        self.done += read;
        Ok(read)
    }
}

/// Writes, sums up, and tells how far it is.
struct Watched<'a, W> {
    inner: W,
    hash: Sha256,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Watched<'_, W> {
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
