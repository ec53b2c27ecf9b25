//! A host directory on its way into the guest: one reproducible tar, and the calls that put it in place.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use walkdir::{DirEntry, WalkDir};

use crate::call::{Call, Source};
use crate::check::{Facts, Listing};
use crate::checked::GuestPath;
use crate::guest;
use crate::interrupt;
use crate::stage;

/// Unpacks `$1/.$2.bottle.tar` as `$1/$2`, which exists complete or not at all, and makes `$3` the owner of `$1` and of
/// each parent of it below `$4`. With `$5` = keep, what is there stays. The tar goes last: while it is there the work is
/// not done, and when it is gone a repeat has nothing left to do. With it goes what an agent that ended in the middle of
/// a copy left beside it. What is beside an emptied `.bottle` directory is not
/// another's, but ours of a moment ago.
const UNPACK: &str = "set -eu; tar=$1/.$2.bottle.tar new=$1/.$2.bottle; \
    there() { [ -e \"$1\" ] || [ -L \"$1\" ]; }; \
    if there \"$tar\"; then \
        if [ \"$5\" = keep ] && there \"$1/$2\"; then \
            if ! there \"$new\" || there \"$new/root\"; then echo kept; fi; \
        else \
            rm -rf \"$new\"; mkdir -m 700 \"$new\"; tar -xpf \"$tar\" --no-same-owner -C \"$new\"; \
            if there \"$1/$2\"; then mv -T \"$1/$2\" \"$new/old\"; fi; \
            mv -T \"$new/root\" \"$1/$2\"; \
        fi; \
        rm -rf \"$new\"; \
    fi; \
    dir=$1; while case $dir in \"$4\"/?*) :;; *) false;; esac; do chown -h \"$3\" \"$dir\"; dir=${dir%/*}; done; \
    rm -f \"$tar\" \"$tar\".smolvm-upload.*";

/// What UNPACK says when it left the target as it was.
const KEPT: &str = "kept";

/// A directory of the host that is to be one of the guest.
#[derive(Clone, Debug)]
pub struct Directory {
    /// What it is: the first words of messages about it.
    pub name: String,
    /// Where it is on the host; it may be a link.
    pub source: PathBuf,
}

/// A directory that was packed.
pub struct Packed {
    /// How many regular files are in the tar.
    pub files: u64,
    /// SHA-256 of the tar, in hex.
    pub sha256: String,
    /// What a person should know: links that lead out, files that are no files.
    pub warnings: Vec<String>,
}

/// What becomes of a directory that is already in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// It stays, and the new one is dropped.
    Keep,
    /// The new one takes its place.
    Replace,
}

impl Directory {
    /// The calls that make `parent/name` in the guest this directory.
    #[must_use]
    pub fn unpack(self, parent: &GuestPath, name: &str, existing: Existing) -> [Call; 2] {
        let keep = if existing == Existing::Keep { "keep" } else { "replace" };
        [
            Call::copy(Source::Directory(self), parent.join(&format!(".{name}.bottle.tar"))),
            Call::script(UNPACK, &[parent, name, guest::OWNER, guest::HOME, keep])
                .to(format!("unpack {}", parent.join(name))),
        ]
    }

    /// Writes the directory to `out`, called `place`, as one tar. Links in it are never followed; sockets, FIFOs and
    /// devices are left out, with a warning.
    pub(crate) fn pack(&self, out: impl Write, place: &str) -> Result<Packed> {
        self.about(|| {
            let root = fs::canonicalize(&self.source).with_context(|| format!("read {}", self.source.display()))?;
            let mut packed = Packed { files: 0, sha256: String::new(), warnings: Vec::new() };
            let mut tar = Builder::new(Hashing { inner: BufWriter::with_capacity(1 << 16, out), hash: Sha256::new() });
            for entry in self.entries(&root) {
                packed.append(&mut tar, &root, &entry?, place)?;
            }
            let writing = || format!("write {place}");
            let mut hashing = tar.into_inner().with_context(writing)?;
            hashing.flush().with_context(writing)?;
            packed.sha256 = format!("{:x}", hashing.hash.finalize());
            packed.warnings.iter_mut().for_each(|warning| *warning = format!("{}: {warning}", self.name));
            Ok(packed)
        })
    }

    /// What the directory comes to at `path` in the guest.
    pub fn listing(&self, path: &GuestPath) -> Result<Listing> {
        self.about(|| {
            let root = fs::canonicalize(&self.source).with_context(|| format!("read {}", self.source.display()))?;
            let mut listing = Listing::default();
            for entry in self.entries(&root) {
                let entry = entry?;
                let below = entry.path().strip_prefix(&root)?.to_string_lossy();
                let path = if below.is_empty() { path.clone() } else { path.join(&below) };
                if let Some(facts) = facts(&entry)? {
                    listing = listing.with(&path, facts);
                }
            }
            Ok(listing)
        })
    }

    /// What is in the directory, itself first, in a fixed order.
    fn entries(&self, root: &Path) -> impl Iterator<Item = Result<DirEntry>> {
        WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| {
            interrupt::check()?;
            entry.with_context(|| format!("read {}", self.source.display()))
        })
    }

    /// Names this directory in the errors of `action`.
    pub(crate) fn about<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        action().with_context(|| self.name.clone())
    }
}

impl Packed {
    fn append(&mut self, tar: &mut Builder<impl Write>, root: &Path, entry: &DirEntry, place: &str) -> Result<()> {
        let shown = entry.path().display();
        let (reading, packing) = (|| format!("read {shown}"), || format!("pack {shown} into {place}"));
        let name = Path::new("root").join(entry.path().strip_prefix(root)?);
        let metadata = entry.metadata().with_context(reading)?;
        let mut header = header(&metadata);
        if metadata.is_dir() {
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
            header.set_size(size);
            let content = Exactly { inner: (&file).take(size), left: size };
            tar.append_data(&mut header, &name, content).with_context(packing)?;
            ensure!(file.metadata().with_context(reading)?.len() == size, "read {shown}: it grew while it was read");
            self.files += 1;
        } else {
            self.warnings.push(format!("{shown} is neither file, directory nor link: left out"));
        }
        Ok(())
    }
}

/// Whether UNPACK, having printed `answer`, left the directory that was there.
#[must_use]
pub fn was_kept(answer: &str) -> bool {
    answer.trim() == KEPT
}

/// What a file comes to in the guest; nothing, where it is not copied.
fn facts(entry: &DirEntry) -> Result<Option<Facts>> {
    let reading = || format!("read {}", entry.path().display());
    let metadata = entry.metadata().with_context(reading)?;
    let mode = format!("{:o}", mode(&metadata));
    Ok(if metadata.is_dir() {
        Some(Facts { mode: Some(mode), ..Facts::directory(guest::OWNER) })
    } else if metadata.is_symlink() {
        let target = fs::read_link(entry.path()).with_context(reading)?;
        let (owner, target) = (Some(guest::OWNER.to_owned()), Some(target.to_string_lossy().into_owned()));
        Some(Facts { kind: "link", owner, target, ..Facts::default() })
    } else if metadata.is_file() {
        Some(Facts::file(&mode, guest::OWNER, &stage::sha256(entry.path())?))
    } else {
        None
    })
}

/// The permissions that a file has in the guest: no set-id bits.
fn mode(metadata: &Metadata) -> u32 {
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

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
