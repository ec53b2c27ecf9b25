//! The calls that put a directory of the host in place in the guest.

use anyhow::Result;

use crate::guest::paths;
use crate::host::tar;
use crate::host::tree::{PinnedTree, Tree};
use crate::plan::values::GuestPath;
use crate::smolvm::call::{Archive, Call, Exec, Group, Source};

/// The longest file that `smolvm machine cp` takes, in bytes (1.32.2). A longer tar goes in parts.
pub const MAX_COPY: u64 = 4 << 30;
/// The size of a tar from which on the guest is asked for room before anything is copied, in bytes.
const BIG: u64 = 256 << 20;

const ROOM: &str = include_str!("../guest/scripts/room.sh");
const UNDO: &str = include_str!("../guest/scripts/undo.sh");
const UNPACK: &str = include_str!("../guest/scripts/unpack.sh");

/// What UNPACK prints when it left the target as it was.
const KEPT: &str = "kept";

/// What becomes of a directory that is already in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// It stays, and the new one is dropped.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// Makes `tree` the directory `parent/name` of the guest.
///
/// # Errors
///
/// When the tree cannot be read, or a signal comes.
pub fn install(tree: Tree, parent: &GuestPath, name: &str, existing: Existing) -> Result<Group> {
    install_pinned(tree.pin()?, parent, name, existing)
}

/// Does the same as [`install`] with a tree whose layers were found.
///
/// # Errors
///
/// As [`install`].
pub fn install_pinned(
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
    let tar = parent.join(&format!(".{name}.bottle.tar"));
    let target = parent.join(name);
    let mut calls = Vec::new();
    if size >= BIG {
        // For the tar and for what is unpacked of it.
        let needed = (size / 1024 * 2).to_string();
        let kept = if existing == Existing::Keep {
            target.as_str()
        } else {
            ""
        };
        let purpose = format!("make room for {target}");
        calls.push(Exec::script(purpose, ROOM, &[parent, &needed, kept]).into());
    }
    calls.push(Call::copy(Source::Archive(Box::new(archive)), tar.clone()));
    for part in 1..parts {
        calls.push(Call::copy(Source::NextPart, suffixed(&tar, part)));
    }
    let keep = match existing {
        Existing::Keep => "keep",
        Existing::Replace => "replace",
    };
    let parameters = [
        parent,
        name,
        paths::OWNER,
        paths::HOME,
        keep,
        &parts.to_string(),
    ];
    calls.push(Exec::script(format!("unpack {target}"), UNPACK, &parameters).into());
    let undo = format!("take back what was begun of {target}");
    Group {
        calls,
        undo: Some(Exec::script(undo, UNDO, &[parent, name])),
    }
}

fn suffixed(tar: &GuestPath, part: u64) -> GuestPath {
    GuestPath::trusted(format!("{tar}.{part}"))
}

/// Whether the unpacking that printed `answer` left the directory that was there.
#[must_use]
pub fn was_kept(answer: &str) -> bool {
    answer.trim() == KEPT
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use super::{Existing, calls};
    use crate::guest::paths;
    use crate::host::tar;
    use crate::host::tree::Tree;
    use crate::plan::values::GuestPath;
    use crate::smolvm::call::{Archive, Call, Calls};
    use crate::smolvm::progress::Progress;
    use crate::smolvm::staged::Staged;

    /// Makes the calls on this host, as its user, and gives what the last one prints.
    fn carry_out(archive: Archive, parent: &Path, existing: Existing) -> String {
        let stage_dir = tempfile::tempdir().unwrap();
        let parent = GuestPath::try_from(parent.to_str().unwrap().to_owned()).unwrap();
        let group = calls(archive, &parent, "tree", existing);
        let calls = Calls {
            first: group,
            side_by_side: Vec::new(),
        };
        let staged = Staged::new(calls, stage_dir.path(), Progress { show: None }).unwrap();
        let id = |option| {
            let output = Command::new("id").arg(option).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let owner = format!("{}:{}", id("-u"), id("-g"));
        let mut answer = String::new();
        for call in staged.calls.iter() {
            match call {
                Call::Copy(copy) => drop(fs::copy(&copy.from, &*copy.to).unwrap()),
                Call::Exec(exec) => {
                    let argv = exec.argv.iter().map(|word| match &**word {
                        paths::OWNER => owner.as_str(),
                        word => word,
                    });
                    let argv: Vec<_> = argv.collect();
                    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
                    assert!(output.status.success(), "{output:?}");
                    answer = String::from_utf8(output.stdout).unwrap();
                }
            }
        }
        answer
    }

    fn archive(source: &Path, max_part: u64) -> Archive {
        let tree = Tree::new("tree".to_owned(), source.to_owned())
            .pin()
            .unwrap();
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
        for (max_part, parts) in [(1 << 20, 1), (20_000, 3), (4096, 11)] {
            let parent = tempfile::tempdir().unwrap();
            let archive = archive(source.path(), max_part);
            assert_eq!(archive.parts(), parts);
            assert_eq!(carry_out(archive, parent.path(), Existing::Replace), "");
            assert_eq!(fs::read(parent.path().join("tree/large")).unwrap(), content);
            let names: Vec<_> = fs::read_dir(parent.path()).unwrap().collect();
            assert_eq!(names.len(), 1, "{names:?}");
        }
    }

    #[test]
    fn what_is_there_is_kept_or_replaced_as_a_whole() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("new"), "").unwrap();
        let parent = tempfile::tempdir().unwrap();
        let tree = parent.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("old"), "").unwrap();
        let kept = carry_out(
            archive(source.path(), 1 << 20),
            parent.path(),
            Existing::Keep,
        );
        assert!(super::was_kept(&kept), "{kept}");
        assert!(tree.join("old").exists() && !tree.join("new").exists());
        let said = carry_out(
            archive(source.path(), 1 << 20),
            parent.path(),
            Existing::Replace,
        );
        assert!(!super::was_kept(&said), "{said}");
        assert!(!tree.join("old").exists() && tree.join("new").exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    /// Runs `script` with `parameters`, as the guest's sh does; gives whether it worked, and what it
    /// printed on both streams.
    fn sh(script: &str, parameters: &[&str]) -> (bool, String) {
        let mut sh = Command::new("sh");
        let output = sh.args(["-c", script, "sh"]).args(parameters).output();
        let output = output.unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(printed).unwrap())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_run_left_is_no_part_of_the_directory() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("new"), "").unwrap();
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join(".tree.bottle/root/rubbish")).unwrap();
        carry_out(
            archive(source.path(), 1 << 20),
            parent.path(),
            Existing::Replace,
        );
        assert_eq!(names(parent.path()), ["tree"]);
        assert_eq!(names(&parent.path().join("tree")), ["new"]);

        // The directory is ours of a moment ago where what it came from is there, emptied.
        fs::create_dir(parent.path().join(".tree.bottle")).unwrap();
        let said = carry_out(
            archive(source.path(), 1 << 20),
            parent.path(),
            Existing::Keep,
        );
        assert!(!super::was_kept(&said), "{said}");
        // One that was still being unpacked says nothing of it.
        fs::create_dir_all(parent.path().join(".tree.bottle/root")).unwrap();
        let said = carry_out(
            archive(source.path(), 1 << 20),
            parent.path(),
            Existing::Keep,
        );
        assert!(super::was_kept(&said), "{said}");
        assert_eq!(names(parent.path()), ["tree"]);
    }

    #[test]
    fn nothing_is_unpacked_of_a_tar_that_lacks_a_part() {
        let source = tempfile::tempdir().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let tree = Tree::new("tree".to_owned(), source.path().to_owned());
        let mut whole = Vec::new();
        tar::pack(&tree.pin().unwrap(), &mut whole, "tar", |_| {}).unwrap();
        fs::write(parent.path().join(".tree.bottle.tar"), whole).unwrap();
        let directory = parent.path().to_str().unwrap();
        let parameters = [directory, "tree", "0:0", "/home/node", "replace", "2"];
        assert!(!sh(super::UNPACK, &parameters).0);
        assert_eq!(names(parent.path()), [".tree.bottle.tar"]);
    }

    #[test]
    fn undone_is_all_that_was_begun() {
        for (begun, is_restored) in [(true, true), (false, false)] {
            let parent = tempfile::tempdir().unwrap();
            let new = parent.path().join(".tree.bottle");
            fs::create_dir_all(new.join("old/file")).unwrap();
            if !begun {
                fs::create_dir(parent.path().join("tree")).unwrap();
            }
            for name in [".tree.bottle.tar", ".tree.bottle.tar.1"] {
                fs::write(parent.path().join(name), "").unwrap();
            }
            let parameters = [parent.path().to_str().unwrap(), "tree"];
            assert_eq!(sh(super::UNDO, &parameters), (true, String::new()));
            assert_eq!(names(parent.path()), ["tree"]);
            assert_eq!(parent.path().join("tree/file").exists(), is_restored);
        }
    }

    #[test]
    fn room_is_needed_only_for_what_is_not_kept() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().to_str().unwrap();
        let much = "1000000000000000";
        for (needed, kept, has_room) in [
            ("1", "", true),
            (much, "", false),
            (much, "/nowhere", false),
            (much, path, true),
        ] {
            let (is_well, said) = sh(super::ROOM, &[path, needed, kept]);
            assert_eq!(is_well, has_room, "{needed} {kept}");
            let start = format!("no room in {path}: {needed} KiB needed, ");
            assert!(said.is_empty() == has_room && (has_room || said.starts_with(&start)));
        }
        assert!(sh(super::ROOM, &["/nowhere/at/all", much, ""]).0);
    }
}
