//! Compares the repository, the gate and the identity in the guest with the plan. The guest's git,
//! which runs as node, says what it reads and where it goes.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use bottle_common::guest::listing::{Attributes, Difference, Listing};
use bottle_common::guest::paths;
use bottle_common::host::tree::PinnedTree;
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

/// The prefix of the names of the remotes that are declared to ask git where it goes.
const REMOTE: &str = "bottle-check-";
/// The maximum length of a parameter, in bytes. Linux allows 128 KiB.
const MAX_PARAMETER: usize = 1 << 16;

/// Decides how to compare `parts` with the guest.
///
/// # Errors
///
/// If the hooks on the host cannot be read, or if a signal comes.
pub fn check(parts: &Parts) -> Result<Check> {
    let (config, workspace) = (paths::home(".gitconfig"), repository::workspace());
    let routes = parts.gate.map(gate::routes);
    let expected = parts.repository.as_ref().map(Expected::of).transpose()?;
    let commits = expected.as_ref().map(|expected| expected.commits.join(" "));
    let commits = commits.unwrap_or_default();
    let declared = declared(routes.as_deref().unwrap_or_default());
    let whole = match &expected {
        Some(expected) if expected.work_tree.is_some() => workspace.clone(),
        _ => repository::path(),
    };
    let included = expected
        .as_ref()
        .map(Expected::included)
        .unwrap_or_default();
    let included: Vec<_> = included.iter().map(|file| format!("0:{file}")).collect();
    let included = included.join("\n");
    let mut parameters: Vec<&str> = vec![
        LOOK_AS_NODE,
        &config,
        &workspace,
        &whole,
        &included,
        &commits,
    ];
    parameters.extend(declared.iter().map(String::as_str));
    let exec = Check::exec(LOOK, &parameters);

    let mut lines = parts.lines();
    if parts.repository.is_some() {
        lines.insert(0, whole.to_string());
    } else {
        lines.extend(parts.warnings.iter().cloned());
    }
    let identity = parts.identity.cloned();
    Ok(Check::new(exec, lines.join("; "), move |text| {
        let answer = GuestAnswer::parse(text)?;
        let mut differences = Vec::new();
        if let Some(expected) = &expected {
            differences.extend(answer.repository(expected));
        }
        if let Some(routes) = &routes {
            differences.extend(answer.gate(routes));
        }
        if expected.is_some() || routes.is_some() {
            differences.extend(answer.rules(routes.as_deref(), expected.as_ref()));
        }
        if let Some(identity) = &identity {
            differences.extend(answer.identity(identity));
        }
        Ok(differences)
    }))
}

/// Formats a configuration that declares a remote for each spelling, so that git can be asked about
/// all of them at once. It is split into parameters.
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

/// What a copy of the host's repository should be like in the guest.
struct Expected {
    /// The `.git` on the host.
    source: String,
    /// Whether git can read the repository.
    is_readable: bool,
    /// Whether the configuration is copied unchanged.
    keeps_config: bool,
    /// Commits of which the copy contains at least one.
    commits: Vec<String>,
    /// The keys and values of its configuration.
    settings: HashSet<(String, String)>,
    /// The hooks; `None` if their directory is a link.
    hooks: Option<Listing>,
    /// The work tree; `None` if it is not copied.
    work_tree: Option<WorkTree>,
}

/// What a copy of the work tree should have in the guest. The agent works on its files, so what
/// became of each is not compared.
struct WorkTree {
    /// The directory on the host.
    source: String,
    /// Whether it has any files.
    has_files: bool,
    /// The paths in the guest of untracked files that the plan names.
    included: Vec<GuestPath>,
}

impl Expected {
    fn of(repository: &Repository) -> Result<Self> {
        let hooks = repository.hooks();
        let hooks = hooks
            .map(|tree| Listing::of_tree(&PinnedTree::without_links(tree), &repository::path()));
        Ok(Self {
            source: repository.source().display().to_string(),
            is_readable: repository.is_readable,
            keeps_config: repository.keeps_config,
            commits: repository.commits(),
            settings: repository.settings.iter().map(setting).collect(),
            hooks: hooks.transpose()?,
            work_tree: repository.worktree.as_ref().map(|worktree| {
                let project = repository.source().parent();
                let included = worktree.included.iter().filter_map(|path| path.to_str());
                let included = included.filter(|path| !path.contains('\n'));
                WorkTree {
                    source: project
                        .map(|path| path.display().to_string())
                        .unwrap_or_default(),
                    has_files: worktree.has_files(),
                    included: included
                        .map(|path| repository::workspace().join(path))
                        .collect(),
                }
            }),
        })
    }

    /// The files of the work tree that are looked at.
    fn included(&self) -> Vec<GuestPath> {
        let work_tree = self.work_tree.as_ref();
        work_tree
            .map(|work_tree| work_tree.included.clone())
            .unwrap_or_default()
    }

    /// Whether the repository's configuration contains `entry`.
    fn sets(&self, entry: &Entry) -> bool {
        self.settings.contains(&setting(entry))
    }
}

fn setting(entry: &Entry) -> (String, String) {
    (entry.key.clone(), entry.value.clone().unwrap_or_default())
}

/// The output of [`LOOK`].
struct GuestAnswer<'a> {
    listing: Listing,
    /// A file of the repository that does not belong to node, and its owner.
    not_nodes: Option<(&'a str, &'a str)>,
    /// Whether there are files in the workspace beside the repository.
    has_files: bool,
    /// Why git cannot read the repository; empty if it can.
    unreadable: &'a str,
    /// One of the host's commits that is also in the guest; empty if there is none.
    known: &'a str,
    /// The settings in git's order. If a key occurs twice, the later setting counts.
    settings: Vec<Setting>,
    /// The output of `git remote -v`, which says where git goes for each spelling.
    remotes: &'a str,
}

/// An entry of git's configuration, and the file that contains it.
struct Setting {
    file: String,
    entry: Entry,
}

impl Setting {
    fn parse(origin: &str, line: &str) -> Self {
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

    /// Whether it makes another directory than the workspace the work tree.
    fn is_work_tree(&self) -> bool {
        let files = ["config", "config.worktree"].map(|name| repository::path().join(name));
        self.key() == "core.worktree" && files.iter().any(|file| self.file == **file)
    }

    /// Makes the difference that the plan does not have this setting.
    fn extra(&self, what: &'static str) -> Difference {
        let (key, value) = (
            without_credentials(self.key()),
            without_credentials(self.value()),
        );
        Difference::extra(what, &self.file, &format!("{key} = {value}"))
    }
}

impl<'a> GuestAnswer<'a> {
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

    /// Compares the repository with `expected`.
    fn repository(&self, expected: &Expected) -> Vec<Difference> {
        let path = repository::path();
        let workspace = repository::workspace();
        let mut differences = self.compare(&[&workspace, &path], "directory");
        match self.not_nodes {
            // These directories were compared above.
            Some((file, owner)) if *file != *path && *file != *workspace => {
                differences.push(Difference::new("owner", file, paths::OWNER, Some(owner)));
            }
            _ => {}
        }
        if let Some(work_tree) = &expected.work_tree {
            differences.extend(self.work_tree(work_tree));
        }
        if expected.is_readable && !self.unreadable.is_empty() {
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
        if expected.is_readable && !expected.commits.is_empty() && self.known.is_empty() {
            differences.push(Difference::new(
                "commits",
                &path,
                &*expected.source,
                Some("others"),
            ));
        } else {
            differences.extend(self.missing_remotes(expected));
        }
        if let Some(hooks) = &expected.hooks {
            differences.extend(hooks.differences(&self.below(&path.join("hooks"))));
        }
        for name in ["branches", "commondir", "remotes"] {
            for (file, attributes) in self.below(&path.join(name)).0 {
                if attributes.kind != "directory" && !expected.keeps_config {
                    differences.push(Difference::extra("rule", &file, "there"));
                }
            }
        }
        differences
    }

    /// Lists what the workspace lacks: all files, or single ones that the plan names.
    fn work_tree(&self, expected: &WorkTree) -> Vec<Difference> {
        if expected.has_files && !self.has_files {
            let workspace = repository::workspace();
            let source = &*expected.source;
            return vec![Difference::new("files", &workspace, source, None)];
        }
        let is_missing = |path: &&GuestPath| !self.listing.0.contains_key(&****path);
        let missing = expected.included.iter().filter(is_missing);
        missing
            .map(|path| Difference::new("worktree_include", path, "there", None))
            .collect()
    }

    /// Lists the host's remotes that are missing, as in a configuration that was emptied.
    fn missing_remotes(&self, expected: &Expected) -> Vec<Difference> {
        let found: HashSet<_> = self
            .settings
            .iter()
            .map(|found| (found.key(), found.value()))
            .collect();
        let is_url =
            |key: &str| key.starts_with("remote.") && key.rsplit('.').next() == Some("url");
        let mut missing: Vec<_> = expected.settings.iter().collect();
        missing.retain(|(key, url)| is_url(key) && !found.contains(&(key.as_str(), url.as_str())));
        missing.sort();
        let config = repository::path().join("config");
        missing
            .into_iter()
            .map(|(key, url)| {
                let (key, url) = (without_credentials(key), without_credentials(url));
                Difference::new("remote", &config, format!("{key} = {url}"), None)
            })
            .collect()
    }

    /// Returns the part of the listing at `path` and below it.
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

    /// Compares the URLs that git uses with `routes`.
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
                // git says nothing about the other spellings either.
                break;
            }
        }
        differences
    }

    /// Lists the settings that lead around the gate, or to programs and files that are not in the
    /// host's repository.
    fn rules(&self, routes: Option<&[Route]>, expected: Option<&Expected>) -> Vec<Difference> {
        let mut ours = HashSet::new();
        for Route { spelling, url } in routes.into_iter().flatten() {
            ours.insert((format!("url.{url}.insteadof"), spelling.as_str()));
        }
        let mut differences = Vec::new();
        for setting in &self.settings {
            let (entry, value) = (&setting.entry, setting.value());
            if expected.is_some_and(|expected| expected.sets(entry)) {
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
            let is_way = config::is_way(entry, expected.is_some())
                || expected.is_some() && setting.is_work_tree()
                || routes.is_some_and(|routes| {
                    let is_ours = ours.contains(&(entry.key.clone(), value));
                    !is_ours && leads_around(entry, value, routes, expected.is_some())
                });
            if is_way {
                differences.push(setting.extra("rule"));
            }
        }
        differences
    }

    /// Compares git's identity with `identity`.
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

    /// Lists which of `files` are missing, have another type than `kind`, or do not belong to node.
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

/// Whether the entry makes git go to another place than the gate. The addresses of remotes count
/// only if `knows_remotes`, because only the host's repository says what they should be.
fn leads_around(entry: &Entry, value: &str, routes: &[Route], knows_remotes: bool) -> bool {
    let leads_to_gate = || {
        let is_it = |route: &Route| value == route.spelling || value == route.url;
        routes.iter().any(is_it)
    };
    let name = entry.key.rsplit('.').next().unwrap_or_default();
    match (entry.key.split('.').next().unwrap_or_default(), name) {
        ("url", "insteadof" | "pushinsteadof") => true,
        ("remote", "pushurl") => !leads_to_gate(),
        ("remote" | "submodule", "url") => knows_remotes && !leads_to_gate(),
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

/// Returns `text` without credentials, so that it may be logged. A rule that somebody else wrote
/// may contain a token.
fn without_credentials(text: &str) -> String {
    String::from_utf8_lossy(&credentials::removed_from_address(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bottle_common::guest::listing::{Difference, Listing};
    use bottle_common::plan::wire::Identity;

    use super::{Expected, GuestAnswer, MAX_PARAMETER, WorkTree, declared};
    use crate::gate::Route;
    use crate::repository;

    const GLOBAL: &str = "file:/home/node/.gitconfig";
    const OWN: &str = "file:.git/config";
    const REPOSITORY: &str = "/home/node/workspace/.git";
    const URL: &str = "git://gate:1/one.git";
    const SPELLING: &str = "git@host:one";

    /// The attributes of the files that are there when all is well.
    const FILES: &str = "d 755 node:node\0/home/node/workspace\0\0\
                         d 755 node:node\0/home/node/workspace/.git\0\0\
                         f 644 node:node\0/home/node/.gitconfig\0\0";

    /// What the guest says.
    struct Guest<'a> {
        files: String,
        not_nodes: &'a str,
        has_files: &'a str,
        unreadable: &'a str,
        known: &'a str,
        settings: &'a [[&'a str; 2]],
        remotes: &'a str,
    }

    /// A guest in which all is well.
    const WELL: Guest = Guest {
        files: String::new(),
        not_nodes: "",
        has_files: "x",
        unreadable: "",
        known: "c0ffee",
        settings: &[],
        remotes: "",
    };

    impl Guest<'_> {
        fn text(&self) -> String {
            let files = if self.files.is_empty() {
                FILES
            } else {
                &self.files
            };
            let mut settings = String::new();
            for [file, line] in self.settings {
                settings += &[file, "\0", line, "\0"].concat();
            }
            let number = files
                .split('\0')
                .filter(|field| field.starts_with("f "))
                .count();
            let sums = format!("{}\0", "0".repeat(64)).repeat(number);
            let Self {
                not_nodes,
                has_files,
                unreadable,
                known,
                remotes,
                ..
            } = self;
            format!(
                "{files}sha256\0{sums}\0{not_nodes}\0{has_files}\0{unreadable}\0{known}\0{settings}\0{remotes}\0end\0"
            )
        }
    }

    fn route(spelling: &str) -> Route {
        Route {
            spelling: spelling.to_owned(),
            url: URL.to_owned(),
        }
    }

    fn copied() -> Expected {
        Expected {
            source: "/project/.git".to_owned(),
            is_readable: true,
            keeps_config: false,
            commits: vec!["c0ffee".to_owned()],
            settings: HashSet::new(),
            hooks: None,
            work_tree: None,
        }
    }

    fn shown(differences: &[Difference]) -> Vec<String> {
        differences.iter().map(ToString::to_string).collect()
    }

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

    #[test]
    fn of_a_work_tree_only_what_people_ask_about_is_compared() {
        let workspace = repository::workspace();
        let file = "/home/node/workspace/.env";
        let there = format!("{FILES}f 644 node:node\0{file}\0\0");
        let none = format!("{workspace}: files: `/project` in the plan, nothing in the guest");
        let missing =
            format!("{file}: worktree_include: `there` in the plan, nothing in the guest");
        for (files, has_files, on_host, expected) in [
            (FILES, "x", true, vec![&missing]),
            (&there, "x", true, vec![]),
            (FILES, "", true, vec![&none]),
            (&there, "", false, vec![]),
        ] {
            let work_tree = WorkTree {
                source: "/project".to_owned(),
                has_files: on_host,
                included: vec![workspace.join(".env")],
            };
            let expected_of_copy = Expected {
                work_tree: Some(work_tree),
                ..copied()
            };
            let text = Guest {
                files: files.to_owned(),
                has_files,
                ..WELL
            }
            .text();
            let answer = GuestAnswer::parse(&text).unwrap();
            let found = shown(&answer.repository(&expected_of_copy));
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{files}");
        }
    }

    #[test]
    fn every_spelling_leads_to_the_gate() {
        let routes = [route(SPELLING), route("https://host/one")];
        let found = |files: &str, remotes: &str| {
            let files = files.to_owned();
            let text = Guest {
                files,
                remotes,
                ..WELL
            }
            .text();
            shown(&GuestAnswer::parse(&text).unwrap().gate(&routes))
        };
        let says = |number: usize, fetch: &str, push: &str| {
            let name = format!("bottle-check-{number}");
            format!("{name}\t{fetch} (fetch)\n{name}\t{push} (push)\n")
        };
        let good = says(0, URL, URL) + &says(1, URL, URL);
        let differs = |spelling: &str, what: &str| {
            format!("{spelling}: url: `{URL}` in the plan, `{what}` in the guest")
        };
        for (remotes, expected) in [
            (good.clone(), vec![]),
            (
                format!("origin\tx (fetch)\n{good}bottle-check-9\tx (push)\n"),
                vec![],
            ),
            (
                says(0, "https://u:p@host/one", URL) + &says(1, URL, URL),
                vec![differs(SPELLING, "https://host/one")],
            ),
            (
                says(0, URL, URL) + &says(1, URL, "ssh://x/y"),
                vec![differs("https://host/one", "ssh://x/y")],
            ),
            (
                says(0, "a:b", URL) + &says(1, "c:d", URL),
                vec![differs(SPELLING, "a:b"), differs("https://host/one", "c:d")],
            ),
            // If git names none of them, its first line says why.
            (
                "fatal: bad\nmore".to_owned(),
                vec![differs(SPELLING, "fatal: bad")],
            ),
        ] {
            assert_eq!(found("", &remotes), expected, "{remotes}");
        }
        let lock = format!("{FILES}f 644 node:node\0/home/node/.gitconfig.lock\0\0");
        let lock_is_there =
            "/home/node/.gitconfig.lock: lock: nothing in the plan, `there` in the guest";
        assert_eq!(found(&lock, &good), [lock_is_there]);
        let other = FILES.replace("f 644 node:node", "f 644 root:root");
        assert_eq!(
            found(&other, &good),
            ["/home/node/.gitconfig: owner: `node:node` in the plan, `root:root` in the guest"]
        );
    }

    #[test]
    fn a_setting_may_lead_nowhere_but_to_the_gate() {
        let routes = [route(SPELLING)];
        let found = |line: &str, routes: Option<&[Route]>, copy: Option<&Expected>| {
            let settings = [[OWN, line]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            shown(&GuestAnswer::parse(&text).unwrap().rules(routes, copy))
        };
        let rule = |shown: &str| {
            let config = format!("{REPOSITORY}/config");
            vec![format!(
                "{config}: rule: nothing in the plan, `{shown}` in the guest"
            )]
        };
        let copy = copied();
        // With a gate: what does not lead around it, what does, and as it is shown.
        for (line, shown) in [
            ("url.git://gate:1/one.git.insteadof\ngit@host:one", ""),
            ("user.name\nEve", ""),
            ("protocol.allow\nalways", ""),
            ("protocol.git.allow\nalways", ""),
            ("protocol.https.allow\nnever", ""),
            ("remote.a.pushurl\ngit@host:one", ""),
            ("remote.a.pushurl\ngit://gate:1/one.git", ""),
            ("remote.a.url\ngit@host:one", ""),
            ("remote.pushdefault\norigin", ""),
            ("remote.pushdefault\ngit@host:one", ""),
            ("branch.a.remote\n.", ""),
            ("branch.a.remote\ngit://gate:1/one.git", ""),
            ("branch.a.pushremote\norigin", ""),
            ("branch.a.merge\nrefs/heads/a", ""),
            ("protocol.allow\nnever", "protocol.allow = never"),
            ("protocol.git.allow\nuser", "protocol.git.allow = user"),
            (
                "remote.a.pushurl\nhttps://u:p@host/x",
                "remote.a.pushurl = https://host/x",
            ),
            ("remote.pushdefault\na:b", "remote.pushdefault = a:b"),
            ("branch.a.remote\n../b", "branch.a.remote = ../b"),
            ("branch.a.pushremote\na:b", "branch.a.pushremote = a:b"),
            (
                "url.https://t@host/.insteadof\ngit@host:one",
                "url.https://host/.insteadof = git@host:one",
            ),
            (
                "url.git://gate:1/one.git.insteadof\ngit@host:two",
                "url.git://gate:1/one.git.insteadof = git@host:two",
            ),
            (
                "url.git://gate:1/one.git.pushinsteadof\ngit@host:one",
                "url.git://gate:1/one.git.pushinsteadof = git@host:one",
            ),
            ("core.sshcommand\nx", "core.sshcommand = x"),
        ] {
            let expected = if shown.is_empty() {
                vec![]
            } else {
                rule(shown)
            };
            assert_eq!(found(line, Some(&routes), None), expected, "{line}");
            assert_eq!(found(line, Some(&routes), Some(&copy)), expected, "{line}");
        }
        // What the remotes should be is known only with the host's repository.
        for line in [
            "remote.a.url\na:b",
            "submodule.a.url\na:b",
            "core.worktree\n/x",
            "remote.a.vcs\nx",
            "lfs.url\nx",
        ] {
            let expected = rule(&line.replace('\n', " = "));
            assert_eq!(found(line, Some(&routes), Some(&copy)), expected, "{line}");
            assert_eq!(found(line, Some(&routes), None), [""; 0], "{line}");
        }
        // Without a gate, only what runs a program is a rule.
        let insteadof = "url.a.insteadof\nb";
        assert_eq!(found(insteadof, None, Some(&copy)), [""; 0]);
        assert_eq!(
            found("core.askpass\nx", None, Some(&copy)),
            rule("core.askpass = x")
        );
        // The host's repository may set anything.
        let settings = HashSet::from([("url.a.insteadof".to_owned(), "b".to_owned())]);
        let sets = Expected { settings, ..copy };
        assert_eq!(found(insteadof, Some(&routes), Some(&sets)), [""; 0]);
        assert_eq!(
            found("url.a.insteadof\nc", Some(&routes), Some(&sets)),
            rule("url.a.insteadof = c")
        );
        assert_eq!(
            found("unreadable", Some(&routes), None),
            [format!(
                "{REPOSITORY}/config: git config: `works` in the plan, `unreadable` in the guest"
            )]
        );
    }

    #[test]
    fn the_last_identity_counts_and_none_overrides_it() {
        let name = "Ada".to_owned().try_into().ok();
        let identity = Identity { name, email: None };
        let ada = [GLOBAL, "user.name\nAda"];
        let global = "/home/node/.gitconfig: user.name: `Ada` in the plan";
        let own = format!("{REPOSITORY}/config");
        for (settings, expected) in [
            (vec![ada], vec![]),
            (
                vec![[GLOBAL, "user.name\nEve"], [OWN, "user.name\nAda"]],
                vec![],
            ),
            (vec![ada, [OWN, "user.email\nx"]], vec![]),
            (vec![ada, [OWN, "core.editor\nx"]], vec![]),
            (
                vec![ada, [OWN, "user.name\nEve"]],
                vec![format!(
                    "{own}: user.name: `Ada` in the plan, `Eve` in the guest"
                )],
            ),
            (vec![], vec![format!("{global}, nothing in the guest")]),
            (
                vec![[GLOBAL, "user.email\na@a"]],
                vec![format!("{global}, nothing in the guest")],
            ),
        ] {
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = GuestAnswer::parse(&text).unwrap().identity(&identity);
            assert_eq!(shown(&found), expected, "{settings:?}");
        }
        for key in [
            "author.name",
            "author.email",
            "committer.name",
            "committer.email",
        ] {
            let line = format!("{key}\nx");
            let settings = [ada, [OWN, &line]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = GuestAnswer::parse(&text).unwrap().identity(&identity);
            let extra = format!("{own}: identity: nothing in the plan, `{key} = x` in the guest");
            assert_eq!(shown(&found), [extra]);
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a test that tells one story")]
    fn the_repository_is_nodes_and_git_reads_it() {
        let missing = FILES.replace(&format!("d 755 node:node\0{REPOSITORY}\0\0"), "");
        let with = |more: &str| format!("{FILES}{more}");
        let file = |path: &str| format!("f 755 node:node\0{REPOSITORY}/{path}\0\0");
        let other_owner = format!("{REPOSITORY}/HEAD\0root:root\0");
        let own_owner = format!("{REPOSITORY}\0root:root\0");
        let is =
            |path: &str, words: &str| vec![format!("{REPOSITORY}{path}: {words} in the guest")];
        let others = is("", "commits: `/project/.git` in the plan, `others`");
        let unreadable = is("", "git status: `works` in the plan, `fatal: bad`");
        let hooks = Some(Listing::default());
        for (guest, copy, expected) in [
            (WELL, copied(), vec![]),
            (
                Guest {
                    not_nodes: &other_owner,
                    ..WELL
                },
                copied(),
                is("/HEAD", "owner: `node:node` in the plan, `root:root`"),
            ),
            // The listing says whose the directory itself is.
            (
                Guest {
                    not_nodes: &own_owner,
                    ..WELL
                },
                copied(),
                vec![],
            ),
            (
                Guest {
                    unreadable: "fatal: bad\nmore",
                    ..WELL
                },
                copied(),
                unreadable,
            ),
            (
                Guest {
                    unreadable: "fatal: bad",
                    ..WELL
                },
                Expected {
                    is_readable: false,
                    ..copied()
                },
                vec![],
            ),
            (Guest { known: "", ..WELL }, copied(), others),
            (
                Guest { known: "", ..WELL },
                Expected {
                    is_readable: false,
                    ..copied()
                },
                vec![],
            ),
            (
                Guest { known: "", ..WELL },
                Expected {
                    commits: Vec::new(),
                    ..copied()
                },
                vec![],
            ),
            (
                Guest {
                    files: missing,
                    known: "",
                    ..WELL
                },
                copied(),
                is("", "type: `directory` in the plan, nothing"),
            ),
            (
                Guest {
                    files: with(&file("hooks/a")),
                    ..WELL
                },
                Expected { hooks, ..copied() },
                is("/hooks/a", "type: nothing in the plan, `file`"),
            ),
            (
                Guest {
                    files: with(&file("hooks/a")),
                    ..WELL
                },
                copied(),
                vec![],
            ),
            (
                Guest {
                    files: with(&file("branches/a")),
                    ..WELL
                },
                copied(),
                is("/branches/a", "rule: nothing in the plan, `there`"),
            ),
            (
                Guest {
                    files: with(&file("remotes/a")),
                    ..WELL
                },
                copied(),
                is("/remotes/a", "rule: nothing in the plan, `there`"),
            ),
            (
                Guest {
                    files: with(&file("remotes-a")),
                    ..WELL
                },
                copied(),
                vec![],
            ),
            (
                Guest {
                    files: with(&file("remotes/a")),
                    ..WELL
                },
                Expected {
                    keeps_config: true,
                    ..copied()
                },
                vec![],
            ),
        ] {
            let text = guest.text();
            let found = GuestAnswer::parse(&text).unwrap().repository(&copy);
            let found = shown(&found).join("\n");
            assert_eq!(found, expected.join("\n"), "{text:?}");
        }
    }

    #[test]
    fn no_parameter_grows_too_long() {
        let routes: Vec<_> = (0..3000)
            .map(|number| route(&format!("git@host:{number}")))
            .collect();
        let parameters = declared(&routes);
        for parameter in &parameters {
            assert!(parameter.len() < MAX_PARAMETER, "{}", parameter.len());
        }
        let lines = parameters.concat();
        assert_eq!(parameters.len(), lines.len().div_ceil(MAX_PARAMETER));
        assert_eq!(
            lines.matches("[remote \"bottle-check-").count(),
            routes.len()
        );
        assert!(lines.contains("[remote \"bottle-check-2999\"]\n\turl = git@host:2999\n"));
        assert_eq!(declared(&[]), [""; 0]);
    }
}
