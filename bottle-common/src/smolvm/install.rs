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
}
