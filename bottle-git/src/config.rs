//! A repository's configuration: what of it goes into the guest, and how it is written there.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use anyhow::Result;
use bottle_common::failure::hinted;
use bottle_common::plan::Identity;

use crate::layout::address_without_credentials;

/// What goes along: what git needs to make the same of the same files. All else stays behind, be it harmless or not.
const KEPT: &[&str] = &[
    "add.*",
    "advice.*",
    "am.*",
    "apply.*",
    "author.*",
    "blame.*",
    "branch.*",
    "checkout.*",
    "clean.*",
    "color.*",
    "column.*",
    "commit.*",
    "committer.*",
    "core.*",
    "diff.*",
    "extensions.*",
    "feature.*",
    "fetch.*",
    "filter.*",
    "format.*",
    "fsck.*",
    "gc.*",
    "grep.*",
    "i18n.*",
    "index.*",
    "lfs.*",
    "log.*",
    "mailmap.*",
    "merge.*",
    "notes.*",
    "pack.*",
    "pull.*",
    "push.*",
    "rebase.*",
    "receive.*",
    "remote.*",
    "repack.*",
    "rerere.*",
    "revert.*",
    "sparse.*",
    "splitindex.*",
    "stash.*",
    "status.*",
    "submodule.*",
    "tag.*",
    "transfer.*",
    "user.email",
    "user.name",
    "user.useconfigonly",
    "versionsort.*",
    "worktree.*",
];

/// What stays behind of that: what runs the host's programs, shows ways around the gate, needs keys or holds secrets.
const LEFT_OUT: &[&str] = &[
    "commit.gpgsign",
    "commit.template",
    "core.alternaterefscommand",
    "core.askpass",
    "core.editor",
    "core.fsmonitor",
    "core.gitproxy",
    "core.hookspath",
    "core.pager",
    "core.sshcommand",
    "gc.recentobjectshook",
    "lfs.customtransfer.*",
    "lfs.extension.*",
    "lfs.pushurl",
    "lfs.standalonetransferagent",
    "lfs.storage",
    "log.showsignature",
    "push.gpgsign",
    "receive.certnonceseed",
    "remote.lfspushurl",
    "remote.proxy",
    "remote.proxyauthmethod",
    "remote.receivepack",
    "remote.serveroption",
    "remote.uploadpack",
    "remote.vcs",
    "tag.forcesignannotated",
    "tag.gpgsign",
];

/// Words of keys whose values are nobody else's business.
const SECRETS: &[&str] = &["apikey", "credential", "extraheader", "oauth", "passwd", "password", "secret", "token"];

/// Where git may be told to push, or to fetch: by the name of a remote, or by an address.
const WAYS: &[&str] = &["branch.pushremote", "branch.remote", "remote.pushdefault", "remote.pushurl"];

/// The extensions that git 2.39, Debian's, knows.
const EXTENSIONS: &[&str] = &["noop", "objectformat", "partialclone", "preciousobjects", "worktreeconfig"];

/// A variable and its value, as git lists them; a boolean may have none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// `section.variable` or `section.subsection.variable`
    pub key: String,
    pub value: Option<String>,
}

/// What decides on an entry beside its name.
pub struct Rules<'a> {
    /// The identity that the plan sets.
    pub identity: &'a Identity,
    /// Every address that leads to the gate.
    pub routes: HashSet<String>,
}

impl Entry {
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let (section, rest) = self.key.split_once('.').unwrap_or((&self.key, ""));
        match rest.rsplit_once('.') {
            Some((subsection, name)) => (section, Some(subsection), name),
            None => (section, None, rest),
        }
    }

    /// Whether it is of one of `patterns`: `section.variable` with any subsection, or what begins like it with a `*`.
    fn is_of(&self, patterns: &[&str]) -> bool {
        let (section, _, name) = self.parts();
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => self.key.starts_with(start),
            None => pattern.split_once('.') == Some((section, name)),
        })
    }

    /// The key as it may be shown: an address in it may hold a token.
    fn shown(&self) -> String {
        match self.parts() {
            (section, Some(subsection), name) if subsection.contains(['@', ':']) => format!("{section}.*.{name}"),
            _ => self.key.clone(),
        }
    }
}

/// Reads what `git config --list -z` prints.
pub fn parse(list: &[u8]) -> Vec<Entry> {
    let entries = list.split(|&byte| byte == 0).filter(|entry| !entry.is_empty());
    let text = |entry: &[u8]| String::from_utf8_lossy(entry).into_owned();
    let entry = |entry: &[u8]| match text(entry).split_once('\n') {
        Some((key, value)) => Entry { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Entry { key: text(entry), value: None },
    };
    entries.map(entry).collect()
}

/// The value that counts: the last one.
pub fn value<'a>(entries: &'a [Entry], key: &str) -> Option<&'a str> {
    entries.iter().rev().find(|entry| entry.key == key).and_then(|entry| entry.value.as_deref())
}

/// Whether a boolean is true.
pub fn is_true(entries: &[Entry], key: &str) -> bool {
    entries.iter().rev().find(|entry| entry.key == key).is_some_and(|entry| {
        let value = entry.value.as_ref().map(|value| value.to_ascii_lowercase());
        value.is_none_or(|value| matches!(&*value, "true" | "yes" | "on" | "1"))
    })
}

/// Whether it says that objects are missing, and where to get them.
pub fn is_partial(entry: &Entry) -> bool {
    entry.is_of(&["extensions.partialclone", "remote.promisor"])
}

/// Takes out the extensions that say nothing once the repository is copied, and refuses those that Debian's git does not
/// know.
pub fn extensions(entries: &mut Vec<Entry>, place: &str) -> Result<()> {
    entries.retain(|entry| {
        let is_default = entry.key == "extensions.refstorage" && entry.value.as_deref() == Some("files");
        !is_default && entry.key != "extensions.relativeworktrees"
    });
    if value(entries, "core.repositoryformatversion").is_none_or(|version| version == "0") {
        return Ok(());
    }
    for entry in entries.iter() {
        let (section, _, name) = entry.parts();
        if section == "extensions" && !EXTENSIONS.contains(&name) {
            let what = match (name, entry.value.as_deref()) {
                ("refstorage", Some("reftable")) => "a repository with reftable".to_owned(),
                _ => format!("a repository with {}", entry.key),
            };
            return Err(hinted(
                format!("{place} is {what}, which Debian's git 2.39 cannot read"),
                "git clone --ref-format=files OLD NEW makes one that it can, with NEW as spec.user_cwd",
            ));
        }
    }
    Ok(())
}

/// What of `entries` goes along, and the names of what stays behind. `is_further` is a file that adds to another one.
pub fn without_secrets(entries: Vec<Entry>, rules: &Rules, is_further: bool) -> (Vec<Entry>, Vec<String>) {
    let (mut kept, mut left_out): (Vec<Entry>, Vec<String>) = (Vec::new(), Vec::new());
    let mut urls = HashMap::<String, u32>::new();
    for mut entry in entries {
        let clean = entry
            .value
            .as_ref()
            .map(|value| String::from_utf8_lossy(&address_without_credentials(value.as_bytes())).into_owned());
        let held_some = clean != entry.value;
        entry.value = clean;
        let goes = match entry.value.as_deref() {
            // A second address of a remote is pushed to as well.
            Some(value) if entry.is_of(&["remote.url"]) => {
                let number = urls.entry(entry.key.clone()).or_default();
                *number += 1;
                (*number == 1 && !is_further && !value.starts_with("ext::")) || rules.routes.contains(value)
            }
            Some(value) if entry.is_of(WAYS) && value.contains([':', '/']) => rules.routes.contains(value),
            _ => true,
        };
        if goes && is_kept(&entry, rules.identity) {
            if held_some {
                left_out.push(format!("credentials in {}", entry.shown()));
            }
            kept.push(entry);
        } else if !left_out.contains(&entry.shown()) {
            left_out.push(entry.shown());
        }
    }
    (kept, left_out)
}

fn is_kept(entry: &Entry, identity: &Identity) -> bool {
    let (section, _, name) = entry.parts();
    let is_whose = matches!(section, "user" | "author" | "committer");
    let is_set = (name == "name" && identity.name.is_some()) || (name == "email" && identity.email.is_some());
    // What is not UTF-8 would not arrive as it is.
    let is_odd = entry.key.contains('\u{fffd}') || entry.value.as_ref().is_some_and(|value| value.contains('\u{fffd}'));
    let is_secret = SECRETS.iter().any(|word| name.contains(word))
        || *address_without_credentials(entry.key.as_bytes()) != *entry.key.as_bytes();
    let stays = entry.is_of(LEFT_OUT) || (is_whose && is_set) || is_odd || is_secret;
    entry.is_of(KEPT) && !stays
}

/// `entries` as a file that git reads the same of.
pub fn render(entries: &[Entry]) -> String {
    let (mut config, mut last) = (String::new(), None);
    for entry in entries {
        let (section, subsection, name) = entry.parts();
        if last != Some((section, subsection)) {
            last = Some((section, subsection));
            let _ = match subsection {
                Some(subsection) => {
                    let subsection = subsection.replace('\\', "\\\\").replace('"', "\\\"");
                    writeln!(config, "[{section} \"{subsection}\"]")
                }
                None => writeln!(config, "[{section}]"),
            };
        }
        let _ = match &entry.value {
            Some(value) => writeln!(config, "\t{name} = {}", quoted(value)),
            None => writeln!(config, "\t{name}"),
        };
    }
    config
}

/// `value` as git-config(1) wants it: bare where that is the same, else in double quotes.
fn quoted(value: &str) -> String {
    let is_odd = |c: char| c.is_control() || matches!(c, '"' | '\\' | '#' | ';');
    if !value.contains(is_odd) && value.trim() == value && !value.contains("  ") {
        return value.to_owned();
    }
    let escapes = [("\\", "\\\\"), ("\"", "\\\""), ("\n", "\\n"), ("\t", "\\t"), ("\u{8}", "\\b")];
    let text = escapes.iter().fold(value.to_owned(), |text, (from, to)| text.replace(from, to));
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_what_git_would_read_otherwise() {
        assert_eq!(quoted("ssh://git@host/repo.git"), "ssh://git@host/repo.git");
        assert_eq!(quoted("git@host:a b.git"), "git@host:a b.git");
        assert_eq!(quoted(r#"git@host:a;b#c"d\e"#), r#""git@host:a;b#c\"d\\e""#);
        assert_eq!(quoted("git@host:a "), "\"git@host:a \"");
        assert_eq!(quoted("a\nb\tc"), r#""a\nb\tc""#);
    }
}
