//! A directory of the host on its way into the guest, as data: which trees it is made of, and what
//! of them goes along.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use derive_more::Deref;

use crate::host::directory::Directory;

/// A directory that is to be one of the guest's.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What it is: the first words of messages about it.
    pub name: String,
    /// The host's trees that it is made of. Of two that have the same file, the earlier one wins.
    pub layers: Vec<Layer>,
    /// Files that are made for the guest: their content, by their path in the directory. They
    /// replace the layers' files.
    pub files: BTreeMap<PathBuf, String>,
}

/// One of the host's trees.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where it is on the host; there may be links on the way.
    pub source: PathBuf,
    /// Where it goes in the directory.
    pub place: PathBuf,
    /// What becomes of each file, by its path in the layer.
    pub choose: fn(&Path, FileType) -> Choice,
}

/// What becomes of a file, or of a directory with all that is in it.
#[derive(Clone, Copy)]
pub enum Choice {
    /// It goes along.
    Include,
    /// It goes along with each of its lines rewritten.
    Rewrite(fn(&[u8]) -> Cow<'_, [u8]>),
    /// It stays on the host.
    Exclude,
    /// It stays on the host, and a warning says why.
    Warn(&'static str),
}

/// A tree whose layers are where they are without a link on the way, so that what is read is below
/// the directories that were judged.
#[derive(Clone, Debug, Deref)]
pub struct PinnedTree(Tree);

impl Tree {
    /// The directory `source` of the host as it is.
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

    /// Resolves the links on the way to each layer. From then on a link there is an error.
    ///
    /// # Errors
    ///
    /// When a layer is missing.
    pub fn pin(mut self) -> Result<PinnedTree> {
        for layer in &mut self.layers {
            let source = fs::canonicalize(&layer.source);
            layer.source = source.with_context(|| format!("read {}", layer.source.display()))?;
        }
        Ok(PinnedTree(self))
    }
}

impl PinnedTree {
    /// The directory `source` of the host as it is.
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
    pub(crate) fn goes_along(self) -> bool {
        matches!(self, Self::Include | Self::Rewrite(_))
    }
}

/// The permissions that a file gets in the guest: those of the host, without set-id and sticky
/// bits.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}
