//! Decides which files of a repository are copied, following gitrepository-layout(5).

use std::borrow::Cow;
use std::fs::FileType;
use std::path::Path;

use bottle_common::host::choice::Choice;

use crate::credentials;
use crate::secret_names;

/// The files that linked worktrees share, apart from those with rules of their own.
const SHARED: &[&str] = &[
    "config",
    "description",
    "git-daemon-export-ok",
    "info/attributes",
    "info/exclude",
    "info/grafts",
    "info/refs",
    "packed-refs",
    "shallow",
];
/// The directories that linked worktrees share. All files in them are git's, whatever their names.
const SHARED_BELOW: &[&str] = &["branches", "logs", "refs", "remotes"];
/// The directories of objects that nothing refers to, named by their hashes.
const LOST_FOUND: &[&str] = &["lost-found/commit", "lost-found/other"];
/// The names of the files in which git remembers how a conflict was resolved, one directory for
/// each conflict.
const RESOLUTION: &[&str] = &["postimage", "preimage", "thisimage"];
/// The files that belong to a single worktree.
const OWN: &[&str] = &[
    "AUTO_MERGE",
    "BISECT_ANCESTORS_OK",
    "BISECT_EXPECTED_REV",
    "BISECT_FIRST_PARENT",
    "BISECT_HEAD",
    "BISECT_LOG",
    "BISECT_NAMES",
    "BISECT_RUN",
    "BISECT_START",
    "BISECT_TERMS",
    "CHERRY_PICK_HEAD",
    "COMMIT_EDITMSG",
    "EDIT_DESCRIPTION",
    "FETCH_HEAD",
    "HEAD",
    "MERGE_AUTOSTASH",
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "MERGE_RR",
    "NOTES_EDITMSG",
    "NOTES_MERGE_PARTIAL",
    "NOTES_MERGE_REF",
    "ORIG_HEAD",
    "REBASE_HEAD",
    "REVERT_HEAD",
    "SQUASH_MSG",
    "TAG_EDITMSG",
    "config.worktree",
    "index",
];
/// The files of this kind in a directory that is shared.
const OWN_IN: &[&str] = &["info/sparse-checkout"];
/// The files and directories that belong to a single worktree although their directories are
/// shared, and the directories of its own.
const OWN_BELOW: &[&str] = &[
    "logs/HEAD",
    "logs/refs/bisect",
    "logs/refs/rewritten",
    "logs/refs/worktree",
    "rebase-apply",
    "rebase-merge",
    "refs/bisect",
    "refs/rewritten",
    "refs/worktree",
    "sequencer",
];
/// The directories of other tools that do not work without them. A file there is left out only if
/// it has the name of a secret.
const TOOLS: &[&str] = &["annex", "stgit", "svn"];
/// The files that have no meaning in the guest, or that are copied in another way.
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
/// The files in which git writes URLs, which may contain credentials.
const WITH_URLS: &[&str] = &[
    "BISECT_LOG",
    "COMMIT_EDITMSG",
    "EDIT_DESCRIPTION",
    "FETCH_HEAD",
    "MERGE_MSG",
    "NOTES_EDITMSG",
    "SQUASH_MSG",
    "TAG_EDITMSG",
    "logs",
    "rebase-apply",
    "rebase-merge",
    "sequencer",
    "svn/.metadata",
];
/// The directories in which old versions of git kept remotes, one in each file.
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
/// The suffixes that the name of a hook may have: that of git's examples, and that of hooks which
/// the tool `pre-commit` has replaced.
const HOOK_ENDS: &[&str] = &[".legacy", ".sample"];
/// The suffixes of the files of a pack, according to gitformat-pack(5).
const PACK_PARTS: &[&str] = &["bitmap", "idx", "keep", "mtimes", "pack", "promisor", "rev"];

/// The warning about a file that does not belong to git.
const UNKNOWN: &str = "it may hold secrets; --keep-config keeps it";

/// The files of a directory that are considered. All others are left out.
#[derive(Clone, Copy)]
pub enum Scope {
    /// All files of a repository.
    Whole,
    /// The files that linked worktrees share.
    Shared,
    /// The files that belong to one worktree.
    Own,
    /// The objects in the object directory of another repository.
    Objects,
}

/// Returns the function that decides on each file in `scope`. With `keeps_all`, all files except
/// for unknown objects are copied unchanged, even if they may contain secrets.
pub fn choose(scope: Scope, keeps_all: bool) -> fn(&Path, FileType) -> Choice {
    match (scope, keeps_all) {
        (Scope::Whole, false) => |path, kind| choice(Scope::Whole, false, path, kind),
        (Scope::Whole, true) => |path, kind| choice(Scope::Whole, true, path, kind),
        (Scope::Shared, false) => |path, kind| choice(Scope::Shared, false, path, kind),
        (Scope::Shared, true) => |path, kind| choice(Scope::Shared, true, path, kind),
        (Scope::Own, false) => |path, kind| choice(Scope::Own, false, path, kind),
        (Scope::Own, true) => |path, kind| choice(Scope::Own, true, path, kind),
        (Scope::Objects, _) => |path, kind| objects(path, kind),
    }
}

fn choice(scope: Scope, keeps_all: bool, path: &Path, kind: FileType) -> Choice {
    if path.as_os_str().is_empty() {
        return Choice::Include;
    }
    if is_transient(path, kind) || is_in(OUT, path) {
        return Choice::Exclude;
    }
    let is_own = is_own(path, kind);
    let is_way_to_own = kind.is_dir() && (leads_to(OWN_BELOW, path) || leads_to(OWN_IN, path));
    let is_shared = !is_own && (path.starts_with("objects") || is_known(path, kind));
    let is_in_scope = match scope {
        Scope::Own => is_way_to_own || !is_shared,
        Scope::Shared => !is_own,
        _ => true,
    };
    // git reads shared files, such as objects and hooks, only in the shared directory.
    if !is_in_scope {
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
    if is_in(WITH_URLS, path) {
        return Choice::Rewrite(credentials::removed_from_text);
    }
    Choice::Include
}

/// Whether git keeps the file at `path` separately for each worktree.
fn is_own(path: &Path, kind: FileType) -> bool {
    if let Ok(below) = path.strip_prefix("NOTES_MERGE_WORKTREE") {
        // The notes of an object are in a file that its hash names, perhaps in several parts.
        let hash: String = below.iter().map(|part| part.to_string_lossy()).collect();
        return kind.is_dir() || is_hex(&hash, &[40, 64]);
    }
    let is_file = || {
        let name = path.to_string_lossy();
        let is_index = || {
            name.strip_prefix("sharedindex.")
                .is_some_and(|hash| is_hex(hash, &[40, 64]))
        };
        OWN.contains(&&*name) || OWN_IN.contains(&&*name) || is_index()
    };
    is_in(OWN_BELOW, path) || !kind.is_dir() && is_file()
}

/// Whether the file is shared by all worktrees and belongs to git, or to a tool that does not work
/// without it.
fn is_known(path: &Path, kind: FileType) -> bool {
    if let Ok(below) = path.strip_prefix("hooks") {
        return is_hook(below);
    }
    if let Ok(below) = path.strip_prefix("lfs/objects") {
        return kind.is_dir() || is_hex(&name(below), &[64]);
    }
    if let Ok(below) = path.strip_prefix("rr-cache") {
        return kind.is_dir() || is_resolution(below);
    }
    if is_in(LOST_FOUND, path) {
        return kind.is_dir() || is_hex(&name(path), &[40, 64]);
    }
    if is_in(TOOLS, path) {
        return !path
            .iter()
            .any(|name| secret_names::is_secret(&name.to_string_lossy()));
    }
    if kind.is_dir() {
        let lists = [SHARED, SHARED_BELOW, LOST_FOUND, &["lfs/objects"]];
        return is_in(SHARED_BELOW, path) || lists.iter().any(|list| leads_to(list, path));
    }
    is_in(SHARED_BELOW, path) || SHARED.iter().any(|file| path == Path::new(file))
}

/// Whether `below`, a path in the directory `rr-cache`, is one of git's files there.
fn is_resolution(below: &Path) -> bool {
    let name = name(below);
    // A conflict that occurs again has a number.
    let (stem, number) = name.split_once('.').unwrap_or((&name, "0"));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    below.iter().count() == 2 && RESOLUTION.contains(&stem) && is_number
}

/// Decides on each file in a directory of hooks.
pub fn hooks(path: &Path, _: FileType) -> Choice {
    if is_hook(path) {
        Choice::Include
    } else {
        Choice::Exclude
    }
}

/// Whether `below`, a path in the directory of hooks, is that directory or a hook.
fn is_hook(below: &Path) -> bool {
    let name = name(below);
    let stem = HOOK_ENDS.iter().find_map(|end| name.strip_suffix(end));
    match below.iter().count() {
        0 => true,
        1 => HOOKS.contains(&stem.unwrap_or(&name)),
        _ => false,
    }
}

/// Whether the directory `path` is one of the paths in `list`, or a parent of one.
fn leads_to(list: &[&str], path: &Path) -> bool {
    list.iter().any(|own| Path::new(own).starts_with(path))
}

/// Decides on each file in the object directory of another repository.
fn objects(path: &Path, kind: FileType) -> Choice {
    // The index and the commit-graph of one repository are not valid for the objects of two.
    let is_index = name(path).starts_with("multi-pack-index");
    if is_index || path.starts_with("info") {
        return Choice::Exclude;
    }
    object(path, kind)
}

/// Decides on a file in an object directory.
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

/// Whether a file in an object directory has a name that git gives to such a file. git does not
/// read any other files.
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

/// Whether the file exists only while git runs, or because git was killed: a lock, a socket or a
/// FIFO.
fn is_transient(path: &Path, kind: FileType) -> bool {
    !kind.is_dir() && (name(path).ends_with(".lock") || !kind.is_file() && !kind.is_symlink())
}

/// Whether `path` is one of the paths in `list`, or is below one.
fn is_in(list: &[&str], path: &Path) -> bool {
    list.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bottle_common::host::choice::Choice;

    use super::{Scope, choose};

    /// Host files of each kind.
    const FILE: &str = "Cargo.toml";
    const DIRECTORY: &str = "src";
    const LINK: &str = "/proc/self/exe";
    const DEVICE: &str = "/dev/null";

    /// What may become of a file without and with `--keep-config`.
    const IN: [&str; 2] = ["in"; 2];
    const OUT: [&str; 2] = ["out"; 2];
    const REWRITTEN: [&str; 2] = ["rewritten", "in"];
    const SECRET: [&str; 2] = ["secret", "in"];
    const AROUND: [&str; 2] = ["around", "in"];

    /// Asserts what becomes of each of `files`, which are of the same kind as the host's file
    /// `like`, in each of `parts`.
    #[track_caller]
    fn becomes(expected: [&str; 2], parts: &[Scope], like: &str, files: &[impl AsRef<str>]) {
        let kind = fs::symlink_metadata(like).unwrap().file_type();
        for file in files {
            let file = file.as_ref();
            for (number, part) in parts.iter().enumerate() {
                let found = [false, true].map(|keeps_all| {
                    match choose(*part, keeps_all)(Path::new(file), kind) {
                        Choice::Include => "in",
                        Choice::Unless(_) => "judged",
                        Choice::Rewrite(_) => "rewritten",
                        Choice::Exclude => "out",
                        Choice::Warn("it may lead around the gate; --keep-config keeps it") => {
                            "around"
                        }
                        Choice::Warn("it may hold secrets; --keep-config keeps it") => "secret",
                        Choice::Warn(other) => other,
                    }
                });
                assert_eq!(found, expected, "{file} in part {number}");
            }
        }
    }

    /// Asserts what becomes of files that belong to one worktree.
    #[track_caller]
    fn becomes_of_own(expected: [&str; 2], like: &str, files: &[impl AsRef<str>]) {
        becomes(expected, &[Scope::Whole, Scope::Own], like, files);
        becomes(OUT, &[Scope::Shared], like, files);
    }

    /// Asserts what becomes of files that all worktrees share.
    #[track_caller]
    fn becomes_of_shared(expected: [&str; 2], like: &str, files: &[impl AsRef<str>]) {
        becomes(expected, &[Scope::Whole, Scope::Shared], like, files);
        becomes(OUT, &[Scope::Own], like, files);
    }

    const ALL: &[Scope] = &[Scope::Whole, Scope::Shared, Scope::Own];

    #[test]
    fn a_worktrees_own_files_are_copied_with_it_alone() {
        let files = [
            "AUTO_MERGE",
            "BISECT_ANCESTORS_OK",
            "BISECT_EXPECTED_REV",
            "BISECT_FIRST_PARENT",
            "BISECT_NAMES",
            "BISECT_RUN",
            "BISECT_START",
            "BISECT_TERMS",
            "HEAD",
            "MERGE_AUTOSTASH",
            "MERGE_MODE",
            "MERGE_RR",
            "NOTES_MERGE_PARTIAL",
            "NOTES_MERGE_REF",
            "CHERRY_PICK_HEAD",
            "ORIG_HEAD",
            "config.worktree",
            "index",
            "info/sparse-checkout",
            "refs/bisect/bad",
            "refs/rewritten/token",
            "refs/worktree/a.pem",
        ];
        becomes_of_own(IN, FILE, &files);
        let hash = "a0".repeat(20);
        let named_by_hash = [
            format!("sharedindex.{hash}"),
            format!("NOTES_MERGE_WORKTREE/{hash}"),
            format!("NOTES_MERGE_WORKTREE/a0/{}", &hash[2..]),
        ];
        becomes_of_own(IN, FILE, &named_by_hash);
        becomes_of_own(IN, LINK, &["HEAD", "index"]);
        let with_urls = [
            "BISECT_LOG",
            "COMMIT_EDITMSG",
            "EDIT_DESCRIPTION",
            "rebase-apply/patch",
            "rebase-merge/message",
            "sequencer/todo",
            "TAG_EDITMSG",
            "FETCH_HEAD",
            "MERGE_MSG",
            "SQUASH_MSG",
            "logs/HEAD",
            "logs/refs/bisect/bad",
            "logs/refs/rewritten/a",
            "logs/refs/worktree/a",
        ];
        becomes_of_own(REWRITTEN, FILE, &with_urls);
        becomes_of_own(REWRITTEN, DIRECTORY, &["rebase-merge"]);
        becomes_of_own(IN, DIRECTORY, &["refs/bisect"]);
    }

    #[test]
    fn shared_files_are_copied_without_the_worktrees_own() {
        let files = [
            "config",
            "description",
            "git-daemon-export-ok",
            "info/attributes",
            "info/exclude",
            "info/grafts",
            "info/refs",
            "packed-refs",
            "refs/heads/token",
            "refs/tags/a.pem",
            "rr-cache/a/preimage",
            "rr-cache/a/thisimage.1",
            "shallow",
            "annex/index",
            "stgit/a",
            "svn/refs/a",
        ];
        becomes_of_shared(IN, FILE, &files);
        becomes_of_shared(IN, LINK, &["refs/heads/a"]);
        let hash = |length: usize| "a".repeat(length);
        let hashes = [
            format!("lfs/objects/ab/cd/{}", hash(64)),
            format!("lost-found/other/{}", hash(40)),
            format!("lost-found/commit/{}", hash(64)),
        ];
        becomes_of_shared(IN, FILE, &hashes);
        becomes_of_shared(REWRITTEN, FILE, &["logs/refs/heads/main", "svn/.metadata"]);
        becomes_of_shared(AROUND, FILE, &["branches/a", "remotes/origin"]);
        becomes_of_shared(AROUND, LINK, &["branches/a"]);
        let directories = [
            "branches",
            "remotes",
            "hooks",
            "lfs",
            "lfs/objects",
            "lfs/objects/ab",
            "refs/heads",
            "lost-found",
            "lost-found/other",
            "refs/heads/a.lock",
            "rr-cache/a",
            "svn",
        ];
        becomes_of_shared(IN, DIRECTORY, &directories);
        // These lead to shared files as well as to the worktree's own ones.
        becomes(IN, ALL, DIRECTORY, &["", "info", "refs"]);
        // Nothing of a directory itself is rewritten.
        becomes(REWRITTEN, ALL, DIRECTORY, &["logs", "logs/refs"]);
        becomes_of_shared(REWRITTEN, DIRECTORY, &["logs/refs/heads"]);
    }

    #[test]
    fn only_hooks_that_git_knows_are_copied() {
        let names = [
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
        let include = |path: &str| {
            let kind = fs::symlink_metadata(FILE).unwrap().file_type();
            matches!(super::hooks(Path::new(path), kind), Choice::Include)
        };
        for name in names {
            for end in ["", ".sample", ".legacy"] {
                let name = format!("{name}{end}");
                becomes_of_shared(IN, FILE, &[format!("hooks/{name}")]);
                assert!(include(&name), "{name}");
            }
        }
        assert!(include(""));
        for name in [
            "id_rsa",
            "pre-commit.bak",
            "pre-commit.sample.legacy",
            "pre-commit/a",
            "_",
        ] {
            becomes(SECRET, ALL, FILE, &[format!("hooks/{name}")]);
            assert!(!include(name), "{name}");
        }
    }

    #[test]
    fn what_git_does_not_know_stays_on_the_host() {
        let files = [
            "credentials",
            "git-crypt/keys/default",
            "id_ed25519",
            ".env.local",
            ".aws/config",
            "configuration",
            "indexed",
            "info/token",
            "lfs/credentials",
            "lfs/objects/ab/cd/key",
            "lost-found/a",
            "lost-found/other/key",
            "packed-refs/a",
            "rr-cache/preimage",
            "rr-cache/a/token",
            "rr-cache/a/preimage.key",
            "rr-cache/a/preimage/key",
            "HEAD/key",
            "A_HEAD/id_rsa",
            "API_TOKEN_HEAD",
            "secret_EDITMSG",
            "sharedindex.id_rsa",
            "info/sparse-checkout/key",
            "NOTES_MERGE_WORKTREE/key",
            "own",
        ];
        becomes(SECRET, ALL, FILE, &files);
        becomes(
            SECRET,
            ALL,
            DIRECTORY,
            &["HEAD", "A_EDITMSG", "index", "config/a"],
        );
        becomes(SECRET, ALL, LINK, &["own"]);
        becomes(SECRET, ALL, DIRECTORY, &["own", "a.lock", "info/a"]);
    }

    #[test]
    fn a_tools_file_with_the_name_of_a_secret_stays_on_the_host() {
        let names = [
            "authors",
            "my-config",
            "cookies.txt",
            "credentials",
            ".gnupg",
            "keys",
            ".netrc",
            ".npmrc",
            "passwords",
            ".pypirc",
            ".vault_pass",
            "hosts.yml",
            "service-account.json",
            ".ssh",
            ".pgpass",
            "secrets",
            "tokens",
            ".boto",
            ".dockercfg",
            ".htpasswd",
            ".s3cfg",
            "ssh_host_rsa",
            "wallet.dat",
            "a.asc",
            "a.bak",
            "a.cnf",
            "a.conf",
            "a.gpg",
            "a.jks",
            "a.kdbx",
            "a.ovpn",
            "a.p8",
            "a.ppk",
            "a.tfstate",
            "a.tfvars",
            "a.old",
            "a.orig",
            "a.p12",
            "a.pem",
            "a.pfx",
            "a.swp",
            "a~",
            "id_ed25519",
            ".env.local",
            "Cookies",
            "ID_RSA",
            "A.PEM",
        ];
        for name in names {
            let files = [format!("svn/{name}"), format!("stgit/{name}/a")];
            becomes(SECRET, ALL, FILE, &files);
        }
        for name in ["a_id_", "pem", "a.pem.a", "environment"] {
            becomes_of_shared(IN, FILE, &[format!("annex/{name}")]);
        }
    }

    #[test]
    fn what_means_nothing_in_the_guest_is_left_out() {
        let files = [
            "commondir",
            "fsmonitor--daemon/cookies/a",
            "gc.log",
            "gc.pid",
            "gitdir",
            "lfs/cache/a",
            "lfs/incomplete/a",
            "lfs/lockcache.db",
            "lfs/logs/a",
            "lfs/tmp/a",
            "locked",
            "modules/a/HEAD",
            "worktrees/a/HEAD",
            "index.lock",
            "refs/heads/a.lock",
        ];
        becomes(OUT, ALL, FILE, &files);
        becomes(OUT, ALL, LINK, &["index.lock"]);
        becomes(
            OUT,
            ALL,
            DEVICE,
            &["fsmonitor--daemon.ipc", "HEAD", "refs/heads/a"],
        );
        let directories = [
            "fsmonitor--daemon",
            "lfs/cache",
            "lfs/tmp",
            "modules",
            "worktrees",
        ];
        becomes(OUT, ALL, DIRECTORY, &directories);
    }

    /// Asserts what becomes of what is below `objects` in a repository, and in another repository
    /// that it borrows objects from.
    #[track_caller]
    fn becomes_of_objects(expected: &str, borrowed: &str, like: &str, files: &[impl AsRef<str>]) {
        for file in files {
            let file = file.as_ref();
            becomes([borrowed; 2], &[Scope::Objects], like, &[file]);
            becomes_of_shared([expected; 2], like, &[format!("objects/{file}")]);
        }
    }

    #[test]
    fn only_objects_and_packs_are_copied_of_objects() {
        let hash = |length: usize| "a0f9b".repeat(13)[..length].to_owned();
        let mut objects = vec![format!("aa/{}", hash(38)), format!("09/{}", hash(62))];
        for part in ["bitmap", "idx", "keep", "mtimes", "pack", "promisor", "rev"] {
            objects.push(format!("pack/pack-{}.{part}", hash(40)));
            objects.push(format!("pack/pack-{}.{part}", hash(64)));
        }
        becomes_of_objects("in", "in", FILE, &objects);
        becomes_of_objects("in", "in", DIRECTORY, &["", "aa", "pack"]);
        // What is written about all objects is wrong about the objects of two repositories.
        let indexes = [
            "pack/multi-pack-index".to_owned(),
            format!("pack/multi-pack-index-{}.bitmap", hash(40)),
            "info/packs".to_owned(),
            "info/commit-graph".to_owned(),
            "info/commit-graphs/commit-graph-chain".to_owned(),
            format!("info/commit-graphs/graph-{}.graph", hash(40)),
            format!("info/commit-graphs/graph-{}.graph", hash(64)),
        ];
        becomes_of_objects("in", "out", FILE, &indexes);
        becomes_of_objects("in", "out", DIRECTORY, &["info", "info/commit-graphs"]);

        let others = [
            "aa".to_owned(),
            "pack".to_owned(),
            "credentials".to_owned(),
            "aa/key".to_owned(),
            format!("aa/{}", hash(37)),
            format!("aa/{}", hash(39)),
            format!("aa/{}", hash(38).to_uppercase()),
            format!("aa/{}", hash(38).replace('b', "g")),
            format!("AA/{}", hash(38)),
            format!("a/{}", hash(38)),
            format!("aa/{}/a", hash(38)),
            "info/alternates".to_owned(),
            "info/http-alternates".to_owned(),
            format!("info/commit-graphs/graph-{}.graph", hash(39)),
            format!("info/commit-graphs/graph-{}", hash(40)),
            format!("info/commit-graphs/{}.graph", hash(40)),
            "pack/tmp_pack_a".to_owned(),
            "pack/pack-a.idx".to_owned(),
            "pack/.tmp-1-pack-a.pack".to_owned(),
            format!("pack/pack-{}.key", hash(40)),
            format!("pack/pack-{}", hash(40)),
            format!("pack/{}.idx", hash(40)),
            format!("pack/a/pack-{}.idx", hash(40)),
            format!("incoming-a/aa/{}", hash(38)),
        ];
        becomes_of_objects("out", "out", FILE, &others);
        becomes_of_objects(
            "out",
            "out",
            DIRECTORY,
            &["aaa", "gg", "incoming-a", "info/a"],
        );
        let object = format!("aa/{}", hash(38));
        for like in [DIRECTORY, LINK, DEVICE] {
            becomes_of_objects("out", "out", like, &[&object]);
        }
        // Somebody may believe that git reads these.
        let odd = "it has no name that git gives a pack";
        becomes_of_objects(odd, odd, FILE, &["pack/a.pack", "pack/pack-a.pack"]);
    }
}
