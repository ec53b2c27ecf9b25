//! Reads the project's `.git` and turns it into a repository for the agent's workspace. This
//! repository contains no secrets, unless its configuration is kept, and does not depend on any
//! other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bottle_common::error::hinted;
use bottle_common::host::signals;
use bottle_common::host::tree::{Files, Layer};
use bottle_common::plan::Plan;
use bottle_common::plan::values::IgnorePattern;
use bottle_common::text::shorten;

use crate::alternates;
use crate::config::{self, Entry};
use crate::config_filter::{self, Rules};
use crate::gate;
use crate::git_dirs::{self, GitDirs, Reach};
use crate::host_git::{self, GitAnswer};
use crate::inside::CLONE;
use crate::layout::{Scope, choose};
use crate::links::{refuse_links_out, refuse_objects_out};
use crate::lister::Lister;
use crate::repository::Repository;

/// The maximum number of directories below `modules`.
const MAX_DIRECTORIES: usize = 10_000;
/// The maximum depth of these directories.
const MAX_DEPTH: usize = 40;
/// The maximum number of repositories that lend objects, to all submodules together.
const MAX_LENDERS: usize = 500;
/// The maximum number of omitted settings that a warning names.
const MAX_NAMES: usize = 50;
/// The number of characters that a warning shows of each.
const MAX_SHOWN: usize = 100;

/// Finds the `.git` in `user_cwd`. Returns `None` if there is none. With `keeps_config`, its
/// configuration is copied unchanged. Directories outside the project that it uses must be in
/// one of the directories `allowed`.
///
/// # Errors
///
/// If the repository cannot be copied so that it works in the guest, if it uses a directory
/// that is not allowed, if it cannot be read, or if a signal comes.
pub fn find(
    user_cwd: &Path,
    plan: &Plan,
    keeps_config: bool,
    allowed: &[PathBuf],
) -> Result<Option<Repository>> {
    let source = std::path::absolute(user_cwd.join(".git"))?;
    let is_directory = match source.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            refuse_bare(user_cwd)?;
            return Ok(None);
        }
        metadata => metadata
            .with_context(|| format!("read {}", source.display()))?
            .is_dir(),
    };
    let mut reach = Reach::new(user_cwd, allowed)?;
    let dirs = GitDirs::find(&source, &reach)?;
    reach.extend(&dirs.common_dir);
    refuse_links_out(&dirs)?;
    let is_readable = dirs.is_repository();
    let config = host_git::entries(&dirs.common_dir, "config")?;
    if is_readable && is_bare(&dirs, config.as_ref())? {
        return Err(bare(&dirs.common_dir));
    }
    let repository = Repository::new(source, dirs.clone(), is_readable, keeps_config);
    let importer = Importer::new(repository, plan, reach, is_directory);
    importer.import(&dirs, config).map(Some)
}

/// Fails if `directory` is itself a repository, without a work tree.
fn refuse_bare(directory: &Path) -> Result<()> {
    let dirs = GitDirs::single(directory);
    if dirs.is_repository() {
        return Err(bare(&std::path::absolute(directory)?));
    }
    Ok(())
}

/// Whether the repository with this `config` is configured to have no work tree. A linked worktree
/// always has one.
fn is_bare(dirs: &GitDirs, config: Option<&GitAnswer<Vec<Entry>>>) -> Result<bool> {
    let (root, key) = (&dirs.common_dir, "core.bare");
    let Some(GitAnswer::Yes(entries)) = config else {
        return Ok(false);
    };
    if dirs.is_linked() {
        return Ok(false);
    }
    let own = "config.worktree";
    let has_own =
        root.join(own).exists() && host_git::is_true(root, "config", "extensions.worktreeConfig")?;
    if has_own && host_git::is_true(root, own, key)? {
        return Ok(true);
    }
    let entry = entries.iter().rev().find(|entry| entry.key == key);
    match entry.map(|entry| entry.value.as_deref()) {
        // This is what git itself writes. It understands other words, too.
        None | Some(Some("false")) => Ok(false),
        Some(_) => host_git::is_true(root, "config", key),
    }
}

/// Makes the error about the bare repository at `path`.
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

/// Reads a repository on the host and decides what is copied.
struct Importer<'a> {
    repository: Repository,
    /// The plan's patterns of untracked files; `None` if it does not ask for the work tree.
    patterns: Option<&'a Vec<IgnorePattern>>,
    /// The repositories of submodules, by their directories on the host.
    modules: BTreeMap<PathBuf, Module>,
    rules: Rules<'a>,
    reach: Reach,
    /// Whether `.git` is a directory in the project.
    is_directory: bool,
    /// The number of directories in which submodules have been looked for.
    directories: usize,
    /// The number of repositories from which objects are borrowed.
    lenders: usize,
    /// The approximate memory for the entries of all configuration files, in bytes.
    cost: usize,
}

impl<'a> Importer<'a> {
    /// Makes the importer of `repository`, of which nothing has been read. Its files have to be
    /// within `reach`. `is_directory` says whether `.git` is a directory in the project.
    fn new(repository: Repository, plan: &'a Plan, reach: Reach, is_directory: bool) -> Self {
        let routes = plan.gate.as_ref().map(gate::routes).unwrap_or_default();
        Self {
            repository,
            patterns: plan.copy_worktree.then_some(&plan.worktree_include),
            modules: BTreeMap::new(),
            rules: Rules {
                identity: &plan.identity,
                routes: routes.into_iter().map(|route| route.spelling).collect(),
            },
            reach,
            is_directory,
            directories: 0,
            lenders: 0,
            cost: 0,
        }
    }

    /// Reads the repository in the directories `dirs`, which has this `config`, with everything
    /// that it uses.
    fn import(
        mut self,
        dirs: &GitDirs,
        config: Option<GitAnswer<Vec<Entry>>>,
    ) -> Result<Repository> {
        let GitDirs {
            git_dir,
            common_dir,
        } = dirs;
        let is_linked = dirs.is_linked();
        let top = Path::new("");
        if is_linked {
            self.add_layer(common_dir, top, Scope::Shared);
            self.add_layer(git_dir, top, Scope::Own);
        } else {
            self.add_layer(git_dir, top, Scope::Whole);
        }
        if !self.import_entries(config, common_dir, "config", top, is_linked)? {
            self.repository.is_readable = false;
        }
        self.import_config(git_dir, "config.worktree", top, is_linked)?;
        self.import_alternates(common_dir, top)?;
        self.import_modules(&git_dir.join("modules"), Path::new("modules"), is_linked)?;
        if !self.repository.is_readable {
            let shown = self.repository.source.display();
            let warning = format!("{shown} is no repository that git can read: copied as it is");
            self.repository.warnings.insert(0, warning);
        }
        if let Some(patterns) = self.patterns {
            self.import_worktree(dirs, patterns)?;
        }
        Ok(self.repository)
    }

    /// Lists the files of the work tree whose repository is in `dirs`, and of its submodules.
    fn import_worktree(&mut self, dirs: &GitDirs, patterns: &[IgnorePattern]) -> Result<()> {
        let reach = self.reach.clone();
        let project = reach.project();
        if !self.repository.is_readable {
            let shown = project.display();
            return Err(hinted(
                format!("{shown}: git cannot read its .git, so it cannot list the files"),
                format!(
                    "git -C {shown} status says why; without spec.copy_worktree, only .git is \
                         copied"
                ),
            ));
        }
        let mut lister = Lister::new(&reach, patterns)?;
        let above = WorkTree {
            dirs: dirs.clone(),
            in_guest: PathBuf::new(),
            place: PathBuf::new(),
        };
        let mut work_trees = vec![above];
        while let Some(above) = work_trees.pop() {
            signals::check()?;
            for submodule in lister.list(&above.dirs, &above.place)? {
                match self.submodule(&submodule, &above)? {
                    Submodule::At(work_tree) => work_trees.push(work_tree),
                    Submodule::Unknown => lister.leave_out(&submodule),
                    Submodule::Missing => {}
                }
            }
        }
        let worktree = lister.finish();
        for (names, why) in [
            (
                &worktree.secrets,
                "their names are those of secrets; spec.worktree_include lets them in",
            ),
            (&worktree.repositories, "they are repositories of their own"),
        ] {
            if names.number > 0 {
                let names = listed(&names.first, names.number);
                let shown = project.display();
                self.warn(format!("left out of {shown} in the guest: {names}: {why}"));
            }
        }
        self.repository.worktree = Some(worktree);
        Ok(())
    }

    /// Finds the repository of the submodule of `above` that is at `place` in the project.
    fn submodule(&mut self, place: &Path, above: &WorkTree) -> Result<Submodule> {
        let work_tree = self.reach.project().join(place);
        // No parent may be a link.
        if !fs::canonicalize(&work_tree).is_ok_and(|path| path == work_tree) {
            return Ok(Submodule::Missing);
        }
        let file = work_tree.join(".git");
        let Ok(metadata) = file.symlink_metadata() else {
            return Ok(Submodule::Missing);
        };
        let depth = place.components().count();
        let mut in_guest = None;
        let mut source = file.clone();
        if metadata.is_file() {
            if let Some(path) = git_dirs::named_by_file(&work_tree)? {
                // Each repository has one work tree.
                in_guest = self.modules.get_mut(&path).and_then(Module::take);
                source = path;
            }
        } else if metadata.is_dir() {
            in_guest = self.absorb(&file, place, above)?;
        }
        let Some(in_guest) = in_guest else {
            return Ok(Submodule::Unknown);
        };
        let up = "../".repeat(depth);
        let line = format!("gitdir: {up}.git/{}\n", in_guest.display());
        self.repository.git_files.insert(place.join(".git"), line);
        Ok(Submodule::At(WorkTree {
            dirs: GitDirs {
                git_dir: source.clone(),
                common_dir: source,
            },
            in_guest,
            place: place.to_owned(),
        }))
    }

    /// Adds the repository `source`, which is in the work tree of the submodule of `above` at
    /// `place`, as `git submodule absorbgitdirs` does. Returns its place in the guest's repository;
    /// `None` if there is something else.
    fn absorb(&mut self, source: &Path, place: &Path, above: &WorkTree) -> Result<Option<PathBuf>> {
        let dirs = GitDirs::single(source);
        let below = place.strip_prefix(&above.place).unwrap_or(place);
        let in_guest = above.in_guest.join("modules").join(below);
        let is_taken = self.modules.values().any(|module| {
            let is_above = above.in_guest.starts_with(&module.place);
            let is_in_module = in_guest.starts_with(&module.place) && !is_above;
            is_in_module || module.place.starts_with(&in_guest)
        });
        let is_link = source.join("commondir").symlink_metadata().is_ok();
        if is_taken || is_link || !dirs.is_repository() {
            return Ok(None);
        }
        self.import_module(source, &in_guest, false)?;
        self.modules.get_mut(source).and_then(Module::take);
        let config = self.repository.files.get_mut(&in_guest.join("config"));
        let up = "../".repeat(in_guest.components().count() + 1);
        let entry = Entry {
            key: "core.worktree".to_owned(),
            value: Some(format!("{up}{}", place.display())),
        };
        if let Some(config) = config {
            config.push_str(&config::render(&[entry]));
        }
        Ok(Some(in_guest))
    }

    /// Adds the files in `scope` of the directory `source`. In the guest they are at `place`.
    fn add_layer(&mut self, source: &Path, place: &Path, scope: Scope) {
        let (source, place) = (source.to_owned(), place.to_owned());
        let choose = choose(scope, self.repository.keeps_config);
        self.repository.layers.push(Layer {
            source,
            place,
            files: Files::Chosen(choose),
        });
    }

    /// Makes the guest's version of the configuration file `name` in the directory `root`. In the
    /// guest that directory is at `place`. Returns whether git can read the file.
    fn import_config(
        &mut self,
        root: &Path,
        name: &str,
        place: &Path,
        is_linked: bool,
    ) -> Result<bool> {
        let entries = host_git::entries(root, name)?;
        self.import_entries(entries, root, name, place, is_linked)
    }

    /// Does the same as [`Importer::import_config`] with the `entries` of the file.
    fn import_entries(
        &mut self,
        entries: Option<GitAnswer<Vec<Entry>>>,
        root: &Path,
        name: &str,
        place: &Path,
        is_linked: bool,
    ) -> Result<bool> {
        let keeps_config = self.repository.keeps_config;
        let file = root.join(name);
        let shown = file.display();
        let path = place.join(name);
        let before = match entries {
            None => return Ok(true),
            Some(GitAnswer::Yes(entries)) => entries,
            Some(GitAnswer::NoGit(_)) if keeps_config && self.is_directory => return Ok(true),
            Some(GitAnswer::NoGit(error)) => {
                let source = self.repository.source.display();
                return Err(hinted(
                    format!("read {source}: run git: {error}"),
                    "git takes the secrets out of the configuration; --keep-config copies a .git \
                     directory as it is",
                ));
            }
            Some(GitAnswer::No) if keeps_config => return Ok(false),
            Some(GitAnswer::No) => {
                self.warn(format!("{shown} is left out: git cannot read it"));
                self.repository.files.insert(path, String::new());
                return Ok(false);
            }
        };
        self.cost += before.iter().map(Entry::cost).sum::<usize>();
        if self.cost > host_git::MAX_COST {
            return Err(host_git::too_many_entries(&file));
        }
        let mut entries = before.clone();
        config_filter::filter_extensions(&mut entries, &root.display().to_string())?;
        self.rewrite_worktree(&mut entries, root, place, is_linked)?;
        if entries.iter().any(config_filter::is_partial) {
            let root = root.display();
            self.warn(format!(
                "{root} is a partial clone: git fetches what is missing from its remote when it \
                 needs it"
            ));
        }
        if keeps_config {
            if entries != before {
                self.repository.files.insert(path, config::render(&entries));
            }
            self.repository.settings.extend(entries);
            return Ok(true);
        }
        let (kept, left_out) =
            config_filter::without_secrets(entries, &self.rules, name != "config");
        if !left_out.is_empty() {
            let names = listed(&left_out, left_out.len());
            self.warn(format!(
                "left out of {shown} in the guest: {names}; --keep-config keeps it"
            ));
        }
        self.repository.files.insert(path, config::render(&kept));
        self.repository.settings.extend(kept);
        Ok(true)
    }

    fn warn(&mut self, warning: String) {
        self.repository.warnings.push(warning);
    }

    /// Changes the entries that name the work tree, so that they name that of the guest.
    ///
    /// # Errors
    ///
    /// If they name a work tree outside the project.
    fn rewrite_worktree(
        &self,
        entries: &mut Vec<Entry>,
        directory: &Path,
        place: &Path,
        is_linked: bool,
    ) -> Result<()> {
        let is_module = !place.as_os_str().is_empty();
        if is_linked && !is_module {
            // The shared configuration describes the main work tree, or says that there is none.
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
            .and_then(|path| path.strip_prefix(self.reach.project()).ok());
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
            // If the submodule has no work tree, `git submodule update` creates one.
            None if is_module => return Ok(()),
            Some(below) if below.as_os_str().is_empty() => return Ok(()),
            _ => {}
        }
        if is_linked && directory.join("worktrees").exists() {
            return Ok(());
        }
        let set = directory.join("config");
        let (set, work_tree) = (set.display(), self.reach.project().display());
        Err(hinted(
            format!("{set}: core.worktree is `{value}`, not {work_tree}"),
            format!("git config -f {set} --unset core.worktree, or another spec.user_cwd"),
        ))
    }

    /// Adds the objects that the repository at `common_dir` borrows. In the guest the repository is
    /// at `place`.
    fn import_alternates(&mut self, common_dir: &Path, place: &Path) -> Result<()> {
        for lender in alternates::lenders(common_dir, &self.reach)? {
            self.lenders += 1;
            if self.lenders > MAX_LENDERS {
                let place = common_dir.display();
                return Err(hinted(
                    format!("{place}: too many repositories lend objects"),
                    CLONE,
                ));
            }
            refuse_objects_out(&lender, &lender)?;
            self.add_layer(&lender, &place.join("objects"), Scope::Objects);
        }
        Ok(())
    }

    /// Adds the repositories of submodules in `directory`. Their names may contain slashes, so they
    /// are looked for at any depth.
    fn import_modules(&mut self, directory: &Path, place: &Path, is_linked: bool) -> Result<()> {
        for name in self.subdirectories(directory, place)? {
            let (source, place) = (directory.join(&name), place.join(&name));
            let has = |name: &str| source.join(name).symlink_metadata().is_ok();
            if !has("HEAD") || !has("objects") {
                self.import_modules(&source, &place, is_linked)?;
                continue;
            }
            self.import_module(&source, &place, is_linked)?;
        }
        Ok(())
    }

    /// Adds the repository of a submodule in the directory `source`. In the guest it is at `place`.
    fn import_module(&mut self, source: &Path, place: &Path, is_linked: bool) -> Result<()> {
        refuse_links_out(&GitDirs::single(source))?;
        let module = Module {
            place: place.to_owned(),
            has_work_tree: false,
        };
        self.modules.insert(source.to_owned(), module);
        let module = (source.to_owned(), place.to_owned());
        self.repository.modules.push(module);
        self.add_layer(source, place, Scope::Whole);
        self.import_config(source, "config", place, is_linked)?;
        self.import_config(source, "config.worktree", place, is_linked)?;
        self.import_alternates(source, place)?;
        self.import_modules(&source.join("modules"), &place.join("modules"), is_linked)
    }

    /// Lists the directories in `directory`, which is copied to `place`. Fails if there is a link:
    /// git makes none there, and two links could form an endless path.
    fn subdirectories(&mut self, directory: &Path, place: &Path) -> Result<Vec<PathBuf>> {
        signals::check()?;
        let reading = || format!("read {}", directory.display());
        let refused = |path: &Path| {
            let link = path.display();
            hinted(format!("{link} is a link, and git makes none there"), CLONE)
        };
        match directory.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(reading),
            Ok(metadata) if metadata.is_symlink() => return Err(refused(directory)),
            Ok(metadata) if !metadata.is_dir() => return Ok(Vec::new()),
            Ok(_) => {}
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            if kind.is_symlink() {
                return Err(refused(&entry.path()));
            }
            if kind.is_dir() {
                self.directories += 1;
                names.push(PathBuf::from(entry.file_name()));
            }
            if self.directories > MAX_DIRECTORIES || place.components().count() > MAX_DEPTH {
                return Err(hinted(
                    format!(
                        "{}: too many directories for submodules",
                        directory.display()
                    ),
                    CLONE,
                ));
            }
        }
        names.sort();
        Ok(names)
    }
}

/// The repository of a submodule.
struct Module {
    /// Its place in the guest's repository.
    place: PathBuf,
    /// Whether its work tree was found.
    has_work_tree: bool,
}

impl Module {
    /// Returns the place of the repository, but only once.
    fn take(&mut self) -> Option<PathBuf> {
        let is_first = !std::mem::replace(&mut self.has_work_tree, true);
        is_first.then(|| self.place.clone())
    }
}

/// The work tree of the project or of a submodule.
struct WorkTree {
    /// The directories of its repository on the host.
    dirs: GitDirs,
    /// The place of its repository in the guest's.
    in_guest: PathBuf,
    /// Its place in the project.
    place: PathBuf,
}

/// What is found at the place of a submodule.
enum Submodule {
    /// A work tree, whose repository is known.
    At(WorkTree),
    /// A work tree whose repository is not one of the project's.
    Unknown,
    /// No work tree.
    Missing,
}

/// Lists the first of `names`, and says how many more of `number` there are.
fn listed(names: &[String], number: usize) -> String {
    let shown = &names[..names.len().min(MAX_NAMES)];
    let more = number - shown.len();
    let shown: Vec<_> = shown.iter().map(|name| shorten(name, MAX_SHOWN)).collect();
    let mut text = shown.join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use bottle_common::plan::Plan;
    use bottle_common::plan::json::Document;
    use serde_json::json;

    use super::{Importer, MAX_DEPTH, MAX_DIRECTORIES, MAX_LENDERS, Module, find};
    use crate::config::Entry;
    use crate::git_dirs::{GitDirs, Reach};
    use crate::host_git::MAX_COST;
    use crate::repository::Repository;

    /// A project with this configuration of its repository.
    struct Project(tempfile::TempDir);

    impl Project {
        fn new(config: &str) -> Self {
            let project = Self(tempfile::tempdir().unwrap());
            project.module(".git", config);
            project
        }

        /// Makes what git needs of a repository.
        fn module(&self, path: &str, config: &str) {
            let path = self.path(path);
            fs::create_dir_all(path.join("objects")).unwrap();
            fs::create_dir_all(path.join("refs")).unwrap();
            fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
            fs::write(path.join("config"), config).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        /// What [`find`] says of it: the error, or the warnings.
        fn found(&self, keeps_config: bool) -> Result<Vec<String>, String> {
            let found = find(&self.path(""), &plan(), keeps_config, &[]);
            let words = |text: String| text.replace(self.path("").to_str().unwrap(), "P/");
            match found {
                Ok(found) => Ok(found.unwrap().warnings.into_iter().map(words).collect()),
                Err(error) => Err(words(format!("{error:#}"))),
            }
        }

        /// An importer that has read nothing.
        fn importer<'a>(&self, plan: &'a Plan) -> Importer<'a> {
            let source = self.path(".git");
            let dirs = GitDirs::single(&source);
            let repository = Repository::new(source, dirs, true, false);
            let reach = Reach::new(&self.path(""), &[]).unwrap();
            Importer::new(repository, plan, reach, true)
        }
    }

    fn plan() -> Plan {
        plan_with(false)
    }

    fn plan_with(copy_worktree: bool) -> Plan {
        let plan = json!({
            "spec": {
                "manifest": {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev"}}},
                "agent_name": "demo",
                "copy_cwd": true, "copy_worktree": copy_worktree, "user_cwd": "/project",
            },
            "machine_name": "m", "stage_dir": "/s", "prompt_file": "/p",
            "proxy_plan": {}, "egress_plan": {},
        });
        Plan::parse(&Document::parse(plan.to_string().into()).unwrap()).unwrap()
    }

    fn import_modules(importer: &mut Importer, project: &Project) -> Result<Vec<PathBuf>, String> {
        let directory = project.path(".git/modules");
        let result = importer.import_modules(&directory, Path::new("modules"), false);
        let words = |text: String| text.replace(directory.to_str().unwrap(), "M");
        result.map_err(|error| words(format!("{error:#}")))?;
        let modules = &importer.repository.modules;
        Ok(modules.iter().map(|(_, place)| place.clone()).collect())
    }

    #[test]
    fn submodules_are_found_at_any_depth() {
        let project = Project::new("");
        for name in ["b", "a", "group/of/c", "a/modules/inner"] {
            project.module(&format!(".git/modules/{name}"), "");
        }
        fs::write(project.path(".git/modules/file"), "").unwrap();
        fs::create_dir(project.path(".git/modules/empty")).unwrap();
        let plan = plan();
        let found = import_modules(&mut project.importer(&plan), &project).unwrap();
        let expected = ["a", "a/modules/inner", "b", "group/of/c"];
        assert_eq!(found, expected.map(|name| Path::new("modules").join(name)));

        symlink("a", project.path(".git/modules/z")).unwrap();
        let error = import_modules(&mut project.importer(&plan), &project).unwrap_err();
        assert_eq!(error, "M/z is a link, and git makes none there");
        for (modules, error) in [
            ("none", None),
            ("file", None),
            ("link", Some("is a link, and git makes none there")),
        ] {
            fs::remove_dir_all(project.path(".git/modules"))
                .or_else(|_| fs::remove_file(project.path(".git/modules")))
                .unwrap_or_default();
            match modules {
                "file" => fs::write(project.path(".git/modules"), "").unwrap(),
                "link" => symlink("/etc", project.path(".git/modules")).unwrap(),
                _ => {}
            }
            let found = import_modules(&mut project.importer(&plan), &project);
            match error {
                None => assert!(found.unwrap().is_empty(), "{modules}"),
                Some(error) => assert_eq!(found.unwrap_err(), format!("M {error}")),
            }
        }
    }

    #[test]
    fn the_directories_of_submodules_are_limited() {
        let project = Project::new("");
        for name in ["a/b", "c"] {
            fs::create_dir_all(project.path(".git/modules").join(name)).unwrap();
        }
        let plan = plan();
        let mut importer = project.importer(&plan);
        importer.directories = MAX_DIRECTORIES - 3;
        assert_eq!(import_modules(&mut importer, &project), Ok(vec![]));
        let mut importer = project.importer(&plan);
        importer.directories = MAX_DIRECTORIES - 2;
        assert_eq!(
            import_modules(&mut importer, &project),
            Err("M/a: too many directories for submodules".to_owned())
        );

        // `modules` is the first of them.
        let deep = "d/".repeat(MAX_DEPTH);
        fs::create_dir_all(project.path(".git/modules").join(&deep)).unwrap();
        assert_eq!(
            import_modules(&mut project.importer(&plan), &project),
            Ok(vec![])
        );
        fs::create_dir_all(project.path(".git/modules").join(deep + "d/")).unwrap();
        let error = import_modules(&mut project.importer(&plan), &project).unwrap_err();
        let at = format!("M{}", "/d".repeat(MAX_DEPTH));
        assert_eq!(error, format!("{at}: too many directories for submodules"));
    }

    #[test]
    fn all_submodules_share_the_limit_of_lenders() {
        let project = Project::new("");
        project.module("lender/.git", "");
        let lender = project.path("lender/.git/objects");
        for borrower in [".git", ".git/modules/a"] {
            project.module(borrower, "");
            let info = project.path(borrower).join("objects/info");
            fs::create_dir_all(&info).unwrap();
            fs::write(info.join("alternates"), format!("{}\n", lender.display())).unwrap();
        }
        let plan = plan();
        for (before, is_allowed) in [(MAX_LENDERS - 2, true), (MAX_LENDERS - 1, false)] {
            let mut importer = project.importer(&plan);
            importer.lenders = before;
            let top = project.path(".git");
            importer.import_alternates(&top, Path::new("")).unwrap();
            let found = import_modules(&mut importer, &project);
            let error = "M/a: too many repositories lend objects".to_owned();
            let expected = if is_allowed {
                Ok(vec![PathBuf::from("modules/a")])
            } else {
                Err(error)
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn all_configurations_share_a_limit() {
        let project = Project::new("[a]\nb = c\n");
        let plan = plan();
        let cost = Entry {
            key: "a.b".to_owned(),
            value: Some("c".to_owned()),
        }
        .cost();
        for (before, is_allowed) in [(MAX_COST - cost, true), (MAX_COST - cost + 1, false)] {
            let mut importer = project.importer(&plan);
            importer.cost = before;
            let root = project.path(".git");
            let result = importer.import_config(&root, "config", Path::new(""), false);
            assert_eq!(result.is_ok(), is_allowed);
        }
    }

    #[test]
    fn only_a_repository_with_a_work_tree_is_copied() {
        for (bare, is_bare) in [
            ("bare", true),
            ("bare = true", true),
            ("bare = yes", true),
            ("bare = 1", true),
            ("bare = false\nbare = true", true),
            ("", false),
            ("bare = false", false),
            ("bare = no", false),
            ("bare = true\nbare = false", false),
        ] {
            let project = Project::new(&format!("[core]\n{bare}\n"));
            let expected = if is_bare {
                Err("P/.git is a bare repository: it has no work tree".to_owned())
            } else {
                Ok(vec![])
            };
            assert_eq!(project.found(false), expected, "{bare}");
        }
        // It is the work tree that decides, if each has a configuration of its own.
        let project = Project::new("[extensions]\nworktreeConfig = true\n");
        fs::write(
            project.path(".git/config.worktree"),
            "[core]\nbare = true\n",
        )
        .unwrap();
        assert!(project.found(false).is_err());
        let project = Project::new("");
        fs::write(
            project.path(".git/config.worktree"),
            "[core]\nbare = true\n",
        )
        .unwrap();
        assert_eq!(project.found(false), Ok(vec![]));
    }

    #[test]
    fn the_work_tree_is_the_project() {
        for (place, value, becomes) in [
            ("", "P", Ok(None)),
            ("", "..", Ok(None)),
            ("", "P/lib", Err(())),
            ("", "/", Err(())),
            ("", "nowhere", Err(())),
            ("modules/lib", "../../../lib", Ok(Some("../../../lib"))),
            ("modules/lib", "P/lib", Ok(Some("../../../lib"))),
            ("modules/lib", "/", Ok(None)),
            ("modules/lib", "nowhere", Ok(None)),
        ] {
            let project = Project::new("");
            fs::create_dir(project.path("lib")).unwrap();
            project.module(".git/modules/lib", "");
            let plan = plan();
            let importer = project.importer(&plan);
            let key = "core.worktree".to_owned();
            let mut entries = vec![Entry {
                key: key.clone(),
                value: Some(value.replace('P', project.path("").to_str().unwrap())),
            }];
            let directory = project.path(".git").join(place);
            let found =
                importer.rewrite_worktree(&mut entries, &directory, Path::new(place), false);
            let found = found.map(|()| entries.pop().and_then(|entry| entry.value));
            let found = found.map_err(|error| {
                let message = format!("{error:#}");
                assert!(message.contains("core.worktree is `"), "{message}");
            });
            let becomes = becomes.map(|value: Option<&str>| value.map(str::to_owned));
            assert_eq!(found, becomes, "{place}: {value}");
        }
    }

    #[test]
    fn a_repository_that_git_cannot_read_is_copied_with_a_warning() {
        let project = Project::new("[");
        let unreadable = "P/.git is no repository that git can read: copied as it is".to_owned();
        let left_out = "P/.git/config is left out: git cannot read it".to_owned();
        assert_eq!(project.found(false), Ok(vec![unreadable.clone(), left_out]));
        assert_eq!(project.found(true), Ok(vec![unreadable]));
    }

    #[test]
    fn without_a_repository_nothing_is_copied() {
        let project = Project(tempfile::tempdir().unwrap());
        let found = |path: &str| find(&project.path(path), &plan(), false, &[]);
        assert!(found("").unwrap().is_none());
        // The directory of a bare repository has no `.git`, either.
        project.module("bare", "");
        assert!(found("bare").is_err());
        // A parent that is a file is another error than a `.git` that is not there.
        fs::write(project.path("file"), "").unwrap();
        assert!(found("file").is_err());
    }

    /// Makes a project whose submodule `lib` has its repository in its work tree, runs `script` in
    /// it, and gives what is made of it.
    fn with_submodule(script: &str) -> (Repository, Vec<String>) {
        let project = Project(tempfile::tempdir().unwrap());
        let begin = "git init -q && git init -q lib && cd lib && git config user.name A && \
                     git config user.email a@b && git commit -q --allow-empty -m 1 && cd .. && \
                     git add lib";
        let mut sh = harness::tool("sh");
        sh.args(["-c", &format!("set -e; {begin}; {script}")]);
        let output = sh.current_dir(project.path("")).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        let found = find(&project.path(""), &plan_with(true), false, &[]).unwrap();
        let mut repository = found.unwrap();
        let root = fs::canonicalize(project.path("")).unwrap();
        let words = |text: String| text.replace(root.to_str().unwrap(), "P");
        let warnings = repository.warnings.drain(..).map(words).collect();
        (repository, warnings)
    }

    #[test]
    fn a_submodule_gives_its_repository_to_the_projects() {
        let (repository, warnings) = with_submodule(":");
        assert!(warnings.is_empty(), "{warnings:?}");
        let place = PathBuf::from("modules/lib");
        let line = "gitdir: ../.git/modules/lib\n".to_owned();
        let git_files: Vec<_> = repository.git_files.into_iter().collect();
        assert_eq!(git_files, [(PathBuf::from("lib/.git"), line)]);
        let modules: Vec<_> = repository.modules.iter().map(|(_, to)| to).collect();
        assert_eq!(modules, [&place]);
        let layers: Vec<_> = repository.layers.iter().map(|layer| &layer.place).collect();
        assert_eq!(layers, [Path::new(""), &place]);
        let config = &repository.files[&place.join("config")];
        assert!(config.contains("worktree = ../../../lib\n"), "{config}");
        assert!(repository.worktree.is_some());

        let (repository, _) = with_submodule("cp -r lib other && git add other");
        let git_files: Vec<_> = repository.git_files.keys().collect();
        assert_eq!(git_files, [Path::new("lib/.git"), Path::new("other/.git")]);
    }

    #[test]
    fn a_submodule_whose_place_is_taken_is_left_out() {
        let own = "left out of P in the guest: lib: they are repositories of their own";
        for script in [
            // Another one is there, above it and below it.
            "mkdir -p .git/modules; cp -r lib/.git .git/modules/lib",
            "mkdir -p .git/modules/lib; cp -r lib/.git .git/modules/lib/below",
            "git rm -qf --cached lib; mkdir m .git/modules; mv lib m; git add m/lib; \
             cp -r m/lib/.git .git/modules/m",
            // Its repository is somewhere else, or is none.
            "echo . >lib/.git/commondir",
            "rm -r lib/.git/objects",
        ] {
            let (repository, warnings) = with_submodule(script);
            assert!(repository.git_files.is_empty(), "{script}");
            let is_own = |warning: &String| warning.replace("m/lib", "lib").contains(own);
            assert!(warnings.iter().any(is_own), "{script}: {warnings:?}");
        }
        // Without its files, nothing is said.
        let (repository, warnings) = with_submodule("rm -r lib");
        assert!(
            repository.git_files.is_empty() && warnings.is_empty(),
            "{warnings:?}"
        );
        let (repository, warnings) = with_submodule("mv lib .git/real; ln -s .git/real lib");
        assert!(
            repository.git_files.is_empty() && warnings.is_empty(),
            "{warnings:?}"
        );
    }

    #[test]
    fn each_repository_has_one_work_tree() {
        let mut module = Module {
            place: PathBuf::from("modules/a"),
            has_work_tree: false,
        };
        assert_eq!(module.take(), Some(PathBuf::from("modules/a")));
        assert_eq!(module.take(), None);
    }
}
