//! What git itself, as node, makes of the repository, the gate and the identity.

use std::collections::HashSet;

use anyhow::{Context, Result};
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::values::GuestPath;
use bottle_common::plan::wire::Identity;
use bottle_common::step::Check;

use crate::credentials;
use crate::gate::{self, Route};
use crate::parts::Parts;
use crate::repository;

const LOOK: &str = include_str!("look.sh");
const LOOK_AS_NODE: &str = include_str!("look_as_node.sh");

/// Looks at what `parts` are about.
pub fn check(parts: Parts) -> Check {
    let (config, workspace) = (paths::home(".gitconfig"), repository::workspace());
    let routes = parts.gate.map(gate::routes);
    let mut parameters: Vec<&str> = vec![LOOK_AS_NODE, &config, &workspace];
    for route in routes.iter().flatten() {
        parameters.push(&route.spelling);
    }
    let exec = Check::exec(LOOK, &parameters);

    let mut lines = parts.lines();
    if parts.repository.is_some() {
        lines.insert(0, repository::path().to_string());
    }
    let is_readable = parts.repository.map(|repository| repository.is_readable);
    let identity = parts.identity.cloned();
    Check::new(exec, lines.join("; "), move |text| {
        let answer = Answer::parse(text)?;
        let mut differences = Vec::new();
        if let Some(is_readable) = is_readable {
            differences.extend(answer.repository(is_readable));
        }
        if let Some(routes) = &routes {
            differences.extend(answer.gate(routes));
        }
        if let Some(identity) = &identity {
            differences.extend(answer.identity(identity));
        }
        Ok(differences)
    })
}

/// What the guest says.
struct Answer<'a> {
    listing: Listing,
    /// A file of the repository that is not node's, and its owner.
    not_nodes: Option<(&'a str, &'a str)>,
    /// Why git cannot read the repository; empty where it can.
    unreadable: &'a str,
    /// The settings in git's order: of two with the same key, the later one holds.
    settings: Vec<Setting<'a>>,
    /// Where git goes for each spelling, in their order.
    urls: Vec<&'a str>,
}

/// A line of git's configuration.
struct Setting<'a> {
    file: String,
    key: &'a str,
    value: &'a str,
}

impl<'a> Setting<'a> {
    fn parse(origin: &str, line: &'a str) -> Self {
        let file = origin.trim_start_matches("file:");
        // git names the repository's own file as seen from the work tree.
        let file = match file.strip_prefix('/') {
            Some(_) => file.to_owned(),
            None => repository::workspace().join(file).to_string(),
        };
        let (key, value) = line.split_once('\n').unwrap_or((line, ""));
        Self { file, key, value }
    }

    fn is_identity(&self) -> bool {
        ["user.", "author.", "committer."]
            .iter()
            .any(|section| self.key.starts_with(section))
    }

    /// Names it as a thing that the plan does not have.
    fn extra(&self, what: &'static str) -> Difference {
        let (key, value) = (
            without_credentials(self.key),
            without_credentials(self.value),
        );
        Difference::extra(what, &self.file, &format!("{key} = {value}"))
    }
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (listing, rest) = Listing::parse(text)?;
        let mut fields = rest.split_terminator('\0');
        let is_filled = |field: &&str| !field.is_empty();
        let not_nodes: Vec<_> = fields.by_ref().take_while(is_filled).collect();
        let unreadable = fields.next().context("the guest's answer is cut short")?;
        let lines: Vec<_> = fields.by_ref().take_while(is_filled).collect();
        let mut settings = Vec::new();
        for setting in lines.chunks_exact(2) {
            settings.push(Setting::parse(setting[0], setting[1]));
        }
        let not_nodes = match not_nodes[..] {
            [file, owner] => Some((file, owner)),
            _ => None,
        };
        Ok(Self {
            listing,
            not_nodes,
            unreadable,
            settings,
            urls: fields.collect(),
        })
    }

    fn repository(&self, is_readable: bool) -> Vec<Difference> {
        let path = repository::path();
        let mut differences = self.compare(&[&repository::workspace(), &path], "directory");
        match self.not_nodes {
            // The directory itself is compared above.
            Some((file, owner)) if *file != *path => {
                differences.push(Difference::new("owner", file, paths::OWNER, Some(owner)));
            }
            _ => {}
        }
        if is_readable && !self.unreadable.is_empty() {
            let why = self.unreadable.lines().next();
            differences.push(Difference::new("git status", &path, "works", why));
        }
        differences
    }

    fn gate(&self, routes: &[Route]) -> Vec<Difference> {
        let mut differences = self.compare(&[&paths::home(".gitconfig")], "file");
        let lock = paths::home(".gitconfig.lock");
        if self.listing.0.contains_key(&*lock) {
            differences.push(Difference::extra("lock", &lock, "there"));
        }
        for (Route { spelling, url }, found) in routes.iter().zip(&self.urls) {
            if url != found {
                let found = without_credentials(found);
                differences.push(Difference::new("url", spelling, url, Some(&found)));
            }
        }
        let mut rules = HashSet::new();
        for Route { spelling, url } in routes {
            rules.insert((format!("url.{url}.insteadof"), spelling.as_str()));
        }
        for setting in &self.settings {
            let is_ours = match setting.key.rsplit_once('.') {
                Some((_, "pushurl")) => leads_to_gate(setting.value, routes),
                Some((_, "allow")) => setting.value == "always",
                _ => {
                    setting.is_identity()
                        || rules.contains(&(setting.key.to_owned(), setting.value))
                }
            };
            if !is_ours {
                differences.push(setting.extra("rule"));
            }
        }
        differences
    }

    fn identity(&self, identity: &Identity) -> Vec<Difference> {
        let mut differences = Vec::new();
        let config = paths::home(".gitconfig").to_string();
        for (key, plan) in [
            ("user.name", &identity.name),
            ("user.email", &identity.email),
        ] {
            let Some(plan) = plan else { continue };
            let found = self.settings.iter().rfind(|setting| setting.key == key);
            if found.is_none_or(|found| found.value != **plan) {
                let file = found.map_or(&config, |found| &found.file);
                let value = found.map(|found| found.value);
                differences.push(Difference::new(key, file, &**plan, value));
            }
        }
        for setting in &self.settings {
            if setting.is_identity() && !setting.key.starts_with("user.") {
                differences.push(setting.extra("identity"));
            }
        }
        differences
    }

    /// Lists which of `files` is not there, of another `kind`, or not node's.
    fn compare(&self, files: &[&GuestPath], kind: &'static str) -> Vec<Difference> {
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

fn leads_to_gate(address: &str, routes: &[Route]) -> bool {
    routes
        .iter()
        .any(|route| address == route.spelling || address == route.url)
}

/// `text` as it may be logged: a rule that somebody else wrote may hold a token.
fn without_credentials(text: &str) -> String {
    String::from_utf8_lossy(&credentials::removed_from_address(text.as_bytes())).into_owned()
}
