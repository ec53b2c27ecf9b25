//! The calls that put a directory of the host in place in the guest.

use anyhow::Result;

use crate::guest::paths;
use crate::host::tar;
use crate::host::tree::Tree;
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
