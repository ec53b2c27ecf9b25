//! Whether the guest still is what the plan says: what is asked of it, and how its answer differs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::Utf8Chunk;

use anyhow::{Context, Result, bail};
use derive_more::Display;
use serde::Serialize;

use crate::call::Call;

/// One look into the guest, which changes nothing there, and what its answer means.
pub struct Check {
    pub(crate) call: Option<Call<PathBuf>>,
    pub(crate) compare: Compare,
    /// What is in place, or why there is nothing to look at.
    pub(crate) line: String,
}

type Compare = Box<dyn FnOnce(&str) -> Result<Vec<Difference>>>;

/// One thing that is not as the plan says.
#[derive(Clone, Debug, Display, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[display("{path}: {what}: {} in the plan, {} in the guest", shown(plan.as_deref()), shown(guest.as_deref()))]
pub struct Difference {
    /// Which property of it: `mode`, `sha256`, …
    pub what: &'static str,
    /// The guest's file, or the address or setting that differs.
    pub path: String,
    /// What the plan comes to; null where it has no such thing.
    pub plan: Option<String>,
    /// What the guest has; null where it has no such thing.
    pub guest: Option<String>,
}

/// `bytes` as text in which what is not UTF-8 can still be told from each other.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let chunk = |chunk: Utf8Chunk| chunk.valid().to_owned() + &chunk.invalid().escape_ascii().to_string();
    bytes.utf8_chunks().map(chunk).collect()
}

fn shown(value: Option<&str>) -> String {
    value.map_or("nothing".to_owned(), |value| format!("`{value}`"))
}

impl Difference {
    /// A thing that the plan has and the guest has otherwise.
    pub fn new(what: &'static str, path: &str, plan: impl Into<String>, guest: Option<&str>) -> Self {
        Self { what, path: path.to_owned(), plan: Some(plan.into()), guest: guest.map(str::to_owned) }
    }

    /// A thing that the plan does not have.
    #[must_use]
    pub fn extra(what: &'static str, path: &str, guest: &str) -> Self {
        Self { what, path: path.to_owned(), plan: None, guest: Some(guest.to_owned()) }
    }
}

impl Check {
    /// Asks with `call`; `compare` reads what it prints. `line` is said when nothing differs.
    pub fn new(
        call: Call<PathBuf>,
        line: impl Into<String>,
        compare: impl FnOnce(&str) -> Result<Vec<Difference>> + 'static,
    ) -> Self {
        Self { call: Some(call.to("look into the guest").private()), compare: Box::new(compare), line: line.into() }
    }

    /// Looks at `roots`, as [`LIST`] takes them, which are to be what is `expected`.
    #[must_use]
    pub fn listing(line: impl Into<String>, roots: &[&str], expected: Listing) -> Self {
        let call = Call::script(&format!("{LIST} list \"$@\""), roots);
        Self::new(call, line, move |answer| Ok(expected.differences(&Listing::parse(answer)?.0)))
    }

    /// Nothing to look at, and why.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        Self { call: None, compare: Box::new(|_| Ok(Vec::new())), line: why.to_owned() }
    }
}

/// The DEPTH of a whole tree for [`LIST`]: more than a path can have.
pub const DEEP: u32 = 9999;

/// A shell function for [`Call::script`]: `list DEPTH:PATH...` prints what is at each PATH, and below it as deep as
/// DEPTH, for [`Listing::parse`].
pub const LIST: &str = "set -eu; \
    each() { for entry; do depth=${entry%%:*} path=${entry#*:}; \
        if [ -e \"$path\" ] || [ -L \"$path\" ]; then \"$look\"; fi; done; }; \
    facts() { find \"$path\" -maxdepth \"$depth\" -printf '%y %m %u:%g\\0%p\\0%l\\0'; }; \
    sums() { find \"$path\" -maxdepth \"$depth\" -type f -exec sha256sum -z -- {} + | cut -z -c 1-64; }; \
    list() { look=facts; each \"$@\"; printf 'sha256\\0'; look=sums; each \"$@\"; printf '\\0'; }; ";

/// What is known, or asked for, of a file: a property that is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `file`, `directory`, `link` or `special`.
    pub kind: &'static str,
    /// Its permissions, in octal.
    pub mode: Option<String>,
    /// Its owner and group, as `chown` takes them.
    pub owner: Option<String>,
    /// Where a link leads.
    pub target: Option<String>,
    /// SHA-256 of a file's content, in hex.
    pub sha256: Option<String>,
}

/// Files by their path in the guest.
#[derive(Clone, Debug, Default)]
pub struct Listing(pub BTreeMap<String, Facts>);

impl Listing {
    /// Reads what [`LIST`] printed; gives also what was printed behind it.
    pub fn parse(answer: &str) -> Result<(Self, &str)> {
        let mut rest = answer;
        let mut next = || {
            let (field, behind) = rest.split_once('\0').context("the guest's answer is cut short")?;
            rest = behind;
            Ok::<_, anyhow::Error>(field)
        };
        let (mut files, mut regular) = (BTreeMap::new(), Vec::new());
        loop {
            let facts = next()?;
            if facts == "sha256" {
                break;
            }
            let path = next()?.to_owned();
            let mut words = facts.split(' ').map(str::to_owned);
            let kind = match words.next().as_deref() {
                Some("f") => "file",
                Some("d") => "directory",
                Some("l") => "link",
                _ => "special",
            };
            let (mode, owner, target) = (words.next(), words.next(), Some(next()?.to_owned()));
            if kind == "file" {
                regular.push(path.clone());
            }
            files.insert(path, Facts { kind, mode, owner, target, sha256: None });
        }
        // In the order of the files, since both are find's; their paths again would double a long answer.
        for path in regular {
            let sha256 = Some(next()?.to_owned()).filter(|sum| sum.len() == 64).context("a checksum is missing")?;
            files.entry(path).or_default().sha256 = Some(sha256);
        }
        match next()? {
            "" => Ok((Self(files), rest)),
            _ => bail!("the guest's answer has a checksum too many"),
        }
    }

    /// Adds what is asked of the file at `path`.
    #[must_use]
    pub fn with(mut self, path: &str, facts: Facts) -> Self {
        self.0.insert(path.to_owned(), facts);
        self
    }

    /// How `found` differs from what this asks for. Of a tree that is missing, or too much, its top alone is named.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (path, facts) in &self.0 {
            match found.0.get(path) {
                Some(found) => facts.differences(path, found, &mut differences),
                None if self.has_missing_parent(path, found) => {}
                None => differences.push(Difference::new("type", path, facts.kind, None)),
            }
        }
        for (path, facts) in &found.0 {
            if !self.0.contains_key(path) && !found.has_missing_parent(path, self) {
                differences.push(Difference::extra("type", path, facts.kind));
            }
        }
        differences
    }

    /// Whether the parent of `path` is here but not in `other`.
    fn has_missing_parent(&self, path: &str, other: &Self) -> bool {
        path.rsplit_once('/').is_some_and(|(parent, _)| self.0.contains_key(parent) && !other.0.contains_key(parent))
    }
}

impl Facts {
    /// A file of this content; `mode` in octal.
    #[must_use]
    pub fn file(mode: &str, owner: &str, sha256: &str) -> Self {
        let [mode, owner, sha256] = [mode, owner, sha256].map(|text| Some(text.to_owned()));
        Self { kind: "file", mode, owner, target: None, sha256 }
    }

    /// A directory of this owner.
    #[must_use]
    pub fn directory(owner: &str) -> Self {
        Self { kind: "directory", owner: Some(owner.to_owned()), ..Self::default() }
    }

    fn differences(&self, path: &str, found: &Self, differences: &mut Vec<Difference>) {
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
            if let Some(plan) = plan.as_ref().filter(|&plan| Some(plan) != guest.as_ref()) {
                differences.push(Difference::new(what, path, plan, guest.as_deref()));
            }
        }
    }
}
