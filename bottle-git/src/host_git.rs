//! What the host's git says of a configuration file.
//!
//! The repository may be hostile, so git is never run in it: it runs in `/` and reads one file, which
//! was opened here without following a link. Includes are not followed, and `git config` runs no
//! hook, filter or command of a configuration. All else of a repository this step reads itself.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Output;

use anyhow::{Context, Result, anyhow};
use bottle_common::error::hinted;
use bottle_common::host::process::{self, Unfinished};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::config::{self, Entry};
use crate::inside;

/// How long a configuration may be, in bytes.
const LIMIT: u64 = 1 << 20;
/// How much memory its entries may take, in bytes: each has the name of its section.
const MAX_COST: usize = 8 << 20;
/// About what an entry takes beside its text.
const ENTRY_COST: usize = 100;

/// What git answered.
pub enum Answer<T> {
    /// git succeeded.
    Yes(T),
    /// git refused.
    No,
    /// There is no git on this host.
    NoGit(io::Error),
}

/// Reads all that the file `name` in `root` sets, if it is there. What it includes is another
/// file's.
pub fn entries(root: &Path, name: &str) -> Result<Option<Answer<Vec<Entry>>>> {
    let answer = config(root, name, &["-z", "--list"])?;
    Ok(answer.map(|answer| match answer {
        Answer::Yes(output) => Answer::Yes(config::parse(&output.stdout)),
        Answer::No => Answer::No,
        Answer::NoGit(error) => Answer::NoGit(error),
    }))
}

/// Whether git takes the boolean `key` in the file for true. One that is not there is false, and so
/// is one that git cannot read.
pub fn is_true(root: &Path, name: &str, key: &str) -> Result<bool> {
    let answer = config(root, name, &["--type=bool", "--get", key])?;
    Ok(matches!(answer, Some(Answer::Yes(output)) if output.stdout == b"true\n"))
}

fn config(root: &Path, name: &str, question: &[&str]) -> Result<Option<Answer<Output>>> {
    let Some(file) = inside::open(root, name.as_ref())? else {
        return Ok(None);
    };
    let path = root.join(name);
    if cost(&inside::contents(&file, &path, LIMIT)?) > MAX_COST {
        let path = path.display();
        return Err(hinted(
            format!("{path} has too many entries"),
            format!("see what is in it: less {path}"),
        ));
    }
    // A descriptor that git inherits: the file cannot have become another one.
    let reading = || format!("read {}", path.display());
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).with_context(reading)?;
    fcntl_setfd(&file, FdFlags::empty()).with_context(reading)?;
    let file = format!("/dev/fd/{}", file.as_raw_fd());
    let args = ["-C", "/", "config", "-f", &file, "--no-includes"];
    let args = args.iter().chain(question).map(OsStr::new);
    match process::git(args) {
        Ok(output) if output.status.success() => Ok(Some(Answer::Yes(output))),
        Ok(_) => Ok(Some(Answer::No)),
        Err(Unfinished::Missing(error)) => Ok(Some(Answer::NoGit(error))),
        Err(Unfinished::Interrupted(error)) => Err(error.into()),
        Err(unfinished) => Err(anyhow!("git: {unfinished}")).with_context(reading),
    }
}

/// About how much memory the entries of a configuration take, or more: a line sets one thing at
/// most, in a section whose name is on one line.
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
    use super::{ENTRY_COST, MAX_COST, cost};

    #[test]
    fn a_long_name_of_a_section_counts_for_each_entry() {
        assert_eq!(cost(b"[ab]\nc\n"), 3 * ENTRY_COST + 8 + 5 + 4);
        let many = "[branch \"a-topic-with-a-long-name\"]\n\tremote = origin\n".repeat(10_000);
        assert!(cost(many.as_bytes()) < MAX_COST);
        let long = format!("[{}]\n{}", "a".repeat(1000), "b\n".repeat(10_000));
        assert!(cost(long.as_bytes()) > MAX_COST);
    }
}
