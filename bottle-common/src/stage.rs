//! Files made on the host for the guest: private, in the plan's stage directory, gone afterwards.

use std::fs::DirBuilder;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use tempfile::{Builder, NamedTempFile};

/// A new file in `stage_dir` that only we can read; a missing `stage_dir` is made.
pub fn file(stage_dir: &Path, suffix: &str) -> Result<NamedTempFile> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(stage_dir)
        .with_context(|| format!("make stage_dir {}", stage_dir.display()))?;
    Builder::new()
        .prefix("bottle-")
        .suffix(suffix)
        .tempfile_in(stage_dir)
        .with_context(|| format!("write a file in stage_dir {}", stage_dir.display()))
}

/// Opens a host file that smolvm can copy: regular (of a FIFO or a device it would take 0 bytes and say nothing).
pub fn open(path: &Path) -> Result<std::fs::File> {
    // Asked before opening: to open a FIFO is to wait for its writer.
    let is_file = path.metadata().with_context(|| format!("read {}", path.display()))?.is_file();
    if !is_file {
        bail!("read {}: not a regular file", path.display());
    }
    std::fs::File::open(path).with_context(|| format!("read {}", path.display()))
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
