//! Reads configuration files with the host's git.
//!
//! The repository may be hostile, so git is never run in it. It runs in `/` and reads one file that
//! this step has opened without following links. It does not follow includes, and `git config` runs
//! no hook, filter or command of a configuration. This step reads all other files of a repository
//! itself.
//!
//! To list the files of a work tree, git runs in a repository of this step's own. It reads the
//! project's index, its `.gitignore` files, and objects in place of those that are missing.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bottle_common::error::hinted;
use bottle_common::host::process::{self, Unfinished};
use bottle_common::host::signals;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::config::{self, ENTRY_COST, Entry};
use crate::inside;

/// The maximum length of a configuration file, in bytes.
const LIMIT: u64 = 1 << 20;
/// The maximum memory for the entries of a repository and its submodules, in bytes. Each entry
/// contains the name of its section, so they can take much more than the files.
pub const MAX_COST: usize = 8 << 20;

/// The exit status of git for a command line that it does not know.
const USAGE: i32 = 129;
/// The exit statuses of `git config` for a key that is missing and for a file that it cannot parse.
const NOT_FOUND_OR_INVALID: [i32; 2] = [1, 3];
/// The exit status of git for an error that it explains.
const FATAL: i32 = 128;
/// The exit statuses of a shell that cannot run git.
const NOT_RUN: [i32; 2] = [126, 127];
/// The maximum time to look for what git waits for.
const SEARCH: Duration = Duration::from_secs(5);

/// What came of running git.
pub enum GitAnswer<T> {
    /// git succeeded.
    Yes(T),
    /// git failed.
    No,
    /// There is no git on this host.
    NoGit(io::Error),
}

/// Reads all entries of the configuration file `name` in `root`. Returns `None` if it is missing.
/// Files that it includes are not read.
///
/// # Errors
///
/// If the file is a link, is not a regular file, cannot be read or is too large, if git does not
/// run to its end, or if a signal comes.
pub fn entries(root: &Path, name: &str) -> Result<Option<GitAnswer<Vec<Entry>>>> {
    let answer = config(root, name, &["-z", "--list"])?;
    Ok(answer.map(|answer| match answer {
        GitAnswer::Yes(output) => GitAnswer::Yes(config::parse(&output.stdout)),
        GitAnswer::No => GitAnswer::No,
        GitAnswer::NoGit(error) => GitAnswer::NoGit(error),
    }))
}

/// Whether the boolean `key` in the configuration file `name` in `root` is true. It is false if the
/// file or the key is missing, or if git cannot read it.
///
/// # Errors
///
/// The errors of [`entries`].
pub fn is_true(root: &Path, name: &str, key: &str) -> Result<bool> {
    let answer = config(root, name, &["--type=bool", "--get", key])?;
    Ok(matches!(answer, Some(GitAnswer::Yes(output)) if output.stdout == b"true\n"))
}

/// Returns the path that is the value of `key` in the configuration file `name` in `root`, as git
/// reads it. It may be empty.
///
/// # Errors
///
/// The errors of [`entries`].
pub fn path(root: &Path, name: &str, key: &str) -> Result<Option<PathBuf>> {
    let answer = config(root, name, &["--type=path", "--get", key])?;
    Ok(match answer {
        Some(GitAnswer::Yes(output)) => Some(line(output)),
        _ => None,
    })
}

/// Returns the file with the patterns that the user ignores in all repositories (gitignore(5)). It
/// may be missing.
///
/// # Errors
///
/// If git does not run to its end, or if a signal comes.
pub fn users_excludes() -> Result<Option<PathBuf>> {
    let key = "core.excludesFile";
    let args = [
        "-C",
        "/",
        "--git-dir=/dev/null",
        "config",
        "--type=path",
        "--get",
        key,
    ];
    let output = process::git_of_user(args.map(OsStr::new)).map_err(unfinished)?;
    if succeeded(&output)? {
        return Ok(Some(line(output)).filter(|path| !path.as_os_str().is_empty()));
    }
    let directory = |name: &str| env::var_os(name).filter(|path| !path.is_empty());
    let config = directory("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| directory("HOME").map(|home| Path::new(&home).join(".config")));
    Ok(config.map(|config| config.join("git/ignore")))
}

/// Which files git lists, and within which limits.
pub struct Query<'a> {
    /// The repository in which git runs.
    pub own: &'a Path,
    /// The index that it reads instead of its own.
    pub index: Option<&'a File>,
    /// The work tree.
    pub work_tree: &'a Path,
    /// The maximum memory that git may allocate, in bytes.
    pub memory: u64,
}

/// Lists files by `git ls-files -z` with the arguments `args`, and passes each record to `each`.
/// git takes patterns from the files `excludes`.
///
/// # Errors
///
/// If git fails or does not run to its end, or if a signal comes.
pub fn ls_files(
    query: &Query,
    args: &[&str],
    excludes: &[&File],
    each: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let Query {
        own,
        index,
        work_tree,
        memory,
    } = *query;
    let join = |option: &str, path: &Path| {
        let mut option = OsString::from(option);
        option.push(path);
        option
    };
    let mut all = vec!["-C".into(), work_tree.into()];
    all.push(join("--git-dir=", own));
    all.push(join("--work-tree=", work_tree));
    for setting in [
        "core.multiPackIndex=false",
        "core.packedGitWindowSize=32m",
        "index.threads=1",
    ] {
        all.extend(["-c", setting].map(OsString::from));
    }
    all.extend(["ls-files", "-z"].map(OsString::from));
    all.extend(args.iter().map(OsString::from));
    for file in excludes {
        let name = inherited(file).context("read patterns")?;
        all.push(format!("--exclude-from={name}").into());
    }
    let index = index.map(inherited).transpose().context("read the index")?;
    let mut variables = vec![("GIT_NO_LAZY_FETCH", "1"), ("GIT_OPTIONAL_LOCKS", "0")];
    variables.extend(index.as_deref().map(|index| ("GIT_INDEX_FILE", index)));
    // Of a sparse index, only git 2.35 and later can list the directories instead of all files that
    // are not there.
    all.push("--sparse".into());
    let mut run = |args: &[OsString]| {
        let args = args.iter().map(OsString::as_os_str);
        let slow = || refuse_special(own, work_tree);
        process::git_parts(args, &variables, memory, &mut *each, slow).map_err(unfinished)
    };
    let mut output = run(&all)?;
    if output.status.code() == Some(USAGE) {
        all.pop();
        output = run(&all)?;
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default();
        let hint = if said.contains("Out of memory") {
            "a .gitignore with fewer lines, or an index with fewer files, takes less".to_owned()
        } else {
            format!("git -C {} status says more", work_tree.display())
        };
        return Err(hinted(format!("git: {said}"), hint));
    }
    Ok(())
}

/// Looks for what git waits for. Fails if there is a FIFO, a socket or a device among the objects of
/// the repository `own`, or as a `.gitignore` below `work_tree`. Looks for [`SEARCH`] at most.
fn refuse_special(own: &Path, work_tree: &Path) -> Result<()> {
    let end = Instant::now() + SEARCH;
    let mut directories = vec![(work_tree.to_owned(), false)];
    let objects = fs::canonicalize(own.join("objects"));
    directories.extend(objects.ok().map(|objects| (objects, true)));
    while let Some((directory, are_objects)) = directories.pop() {
        signals::check()?;
        if Instant::now() > end {
            break;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let name = entry.file_name();
            if kind.is_dir() && name != ".git" {
                directories.push((entry.path(), are_objects));
            }
            let is_read = are_objects || name == ".gitignore";
            if is_read && !kind.is_dir() && !kind.is_file() && !kind.is_symlink() {
                let path = entry.path();
                let path = path.display();
                return Err(hinted(
                    format!("{path} is not a regular file, and git waits for it"),
                    "remove it: git itself makes only regular files there",
                ));
            }
        }
    }
    Ok(())
}

/// Returns the path in the only line of `output`.
fn line(output: Output) -> PathBuf {
    let mut path = output.stdout;
    path.pop_if(|byte| *byte == b'\n');
    OsString::from_vec(path).into()
}

/// Makes the error that git did not run to its end.
fn unfinished(unfinished: Unfinished) -> anyhow::Error {
    match unfinished {
        Unfinished::Interrupted(error) => error.into(),
        Unfinished::Stuck(error) => error,
        Unfinished::TimedOut => hinted(
            "git: timed out",
            "git status shows what takes long, such as a FIFO in place of a file that git reads",
        ),
        unfinished => anyhow!("git: {unfinished}"),
    }
}

/// Runs `git config` with the arguments `question` for the file `name` in `root`.
fn config(root: &Path, name: &str, question: &[&str]) -> Result<Option<GitAnswer<Output>>> {
    let Some(file) = inside::open(root, name.as_ref())? else {
        return Ok(None);
    };
    let path = root.join(name);
    if cost(&inside::contents(&file, &path, LIMIT)?) > MAX_COST {
        return Err(too_many_entries(&path));
    }
    let reading = || format!("read {}", path.display());
    let name = inherited(&file).with_context(reading)?;
    let args = ["-C", "/", "config", "-f", &name, "--no-includes"];
    let args = args.iter().chain(question).map(OsStr::new);
    match process::git(args) {
        Ok(output)
            if output
                .status
                .code()
                .is_some_and(|code| NOT_RUN.contains(&code)) =>
        {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Ok(Some(GitAnswer::NoGit(io::Error::other(said))))
        }
        // macOS has a git that only says where to get one, or which licence to accept.
        Ok(output)
            if output.stderr.starts_with(b"xcrun: ")
                || output.stderr.starts_with(b"You have not agreed") =>
        {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(anyhow!("git: {}", said.trim())).with_context(reading)
        }
        Ok(output) if succeeded(&output).with_context(reading)? => Ok(Some(GitAnswer::Yes(output))),
        Ok(_) => Ok(Some(GitAnswer::No)),
        Err(Unfinished::Missing(error)) => Ok(Some(GitAnswer::NoGit(error))),
        Err(Unfinished::Interrupted(error)) => Err(error.into()),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")).with_context(reading),
    }
}

/// Whether `git config` succeeded. It has not if the file or the key is not as it should be.
///
/// # Errors
///
/// If it failed for another reason: it ran out of memory, or it was killed.
fn succeeded(output: &Output) -> Result<bool> {
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(true),
        Some(code) if NOT_FOUND_OR_INVALID.contains(&code) => Ok(false),
        Some(FATAL) if !said.contains("Out of memory") => Ok(false),
        _ => Err(anyhow!("git: {}: {}", output.status, said.trim())),
    }
}

/// Lets git inherit `file`, and returns the name by which git opens it. So git reads the file that
/// was checked, even if another file has taken its place.
fn inherited(file: &File) -> io::Result<String> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    fcntl_setfd(file, FdFlags::empty())?;
    Ok(format!("/dev/fd/{}", file.as_raw_fd()))
}

/// Makes the error that the file at `path`, or all files up to it, have more entries than anybody
/// needs.
pub fn too_many_entries(path: &Path) -> anyhow::Error {
    let path = path.display();
    hinted(
        format!("{path} has too many entries"),
        format!("see what is in it: less {path}"),
    )
}

/// Estimates the memory that the entries of a configuration take, or more. It assumes that each
/// line sets one variable, and that the name of a section is on one line.
fn cost(text: &[u8]) -> usize {
    let (mut cost, mut section) = (0, 0);
    for line in text.split(|&byte| byte == b'\n') {
        if line.contains(&b'[') {
            section = section.max(line.len());
        }
        cost += section + line.len() + ENTRY_COST;
    }
    cost
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::ExitStatusExt;
    use std::path::{Path, PathBuf};
    use std::process::{ExitStatus, Output};

    use super::{
        FATAL, GitAnswer, MAX_COST, cost, entries, is_true, line, path, refuse_special, succeeded,
    };
    use crate::config::ENTRY_COST;

    fn output(status: ExitStatus, stderr: &str) -> Output {
        Output {
            status,
            stdout: vec![],
            stderr: stderr.into(),
        }
    }

    fn fifo(path: &Path) {
        let made = harness::tool("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn git_reads_values_as_it_does_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(entries(root, "config").unwrap().is_none());
        assert!(!is_true(root, "config", "a.b").unwrap());
        assert_eq!(path(root, "config", "a.p").unwrap(), None);
        let text =
            "[a]\n\tb\n\tc = 2k\n\td = off\n\te = x\n\tp = a b\n\tq =\n[include]\n\tpath = other\n";
        fs::write(root.join("config"), text).unwrap();
        fs::write(root.join("other"), "[a]\n\tf = true\n").unwrap();
        let Some(GitAnswer::Yes(read)) = entries(root, "config").unwrap() else {
            panic!("git cannot read it");
        };
        let keys: Vec<_> = read.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(
            keys,
            ["a.b", "a.c", "a.d", "a.e", "a.p", "a.q", "include.path"]
        );
        for (key, expected) in [
            ("a.b", true),
            ("a.c", true),
            ("a.d", false),
            ("a.e", false),
            ("a.f", false),
            ("a.g", false),
        ] {
            assert_eq!(is_true(root, "config", key).unwrap(), expected, "{key}");
        }
        for (key, expected) in [("a.p", Some("a b")), ("a.q", Some("")), ("a.r", None)] {
            let expected = expected.map(PathBuf::from);
            assert_eq!(path(root, "config", key).unwrap(), expected, "{key}");
        }
        fs::write(root.join("config"), "[").unwrap();
        let broken = entries(root, "config").unwrap();
        assert!(matches!(broken, Some(GitAnswer::No)));
        fs::remove_file(root.join("config")).unwrap();
        symlink("other", root.join("config")).unwrap();
        assert!(entries(root, "config").is_err());
    }

    #[test]
    fn only_a_key_or_a_file_that_is_not_as_it_should_be_is_an_answer() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, said, expected) in [
            (exited(0), "", Some(true)),
            (exited(1), "", Some(false)),
            (exited(3), "", Some(false)),
            (exited(FATAL), "fatal: bad config line 1", Some(false)),
            (exited(FATAL), "fatal: Out of memory, malloc failed", None),
            (exited(2), "", None),
            (ExitStatus::from_raw(9), "", None),
        ] {
            let succeeded = succeeded(&output(status, said));
            assert_eq!(succeeded.ok(), expected, "{status}: {said}");
        }
    }

    #[test]
    fn one_line_break_ends_a_line() {
        for (text, expected) in [("a\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            let output = Output {
                stdout: text.into(),
                ..output(ExitStatus::default(), "")
            };
            assert_eq!(line(output), Path::new(expected));
        }
    }

    /// git waits for a FIFO among the objects, and for one that it takes for a `.gitignore`.
    #[test]
    fn what_git_waits_for_is_found() {
        for (name, is_waited_for) in [
            ("objects/pack/x.pack", true),
            ("work/.gitignore", true),
            ("work/a/b/.gitignore", true),
            ("work/fifo", false),
            ("work/a/.git/.gitignore", false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let at = |name: &str| directory.path().join(name);
            fs::create_dir_all(at("objects/pack")).unwrap();
            fs::create_dir_all(at("work/a/.git")).unwrap();
            fs::create_dir(at("work/a/b")).unwrap();
            fs::create_dir(at("own")).unwrap();
            symlink(at("objects"), at("own/objects")).unwrap();
            symlink("/dev/zero", at("work/a/.gitignore")).unwrap();
            fs::write(at("objects/x"), "").unwrap();
            let refuse = || refuse_special(&at("own"), &at("work"));
            assert!(refuse().is_ok(), "{name}");
            fifo(&at(name));
            let error = refuse().map_err(|error| error.to_string());
            let path = fs::canonicalize(directory.path()).unwrap().join(name);
            let path = path.display();
            let why = format!("{path} is not a regular file, and git waits for it");
            let expected = if is_waited_for { Err(why) } else { Ok(()) };
            assert_eq!(error, expected, "{name}");
        }
    }

    #[test]
    fn a_long_section_name_counts_for_each_entry() {
        assert_eq!(cost(b"[ab]\nc\n"), 3 * ENTRY_COST + 8 + 5 + 4);
        let many = "[branch \"a-topic-with-a-long-name\"]\n\tremote = origin\n".repeat(10_000);
        assert!(cost(many.as_bytes()) < MAX_COST);
        let long = format!("[{}]\n{}", "a".repeat(1000), "b\n".repeat(10_000));
        assert!(cost(long.as_bytes()) > MAX_COST);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config"), long).unwrap();
        assert!(entries(directory.path(), "config").is_err());
    }
}
