//! Finds what leads git around the gate.

use std::collections::HashSet;

use bottle_common::guest::listing::Difference;
use bottle_common::guest::paths;

use super::answer::{DAMAGED, GuestAnswer, UNREADABLE, without_credentials};
use super::expected::Expected;
use crate::config::{self, Entry};
use crate::config_filter::is_way;
use crate::gate::Route;

/// The prefix of the names of the remotes that are declared to ask git where it goes.
const REMOTE: &str = "bottle-check-";

/// Returns the sections of a configuration that declares a remote for each spelling, so that git can
/// be asked about all of them at once.
pub fn declared(routes: &[Route]) -> Vec<String> {
    let mut remotes = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        remotes.push(config::render(&[Entry {
            key: format!("remote.{REMOTE}{number}.url"),
            value: Some(route.spelling.clone()),
        }]));
    }
    remotes
}

impl GuestAnswer<'_> {
    /// Compares the URLs that git uses with `routes`.
    pub fn gate(&self, routes: &[Route]) -> Vec<Difference> {
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
    pub fn rules(&self, routes: Option<&[Route]>, expected: Option<&Expected>) -> Vec<Difference> {
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
            let broken = match &*entry.key {
                UNREADABLE => Some("git config"),
                DAMAGED => Some("git status"),
                _ => None,
            };
            if let Some(what) = broken {
                let how = Some(&*entry.key);
                differences.push(Difference::new(what, &setting.file, "works", how));
                continue;
            }
            let is_way = is_way(entry, expected.is_some())
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
}

/// Whether the entry makes git go to another place than the gate. The addresses of remotes count
/// only if `knows_remotes`, because only the host's repository says what they should be.
fn leads_around(entry: &Entry, value: &str, routes: &[Route], knows_remotes: bool) -> bool {
    let leads_to_gate = |address: &str| {
        let is_it = |route: &Route| address == route.spelling || address == route.url;
        routes.iter().any(is_it)
    };
    let name = entry.key.rsplit('.').next().unwrap_or_default();
    match (entry.key.split('.').next().unwrap_or_default(), name) {
        ("url", "insteadof" | "pushinsteadof") => true,
        ("remote", "pushurl") => !leads_to_gate(value),
        ("remote" | "submodule", "url") => knows_remotes && !leads_to_gate(value),
        ("branch", "remote" | "pushremote") | ("remote", "pushdefault") => {
            value.contains([':', '/']) && !leads_to_gate(value)
        }
        // Names of remotes, or addresses, with white space between them.
        ("remotes", _) => {
            let is_other = |word: &str| word.contains([':', '/']) && !leads_to_gate(word);
            value.split_ascii_whitespace().any(is_other)
        }
        ("protocol", "allow") => {
            let gates = routes.first().and_then(|route| route.url.split(':').next());
            let of_gate = format!("protocol.{}.allow", gates.unwrap_or_default());
            (entry.key == "protocol.allow" || entry.key == of_gate) && value != "always"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::check::answer::GuestAnswer;
    use crate::check::expected::Expected;
    use crate::check::fixtures::{
        FILES, Guest, OWN, REPOSITORY, SPELLING, URL, WELL, copied, route, shown,
    };
    use crate::gate::Route;

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
            ("remotes.default\norigin other", ""),
            ("remotes.default\ngit://gate:1/one.git git@host:one", ""),
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
            (
                "remotes.default\norigin a:b",
                "remotes.default = origin a:b",
            ),
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
    }

    #[test]
    fn only_the_repository_itself_has_no_other_work_tree() {
        let copy = copied();
        let module = format!("file:{REPOSITORY}/modules/a/config");
        for (file, expected) in [
            (OWN, 1),
            ("file:.git/config.worktree", 1),
            ("file:/home/node/.gitconfig", 0),
            (&module, 0),
        ] {
            let settings = [[file, "core.worktree\n/x"]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let answer = GuestAnswer::parse(&text).unwrap();
            assert_eq!(answer.rules(None, Some(&copy)).len(), expected, "{file}");
        }
    }

    #[test]
    fn what_git_cannot_read_is_a_difference() {
        for (how, what) in [("unreadable", "git config"), ("damaged", "git status")] {
            let settings = [[OWN, how]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = GuestAnswer::parse(&text).unwrap().rules(None, None);
            let line = format!("{what}: `works` in the plan, `{how}` in the guest");
            assert_eq!(shown(&found), [format!("{REPOSITORY}/config: {line}")]);
        }
    }
}
