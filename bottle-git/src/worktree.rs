//! Lists the files of a work tree that are copied. The host's git says which are tracked and which
//! are ignored. This step reads the files itself.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Error, Result, ensure};
use bottle_common::error::hinted;
use bottle_common::host::choice::Choice;
use bottle_common::host::file_list::FileList;
use bottle_common::host::files;
use bottle_common::host::tree::{Files, Layer};
use bottle_common::plan::values::IgnorePattern;
use tempfile::TempDir;

use crate::config::{self, Entry};
use crate::git_dirs::GitDirs;
use crate::host_git::{self, GitAnswer};
use crate::inside;
use crate::secret_names;

/// The maximum number of files in one work tree.
const MAX_FILES: usize = 500_000;
/// The maximum length of an index, in bytes. That of half a million files has about 50 MiB.
const MAX_INDEX: u64 = 256 << 20;
/// The maximum number of parts of a split index.
const MAX_SHARED: usize = 16;
/// The maximum length of a file of patterns, in bytes.
const MAX_PATTERNS: u64 = 1 << 20;
/// The maximum number of names that are kept for a warning or a check.
const MAX_NAMES: usize = 200;
/// The settings on which it depends how git reads an index and patterns.
const SETTINGS: &[&str] = &[
    "core.ignorecase",
    "core.precomposeunicode",
    "core.repositoryformatversion",
    "extensions.objectformat",
];

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

/// Lists files with the host's git.
pub struct Lister<'a> {
    /// The project's directory, without links.
    project: &'a Path,
    /// The plan's patterns of untracked files that are copied whatever their names are.
    patterns: &'a [IgnorePattern],
    /// The file with the patterns that the user ignores in all repositories.
    users_excludes: Option<PathBuf>,
    found: Worktree,
}

impl<'a> Lister<'a> {
    /// Makes a lister for the project at `project`.
    ///
    /// # Errors
    ///
    /// If git does not run.
    pub fn new(project: &'a Path, patterns: &'a [IgnorePattern]) -> Result<Self> {
        Ok(Self {
            project,
            patterns,
            users_excludes: host_git::users_excludes()?,
            found: Worktree::default(),
        })
    }

    /// Returns what was found.
    pub fn finish(self) -> Worktree {
        self.found
    }

    /// Adds the files of the work tree at `place` in the project, whose repository is in `dirs`.
    /// Returns the paths of its submodules in the project.
    ///
    /// # Errors
    ///
    /// If git cannot list the files, if there are too many, or if the index contains a path that
    /// git never writes there.
    pub fn list(&mut self, dirs: &GitDirs, place: &Path) -> Result<Vec<PathBuf>> {
        let source = if place.as_os_str().is_empty() {
            self.project.to_owned()
        } else {
            self.project.join(place)
        };
        let (files, submodules) = self
            .collect(dirs, &source, place)
            .with_context(|| format!("list the files of {}", source.display()))?;
        self.found.layers.push(Layer {
            source,
            place: place.to_owned(),
            files: Files::Listed(Arc::new(files)),
        });
        Ok(submodules)
    }

    /// Adds a repository in the work tree that is left out.
    pub fn leave_out(&mut self, place: &Path) {
        self.found.repositories.push(place);
    }

    fn collect(
        &mut self,
        dirs: &GitDirs,
        source: &Path,
        place: &Path,
    ) -> Result<(FileList, Vec<PathBuf>)> {
        let stand_in = StandIn::new(dirs)?;
        let mut collector = Collector {
            place,
            found: &mut self.found,
            included: FileList::default(),
            files: FileList::default(),
            submodules: Vec::new(),
            problem: None,
        };
        let ls_files = |args: &[&str], files: &[&File], each: &mut dyn FnMut(&[u8])| {
            host_git::ls_files(
                stand_in.own.path(),
                stand_in.index.as_ref(),
                source,
                args,
                files,
                each,
            )
        };
        if !self.patterns.is_empty() {
            let path = stand_in.own.path().join("patterns");
            let lines: Vec<&str> = self.patterns.iter().map(|line| &***line).collect();
            fs::write(&path, lines.join("\n"))
                .with_context(|| format!("write {}", path.display()))?;
            let patterns = files::open(&path)?;
            let args = ["-t", "-o", "-i"];
            ls_files(&args, &[&patterns], &mut |record| collector.include(record))?;
            collector.included.sort();
        }
        let mut excludes = Vec::new();
        if let Some(path) = stand_in
            .excludes
            .as_deref()
            .or(self.users_excludes.as_deref())
        {
            excludes.extend(excludes_file(&source.join(path))?);
        }
        // Of patterns that match the same file, git takes the last.
        if let Some(file) = inside::open(&dirs.common_dir, Path::new("info/exclude"))? {
            inside::contents(&file, &dirs.common_dir.join("info/exclude"), MAX_PATTERNS)?;
            excludes.push(file);
        }
        let excludes: Vec<_> = excludes.iter().collect();
        let args = ["-t", "-s", "-c", "-o", "--exclude-per-directory=.gitignore"];
        ls_files(&args, &excludes, &mut |record| collector.add(record))?;
        collector.finish()
    }
}

/// A repository of this step's own, in which git reads the project's index. So git reads neither
/// the project's configuration nor its hooks.
struct StandIn {
    own: TempDir,
    /// The project's index; `None` if nothing is tracked.
    index: Option<File>,
    /// The value of `core.excludesFile` in the project's configuration.
    excludes: Option<PathBuf>,
}

impl StandIn {
    fn new(dirs: &GitDirs) -> Result<Self> {
        let GitDirs {
            git_dir,
            common_dir,
        } = dirs;
        let mut settings = Vec::new();
        let mut excludes = None;
        for (root, name) in [(common_dir, "config"), (git_dir, "config.worktree")] {
            let is_shared = name == "config";
            if !is_shared && !host_git::is_true(common_dir, "config", "extensions.worktreeConfig")?
            {
                continue;
            }
            if let Some(GitAnswer::Yes(entries)) = host_git::entries(root, name)? {
                settings.extend(entries.into_iter().filter(|entry| {
                    let key = &*entry.key;
                    if key == "core.excludesfile" {
                        excludes = Some((root, name));
                    }
                    SETTINGS.contains(&key)
                }));
            }
        }
        let excludes = match excludes {
            Some((root, name)) => host_git::path(root, name, "core.excludesFile")?,
            None => None,
        };
        let own = TempDir::with_prefix("bottle-git.").context("make a directory for git")?;
        make(own.path(), dirs, &settings)
            .with_context(|| format!("write {}", own.path().display()))?;
        let index = inside::open(git_dir, Path::new("index"))?;
        if let Some(index) = &index {
            let path = git_dir.join("index");
            let length = index
                .metadata()
                .with_context(|| format!("read {}", path.display()))?
                .len();
            ensure!(length <= MAX_INDEX, "{} is too long", path.display());
            copy_shared(git_dir, own.path())?;
        }
        Ok(Self {
            own,
            index,
            excludes,
        })
    }
}

/// Makes the repository `own`, which has the objects of that in `dirs`: git reads patterns from
/// them if the files are not in a sparse work tree.
fn make(own: &Path, dirs: &GitDirs, settings: &[Entry]) -> io::Result<()> {
    fs::create_dir(own.join("refs"))?;
    fs::write(own.join("HEAD"), "ref: refs/heads/none\n")?;
    fs::write(own.join("config"), config::render(settings))?;
    symlink(dirs.common_dir.join("objects"), own.join("objects"))
}

/// Copies the parts of a split index from `git_dir` to `own`.
fn copy_shared(git_dir: &Path, own: &Path) -> Result<()> {
    let reading = || format!("read {}", git_dir.display());
    let mut number = 0;
    for entry in fs::read_dir(git_dir).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name();
        if !name.as_bytes().starts_with(b"sharedindex.") {
            continue;
        }
        number += 1;
        let shown = git_dir.display();
        ensure!(number <= MAX_SHARED, "{shown} has too many shared indexes");
        let Some(from) = inside::open(git_dir, Path::new(&name))? else {
            continue;
        };
        let copying = || format!("copy {}", git_dir.join(&name).display());
        let length = from.metadata().with_context(copying)?.len();
        ensure!(length <= MAX_INDEX, "{}: it is too long", copying());
        let mut to = File::create(own.join(&name)).with_context(copying)?;
        io::copy(&mut io::Read::take(from, length), &mut to).with_context(copying)?;
    }
    Ok(())
}

/// Opens a file of patterns that the configuration names. As for git, it may be missing.
fn excludes_file(path: &Path) -> Result<Option<File>> {
    if !path.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let file = files::open(path)?;
    inside::contents(&file, path, MAX_PATTERNS)?;
    Ok(Some(file))
}

/// Takes what git lists, and decides on each file.
struct Collector<'a> {
    /// The path of the work tree in the project.
    place: &'a Path,
    found: &'a mut Worktree,
    included: FileList,
    files: FileList,
    submodules: Vec<PathBuf>,
    /// The first problem. What follows is passed over.
    problem: Option<Error>,
}

impl Collector<'_> {
    /// Takes an untracked file that the plan's patterns name.
    fn include(&mut self, record: &[u8]) {
        let Some(path) = record.strip_prefix(b"? ").map(path) else {
            return;
        };
        if is_directory(path) {
            self.found.repositories.push(&self.place.join(path));
            return;
        }
        if self.found.included.len() < MAX_NAMES {
            self.found.included.push(self.place.join(path));
        }
        if !self.included.push(path, Choice::Include) || self.included.len() > MAX_FILES {
            self.problem.get_or_insert_with(too_many);
        }
    }

    /// Takes a tracked file, or an untracked one that is not ignored.
    fn add(&mut self, record: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        let choice = match record.strip_prefix(b"? ").map(path) {
            Some(path) if is_directory(path) => {
                self.found.repositories.push(&self.place.join(path));
                return;
            }
            Some(path) if self.included.contains(path) => return,
            Some(path) => secret_names::untracked(path).map(|choice| (path, choice)),
            None => {
                let Some((mode, path)) = tracked(record) else {
                    self.problem = Some(Error::msg("git lists them in an unknown form"));
                    return;
                };
                // With a sparse index, git lists directories that are not there.
                if is_directory(path) {
                    return;
                }
                if !is_fit(path) {
                    self.problem = Some(unfit(path));
                    return;
                }
                if mode == b"160000" {
                    self.submodules.push(self.place.join(path));
                }
                Some((path, Choice::Include))
            }
        };
        let Some((path, choice)) = choice else {
            let name = path(&record[2..]);
            self.found.secrets.push(&self.place.join(name));
            return;
        };
        if !self.files.push(path, choice) || self.files.len() > MAX_FILES {
            self.problem = Some(too_many());
        }
    }

    fn finish(self) -> Result<(FileList, Vec<PathBuf>)> {
        let Self {
            included,
            mut files,
            mut submodules,
            problem,
            ..
        } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        for (path, choice) in included.iter() {
            if !files.push(path, choice) {
                return Err(too_many());
            }
        }
        files.sort();
        // In a conflict, git lists a submodule more than once.
        submodules.dedup();
        Ok((files, submodules))
    }
}

/// Splits the line of a tracked file, `TAG MODE OBJECT STAGE<tab>PATH`, into its mode and its path.
fn tracked(record: &[u8]) -> Option<(&[u8], &Path)> {
    let tab = record.iter().position(|&byte| byte == b'\t')?;
    let mode = record[..tab].split(|&byte| byte == b' ').nth(1)?;
    Some((mode, path(&record[tab + 1..])))
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Whether git means a directory.
fn is_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// Whether the path in an index is one that git writes there. What is in `.git` is not: it would
/// be copied as if it were a file of the project.
fn is_fit(path: &Path) -> bool {
    let mut names = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
    names.all(|name| !matches!(name, b"" | b"." | b"..") && !name.eq_ignore_ascii_case(b".git"))
}

fn unfit(path: &Path) -> Error {
    let path: Cow<str> = path.to_string_lossy();
    hinted(
        format!("the index contains `{path}`, which git never writes there"),
        "git rm --cached takes it out, if the project is to be trusted",
    )
}

fn too_many() -> Error {
    hinted(
        format!("there are more than {MAX_FILES} files, or their paths are too long"),
        "a sparse checkout has fewer: git sparse-checkout set DIR",
    )
}
