//! Compares the repository in the guest, and the work tree, with those of the host.

use std::collections::HashSet;

use bottle_common::guest::listing::Difference;
use bottle_common::guest::paths;
use bottle_common::plan::values::GuestPath;

use super::answer::{GuestAnswer, without_credentials};
use super::expected::{Expected, GitDir, WorkTree};
use crate::repository;

impl GuestAnswer<'_> {
    /// Compares the repository with `expected`.
    pub fn repository(&self, expected: &Expected) -> Vec<Difference> {
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
        differences.extend(self.git_dir(&expected.own, expected.keeps_config));
        if expected.is_readable && !expected.commits.is_empty() && self.known.is_empty() {
            let source = &*expected.source;
            differences.push(Difference::new("commits", &path, source, Some("others")));
            return differences;
        }
        differences.extend(self.missing_remotes(expected));
        for module in &expected.modules {
            let objects = module.path.join("objects");
            let broken = self.compare(&[&module.path, &objects], "directory");
            if broken.is_empty() {
                differences.extend(self.git_dir(module, expected.keeps_config));
            }
            differences.extend(broken);
        }
        differences
    }

    /// Compares the files of one repository that git reads and the agent has no reason to change.
    fn git_dir(&self, expected: &GitDir, keeps_config: bool) -> Vec<Difference> {
        let path = &expected.path;
        let mut differences = Vec::new();
        let index = path.join("index");
        if expected.has_index && !self.listing.0.contains_key(&**index) {
            differences.push(Difference::new("index", &index, "there", None));
        }
        if let Some(hooks) = &expected.hooks {
            differences.extend(hooks.differences(&self.below(&path.join("hooks"))));
        }
        for name in ["branches", "commondir", "remotes"] {
            for (file, attributes) in self.below(&path.join(name)).0 {
                if attributes.kind != "directory" && !keeps_config {
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
}

#[cfg(test)]
mod tests {
    use bottle_common::guest::listing::Listing;

    use crate::check::answer::GuestAnswer;
    use crate::check::expected::{Expected, GitDir, WorkTree};
    use crate::check::fixtures::{FILES, Guest, OWN, REPOSITORY, WELL, copied, git_dir, shown};
    use crate::repository;

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
    fn a_remote_that_is_missing_is_a_difference() {
        let lines = ["remote.a.url\nx", "remote.b.fetch\ny", "branch.c.url\nz"];
        let split = |line: &&str| {
            let (key, value) = line.split_once('\n').unwrap();
            (key.to_owned(), value.to_owned())
        };
        let copy = Expected {
            settings: lines.iter().map(split).collect(),
            ..copied()
        };
        let missing = format!(
            "{REPOSITORY}/config: remote: `remote.a.url = x` in the plan, nothing in the guest"
        );
        for (line, expected) in [
            (lines[0], vec![]),
            ("remote.a.url\nother", vec![&missing]),
            (lines[1], vec![&missing]),
        ] {
            let settings = [[OWN, line]];
            let text = Guest {
                settings: &settings,
                ..WELL
            }
            .text();
            let found = shown(&GuestAnswer::parse(&text).unwrap().repository(&copy));
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{line}");
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a test that tells one story")]
    fn the_repository_is_nodes_and_git_reads_it() {
        let missing = FILES.replace(&format!("d 755 node:node\0{REPOSITORY}\0\0"), "");
        let with = |more: &str| format!("{FILES}{more}");
        let file = |path: &str| format!("f 755 node:node\0{REPOSITORY}/{path}\0\0");
        let directory = |path: &str| format!("d 755 node:node\0{REPOSITORY}/{path}\0\0");
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
                Expected {
                    own: GitDir {
                        hooks,
                        ..git_dir("")
                    },
                    ..copied()
                },
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
                WELL,
                Expected {
                    own: GitDir {
                        has_index: true,
                        ..git_dir("")
                    },
                    ..copied()
                },
                is("/index", "index: `there` in the plan, nothing"),
            ),
            (
                WELL,
                Expected {
                    modules: vec![git_dir("/modules/a")],
                    ..copied()
                },
                is("/modules/a", "type: `directory` in the plan, nothing"),
            ),
            (
                Guest {
                    files: with(&directory("modules/a")) + &file("modules/a/objects"),
                    ..WELL
                },
                Expected {
                    modules: vec![git_dir("/modules/a")],
                    ..copied()
                },
                is(
                    "/modules/a/objects",
                    "type: `directory` in the plan, `file`",
                ),
            ),
            (
                Guest {
                    files: with(&directory("modules/a"))
                        + &directory("modules/a/objects")
                        + &file("modules/a/commondir"),
                    ..WELL
                },
                Expected {
                    modules: vec![git_dir("/modules/a")],
                    ..copied()
                },
                is("/modules/a/commondir", "rule: nothing in the plan, `there`"),
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
}
