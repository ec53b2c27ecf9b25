//! Regular files of the host.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::text;

/// Opens a regular file; links are followed. (Of a FIFO or a device smolvm would copy 0 bytes and
/// report success.)
///
/// # Errors
///
/// When it is missing, unreadable or no regular file.
pub fn open(path: &Path) -> Result<File> {
    let reading = || format!("read {}", path.display());
    // What it is shows once it is open. Without NONBLOCK to open a FIFO would be to wait for its
    // writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // A socket.
        Err(Errno::NXIO) => bail!("{}: not a regular file", reading()),
        Err(error) => return Err(error).with_context(reading),
    };
    if !file.metadata().with_context(reading)?.is_file() {
        bail!("{}: not a regular file", reading());
    }
    Ok(file)
}

/// Reads a regular file that has at most `limit` bytes.
///
/// # Errors
///
/// Those of [`open`], when it is longer, and when reading fails.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let reading = || format!("read {}", path.display());
    let mut content = Vec::new();
    let mut file = open(path)?.take(limit + 1);
    file.read_to_end(&mut content).with_context(reading)?;
    ensure!(
        content.len() as u64 <= limit,
        "{}: it is longer than {}",
        reading(),
        text::size(limit)
    );
    Ok(content)
}

/// Gives the SHA-256 of `file`, called `path` in messages, in hex.
///
/// # Errors
///
/// When reading fails.
pub fn sha256(mut file: impl Read, path: &Path) -> Result<String> {
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
