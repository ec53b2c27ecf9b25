//! A directory on its way into the guest: what it is made of, and the calls that put it in place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io::Write;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use crate::call::{Call, Source};
use crate::check::{Facts, Listing, text};
use crate::checked::GuestPath;
use crate::interrupt;
use crate::pack::{self, PART, Packed};
use crate::{guest, stage};

/// Unpacks `$1/.$2.bottle.tar`, which is in `$6` parts, as `$1/$2`, which exists complete and as `$3`'s own or not at
/// all, and makes `$3` the owner of `$1` and of each parent of it below `$4`. With `$5` = keep, what is there stays. The
/// tar goes last: while it is there the work is not done, and when it is gone a repeat has nothing left to do. With it
/// goes what an agent that ended in the middle of a copy left beside it. What is beside an emptied `.bottle` directory is
/// not another's, but ours of a moment ago.
const UNPACK: &str = "set -eu; dir=$1 target=$1/$2 tar=$1/.$2.bottle.tar new=$1/.$2.bottle owner=$3 home=$4 existing=$5; \
    parts=$6 part=1; shift 6; \
    while [ \"$part\" -lt \"$parts\" ]; do set -- \"$@\" \"$tar.$part\"; part=$((part + 1)); done; \
    there() { [ -e \"$1\" ] || [ -L \"$1\" ]; }; \
    if there \"$tar\"; then \
        if [ \"$existing\" = keep ] && there \"$target\"; then \
            if ! there \"$new\" || there \"$new/root\"; then echo kept; fi; \
        else \
            for part; do [ -f \"$part\" ]; done; \
            rm -rf \"$new\"; mkdir -m 700 \"$new\"; \
            if [ $# -eq 0 ]; then tar -xpf \"$tar\" --no-same-owner -C \"$new\"; \
            else cat \"$tar\" \"$@\" | tar -xpf - --no-same-owner -C \"$new\"; fi; \
            chown -hR \"$owner\" \"$new/root\"; \
            if there \"$target\"; then mv -T \"$target\" \"$new/old\"; fi; \
            mv -T \"$new/root\" \"$target\"; \
        fi; \
        rm -rf \"$new\"; \
    fi; \
    while case $dir in \"$home\"/?*) :;; *) false;; esac; do chown -h \"$owner\" \"$dir\"; dir=${dir%/*}; done; \
    rm -f \"$tar\" \"$tar\".*";

/// Takes back what was begun of `$1/$2`: what was there before is there again, and nothing is beside it.
const UNDO: &str = "set -eu; target=$1/$2 tar=$1/.$2.bottle.tar new=$1/.$2.bottle; \
    if [ ! -e \"$target\" ] && [ ! -L \"$target\" ] && [ -e \"$new/old\" ]; then mv -T \"$new/old\" \"$target\"; fi; \
    rm -rf \"$new\" \"$tar\" \"$tar\".*";

/// Fails unless `$1` has room for `$2` KiB. Where that cannot be asked, or `$3` stays, it is not needed.
const ROOM: &str = "set -eu; [ -z \"$3\" ] || [ ! -e \"$3\" ] || exit 0; \
    free=$(df -k --output=avail \"$1\" 2>/dev/null | tail -n 1) || exit 0; \
    [ \"$free\" -ge \"$2\" ] || { echo \"no room in $1: $2 KiB needed,\" $free \"KiB free\" >&2; exit 1; }";

/// The size from which on the guest is asked for room before anything is copied, in bytes.
const BIG: u64 = 256 << 20;

/// What UNPACK says when it left the target as it was.
const KEPT: &str = "kept";

/// A directory that is to be one of the guest.
#[derive(Clone, Debug)]
pub struct Directory {
    /// What it is: the first words of messages about it.
    pub name: String,
    /// The host's trees it is made of, the one that it begins with first. What an earlier one has, a later one does not
    /// replace.
    pub layers: Vec<Layer>,
    /// Files that are made for the guest, with their content, by their path in the directory. They replace the host's.
    pub files: BTreeMap<PathBuf, String>,
    /// How long the tar is, at most.
    size: u64,
    /// Makes the tar. Here, so that a program that copies no directory does not carry what it takes.
    pub(crate) pack: Pack,
}

/// Writes a directory to what has this name, and tells how much is written.
pub(crate) type Pack = fn(&Directory, &mut dyn Write, &str, &mut dyn FnMut(u64)) -> Result<Packed>;

/// A tree of the host.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where it is on the host; it may be a link.
    pub source: PathBuf,
    /// Where it goes in the directory.
    pub place: PathBuf,
    /// What becomes of each file, by its path in the tree.
    pub choose: fn(&Path, FileType) -> Choice,
}

/// What becomes of a file or of a directory with all that is in it.
#[derive(Clone, Copy)]
pub enum Choice {
    /// It goes along.
    Whole,
    /// It goes along, each line of it as this makes it.
    Lines(fn(&[u8]) -> Cow<'_, [u8]>),
    /// It stays behind.
    Out,
    /// It stays behind, with a warning that says why.
    LeftOut(&'static str),
}

/// What becomes of a directory that is already in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// It stays, and the new one is dropped.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// A file on its way.
pub(crate) struct Item {
    pub entry: DirEntry,
    /// Its path in the directory.
    pub path: PathBuf,
    /// The tree that it is from.
    pub root: PathBuf,
    pub choice: Choice,
}

impl Layer {
    /// Whether a file of this tree goes to `path` in the directory.
    fn has(&self, path: &Path, kind: FileType) -> bool {
        path.strip_prefix(&self.place).is_ok_and(|path| {
            let goes = || !matches!((self.choose)(path, kind), Choice::Out | Choice::LeftOut(_));
            self.source.join(path).exists() && goes()
        })
    }
}

impl Directory {
    /// The directory `source` of the host as it is.
    #[must_use]
    pub fn new(name: String, source: PathBuf) -> Self {
        let layer = Layer { source, place: PathBuf::new(), choose: |_, _| Choice::Whole };
        Self { name, layers: vec![layer], files: BTreeMap::new(), size: 0, pack: pack::pack }
    }

    /// The calls that make `parent/name` in the guest this directory.
    pub fn unpack(mut self, parent: &GuestPath, name: &str, existing: Existing) -> Result<Vec<Call>> {
        self.size = self.about(|| pack::size(&self))?;
        let (size, parts) = (self.size, self.parts());
        let (tar, target) = (parent.join(&format!(".{name}.bottle.tar")), parent.join(name));
        let (keep, kept) = match existing {
            Existing::Keep => ("keep", target.as_str()),
            Existing::Replace => ("replace", ""),
        };
        let mut calls = Vec::new();
        if size >= BIG {
            // The tar and what is unpacked of it.
            let needed = (size / 1024 * 2).to_string();
            calls.push(Call::script(ROOM, &[parent, &needed, kept]).to(format!("make room for {target}")));
        }
        let undo = Call::script(UNDO, &[parent, name]).to(format!("take back what was begun of {target}"));
        calls.push(Call::copy(Source::Directory(self), tar).undone_by(undo));
        for part in 1..parts {
            calls.push(Call::copy(Source::Part, parent.join(&format!(".{name}.bottle.tar.{part}"))));
        }
        let parameters = [parent, name, guest::OWNER, guest::HOME, keep, &parts.to_string()];
        calls.push(Call::script(UNPACK, &parameters).to(format!("unpack {target}")));
        Ok(calls)
    }

    /// How long the tar is at most, once the calls are decided.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How many files of [`PART`] bytes the tar is.
    pub(crate) fn parts(&self) -> u64 {
        self.size.div_ceil(PART).max(1)
    }

    /// What the directory comes to at `path` in the guest.
    pub fn listing(&self, path: &GuestPath) -> Result<Listing> {
        self.about(|| {
            let mut listing = Listing::default();
            for item in self.items() {
                let item = item?;
                let below = text(item.path.as_os_str().as_bytes());
                let path = if below.is_empty() { path.clone() } else { path.join(&below) };
                if let Some(facts) = facts(&item.entry)? {
                    listing = listing.with(&path, facts);
                }
            }
            Ok(listing)
        })
    }

    /// All that goes along of the host's trees, in a fixed order, and what [`Choice::LeftOut`] has to be said of.
    pub(crate) fn items(&self) -> impl Iterator<Item = Result<Item>> {
        self.layers.iter().enumerate().flat_map(|(number, layer)| self.items_of(layer, &self.layers[..number]))
    }

    fn items_of<'a>(&'a self, layer: &'a Layer, earlier: &'a [Layer]) -> Box<dyn Iterator<Item = Result<Item>> + 'a> {
        let reading = || format!("read {}", layer.source.display());
        let root = match fs::canonicalize(&layer.source).with_context(reading) {
            Ok(root) => root,
            Err(error) => return Box::new(iter::once(Err(error))),
        };
        let mut entries = WalkDir::new(&root).sort_by_file_name().into_iter();
        Box::new(iter::from_fn(move || {
            loop {
                if let Err(interrupted) = interrupt::check() {
                    return Some(Err(interrupted.into()));
                }
                let entry = match entries.next()?.with_context(reading) {
                    Ok(entry) => entry,
                    Err(error) => return Some(Err(error)),
                };
                let is_directory = entry.file_type().is_dir();
                let (choice, path) = match entry.path().strip_prefix(&root) {
                    Ok(below) if entry.depth() > 0 => {
                        ((layer.choose)(below, entry.file_type()), layer.place.join(below))
                    }
                    _ => (Choice::Whole, layer.place.clone()),
                };
                if is_directory && matches!(choice, Choice::Out | Choice::LeftOut(_)) {
                    entries.skip_current_dir();
                }
                let has = |earlier: &Layer| earlier.has(&path, entry.file_type());
                let is_replaced = self.files.contains_key(&path) || !is_directory && earlier.iter().any(has);
                if !matches!(choice, Choice::Out) && !is_replaced {
                    return Some(Ok(Item { entry, path, root: root.clone(), choice }));
                }
            }
        }))
    }

    /// Names this directory in the errors of `action`.
    pub(crate) fn about<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<T> {
        action().with_context(|| self.name.clone())
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
    let mode = format!("{:o}", pack::mode(&metadata));
    Ok(if metadata.is_dir() {
        Some(Facts { mode: Some(mode), ..Facts::directory(guest::OWNER) })
    } else if metadata.is_symlink() {
        let target = fs::read_link(entry.path()).with_context(reading)?;
        let (owner, target) = (Some(guest::OWNER.to_owned()), Some(text(target.as_os_str().as_bytes())));
        Some(Facts { kind: "link", owner, target, ..Facts::default() })
    } else if metadata.is_file() {
        Some(Facts::file(&mode, guest::OWNER, &stage::sha256(entry.path())?))
    } else {
        None
    })
}
