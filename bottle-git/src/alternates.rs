//! The object directories of other repositories from which a repository borrows objects.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bottle_common::error::hinted;

use crate::git_dirs::{GitDirs, Reach};
use crate::inside;

/// The file in an object directory that lists the directories from which it borrows.
const FILE: &str = "info/alternates";
/// The maximum length of the file, in bytes.
const LIMIT: u64 = 1 << 16;
/// The maximum length of a chain of lenders that borrow themselves. git has the same limit.
const MAX_DEPTH: usize = 5;
/// The maximum number of lenders.
const MAX_LENDERS: usize = 64;
/// The hint that says how to make a repository independent of others.
const WHOLE: &str = "while the other one is there, git repack -a -d && rm \
                     .git/objects/info/alternates makes it whole, and git clone --dissociate a \
                     whole copy";

/// Lists the object directories from which the repository at `common_dir` borrows, and those from
/// which they borrow in turn. git itself would accept any directory, and everything in it would be
/// copied, so each is checked.
///
/// # Errors
///
/// If a list cannot be read, if a lender is not the object directory of a repository in `reach`, or
/// if there are too many lenders.
pub fn lenders(common_dir: &Path, reach: &Reach) -> Result<Vec<PathBuf>> {
    let mut lenders = Vec::new();
    let mut seen = BTreeSet::from([common_dir.join("objects")]);
    let mut borrowers = vec![common_dir.join("objects")];
    for depth in 0.. {
        let mut found = Vec::new();
        for borrower in &borrowers {
            found.extend(borrowed(borrower, reach)?);
        }
        found.retain(|lender| seen.insert(lender.clone()));
        if found.is_empty() {
            break;
        }
        lenders.extend_from_slice(&found);
        if depth == MAX_DEPTH || lenders.len() > MAX_LENDERS {
            bail!(
                "{}: it borrows objects from too many others",
                common_dir.display()
            );
        }
        borrowers = found;
    }
    Ok(lenders)
}

/// Lists the directories from which the object directory `borrower` borrows.
fn borrowed(borrower: &Path, reach: &Reach) -> Result<Vec<PathBuf>> {
    // Without an object directory, nothing is borrowed.
    if !borrower.is_dir() {
        return Ok(Vec::new());
    }
    let text = inside::read(borrower, FILE, LIMIT)?.unwrap_or_default();
    let mut lenders = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = match line.strip_prefix(b"\"") {
            Some(quoted) => unquoted(quoted).with_context(|| {
                let file = borrower.join(FILE);
                format!(
                    "{}: a path in it is not quoted as git does it",
                    file.display()
                )
            })?,
            None => line.to_vec(),
        };
        lenders.push(judged(
            borrower,
            Path::new(OsStr::from_bytes(&place)),
            reach,
        )?);
    }
    Ok(lenders)
}

/// Returns the directory `named` without links, after checking that it is the object directory of a
/// repository in `reach`.
fn judged(borrower: &Path, named: &Path, reach: &Reach) -> Result<PathBuf> {
    let (file, shown) = (borrower.join(FILE), borrower.join(named));
    let (file, shown) = (file.display(), shown.display());
    let Ok(lender) = fs::canonicalize(borrower.join(named)) else {
        return Err(hinted(
            format!("{file}: it borrows objects from {shown}, which is not there"),
            WHOLE,
        ));
    };
    let repository = lender.parent().unwrap_or(&lender).to_owned();
    if !reach.has(&lender) {
        let repository = repository.display();
        return Err(hinted(
            format!("{file}: it borrows objects from {shown}, which is outside the project"),
            format!("--allow-outside {repository} lets them in if you know them; {WHOLE}"),
        ));
    }
    let dirs = GitDirs {
        git_dir: repository.clone(),
        common_dir: repository,
    };
    if lender.file_name() != Some(OsStr::new("objects")) || !dirs.is_repository() {
        return Err(hinted(
            format!("{file}: {shown} is not the objects of a repository"),
            "git fsck says whether the repository needs it; without the line it stays out",
        ));
    }
    Ok(lender)
}

/// Undoes the quoting in which git writes a path with quotes, control characters or other than
/// ASCII. `text` begins after the opening quote. Returns `None` if it is not quoted like that to
/// its end: git would take the rest for another path, or all of it for an unquoted one.
fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"\"")?;
    let mut path = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        path.push(match byte {
            b'"' => return None,
            b'\\' => match rest.next()? {
                escaped @ (b'"' | b'\\') => escaped,
                b'a' => 7,
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                first @ b'0'..=b'3' => {
                    let digit = |byte: u8| (b'0'..=b'7').contains(&byte).then(|| byte - b'0');
                    let (second, third) = (digit(rest.next()?)?, digit(rest.next()?)?);
                    (first - b'0') << 6 | second << 3 | third
                }
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::{FILE, MAX_DEPTH, MAX_LENDERS, lenders, unquoted};
    use crate::git_dirs::Reach;

    /// Makes a repository that borrows from `lines`.
    fn repository(path: &Path, lines: &[String]) {
        for directory in ["objects/info", "refs"] {
            fs::create_dir_all(path.join(directory)).unwrap();
        }
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(path.join("objects").join(FILE), lines.join("\n")).unwrap();
    }

    /// Returns how many lend to `.git` in the project, or that it is an error.
    fn number(project: &TempDir) -> Option<usize> {
        let root = fs::canonicalize(project.path()).unwrap();
        let reach = Reach::new(&root, &[]).unwrap();
        lenders(&root.join(".git"), &reach)
            .ok()
            .map(|all| all.len())
    }

    #[test]
    fn only_the_objects_of_a_repository_are_borrowed() {
        let project = TempDir::new().unwrap();
        repository(&project.path().join("whole"), &[]);
        fs::create_dir_all(project.path().join("whole/other")).unwrap();
        fs::create_dir_all(project.path().join("none/objects")).unwrap();
        for (lender, found) in [
            ("whole/objects", Some(1)),
            ("whole/other", None),
            ("whole", None),
            ("none/objects", None),
            ("missing/objects", None),
        ] {
            let lines = [
                String::new(),
                "# a comment".into(),
                format!("../../{lender}"),
            ];
            repository(&project.path().join(".git"), &lines);
            assert_eq!(number(&project), found, "{lender}");
        }
    }

    #[test]
    fn the_number_of_lenders_and_the_length_of_a_chain_are_limited() {
        for (count, found) in [(MAX_LENDERS, Some(MAX_LENDERS)), (MAX_LENDERS + 1, None)] {
            let project = TempDir::new().unwrap();
            let lines: Vec<_> = (0..count).map(|n| format!("../../{n}/objects")).collect();
            for number in 0..count {
                repository(&project.path().join(number.to_string()), &[]);
            }
            repository(&project.path().join(".git"), &lines);
            assert_eq!(number(&project), found);
        }
        for (length, found) in [(MAX_DEPTH, Some(MAX_DEPTH)), (MAX_DEPTH + 1, None)] {
            let project = TempDir::new().unwrap();
            repository(
                &project.path().join(".git"),
                &["../../0/objects".to_owned()],
            );
            for number in 0..length {
                let next = format!("../../{}/objects", number + 1);
                let lines = if number + 1 < length {
                    vec![next]
                } else {
                    Vec::new()
                };
                repository(&project.path().join(number.to_string()), &lines);
            }
            assert_eq!(number(&project), found);
        }
    }

    #[test]
    fn what_git_quotes_is_unquoted() {
        for (text, path) in [
            (&b"/a\""[..], Some(&b"/a"[..])),
            (br#"/\303\274\"x\\""#, Some("/ü\"x\\".as_bytes())),
            (br#"\a\b\t\n\v\f\r""#, Some(b"\x07\x08\t\n\x0b\x0c\r")),
            (b"/\xfc\"", Some(b"/\xfc")),
            (b"\"", Some(b"")),
            (b"", None),
            (b"/a", None),
            (b"/a\"x/b", None),
            (b"/a\"x/b\"", None),
            (br#"/a\""#, None),
            (br#"\400""#, None),
            (br#"\30""#, None),
            (br#"\308""#, None),
            (br#"\x""#, None),
        ] {
            assert_eq!(unquoted(text).as_deref(), path, "{text:?}");
        }
    }
}
