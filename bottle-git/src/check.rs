//! What git itself, as node, makes of the repository, the gate and the identity.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::plan::values::GuestPath;
use bottle_common::plan::wire::Identity;
use bottle_common::step::Check;

use crate::config::{self, Entry};
use crate::credentials;
use crate::gate::{self, Route};
use crate::parts::Parts;
use crate::repository::{self, Repository};

const LOOK: &str = include_str!("look.sh");
const LOOK_AS_NODE: &str = include_str!("look_as_node.sh");

/// What the remotes are called by which git is asked where it goes.
const REMOTE: &str = "bottle-check-";
/// How long a parameter may become, in bytes; Linux takes 128 KiB.
const MAX_PARAMETER: usize = 1 << 16;

/// Looks at what `parts` are about.
pub fn check(parts: &Parts) -> Result<Check> {
    let (config, workspace) = (paths::home(".gitconfig"), repository::workspace());
    let routes = parts.gate.map(gate::routes);
    let copy = parts.repository.as_ref().map(Copy::of).transpose()?;
    let commits = copy.as_ref().map(|copy| copy.commits.join(" "));
    let commits = commits.unwrap_or_default();
    let declared = declared(routes.as_deref().unwrap_or_default());
    let mut parameters: Vec<&str> = vec![LOOK_AS_NODE, &config, &workspace, &commits];
    parameters.extend(declared.iter().map(String::as_str));
    let exec = Check::exec(LOOK, &parameters);

    let mut lines = parts.lines();
    if parts.repository.is_some() {
        lines.insert(0, repository::path().to_string());
    } else {
        lines.extend(parts.warnings.iter().cloned());
    }
    let identity = parts.identity.cloned();
    Ok(Check::new(exec, lines.join("; "), move |text| {
        let answer = Answer::parse(text)?;
        let mut differences = Vec::new();
        if let Some(copy) = &copy {
            differences.extend(answer.repository(copy));
        }
        if let Some(routes) = &routes {
            differences.extend(answer.gate(routes));
        }
        if copy.is_some() || routes.is_some() {
            differences.extend(answer.rules(routes.as_deref(), copy.as_ref()));
        }
        if let Some(identity) = &identity {
            differences.extend(answer.identity(identity));
        }
        Ok(differences)
    }))
}

/// A remote for each spelling, as configuration: git is asked once for all of them.
fn declared(routes: &[Route]) -> Vec<String> {
    let mut parameters: Vec<String> = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let remote = config::render(&[Entry {
            key: format!("remote.{REMOTE}{number}.url"),
            value: Some(route.spelling.clone()),
        }]);
        match parameters.last_mut() {
            Some(last) if last.len() + remote.len() < MAX_PARAMETER => last.push_str(&remote),
            _ => parameters.push(remote),
        }
    }
    parameters
}

/// What the host's repository comes to in the guest.
struct Copy {
    source: String,
    is_readable: bool,
    keeps_config: bool,
    commits: Vec<String>,
    /// The keys and values that its configuration sets.
    settings: HashSet<(String, String)>,
    /// None where the hooks are elsewhere by a link.
    hooks: Option<Listing>,
}

impl Copy {
    fn of(repository: &Repository) -> Result<Self> {
        let hooks = repository.hooks();
        let hooks = hooks.map(|tree| Listing::of_tree(&tree.pin()?, &repository::path()));
        Ok(Self {
            source: repository.source().display().to_string(),
            is_readable: repository.is_readable,
            keeps_config: repository.keeps_config,
            commits: repository.commits(),
            settings: repository.settings.iter().map(setting).collect(),
            hooks: hooks.transpose()?,
        })
    }

    fn sets(&self, entry: &Entry) -> bool {
        self.settings.contains(&setting(entry))
    }
}

fn setting(entry: &Entry) -> (String, String) {
    (entry.key.clone(), entry.value.clone().unwrap_or_default())
}

/// What the guest says.
struct Answer<'a> {
    listing: Listing,
    /// A file of the repository that is not node's, and its owner.
    not_nodes: Option<(&'a str, &'a str)>,
    /// Why git cannot read the repository; empty where it can.
    unreadable: &'a str,
    /// A commit of the host's that is in the repository; empty where there is none.
    known: &'a str,
    /// The settings in git's order: of two with the same key, the later one holds.
    settings: Vec<Setting>,
    /// Where git goes for each spelling, as `git remote -v` says it.
    remotes: &'a str,
}

/// A line of git's configuration.
struct Setting {
    file: String,
    entry: Entry,
}

impl Setting {
    fn parse(origin: &str, line: &str) -> Self {
        let file = origin.trim_start_matches("file:");
        // git names the repository's own file as seen from the work tree.
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

    fn key(&self) -> &str {
        &self.entry.key
    }

    fn value(&self) -> &str {
        self.entry.value.as_deref().unwrap_or_default()
    }

    fn is_identity(&self) -> bool {
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

    /// Names it as a thing that the plan does not have.
    fn extra(&self, what: &'static str) -> Difference {
        let (key, value) = (
            without_credentials(self.key()),
            without_credentials(self.value()),
        );
        Difference::extra(what, &self.file, &format!("{key} = {value}"))
    }
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        const CUT: &str = "the guest's answer is cut short";
        let (listing, rest) = Listing::parse(text)?;
        let mut fields = rest.split_terminator('\0');
        let is_filled = |field: &&str| !field.is_empty();
        let not_nodes: Vec<_> = fields.by_ref().take_while(is_filled).collect();
        let not_nodes = match not_nodes[..] {
            [file, owner] => Some((file, owner)),
            _ => None,
        };
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
            unreadable,
            known,
            settings,
            remotes,
        })
    }

    fn repository(&self, copy: &Copy) -> Vec<Difference> {
        let path = repository::path();
        let mut differences = self.compare(&[&repository::workspace(), &path], "directory");
        match self.not_nodes {
            // The directory itself is compared above.
            Some((file, owner)) if *file != *path => {
                differences.push(Difference::new("owner", file, paths::OWNER, Some(owner)));
            }
            _ => {}
        }
        if copy.is_readable && !self.unreadable.is_empty() {
            let why = self.unreadable.lines().next();
            differences.push(Difference::new("git status", &path, "works", why));
            return differences;
        }
        if self
            .listing
            .0
            .get(&**path)
            .is_none_or(|found| found.kind != "directory")
        {
            return differences;
        }
        if copy.is_readable && !copy.commits.is_empty() && self.known.is_empty() {
            differences.push(Difference::new(
                "commits",
                &path,
                &*copy.source,
                Some("others"),
            ));
        }
        if let Some(hooks) = &copy.hooks {
            differences.extend(hooks.differences(&self.below(&path.join("hooks"))));
        }
        for name in ["branches", "remotes"] {
            for (file, attributes) in self.below(&path.join(name)).0 {
                if attributes.kind != "directory" && !copy.keeps_config {
                    differences.push(Difference::extra("rule", &file, "there"));
                }
            }
        }
        differences
    }

    /// What is at `path` and below it.
    fn below(&self, path: &GuestPath) -> Listing {
        let start = format!("{path}/");
        let files = self.listing.0.iter();
        let files = files.filter(|(file, _)| ***file == **path || file.starts_with(&start));
        Listing(
            files
                .map(|(file, found)| (file.clone(), found.clone()))
                .collect(),
        )
    }

    fn gate(&self, routes: &[Route]) -> Vec<Difference> {
        let mut differences = self.compare(&[&paths::home(".gitconfig")], "file");
        let lock = paths::home(".gitconfig.lock");
        if self.listing.0.contains_key(&*lock) {
            differences.push(Difference::extra("lock", &lock, "there"));
        }
        let mut found: Vec<Vec<&str>> = vec![Vec::new(); routes.len()];
        for line in self.remotes.lines() {
            let line = line
                .strip_prefix(REMOTE)
                .and_then(|line| line.split_once('\t'));
            let Some((number, url)) = line else { continue };
            let url = url.strip_suffix(" (fetch)").or(url.strip_suffix(" (push)"));
            let urls = number
                .parse()
                .ok()
                .and_then(|number: usize| found.get_mut(number));
            if let (Some(url), Some(urls)) = (url, urls) {
                urls.push(url);
            }
        }
        for (Route { spelling, url }, found) in routes.iter().zip(found) {
            let is_said = !found.is_empty();
            let other = found.into_iter().find(|found| found != url);
            if is_said && other.is_none() {
                continue;
            }
            let words = other.or(self.remotes.lines().next()).unwrap_or_default();
            let words = without_credentials(words);
            differences.push(Difference::new("url", spelling, url, Some(&words)));
            if !is_said {
                // git cannot say it of the others either.
                break;
            }
        }
        differences
    }

    /// Names the settings that lead around the gate, or to programs and files that the plan does
    /// not know.
    fn rules(&self, routes: Option<&[Route]>, copy: Option<&Copy>) -> Vec<Difference> {
        let mut ours = HashSet::new();
        for Route { spelling, url } in routes.into_iter().flatten() {
            ours.insert((format!("url.{url}.insteadof"), spelling.as_str()));
        }
        let mut differences = Vec::new();
        for setting in &self.settings {
            let (entry, value) = (&setting.entry, setting.value());
            if copy.is_some_and(|copy| copy.sets(entry)) {
                continue;
            }
            if entry.key == "unreadable" {
                let (file, works) = (&setting.file, "works");
                differences.push(Difference::new(
                    "git config",
                    file,
                    works,
                    Some("unreadable"),
                ));
                continue;
            }
            let is_way = config::is_way(entry, copy.is_some())
                || routes.is_some_and(|routes| {
                    let is_ours = ours.contains(&(entry.key.clone(), value));
                    !is_ours && leads_around(entry, value, routes, copy.is_some())
                });
            if is_way {
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
            let found = self.settings.iter().rfind(|setting| setting.key() == key);
            if found.is_none_or(|found| found.value() != **plan) {
                let file = found.map_or(&config, |found| &found.file);
                let value = found.map(Setting::value);
                differences.push(Difference::new(key, file, &**plan, value));
            }
        }
        for setting in &self.settings {
            if setting.is_identity() && !setting.key().starts_with("user.") {
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

/// Whether git goes elsewhere than to the gate because of the entry. What the addresses of remotes
/// should be is known with the host's repository.
fn leads_around(entry: &Entry, value: &str, routes: &[Route], knows_remotes: bool) -> bool {
    let leads_to_gate = || {
        let is_it = |route: &Route| value == route.spelling || value == route.url;
        routes.iter().any(is_it)
    };
    let name = entry.key.rsplit('.').next().unwrap_or_default();
    match (entry.key.split('.').next().unwrap_or_default(), name) {
        ("url", "insteadof" | "pushinsteadof") => true,
        ("remote", "pushurl") => !leads_to_gate(),
        ("remote", "url") => knows_remotes && !leads_to_gate(),
        ("branch", "remote" | "pushremote") | ("remote", "pushdefault") => {
            value.contains([':', '/']) && !leads_to_gate()
        }
        ("protocol", "allow") => {
            let gates = routes.first().and_then(|route| route.url.split(':').next());
            let of_gate = format!("protocol.{}.allow", gates.unwrap_or_default());
            (entry.key == "protocol.allow" || entry.key == of_gate) && value != "always"
        }
        _ => false,
    }
}

/// `text` as it may be logged: a rule that somebody else wrote may hold a token.
fn without_credentials(text: &str) -> String {
    String::from_utf8_lossy(&credentials::removed_from_address(text.as_bytes())).into_owned()
}
