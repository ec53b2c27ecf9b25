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

use anyhow::{Context, Error, Result, bail, ensure};
use bottle_common::error::hinted;
use bottle_common::host::file_list::FileList;
use bottle_common::host::files;
use bottle_common::host::tree::{Files, Layer};
use bottle_common::plan::values::IgnorePattern;
use tempfile::TempDir;

use crate::config::{self, Entry};
use crate::git_dirs::{GitDirs, Reach};
use crate::host_git::{self, GitAnswer, Query};
use crate::inside;
use crate::secret_names::{self, Verdict};

/// The maximum number of files in a project and its submodules.
const MAX_FILES: usize = 250_000;
/// The maximum length of their paths together, in bytes.
const MAX_PATHS: usize = 16 << 20;
/// The maximum number of submodules.
const MAX_SUBMODULES: usize = 1000;
/// The maximum length of an index or a part of one, in bytes. That of 250,000 files has about
/// 30 MiB.
const MAX_INDEX: u64 = 64 << 20;
/// The memory that git may take in addition to twice the length of the index, in bytes. For 250,000
/// files that are not tracked it takes 24 MiB, and for as many that are, 64 MiB.
const MEMORY: u64 = 32 << 20;
/// The maximum number of parts of a split index.
const MAX_SHARED: usize = 16;
/// The maximum length of a file of patterns, in bytes.
const MAX_PATTERNS: u64 = 1 << 20;
/// The maximum number of names that are kept for a warning or a check.
const MAX_NAMES: usize = 200;
/// The file that has nothing in it.
const NULL: &str = "/dev/null";
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
    /// The plan's patterns of untracked files that are copied whatever their names are.
    patterns: &'a [IgnorePattern],
    /// The file with the patterns that the user ignores in all repositories.
    users_excludes: Option<PathBuf>,
    /// What the project may refer to.
    reach: &'a Reach,
    /// How many files and bytes of paths there may still be.
    room: [usize; 2],
    found: Worktree,
}

impl<'a> Lister<'a> {
    /// Makes a lister for the project that has this `reach`.
    ///
    /// # Errors
    ///
    /// If git does not run.
    pub fn new(reach: &'a Reach, patterns: &'a [IgnorePattern]) -> Result<Self> {
        Ok(Self {
            patterns,
            users_excludes: host_git::users_excludes()?,
            reach,
            room: [MAX_FILES, MAX_PATHS],
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
        let project = self.reach.project();
        let source = if place.as_os_str().is_empty() {
            project.to_owned()
        } else {
            project.join(place)
        };
        if self.found.layers.len() > MAX_SUBMODULES {
            let project = project.display();
            bail!("{project}: there are more than {MAX_SUBMODULES} submodules");
        }
        let (files, submodules) = self
            .collect(dirs, &source, place)
            .with_context(|| format!("list the files of {}", source.display()))?;
        self.room[0] -= files.len();
        self.room[1] -= files.size();
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
            source,
            place,
            room: self.room,
            found: &mut self.found,
            included: FileList::default(),
            files: FileList::default(),
            submodules: Vec::new(),
            directory: PathBuf::new(),
            repository: None,
            problem: None,
        };
        let ls_files = |args: &[&str], files: &[&File], each: &mut dyn FnMut(&[u8])| {
            let query = Query {
                own: stand_in.own.path(),
                index: stand_in.index.as_ref(),
                work_tree: source,
                memory: MEMORY + 2 * stand_in.length,
            };
            host_git::ls_files(&query, args, files, each)
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
        let users = self.users_excludes.as_deref();
        match stand_in.excludes.as_deref() {
            // Without a path, there is no such file.
            Some(path) if path.as_os_str().is_empty() => {}
            Some(path) if Some(path) != users => {
                let path = source.join(path);
                judge_excludes(&path, self.reach)?;
                excludes.extend(excludes_file(&path)?);
            }
            _ => excludes.extend(users.map(excludes_file).transpose()?.flatten()),
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
    /// The length of the index with its longest part, in bytes.
    length: u64,
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
        let mut length = 0;
        if let Some(index) = &index {
            let path = git_dir.join("index");
            let metadata = index.metadata();
            length = metadata
                .with_context(|| format!("read {}", path.display()))?
                .len();
            ensure!(length <= MAX_INDEX, "{} is too long", path.display());
            length += copy_shared(git_dir, own.path())?;
        }
        Ok(Self {
            own,
            index,
            length,
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

/// Copies the parts of split indexes from `git_dir` to `own`. git reads one of them, and keeps the
/// others for a while. Returns the length of the longest.
///
/// # Errors
///
/// If there are too many, if one is too long, or if one cannot be copied.
fn copy_shared(git_dir: &Path, own: &Path) -> Result<u64> {
    let mut longest = 0;
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
        longest = longest.max(length);
        ensure!(length <= MAX_INDEX, "{}: it is too long", copying());
        let mut to = File::create(own.join(&name)).with_context(copying)?;
        io::copy(&mut io::Read::take(from, length), &mut to).with_context(copying)?;
    }
    Ok(longest)
}

/// Fails if `path`, a file of patterns that the project's configuration names, is out of `reach`.
/// Which files are copied would tell the agent which lines it has.
fn judge_excludes(path: &Path, reach: &Reach) -> Result<()> {
    let Ok(file) = fs::canonicalize(path) else {
        return Ok(());
    };
    if file == Path::new(NULL) || reach.has(&file) {
        return Ok(());
    }
    let shown = file.display();
    Err(hinted(
        format!("core.excludesFile of the project is {shown}, which is outside the project"),
        format!("--allow-outside {shown} lets it in if you know it"),
    ))
}

/// Opens a file of patterns that the configuration names. As for git, it may be missing.
fn excludes_file(path: &Path) -> Result<Option<File>> {
    let is_nothing = path == Path::new(NULL) || path.is_dir();
    if is_nothing || !path.try_exists().unwrap_or(true) {
        return Ok(None);
    }
    let file = files::open(path)?;
    inside::contents(&file, path, MAX_PATTERNS)?;
    Ok(Some(file))
}

/// Takes what git lists, and decides on each file.
struct Collector<'a> {
    /// The work tree on the host.
    source: &'a Path,
    /// The path of the work tree in the project.
    place: &'a Path,
    /// How many files and bytes of paths there may be.
    room: [usize; 2],
    found: &'a mut Worktree,
    included: FileList,
    files: FileList,
    submodules: Vec<PathBuf>,
    /// The directory of the last untracked file, and the repository that it is in.
    directory: PathBuf,
    repository: Option<PathBuf>,
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
        self.included.push(path, None);
        self.check_room();
    }

    /// Takes a tracked file, or an untracked one that is not ignored.
    fn add(&mut self, record: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        match record.strip_prefix(b"? ").map(path) {
            Some(path) => self.add_untracked(path),
            None => self.add_tracked(record),
        }
        self.check_room();
    }

    fn add_untracked(&mut self, path: &Path) {
        let shown = self.place.join(path);
        if is_directory(path) {
            self.found.repositories.push(&shown);
            return;
        }
        // What is included is in a list of its own.
        if self.included.contains(path) || self.is_in_repository(path) {
            return;
        }
        let judge = match secret_names::untracked(path) {
            Verdict::Harmless => None,
            Verdict::Depends(judge) => Some(judge),
            Verdict::Secret => return self.found.secrets.push(&shown),
        };
        self.files.push(path, judge);
    }

    fn add_tracked(&mut self, record: &[u8]) {
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
        self.files.push(path, None);
    }

    /// Whether the untracked file at `path` is in a git directory, such as that of a bare
    /// repository. Its files look like any others to git, and may hold credentials.
    fn is_in_repository(&mut self, path: &Path) -> bool {
        let directory = path.parent().unwrap_or(path);
        if directory != self.directory {
            let mut above = directory.ancestors();
            let found = above.find(|place| {
                let git_dir = self.source.join(place);
                let common_dir = git_dir.clone();
                let dirs = GitDirs {
                    git_dir,
                    common_dir,
                };
                !place.as_os_str().is_empty() && dirs.is_repository()
            });
            if let Some(found) = found.filter(|found| self.repository.as_deref() != Some(found)) {
                self.found.repositories.push(&self.place.join(found));
            }
            self.repository = found.map(Path::to_owned);
            directory.clone_into(&mut self.directory);
        }
        self.repository.is_some()
    }

    fn check_room(&mut self) {
        let [files, bytes] = self.room;
        if self.files.len() + self.included.len() > files
            || self.files.size() + self.included.size() > bytes
        {
            self.problem.get_or_insert_with(too_many);
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
        for (path, _) in included.iter() {
            files.push(path, None);
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
    names.all(|name| {
        !matches!(name, b"" | b"." | b"..") && !seen(name).eq_ignore_ascii_case(b".git")
    })
}

/// Returns what HFS+ sees of a name in a path: it ignores some characters, as git knows.
fn seen(name: &[u8]) -> Vec<u8> {
    let ranges = [
        '\u{200c}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{206a}'..='\u{206f}',
    ];
    let is_ignored = |c| c == '\u{feff}' || ranges.iter().any(|range| range.contains(&c));
    match std::str::from_utf8(name) {
        Ok(name) => name.replace(is_ignored, "").into_bytes(),
        Err(_) => name.to_vec(),
    }
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
        format!("there are more than {MAX_FILES} files, or their paths have more than 16 MiB"),
        "a sparse checkout has fewer: git sparse-checkout set DIR",
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_fit;

    #[test]
    fn nothing_in_a_git_directory_is_a_file_of_the_project() {
        for (path, expected) in [
            ("a/.gitmodules", true),
            (".github/x", true),
            ("a/git/.b", true),
            ("é\u{200c}", true),
            (".git", false),
            ("a/.GIT/config", false),
            (".g\u{200c}it/config", false),
            ("\u{feff}.git\u{206f}/config", false),
            ("a/../b", false),
            ("./a", false),
            ("a//b", false),
            ("/a", false),
        ] {
            assert_eq!(is_fit(Path::new(path)), expected, "{path:?}");
        }
    }
}
