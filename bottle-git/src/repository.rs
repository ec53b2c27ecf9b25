//! The repository for the agent's workspace, and the calls that install it.

use std::collections::BTreeMap;
use std::fs::FileType;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use bottle_common::guest::paths;
use bottle_common::host::choice::Choice;
use bottle_common::host::tree::{Files, Layer, PinnedTree, Tree};
use bottle_common::plan::values::GuestPath;
use bottle_common::smolvm::call::Group;
use bottle_common::smolvm::install::{Existing, Found, give_to_node, install, make_directory};
use bottle_common::step::{CallResults, receipt};
use bottle_common::text::size;

use crate::config::Entry;
use crate::git_dirs::{GitDirs, is_id};
use crate::inside;
use crate::layout;
use crate::worktree::Worktree;

const READABLE: &str = include_str!("readable.sh");
const IN_USE: &str = concat!(include_str!("in_use.sh"), include_str!("readable.sh"));

/// The number of bytes of a file in which names of commits are looked for.
const BEGINNING: u64 = 1 << 16;
/// The maximum number of commits that are taken from one file.
const MAX_COMMITS: usize = 50;

/// A repository on the host.
pub struct Repository {
    /// The project's `.git`.
    pub source: PathBuf,
    /// Its directories on the host.
    pub dirs: GitDirs,
    /// Whether the host's git can read the repository.
    pub is_readable: bool,
    /// Whether its configuration, and files that git does not know, are copied unchanged.
    pub keeps_config: bool,
    /// Warnings for people, before the first call.
    pub warnings: Vec<String>,
    /// The entries of its configuration in the guest, and of those of its submodules.
    pub settings: Vec<Entry>,
    /// The directories on the host that are copied.
    pub layers: Vec<Layer>,
    /// The contents of the files that are created for the guest, by their path in the repository.
    pub files: BTreeMap<PathBuf, String>,
    /// The files of the work tree that are copied; `None` if the plan does not ask for them.
    pub worktree: Option<Worktree>,
    /// The contents of the files by which submodules name their repositories, by their path in the
    /// work tree.
    pub git_files: BTreeMap<PathBuf, String>,
    /// The repositories of submodules: the directory on the host, and its path in the repository.
    pub modules: Vec<(PathBuf, PathBuf)>,
}

impl Repository {
    /// Makes the repository at `source`, of which nothing has been read.
    pub fn new(source: PathBuf, dirs: GitDirs, is_readable: bool, keeps_config: bool) -> Self {
        Self {
            source,
            dirs,
            is_readable,
            keeps_config,
            warnings: Vec::new(),
            settings: Vec::new(),
            layers: Vec::new(),
            files: BTreeMap::new(),
            worktree: None,
            git_files: BTreeMap::new(),
            modules: Vec::new(),
        }
    }

    /// Lists the commits that `HEAD`, its reflog and the packed refs name. A copy of the repository
    /// contains at least one of them, even if both have changed since.
    pub fn commits(&self) -> Vec<String> {
        let GitDirs {
            git_dir,
            common_dir,
        } = &self.dirs;
        let mut files = vec![
            (git_dir, PathBuf::from("HEAD")),
            (git_dir, PathBuf::from("logs/HEAD")),
            (common_dir, PathBuf::from("packed-refs")),
        ];
        let head = inside::beginning(git_dir, "HEAD", BEGINNING);
        let head = String::from_utf8_lossy(&head);
        if let Some(name) = head.trim_end().strip_prefix("ref: ") {
            files.push((common_dir, PathBuf::from(name)));
        }
        let mut commits: Vec<String> = Vec::new();
        for (root, file) in files {
            if !file
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                continue;
            }
            let text = inside::beginning(root, file, BEGINNING);
            let ids = text
                .split(u8::is_ascii_whitespace)
                .filter(|word| is_id(word));
            let ids = ids.map(|id| String::from_utf8_lossy(id).into_owned());
            commits.extend(ids.filter(|id| id.contains(|c| c != '0')).take(MAX_COMMITS));
        }
        commits.sort();
        commits.dedup();
        commits
    }

    /// Makes the tree of the hooks that are copied from the repository in `directory`. Returns
    /// `None` if its directory of hooks is a link.
    pub fn hooks(&self, directory: &Path) -> Option<Tree> {
        let source = directory.join("hooks");
        if source.is_symlink() {
            return None;
        }
        let choose = if self.keeps_config {
            |_: &Path, _: FileType| Choice::Include
        } else {
            layout::hooks
        };
        let layer = Layer {
            source,
            place: PathBuf::from("hooks"),
            files: Files::Chosen(choose),
        };
        let layers = if layer.source.is_dir() {
            vec![layer]
        } else {
            Vec::new()
        };
        Some(Tree {
            name: "repository".to_owned(),
            layers,
            files: BTreeMap::new(),
        })
    }

    /// Makes the calls that install the repository. With `replace`, they replace an existing one.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or if a signal comes.
    pub fn calls(&self, replace: bool) -> Result<Group> {
        let existing = if replace {
            Existing::Replace
        } else if self.is_readable {
            Existing::KeepIf(READABLE)
        } else {
            Existing::Keep
        };
        let name = if self.worktree.is_some() {
            "project"
        } else {
            "repository"
        };
        let mut tree = Tree {
            name: name.to_owned(),
            layers: self.layers.clone(),
            files: self.files.clone(),
        };
        if let Some(worktree) = &self.worktree {
            for layer in &mut tree.layers {
                layer.place = Path::new(".git").join(&layer.place);
            }
            let files = tree.files.into_iter();
            tree.files = files
                .map(|(path, text)| (Path::new(".git").join(path), text))
                .collect();
            tree.files.extend(self.git_files.clone());
            tree.layers.extend(worktree.layers.iter().cloned());
            // The work tree's own directory comes first, then what is in it.
            tree.layers.rotate_right(worktree.layers.len());
            let existing = if replace {
                Existing::Replace
            } else {
                Existing::KeepIf(IN_USE)
            };
            return install(
                PinnedTree::without_links(tree),
                &paths::home_directory(),
                "workspace",
                existing,
            );
        }
        let tree = PinnedTree::without_links(tree);
        let mut group = install(tree, &workspace(), ".git", existing)?;
        group.calls.insert(0, make_directory(&workspace()).into());
        group.calls.push(give_to_node(&path()).into());
        Ok(group)
    }

    /// Makes the line for people, the receipt, and a warning if the guest already had a repository.
    pub fn report(&self, results: &CallResults) -> (String, receipt::Repository, Option<String>) {
        let is_whole = self.worktree.is_some();
        let path = if is_whole { workspace() } else { path() };
        let path = path.to_string();
        let mut found = results.answers.iter().map(|answer| Found::parse(answer));
        let found = found.find_map(|found| found);
        if found == Some(Found::Kept) {
            let warning =
                format!("{path} was there already and is kept; --replace-repository replaces it");
            let line = format!("{path} as it was");
            return (
                line,
                receipt::Repository::Kept { path, kept: true },
                Some(warning),
            );
        }
        let packed = results.packed.first();
        let files = packed.map_or(0, |packed| packed.files);
        let sha256 = packed
            .map(|packed| packed.sha256.clone())
            .unwrap_or_default();
        let worktree = packed.filter(|_| is_whole).map(|packed| receipt::Worktree {
            files: packed.listed.files,
            bytes: packed.listed.bytes,
        });
        let line = match (&worktree, self.source.parent()) {
            (Some(receipt::Worktree { files, bytes }), Some(project)) => {
                let (project, size) = (project.display(), size(*bytes));
                let files = match files {
                    1 => "1 file".to_owned(),
                    files => format!("{files} files"),
                };
                format!("{project} in {path} with {files}, {size}")
            }
            _ => format!("{} in {path}", self.source.display()),
        };
        let warning = match found {
            Some(Found::Broken(number)) => Some(format!(
                "git in the guest could not read {path}, which is {path}.broken-{number} now"
            )),
            _ => None,
        };
        (
            line,
            receipt::Repository::Copied {
                path,
                files,
                sha256,
                worktree,
            },
            warning,
        )
    }
}

/// The agent's work tree.
pub fn workspace() -> GuestPath {
    paths::home("workspace")
}

/// The repository in the guest.
pub fn path() -> GuestPath {
    workspace().join(".git")
}
