//! Which directories a `.git` stands for, and whether the project may name them.
//!
//! A project may come from anywhere, and its `.git` may lead to any directory of the host's. What is
//! not in the project itself has to name the project in turn, as git's own linked worktrees and
//! submodules do, or the person has to allow it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bottle_common::error::hinted;

use crate::config;
use crate::host_git::{self, Answer};
use crate::inside;

/// How long a file may be that holds one path.
const PATH_LIMIT: u64 = 1 << 14;
const REPAIR: &str = "git worktree repair, or git submodule update, mends what has been moved";

/// The directories of the host's that a project may name. All paths are without links.
pub struct Reach {
    /// The project's own directory.
    project: PathBuf,
    /// What the person allows beside it.
    allowed: Vec<PathBuf>,
}

/// Where a repository's parts are. Both paths are without links.
#[derive(Clone, Debug)]
pub struct GitDirs {
    /// What the work tree has for itself.
    pub git_dir: PathBuf,
    /// What linked worktrees have in common. Where there are none it is the same as `git_dir`.
    pub common_dir: PathBuf,
}

impl Reach {
    /// The reach of the project at `project`.
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

    /// Also lets in what is in `directory`, which has proved to be the project's.
    pub fn extend(&mut self, directory: &Path) {
        self.allowed.push(directory.to_owned());
    }

    /// Whether `path`, which is without links, may be read.
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.project) || self.is_allowed(path)
    }

    fn is_allowed(&self, path: &Path) -> bool {
        self.allowed
            .iter()
            .any(|directory| path.starts_with(directory))
    }
}

impl GitDirs {
    /// Finds the parts of the repository that `source` stands for, the `.git` in the project.
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

    /// Whether git would take it for a repository.
    pub fn is_repository(&self) -> bool {
        is_head(&self.git_dir)
            && self.common_dir.join("objects").is_dir()
            && self.common_dir.join("refs").is_dir()
    }

    /// Whether it is a linked worktree's.
    pub fn is_linked(&self) -> bool {
        self.git_dir != self.common_dir
    }

    fn is_within(&self, reach: &Reach) -> bool {
        reach.has(&self.git_dir) && reach.has(&self.common_dir)
    }

    /// Whether the repository has `project` in its list of worktrees, as git made it.
    fn is_worktree_of(&self, project: &Path) -> bool {
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

/// Whether the repository at `git_dir` says that `project` is its work tree, as a submodule's does.
fn is_work_tree_of(git_dir: &Path, project: &Path) -> Result<bool> {
    for name in ["config", "config.worktree"] {
        let Some(Answer::Yes(entries)) = host_git::entries(git_dir, name)? else {
            continue;
        };
        if let Some(value) = config::value(&entries, "core.worktree") {
            return Ok(is_same(&git_dir.join(value), project));
        }
    }
    Ok(false)
}

/// Follows a `.git` that is a link, which git never makes.
fn linked(source: &Path, reach: &Reach) -> Result<PathBuf> {
    let shown = source.display();
    let target = fs::canonicalize(source).with_context(|| format!("read {shown}"))?;
    let is_repository = GitDirs {
        git_dir: target.clone(),
        common_dir: target.clone(),
    }
    .is_repository();
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

/// Follows a `.git` that is a file.
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

/// Reads where a linked worktree has what it shares with the others.
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

fn no_repository(source: &Path, target: &Path, why: &str) -> anyhow::Error {
    let (source, target) = (source.display(), target.display());
    hinted(
        format!("{source} leads to no repository: {target}: {why}"),
        REPAIR,
    )
}

/// Whether the `HEAD` in `git_dir` is one that git accepts.
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

/// Whether it is the name of an object: SHA-1 or SHA-256 in hex.
pub fn is_id(text: &[u8]) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_same(path: &Path, canonical: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path == canonical)
}

/// The path that git wrote as a line.
fn path(text: &[u8]) -> &Path {
    let mut text = text;
    while let Some(rest) = text.strip_suffix(b"\n").or(text.strip_suffix(b"\r")) {
        text = rest;
    }
    Path::new(OsStr::from_bytes(text))
}
