//! A step's calls once everything that they copy is a file of the host.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::host::parts::Parts;
use crate::host::stage_dir::StageDir;
use crate::host::tar::{self, Packed};
use crate::smolvm::call::{Archive, Call, Calls, Copy, Source};
use crate::smolvm::progress::Progress;

/// Calls that are ready to be made. What was staged for them is removed when this is dropped.
pub struct Staged {
    /// The calls.
    pub calls: Calls<PathBuf>,
    /// What became of the directories that they copy, in their order.
    pub packed: Vec<Packed>,
    _files: Vec<NamedTempFile>,
}

impl Staged {
    /// Makes in `stage_dir` everything that `calls` copy and that is no file yet.
    ///
    /// # Errors
    ///
    /// When there is no room, when a directory cannot be read, or a signal comes.
    pub fn new(calls: Calls, stage_dir: &Path, progress: Progress) -> Result<Self> {
        let stage_dir = StageDir::new(stage_dir);
        if needs_staging(&calls) {
            stage_dir.clear();
            stage_dir.check_room(archives_size(&calls))?;
        }
        let mut stager = Stager {
            stage_dir,
            progress,
            packed: Vec::new(),
            files: Vec::new(),
            parts: Vec::new(),
        };
        let calls = calls.resolve(|source| stager.stage(source))?;
        Ok(Self {
            calls,
            packed: stager.packed,
            _files: stager.files,
        })
    }
}

struct Stager {
    stage_dir: StageDir,
    progress: Progress,
    packed: Vec<Packed>,
    /// What was made so far. A file stays open as long as it is needed, since it holds a lock.
    files: Vec<NamedTempFile>,
    /// The next parts of the archive that was packed last, the next one at the end.
    parts: Vec<NamedTempFile>,
}

impl Stager {
    /// Gives the path of the file that is `source`, which is made if need be.
    fn stage(&mut self, source: Source) -> Result<PathBuf> {
        let file = match source {
            Source::File(path) => return Ok(path),
            Source::Text(text) => {
                let file = self.stage_dir.create_file()?;
                let writing = || format!("write {}", file.path().display());
                file.as_file()
                    .write_all(text.as_bytes())
                    .with_context(writing)?;
                file
            }
            Source::Archive(archive) => self.pack(&archive)?,
            Source::NextPart => self.parts.pop().context("a part is missing")?,
        };
        let path = file.path().to_owned();
        self.files.push(file);
        Ok(path)
    }

    /// Packs `archive` and gives its first part.
    fn pack(&mut self, archive: &Archive) -> Result<NamedTempFile> {
        let tree = &archive.tree;
        let mut files = Vec::new();
        for _ in 0..archive.parts() {
            files.push(
                self.stage_dir
                    .create_file()
                    .with_context(|| tree.name.clone())?,
            );
        }
        let place = files[0].path().display().to_string();
        let mut parts = Parts::new(files, archive.max_part);
        let mut meter = self.progress.start(&tree.name, archive.size);
        let packed = tar::pack(tree, &mut parts, &place, |done| meter.update(done))?;
        self.packed.push(packed);
        self.parts = parts.into_files();
        self.parts.reverse();
        match self.parts.pop() {
            Some(first) => Ok(first),
            None => bail!("a part is missing"),
        }
    }
}

fn needs_staging(calls: &Calls) -> bool {
    calls.iter().any(|call| match call {
        Call::Copy(Copy { from, .. }) => !matches!(from, Source::File(_)),
        Call::Exec(_) => false,
    })
}

/// How long all archives together are, in bytes.
fn archives_size(calls: &Calls) -> u64 {
    let mut size = 0;
    for call in calls.iter() {
        if let Call::Copy(Copy {
            from: Source::Archive(archive),
            ..
        }) = call
        {
            size += archive.size;
        }
    }
    size
}
