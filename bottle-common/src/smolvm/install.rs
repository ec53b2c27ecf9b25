//! The calls that install a directory of the host in the guest.

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::guest::paths;
use crate::host::tar;
use crate::host::tree::PinnedTree;
use crate::plan::values::GuestPath;
use crate::smolvm::call::{Archive, Call, Copy, Exec, Group, Hands, Recovery, Source};

/// The maximum length of a file that `smolvm machine cp` accepts, in bytes (1.32.2). A longer tar
/// is copied in parts.
pub const MAX_COPY: u64 = 4 << 30;
/// From this tar size on, the guest is asked for free space before the copy, in bytes.
const BIG: u64 = 256 << 20;
/// The parent of the guest's directory into which tars are copied. Only root can enter that
/// directory.
const STORE: &str = "/var/lib";

const ENTER: &str = include_str!("../guest/scripts/enter.sh");
const HAND_OVER: &str = include_str!("../guest/scripts/hand_over.sh");
const PLACE: &str = include_str!("../guest/scripts/place.sh");
const ROOM: &str = include_str!("../guest/scripts/room.sh");
const UNDO: &str = include_str!("../guest/scripts/undo.sh");
const UNPACK: &str = include_str!("../guest/scripts/unpack.sh");
const UNLOCK: &str = include_str!("../guest/scripts/unlock.sh");
const WAIT: &str = include_str!("../guest/scripts/wait.sh");

/// What [`PLACE`] prints if it kept the existing directory.
const KEPT: &str = "kept";
/// What [`PLACE`] prints before the number of an existing directory that it renamed.
const BROKEN: &str = "broken ";

/// What to do with a directory that is already in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Keep it, and do not install the new one.
    Keep,
    /// Keep it if this shell program succeeds, which node runs with the directory's name as `$1`.
    /// Otherwise rename it and install the new one.
    KeepIf(&'static str),
    /// Replace it by the new one.
    Replace,
}

/// What was done with a directory that was already in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// It was kept.
    Kept,
    /// It was renamed: it now has the suffix `.broken-N`, with this number.
    Broken(u32),
}

impl Found {
    /// Reads the output of the call that unpacks a directory.
    #[must_use]
    pub fn parse(answer: &str) -> Option<Self> {
        let answer = answer.trim();
        if answer == KEPT {
            return Some(Self::Kept);
        }
        let number = answer.strip_prefix(BROKEN)?;
        number.parse().ok().map(Self::Broken)
    }
}

/// Creates the directory `dir` in the guest, with its parents. In node's home, directories that
/// root created become node's if node cannot write in them.
#[must_use]
pub fn make_directory(dir: &GuestPath) -> Exec {
    let hand_over = Exec::script(
        format!("make {dir} node's"),
        &format!("{ENTER}{HAND_OVER}"),
        &[dir, paths::HOME],
    );
    let make = Exec::new(&["mkdir", "-p", dir]).by(Hands::at(dir));
    make.recover_with(Recovery {
        words: "Permission denied",
        guard: None,
        calls: vec![hand_over],
    })
}

/// Removes the directory `path` in the guest, even if it contains read-only directories.
#[must_use]
pub fn remove_directory(path: &GuestPath) -> Exec {
    let hands = Hands::at(path);
    let unlock = Exec::script(format!("make {path} writable"), UNLOCK, &[path]).by(hands);
    let remove = Exec::new(&["rm", "-rf", path]).by(hands);
    remove.recover_with(Recovery {
        words: "cannot remove",
        guard: None,
        calls: vec![unlock],
    })
}

/// Makes node the owner of what was installed at `path`. Everything there should belong to node
/// already. The command runs as node, so that it cannot change the owner of a file to which the
/// agent made a hard link.
#[must_use]
pub fn give_to_node(path: &GuestPath) -> Exec {
    let wait = Exec::script(format!("wait for {path}"), WAIT, &[path]).by(Hands::Node);
    let give = Exec::new(&["chown", "-R", paths::OWNER, path]).by(Hands::Node);
    // A file may disappear meanwhile, if the agent works there or another run replaces the
    // directory.
    give.recover_with(Recovery {
        words: "No such file or directory",
        guard: None,
        calls: vec![wait],
    })
}

/// Makes the calls that put `tree` in the guest as the directory `parent/name`.
///
/// # Errors
///
/// If the tree cannot be read, or if a signal comes.
pub fn install(
    tree: PinnedTree,
    parent: &GuestPath,
    name: &str,
    existing: Existing,
) -> Result<Group> {
    let size = tar::size(&tree)?;
    Ok(calls(
        Archive {
            tree,
            size,
            max_part: MAX_COPY,
        },
        parent,
        name,
        existing,
    ))
}

fn calls(archive: Archive, parent: &GuestPath, name: &str, existing: Existing) -> Group {
    let (size, parts) = (archive.size, archive.parts());
    let target = parent.join(name);
    let tar = tar_of(&target);
    let mut calls = Vec::new();
    if size >= BIG {
        let needed = (size / 1024).to_string();
        let kept = match existing {
            Existing::Keep | Existing::KeepIf(_) => target.as_str(),
            Existing::Replace => "",
        };
        let purpose = format!("make room for {target}");
        let room = Exec::script(purpose, ROOM, &[STORE, parent, &needed, kept]);
        calls.push(room.by(Hands::at(&target)).into());
    }
    calls.push(copy(
        Source::Archive(Box::new(archive)),
        tar.clone(),
        &target,
    ));
    for part in 1..parts {
        calls.push(copy(Source::NextPart, suffixed(&tar, part), &target));
    }
    let (keep, probe) = match existing {
        Existing::Keep => ("keep", ""),
        Existing::KeepIf(probe) => ("keep", probe),
        Existing::Replace => ("replace", ""),
    };
    let parts = parts.to_string();
    let parameters = [parent, name, paths::HOME, &tar, &parts, PLACE, keep, probe];
    let script = format!("{ENTER}{UNPACK}");
    calls.push(Exec::script(format!("unpack {target}"), &script, &parameters).into());
    let undo = Exec::script(
        format!("take back what was begun of {target}"),
        &format!("{ENTER}{UNDO}"),
        &[parent, name, paths::HOME, &tar],
    );
    Group {
        calls,
        undo: Some(undo),
    }
}

fn copy(from: Source, to: GuestPath, target: &GuestPath) -> Call {
    Call::Copy(Copy {
        purpose: format!("copy {target}"),
        from,
        to,
        mode: Some("600"),
    })
}

/// Returns the path in the guest to which the tar of `target` is copied. It is the same for every
/// run, and differs between targets.
fn tar_of(target: &GuestPath) -> GuestPath {
    let digest = format!("{:x}", Sha256::digest(target.as_bytes()));
    GuestPath::trusted(format!("{STORE}/bottle/{}.tar", &digest[..16]))
}

/// Returns the path of a further part of the tar at `tar`.
fn suffixed(tar: &GuestPath, part: u64) -> GuestPath {
    GuestPath::trusted(format!("{tar}.{part}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use harness::{MACHINE, Outcome, Sandbox, tar_of};

    use super::{BIG, Existing, Found, calls};
    use crate::host::tar;
    use crate::host::tree::{PinnedTree, Tree};
    use crate::plan::values::GuestPath;
    use crate::smolvm::call::{Archive, Call, Calls, Group};
    use crate::smolvm::progress::Progress;
    use crate::smolvm::staged::Staged;

    const PARENT: &str = "/home/node/parent";

    fn group(archive: Archive, existing: Existing) -> Group {
        let parent = GuestPath::try_from(PARENT.to_owned()).unwrap();
        calls(archive, &parent, "tree", existing)
    }

    /// Makes the calls in the guest, and gives the outcome of the last one.
    fn make(sandbox: &Sandbox, group: Group) -> Outcome {
        let calls = Calls {
            first: group,
            side_by_side: Vec::new(),
        };
        let progress = Progress { show: None };
        let staged = Staged::new(calls, &sandbox.path("stage"), progress).unwrap();
        let call = |call: &Call<String>| {
            let run = sandbox.run("smolvm").args(["machine"]);
            let run = match call {
                Call::Copy(copy) => run
                    .args(["cp", &copy.from])
                    .args([format!("{MACHINE}:{}", copy.to)]),
                Call::Exec(exec) => run.args(["exec", "--name", MACHINE, "--"]).args(&exec.argv),
            };
            run.end()
        };
        staged.calls.iter().map(call).last().unwrap()
    }

    /// Makes the calls in the guest, and gives what the last one prints.
    fn carry_out(sandbox: &Sandbox, archive: Archive, existing: Existing) -> String {
        let outcome = make(sandbox, group(archive, existing));
        assert_eq!(outcome.status, 0, "{outcome:?}");
        outcome.stdout
    }

    /// Makes `parent` in the guest, with what the shell command `fill` puts there.
    fn begin(sandbox: &Sandbox, fill: &str) {
        sandbox.guest(&format!(
            "rm -rf {PARENT}; mkdir {PARENT} && cd {PARENT} && {fill} && chown -R node:node ."
        ));
    }

    /// Lists what is in `parent` and in the directories there, and what waits to be unpacked.
    fn look(sandbox: &Sandbox) -> String {
        sandbox.guest(&format!(
            "cd {PARENT} && find . /var/lib/bottle -mindepth 1 | LC_ALL=C sort | tr '\\n' ' '"
        ))
    }

    /// The beginning of the names that unpacking uses in `parent`.
    fn own() -> String {
        let tar = tar_of(&format!("{PARENT}/tree"));
        tar.replace("/var/lib/bottle/", ".bottle-")
            .replace(".tar", "")
    }

    fn archive(source: &Path, max_part: u64) -> Archive {
        let tree = PinnedTree::without_links(Tree::new("tree".to_owned(), source.to_owned()));
        let size = tar::size(&tree).unwrap();
        Archive {
            tree,
            size,
            max_part,
        }
    }

    #[test]
    fn a_tar_arrives_whole_however_many_parts_it_has() {
        let source = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(source.path().join("large"), &content).unwrap();
        fs::write(source.path().join("small"), "x").unwrap();
        let sum = sha256(&content);
        let sandbox = Sandbox::with_guest();
        sandbox.guest(&format!("mkdir {PARENT}"));
        for (max_part, parts) in [(1 << 20, 1), (20_000, 3), (4096, 11)] {
            let archive = archive(source.path(), max_part);
            assert_eq!(archive.parts(), parts);
            assert_eq!(carry_out(&sandbox, archive, Existing::Replace), "");
            let seen = format!(
                "sha256sum <{PARENT}/tree/large; ls -A {PARENT} /var/lib/bottle; rm -r {PARENT}/tree"
            );
            let left = format!("{sum}  -\n{PARENT}:\ntree\n\n/var/lib/bottle:\n");
            assert_eq!(sandbox.guest(&seen), left, "{parts} parts");
        }
    }

    fn sha256(content: &[u8]) -> String {
        use sha2::{Digest, Sha256};
        format!("{:x}", Sha256::digest(content))
    }

    #[test]
    fn an_existing_directory_is_kept_replaced_or_moved_aside_as_a_whole() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("new"), "").unwrap();
        let sandbox = Sandbox::with_guest();
        let look = format!("cd {PARENT} && find . | LC_ALL=C sort | tail -n +2 | tr '\\n' ' '");
        let is_new = Existing::KeepIf("[ -e \"$1/new\" ]");
        for (existing, found, files) in [
            (Existing::Keep, Some(Found::Kept), "./tree ./tree/old "),
            (
                is_new,
                Some(Found::Broken(2)),
                "./tree ./tree.broken-1 ./tree.broken-2 ./tree.broken-2/old ./tree/new ",
            ),
            (Existing::Replace, None, "./tree ./tree/new "),
        ] {
            let aside = if existing == is_new {
                "tree.broken-1"
            } else {
                "tree"
            };
            sandbox.guest(&format!(
                "rm -rf {PARENT}; mkdir {PARENT} && cd {PARENT} && mkdir -p {aside} tree && \
                 touch tree/old && chmod 555 tree && chown -R node:node ."
            ));
            let answer = carry_out(&sandbox, archive(source.path(), 1 << 20), existing);
            assert_eq!(Found::parse(&answer), found, "{answer}");
            assert_eq!(sandbox.guest(&look), files, "{existing:?}");
            let answer = carry_out(&sandbox, archive(source.path(), 1 << 20), is_new);
            let kept = (existing != Existing::Keep).then_some(Found::Kept);
            assert_eq!(Found::parse(&answer), kept.or(Some(Found::Broken(1))));
        }
    }

    #[test]
    fn leftovers_of_a_killed_run_are_not_in_the_directory() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("new"), "").unwrap();
        let sandbox = Sandbox::with_guest();
        let own = own();

        begin(
            &sandbox,
            &format!("mkdir -p {own}.abc/rubbish {own}.old/rubbish"),
        );
        carry_out(&sandbox, archive(source.path(), 1 << 20), Existing::Replace);
        assert_eq!(look(&sandbox), "./tree ./tree/new ");

        // The old directory was moved aside, and the new one was not moved into its place.
        begin(
            &sandbox,
            &format!("mkdir {own}.abc {own}.old && touch {own}.old/old"),
        );
        let answer = carry_out(&sandbox, archive(source.path(), 1 << 20), Existing::Keep);
        assert_eq!(Found::parse(&answer), Some(Found::Kept));
        assert_eq!(look(&sandbox), "./tree ./tree/old ");
    }

    #[test]
    fn a_tar_that_lacks_a_part_is_not_unpacked() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("large"), vec![b'x'; 40_000]).unwrap();
        let sandbox = Sandbox::with_guest();
        begin(&sandbox, "true");
        let mut group = group(archive(source.path(), 20_000), Existing::Replace);
        group.calls.remove(1);
        assert_ne!(make(&sandbox, group).status, 0);
        assert_eq!(sandbox.guest(&format!("ls {PARENT}")), "");
    }

    #[test]
    fn undo_restores_the_guest() {
        let source = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::with_guest();
        let (own, tar) = (own(), tar_of(&format!("{PARENT}/tree")));
        for (left, after) in [
            (
                format!("mkdir {own}.old {own}.abc && touch {own}.old/file"),
                "./tree ./tree/file ",
            ),
            (
                format!("mkdir {own}.old tree && touch {own}.old/file"),
                "./tree ",
            ),
            (format!("mkdir {own}.abc"), ""),
        ] {
            begin(&sandbox, &left);
            sandbox.guest(&format!("mkdir -p /var/lib/bottle && touch {tar} {tar}.1"));
            let group = group(archive(source.path(), 1 << 20), Existing::Replace);
            let undo = Group::from(vec![group.undo.unwrap().into()]);
            let outcome = make(&sandbox, undo);
            assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
            assert_eq!(look(&sandbox), after, "{left}");
        }
    }

    #[test]
    fn a_kept_directory_needs_no_room() {
        let source = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::with_guest();
        let much = 1 << 60;
        for (size, existing, fill, has_room) in [
            (BIG, Existing::Replace, "true", true),
            (much, Existing::Replace, "mkdir tree", false),
            (much, Existing::Keep, "true", false),
            (much, Existing::KeepIf("true"), "mkdir tree", true),
            (much, Existing::Keep, "mkdir tree", true),
        ] {
            begin(&sandbox, fill);
            let mut archive = archive(source.path(), u64::MAX);
            archive.size = size;
            let mut group = group(archive, existing);
            group.calls.truncate(1);
            let outcome = make(&sandbox, group);
            assert_eq!(outcome.status == 0, has_room, "{size} {existing:?} {fill}");
            let start = "no room in /var/lib: ";
            assert_eq!(
                outcome.stderr.starts_with(start),
                !has_room,
                "{}",
                outcome.stderr
            );
        }
    }
}
