//! What the guest says about git's files, and what its git says about the configuration.

use anyhow::{Context, Result, ensure};
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::values::GuestPath;

use crate::config::Entry;
use crate::credentials;
use crate::repository;

/// The key in place of the settings of a file that git cannot read.
pub const UNREADABLE: &str = "unreadable";
/// The key in place of the settings of a submodule whose repository git cannot read. The file is the
/// repository's directory.
pub const DAMAGED: &str = "damaged";

/// The output of [`super::LOOK`].
pub struct GuestAnswer<'a> {
    /// The attributes of the files that were looked at.
    pub listing: Listing,
    /// A file of the repository that does not belong to node, and its owner.
    pub not_nodes: Option<(&'a str, &'a str)>,
    /// Whether there are files in the workspace beside the repository.
    pub has_files: bool,
    /// Why git cannot read the repository; empty if it can.
    pub unreadable: &'a str,
    /// One of the host's commits that is also in the guest; empty if there is none.
    pub known: &'a str,
    /// The settings in git's order. If a key occurs twice, the later setting counts. Among them are
    /// [`UNREADABLE`] and [`DAMAGED`].
    pub settings: Vec<Setting>,
    /// The output of `git remote -v`, which says where git goes for each spelling.
    pub remotes: &'a str,
}

/// An entry of git's configuration, and the file that contains it.
pub struct Setting {
    /// The absolute path of the file.
    pub file: String,
    /// The entry, with an empty value instead of none.
    pub entry: Entry,
}

impl Setting {
    /// Parses a file and an entry as `git config -z --show-origin --list` prints them.
    pub fn parse(origin: &str, line: &str) -> Self {
        let file = origin.trim_start_matches("file:");
        // The path of the repository's own file is relative to the work tree.
        let file = match file.strip_prefix('/') {
            Some(_) => file.to_owned(),
            None => repository::workspace().join(file).to_string(),
        };
        let (key, value) = line.split_once('\n').unwrap_or((line, ""));
        let entry = Entry {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        };
        Self { file, entry }
    }

    /// Returns the name of the setting.
    pub fn key(&self) -> &str {
        &self.entry.key
    }

    /// Returns the value; empty if there is none.
    pub fn value(&self) -> &str {
        self.entry.value.as_deref().unwrap_or_default()
    }

    /// Whether it names a person.
    pub fn is_identity(&self) -> bool {
        matches!(
            self.key(),
            "user.name"
                | "user.email"
                | "author.name"
                | "author.email"
                | "committer.name"
                | "committer.email"
        )
    }

    /// Whether it makes another directory than the workspace the work tree.
    pub fn is_work_tree(&self) -> bool {
        let files = ["config", "config.worktree"].map(|name| repository::path().join(name));
        self.key() == "core.worktree" && files.iter().any(|file| self.file == **file)
    }

    /// Makes the difference that the plan does not have this setting.
    pub fn extra(&self, what: &'static str) -> Difference {
        let (key, value) = (
            without_credentials(self.key()),
            without_credentials(self.value()),
        );
        Difference::extra(what, &self.file, &format!("{key} = {value}"))
    }
}

impl<'a> GuestAnswer<'a> {
    /// Parses the output of [`super::LOOK`].
    ///
    /// # Errors
    ///
    /// If it is cut short or has another form.
    pub fn parse(text: &'a str) -> Result<Self> {
        const CUT: &str = "the guest's answer is cut short";
        let (listing, rest) = Listing::parse(text)?;
        let mut fields = rest.split_terminator('\0');
        let is_filled = |field: &&str| !field.is_empty();
        let not_nodes: Vec<_> = fields.by_ref().take_while(is_filled).collect();
        let not_nodes = match not_nodes[..] {
            [file, owner] => Some((file, owner)),
            _ => None,
        };
        let has_files = !fields.next().context(CUT)?.is_empty();
        let unreadable = fields.next().context(CUT)?;
        let known = fields.next().context(CUT)?;
        let lines: Vec<_> = fields.by_ref().take_while(is_filled).collect();
        let settings = lines
            .chunks_exact(2)
            .map(|line| Setting::parse(line[0], line[1]));
        let settings = settings.collect();
        let remotes = fields.next().context(CUT)?;
        ensure!(fields.next() == Some("end") && text.ends_with('\0'), CUT);
        Ok(Self {
            listing,
            not_nodes,
            has_files,
            unreadable,
            known,
            settings,
            remotes,
        })
    }

    /// Returns the part of the listing at `path` and below it.
    pub fn below(&self, path: &GuestPath) -> Listing {
        let start = format!("{path}/");
        let files = self.listing.0.iter();
        let files = files.filter(|(file, _)| ***file == **path || file.starts_with(&start));
        Listing(
            files
                .map(|(file, found)| (file.clone(), found.clone()))
                .collect(),
        )
    }

    /// Lists which of `files` are missing, have another type than `kind`, or do not belong to node.
    pub fn compare(&self, files: &[&GuestPath], kind: &'static str) -> Vec<Difference> {
        let mut expected = Listing::default();
        let mut found = Listing::default();
        for path in files {
            let owner = Some(paths::OWNER.to_owned());
            expected = expected.with(
                path,
                Attributes {
                    kind,
                    owner,
                    ..Attributes::default()
                },
            );
            if let Some(attributes) = self.listing.0.get(&***path) {
                found = found.with(path, attributes.clone());
            }
        }
        expected.differences(&found)
    }
}

/// Returns `text` without credentials, so that it may be logged. A rule that somebody else wrote
/// may contain a token.
pub fn without_credentials(text: &str) -> String {
    String::from_utf8_lossy(&credentials::removed_from_address(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::GuestAnswer;
    use crate::check::fixtures::{GLOBAL, Guest, WELL};

    #[test]
    fn a_truncated_answer_is_refused() {
        let guest = Guest {
            not_nodes: "/a\0root:root\0",
            settings: &[[GLOBAL, "user.name\nAda"]],
            remotes: "bottle-check-0\tx (fetch)",
            ..WELL
        };
        let text = guest.text();
        let answer = GuestAnswer::parse(&text).unwrap();
        assert_eq!(answer.not_nodes, Some(("/a", "root:root")));
        assert_eq!((answer.unreadable, answer.known), ("", "c0ffee"));
        assert_eq!(answer.remotes, guest.remotes);
        assert_eq!(answer.settings[0].value(), "Ada");
        for end in 0..text.len() {
            assert!(GuestAnswer::parse(&text[..end]).is_err(), "{end}");
        }
    }
}
