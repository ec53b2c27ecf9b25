//! The project's `.git` on its way to the agent's workspace: one repository that needs no other, without secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bottle_common::archive::{Directory, Existing, Layer, was_kept};
use bottle_common::call::Call;
use bottle_common::checked::GuestPath;
use bottle_common::failure::hinted;
use bottle_common::guest;
use bottle_common::plan::Plan;
use bottle_common::receipt;
use bottle_common::work::Done;

use crate::config::{self, Entry, Rules};
use crate::gate;
use crate::host::{self, Places, Said};
use crate::layout::{Part, choose};

/// A repository of the host.
pub struct Repository {
    source: PathBuf,
    /// Whether the host's git takes it for a repository.
    pub is_readable: bool,
    /// What a person should know beforehand.
    pub warnings: Vec<String>,
    layers: Vec<Layer>,
    files: BTreeMap<PathBuf, String>,
}

impl Repository {
    /// Finds the `.git` in `user_cwd`, if there is one. With `keeps_config` what it holds goes along as it is.
    pub fn find(user_cwd: &Path, plan: &Plan, keeps_config: bool) -> Result<Option<Self>> {
        let source = std::path::absolute(user_cwd.join(".git"))?;
        let shown = source.display();
        let is_directory = match source.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return refuse_bare(user_cwd).map(|()| None),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
            Ok(metadata) if metadata.is_dir() => true,
            Ok(metadata) if metadata.is_file() => false,
            Ok(_) => bail!("read {shown}: neither a directory nor a file"),
        };
        let mut warnings = Vec::new();
        let (places, is_readable) = match host::places(&source)? {
            Said::Yes(places) if places.is_bare && places.own == places.shared => return Err(bare(&places.shared)),
            Said::Yes(places) => (places, true),
            Said::No(words) if !is_directory => {
                let hint = "git worktree repair, or git submodule update, mends what has been moved";
                return Err(hinted(format!("{shown} leads to no repository: {words}"), hint));
            }
            Said::No(_) => {
                warnings.push(format!("{shown} is no repository that git can read: copied as it is"));
                (Places { own: source.clone(), shared: source.clone(), is_bare: false }, false)
            }
            Said::Absent(_) if is_directory && keeps_config => {
                (Places { own: source.clone(), shared: source.clone(), is_bare: false }, true)
            }
            Said::Absent(error) => {
                let hint =
                    "git takes the secrets out of the configuration; --keep-config copies a .git directory as it is";
                return Err(hinted(format!("read {shown}: run git: {error}"), hint));
            }
        };
        let repository = Self { source, is_readable, warnings, layers: Vec::new(), files: BTreeMap::new() };
        let routes = plan.gate.as_ref().map(gate::routes).unwrap_or_default();
        let rules = Rules { identity: &plan.identity, routes: routes.into_iter().map(|(route, _)| route).collect() };
        let work_tree = fs::canonicalize(user_cwd).with_context(|| format!("read {}", user_cwd.display()))?;
        Ok(Some(Copy { repository, rules, work_tree, keeps_config }.of(places)?))
    }

    /// The calls that put it in place, which are to be the step's first.
    pub fn calls(&self, replace: bool) -> Result<Vec<Call>> {
        let existing = if replace { Existing::Replace } else { Existing::Keep };
        let mut directory = Directory::new("repository".to_owned(), self.source.clone());
        (directory.layers, directory.files) = (self.layers.clone(), self.files.clone());
        let mut calls = vec![Call::exec(&["mkdir", "-p", &workspace()])];
        calls.extend(directory.unpack(&workspace(), ".git", existing)?);
        calls.push(Call::exec(&["chown", "-R", guest::OWNER, &path()]));
        Ok(calls)
    }

    /// The line for people, the receipt, and a warning where the guest had a repository of its own.
    pub fn outcome(&self, done: &Done) -> (String, receipt::Repository, Option<String>) {
        let path = path().to_string();
        if done.answers.iter().any(|answer| was_kept(answer)) {
            let warning = format!("{path} was there already and is kept; --replace-repository replaces it");
            return (format!("{path} as it was"), receipt::Repository::Kept { path, kept: true }, Some(warning));
        }
        let packed = done.packed.first();
        let (files, sha256) = packed.map(|packed| (packed.files, packed.sha256.clone())).unwrap_or_default();
        let line = format!("{} in {path}", self.source.display());
        (line, receipt::Repository::Copied { path, files, sha256 }, None)
    }
}

/// The agent's work tree.
pub fn workspace() -> GuestPath {
    guest::home("workspace")
}

/// The repository in the guest.
pub fn path() -> GuestPath {
    workspace().join(".git")
}

/// Fails when `directory` is a repository itself.
fn refuse_bare(directory: &Path) -> Result<()> {
    let is_like = directory.join("HEAD").exists() && directory.join("objects").exists();
    match is_like.then(|| host::places(&std::path::absolute(directory)?)).transpose()? {
        Some(Said::Yes(_)) => Err(bare(directory)),
        _ => Ok(()),
    }
}

fn bare(path: &Path) -> anyhow::Error {
    let path = path.display();
    let hint = format!("git --git-dir {path} worktree add NEW, or git clone {path} NEW, with NEW as spec.user_cwd");
    hinted(format!("{path} is a bare repository: it has no work tree"), hint)
}

/// A repository that is being looked through.
struct Copy<'a> {
    repository: Repository,
    rules: Rules<'a>,
    /// The project's directory.
    work_tree: PathBuf,
    keeps_config: bool,
}

impl Copy<'_> {
    fn of(mut self, Places { own, shared, .. }: Places) -> Result<Repository> {
        let is_linked = fs::canonicalize(&own).ok() != fs::canonicalize(&shared).ok();
        let packs = fs::read_dir(shared.join("objects/pack")).into_iter().flatten().flatten().map(|entry| entry.path());
        let in_shared = ["info", "logs", "objects", "objects/pack", "packed-refs", "refs", "refs/heads", "refs/tags"];
        let in_shared = in_shared.iter().map(|name| shared.join(name)).chain(packs);
        for part in [own.join("HEAD"), own.join("index")].into_iter().chain(in_shared) {
            let is_out = |target: PathBuf| fs::canonicalize(&shared).is_ok_and(|shared| !target.starts_with(shared));
            if part.is_symlink() && fs::canonicalize(&part).is_ok_and(is_out) {
                let hint = "a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd";
                return Err(hinted(format!("{} is a link that leads out of the repository", part.display()), hint));
            }
        }
        let top = Path::new("");
        if is_linked {
            self.layer(&shared, top, Part::Shared);
            self.layer(&own, top, Part::Own);
        } else {
            self.layer(&own, top, Part::Whole);
        }
        let is_extended = self.config(&shared.join("config"), top, is_linked)?;
        if is_extended {
            self.config(&own.join("config.worktree"), top, is_linked)?;
        }
        self.alternates(&shared, top)?;
        self.modules(&own.join("modules"), Path::new("modules"), is_linked)?;
        Ok(self.repository)
    }

    fn layer(&mut self, source: &Path, place: &Path, part: Part) {
        let (source, place) = (source.to_owned(), place.to_owned());
        self.repository.layers.push(Layer { source, place, choose: choose(part, self.keeps_config) });
    }

    /// Makes the guest's form of the configuration `file` of the repository at `place`; gives whether each worktree has
    /// one more.
    fn config(&mut self, file: &Path, place: &Path, is_linked: bool) -> Result<bool> {
        let (Some(name), true) = (file.file_name(), file.exists()) else { return Ok(false) };
        let (guests, shown) = (place.join(name), file.display());
        let mut entries = match host::entries(file)? {
            Said::Yes(entries) => entries,
            Said::Absent(_) => return Ok(false),
            Said::No(_) if self.keeps_config => return Ok(false),
            Said::No(_) => {
                self.repository.warnings.push(format!("{shown} is left out: git cannot read it"));
                self.repository.files.insert(guests, String::new());
                return Ok(false);
            }
        };
        let before = entries.clone();
        let directory = file.parent().unwrap_or(file);
        config::extensions(&mut entries, &directory.display().to_string())?;
        self.settle(&mut entries, directory, place, is_linked)?;
        if entries.iter().any(config::is_partial) {
            let warning = "is a partial clone: git fetches what is missing from its remote when it needs it";
            self.repository.warnings.push(format!("{} {warning}", directory.display()));
        }
        let is_extended = config::is_true(&entries, "extensions.worktreeconfig");
        if self.keeps_config {
            if entries != before {
                self.repository.files.insert(guests, config::render(&entries));
            }
            return Ok(is_extended);
        }
        let (kept, left_out) = config::without_secrets(entries, &self.rules, name != "config");
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            self.repository.warnings.push(format!("left out of {shown} in the guest: {names}; --keep-config keeps it"));
        }
        self.repository.files.insert(guests, config::render(&kept));
        Ok(is_extended)
    }

    /// Makes what names the work tree mean the guest's.
    fn settle(&self, entries: &mut Vec<Entry>, directory: &Path, place: &Path, is_linked: bool) -> Result<()> {
        let is_module = !place.as_os_str().is_empty();
        if is_linked && !is_module {
            // Of a linked worktree, the common directory's own work tree is another; it may have none.
            for entry in entries.iter_mut().filter(|entry| entry.key == "core.bare") {
                entry.value = Some("false".to_owned());
            }
        }
        let Some(value) = config::value(entries, "core.worktree").map(str::to_owned) else { return Ok(()) };
        let found = fs::canonicalize(directory.join(&value));
        let below = found.as_ref().ok().and_then(|path| path.strip_prefix(&self.work_tree).ok());
        entries.retain(|entry| entry.key != "core.worktree");
        match below {
            Some(below) if is_module => {
                let up = "../".repeat(place.components().count() + 1);
                let value = Some(format!("{up}{}", below.display()));
                entries.push(Entry { key: "core.worktree".to_owned(), value });
            }
            // One whose work tree is not there gets a new one from `git submodule update`.
            None if is_module => {}
            Some(below) if below.as_os_str().is_empty() => {}
            _ if is_linked && directory.join("worktrees").exists() => {}
            _ => {
                let set = directory.join("config");
                return Err(hinted(
                    format!("{}: core.worktree is `{value}`, not {}", set.display(), self.work_tree.display()),
                    format!("git config -f {} --unset core.worktree, or another spec.user_cwd", set.display()),
                ));
            }
        }
        Ok(())
    }

    /// Takes the objects along that the repository at `place` has elsewhere.
    fn alternates(&mut self, shared: &Path, place: &Path) -> Result<()> {
        if !shared.join("objects/info/alternates").exists() {
            return Ok(());
        }
        let why = match host::alternates(shared)? {
            Said::Yes(paths) => {
                for path in &paths {
                    self.layer(path, &place.join("objects"), Part::Objects);
                }
                return Ok(());
            }
            Said::No(words) => words,
            Said::Absent(error) => error.to_string(),
        };
        Err(hinted(
            format!("{}: it borrows objects from another repository: {why}", shared.display()),
            "while the other one is there, git repack -a -d && rm .git/objects/info/alternates makes it whole, and git clone --dissociate a whole copy",
        ))
    }

    /// Takes the submodules' repositories along that are in `directory`, under names of any depth.
    fn modules(&mut self, directory: &Path, place: &Path, is_linked: bool) -> Result<()> {
        let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", directory.display()))?;
            if entry.path().is_dir() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        for name in names {
            let (source, place) = (directory.join(&name), place.join(&name));
            if source.join("HEAD").exists() && source.join("objects").exists() {
                self.layer(&source, &place, Part::Whole);
                let is_extended = self.config(&source.join("config"), &place, is_linked)?;
                if is_extended {
                    self.config(&source.join("config.worktree"), &place, is_linked)?;
                }
                self.alternates(&source, &place)?;
                self.modules(&source.join("modules"), &place.join("modules"), is_linked)?;
            } else {
                self.modules(&source, &place, is_linked)?;
            }
        }
        Ok(())
    }
}
