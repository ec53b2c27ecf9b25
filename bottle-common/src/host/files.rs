//! Regular files of the host.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Opens a regular file. (Of a FIFO or a device smolvm would copy 0 bytes and report success.)
///
/// # Errors
///
/// When it is missing, unreadable or no regular file.
pub fn open(path: &Path) -> Result<File> {
    let reading = || format!("read {}", path.display());
    // This is asked before the file is opened: to open a FIFO is to wait for its writer.
    if !path.metadata().with_context(reading)?.is_file() {
        bail!("read {}: not a regular file", path.display());
    }
    File::open(path).with_context(reading)
}

/// Gives the SHA-256 of a regular file's content, in hex.
///
/// # Errors
///
/// Those of [`open`], and when reading fails.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = [0; 1 << 14];
    loop {
        let read = file
            .read(&mut buffer)
            .with_context(|| format!("read {}", path.display()))?;
        if read == 0 {
            return Ok(format!("{:x}", hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}
