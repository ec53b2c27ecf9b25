//! What a guest says in which all is well, for tests to change.

use std::collections::HashSet;

use bottle_common::guest::listing::Difference;

use super::expected::{Expected, GitDir};
use crate::gate::Route;

pub const GLOBAL: &str = "file:/home/node/.gitconfig";
pub const OWN: &str = "file:.git/config";
pub const REPOSITORY: &str = "/home/node/workspace/.git";
pub const URL: &str = "git://gate:1/one.git";
pub const SPELLING: &str = "git@host:one";

/// The attributes of the files that are there when all is well.
pub const FILES: &str = "d 755 node:node\0/home/node/workspace\0\0\
                     d 755 node:node\0/home/node/workspace/.git\0\0\
                     f 644 node:node\0/home/node/.gitconfig\0\0";

/// What the guest says.
pub struct Guest<'a> {
    pub files: String,
    pub not_nodes: &'a str,
    pub has_files: &'a str,
    pub unreadable: &'a str,
    pub known: &'a str,
    pub settings: &'a [[&'a str; 2]],
    pub remotes: &'a str,
}

/// A guest in which all is well.
pub const WELL: Guest = Guest {
    files: String::new(),
    not_nodes: "",
    has_files: "x",
    unreadable: "",
    known: "c0ffee",
    settings: &[],
    remotes: "",
};

impl Guest<'_> {
    pub fn text(&self) -> String {
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

/// A spelling that leads to [`URL`].
pub fn route(spelling: &str) -> Route {
    Route {
        spelling: spelling.to_owned(),
        url: URL.to_owned(),
    }
}

/// The directory `below` the repository, or itself, of which nothing is known.
pub fn git_dir(below: &str) -> GitDir {
    let path = format!("{REPOSITORY}{below}").try_into();
    GitDir {
        path: path.expect("a path"),
        has_index: false,
        hooks: None,
    }
}

/// A repository that was copied with one commit, and of which nothing else is known.
pub fn copied() -> Expected {
    Expected {
        source: "/project/.git".to_owned(),
        is_readable: true,
        keeps_config: false,
        commits: vec!["c0ffee".to_owned()],
        settings: HashSet::new(),
        own: git_dir(""),
        modules: Vec::new(),
        work_tree: None,
    }
}

/// The lines in which the differences are shown.
pub fn shown(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}
