//! Finds the directories that a `.git` refers to, and decides whether the project may refer to
//! them.
//!
//! A project may come from anywhere, and its `.git` may refer to any directory of the host. A
//! directory outside the project must refer to the project in turn, as those of git's linked
//! worktrees and submodules do. Otherwise the user has to allow it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bottle_common::error::hinted;

use crate::config;
use crate::host_git::{self, GitAnswer};
use crate::inside;

/// The maximum length of a file that contains one path, in bytes.
const PATH_LIMIT: u64 = 1 << 14;
/// The hint for a repository that has been moved.
const REPAIR: &str = "git worktree repair, or git submodule update, mends what has been moved";

/// The directories on the host that a project may refer to. All paths are without links.
#[derive(Clone)]
pub struct Reach {
    /// The project's own directory.
    project: PathBuf,
    /// The other directories that are allowed.
    allowed: Vec<PathBuf>,
}

/// The directories of a repository. Both paths are without links.
#[derive(Clone, Debug)]
pub struct GitDirs {
    /// The directory of the files that belong to one work tree.
    pub git_dir: PathBuf,
    /// The directory of the files that linked worktrees share. If there are none, it is the same as
    /// `git_dir`.
    pub common_dir: PathBuf,
}

impl Reach {
    /// Makes the reach of the project at `project`. The user allows the directories `allowed`.
    ///
    /// # Errors
    ///
    /// If one of the directories is missing.
    pub fn new(project: &Path, allowed: &[PathBuf]) -> Result<Self> {
        let canonical = |path: &Path| {
            fs::canonicalize(path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Self {
            project: canonical(project)?,
            allowed: allowed
                .iter()
                .map(|path| canonical(path))
                .collect::<Result<_>>()?,
        })
    }

    /// The project's directory.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Also allows everything in `directory`, which was found to belong to the project.
    pub fn extend(&mut self, directory: &Path) {
        self.allowed.push(directory.to_owned());
    }

    /// Whether the files at `path`, which is without links, may be read.
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.project) || self.is_allowed(path)
    }

    /// Whether `path` is in one of the directories outside the project that are allowed.
    fn is_allowed(&self, path: &Path) -> bool {
        self.allowed
            .iter()
            .any(|directory| path.starts_with(directory))
    }
}

impl GitDirs {
    /// The directories of a repository without linked worktrees: both are `directory`.
    pub fn single(directory: &Path) -> Self {
        Self {
            git_dir: directory.to_owned(),
            common_dir: directory.to_owned(),
        }
    }

    /// Finds the directories of the repository that `source` refers to, the `.git` in the project.
    ///
    /// # Errors
    ///
    /// If there is no repository, if it cannot be read, or if the project may not refer to it.
    pub fn find(source: &Path, reach: &Reach) -> Result<Self> {
        let reading = || format!("read {}", source.display());
        let kind = source.symlink_metadata().with_context(reading)?.file_type();
        let git_dir = if kind.is_dir() {
            reach.project.join(".git")
        } else if kind.is_symlink() {
            linked(source, reach)?
        } else if kind.is_file() {
            named(source, reach)?
        } else {
            bail!("{}: neither a directory nor a file", reading());
        };
        let common_dir = common_dir(&git_dir)?;
        let dirs = Self {
            git_dir,
            common_dir,
        };
        if kind.is_file() && !dirs.is_repository() {
            return Err(no_repository(source, &dirs.git_dir, "it is no repository"));
        }
        if dirs.is_within(reach) || dirs.is_worktree_of(&reach.project) {
            return Ok(dirs);
        }
        if !dirs.is_linked() && is_work_tree_of(&dirs.git_dir, &reach.project)? {
            return Ok(dirs);
        }
        let common_dir = dirs.common_dir.display();
        Err(hinted(
            format!(
                "{}: {common_dir} does not name it as its own",
                source.display()
            ),
            format!(
                "if it is the project's own, {REPAIR}, and --allow-outside {common_dir} lets it in"
            ),
        ))
    }

    /// Whether git would accept the directories as a repository.
    pub fn is_repository(&self) -> bool {
        is_head(&self.git_dir)
            && self.common_dir.join("objects").is_dir()
            && self.common_dir.join("refs").is_dir()
    }

    /// Whether they belong to a linked worktree.
    pub fn is_linked(&self) -> bool {
        self.git_dir != self.common_dir
    }

    /// Whether both directories are in `reach`.
    fn is_within(&self, reach: &Reach) -> bool {
        reach.has(&self.git_dir) && reach.has(&self.common_dir)
    }

    /// Whether the repository lists `project` as one of its linked worktrees, in the way that git
    /// does.
    fn is_worktree_of(&self, project: &Path) -> bool {
        // What is in the project says what the project wants.
        if self.git_dir.starts_with(project) {
            return false;
        }
        let Some(worktrees) = self.git_dir.parent() else {
            return false;
        };
        if !self.is_linked() || worktrees != self.common_dir.join("worktrees") {
            return false;
        }
        let Ok(Some(text)) = inside::read(&self.git_dir, "gitdir", PATH_LIMIT) else {
            return false;
        };
        let file = self.git_dir.join(path(&text));
        file.file_name() == Some(OsStr::new(".git"))
            && file.parent().is_some_and(|parent| is_same(parent, project))
    }
}

/// Whether the configuration of the repository at `git_dir` says that `project` is its work tree,
/// as that of a submodule does.
fn is_work_tree_of(git_dir: &Path, project: &Path) -> Result<bool> {
    for name in ["config", "config.worktree"] {
        let Some(GitAnswer::Yes(entries)) = host_git::entries(git_dir, name)? else {
            continue;
        };
        if let Some(value) = config::value(&entries, "core.worktree") {
            return Ok(is_same(&git_dir.join(value), project));
        }
    }
    Ok(false)
}

/// Returns the repository that `source` leads to, a `.git` that is a link. git never makes one.
fn linked(source: &Path, reach: &Reach) -> Result<PathBuf> {
    let shown = source.display();
    let target = fs::canonicalize(source).with_context(|| format!("read {shown}"))?;
    let is_repository = GitDirs::single(&target).is_repository();
    if reach.is_allowed(&target) && is_repository {
        return Ok(target);
    }
    let target = target.display();
    Err(hinted(
        format!("{shown} is a link to {target}"),
        format!(
            "if that is the project's own repository, --allow-outside {target} lets it in, and a \
             file that says `gitdir: {target}` is git's own way"
        ),
    ))
}

/// Returns the directory, without links, that the `.git` in `work_tree` names, which is a file.
/// Returns `None` if it names none that is there.
///
/// # Errors
///
/// If the file cannot be read.
pub fn named_by_file(work_tree: &Path) -> Result<Option<PathBuf>> {
    let text = inside::read(work_tree, ".git", PATH_LIMIT)?.unwrap_or_default();
    let named = text.strip_prefix(b"gitdir: ").map(path);
    Ok(named.and_then(|named| fs::canonicalize(work_tree.join(named)).ok()))
}

/// Returns the repository that `source` names, a `.git` that is a file.
fn named(source: &Path, reach: &Reach) -> Result<PathBuf> {
    let text = inside::read(&reach.project, ".git", PATH_LIMIT)?.unwrap_or_default();
    let Some(named) = text.strip_prefix(b"gitdir: ") else {
        return Err(hinted(
            format!("{} names no repository", source.display()),
            REPAIR,
        ));
    };
    let named = reach.project.join(path(named));
    fs::canonicalize(&named).map_err(|error| no_repository(source, &named, &error.to_string()))
}

/// Returns the directory that the worktree at `git_dir` shares with others, or `git_dir` if it is
/// not a linked worktree.
fn common_dir(git_dir: &Path) -> Result<PathBuf> {
    if !git_dir.is_dir() {
        return Ok(git_dir.to_owned());
    }
    let Some(text) = inside::read(git_dir, "commondir", PATH_LIMIT)? else {
        return Ok(git_dir.to_owned());
    };
    let named = git_dir.join(path(&text));
    fs::canonicalize(&named)
        .map_err(|error| no_repository(&git_dir.join("commondir"), &named, &error.to_string()))
}

/// Makes the error that `source` refers to `target`, which is not a repository.
fn no_repository(source: &Path, target: &Path, why: &str) -> anyhow::Error {
    let (source, target) = (source.display(), target.display());
    hinted(
        format!("{source} leads to no repository: {target}: {why}"),
        REPAIR,
    )
}

/// Whether `git_dir` contains a `HEAD` that git accepts.
fn is_head(git_dir: &Path) -> bool {
    if let Ok(target) = fs::read_link(git_dir.join("HEAD")) {
        return target.starts_with("refs");
    }
    let head = inside::read(git_dir, "HEAD", PATH_LIMIT).unwrap_or_default();
    let head = head.unwrap_or_default();
    let head = head.trim_ascii();
    head.strip_prefix(b"ref:")
        .is_some_and(|name| name.trim_ascii_start().starts_with(b"refs/"))
        || is_id(head)
}

/// Whether `text` is the name of an object: a SHA-1 or a SHA-256 in hex.
pub fn is_id(text: &[u8]) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `path` leads to `canonical`, which is without links.
fn is_same(path: &Path, canonical: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path == canonical)
}

/// Returns the path in `text`, a line that git wrote.
fn path(text: &[u8]) -> &Path {
    let mut text = text;
    while let Some(rest) = text.strip_suffix(b"\n").or(text.strip_suffix(b"\r")) {
        text = rest;
    }
    Path::new(OsStr::from_bytes(text))
}
