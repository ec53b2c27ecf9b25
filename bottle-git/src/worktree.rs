//! What is copied of a work tree.

use std::path::{Path, PathBuf};

use bottle_common::host::tree::{Files, Layer};

/// The maximum number of names that are kept for a warning or a check.
pub const MAX_NAMES: usize = 200;

/// What is copied of a work tree and of those of its submodules.
#[derive(Default)]
pub struct Worktree {
    /// The work trees.
    pub layers: Vec<Layer>,
    /// The untracked files that the plan's patterns name, by their paths in the work tree. At most
    /// 200 are listed.
    pub included: Vec<PathBuf>,
    /// Untracked files that are left out because of their names.
    pub secrets: Names,
    /// Repositories in the work tree that are not its submodules. They are left out.
    pub repositories: Names,
}

impl Worktree {
    /// Whether any file is copied.
    pub fn has_files(&self) -> bool {
        self.layers.iter().any(|layer| match &layer.files {
            Files::Listed(files) => !files.is_empty(),
            Files::Chosen(_) => true,
        })
    }
}

/// The first of some names, and how many there are.
#[derive(Default)]
pub struct Names {
    /// At most 200 names.
    pub first: Vec<String>,
    /// The number of all names.
    pub number: usize,
}

impl Names {
    /// Adds a name.
    pub fn push(&mut self, path: &Path) {
        if self.first.len() < MAX_NAMES {
            self.first.push(path.display().to_string());
        }
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use bottle_common::host::file_list::FileList;
    use bottle_common::host::tree::{Files, Layer};

    use super::{MAX_NAMES, Names, Worktree};

    #[test]
    fn names_are_counted_beyond_those_that_are_kept() {
        let mut names = Names::default();
        for number in 0..=MAX_NAMES {
            names.push(Path::new(&number.to_string()));
        }
        assert_eq!(
            (names.first.len(), names.number),
            (MAX_NAMES, MAX_NAMES + 1)
        );
    }

    #[test]
    fn a_work_tree_may_have_no_files() {
        let layer = |files| Layer {
            source: PathBuf::new(),
            place: PathBuf::new(),
            files: Files::Listed(Arc::new(files)),
        };
        let mut worktree = Worktree::default();
        worktree.layers.push(layer(FileList::default()));
        assert!(!worktree.has_files());
        let mut files = FileList::default();
        files.push(Path::new("a"), None);
        worktree.layers.push(layer(files));
        assert!(worktree.has_files());
    }
}
