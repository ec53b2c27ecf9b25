//! What the plan and the host's files say that the repository in the guest should be like.

use std::collections::HashSet;

use anyhow::Result;
use bottle_common::guest::listing::Listing;
use bottle_common::host::tree::PinnedTree;
use bottle_common::plan::values::GuestPath;

use crate::config::Entry;
use crate::repository::{self, Repository};

/// What a copy of the host's repository should be like in the guest.
pub struct Expected {
    /// The `.git` on the host.
    pub source: String,
    /// Whether git can read the repository.
    pub is_readable: bool,
    /// Whether the configuration is copied unchanged.
    pub keeps_config: bool,
    /// Commits of which the copy contains at least one.
    pub commits: Vec<String>,
    /// The keys and values of its configuration.
    pub settings: HashSet<(String, String)>,
    /// The hooks; `None` if their directory is a link.
    pub hooks: Option<Listing>,
    /// The work tree; `None` if it is not copied.
    pub work_tree: Option<WorkTree>,
}

/// What a copy of the work tree should have in the guest. The agent works on its files, so what
/// became of each is not compared.
pub struct WorkTree {
    /// The directory on the host.
    pub source: String,
    /// Whether it has any files.
    pub has_files: bool,
    /// The paths in the guest of untracked files that the plan names.
    pub included: Vec<GuestPath>,
}

impl Expected {
    pub fn of(repository: &Repository) -> Result<Self> {
        let hooks = repository.hooks();
        let hooks = hooks
            .map(|tree| Listing::of_tree(&PinnedTree::without_links(tree), &repository::path()));
        Ok(Self {
            source: repository.source().display().to_string(),
            is_readable: repository.is_readable,
            keeps_config: repository.keeps_config,
            commits: repository.commits(),
            settings: repository.settings.iter().map(setting).collect(),
            hooks: hooks.transpose()?,
            work_tree: repository.worktree.as_ref().map(|worktree| {
                let project = repository.source().parent();
                let included = worktree.included.iter().filter_map(|path| path.to_str());
                let included = included.filter(|path| !path.contains('\n'));
                WorkTree {
                    source: project
                        .map(|path| path.display().to_string())
                        .unwrap_or_default(),
                    has_files: worktree.has_files(),
                    included: included
                        .map(|path| repository::workspace().join(path))
                        .collect(),
                }
            }),
        })
    }

    /// The files of the work tree that are looked at.
    pub fn included(&self) -> Vec<GuestPath> {
        let work_tree = self.work_tree.as_ref();
        work_tree
            .map(|work_tree| work_tree.included.clone())
            .unwrap_or_default()
    }

    /// Whether the repository's configuration contains `entry`.
    pub fn sets(&self, entry: &Entry) -> bool {
        self.settings.contains(&setting(entry))
    }
}

fn setting(entry: &Entry) -> (String, String) {
    (entry.key.clone(), entry.value.clone().unwrap_or_default())
}
