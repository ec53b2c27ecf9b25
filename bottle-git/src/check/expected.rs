//! What the plan and the host's files say that the repository in the guest should be like.

use std::collections::HashSet;

use anyhow::Result;
use bottle_common::guest::listing::{DEEP, Listing};
use bottle_common::host::tree::PinnedTree;
use bottle_common::plan::values::GuestPath;

use crate::config::Entry;
use crate::git_dirs::GitDirs;
use crate::repository::{self, Repository};

/// The maximum number of submodules whose repositories are compared. Their paths are parameters of
/// one command.
const MAX_MODULES: usize = 1000;

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
    /// Its own directory.
    pub own: GitDir,
    /// Those of its submodules.
    pub modules: Vec<GitDir>,
    /// The work tree; `None` if it is not copied.
    pub work_tree: Option<WorkTree>,
}

/// The directory of a repository in the guest.
pub struct GitDir {
    /// The directory in the guest.
    pub path: GuestPath,
    /// Whether it has an index.
    pub has_index: bool,
    /// The hooks; `None` if their directory is a link.
    pub hooks: Option<Listing>,
}

impl GitDir {
    /// Reads what the guest's directory `path` should have. The host's `git_dir` and `common_dir`
    /// are copied to it.
    fn of(repository: &Repository, dirs: &GitDirs, path: GuestPath) -> Result<Self> {
        let hooks = repository.hooks(&dirs.common_dir);
        let hooks = hooks.map(|tree| Listing::of_tree(&PinnedTree::without_links(tree), &path));
        Ok(Self {
            has_index: dirs.git_dir.join("index").is_file(),
            hooks: hooks.transpose()?,
            path,
        })
    }
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
    /// Reads what the copy of `repository` should be like.
    ///
    /// # Errors
    ///
    /// If the hooks on the host cannot be read, or if a signal comes.
    pub fn of(repository: &Repository) -> Result<Self> {
        let own = GitDir::of(repository, &repository.dirs, repository::path())?;
        let mut modules = Vec::new();
        for (source, place) in repository.modules.iter().take(MAX_MODULES) {
            // A line cannot name the others, so they are not compared.
            let Some(place) = place.to_str().filter(|place| !place.contains('\n')) else {
                continue;
            };
            let dirs = GitDirs::single(source);
            let path = repository::path().join(place);
            modules.push(GitDir::of(repository, &dirs, path)?);
        }
        Ok(Self {
            source: repository.source.display().to_string(),
            is_readable: repository.is_readable,
            keeps_config: repository.keeps_config,
            commits: repository.commits(),
            settings: repository.settings.iter().map(setting).collect(),
            own,
            modules,
            work_tree: repository.worktree.as_ref().map(|worktree| {
                let project = repository.source.parent();
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

    /// Lists what is looked at, as `list` of list.sh takes it: a line for each path.
    pub fn paths(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for GitDir { path, .. } in std::iter::once(&self.own).chain(&self.modules) {
            for name in ["", "/commondir", "/index", "/objects"] {
                lines.push(format!("0:{path}{name}\n"));
            }
            for name in ["branches", "hooks", "remotes"] {
                lines.push(format!("{DEEP}:{path}/{name}\n"));
            }
        }
        for path in self.work_tree.iter().flat_map(|tree| &tree.included) {
            lines.push(format!("0:{path}\n"));
        }
        lines
    }

    /// Whether the repository's configuration contains `entry`.
    pub fn sets(&self, entry: &Entry) -> bool {
        self.settings.contains(&setting(entry))
    }
}

fn setting(entry: &Entry) -> (String, String) {
    (entry.key.clone(), entry.value.clone().unwrap_or_default())
}
