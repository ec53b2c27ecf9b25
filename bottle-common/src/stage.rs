//! Files made on the host for the guest: private, in the plan's stage directory, gone afterwards.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile, TempPath};

use crate::archive::Packed;
use crate::call::{Call, Source};

/// Calls that are ready to be made; what was made for them is removed when this is dropped.
pub(crate) struct Staged {
    pub calls: Vec<Call<PathBuf>>,
    /// What became of the directories among the sources, in their order.
    pub packed: Vec<Packed>,
    _files: Vec<TempPath>,
}

impl Staged {
    /// Makes in `stage_dir` all that `calls` copy and that is no file yet.
    pub(crate) fn make(calls: &[Call], stage_dir: &Path) -> Result<Self> {
        let (mut packed, mut files) = (Vec::new(), Vec::new());
        let mut keep = |file: NamedTempFile| {
            let path = file.path().to_owned();
            files.push(file.into_temp_path());
            path
        };
        let mut make = |source: &Source| match source {
            Source::File(path) => Ok(path.clone()),
            Source::Text(text) => {
                let mut file = file(stage_dir)?;
                file.write_all(text.as_bytes()).with_context(|| format!("write {}", file.path().display()))?;
                Ok(keep(file))
            }
            Source::Directory(directory) => {
                let mut file = directory.about(|| file(stage_dir))?;
                let place = file.path().display().to_string();
                packed.push(directory.pack(file.as_file_mut(), &place)?);
                Ok(keep(file))
            }
        };
        let calls = calls.iter().map(|call| call.made(&mut make)).collect::<Result<_>>()?;
        Ok(Self { calls, packed, _files: files })
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
        .prefix("bottle-")
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
