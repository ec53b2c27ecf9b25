//! A directory that is copied into the guest, as data: which directories of the host it consists
//! of, and which of their files are copied.

use std::collections::BTreeMap;
use std::fs::{FileType, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use derive_more::Deref;

use crate::host::choice::Choice;
use crate::host::directory::Directory;
use crate::host::file_list::FileList;

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
    /// Which files are copied.
    pub files: Files,
}

/// The files of a layer that are copied.
#[derive(Clone, Debug)]
pub enum Files {
    /// Those on which the function decides so, by their paths in the layer and their types.
    Chosen(fn(&Path, FileType) -> Choice),
    /// These, as far as they are there, and the directories in which they are. If one of them is a
    /// directory, nothing in it is copied. No other layer has a file with the same path.
    Listed(Arc<FileList>),
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
            files: Files::Chosen(|_, _| Choice::Include),
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
        let is_chosen = |layer: &Self| matches!(layer.files, Files::Chosen(_));
        if !is_chosen(self) || !is_chosen(other) {
            return false;
        }
        self.place.starts_with(&other.place) || other.place.starts_with(&self.place)
    }
}

/// The permissions of a file in the guest: those on the host without the set-id and sticky bits.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}
