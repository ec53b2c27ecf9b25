//! A directory of the host on its way into the guest, as data: which trees it is made of, and what
//! of them goes along.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use walkdir::{DirEntry, WalkDir};

use crate::host::signals;

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
    /// Where it is on the host; it may be a link.
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

/// A file on its way.
pub struct Entry {
    /// The file on the host.
    pub file: DirEntry,
    /// Its path in the directory; empty for the directory itself.
    pub path: PathBuf,
    /// The layer that it is from, without links.
    pub root: PathBuf,
    /// What becomes of it; never [`Choice::Exclude`].
    pub choice: Choice,
}

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

    /// Visits everything that goes along of the host's trees, and what a warning is due for, in a
    /// fixed order.
    ///
    /// # Errors
    ///
    /// When a layer cannot be read, when a signal comes, and those of `visit`.
    pub fn walk(&self, mut visit: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        for (number, layer) in self.layers.iter().enumerate() {
            self.walk_layer(layer, &self.layers[..number], &mut visit)?;
        }
        Ok(())
    }

    fn walk_layer(
        &self,
        layer: &Layer,
        earlier: &[Layer],
        visit: &mut impl FnMut(&Entry) -> Result<()>,
    ) -> Result<()> {
        let reading = || format!("read {}", layer.source.display());
        let root = fs::canonicalize(&layer.source).with_context(reading)?;
        let mut files = WalkDir::new(&root).sort_by_file_name().into_iter();
        while let Some(file) = files.next() {
            signals::check()?;
            let file = file.with_context(reading)?;
            let kind = file.file_type();
            let (choice, path) = match file.path().strip_prefix(&root) {
                Ok(below) if file.depth() > 0 => {
                    ((layer.choose)(below, kind), layer.place.join(below))
                }
                _ => (Choice::Include, layer.place.clone()),
            };
            if kind.is_dir() && !choice.goes_along() {
                files.skip_current_dir();
            }
            let is_replaced = self.files.contains_key(&path)
                || !kind.is_dir() && earlier.iter().any(|layer| layer.has(&path, kind));
            if is_replaced || matches!(choice, Choice::Exclude) {
                continue;
            }
            visit(&Entry {
                file,
                path,
                root: root.clone(),
                choice,
            })?;
        }
        Ok(())
    }
}

impl Layer {
    /// Whether a file of this layer goes to `path` in the directory.
    fn has(&self, path: &Path, kind: FileType) -> bool {
        let Ok(path) = path.strip_prefix(&self.place) else {
            return false;
        };
        self.source.join(path).exists() && (self.choose)(path, kind).goes_along()
    }
}

impl Choice {
    fn goes_along(self) -> bool {
        matches!(self, Self::Include | Self::Rewrite(_))
    }
}

impl Entry {
    /// Asks the host for the file's metadata, of a link its own.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    pub fn metadata(&self) -> Result<Metadata> {
        self.file
            .metadata()
            .with_context(|| format!("read {}", self.file.path().display()))
    }

    /// Reads where a link leads.
    ///
    /// # Errors
    ///
    /// When the host refuses, or it is no link.
    pub fn target(&self) -> Result<PathBuf> {
        let path = self.file.path();
        fs::read_link(path).with_context(|| format!("read {}", path.display()))
    }
}

/// The permissions that a file gets in the guest: those of the host, without set-id and sticky
/// bits.
#[must_use]
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}
