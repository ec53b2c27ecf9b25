//! Which files of a repository go along, by gitrepository-layout(5).

use std::borrow::Cow;
use std::fs::FileType;
use std::path::Path;

use bottle_common::host::tree::Choice;

use crate::credentials;

/// What linked worktrees have in common, beside what has a rule of its own.
const SHARED: &[&str] = &[
    "branches",
    "config",
    "description",
    "git-daemon-export-ok",
    "hooks",
    "info/attributes",
    "info/exclude",
    "info/grafts",
    "info/refs",
    "info/sparse-checkout",
    "lfs/objects",
    "logs",
    "lost-found",
    "packed-refs",
    "refs",
    "remotes",
    "rr-cache",
    "shallow",
];
/// What each worktree has for itself.
const OWN: &[&str] = &[
    "AUTO_MERGE",
    "BISECT_ANCESTORS_OK",
    "BISECT_EXPECTED_REV",
    "BISECT_FIRST_PARENT",
    "BISECT_LOG",
    "BISECT_NAMES",
    "BISECT_RUN",
    "BISECT_START",
    "BISECT_TERMS",
    "EDIT_DESCRIPTION",
    "HEAD",
    "MERGE_AUTOSTASH",
    "MERGE_MODE",
    "MERGE_MSG",
    "MERGE_RR",
    "NOTES_MERGE_PARTIAL",
    "NOTES_MERGE_REF",
    "NOTES_MERGE_WORKTREE",
    "SQUASH_MSG",
    "config.worktree",
    "index",
    "rebase-apply",
    "rebase-merge",
    "sequencer",
];
/// How the names of more of it end: `FETCH_HEAD`, `COMMIT_EDITMSG`.
const OWN_ENDS: &[&str] = &["_EDITMSG", "_HEAD"];
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
/// What other tools cannot do without. Who puts a secret there gives it a name of one.
const TOOLS: &[&str] = &["annex", "stgit", "svn"];
/// What means nothing in another place, or is copied in a way of its own.
const OUT: &[&str] = &[
    "commondir",
    "fsmonitor--daemon",
    "gc.log",
    "gc.pid",
    "gitdir",
    "lfs/cache",
    "lfs/incomplete",
    "lfs/lockcache.db",
    "lfs/logs",
    "lfs/tmp",
    "locked",
    "modules",
    "worktrees",
];
/// Where git writes down URLs as it was given them.
const WITH_URLS: &[&str] = &[
    "FETCH_HEAD",
    "MERGE_MSG",
    "SQUASH_MSG",
    "logs",
    "svn/.metadata",
];
/// Remotes as git once wrote them down, each in a file.
const OLD_REMOTES: &[&str] = &["branches", "remotes"];
/// The hooks of githooks(5) and of git p4.
const HOOKS: &[&str] = &[
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
];
/// What else the name of a hook may have at its end: of git's examples, and of hooks that the tool
/// `pre-commit` has moved aside.
const HOOK_ENDS: &[&str] = &[".legacy", ".sample"];
/// The parts of a pack, by gitformat-pack(5).
const PACK_PARTS: &[&str] = &["bitmap", "idx", "keep", "mtimes", "pack", "promisor", "rev"];

/// Words in the names of files that may hold secrets.
const SECRET_WORDS: &[&str] = &[
    "auth", "config", "cookie", "cred", "gnupg", "key", "netrc", "npmrc", "passw", "pgpass",
    "secret", "token",
];
/// What the names of such files end with.
const SECRET_ENDS: &[&str] = &[
    ".asc", ".bak", ".gpg", ".old", ".orig", ".p12", ".pem", ".pfx", ".swp", "~",
];
/// Why a file stays on the host that is none of git's.
const UNKNOWN: &str = "it may hold secrets; --keep-config keeps it";

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

/// Decides on each file of `part`. With `keeps_all` everything but unknown objects goes along as
/// it is, also what may hold secrets.
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
    if is_transient(path, kind) || is_in(OUT, path) {
        return Choice::Exclude;
    }
    let is_own = is_own(&top.to_string_lossy(), path);
    let is_way_to_own = kind.is_dir() && leads_to(OWN_BELOW, path);
    let is_shared = !is_own && (path.starts_with("objects") || is_known(path, kind));
    let is_parts = match part {
        Part::Own => is_way_to_own || !is_shared,
        Part::Shared => !is_own,
        _ => true,
    };
    // git looks for its objects, hooks, exclusions and so on among what is shared.
    if !is_parts {
        return Choice::Exclude;
    }
    if let Ok(below) = path.strip_prefix("objects") {
        return object(below, kind);
    }
    if keeps_all {
        return Choice::Include;
    }
    if is_in(OLD_REMOTES, path) && !kind.is_dir() {
        return Choice::Warn("it may lead around the gate; --keep-config keeps it");
    }
    if !is_own && !is_way_to_own && !is_shared {
        return Choice::Warn(UNKNOWN);
    }
    if is_in(WITH_URLS, path) || top.to_string_lossy().ends_with("_EDITMSG") {
        return Choice::Rewrite(credentials::removed_from_text);
    }
    Choice::Include
}

/// Whether git keeps it for each worktree.
fn is_own(top: &str, path: &Path) -> bool {
    top.starts_with("sharedindex.")
        || OWN_ENDS.iter().any(|end| top.ends_with(end))
        || is_in(OWN, path)
        || is_in(OWN_BELOW, path)
}

/// Whether git, or a tool that cannot do without it, keeps it for all worktrees.
fn is_known(path: &Path, kind: FileType) -> bool {
    if let Ok(below) = path.strip_prefix("hooks") {
        return is_hook(below);
    }
    if let Ok(below) = path.strip_prefix("lfs/objects") {
        return kind.is_dir() || is_hex(&name(below), &[64]);
    }
    if is_in(TOOLS, path) {
        return !path
            .iter()
            .any(|name| is_name_of_secret(&name.to_string_lossy()));
    }
    is_in(SHARED, path) || kind.is_dir() && leads_to(SHARED, path)
}

/// Decides on each file of a directory of hooks.
pub fn hooks(path: &Path, _: FileType) -> Choice {
    if is_hook(path) {
        Choice::Include
    } else {
        Choice::Exclude
    }
}

fn is_hook(below: &Path) -> bool {
    let name = name(below);
    let stem = HOOK_ENDS.iter().find_map(|end| name.strip_suffix(end));
    match below.iter().count() {
        0 => true,
        1 => HOOKS.contains(&stem.unwrap_or(&name)),
        _ => false,
    }
}

/// Whether a directory leads to something in the list.
fn leads_to(list: &[&str], path: &Path) -> bool {
    list.iter().any(|own| Path::new(own).starts_with(path))
}

/// Whether a tool's file has the name of a secret.
fn is_name_of_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with("id_")
        || name.contains(".env")
        || SECRET_WORDS.iter().any(|word| name.contains(word))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

/// Decides on each file of the objects of another repository.
fn objects(path: &Path, kind: FileType) -> Choice {
    // An index over one repository's packs is none over those of two, and a part of one's
    // commit-graph may be another's base.
    let is_index = name(path).starts_with("multi-pack-index");
    if is_index || path.starts_with("info") {
        return Choice::Exclude;
    }
    object(path, kind)
}

fn object(below: &Path, kind: FileType) -> Choice {
    let name = name(below);
    if is_object(below, kind) {
        Choice::Include
    } else if name.ends_with(".pack") && !name.starts_with('.') {
        Choice::Warn("it has no name that git gives a pack")
    } else {
        Choice::Exclude
    }
}

/// Whether something in a directory of objects has a name that git gives there. All else git does
/// not read.
fn is_object(below: &Path, kind: FileType) -> bool {
    let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
    let names: Vec<_> = names.iter().map(|name| &**name).collect();
    match names[..] {
        [] | ["info" | "pack"] | ["info", "commit-graphs"] => kind.is_dir(),
        [directory] => kind.is_dir() && is_hex(directory, &[2]),
        _ if !kind.is_file() => false,
        ["pack", "multi-pack-index"]
        | ["info", "commit-graph" | "packs"]
        | ["info", "commit-graphs", "commit-graph-chain"] => true,
        ["pack", name] => is_pack(name),
        ["info", "commit-graphs", name] => {
            let hash = name
                .strip_prefix("graph-")
                .and_then(|name| name.strip_suffix(".graph"));
            hash.is_some_and(|hash| is_hex(hash, &[40, 64]))
        }
        [directory, name] => is_hex(directory, &[2]) && is_hex(name, &[38, 62]),
        _ => false,
    }
}

fn is_pack(name: &str) -> bool {
    let Some((stem, part)) = name.split_once('.') else {
        return false;
    };
    let hash = stem
        .strip_prefix("pack-")
        .or(stem.strip_prefix("multi-pack-index-"));
    hash.is_some_and(|hash| is_hex(hash, &[40, 64])) && PACK_PARTS.contains(&part)
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    lengths.contains(&text.len()) && text.bytes().all(is_digit)
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Whether it is there only while a git is at work, or because one was killed: a lock, a socket, a
/// FIFO.
fn is_transient(path: &Path, kind: FileType) -> bool {
    !kind.is_dir() && (name(path).ends_with(".lock") || !kind.is_file() && !kind.is_symlink())
}

fn is_in(list: &[&str], path: &Path) -> bool {
    list.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bottle_common::host::tree::Choice;

    use super::{Part, choose};

    /// Asserts what becomes of each of `files` that are of the kind of the host's file `like`.
    #[track_caller]
    fn becomes(what: &str, part: Part, keeps_all: bool, like: &str, files: &[&str]) {
        let kind = fs::symlink_metadata(like).unwrap().file_type();
        for file in files {
            let choice = match choose(part, keeps_all)(Path::new(file), kind) {
                Choice::Include => "in",
                Choice::Rewrite(_) => "rewritten",
                Choice::Exclude => "out",
                Choice::Warn("it may lead around the gate; --keep-config keeps it") => "around",
                Choice::Warn("it may hold secrets; --keep-config keeps it") => "secret",
                Choice::Warn(other) => other,
            };
            assert_eq!(choice, what, "{file}");
        }
    }

    const FILE: &str = "Cargo.toml";
    const DIRECTORY: &str = "src";
    const LINK: &str = "/proc/self/exe";
    const DEVICE: &str = "/dev/null";

    const SECRETS: &[&str] = &[
        "auth.json",
        "config.bak",
        "my-config",
        "cookies.txt",
        "credentials",
        ".gnupg",
        ".netrc",
        ".npmrc",
        ".pgpass",
        "passwords",
        "secrets",
        "tokens",
        "id_ed25519",
        "key",
        "a.bak",
        ".env",
        "a.key",
        "a.old",
        "a.orig",
        "a.p12",
        "a.pem",
        "a.swp",
        "a~",
        "Cookies",
        "ID_RSA",
        "A.PEM",
        "TOKEN",
        "KEY",
        "own/key",
        "hooks/id_rsa",
        "hooks/config.sh",
        "info/token",
    ];

    #[test]
    fn of_a_whole_repository() {
        let whole = Part::Whole;
        for keeps_all in [false, true] {
            becomes(
                "in",
                whole,
                keeps_all,
                DIRECTORY,
                &["", "branches", "remotes", "a.lock"],
            );
            becomes(
                "in",
                whole,
                keeps_all,
                FILE,
                &[
                    "HEAD",
                    "ORIG_HEAD",
                    "config",
                    "config.worktree",
                    "index",
                    "description",
                    "packed-refs",
                    "shallow",
                    "refs/heads/token",
                    "refs/tags/a.pem",
                    "lfs/key",
                    "rr-cache/a/token",
                    "lost-found/a~",
                    "objects/aa/key",
                    "sharedindex.ab",
                    "hooks/pre-commit",
                    "info/exclude",
                    "rebase-merge/auth",
                    "rebase-apply/auth",
                    "sequencer/auth",
                    "refs/bisect/auth",
                    "tmp_a",
                    "keys",
                    "identity",
                    "own",
                    "info/sparse-checkout",
                    "incoming-a",
                ],
            );
            becomes("in", whole, keeps_all, LINK, &["own", "HEAD"]);
            becomes(
                "out",
                whole,
                keeps_all,
                FILE,
                &[
                    "commondir",
                    "gc.pid",
                    "gitdir",
                    "locked",
                    "lfs/logs/a",
                    "lfs/tmp/a",
                    "objects/info/alternates",
                    "objects/info/http-alternates",
                    "worktrees/a/HEAD",
                    "modules/a/HEAD",
                    "index.lock",
                    "refs/heads/a.lock",
                    "objects/pack/tmp_pack_a",
                    "objects/incoming-a",
                ],
            );
            becomes(
                "out",
                whole,
                keeps_all,
                DIRECTORY,
                &["worktrees", "modules", "objects/incoming-a"],
            );
            becomes("out", whole, keeps_all, DEVICE, &["fsmonitor--daemon.ipc"]);
        }
        let with_urls = &[
            "COMMIT_EDITMSG",
            "FETCH_HEAD",
            "MERGE_MSG",
            "SQUASH_MSG",
            "logs/HEAD",
            "logs/refs/a",
        ];
        let old_remotes = &["branches/a", "remotes/origin"];
        becomes("rewritten", whole, false, FILE, with_urls);
        becomes("around", whole, false, FILE, old_remotes);
        becomes("secret", whole, false, FILE, SECRETS);
        for files in [&with_urls[..], old_remotes, SECRETS] {
            becomes("in", whole, true, FILE, files);
        }
    }

    /// What each worktree has for itself.
    const OWN: &[&str] = &[
        "HEAD",
        "ORIG_HEAD",
        "index",
        "sharedindex.ab",
        "config.worktree",
        "rebase-apply/a",
        "rebase-merge/auth",
        "sequencer/todo",
        "info/sparse-checkout",
        "refs/bisect/bad",
        "refs/rewritten/a",
        "refs/worktree/a",
    ];
    /// The same, where there are addresses in it.
    const OWN_WITH_URLS: &[&str] = &[
        "MERGE_MSG",
        "logs/HEAD",
        "logs/refs/bisect/bad",
        "logs/refs/rewritten/a",
        "logs/refs/worktree/a",
    ];
    /// What worktrees have in common.
    const SHARED: &[&str] = &[
        "config",
        "description",
        "hooks/pre-commit",
        "info/exclude",
        "lfs/a",
        "lost-found/a",
        "objects/aa/bb",
        "packed-refs",
        "refs/heads/main",
        "rr-cache/a",
        "shallow",
    ];

    #[test]
    fn of_a_linked_worktree_and_what_it_shares() {
        for keeps_all in [false, true] {
            becomes("out", Part::Shared, keeps_all, FILE, OWN);
            becomes("out", Part::Shared, keeps_all, FILE, OWN_WITH_URLS);
            becomes("in", Part::Shared, keeps_all, FILE, SHARED);
            becomes("in", Part::Shared, keeps_all, FILE, &["own"]);
            becomes("in", Part::Own, keeps_all, FILE, OWN);
            becomes("out", Part::Own, keeps_all, FILE, SHARED);
            becomes(
                "out",
                Part::Own,
                keeps_all,
                FILE,
                &["logs/refs/heads/main", "gitdir"],
            );
            becomes("in", Part::Own, keeps_all, FILE, &["own"]);
            // The way to what is its own, and no other directory of those that are shared.
            becomes(
                "in",
                Part::Own,
                keeps_all,
                DIRECTORY,
                &["", "info", "refs", "refs/bisect"],
            );
            becomes(
                "out",
                Part::Own,
                keeps_all,
                DIRECTORY,
                &[
                    "branches",
                    "remotes",
                    "hooks",
                    "objects",
                    "refs/heads",
                    "logs/refs/heads",
                    "lfs",
                ],
            );
        }
        becomes("rewritten", Part::Own, false, FILE, OWN_WITH_URLS);
        becomes("in", Part::Own, true, FILE, OWN_WITH_URLS);
        becomes(
            "rewritten",
            Part::Shared,
            false,
            FILE,
            &["logs/refs/heads/main"],
        );
        becomes("secret", Part::Shared, false, FILE, SECRETS);
        becomes(
            "secret",
            Part::Own,
            false,
            FILE,
            &["id_rsa", "own/key", "TOKEN"],
        );
    }

    #[test]
    fn of_the_objects_of_another_repository() {
        for keeps_all in [false, true] {
            let objects = Part::Objects;
            becomes(
                "in",
                objects,
                keeps_all,
                DIRECTORY,
                &["", "aa", "pack", "info", "info/commit-graphs"],
            );
            becomes(
                "in",
                objects,
                keeps_all,
                FILE,
                &[
                    "aa/bb",
                    "pack/pack-a.pack",
                    "pack/key",
                    "info/commit-graphs/graph-a.graph",
                ],
            );
            becomes(
                "out",
                objects,
                keeps_all,
                FILE,
                &[
                    "pack/multi-pack-index",
                    "pack/multi-pack-index-a.bitmap",
                    "info/packs",
                    "info/alternates",
                    "info/commit-graph",
                    "info/commit-graphs/commit-graph-chain",
                    "pack/tmp_pack_a",
                    "incoming-a",
                    "pack/a.lock",
                ],
            );
            becomes(
                "out",
                objects,
                keeps_all,
                DIRECTORY,
                &["incoming-a", "info/other"],
            );
            becomes("out", objects, keeps_all, DEVICE, &["a"]);
        }
    }
}
