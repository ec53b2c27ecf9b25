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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use tempfile::TempDir;

    use super::{GitDirs, Reach, is_head, is_id, named_by_file};

    const HEAD: &str = "ref: refs/heads/main\n";

    /// A host with a project, a repository `other` and a directory `empty`.
    struct Host(TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            for name in ["project", "empty"] {
                fs::create_dir(host.path(name)).unwrap();
            }
            host.repository("other");
            host
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn repository(&self, name: &str) {
            for part in ["objects", "refs"] {
                fs::create_dir_all(self.path(name).join(part)).unwrap();
            }
            self.write(&format!("{name}/HEAD"), HEAD);
        }

        /// Makes what git makes of the linked worktree `name` of `other`.
        fn worktree(&self, name: &str, gitdir: &str) {
            self.write(&format!("{name}/HEAD"), HEAD);
            self.write(&format!("{name}/commondir"), "../..\n");
            self.write(&format!("{name}/gitdir"), gitdir);
            self.write("project/.git", &format!("gitdir: ../{name}\n"));
        }

        /// Finds the repository of the project. Returns the names of its directories, or the error.
        fn find(&self, allowed: &[&str]) -> Result<[String; 2], String> {
            let allowed: Vec<_> = allowed.iter().map(|name| self.path(name)).collect();
            let reach = Reach::new(&self.path("project"), &allowed).unwrap();
            let shown = |path: &Path| {
                let host = self.path("");
                path.strip_prefix(host).unwrap().display().to_string()
            };
            match GitDirs::find(&self.path("project/.git"), &reach) {
                Ok(dirs) => Ok([shown(&dirs.git_dir), shown(&dirs.common_dir)]),
                Err(error) => {
                    let host = format!("{}/", self.path("").display()).replace("//", "/");
                    Err(error.to_string().replace(&host, ""))
                }
            }
        }

        #[track_caller]
        fn finds(&self, git_dir: &str, common_dir: &str) {
            let dirs = [git_dir, common_dir].map(str::to_owned);
            assert_eq!(self.find(&[]), Ok(dirs));
        }

        #[track_caller]
        fn refuses(&self, why: &str) {
            assert_eq!(self.find(&[]), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_project_and_what_is_allowed_are_in_reach() {
        let host = Host::new();
        let mut reach = Reach::new(&host.path("project"), &[host.path("empty")]).unwrap();
        let has = |reach: &Reach, name: &str| {
            (
                reach.has(&host.path(name)),
                reach.is_allowed(&host.path(name)),
            )
        };
        assert_eq!(has(&reach, "project/a"), (true, false));
        assert_eq!(has(&reach, "empty/a"), (true, true));
        assert_eq!(has(&reach, "project2/a"), (false, false));
        reach.extend(&host.path("project2"));
        assert_eq!(has(&reach, "project2/a"), (true, true));
        assert!(Reach::new(&host.path("none"), &[]).is_err());
        assert!(Reach::new(&host.path("project"), &[host.path("none")]).is_err());
    }

    #[test]
    fn git_accepts_a_head_that_names_a_branch_or_an_object() {
        let host = Host::new();
        for (text, is_accepted) in [
            (HEAD, true),
            ("ref:refs/x", true),
            ("ref: heads/main", false),
            ("refs/heads/main", false),
            (&format!("{}\n", "0123456789abcdef".repeat(4)), true),
            (&"a".repeat(40), true),
            (&"a".repeat(41), false),
            (&"A".repeat(40), false),
            ("", false),
        ] {
            host.write("other/HEAD", text);
            assert_eq!(is_head(&host.path("other")), is_accepted, "{text:?}");
        }
        assert!(is_id(&[b'0'; 64]) && !is_id(&[b'g'; 64]) && !is_id(&[]));
        for (target, is_accepted) in [("refs/heads/main", true), ("/etc/passwd", false)] {
            fs::remove_file(host.path("other/HEAD")).unwrap();
            symlink(target, host.path("other/HEAD")).unwrap();
            assert_eq!(is_head(&host.path("other")), is_accepted, "{target}");
        }
    }

    #[test]
    fn a_repository_has_a_head_objects_and_refs() {
        for lacking in ["HEAD", "objects", "refs"] {
            let host = Host::new();
            let dirs = GitDirs::single(&host.path("other"));
            assert!(dirs.is_repository());
            fs::rename(host.path("other").join(lacking), host.path("away")).unwrap();
            assert!(!dirs.is_repository(), "{lacking}");
        }
    }

    #[test]
    fn the_projects_own_directory_may_be_anything() {
        let host = Host::new();
        fs::create_dir(host.path("project/.git")).unwrap();
        host.finds("project/.git", "project/.git");
    }

    /// A file in the project says what the project wants, not what the host does.
    #[test]
    fn a_commondir_has_to_lead_to_a_repository_that_names_the_project() {
        let host = Host::new();
        host.write("project/.git/commondir", "../../other");
        host.refuses("project/.git: other does not name it as its own");
        let dirs = ["project/.git", "other"].map(str::to_owned);
        assert_eq!(host.find(&["other"]), Ok(dirs));
        host.write("project/.git/commondir", "../../none");
        let missing = "No such file or directory (os error 2)";
        let commondir = "project/.git/commondir leads to no repository";
        host.refuses(&format!("{commondir}: project/.git/../../none: {missing}"));
    }

    #[test]
    fn a_file_has_to_name_a_repository() {
        let host = Host::new();
        host.write("project/.git", "something else");
        host.refuses("project/.git names no repository");
        host.write("project/.git", "gitdir: ../none");
        let missing = "No such file or directory (os error 2)";
        let none = "project/.git leads to no repository: project/../none";
        host.refuses(&format!("{none}: {missing}"));
        host.write("project/.git", "gitdir: ../empty\n");
        host.refuses("project/.git leads to no repository: empty: it is no repository");
        host.repository("project/own");
        host.write("project/.git", "gitdir: own\r\n");
        host.finds("project/own", "project/own");
    }

    #[test]
    fn a_file_names_a_directory_that_is_there() {
        let host = Host::new();
        let named = || named_by_file(&host.path("project")).unwrap();
        assert_eq!(named(), None);
        for (text, expected) in [
            ("gitdir: ../other\n", Some("other")),
            ("gitdir: ../none\n", None),
            ("../other\n", None),
        ] {
            host.write("project/.git", text);
            assert_eq!(named(), expected.map(|name| host.path(name)), "{text}");
        }
    }

    #[test]
    fn another_repository_has_to_name_the_project() {
        let host = Host::new();
        let why = "project/.git: other does not name it as its own";
        host.write("project/.git", "gitdir: ../other\n");
        host.refuses(why);
        let dirs = ["other", "other"].map(str::to_owned);
        assert_eq!(host.find(&["other"]), Ok(dirs));
        // As a submodule does.
        for (worktree, is_its_own) in [("../project", true), ("../empty", false)] {
            host.write(
                "other/config",
                &format!("[core]\n\tworktree = {worktree}\n"),
            );
            if is_its_own {
                host.finds("other", "other");
            } else {
                host.refuses(why);
            }
        }
        // The value in the first file counts.
        host.write("other/config.worktree", "[core]\n\tworktree = ../project\n");
        host.refuses(why);
        fs::remove_file(host.path("other/config")).unwrap();
        host.finds("other", "other");
    }

    #[test]
    fn a_linked_worktree_has_to_be_the_projects() {
        let host = Host::new();
        let own = format!("{}\n", host.path("project/.git").display());
        let why = "project/.git: other does not name it as its own";
        host.worktree("other/worktrees/w", &own);
        host.finds("other/worktrees/w", "other");
        host.worktree("other/worktrees/w", "../../../project/.git");
        host.finds("other/worktrees/w", "other");
        // A work tree that is configured does not make a linked worktree the project's.
        host.write(
            "other/worktrees/w/config",
            "[core]\n\tworktree = ../../../project\n",
        );
        for gitdir in [
            "../../../empty/.git",
            "../../../project/git",
            "../../../project",
            "",
        ] {
            host.worktree("other/worktrees/w", gitdir);
            host.refuses(why);
        }
        fs::remove_file(host.path("other/worktrees/w/gitdir")).unwrap();
        host.refuses(why);
        host.worktree("other/elsewhere/w", &own);
        host.refuses(why);
    }

    #[test]
    fn a_link_has_to_be_allowed() {
        let host = Host::new();
        symlink(host.path("other"), host.path("project/.git")).unwrap();
        host.refuses("project/.git is a link to other");
        let dirs = ["other", "other"].map(str::to_owned);
        assert_eq!(host.find(&["other"]), Ok(dirs));
        fs::remove_file(host.path("project/.git")).unwrap();
        symlink(host.path("empty"), host.path("project/.git")).unwrap();
        let why = "project/.git is a link to empty".to_owned();
        assert_eq!(host.find(&["empty"]), Err(why));
    }
}
