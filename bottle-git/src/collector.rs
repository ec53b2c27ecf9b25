//! Takes what the host's git lists of a work tree, and decides on each file.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result};
use bottle_common::error::hinted;
use bottle_common::host::file_list::FileList;

use crate::git_dirs::GitDirs;
use crate::secret_names::{self, Verdict};
use crate::worktree::{MAX_NAMES, Worktree};

/// The maximum number of files in a project and its submodules.
pub const MAX_FILES: usize = 250_000;
/// The maximum length of their paths together, in bytes.
pub const MAX_PATHS: usize = 16 << 20;

/// Takes what git lists, and decides on each file.
pub struct Collector<'a> {
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

impl<'a> Collector<'a> {
    /// Makes a collector for the work tree `source`, which is at `place` in the project. There is
    /// `room` for so many files, and so many bytes of their paths. What is left out is added to
    /// `found`.
    pub fn new(
        source: &'a Path,
        place: &'a Path,
        room: [usize; 2],
        found: &'a mut Worktree,
    ) -> Self {
        Self {
            source,
            place,
            room,
            found,
            included: FileList::default(),
            files: FileList::default(),
            submodules: Vec::new(),
            directory: PathBuf::new(),
            repository: None,
            problem: None,
        }
    }

    /// Takes an untracked file that the plan's patterns name.
    pub fn include(&mut self, record: &[u8]) {
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

    /// Sorts the files that the plan's patterns name, before the others are taken.
    pub fn sort_included(&mut self) {
        self.included.sort();
    }

    /// Takes a tracked file, or an untracked one that is not ignored.
    pub fn add(&mut self, record: &[u8]) {
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

    /// Returns the files that are copied, and the paths of the submodules in the project.
    ///
    /// # Errors
    ///
    /// If git listed something unknown or a path that it never writes, or if there is no room.
    pub fn finish(self) -> Result<(FileList, Vec<PathBuf>)> {
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
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{Collector, is_fit};
    use crate::worktree::{MAX_NAMES, Worktree};

    /// The paths of the files that are copied, and of the submodules.
    type Paths = (Vec<PathBuf>, Vec<PathBuf>);

    /// What git prints of a tracked file.
    fn tracked(path: &str) -> String {
        format!("H 100644 {} 0\t{path}", "0".repeat(40))
    }

    /// Collects files of a work tree at `sub` in the project, for which there is `room`. Returns
    /// their paths or the error, and what was found.
    fn collected(
        source: &Path,
        room: [usize; 2],
        included: &[&str],
        others: &[String],
    ) -> (Result<Paths, String>, Worktree) {
        let mut found = Worktree::default();
        let mut collector = Collector::new(source, Path::new("sub"), room, &mut found);
        for record in included {
            collector.include(record.as_bytes());
        }
        collector.sort_included();
        for record in others {
            collector.add(record.as_bytes());
        }
        let result = collector.finish();
        let result = result.map(|(files, submodules)| {
            let files = files.iter().map(|(path, _)| path.to_owned()).collect();
            (files, submodules)
        });
        (result.map_err(|error| error.to_string()), found)
    }

    #[test]
    fn each_file_is_copied_once_and_what_is_left_out_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let bare = directory.path().join("bare");
        fs::create_dir_all(bare.join("objects")).unwrap();
        fs::create_dir(bare.join("refs")).unwrap();
        fs::write(bare.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        let module = tracked("module").replace("100644", "160000");
        let others = [
            tracked("z"),
            tracked("sparse/"),
            module.clone(),
            module.replace(" 0\t", " 2\t"),
            "? id_rsa".to_owned(),
            "? .env".to_owned(),
            "? nested/".to_owned(),
            "? bare/HEAD".to_owned(),
            "? bare/a/b".to_owned(),
            "? bare/c/d".to_owned(),
            "? new".to_owned(),
        ];
        let included = ["? v", "? w", "? x", "? .env", "? y/", "H 0 0 0\tno"];
        let (result, found) = collected(directory.path(), [100, 1000], &included, &others);
        let files = [".env", "module", "new", "v", "w", "x", "z"].map(PathBuf::from);
        let modules = ["sub/module"].map(PathBuf::from);
        assert_eq!(result, Ok((files.to_vec(), modules.to_vec())));
        assert_eq!(
            found.included,
            ["sub/v", "sub/w", "sub/x", "sub/.env"].map(PathBuf::from)
        );
        assert_eq!(found.secrets.first, ["sub/id_rsa"]);
        let repositories = ["sub/y/", "sub/nested/", "sub/bare"];
        assert_eq!(found.repositories.first, repositories);
    }

    #[test]
    fn files_and_the_bytes_of_their_paths_are_limited() {
        let records = ["one", "two"].map(tracked);
        for (room, included, is_enough) in [
            ([2, 6], &[][..], true),
            ([1, 6], &[], false),
            ([2, 5], &[], false),
            ([3, 7], &["? a"], true),
            ([2, 7], &["? a"], false),
            ([3, 6], &["? a"], false),
            ([0, 9], &["? a", "? b"], false),
        ] {
            let (result, _) = collected(Path::new("/"), room, included, &records);
            let expected = "there are more than 250000 files, or their paths have more than 16 MiB";
            match result {
                Ok(_) => assert!(is_enough, "{room:?}"),
                Err(error) => {
                    assert_eq!((error.as_str(), is_enough), (expected, false), "{room:?}");
                }
            }
        }
    }

    #[test]
    fn only_the_first_included_files_are_named() {
        let records: Vec<_> = (0..=MAX_NAMES)
            .map(|number| format!("? {number}"))
            .collect();
        let included: Vec<_> = records.iter().map(String::as_str).collect();
        let (result, found) = collected(Path::new("/"), [999, 9999], &included, &[]);
        assert_eq!(result.unwrap().0.len(), MAX_NAMES + 1);
        assert_eq!(found.included.len(), MAX_NAMES);
    }

    #[test]
    fn what_git_never_lists_is_refused() {
        for (record, why) in [
            ("no tab".to_owned(), "git lists them in an unknown form"),
            ("H\tx".to_owned(), "git lists them in an unknown form"),
            (
                tracked("a/../x"),
                "the index contains `a/../x`, which git never writes there",
            ),
        ] {
            // What follows a problem is passed over.
            let records = [record, tracked("b/../x")];
            let (result, _) = collected(Path::new("/"), [9, 99], &[], &records);
            assert_eq!(result, Err(why.to_owned()));
        }
    }

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
