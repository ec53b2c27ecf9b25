//! Stages what the calls of a step copy, so that every source is a file on the host.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::host::files;
use crate::host::parts::Parts;
use crate::host::stage_dir::StageDir;
use crate::host::tar::{self, Packed};
use crate::smolvm::call::{Archive, Call, Calls, Copy, Source};
use crate::smolvm::progress::Progress;

/// Calls that are ready to be made. Dropping this removes the files that were staged for them.
pub struct Staged {
    /// The calls.
    pub calls: Calls<String>,
    /// The directories that the calls copy, in the order of the calls.
    pub packed: Vec<Packed>,
    _files: Vec<NamedTempFile>,
}

impl Staged {
    /// Writes everything that `calls` copy and that is not yet a file to files in `stage_dir`.
    ///
    /// # Errors
    ///
    /// If `stage_dir` is not safe or has no room, if a directory cannot be read, or if a signal
    /// comes.
    pub fn new(calls: Calls, stage_dir: &Path, progress: Progress) -> Result<Self> {
        let stage_dir = if needs_staging(&calls) {
            let stage_dir = StageDir::open(stage_dir)?;
            stage_dir.clear();
            stage_dir.check_room(archives_size(&calls))?;
            Some(stage_dir)
        } else {
            None
        };
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
    /// The directory in which files are created; `None` if no file is needed.
    stage_dir: Option<StageDir>,
    progress: Progress,
    packed: Vec<Packed>,
    /// The files that have been staged. They stay open, because a staged file is locked.
    files: Vec<NamedTempFile>,
    /// The parts of the last archive that no call copies yet. The next part is the last element.
    parts: Vec<NamedTempFile>,
}

impl Stager {
    /// Returns the path of a file with the content of `source`, which is staged if necessary.
    fn stage(&mut self, source: Source) -> Result<String> {
        let file = match source {
            Source::File(path) => match fit(&path) {
                Some(path) => return Ok(path.to_owned()),
                None => self.copy(&path)?,
            },
            Source::Text(text) => {
                let file = self.create_file()?;
                let writing = || format!("write {}", file.path().display());
                file.as_file()
                    .write_all(text.as_bytes())
                    .with_context(writing)?;
                file
            }
            Source::Archive(archive) => self.pack(&archive)?,
            Source::NextPart => self.parts.pop().context("a part is missing")?,
        };
        // The path of stage_dir is one that smolvm accepts, or opening it would have failed.
        let path = file.path().to_string_lossy().into_owned();
        self.files.push(file);
        Ok(path)
    }

    /// Copies a file whose own path smolvm does not accept.
    fn copy(&self, path: &Path) -> Result<NamedTempFile> {
        let mut from = files::open(path)?;
        let to = self.create_file()?;
        let copying = || format!("copy {} to {}", path.display(), to.path().display());
        io::copy(&mut from, &mut to.as_file()).with_context(copying)?;
        Ok(to)
    }

    fn create_file(&self) -> Result<NamedTempFile> {
        let stage_dir = self.stage_dir.as_ref();
        stage_dir
            .context("there is no stage_dir to make a file in")?
            .create_file()
    }

    /// Packs `archive` and returns its first part.
    fn pack(&mut self, archive: &Archive) -> Result<NamedTempFile> {
        let tree = &archive.tree;
        let mut files = Vec::new();
        for _ in 0..archive.parts() {
            files.push(self.create_file().with_context(|| tree.name.clone())?);
        }
        let place = files[0].path().display().to_string();
        let mut parts = Parts::new(files, archive.max_part);
        let mut meter = self.progress.start(&tree.name, archive.size);
        let packed = tar::pack(tree, &mut parts, &place, |done| meter.update(done))?;
        self.packed.push(packed);
        self.parts = parts.into_files();
        self.parts.reverse();
        self.parts.pop().context("a part is missing")
    }
}

/// Returns `path` if smolvm accepts it. smolvm accepts only UTF-8, and takes the text before a
/// colon for the name of a machine.
#[must_use]
pub fn fit(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| !path.contains(':'))
}

/// Whether a call copies something that is not yet a file, or a file whose path smolvm does not
/// accept.
fn needs_staging(calls: &Calls) -> bool {
    calls.iter().any(|call| match call {
        Call::Copy(Copy {
            from: Source::File(path),
            ..
        }) => fit(path).is_none(),
        Call::Copy(_) => true,
        Call::Exec(_) => false,
    })
}

/// Returns the length of all archives together, in bytes.
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
