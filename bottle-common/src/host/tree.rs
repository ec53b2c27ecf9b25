//! A directory that is copied into the guest, as data: which directories of the host it consists
//! of, and which of their files are copied.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{FileType, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use derive_more::Deref;

use crate::host::directory::Directory;

/// A directory that is going to be copied into the guest.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The words with which messages about the directory begin.
    pub name: String,
    /// The directories on the host that it consists of. If two of them have the same file, that of
    /// the earlier one is copied.
    pub layers: Vec<Layer>,
    /// The contents of files that are created for the guest, by their path in the directory. Such a
    /// file replaces the one of the layers.
    pub files: BTreeMap<PathBuf, String>,
}

/// A directory on the host that is a part of a [`Tree`].
#[derive(Clone, Debug)]
pub struct Layer {
    /// The path on the host. It may contain links.
    pub source: PathBuf,
    /// The path in the tree at which the files of this layer are placed.
    pub place: PathBuf,
    /// Decides on each file, by its path in the layer and its type.
    pub choose: fn(&Path, FileType) -> Choice,
}

/// The decision on a file, or on a directory with everything in it.
#[derive(Clone, Copy)]
pub enum Choice {
    /// It is copied.
    Include,
    /// It is copied, and each of its lines is rewritten.
    Rewrite(fn(&[u8]) -> Cow<'_, [u8]>),
    /// It is not copied.
    Exclude,
    /// It is not copied, and a warning says why.
    Warn(&'static str),
}

/// A tree whose layers have paths without links. So the files that are read are really below the
/// directories that were checked.
#[derive(Clone, Debug, Deref)]
pub struct PinnedTree(Tree);

impl Tree {
    /// Makes a tree of all files of the directory `source`.
    #[must_use]
    pub fn new(name: String, source: PathBuf) -> Self {
        let layer = Layer {
            source,
            place: PathBuf::new(),
            choose: |_, _| Choice::Include,
        };
        Self {
            name,
            layers: vec![layer],
            files: BTreeMap::new(),
        }
    }
}

impl PinnedTree {
    /// Pins `tree`, whose layers' paths were judged and are without links. If one of them has
    /// become a link since, reading the tree fails.
    #[must_use]
    pub fn without_links(tree: Tree) -> Self {
        Self(tree)
    }

    /// Makes a tree of all files of the directory `source`.
    #[must_use]
    pub fn new(name: String, source: &Directory) -> Self {
        Self(Tree::new(name, source.path().to_owned()))
    }
}

impl Layer {
    /// Whether a file of this layer and one of `other` can have the same path in the directory.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        self.place.starts_with(&other.place) || other.place.starts_with(&self.place)
    }
}

impl Choice {
    /// Whether the file is copied.
    pub(crate) fn is_copied(self) -> bool {
        matches!(self, Self::Include | Self::Rewrite(_))
    }
}

/// The permissions of a file in the guest: those on the host without the set-id and sticky bits.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}
