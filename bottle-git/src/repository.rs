//! The project's `.git` on its way to the agent's workspace: one repository that needs no other,
//! without secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bottle_common::error::hinted;
use bottle_common::guest::paths;
use bottle_common::host::tree::{Layer, Tree};
use bottle_common::plan::Plan;
use bottle_common::plan::values::GuestPath;
use bottle_common::smolvm::call::{Exec, Group};
use bottle_common::smolvm::install::{Existing, install, was_kept};
use bottle_common::step::{CallResults, receipt};

use crate::config::{self, Entry, Rules};
use crate::gate;
use crate::host_git::{self, Answer, GitDirs};
use crate::layout::{Part, choose};

/// What of a repository would be missing in the guest if it were a link that leads out of it.
const ESSENTIAL: &[&str] = &[
    "info",
    "logs",
    "objects",
    "objects/pack",
    "packed-refs",
    "refs",
    "refs/heads",
    "refs/tags",
];

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
    /// Finds the `.git` in `user_cwd`, if there is one. With `keeps_config` what it holds goes along
    /// as it is.
    pub fn find(user_cwd: &Path, plan: &Plan, keeps_config: bool) -> Result<Option<Self>> {
        let source = std::path::absolute(user_cwd.join(".git"))?;
        let reading = || format!("read {}", source.display());
        let is_directory = match source.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refuse_bare(user_cwd)?;
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(reading),
            Ok(metadata) if metadata.is_dir() => true,
            Ok(metadata) if metadata.is_file() => false,
            Ok(_) => bail!("{}: neither a directory nor a file", reading()),
        };
        let (git_dirs, is_readable) = ask_git(&source, is_directory, keeps_config)?;
        let mut warnings = Vec::new();
        if !is_readable {
            let shown = source.display();
            warnings.push(format!(
                "{shown} is no repository that git can read: copied as it is"
            ));
        }
        let (layers, files) = (Vec::new(), BTreeMap::new());
        let mut routes = plan.gate.as_ref().map(gate::routes).unwrap_or_default();
        let routes = routes.drain(..).map(|route| route.spelling).collect();
        let importer = Importer {
            repository: Self {
                source,
                is_readable,
                warnings,
                layers,
                files,
            },
            rules: Rules {
                identity: &plan.identity,
                routes,
            },
            work_tree: fs::canonicalize(user_cwd)
                .with_context(|| format!("read {}", user_cwd.display()))?,
            keeps_config,
        };
        importer.import(&git_dirs).map(Some)
    }

    /// Makes the calls that put it in place.
    pub fn calls(&self, replace: bool) -> Result<Group> {
        let existing = if replace {
            Existing::Replace
        } else {
            Existing::Keep
        };
        let tree = Tree {
            name: "repository".to_owned(),
            layers: self.layers.clone(),
            files: self.files.clone(),
        };
        let mut group = install(tree, &workspace(), ".git", existing)?;
        group
            .calls
            .insert(0, Exec::new(&["mkdir", "-p", &workspace()]).into());
        group
            .calls
            .push(Exec::new(&["chown", "-R", paths::OWNER, &path()]).into());
        Ok(group)
    }

    /// Gives the line for people, the receipt, and a warning where the guest had a repository of
    /// its own.
    pub fn report(&self, results: &CallResults) -> (String, receipt::Repository, Option<String>) {
        let path = path().to_string();
        if results.answers.iter().any(|answer| was_kept(answer)) {
            let warning =
                format!("{path} was there already and is kept; --replace-repository replaces it");
            let line = format!("{path} as it was");
            return (
                line,
                receipt::Repository::Kept { path, kept: true },
                Some(warning),
            );
        }
        let packed = results.packed.first();
        let files = packed.map_or(0, |packed| packed.files);
        let sha256 = packed
            .map(|packed| packed.sha256.clone())
            .unwrap_or_default();
        let line = format!("{} in {path}", self.source.display());
        (
            line,
            receipt::Repository::Copied {
                path,
                files,
                sha256,
            },
            None,
        )
    }
}

/// The agent's work tree.
pub fn workspace() -> GuestPath {
    paths::home("workspace")
}

/// The repository in the guest.
pub fn path() -> GuestPath {
    workspace().join(".git")
}

/// Finds the parts of the repository `source`, and whether git can read it.
fn ask_git(source: &Path, is_directory: bool, keeps_config: bool) -> Result<(GitDirs, bool)> {
    let shown = source.display();
    let as_it_is = || {
        let (git_dir, common_dir) = (source.to_owned(), source.to_owned());
        GitDirs {
            git_dir,
            common_dir,
            is_bare: false,
        }
    };
    match host_git::git_dirs(source)? {
        Answer::Yes(dirs) if dirs.is_bare && dirs.git_dir == dirs.common_dir => {
            Err(bare(&dirs.common_dir))
        }
        Answer::Yes(dirs) => Ok((dirs, true)),
        Answer::No(_) if is_directory => Ok((as_it_is(), false)),
        Answer::No(words) => Err(hinted(
            format!("{shown} leads to no repository: {words}"),
            "git worktree repair, or git submodule update, mends what has been moved",
        )),
        Answer::NoGit(_) if is_directory && keeps_config => Ok((as_it_is(), true)),
        Answer::NoGit(error) => Err(hinted(
            format!("read {shown}: run git: {error}"),
            "git takes the secrets out of the configuration; --keep-config copies a .git directory \
             as it is",
        )),
    }
}

/// Fails when `directory` is a repository itself.
fn refuse_bare(directory: &Path) -> Result<()> {
    if !directory.join("HEAD").exists() || !directory.join("objects").exists() {
        return Ok(());
    }
    match host_git::git_dirs(&std::path::absolute(directory)?)? {
        Answer::Yes(_) => Err(bare(directory)),
        _ => Ok(()),
    }
}

fn bare(path: &Path) -> anyhow::Error {
    let path = path.display();
    hinted(
        format!("{path} is a bare repository: it has no work tree"),
        format!(
            "git --git-dir {path} worktree add NEW, or git clone {path} NEW, with NEW as \
             spec.user_cwd"
        ),
    )
}

/// Looks a repository through.
struct Importer<'a> {
    repository: Repository,
    rules: Rules<'a>,
    /// The project's directory.
    work_tree: PathBuf,
    keeps_config: bool,
}

impl Importer<'_> {
    fn import(mut self, dirs: &GitDirs) -> Result<Repository> {
        let GitDirs {
            git_dir,
            common_dir,
            ..
        } = dirs;
        let is_linked = fs::canonicalize(git_dir).ok() != fs::canonicalize(common_dir).ok();
        refuse_links_out(git_dir, common_dir)?;
        let top = Path::new("");
        if is_linked {
            self.add_layer(common_dir, top, Part::Shared);
            self.add_layer(git_dir, top, Part::Own);
        } else {
            self.add_layer(git_dir, top, Part::Whole);
        }
        if self.import_config(&common_dir.join("config"), top, is_linked)? {
            self.import_config(&git_dir.join("config.worktree"), top, is_linked)?;
        }
        self.import_alternates(common_dir, top)?;
        self.import_modules(&git_dir.join("modules"), Path::new("modules"), is_linked)?;
        Ok(self.repository)
    }

    fn add_layer(&mut self, source: &Path, place: &Path, part: Part) {
        let (source, place) = (source.to_owned(), place.to_owned());
        let choose = choose(part, self.keeps_config);
        self.repository.layers.push(Layer {
            source,
            place,
            choose,
        });
    }

    /// Makes the guest's form of the configuration `file` of the repository at `place`; gives
    /// whether each worktree has one more.
    fn import_config(&mut self, file: &Path, place: &Path, is_linked: bool) -> Result<bool> {
        let Some(name) = file.file_name().filter(|_| file.exists()) else {
            return Ok(false);
        };
        let shown = file.display();
        let path = place.join(name);
        let mut entries = match host_git::entries(file)? {
            Answer::Yes(entries) => entries,
            Answer::NoGit(_) => return Ok(false),
            Answer::No(_) if self.keeps_config => return Ok(false),
            Answer::No(_) => {
                self.warn(format!("{shown} is left out: git cannot read it"));
                self.repository.files.insert(path, String::new());
                return Ok(false);
            }
        };
        let before = entries.clone();
        let directory = file.parent().unwrap_or(file);
        config::filter_extensions(&mut entries, &directory.display().to_string())?;
        self.rewrite_worktree(&mut entries, directory, place, is_linked)?;
        if entries.iter().any(config::is_partial) {
            let directory = directory.display();
            self.warn(format!(
                "{directory} is a partial clone: git fetches what is missing from its remote when \
                 it needs it"
            ));
        }
        let is_extended = config::is_true(&entries, "extensions.worktreeconfig");
        if self.keeps_config {
            if entries != before {
                self.repository.files.insert(path, config::render(&entries));
            }
            return Ok(is_extended);
        }
        let (kept, left_out) = config::without_secrets(entries, &self.rules, name != "config");
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            self.warn(format!(
                "left out of {shown} in the guest: {names}; --keep-config keeps it"
            ));
        }
        self.repository.files.insert(path, config::render(&kept));
        Ok(is_extended)
    }

    fn warn(&mut self, warning: String) {
        self.repository.warnings.push(warning);
    }

    /// Makes what names the work tree mean the guest's.
    fn rewrite_worktree(
        &self,
        entries: &mut Vec<Entry>,
        directory: &Path,
        place: &Path,
        is_linked: bool,
    ) -> Result<()> {
        let is_module = !place.as_os_str().is_empty();
        if is_linked && !is_module {
            // The common directory of a linked worktree has another work tree of its own, or none.
            for entry in entries.iter_mut().filter(|entry| entry.key == "core.bare") {
                entry.value = Some("false".to_owned());
            }
        }
        let Some(value) = config::value(entries, "core.worktree").map(str::to_owned) else {
            return Ok(());
        };
        let found = fs::canonicalize(directory.join(&value));
        let below = found
            .as_ref()
            .ok()
            .and_then(|path| path.strip_prefix(&self.work_tree).ok());
        entries.retain(|entry| entry.key != "core.worktree");
        match below {
            Some(below) if is_module => {
                let up = "../".repeat(place.components().count() + 1);
                let value = Some(format!("{up}{}", below.display()));
                entries.push(Entry {
                    key: "core.worktree".to_owned(),
                    value,
                });
                return Ok(());
            }
            // A module whose work tree is not there gets a new one from `git submodule update`.
            None if is_module => return Ok(()),
            Some(below) if below.as_os_str().is_empty() => return Ok(()),
            _ => {}
        }
        if is_linked && directory.join("worktrees").exists() {
            return Ok(());
        }
        let set = directory.join("config");
        let (set, work_tree) = (set.display(), self.work_tree.display());
        Err(hinted(
            format!("{set}: core.worktree is `{value}`, not {work_tree}"),
            format!("git config -f {set} --unset core.worktree, or another spec.user_cwd"),
        ))
    }

    /// Adds the objects that the repository at `place` has elsewhere.
    fn import_alternates(&mut self, common_dir: &Path, place: &Path) -> Result<()> {
        if !common_dir.join("objects/info/alternates").exists() {
            return Ok(());
        }
        let why = match host_git::alternates(common_dir)? {
            Answer::Yes(paths) => {
                for path in &paths {
                    self.add_layer(path, &place.join("objects"), Part::Objects);
                }
                return Ok(());
            }
            Answer::No(words) => words,
            Answer::NoGit(error) => error.to_string(),
        };
        let shown = common_dir.display();
        Err(hinted(
            format!("{shown}: it borrows objects from another repository: {why}"),
            "while the other one is there, git repack -a -d && rm .git/objects/info/alternates \
             makes it whole, and git clone --dissociate a whole copy",
        ))
    }

    /// Adds the submodules' repositories that are in `directory`, under names of any depth.
    fn import_modules(&mut self, directory: &Path, place: &Path, is_linked: bool) -> Result<()> {
        let Ok(entries) = fs::read_dir(directory) else {
            return Ok(());
        };
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
            if !source.join("HEAD").exists() || !source.join("objects").exists() {
                self.import_modules(&source, &place, is_linked)?;
                continue;
            }
            self.add_layer(&source, &place, Part::Whole);
            if self.import_config(&source.join("config"), &place, is_linked)? {
                self.import_config(&source.join("config.worktree"), &place, is_linked)?;
            }
            self.import_alternates(&source, &place)?;
            self.import_modules(&source.join("modules"), &place.join("modules"), is_linked)?;
        }
        Ok(())
    }
}

/// Refuses a repository whose parts are links that lead out of it.
fn refuse_links_out(git_dir: &Path, common_dir: &Path) -> Result<()> {
    let mut parts = vec![git_dir.join("HEAD"), git_dir.join("index")];
    parts.extend(ESSENTIAL.iter().map(|name| common_dir.join(name)));
    for pack in fs::read_dir(common_dir.join("objects/pack"))
        .into_iter()
        .flatten()
        .flatten()
    {
        parts.push(pack.path());
    }
    let Ok(root) = fs::canonicalize(common_dir) else {
        return Ok(());
    };
    for part in parts {
        let is_link = part.is_symlink();
        if is_link && fs::canonicalize(&part).is_ok_and(|target| !target.starts_with(&root)) {
            let hint =
                "a clone has all of it: git clone --no-local OLD NEW, with NEW as spec.user_cwd";
            let part = part.display();
            return Err(hinted(
                format!("{part} is a link that leads out of the repository"),
                hint,
            ));
        }
    }
    Ok(())
}
