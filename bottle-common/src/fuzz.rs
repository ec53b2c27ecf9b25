//! Fuzzing of what comes from outside: `scripts/check --fuzz` runs each property for a minute.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use harness::mutations::{config, mutated, mutated_text};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::guest::listing::Listing;
use crate::plan::Plan;
use crate::plan::json::Document;
use crate::plan::remote_url::RemoteUrl;
use crate::plan::values::{GuestPath, HostPort, HttpUrl, MachineName, SkillName};
use crate::smolvm::failure::{CallFailure, Reason};
use crate::smolvm::install::Found;
use crate::smolvm::version;
use crate::text::one_line;

/// Whole plans of launchers.
const PLANS: [&str; 3] = [
    include_str!("../../tests/plans/seed.json"),
    include_str!("../../tests/plans/dataclasses.json"),
    include_str!("../../tests/plans/git-gate.json"),
];
/// The ways to write git.
const GIT: [&str; 3] = ["git", "git_user", "git-gate"];

/// What is put into them.
const PLAN_FRAGMENTS: &[&str] = &[
    "\"git\"",
    "\"git_user\"",
    "\"git-gate\"",
    "\"git_gate\"",
    "\"gitgate\"",
    "\"remotes\"",
    "\"repos\"",
    "\"repo\"",
    "\"user\"",
    "\"Name\"",
    "\"Upstream\"",
    "\"url\"",
    "null",
    "\"\"",
    "\".\"",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "1e999",
    "true",
    "-",
    "ssh://git@h/p.git",
    "git@h:p",
    "\u{202e}",
    "\u{9b}",
];

/// The remotes that `bottle` has, whichever way it writes them. This is written a second time, as
/// simply as can be, for another way to come to the same number.
fn remotes(bottle: &Value) -> usize {
    let count = |value: &Value| match value {
        Value::Object(members) => members.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    match &bottle["git"] {
        Value::Array(entries) => entries.len() + count(&bottle["git-gate"]["repos"]),
        git => count(&git["remotes"]) + count(&bottle["git-gate"]["repos"]),
    }
}

fn sounds_like_git(key: &str) -> bool {
    let key: String = key.chars().filter(|c| c.is_alphanumeric()).collect();
    let key = key.to_lowercase();
    ["git", "gate", "remote", "repo"]
        .iter()
        .any(|sound| key.contains(sound))
}

proptest! {
    #![proptest_config(config(300))]

    /// A plan is refused, or all of its git is understood, and it comes back as it was.
    #[test]
    fn plan(text in mutated(PLANS.map(|plan| plan.as_bytes().to_vec()).to_vec(), PLAN_FRAGMENTS)) {
        let Ok(document) = Document::parse(text) else { return Ok(()) };
        let Ok(plan) = Plan::parse(&document) else { return Ok(()) };
        let value: Value = serde_json::from_str(document.text()).unwrap();
        let spec = &value["spec"];
        let manifest = &spec["manifest"];
        let agent = &manifest["agents"][spec["agent_name"].as_str().unwrap()];
        let bottle = &manifest["bottles"][agent["bottle"].as_str().unwrap()];
        for key in [agent, bottle].into_iter().flat_map(|named| named.as_object().unwrap().keys()) {
            prop_assert!(!sounds_like_git(key) || GIT.contains(&&**key), "{}", key);
        }
        let found = plan.gate.map_or(0, |gate| gate.remotes.len());
        prop_assert_eq!(found, remotes(bottle));
        let upstreams = value["git_gate_plan"]["upstreams"].as_array();
        prop_assert!(found > 0 || upstreams.is_none_or(Vec::is_empty));

        let printed = document.with("receipts", "x", &json!({"status": "done"})).unwrap();
        let mut printed: Value = serde_json::from_str(&printed).unwrap();
        let receipts = printed.as_object_mut().unwrap().remove("receipts").unwrap();
        prop_assert_eq!(&receipts["x"]["status"], "done");
        let mut value = value;
        value.as_object_mut().unwrap().remove("receipts");
        prop_assert_eq!(printed, value);
    }

    /// Nothing of an accepted value can be taken for something else by git, smolvm or a shell in
    /// the guest, and no spelling is a whole host's.
    #[test]
    fn addresses(text in mutated_text(
        &[
            "ssh://git@host:22/team/app.git", "git@host:team/app.git", "https://host:443/p.git",
            "/home/node/.claude/skills", "127.0.0.1:9418", "[::1]:80", "http://host:1/mcp", "name",
        ],
        &["/", ":", "@", "..", ".git", "-", "%", "?", "#", "[", "]", " ", "\n", "\0", "\u{85}", "é"],
    )) {
        let is_plain = |text: &str| !text.contains(char::is_control);
        if let Ok(url) = RemoteUrl::try_from(text.clone()) {
            for (number, spelling) in url.spellings().into_iter().enumerate() {
                prop_assert!(number > 0 || spelling == text);
                prop_assert!(is_plain(&spelling) && !spelling.starts_with('-'), "{}", spelling);
                let path = match spelling.split_once("://") {
                    Some((scheme, rest)) if !scheme.contains(':') => rest.split_once('/'),
                    _ => spelling.split_once(':'),
                };
                let path = path.map_or("", |(_, path)| path);
                prop_assert!(!path.trim_matches('/').is_empty(), "{}", spelling);
            }
        }
        if let Ok(path) = GuestPath::try_from(text.clone()) {
            prop_assert!(path.starts_with('/') && is_plain(&path));
            prop_assert!(path.split('/').skip(1).all(|name| !["", ".", ".."].contains(&name)));
        }
        if let Ok(name) = SkillName::try_from(text.clone()) {
            prop_assert!(is_plain(&name) && !name.contains('/') && !name.starts_with('.'));
        }
        if let Ok(name) = MachineName::try_from(text.clone()) {
            prop_assert!(!name.starts_with('-') && !name.contains([':', '/', ' ']));
        }
        if let Ok(gate) = HostPort::try_from(text.clone()) {
            prop_assert!(!gate.host().is_empty() && is_plain(&gate) && !gate.contains(['/', '@']));
        }
        if let Ok(url) = HttpUrl::try_from(text) {
            let url_text = url.to_string();
            let authority = url_text.split('/').nth(2).unwrap();
            prop_assert!(!url.host().is_empty() && !authority.contains('@'));
            prop_assert!(is_plain(&url_text) && !url_text.contains(['?', ' ']));
        }
    }

    /// The guest's answer is refused, or what follows the list is the rest of it.
    #[test]
    fn listing(answer in mutated_text(
        &[
            "d 700 node:node\0/a\0\0f 644 node:node\0/a/b c\0\0l 777 root:root\0/a/l\0t\0sha256\0\
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\0\0rest\0end\0",
            "sha256\0\0",
        ],
        &["\0", "sha256\0", "f 644 node:node\0", "\n", "d ", "\u{fffd}"],
    )) {
        if let Ok((found, rest)) = Listing::parse(&answer) {
            prop_assert!(answer.ends_with(rest));
            let everything = found.differences(&Listing::default());
            prop_assert!(Listing::default().differences(&found).len() >= usize::from(!everything.is_empty()));
            prop_assert!(found.differences(&found).is_empty());
        }
    }

    /// What smolvm and the guest print becomes a message of one line that is not long.
    #[test]
    fn smolvm_output(
        stdout in mutated_text(&["kept\n", "broken 2\n", "smolvm 1.32.2\n"], &["\r", "\n", "9"]),
        stderr in mutated(
            vec![
                b"Uploading a -> b: 1.0 MB / 2.0 MB (50.0%, 9.9 MB/s)Error: io: connection closed\n".to_vec(),
                b"error: unexpected argument '--user' found\n".to_vec(),
                vec![b'x'; 5000],
            ],
            &["Error: ", "\r", "\n", "\u{1b}[2J", "\u{9b}", "\u{202e}", "Uploading ", "/s)", "not running"],
        ),
        status in 0..256_i32,
    ) {
        let _ = (Found::parse(&stdout), version::parse(&stdout));
        let output = Output { status: ExitStatus::from_raw(status << 8), stdout: stdout.into(), stderr };
        let machine = MachineName::try_from("m".to_owned()).unwrap();
        let reason = Reason::Failed { output: &output, program: Some("tar") };
        let error = CallFailure::new("a", reason, &machine, Duration::from_secs(1)).error;
        prop_assert!(error.message.starts_with("a: ") && error.message.chars().count() < 2200);
        let line = one_line(&error.message);
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert!(!line.contains(char::is_control));
    }
}
