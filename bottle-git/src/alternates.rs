//! The directories in which a repository has objects that it borrows from others.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bottle_common::error::hinted;

use crate::git_dirs::{GitDirs, Reach};
use crate::inside;

const FILE: &str = "info/alternates";
/// How long the file may be, in bytes.
const LIMIT: u64 = 1 << 16;
/// How far a lender may borrow itself: git goes no further.
const MAX_DEPTH: usize = 5;
/// How many lenders there may be.
const MAX_LENDERS: usize = 64;
const WHOLE: &str = "while the other one is there, git repack -a -d && rm \
                     .git/objects/info/alternates makes it whole, and git clone --dissociate a \
                     whole copy";

/// Lists the object directories that the one of the repository at `common_dir` borrows from, with
/// those that they borrow from themselves. git itself would take any directory for one, and all that
/// is in it would go along.
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

/// Reads where the object directory `borrower` borrows from.
fn borrowed(borrower: &Path, reach: &Reach) -> Result<Vec<PathBuf>> {
    // Where there are no objects at all nothing is borrowed.
    if !borrower.is_dir() {
        return Ok(Vec::new());
    }
    let text = inside::read(borrower, FILE, LIMIT)?.unwrap_or_default();
    let mut lenders = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        lenders.push(judged(borrower, Path::new(OsStr::from_bytes(line)), reach)?);
    }
    Ok(lenders)
}

/// Gives the directory without links, if it is the objects of a repository in `reach`.
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
