//! Which entries of a repository's configuration are copied into the guest, and which lead around
//! the gate.

use std::collections::HashSet;

use anyhow::Result;
use bottle_common::error::hinted;
use bottle_common::plan::wire::Identity;

use crate::config::{Entry, value};
use crate::credentials;

/// The entries that are copied: those that git needs to treat the same files in the same way. All
/// others are left out, even if they are harmless. [`Entry::is_of`] explains the patterns.
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

/// Exceptions to [`KEPT`]: entries that run programs of the host, lead around the gate, need keys
/// or contain secrets.
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
    "fetch.bundleuri",
    "gc.recentobjectshook",
    "lfs.customtransfer.*",
    "lfs.extension.*",
    "lfs.pushurl",
    "lfs.standalonetransferagent",
    "lfs.storage",
    "log.showsignature",
    "push.gpgsign",
    "push.pushoption",
    "receive.certnonceseed",
    "remote.lfspushurl",
    "remote.proxy",
    "remote.proxyauthmethod",
    "remote.pushoption",
    "remote.receivepack",
    "remote.serveroption",
    "remote.uploadpack",
    "remote.vcs",
    "tag.forcesignannotated",
    "tag.gpgsign",
];

/// Words in key names that mark a secret value.
const SECRETS: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "extraheader",
    "headers",
    "pass",
    "privatekey",
    "secret",
    "token",
];

/// Entries that say where git pushes to or fetches from. Each value is the name of a remote or an
/// address.
const DESTINATIONS: &[&str] = &[
    "branch.pushremote",
    "branch.remote",
    "remote.pushdefault",
    "remote.pushurl",
];

/// Entries that make git run a program or read a file when it talks to a remote.
const WAYS: &[&str] = &[
    "core.alternaterefscommand",
    "core.askpass",
    "core.fsmonitor",
    "core.gitproxy",
    "core.hookspath",
    "core.sshcommand",
    "fetch.bundleuri",
    "http.curloptresolve",
    "http.proxy",
    "include.*",
    "includeif.*",
];
/// The same for a single remote.
const WAYS_OF_REMOTES: &[&str] = &[
    "lfs.customtransfer.*",
    "lfs.pushurl",
    "lfs.standalonetransferagent",
    "lfs.url",
    "remote.lfspushurl",
    "remote.lfsurl",
    "remote.proxy",
    "remote.receivepack",
    "remote.uploadpack",
    "remote.vcs",
];

/// The repository extensions that Debian's git 2.39 knows.
const EXTENSIONS: &[&str] = &[
    "noop",
    "objectformat",
    "partialclone",
    "preciousobjects",
    "worktreeconfig",
];

/// What git finds out about the host's file system when it makes a repository. On the guest's,
/// which distinguishes upper and lower case, git would work with wrong names.
const OF_THE_FILE_SYSTEM: [&str; 2] = ["core.ignorecase", "core.precomposeunicode"];

/// The parts of the plan on which it depends whether an entry is copied.
pub struct Rules<'a> {
    /// The identity that the plan sets.
    pub identity: &'a Identity,
    /// All addresses that git sends to the gate.
    pub routes: HashSet<String>,
}

/// Whether `entry` says that the repository is a partial clone, or where it gets missing objects.
pub fn is_partial(entry: &Entry) -> bool {
    entry.is_of(&["extensions.partialclone", "remote.promisor"])
}

/// Whether `entry` makes git run a program or read a file that may lead around the gate. The
/// entries of single remotes count only if `knows_remotes`.
pub fn is_way(entry: &Entry, knows_remotes: bool) -> bool {
    entry.is_of(WAYS) || knows_remotes && entry.is_of(WAYS_OF_REMOTES)
}

/// Removes the extensions that have no effect after the repository is copied, and what git says of
/// the host's file system.
///
/// # Errors
///
/// If there is an extension that Debian's git does not know. `place` is the repository.
pub fn filter_extensions(entries: &mut Vec<Entry>, place: &str) -> Result<()> {
    entries.retain(|entry| {
        let is_files = entry.value.as_deref() == Some("files");
        let is_default = entry.key == "extensions.refstorage" && is_files;
        let key = entry.key.as_str();
        let is_hosts = key == "extensions.relativeworktrees" || OF_THE_FILE_SYSTEM.contains(&key);
        !is_default && !is_hosts
    });
    if value(entries, "core.repositoryformatversion").is_none_or(|version| version == "0") {
        return Ok(());
    }
    for entry in entries.iter() {
        let (section, _, name) = entry.parts();
        if section != "extensions" || EXTENSIONS.contains(&name) {
            continue;
        }
        let what = match (name, entry.value.as_deref()) {
            ("refstorage", Some("reftable")) => "a repository with reftable".to_owned(),
            _ => format!("a repository with {}", entry.key),
        };
        return Err(hinted(
            format!("{place} is {what}, which Debian's git 2.39 cannot read"),
            "git clone --ref-format=files OLD NEW makes one that it can, with NEW as spec.user_cwd",
        ));
    }
    Ok(())
}

/// Splits `entries` into those that are copied and the names of those that are left out. The file
/// is `is_further` if git reads it in addition to `config`.
pub fn without_secrets(
    entries: Vec<Entry>,
    rules: &Rules,
    is_further: bool,
) -> (Vec<Entry>, Vec<String>) {
    let mut kept: Vec<Entry> = Vec::new();
    let mut left_out: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut remotes_with_url = HashSet::new();
    for mut entry in entries {
        let held_credentials = remove_credentials(&mut entry);
        // git pushes to all addresses of a remote. Only the first address in the first file is
        // kept; another one is kept only if git sends it to the gate.
        let is_first_url = entry.is_of(&["remote.url"])
            && remotes_with_url.insert(entry.key.clone())
            && !is_further;
        if may_go_there(&entry, rules, is_first_url) && is_kept(&entry, rules.identity) {
            if held_credentials {
                left_out.push(format!("credentials in {}", entry.shown()));
            }
            kept.push(entry);
        } else if seen.insert(entry.shown()) {
            left_out.push(entry.shown());
        }
    }
    (kept, left_out)
}

/// Removes the credentials from the entry's value. Returns whether there were any.
fn remove_credentials(entry: &mut Entry) -> bool {
    let Some(value) = &entry.value else {
        return false;
    };
    let clean = credentials::removed_from_address(value.as_bytes());
    let clean = String::from_utf8_lossy(&clean).into_owned();
    let held_credentials = clean != *value;
    entry.value = Some(clean);
    held_credentials
}

/// Whether the entry contains no address, or one that git may use in the guest.
fn may_go_there(entry: &Entry, rules: &Rules, is_first_url: bool) -> bool {
    let Some(value) = &entry.value else {
        return true;
    };
    if entry.is_of(&["remote.url"]) {
        let is_helper = value.starts_with("ext::");
        return (is_first_url && !is_helper) || rules.routes.contains(value);
    }
    // A value without colon and slash is the name of a remote.
    if entry.is_of(DESTINATIONS) && value.contains([':', '/']) {
        return rules.routes.contains(value);
    }
    true
}

/// Whether the entry is copied, according to its name and to the form of its value.
fn is_kept(entry: &Entry, identity: &Identity) -> bool {
    let (section, _, name) = entry.parts();
    let is_identity = matches!(section, "user" | "author" | "committer");
    let is_set = (name == "name" && identity.name.is_some())
        || (name == "email" && identity.email.is_some());
    let is_secret = SECRETS.iter().any(|word| name.contains(word)) || has_credentials(&entry.key);
    let stays = entry.is_of(LEFT_OUT)
        || (is_identity && is_set)
        || is_not_utf8(&entry.key)
        || entry.value.as_deref().is_some_and(is_not_utf8)
        || is_secret;
    entry.is_of(KEPT) && !stays
}

/// Whether the text was not UTF-8 before it was read. It would not be the same in the guest.
fn is_not_utf8(text: &str) -> bool {
    text.contains('\u{fffd}')
}

fn has_credentials(key: &str) -> bool {
    *credentials::removed_from_address(key.as_bytes()) != *key.as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bottle_common::plan::wire::Identity;

    use super::{Rules, filter_extensions, is_partial, is_way, without_secrets};
    use crate::config::{Entry, parse};

    fn entries(lines: &[&str]) -> Vec<Entry> {
        let list = lines.iter().map(|line| line.replacen('=', "\n", 1) + "\0");
        parse(list.collect::<String>().as_bytes())
    }

    #[test]
    fn extensions_that_debian_does_not_know_are_refused() {
        for (lines, result) in [
            (
                &["core.repositoryformatversion=0", "extensions.other=1"][..],
                Ok(2),
            ),
            (&["extensions.other=1"], Ok(1)),
            (
                &[
                    "core.ignorecase=true",
                    "core.precomposeunicode=true",
                    "core.bare=false",
                ],
                Ok(1),
            ),
            (
                &[
                    "core.repositoryformatversion=1",
                    "extensions.objectformat=sha256",
                ],
                Ok(2),
            ),
            (
                &[
                    "core.repositoryformatversion=1",
                    "extensions.refstorage=files",
                ],
                Ok(1),
            ),
            (
                &[
                    "core.repositoryformatversion=1",
                    "extensions.relativeworktrees=true",
                ],
                Ok(1),
            ),
            (
                &[
                    "core.repositoryformatversion=1",
                    "extensions.refstorage=reftable",
                ],
                Err("p is a repository with reftable, which Debian's git 2.39 cannot read"),
            ),
            (
                &["core.repositoryformatversion=1", "extensions.other=1"],
                Err("p is a repository with extensions.other, which Debian's git 2.39 cannot read"),
            ),
        ] {
            let mut entries = entries(lines);
            let found = filter_extensions(&mut entries, "p").map(|()| entries.len());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found, result.map_err(str::to_owned), "{lines:?}");
        }
        for (line, partial) in [
            ("extensions.partialclone=origin", true),
            ("remote.origin.promisor=true", true),
            ("remote.origin.url=x", false),
        ] {
            assert_eq!(is_partial(&entries(&[line])[0]), partial);
        }
    }

    #[track_caller]
    fn splits(lines: &[&str], is_further: bool, kept: &[&str], left_out: &[&str]) {
        let name = "Ada".to_owned().try_into().ok();
        let identity = Identity { name, email: None };
        let routes = HashSet::from(["git@host:gated".to_owned()]);
        let rules = Rules {
            identity: &identity,
            routes,
        };
        let found = without_secrets(entries(lines), &rules, is_further);
        let left_out = left_out.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, (entries(kept), left_out));
    }

    #[test]
    fn only_harmless_entries_are_copied() {
        for line in [
            "core.bare=false",
            "branch.main.merge=refs/heads/main",
            "core.flag",
            "user.email=a@example.com",
            "diff.x.textconv=y",
            "submodule.a.active=true",
        ] {
            splits(&[line], false, &[line], &[]);
        }
        for line in [
            "alias.x=!sh",
            "include.path=/x",
            "credential.helper=store",
            "http.proxy=x",
            "user.signingkey=x",
            "protocol.allow=always",
            "url.x.insteadof=y",
            "corex.a=1",
            "user.name=Eve",
            "author.name=Eve",
            "committer.name=Eve",
            "remote.a.x-token=1",
            "lfs.extraheader=x",
            "core.apikey=1",
            "core.password=1",
            "core.mypasswd=1",
            "core.secretx=1",
            "core.oauth=1",
            "core.credentials=1",
            "core.a=\u{fffd}",
            "core.\u{fffd}=1",
        ] {
            splits(&[line], false, &[], &[line.split('=').next().unwrap()]);
        }
    }

    #[test]
    fn credentials_are_removed_and_addresses_in_keys_are_not_shown() {
        splits(
            &["remote.a.url=https://u:p@host/r?token=x"],
            false,
            &["remote.a.url=https://host/r"],
            &["credentials in remote.a.url"],
        );
        splits(
            &["lfs.https://t0ken@host.locksverify=1"],
            false,
            &[],
            &["lfs.*.locksverify"],
        );
    }

    #[test]
    fn a_remote_keeps_its_first_address_and_those_of_the_gate() {
        let first = "remote.a.url=git@host:x";
        splits(&[first], false, &[first], &[]);
        splits(
            &[first, "remote.a.url=git@host:y"],
            false,
            &[first],
            &["remote.a.url"],
        );
        let gated = "remote.a.url=git@host:gated";
        splits(&[first, gated], false, &[first, gated], &[]);
        splits(
            &[first, "remote.b.url=y"],
            false,
            &[first, "remote.b.url=y"],
            &[],
        );
        splits(&[first], true, &[], &["remote.a.url"]);
        splits(&[gated], true, &[gated], &[]);
        splits(
            &["remote.a.url=ext::sh -c x"],
            false,
            &[],
            &["remote.a.url"],
        );
    }

    #[test]
    fn a_push_goes_to_a_named_remote_or_to_the_gate() {
        for key in [
            "branch.a.pushremote",
            "branch.a.remote",
            "remote.pushdefault",
        ] {
            let name = format!("{key}=origin");
            splits(&[&name], false, &[&name], &[]);
        }
        for key in [
            "branch.a.pushremote",
            "branch.a.remote",
            "remote.pushdefault",
            "remote.a.pushurl",
        ] {
            let gated = format!("{key}=git@host:gated");
            splits(&[&gated], false, &[&gated], &[]);
            for address in ["git@host:other", "../other", "https://host/other"] {
                splits(&[&format!("{key}={address}")], false, &[], &[key]);
            }
        }
    }

    #[test]
    fn every_class_of_harmless_entries_is_copied() {
        let lines = [
            "add.ignoreerrors=true",
            "advice.detachedhead=false",
            "am.keepcr=true",
            "apply.whitespace=fix",
            "author.email=a@example.com",
            "blame.date=iso",
            "branch.main.merge=refs/heads/main",
            "checkout.defaultremote=origin",
            "clean.requireforce=false",
            "color.ui=auto",
            "column.ui=auto",
            "commit.verbose=true",
            "committer.email=a@example.com",
            "core.autocrlf=input",
            "diff.algorithm=histogram",
            "extensions.objectformat=sha256",
            "feature.manyfiles=true",
            "fetch.prune=true",
            "filter.lfs.clean=git-lfs clean -- %f",
            "format.pretty=oneline",
            "fsck.zeropaddedfilemode=ignore",
            "gc.auto=0",
            "grep.linenumber=true",
            "i18n.commitencoding=utf-8",
            "index.version=4",
            "lfs.locksverify=false",
            "log.date=iso",
            "mailmap.file=.mailmap",
            "merge.ff=only",
            "notes.displayref=refs/notes/*",
            "pack.threads=1",
            "pull.rebase=true",
            "push.default=simple",
            "rebase.autosquash=true",
            "receive.denydeletes=true",
            "remote.origin.fetch=+refs/heads/*:refs/remotes/origin/*",
            "repack.writebitmaps=true",
            "rerere.enabled=true",
            "revert.reference=true",
            "sparse.expectfilesoutsideofpatterns=true",
            "splitindex.maxpercentchange=20",
            "stash.showpatch=true",
            "status.short=true",
            "submodule.a.active=true",
            "tag.sort=version:refname",
            "transfer.fsckobjects=true",
            "user.email=a@example.com",
            "user.useconfigonly=true",
            "versionsort.suffix=-rc",
            "worktree.guessremote=true",
        ];
        splits(&lines, false, &lines, &[]);
        splits(&lines, true, &lines, &[]);
    }

    #[test]
    fn every_entry_that_stays_on_the_host_is_named_once() {
        for line in [
            "commit.gpgsign=true",
            "commit.template=/x",
            "core.alternaterefscommand=x",
            "core.askpass=x",
            "core.editor=x",
            "core.fsmonitor=x",
            "core.gitproxy=x",
            "core.hookspath=/x",
            "core.pager=x",
            "core.sshcommand=x",
            "gc.recentobjectshook=x",
            "lfs.customtransfer.a.path=x",
            "lfs.extension.a.clean=x",
            "lfs.pushurl=x",
            "lfs.standalonetransferagent=x",
            "lfs.storage=x",
            "log.showsignature=true",
            "push.gpgsign=true",
            "push.pushoption=x",
            "receive.certnonceseed=x",
            "remote.a.lfspushurl=x",
            "remote.a.proxy=x",
            "remote.a.proxyauthmethod=x",
            "remote.a.pushoption=x",
            "remote.a.receivepack=x",
            "remote.a.serveroption=x",
            "remote.a.uploadpack=x",
            "remote.a.vcs=x",
            "tag.forcesignannotated=true",
            "tag.gpgsign=true",
        ] {
            let key = line.split('=').next().unwrap();
            splits(&[line, line], false, &[], &[key]);
        }
    }

    #[test]
    fn the_plans_identity_replaces_the_repositorys() {
        let lines = [
            "user.name=Eve",
            "user.email=e@e",
            "author.name=Eve",
            "author.email=e@e",
            "committer.name=Eve",
            "committer.email=e@e",
            "branch.a.name=x",
        ];
        let text = |text: &str| text.to_owned().try_into().ok();
        for (name, email, left_out) in [
            (None, None, &[][..]),
            (
                text("Ada"),
                None,
                &["user.name", "author.name", "committer.name"],
            ),
            (
                None,
                text("a@a"),
                &["user.email", "author.email", "committer.email"],
            ),
        ] {
            let identity = Identity { name, email };
            let rules = Rules {
                identity: &identity,
                routes: HashSet::new(),
            };
            let (kept, out) = without_secrets(entries(&lines), &rules, false);
            assert_eq!(out, left_out);
            assert_eq!(kept.len() + out.len(), lines.len());
        }
    }

    #[test]
    fn extensions_that_debian_knows_are_kept() {
        for name in [
            "noop",
            "objectformat",
            "partialclone",
            "preciousobjects",
            "worktreeconfig",
        ] {
            let extension = format!("extensions.{name}=x");
            let mut entries = entries(&["core.repositoryformatversion=1", &extension]);
            let before = entries.clone();
            filter_extensions(&mut entries, "p").unwrap();
            assert_eq!(entries, before);
        }
    }

    #[test]
    fn every_key_that_may_lead_around_the_gate_is_found() {
        for (keys, expected) in [
            // Without and with the host's repository, which says what its remotes should be.
            (
                &[
                    "core.alternaterefscommand",
                    "core.askpass",
                    "core.fsmonitor",
                    "core.gitproxy",
                    "core.hookspath",
                    "core.sshcommand",
                    "http.proxy",
                    "http.https://host/.proxy",
                    "include.path",
                    "includeif.gitdir:/x.path",
                ][..],
                [true, true],
            ),
            (
                &[
                    "lfs.customtransfer.a.path",
                    "lfs.pushurl",
                    "lfs.standalonetransferagent",
                    "lfs.https://host/.standalonetransferagent",
                    "lfs.url",
                    "remote.a.lfspushurl",
                    "remote.a.lfsurl",
                    "remote.a.proxy",
                    "remote.a.receivepack",
                    "remote.a.uploadpack",
                    "remote.a.vcs",
                ],
                [false, true],
            ),
            (
                &[
                    "core.bare",
                    "core.editor",
                    "core.pager",
                    "http.sslverify",
                    "includes.path",
                    "lfs.customtransfers",
                    "lfs.locksverify",
                    "remote.a.fetch",
                    "remote.a.url",
                    "user.name",
                ],
                [false, false],
            ),
        ] {
            for key in keys {
                let entry = &entries(&[&format!("{key}=x")])[0];
                let found = [false, true].map(|knows_remotes| is_way(entry, knows_remotes));
                assert_eq!(found, expected, "{key}");
            }
        }
    }
}
