//! Which files of a repository go along, by gitrepository-layout(5).

use std::borrow::Cow;
use std::fs::FileType;
use std::path::Path;

use bottle_common::archive::Choice;

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
const OWN: &[&str] = &["config.worktree", "index", "rebase-apply", "rebase-merge", "sequencer"];
/// What each worktree has for itself of what is shared otherwise.
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
/// What means nothing in another place, or comes by a way of its own.
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
const WITH_URLS: &[&str] = &["COMMIT_EDITMSG", "FETCH_HEAD", "MERGE_MSG", "SQUASH_MSG", "logs"];
/// Remotes as git once wrote them down, each in a file.
const OLD_REMOTES: &[&str] = &["branches", "remotes"];

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

/// What becomes of each file of `part`; with `keeps_all`, also what may be a secret goes along, all as it is.
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
    let Some(top) = path.iter().next().map(|name| name.to_string_lossy()) else { return Choice::Whole };
    if is_passing(path, kind) || top == "objects" && is_half(path) || is_in(OUT, path) {
        return Choice::Out;
    }
    if is_in(OLD_REMOTES, path) && !kind.is_dir() && !keeps_all {
        return Choice::LeftOut("it may lead around the gate; --keep-config keeps it");
    }
    let is_named = || path.iter().any(|name| may_be_secret(&name.to_string_lossy()));
    let is_state = top.starts_with("sharedindex.") || top.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let is_state = is_state && !is_named();
    let is_own = is_state || is_in(OWN, path) || is_in(OWN_BELOW, path);
    let is_shared = SHARED.contains(&&*top) && !is_in(OWN_BELOW, path);
    let is_way_to_own = || OWN_BELOW.iter().any(|own| Path::new(own).starts_with(path));
    match part {
        Part::Own if is_own || kind.is_dir() && is_way_to_own() => {}
        // git looks for its hooks, exclusions and so on among what is shared.
        Part::Own if is_shared => return Choice::Out,
        Part::Shared if is_own => return Choice::Out,
        _ if keeps_all || is_own => {}
        _ if is_shared && !(matches!(&*top, "hooks" | "info") && is_named()) => {}
        _ if !is_named() => {}
        _ => return Choice::LeftOut("it may hold secrets; --keep-config keeps it"),
    }
    if is_in(WITH_URLS, path) && !keeps_all { Choice::Lines(without_credentials) } else { Choice::Whole }
}

/// Whether a file that is none of git's own has the name of a copy of its configuration, or of a secret.
fn may_be_secret(name: &str) -> bool {
    const PARTS: &[&str] =
        &["auth", "config", "cookie", "cred", "gnupg", "netrc", "npmrc", "pgpass", "passw", "secret", "token"];
    const ENDS: &[&str] = &[".bak", ".env", ".key", ".old", ".orig", ".p12", ".pem", ".swp", "~"];
    let name = name.to_lowercase();
    name.starts_with("id_")
        || name == "key"
        || PARTS.iter().any(|part| name.contains(part))
        || ENDS.iter().any(|end| name.ends_with(end))
}

fn objects(path: &Path, kind: FileType) -> Choice {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    // An index over one repository's packs is none over two's; a commit-graph's parts may be another's base.
    let is_index = name.starts_with(b"multi-pack-index") || name.starts_with(b"commit-graph-chain");
    let is_info = path.starts_with("info") && !Path::new("info/commit-graphs").starts_with(path);
    let is_info = is_info && !path.starts_with("info/commit-graphs");
    if is_index || is_info || is_passing(path, kind) || is_half(path) { Choice::Out } else { Choice::Whole }
}

/// Whether it is there only while a git is at work, or because one was killed: locks, sockets, FIFOs.
fn is_passing(path: &Path, kind: FileType) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !kind.is_dir() && (name.ends_with(b".lock") || !kind.is_file() && !kind.is_symlink())
}

/// Whether it is an object or a pack that was never finished.
fn is_half(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"tmp_") || name.starts_with(b"incoming-")
}

fn is_in(list: &[&str], path: &Path) -> bool {
    list.iter().any(|start| path.starts_with(start))
}

/// `text` without the passwords and tokens that stand before the hosts of its URLs; of ssh the user stays.
pub fn without_credentials(text: &[u8]) -> Cow<'_, [u8]> {
    clean(text, u8::is_ascii_whitespace, false)
}

/// The same of a value that may be an address as a whole, whatever its characters; what follows a `?` goes, too.
pub fn address_without_credentials(text: &[u8]) -> Cow<'_, [u8]> {
    let is_scheme =
        |start: &[u8]| !start.is_empty() && start.iter().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(c));
    let is_address =
        text.windows(MARK.len()).position(|window| window == MARK).is_some_and(|end| is_scheme(&text[..end]));
    clean(text, if is_address { |_| false } else { u8::is_ascii_whitespace }, true)
}

const MARK: &[u8] = b"://";

fn clean(text: &[u8], is_end: fn(&u8) -> bool, drops_query: bool) -> Cow<'_, [u8]> {
    let (mut clean, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.windows(MARK.len()).position(|window| window == MARK) {
        let (before, url) = rest.split_at(start + MARK.len());
        let (url, behind) = url.split_at(url.iter().position(is_end).unwrap_or(url.len()));
        let (authority, path) = url.split_at(url.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(url.len()));
        let scheme = before.to_ascii_lowercase();
        clean.extend_from_slice(before);
        match authority.iter().rposition(|&byte| byte == b'@') {
            // The user is who one is; what follows a colon is a secret.
            Some(at) if scheme.ends_with(b"ssh://") => {
                let user = authority[..at].split(|&byte| byte == b':').next().unwrap_or_default();
                clean.extend([user, &authority[at..]].concat());
            }
            Some(at) => clean.extend_from_slice(&authority[at + 1..]),
            None => clean.extend_from_slice(authority),
        }
        let is_web = scheme.ends_with(b"http://") || scheme.ends_with(b"https://");
        let query = path.iter().position(|&byte| byte == b'?').filter(|_| is_web && drops_query);
        clean.extend_from_slice(&path[..query.unwrap_or(path.len())]);
        rest = behind;
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::{address_without_credentials, without_credentials};

    #[test]
    fn credentials_in_urls_go_and_all_else_stays() {
        for (text, clean) in [
            ("https://ada:s3cret@host/repo.git", "https://host/repo.git"),
            ("https://t0ken@host:8443/a@b?id=1", "https://host:8443/a@b?id=1"),
            ("see <https://a:b'c\"d@host/p>", "see <https://host/p>"),
            ("ssh://git@host:22/repo.git", "ssh://git@host:22/repo.git"),
            ("ssh://git:s3cret@host/repo.git", "ssh://git@host/repo.git"),
            ("git@host:repo.git", "git@host:repo.git"),
            (
                "Ada <ada@host> 0 +0000\tpull https://a:b@c/d e://f@g:\n",
                "Ada <ada@host> 0 +0000\tpull https://c/d e://g:\n",
            ),
            ("https://ada:p@ss@host", "https://host"),
            ("", ""),
            ("://", "://"),
            ("https://\u{fc}:x@h\u{fc}st/p", "https://h\u{fc}st/p"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_credentials(text.as_bytes())), clean, "{text}");
        }
        for (text, clean) in [
            ("https://ada:a b'c\"d<e>`f@host/r?token=x", "https://host/r"),
            ("HTTPS://t0ken@host/?t0ken", "HTTPS://host/"),
            ("see https://a:b@host/r?x and more", "see https://host/r and more"),
        ] {
            assert_eq!(String::from_utf8_lossy(&address_without_credentials(text.as_bytes())), clean, "{text}");
        }
    }
}
