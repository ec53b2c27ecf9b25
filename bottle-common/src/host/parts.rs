//! Writes one stream of bytes to several files, each of which has a limited length.

use std::io::{self, Write};

use tempfile::NamedTempFile;

/// A writer that fills the first file up to the limit, then the next one.
pub struct Parts {
    files: Vec<NamedTempFile>,
    current: usize,
    /// The number of bytes that still fit into the current file.
    room: u64,
    limit: u64,
}

impl Parts {
    /// Starts with the first of `files`, each of which gets at most `limit` bytes.
    #[must_use]
    pub fn new(files: Vec<NamedTempFile>, limit: u64) -> Self {
        Self {
            files,
            current: 0,
            room: limit,
            limit,
        }
    }

    /// Returns the files, in the order in which they were written.
    #[must_use]
    pub fn into_files(self) -> Vec<NamedTempFile> {
        self.files
    }
}

impl Write for Parts {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            self.current += 1;
            self.room = self.limit;
        }
        // There are as many files as the tree needed when it was measured.
        let Some(file) = self.files.get_mut(self.current) else {
            return Err(io::Error::other("it grew while it was read"));
        };
        let length = usize::try_from(self.room).map_or(buffer.len(), |room| room.min(buffer.len()));
        let written = file.write(&buffer[..length])?;
        self.room -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::Parts;

    #[test]
    fn the_parts_in_order_are_the_whole() {
        let whole: Vec<u8> = (0..250_u8).collect();
        for (limit, number) in [(100, 3), (250, 1), (125, 2), (100, 4)] {
            let files = (0..number).map(|_| NamedTempFile::new().unwrap()).collect();
            let mut parts = Parts::new(files, limit);
            for piece in whole.chunks(7) {
                parts.write_all(piece).unwrap();
            }
            let contents: Vec<_> = parts
                .files
                .iter()
                .map(|file| fs::read(file.path()).unwrap())
                .collect();
            assert!(
                contents.iter().all(|content| content.len() as u64 <= limit),
                "{limit}"
            );
            assert_eq!(contents.concat(), whole, "{limit}");
            let left = usize::try_from(limit * number).unwrap() - whole.len();
            let error = parts.write_all(&vec![0; left + 1]).unwrap_err();
            assert_eq!(error.to_string(), "it grew while it was read");
        }
    }
}
