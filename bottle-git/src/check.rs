//! What git itself, as node, makes of the repository, the gate and the identity.

use std::collections::HashSet;

use anyhow::Context;
use bottle_common::call::Call;
use bottle_common::check::{Check, Difference, Facts, LIST, Listing};
use bottle_common::checked::{GuestPath, IdentityText};
use bottle_common::guest;
use bottle_common::plan::Identity;

use crate::Parts;
use crate::gate;
use crate::layout;
use crate::repository;

/// Behind the listing: the first file of the repository that is not node's, with its owner; then what node is told.
const ASK: &str = "as_node=$1 config=$2 workspace=$3; shift 3; \
    list \"0:$config\" \"0:$config.lock\" \"0:$workspace\" \"0:$workspace/.git\"; \
    if [ -d \"$workspace/.git\" ]; then \
        find \"$workspace/.git\" '(' ! -user node -o ! -group node ')' -printf '%p\\0%u:%g\\0' -quit; \
    fi; printf '\\0'; \
    exec runuser -u node -- sh -c \"$as_node\" sh \"$workspace\" \"$@\"";

/// Why git cannot work with the repository, what is set of what matters here, and where each of `$@` leads.
const AS_NODE: &str = "set -eu; export HOME=/home/node USER=node; \
    command -v git >/dev/null || { echo 'git: not found' >&2; exit 127; }; \
    cd \"$1\" 2>/dev/null || cd; shift; said=; \
    if [ -d .git ]; then \
        said=$(git --no-optional-locks status --porcelain -uno --ignore-submodules=all 2>&1 >/dev/null) && said=; \
    fi; printf '%s\\0' \"$said\"; \
    git config -z --show-origin --get-regexp \
        '^(url\\..*\\.(push)?insteadof|remote\\..*\\.pushurl|protocol(\\.git)?\\.allow|(user|author|committer)\\.(name|email))$' \
        2>/dev/null || :; printf '\\0'; \
    for url; do printf '%s\\0' \"$(git ls-remote --get-url \"$url\" 2>&1)\"; done";

/// The look at what `parts` are about.
pub fn check(parts: Parts) -> Check {
    let (config, workspace) = (guest::home(".gitconfig"), repository::workspace());
    let routes = parts.gate.map(gate::routes);
    let spellings = routes.iter().flatten().map(|(spelling, _)| spelling.as_str());
    let parameters: Vec<_> = [AS_NODE, &config, &workspace].into_iter().chain(spellings).collect();
    let call = Call::script(&format!("{LIST}{ASK}"), &parameters);

    let lines = parts.repository.iter().map(|_| repository::path().to_string()).chain(parts.lines());
    let line = lines.collect::<Vec<_>>().join("; ");
    let (is_readable, identity) = (parts.repository.map(|repository| repository.is_readable), parts.identity.cloned());
    Check::new(call, line, move |text| {
        let answer = Answer::parse(text).context("the guest's answer is cut short")?;
        let repository = is_readable.map(|is_readable| answer.repository(is_readable));
        let gate = routes.map(|routes| answer.gate(&routes));
        let identity = identity.map(|identity| answer.identity(identity));
        Ok([repository, gate, identity].into_iter().flatten().flatten().collect())
    })
}

/// What the guest says.
struct Answer<'a> {
    listing: Listing,
    /// A file of the repository that is not node's, and its owner.
    not_nodes: Vec<&'a str>,
    /// Why git cannot read the repository.
    unreadable: &'a str,
    /// In git's order: of two of the same key, the later holds.
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
        let file = if file.starts_with('/') { file.to_owned() } else { repository::workspace().join(file).to_string() };
        let (key, value) = line.split_once('\n').unwrap_or((line, ""));
        Self { file, key, value }
    }

    fn is_identity(&self) -> bool {
        ["user.", "author.", "committer."].iter().any(|section| self.key.starts_with(section))
    }

    /// As a thing that the plan does not have.
    fn extra(&self, what: &'static str) -> Difference {
        let (key, value) = (without_credentials(self.key), without_credentials(self.value));
        Difference::extra(what, &self.file, &format!("{key} = {value}"))
    }
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (listing, rest) = Listing::parse(text).ok()?;
        let mut fields = rest.split_terminator('\0');
        let not_nodes = fields.by_ref().take_while(|field| !field.is_empty()).collect();
        let unreadable = fields.next()?;
        let settings: Vec<_> = fields.by_ref().take_while(|field| !field.is_empty()).collect();
        let settings = settings.chunks_exact(2).map(|setting| Setting::parse(setting[0], setting[1])).collect();
        Some(Self { listing, not_nodes, unreadable, settings, urls: fields.collect() })
    }

    fn repository(&self, is_readable: bool) -> Vec<Difference> {
        let path = repository::path();
        let mut differences = self.listed(&[&repository::workspace(), &path], "directory");
        if let [file, owner] = self.not_nodes[..]
            && *file != *path
        {
            differences.push(Difference::new("owner", file, guest::OWNER, Some(owner)));
        }
        if is_readable && !self.unreadable.is_empty() {
            differences.push(Difference::new("git status", &path, "works", self.unreadable.lines().next()));
        }
        differences
    }

    fn gate(&self, routes: &[(String, String)]) -> Vec<Difference> {
        let mut differences = self.listed(&[&guest::home(".gitconfig")], "file");
        let lock = guest::home(".gitconfig.lock");
        if self.listing.0.contains_key(&*lock) {
            differences.push(Difference::extra("lock", &lock, "there"));
        }
        for ((spelling, url), found) in routes.iter().zip(&self.urls) {
            if url != found {
                differences.push(Difference::new("url", spelling, url, Some(&without_credentials(found))));
            }
        }
        let ours: HashSet<_> =
            routes.iter().map(|(spelling, url)| (format!("url.{url}.insteadof"), &**spelling)).collect();
        let leads_to_gate = |url: &str| routes.iter().any(|(spelling, gate)| url == spelling || url == gate);
        let is_ours = |setting: &&Setting| match setting.key.rsplit_once('.') {
            Some((_, "pushurl")) => leads_to_gate(setting.value),
            Some((_, "allow")) => setting.value == "always",
            _ => setting.is_identity() || ours.contains(&(setting.key.to_owned(), setting.value)),
        };
        differences
            .extend(self.settings.iter().filter(|setting| !is_ours(setting)).map(|setting| setting.extra("rule")));
        differences
    }

    fn identity(&self, identity: Identity) -> Vec<Difference> {
        let asked = [("user.name", identity.name), ("user.email", identity.email)];
        let differs = |(key, plan): (_, Option<IdentityText>)| {
            let found = self.settings.iter().rfind(|setting| setting.key == key);
            let plan = plan.filter(|plan| found.is_none_or(|found| found.value != **plan))?;
            let config = guest::home(".gitconfig").to_string();
            let file = found.map_or(&config, |found| &found.file);
            Some(Difference::new(key, file, &*plan, found.map(|found| found.value)))
        };
        let others = self.settings.iter().filter(|setting| setting.is_identity() && !setting.key.starts_with("user."));
        asked.into_iter().filter_map(differs).chain(others.map(|setting| setting.extra("identity"))).collect()
    }

    /// Which of `paths` is not there, of another `kind`, or not node's.
    fn listed(&self, paths: &[&GuestPath], kind: &'static str) -> Vec<Difference> {
        let (mut expected, mut found) = (Listing::default(), Listing::default());
        for path in paths {
            expected = expected.with(path, Facts { kind, owner: Some(guest::OWNER.to_owned()), ..Facts::default() });
            found.0.extend(self.listing.0.get_key_value(&***path).map(|(path, facts)| (path.clone(), facts.clone())));
        }
        expected.differences(&found)
    }
}

/// `text` as it may be logged: a rule that somebody else wrote may hold a token.
fn without_credentials(text: &str) -> String {
    String::from_utf8_lossy(&layout::address_without_credentials(text.as_bytes())).into_owned()
}
