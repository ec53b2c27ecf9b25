//! Files made on the host for the guest: private, in the plan's stage directory, gone afterwards.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile, TempPath};

use crate::archive::Directory;
use crate::call::{Action, Call, Source};
use crate::failure::hinted;
use crate::pack::{PART, Packed};
use crate::progress::{self, Progress};

/// What the names of staged files begin with; then comes the process that made them.
const PREFIX: &str = "bottle-";

/// Calls that are ready to be made; what was made for them is removed when this is dropped.
pub(crate) struct Staged {
    pub calls: Vec<Call<PathBuf>>,
    /// What became of the directories among the sources, in their order.
    pub packed: Vec<Packed>,
    _files: Vec<TempPath>,
}

impl Staged {
    /// Makes in `stage_dir` all that `calls` copy and that is no file yet.
    pub(crate) fn make(calls: Vec<Call>, stage_dir: &Path, progress: Progress) -> Result<Self> {
        let is_made =
            |call: &Call| matches!(&call.action, Action::Copy { from, .. } if !matches!(from, Source::File(_)));
        if calls.iter().any(is_made) {
            clear(stage_dir);
            has_room(&calls, stage_dir)?;
        }
        let (mut packed, mut files, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut make = |source: Source| {
            let file = match source {
                Source::File(path) => return Ok(path),
                Source::Text(text) => {
                    let mut file = file(stage_dir)?;
                    file.write_all(text.as_bytes()).with_context(|| format!("write {}", file.path().display()))?;
                    file.into_temp_path()
                }
                Source::Directory(directory) => {
                    let mut made = Parts::new(&directory, stage_dir, PART)?;
                    let place = made.first.path().display().to_string();
                    let mut meter = progress.of(&directory.name, directory.size());
                    packed.push((directory.pack)(&directory, &mut made, &place, &mut |done| meter.at(done))?);
                    parts = made.rest;
                    made.first.into_temp_path()
                }
                Source::Part => parts.pop().context("a part is missing")?.into_temp_path(),
            };
            let path = file.to_path_buf();
            files.push(file);
            Ok(path)
        };
        let calls = calls.into_iter().map(|call| call.made(&mut make)).collect::<Result<_>>()?;
        Ok(Self { calls, packed, _files: files })
    }
}

/// Fails unless `stage_dir` has room for all directories that `calls` copy.
fn has_room(calls: &[Call], stage_dir: &Path) -> Result<()> {
    let size = |call: &Call| match &call.action {
        Action::Copy { from: Source::Directory(directory), .. } => directory.size(),
        _ => 0,
    };
    let needed: u64 = calls.iter().map(size).sum();
    // Where it cannot be asked for, the writing shows it; a stage_dir that is not there yet is its parent's.
    let Some(place) = stage_dir.ancestors().find_map(|path| statvfs(path).ok()) else { return Ok(()) };
    let free = place.f_bavail.saturating_mul(place.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (progress::bytes(needed), progress::bytes(free));
    Err(hinted(
        format!("no room in stage_dir {}: {needed} needed, {free} free", stage_dir.display()),
        "stage_dir in the plan names another directory",
    ))
}

/// Removes what runs that were killed have left in `stage_dir`: their names hold the process that made them.
fn clear(stage_dir: &Path) {
    for entry in fs::read_dir(stage_dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let maker = maker.and_then(|(pid, _)| pid.parse().ok()).and_then(Pid::from_raw);
        if maker.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            // Whoever else is at it may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A tar in files of `limit` bytes, as many as were decided on before.
struct Parts {
    first: NamedTempFile,
    /// The others, the last one first.
    rest: Vec<NamedTempFile>,
    current: usize,
    room: u64,
    limit: u64,
}

impl Parts {
    fn new(directory: &Directory, stage_dir: &Path, limit: u64) -> Result<Self> {
        directory.about(|| {
            let first = file(stage_dir)?;
            let rest = (1..directory.parts()).map(|_| file(stage_dir)).collect::<Result<Vec<_>>>()?;
            Ok(Self { first, current: rest.len(), rest, room: limit, limit })
        })
    }
}

impl Write for Parts {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            self.current = self.current.checked_sub(1).ok_or_else(|| io::Error::other("it grew while it was read"))?;
            self.room = self.limit;
        }
        let file = self.rest.get_mut(self.current).unwrap_or(&mut self.first);
        let length = usize::try_from(self.room).map_or(buffer.len(), |room| room.min(buffer.len()));
        let written = file.write(&buffer[..length])?;
        self.room -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file in `stage_dir` that only we can read; a missing `stage_dir` is made.
fn file(stage_dir: &Path) -> Result<NamedTempFile> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(stage_dir)
        .with_context(|| format!("make stage_dir {}", stage_dir.display()))?;
    Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempfile_in(stage_dir)
        .with_context(|| format!("write a file in stage_dir {}", stage_dir.display()))
}

/// Opens a host file that smolvm can copy: regular (of a FIFO or a device it would take 0 bytes and say nothing).
pub fn open(path: &Path) -> Result<File> {
    // Asked before opening: to open a FIFO is to wait for its writer.
    let is_file = path.metadata().with_context(|| format!("read {}", path.display()))?.is_file();
    if !is_file {
        bail!("read {}: not a regular file", path.display());
    }
    File::open(path).with_context(|| format!("read {}", path.display()))
}

/// SHA-256 of a host file's content, in hex.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), [0; 1 << 14]);
    loop {
        match file.read(&mut buffer).with_context(|| format!("read {}", path.display()))? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]

    use std::fs;
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::Parts;

    #[test]
    fn parts_are_the_whole_in_their_order() {
        let whole: Vec<u8> = (0..250_u8).collect();
        for (limit, number) in [(100, 3), (250, 1), (125, 2), (100, 4)] {
            let mut files: Vec<_> = (0..number).map(|_| NamedTempFile::new().unwrap()).collect();
            let first = files.pop().unwrap();
            let mut parts = Parts { first, current: files.len(), rest: files, room: limit, limit };
            for piece in whole.chunks(7) {
                parts.write_all(piece).unwrap();
            }
            let in_order = std::iter::once(parts.first.path()).chain(parts.rest.iter().rev().map(NamedTempFile::path));
            let contents: Vec<_> = in_order.map(|path| fs::read(path).unwrap()).collect();
            assert!(contents.iter().all(|content| content.len() as u64 <= limit), "{limit}");
            assert_eq!(contents.concat(), whole, "{limit}");
            let left = limit * number - whole.len() as u64;
            let mut grow = || parts.write_all(&vec![0; usize::try_from(left).unwrap() + 1]);
            assert_eq!(grow().unwrap_err().to_string(), "it grew while it was read");
        }
    }
}
