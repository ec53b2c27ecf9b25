//! Fuzzing of what a project brings: `scripts/check --fuzz` runs each property for a minute.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use bottle_common::host::choice::Choice;
use bottle_common::plan::wire::Identity;
use harness::mutations::{config, mutated, mutated_text};
use proptest::prelude::*;

use crate::config::render;
use crate::config_filter::{Rules, without_secrets};
use crate::host_git::{self, GitAnswer};
use crate::layout::{Scope, choose};

/// Sections that lead around the gate, run a program, or hold a secret. None of them goes along.
const BAD: &[&str] = &["alias", "credential", "http", "include", "includeif", "url"];

proptest! {
    #![proptest_config(config(60))]

    /// git reads what is written of a configuration as what was decided on.
    #[test]
    fn git_config(text in mutated(
        vec![
            b"[core]\n\tbare = false\n\tsshCommand = x\n[remote \"origin\"]\n\turl = https://u:p@h/p\n\
              \tfetch = +refs/heads/*:refs/remotes/origin/*\n\tpushurl = x\n[branch \"main\"]\n\
              \tremote = origin\n\tmerge = refs/heads/main\n\tdescription = \"a \\\"b\\\" \\\\ # c\"\n".to_vec(),
            b"[include]\n\tpath = /etc/passwd\n[url \"a\"]\n\tinsteadOf = b\n[http]\n\textraHeader = x\n\
              [credential]\n\thelper = !x\n[alias]\n\tx = !y\n[filter \"f\"]\n\tclean = x\n\
              [submodule \"s\"]\n\turl = ../s\n\tactive\n".to_vec(),
        ],
        &[
            "[", "]", "\"", "\\", "=", "#", ";", "\n", "\t", " ", "\r\n", "[include]", "[http]", "[url \"x\"]",
            "[core]", "sshCommand = x", "hooksPath = /", "insteadOf = git://", "\u{feff}", "[remote \"a b\"]",
        ],
    )) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config"), text).unwrap();
        let Ok(Some(GitAnswer::Yes(entries))) = host_git::entries(directory.path(), "config") else {
            return Ok(());
        };
        let identity = Identity::default();
        let rules = Rules { identity: &identity, routes: HashSet::new() };
        let (kept, _) = without_secrets(entries, &rules, false);
        for entry in &kept {
            let section = entry.key.split('.').next().unwrap();
            prop_assert!(!BAD.contains(&section), "{}", entry.key);
            let value = entry.value.as_deref().unwrap_or_default();
            prop_assert!(!value.contains("://u:p@"), "{value}");
        }
        fs::write(directory.path().join("kept"), render(&kept)).unwrap();
        let Ok(Some(GitAnswer::Yes(read))) = host_git::entries(directory.path(), "kept") else {
            panic!("git cannot read {}", render(&kept));
        };
        prop_assert_eq!(read, kept);
    }

    /// Of `objects` only what has an object's name goes along, and no name of a secret does.
    #[test]
    fn layout(path in mutated_text(
        &[
            "objects/ab/0123456789abcdef0123456789abcdef012345", "objects/pack/pack-1.pack", "config",
            "refs/heads/main", "modules/a/config", "git-crypt/keys/default", "lfs/objects/ab/cd", "hooks/pre-push",
        ],
        &["/", "objects/", "credentials", ".env", "api_key", ".pem", "modules/", ".lock", "..", "info/"],
    )) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let kind = directory.path().join("file").metadata().unwrap().file_type();
        // A walk through a directory finds no path with two slashes.
        let path: &Path = &Path::new(&path).iter().collect::<PathBuf>();
        for part in [Scope::Whole, Scope::Shared, Scope::Own] {
            let goes = matches!(choose(part, false)(path, kind), Choice::Include | Choice::Rewrite(_));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if goes && path.starts_with("objects") {
                let below = path.strip_prefix("objects").unwrap().to_string_lossy().into_owned();
                let is_object = below.split_once('/').is_some_and(|(start, rest)| {
                    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
                    (start.len() == 2 && is_hex(start) && is_hex(rest) && rest.len() >= 38)
                        || start == "pack" && rest.starts_with("pack-")
                        || start == "pack" && rest.starts_with("multi-pack-index")
                        || start == "info" && (rest == "packs" || rest.starts_with("commit-graph"))
                });
                prop_assert!(is_object, "{}", path.display());
            }
            if goes && !path.starts_with("refs") && !path.starts_with("logs") {
                for bad in [".env", "api_key", ".pem", "credentials"] {
                    prop_assert!(!name.ends_with(bad), "{}", path.display());
                }
            }
        }
    }
}
