//! Regular files on the host.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::text;

/// Opens a regular file. Links are followed. (smolvm would copy 0 bytes of a FIFO or a device, and
/// report success.)
///
/// # Errors
///
/// If the file is missing or unreadable, or is not a regular file.
pub fn open(path: &Path) -> Result<File> {
    let reading = || format!("read {}", path.display());
    // The type of the file is checked after it was opened, so that it cannot change in between.
    // Without NONBLOCK, opening a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        // These are the errors for a socket, on Linux and on macOS.
        Err(Errno::NXIO | Errno::OPNOTSUPP) => bail!("{}: not a regular file", reading()),
        Err(error) => return Err(error).with_context(reading),
    };
    if !file.metadata().with_context(reading)?.is_file() {
        bail!("{}: not a regular file", reading());
    }
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
///
/// The errors of [`open`]; and if the file is longer or cannot be read.
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

/// Computes the SHA-256 of `file`, in hex. Messages call the file `path`.
///
/// # Errors
///
/// If the file cannot be read.
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
