//! Listings of files and their attributes: what the guest should have according to the plan, what
//! it has, and how the two differ.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use derive_more::Display;
use serde::Serialize;

use crate::guest::paths;
use crate::host::files;
use crate::host::tree::{self, PinnedTree};
use crate::host::walk::Entry;
use crate::plan::values::GuestPath;
use crate::text;

/// A shell function for scripts that look into the guest: `list DEPTH:PATH...` prints the
/// attributes of each PATH, and of the files below it down to DEPTH levels. [`Listing::parse`]
/// reads the output.
pub const LIST: &str = include_str!("scripts/list.sh");

/// The DEPTH with which [`LIST`] prints a whole tree: more levels than a path can have.
pub const DEEP: u32 = 9999;

/// One thing in the guest that is not as the plan asks.
#[derive(Clone, Debug, Display, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[display(
    "{path}: {what}: {} in the plan, {} in the guest",
    shown(plan.as_ref()),
    shown(guest.as_ref())
)]
pub struct Difference {
    /// The attribute that differs: `mode`, `sha256`, …
    pub what: &'static str,
    /// The file in the guest, the address or the setting that it belongs to.
    pub path: String,
    /// The value that the plan asks for; null if the plan has no such thing.
    pub plan: Option<String>,
    /// The value in the guest; null if the guest has no such thing.
    pub guest: Option<String>,
}

fn shown(value: Option<&String>) -> String {
    match value {
        Some(value) => format!("`{value}`"),
        None => "nothing".to_owned(),
    }
}

impl Difference {
    /// Something that the plan asks for, and that is different or missing in the guest.
    pub fn new(
        what: &'static str,
        path: &str,
        plan: impl Into<String>,
        guest: Option<&str>,
    ) -> Self {
        Self {
            what,
            path: path.to_owned(),
            plan: Some(plan.into()),
            guest: guest.map(str::to_owned),
        }
    }

    /// Something in the guest that the plan does not ask for.
    #[must_use]
    pub fn extra(what: &'static str, path: &str, guest: &str) -> Self {
        Self {
            what,
            path: path.to_owned(),
            plan: None,
            guest: Some(guest.to_owned()),
        }
    }
}

/// The attributes of a file, found or expected. An expected attribute that is `None` may have any
/// value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// `file`, `directory`, `link` or `special`.
    pub kind: &'static str,
    /// The permissions, in octal.
    pub mode: Option<String>,
    /// The owner and group, as chown(1) takes them.
    pub owner: Option<String>,
    /// The target of a symbolic link.
    pub target: Option<String>,
    /// SHA-256 of the content of a regular file, in hex.
    pub sha256: Option<String>,
}

impl Attributes {
    /// Expects a regular file with this content. `mode` is in octal, and `sha256` in hex.
    #[must_use]
    pub fn file(mode: &str, owner: &str, sha256: &str) -> Self {
        Self {
            kind: "file",
            mode: Some(mode.to_owned()),
            owner: Some(owner.to_owned()),
            target: None,
            sha256: Some(sha256.to_owned()),
        }
    }

    /// Expects a directory with this owner.
    #[must_use]
    pub fn directory(owner: &str) -> Self {
        Self {
            kind: "directory",
            owner: Some(owner.to_owned()),
            ..Self::default()
        }
    }

    /// Adds how `found` differs from what this expects at `path` to `differences`.
    fn compare(&self, path: &str, found: &Self, differences: &mut Vec<Difference>) {
        if self.kind != found.kind {
            differences.push(Difference::new("type", path, self.kind, Some(found.kind)));
            return;
        }
        for (what, plan, guest) in [
            ("mode", &self.mode, &found.mode),
            ("owner", &self.owner, &found.owner),
            ("target", &self.target, &found.target),
            ("sha256", &self.sha256, &found.sha256),
        ] {
            let Some(value) = plan else { continue };
            if plan != guest {
                differences.push(Difference::new(what, path, value, guest.as_deref()));
            }
        }
    }
}

/// Files by their path in the guest.
#[derive(Clone, Debug, Default)]
pub struct Listing(pub BTreeMap<String, Attributes>);

impl Listing {
    /// Lists the files that the guest should have after `tree` was copied to `path`. They belong to
    /// `node`.
    ///
    /// # Errors
    ///
    /// If the tree cannot be read, or if a signal comes.
    pub fn of_tree(tree: &PinnedTree, path: &GuestPath) -> Result<Self> {
        let mut listing = Self::default();
        let result = tree.walk(|entry| {
            let below = text::lossless(entry.path.as_os_str().as_bytes());
            let path = if below.is_empty() {
                path.clone()
            } else {
                path.join(&below)
            };
            if let Some(attributes) = attributes(entry)? {
                listing.0.insert(path.to_string(), attributes);
            }
            Ok(())
        });
        result.with_context(|| tree.name.clone())?;
        Ok(listing)
    }

    /// Parses the output of [`LIST`]. Returns also the output that follows it.
    ///
    /// # Errors
    ///
    /// If the output is truncated, or has not one checksum for each regular file.
    pub fn parse(answer: &str) -> Result<(Self, &str)> {
        let mut fields = Fields(answer);
        let mut files = BTreeMap::new();
        let mut regular = Vec::new();
        loop {
            let attributes = fields.next()?;
            if attributes == "sha256" {
                break;
            }
            let path = fields.next()?.to_owned();
            let target = fields.next()?;
            let attributes = parse_attributes(attributes, target);
            if attributes.kind == "file" {
                regular.push(path.clone());
            }
            files.insert(path, attributes);
        }
        // The checksums have no paths, which would double a long answer. They are in the order of
        // the files, because find(1) lists both.
        for path in regular {
            let sha256 = fields.next()?;
            if sha256.len() != 64 {
                bail!("a checksum is missing in the guest's answer");
            }
            files.entry(path).or_default().sha256 = Some(sha256.to_owned());
        }
        if !fields.next()?.is_empty() {
            bail!("the guest's answer has a checksum too many");
        }
        Ok((Self(files), fields.0))
    }

    /// Adds the file at `path` with its expected attributes.
    #[must_use]
    pub fn with(mut self, path: &str, attributes: Attributes) -> Self {
        self.0.insert(path.to_owned(), attributes);
        self
    }

    /// Lists how `found` differs from what this expects. If a whole tree is missing or not
    /// expected, the list has only the top directory of the tree.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (path, attributes) in &self.0 {
            if let Some(found) = found.0.get(path) {
                attributes.compare(path, found, &mut differences);
            } else if !self.has_parent_missing_in(path, found) {
                differences.push(Difference::new("type", path, attributes.kind, None));
            }
        }
        for (path, attributes) in &found.0 {
            if !self.0.contains_key(path) && !found.has_parent_missing_in(path, self) {
                differences.push(Difference::extra("type", path, attributes.kind));
            }
        }
        differences
    }

    /// Whether the parent of `path` is in this listing, but not in `other`.
    fn has_parent_missing_in(&self, path: &str, other: &Self) -> bool {
        let Some((parent, _)) = path.rsplit_once('/') else {
            return false;
        };
        self.0.contains_key(parent) && !other.0.contains_key(parent)
    }
}

/// Gives the attributes that a copy of `entry` has in the guest; `None` if it is not copied.
fn attributes(entry: &Entry) -> Result<Option<Attributes>> {
    let metadata = &entry.metadata;
    if metadata.is_dir() {
        return Ok(Some(Attributes {
            mode: Some(octal(metadata)),
            ..Attributes::directory(paths::OWNER)
        }));
    }
    if metadata.is_symlink() {
        return Ok(Some(Attributes {
            kind: "link",
            owner: Some(paths::OWNER.to_owned()),
            target: Some(text::lossless(entry.target()?.as_os_str().as_bytes())),
            ..Attributes::default()
        }));
    }
    if metadata.is_file() {
        let file = entry.open()?;
        let reading = || format!("read {}", entry.source.display());
        let mode = octal(&file.metadata().with_context(reading)?);
        let sha256 = files::sha256(file, &entry.source)?;
        return Ok(Some(Attributes::file(&mode, paths::OWNER, &sha256)));
    }
    Ok(None)
}

/// The mode that a file of the host gets in the guest.
fn octal(metadata: &Metadata) -> String {
    format!("{:o}", tree::mode(metadata))
}

/// Reads `f 644 node:node`, as find(1) prints it, and a link's target.
fn parse_attributes(attributes: &str, target: &str) -> Attributes {
    let mut words = attributes.split(' ');
    let kind = match words.next() {
        Some("f") => "file",
        Some("d") => "directory",
        Some("l") => "link",
        _ => "special",
    };
    Attributes {
        kind,
        mode: words.next().map(str::to_owned),
        owner: words.next().map(str::to_owned),
        target: Some(target.to_owned()),
        sha256: None,
    }
}

/// Takes fields, each of which ends with a NUL, from the start of a text. The rest of the text
/// remains.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a str> {
        let (field, rest) = self
            .0
            .split_once('\0')
            .context("the guest's answer is cut short")?;
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::{Attributes, Difference, Listing};
    use crate::host::tree::{PinnedTree, Tree};
    use crate::plan::values::GuestPath;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn an_answer_is_parsed_and_what_follows_is_returned() {
        let answer = format!(
            "d 755 node:node\0/a\0\0f 644 root:root\0/a/b\nc\0\0l 777 node:node\0/a/l\0x y\0\
             p 600 node:node\0/a/p\0\0sha256\0{SUM}\0\0behind\0it"
        );
        let (listing, rest) = Listing::parse(&answer).unwrap();
        assert_eq!(rest, "behind\0it");
        let file = Attributes {
            target: Some(String::new()),
            ..Attributes::file("644", "root:root", SUM)
        };
        assert_eq!(listing.0["/a/b\nc"], file);
        assert_eq!(listing.0["/a/l"].target.as_deref(), Some("x y"));
        let kinds: Vec<_> = listing
            .0
            .values()
            .map(|attributes| attributes.kind)
            .collect();
        assert_eq!(kinds, ["directory", "file", "link", "special"]);
    }

    #[test]
    fn a_truncated_or_inconsistent_answer_is_refused() {
        let answer = format!("f 644 a:a\0/a\0\0sha256\0{SUM}\0\0");
        assert!(Listing::parse(&answer).is_ok());
        for end in 0..answer.len() {
            assert!(Listing::parse(&answer[..end]).is_err(), "{end}");
        }
        let short = format!("f 644 a:a\0/a\0\0sha256\0{}\0\0", &SUM[1..]);
        let many = format!("f 644 a:a\0/a\0\0sha256\0{SUM}\0{SUM}\0\0");
        for (answer, message) in [
            (short, "a checksum is missing in the guest's answer"),
            (many, "the guest's answer has a checksum too many"),
            ("rubbish".to_owned(), "the guest's answer is cut short"),
        ] {
            assert_eq!(Listing::parse(&answer).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn every_expected_attribute_is_compared() {
        let file = Attributes::file("644", "node:node", SUM);
        let expected = Listing::default().with("/f", file.clone());
        let differences =
            |found: Attributes| expected.differences(&Listing::default().with("/f", found));
        assert_eq!(differences(file.clone()), []);
        let other = |value: &str| Some(value.to_owned());
        for (found, what, guest) in [
            (
                Attributes {
                    mode: other("600"),
                    ..file.clone()
                },
                "mode",
                "600",
            ),
            (
                Attributes {
                    owner: other("root:root"),
                    ..file.clone()
                },
                "owner",
                "root:root",
            ),
            (
                Attributes {
                    sha256: other("x"),
                    ..file.clone()
                },
                "sha256",
                "x",
            ),
            (
                Attributes {
                    kind: "link",
                    ..file.clone()
                },
                "type",
                "link",
            ),
        ] {
            let found = differences(found);
            assert_eq!(found.len(), 1);
            assert_eq!(
                (found[0].what, found[0].guest.as_deref()),
                (what, Some(guest))
            );
        }
    }

    #[test]
    fn only_the_top_of_a_missing_or_extra_tree_is_named() {
        let directory = || Attributes::directory("node:node");
        let tree = Listing::default()
            .with("/t", directory())
            .with("/t/a", directory());
        let tree = tree.with("/t/a/b", directory());
        let top = Listing::default().with("/t", directory());
        assert_eq!(
            tree.differences(&top),
            [Difference::new("type", "/t/a", "directory", None)]
        );
        assert_eq!(
            top.differences(&tree),
            [Difference::extra("type", "/t/a", "directory")]
        );
        assert_eq!(
            tree.differences(&Listing::default())[0].to_string(),
            "/t: type: `directory` in the plan, nothing in the guest"
        );
    }

    #[test]
    fn a_host_tree_is_expected_as_files_of_node() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/file"), "").unwrap();
        symlink("../x y", path("d/link")).unwrap();
        for (name, mode) in [("d", 0o2750), ("d/file", 0o4711), ("", 0o755)] {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
        let tree = Tree::new("t".to_owned(), directory.path().to_owned());
        let top = GuestPath::try_from("/home/node/t".to_owned()).unwrap();
        let listing = Listing::of_tree(&PinnedTree::without_links(tree), &top).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let directory = |mode| Attributes {
            kind: "directory",
            mode: text(mode),
            owner: text("node:node"),
            ..Attributes::default()
        };
        let link = Attributes {
            kind: "link",
            owner: text("node:node"),
            target: text("../x y"),
            ..Attributes::default()
        };
        let expected = [
            ("/home/node/t", directory("755")),
            ("/home/node/t/d", directory("750")),
            (
                "/home/node/t/d/file",
                Attributes::file("711", "node:node", SUM),
            ),
            ("/home/node/t/d/link", link.clone()),
        ];
        let expected = expected.map(|(path, attributes)| (path.to_owned(), attributes));
        assert_eq!(listing.0.into_iter().collect::<Vec<_>>(), expected);
        let elsewhere = Attributes {
            target: text("../y"),
            ..link.clone()
        };
        assert_eq!(
            Listing::default()
                .with("/l", link)
                .differences(&Listing::default().with("/l", elsewhere)),
            [Difference::new("target", "/l", "../x y", Some("../y"))]
        );
        assert_eq!(
            Attributes::directory("a:b"),
            Attributes {
                kind: "directory",
                owner: text("a:b"),
                ..Attributes::default()
            }
        );
    }

    #[test]
    fn the_script_prints_what_is_parsed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::create_dir_all(path("d/deep")).unwrap();
        fs::write(path("d/a\nb"), "").unwrap();
        fs::write(path("d/deep/c"), "").unwrap();
        symlink("no where", path("link")).unwrap();
        let script = format!("{}\nlist \"$@\"\nprintf behind", super::LIST);
        let roots = [
            format!("1:{}", path("d")),
            format!("0:{}", path("link")),
            format!("0:{}", path("missing")),
        ];
        let mut sh = Command::new("sh");
        let output = sh.args(["-c", &script, "sh"]).args(roots).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let answer = String::from_utf8(output.stdout).unwrap();
        let (listing, rest) = Listing::parse(&answer).unwrap();
        assert_eq!(rest, "behind");
        let paths: Vec<_> = listing.0.keys().map(String::as_str).collect();
        let expected = ["d", "d/a\nb", "d/deep", "link"].map(path);
        assert_eq!(paths, expected);
        assert_eq!(listing.0[&path("d/a\nb")].sha256.as_deref(), Some(SUM));
        let link = &listing.0[&path("link")];
        assert_eq!(
            (link.kind, link.target.as_deref()),
            ("link", Some("no where"))
        );
    }
}
