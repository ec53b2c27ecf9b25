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

/// Why git cannot read the repository, the identity, all rules for URLs, and where each of `$@` leads.
const AS_NODE: &str = "set -eu; export HOME=/home/node USER=node; command -v git >/dev/null || { echo 'git: not found' >&2; exit 127; }; \
    cd \"$1\" 2>/dev/null || cd; shift; \
    if said=$(git rev-parse --git-dir 2>&1); then said=; fi; printf '%s\\0' \"$said\"; \
    for key in user.name user.email; do printf '%s\\0' \"$(git config \"$key\" 2>&1)\"; done; \
    git config -z --show-origin --get-regexp '^url\\..*\\.(push)?insteadof$' 2>/dev/null || :; printf '\\0'; \
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
    name: &'a str,
    email: &'a str,
    /// Where each rule stands, and the rule: `KEY\nVALUE`.
    rules: Vec<&'a str>,
    /// Where git goes for each spelling, in their order.
    urls: Vec<&'a str>,
}

impl<'a> Answer<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (listing, rest) = Listing::parse(text).ok()?;
        let mut fields = rest.split_terminator('\0');
        let not_nodes = fields.by_ref().take_while(|field| !field.is_empty()).collect();
        let (unreadable, name, email) = (fields.next()?, fields.next()?, fields.next()?);
        let rules = fields.by_ref().take_while(|field| !field.is_empty()).collect();
        Some(Self { listing, not_nodes, unreadable, name, email, rules, urls: fields.collect() })
    }

    fn repository(&self, is_readable: bool) -> Vec<Difference> {
        let path = repository::path();
        let mut differences = self.listed(&[&repository::workspace(), &path], "directory");
        if let [file, owner] = self.not_nodes[..]
            && *file != *path
        {
            differences.push(Difference::new("owner", file, guest::OWNER, Some(owner)));
        }
        let is_there = self.listing.0.contains_key(&*path);
        if is_readable && is_there && !self.unreadable.is_empty() {
            differences.push(Difference::new("git rev-parse", &path, ".git", self.unreadable.lines().next()));
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
            routes.iter().map(|(spelling, url)| format!("url.{url}.insteadof\n{spelling}")).collect();
        for rule in self.rules.chunks_exact(2).filter(|rule| !ours.contains(rule[1])) {
            let origin = rule[0].trim_start_matches("file:");
            // git names the repository's own file as seen from the work tree.
            let origin = if origin.starts_with('/') {
                origin.to_owned()
            } else {
                repository::workspace().join(origin).to_string()
            };
            differences.push(Difference::extra("rule", &origin, &without_credentials(&rule[1].replace('\n', " = "))));
        }
        differences
    }

    fn identity(&self, identity: Identity) -> Vec<Difference> {
        let asked = [("user.name", identity.name, self.name), ("user.email", identity.email, self.email)];
        let differs = |(key, plan, guest): (_, Option<IdentityText>, &str)| {
            let plan = plan.filter(|plan| **plan != guest)?;
            let guest = Some(guest).filter(|guest| !guest.is_empty());
            Some(Difference::new(key, &guest::home(".gitconfig"), &*plan, guest))
        };
        asked.into_iter().filter_map(differs).collect()
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
    String::from_utf8_lossy(&layout::without_credentials(text.as_bytes())).into_owned()
}
