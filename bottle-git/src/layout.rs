//! Which files of a repository go along, by gitrepository-layout(5).

use std::fs::FileType;
use std::path::Path;

use bottle_common::host::tree::Choice;

use crate::credentials;

/// What linked worktrees have in common, and what git-lfs keeps there.
const SHARED: &[&str] = &[
    "branches",
    "config",
    "description",
    "hooks",
    "info",
    "lfs",
    "logs",
    "lost-found",
    "objects",
    "packed-refs",
    "refs",
    "remotes",
    "rr-cache",
    "shallow",
];
/// What each worktree has for itself, beside files like `HEAD` and `MERGE_MSG`.
const OWN: &[&str] = &[
    "config.worktree",
    "index",
    "rebase-apply",
    "rebase-merge",
    "sequencer",
];
/// What each worktree has for itself below what is otherwise shared.
const OWN_BELOW: &[&str] = &[
    "info/sparse-checkout",
    "logs/HEAD",
    "logs/refs/bisect",
    "logs/refs/rewritten",
    "logs/refs/worktree",
    "refs/bisect",
    "refs/rewritten",
    "refs/worktree",
];
/// What means nothing in another place, or is copied in a way of its own.
const OUT: &[&str] = &[
    "commondir",
    "gc.pid",
    "gitdir",
    "lfs/logs",
    "lfs/tmp",
    "locked",
    "modules",
    "objects/info/alternates",
    "objects/info/http-alternates",
    "worktrees",
];
/// Where git writes down URLs as it was given them.
const WITH_URLS: &[&str] = &[
    "COMMIT_EDITMSG",
    "FETCH_HEAD",
    "MERGE_MSG",
    "SQUASH_MSG",
    "logs",
];
/// Remotes as git once wrote them down, each in a file.
const OLD_REMOTES: &[&str] = &["branches", "remotes"];

/// Words in the names of files that may hold secrets.
const SECRET_WORDS: &[&str] = &[
    "auth", "config", "cookie", "cred", "gnupg", "netrc", "npmrc", "pgpass", "passw", "secret",
    "token",
];
/// What the names of such files end with.
const SECRET_ENDS: &[&str] = &[
    ".bak", ".env", ".key", ".old", ".orig", ".p12", ".pem", ".swp", "~",
];

/// Which files of a directory are meant.
#[derive(Clone, Copy)]
pub enum Part {
    /// All of a repository.
    Whole,
    /// What its linked worktrees have in common.
    Shared,
    /// What one of them has for itself.
    Own,
    /// The objects of another repository.
    Objects,
}

/// Decides on each file of `part`. With `keeps_all` everything goes along as it is, also what may
/// hold secrets.
pub fn choose(part: Part, keeps_all: bool) -> fn(&Path, FileType) -> Choice {
    match (part, keeps_all) {
        (Part::Whole, false) => |path, kind| choice(Part::Whole, false, path, kind),
        (Part::Whole, true) => |path, kind| choice(Part::Whole, true, path, kind),
        (Part::Shared, false) => |path, kind| choice(Part::Shared, false, path, kind),
        (Part::Shared, true) => |path, kind| choice(Part::Shared, true, path, kind),
        (Part::Own, false) => |path, kind| choice(Part::Own, false, path, kind),
        (Part::Own, true) => |path, kind| choice(Part::Own, true, path, kind),
        (Part::Objects, _) => |path, kind| objects(path, kind),
    }
}

fn choice(part: Part, keeps_all: bool, path: &Path, kind: FileType) -> Choice {
    let Some(top) = path.iter().next() else {
        return Choice::Include;
    };
    let top = top.to_string_lossy();
    let is_unfinished = top == "objects" && is_incomplete(path);
    if is_transient(path, kind) || is_unfinished || is_in(OUT, path) {
        return Choice::Exclude;
    }
    if is_in(OLD_REMOTES, path) && !kind.is_dir() && !keeps_all {
        return Choice::Warn("it may lead around the gate; --keep-config keeps it");
    }
    let is_secret = path
        .iter()
        .any(|name| is_name_of_secret(&name.to_string_lossy()));
    let is_own = is_state(&top) && !is_secret || is_in(OWN, path) || is_in(OWN_BELOW, path);
    let is_shared = SHARED.contains(&&*top) && !is_in(OWN_BELOW, path);
    match part {
        // git looks for its hooks, exclusions and so on among what is shared.
        Part::Own if is_shared && !(kind.is_dir() && leads_to_own(path)) => return Choice::Exclude,
        Part::Shared if is_own => return Choice::Exclude,
        _ => {}
    }
    // In these two directories people keep files of their own.
    let is_gits = is_own || is_shared && !matches!(&*top, "hooks" | "info");
    let is_way_to_own = matches!(part, Part::Own) && kind.is_dir() && leads_to_own(path);
    if is_secret && !is_gits && !is_way_to_own && !keeps_all {
        return Choice::Warn("it may hold secrets; --keep-config keeps it");
    }
    if is_in(WITH_URLS, path) && !keeps_all {
        return Choice::Rewrite(credentials::removed_from_text);
    }
    Choice::Include
}

/// Whether it is a file in which git keeps a worktree's state: `HEAD`, `MERGE_MSG`, a part of the
/// index.
fn is_state(top: &str) -> bool {
    top.starts_with("sharedindex.") || top.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Whether the directory leads to something that each worktree has for itself.
fn leads_to_own(path: &Path) -> bool {
    OWN_BELOW.iter().any(|own| Path::new(own).starts_with(path))
}

/// Whether a file that is none of git's own has the name of a copy of its configuration, or of a
/// secret.
fn is_name_of_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with("id_")
        || name == "key"
        || SECRET_WORDS.iter().any(|word| name.contains(word))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

fn objects(path: &Path, kind: FileType) -> Choice {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    // An index over one repository's packs is none over those of two, and a part of one's
    // commit-graph may be another's base.
    let is_index = name.starts_with(b"multi-pack-index") || name.starts_with(b"commit-graph-chain");
    let graphs = Path::new("info/commit-graphs");
    let is_info =
        path.starts_with("info") && !graphs.starts_with(path) && !path.starts_with(graphs);
    if is_index || is_info || is_transient(path, kind) || is_incomplete(path) {
        return Choice::Exclude;
    }
    Choice::Include
}

/// Whether it is there only while a git is at work, or because one was killed: a lock, a socket, a
/// FIFO.
fn is_transient(path: &Path, kind: FileType) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !kind.is_dir() && (name.ends_with(b".lock") || !kind.is_file() && !kind.is_symlink())
}

/// Whether it is an object or a pack that was never finished.
fn is_incomplete(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"tmp_") || name.starts_with(b"incoming-")
}

fn is_in(list: &[&str], path: &Path) -> bool {
    list.iter().any(|start| path.starts_with(start))
}
