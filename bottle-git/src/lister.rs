//! Lists the files of a work tree that are copied. The host's git says which are tracked and which
//! are ignored. This step reads the files itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bottle_common::error::hinted;
use bottle_common::host::file_list::FileList;
use bottle_common::host::files;
use bottle_common::host::tree::{Files, Layer};
use bottle_common::plan::values::IgnorePattern;
use tempfile::TempDir;

use crate::collector::{Collector, MAX_FILES, MAX_PATHS};
use crate::config::{self, Entry};
use crate::git_dirs::{GitDirs, Reach};
use crate::host_git::{self, GitAnswer, Query};
use crate::inside;
use crate::worktree::Worktree;

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
/// The file that has nothing in it.
const NULL: &str = "/dev/null";
/// The settings on which it depends how git reads an index and patterns.
const SETTINGS: &[&str] = &[
    "core.ignorecase",
    "core.precomposeunicode",
    "core.repositoryformatversion",
    "extensions.objectformat",
];

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
        let mut collector = Collector::new(source, place, self.room, &mut self.found);
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
            collector.sort_included();
        }
        let mut excludes = Vec::new();
        let users = self.users_excludes.as_deref();
        match stand_in.excludes.as_deref() {
            // An empty path becomes that of the work tree, which is no file.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use bottle_common::host::file_list::FileList;
    use bottle_common::host::tree::{Files, Layer};
    use bottle_common::plan::values::IgnorePattern;

    use super::{
        Lister, MAX_INDEX, MAX_PATTERNS, MAX_SHARED, MAX_SUBMODULES, copy_shared, excludes_file,
    };
    use crate::git_dirs::{GitDirs, Reach};
    use crate::worktree::Worktree;

    /// A project with one file.
    fn project() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut git = harness::tool("git");
        git.args(["init", "-q"]).current_dir(directory.path());
        assert!(git.status().unwrap().success());
        fs::write(directory.path().join("four"), "").unwrap();
        directory
    }

    fn lister(reach: &Reach, room: [usize; 2]) -> Lister<'_> {
        Lister {
            patterns: &[],
            users_excludes: None,
            reach,
            room,
            found: Worktree::default(),
        }
    }

    #[test]
    fn all_work_trees_share_the_limits() {
        let project = project();
        let reach = Reach::new(project.path(), &[]).unwrap();
        let dirs = GitDirs::single(&project.path().join(".git"));
        for (room, times) in [([3, 99], 3), ([99, 8], 2), ([99, 11], 2)] {
            let mut lister = lister(&reach, room);
            for _ in 0..times {
                let submodules = lister.list(&dirs, Path::new("")).unwrap();
                assert!(submodules.is_empty());
            }
            assert!(lister.list(&dirs, Path::new("")).is_err(), "{room:?}");
            assert_eq!(lister.finish().layers.len(), times);
        }
    }

    /// The paths of the files in the first work tree that was found.
    fn copied(found: &Worktree) -> Vec<String> {
        let Files::Listed(files) = &found.layers[0].files else {
            panic!("the files are listed");
        };
        files
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    #[test]
    fn patterns_of_the_plan_let_secrets_in() {
        let project = project();
        fs::write(project.path().join(".env"), "").unwrap();
        let reach = Reach::new(project.path(), &[]).unwrap();
        let dirs = GitDirs::single(&project.path().join(".git"));
        let pattern = IgnorePattern::try_from(".env".to_owned()).unwrap();
        for (patterns, files, secrets) in [
            (&[][..], &["four"][..], 1),
            (&[pattern], &[".env", "four"], 0),
        ] {
            let mut lister = lister(&reach, [99, 999]);
            lister.patterns = patterns;
            lister.list(&dirs, Path::new("")).unwrap();
            lister.leave_out(Path::new("other"));
            let found = lister.finish();
            assert_eq!(copied(&found), files);
            assert_eq!(found.secrets.number, secrets);
            assert_eq!(found.repositories.first, ["other"]);
        }
    }

    #[test]
    fn patterns_of_the_user_may_be_outside_and_the_projects_may_not() {
        let project = project();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "four\n").unwrap();
        let outside = fs::canonicalize(outside.path()).unwrap();
        fs::write(project.path().join("patterns"), "five\n").unwrap();
        let dirs = GitDirs::single(&project.path().join(".git"));
        let names = |users: Option<&Path>, projects: Option<&Path>, allowed: &[PathBuf]| {
            let mut git = harness::tool("git");
            git.current_dir(project.path())
                .args(["config", "core.excludesFile"]);
            git.arg(projects.unwrap_or(Path::new("/dev/null")))
                .status()
                .unwrap();
            let reach = Reach::new(project.path(), allowed).unwrap();
            let mut lister = lister(&reach, [99, 999]);
            lister.users_excludes = users.map(Path::to_owned);
            lister.list(&dirs, Path::new(""))?;
            anyhow::Ok(copied(&lister.finish()).join(" "))
        };
        let file = Some(&*outside);
        assert_eq!(names(None, None, &[]).unwrap(), "four patterns");
        assert_eq!(names(file, None, &[]).unwrap(), "four patterns");
        assert_eq!(names(file, file, &[]).unwrap(), "patterns");
        assert_eq!(
            names(None, file, std::slice::from_ref(&outside)).unwrap(),
            "patterns"
        );
        assert!(names(None, file, &[]).is_err());
        for pattern in ["patterns", "none", ""] {
            let names = names(file, Some(Path::new(pattern)), &[]);
            assert_eq!(names.unwrap(), "four patterns", "{pattern}");
        }
        fs::write(project.path().join("patterns"), "four\n").unwrap();
        let own = Some(Path::new("patterns"));
        assert_eq!(names(None, own, &[]).unwrap(), "patterns");
    }

    #[test]
    fn a_file_of_patterns_is_a_short_regular_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("patterns");
        assert!(excludes_file(&path).unwrap().is_none());
        assert!(excludes_file(directory.path()).unwrap().is_none());
        assert!(excludes_file(Path::new("/dev/null")).unwrap().is_none());
        assert!(excludes_file(Path::new("/dev/zero")).is_err());
        let file = fs::File::create(&path).unwrap();
        file.set_len(MAX_PATTERNS).unwrap();
        assert!(excludes_file(&path).unwrap().is_some());
        file.set_len(MAX_PATTERNS + 1).unwrap();
        assert!(excludes_file(&path).is_err());
    }

    #[test]
    fn parts_of_an_index_are_limited() {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let part = |number| from.path().join(format!("sharedindex.{number}"));
        let copy = || copy_shared(from.path(), to.path()).map_err(|error| error.to_string());
        assert_eq!(copy(), Ok(0));
        for number in 0..MAX_SHARED {
            fs::write(part(number), "x".repeat(number)).unwrap();
        }
        fs::write(from.path().join("index"), "x".repeat(99)).unwrap();
        assert_eq!(copy(), Ok(MAX_SHARED as u64 - 1));
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), MAX_SHARED);
        fs::write(part(MAX_SHARED), "").unwrap();
        let shown = from.path().display();
        assert_eq!(copy(), Err(format!("{shown} has too many shared indexes")));
        fs::remove_file(part(MAX_SHARED)).unwrap();

        let long = fs::File::create(part(0)).unwrap();
        long.set_len(MAX_INDEX).unwrap();
        assert_eq!(copy(), Ok(MAX_INDEX));
        long.set_len(MAX_INDEX + 1).unwrap();
        let path = part(0);
        let error = format!("copy {}: it is too long", path.display());
        assert_eq!(copy(), Err(error));
    }

    #[test]
    fn submodules_are_limited() {
        let project = project();
        let reach = Reach::new(project.path(), &[]).unwrap();
        let dirs = GitDirs::single(&project.path().join(".git"));
        let mut lister = lister(&reach, [99, 999]);
        let layer = || Layer {
            source: PathBuf::new(),
            place: PathBuf::new(),
            files: Files::Listed(FileList::default().into()),
        };
        lister.found.layers = (0..MAX_SUBMODULES).map(|_| layer()).collect();
        assert!(lister.list(&dirs, Path::new("")).is_ok());
        let error = lister.list(&dirs, Path::new("")).unwrap_err().to_string();
        let expected = format!(
            "{}: there are more than {MAX_SUBMODULES} submodules",
            reach.project().display()
        );
        assert_eq!(error, expected);
    }
}
