//! A list of files in a directory.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::choice::{Choice, Judge};

/// The number of bytes by which the memory for the paths grows. Growing twofold, as a `Vec` does by
/// itself, could take twice the memory.
const STEP: usize = 1 << 20;

/// Files by their paths in a directory. In memory, each takes little more than its path.
#[derive(Clone, Debug, Default)]
pub struct FileList {
    /// All paths.
    bytes: Vec<u8>,
    /// Where in `bytes` each path is, and the judge of the file's content.
    files: Vec<(Range<u32>, Option<Judge>)>,
}

impl FileList {
    /// Adds a file, whose content `judge` judges, if there is one. Returns whether there was room
    /// for it: all paths may take 4 GiB.
    pub fn push(&mut self, path: &Path, judge: Option<Judge>) -> bool {
        let path = path.as_os_str().as_bytes();
        let start = self.bytes.len();
        let (Ok(from), Ok(to)) = (u32::try_from(start), u32::try_from(start + path.len())) else {
            return false;
        };
        if self.bytes.capacity() - start < path.len() {
            self.bytes.reserve_exact(path.len() + STEP);
        }
        self.bytes.extend_from_slice(path);
        self.files.push((from..to, judge));
        true
    }

    /// Sorts the files. If a path was added twice, the judge that was added first counts.
    pub fn sort(&mut self) {
        let Self { bytes, files } = self;
        // The files of a directory follow each other, because their paths begin alike.
        files.sort_by(|(one, _), (other, _)| path_at(bytes, one).cmp(path_at(bytes, other)));
        files.dedup_by(|(one, _), (other, _)| path_at(bytes, one) == path_at(bytes, other));
    }

    /// Iterates over the paths and the decisions.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, Choice)> {
        self.files.iter().map(|(range, judge)| {
            let choice = judge.map_or(Choice::Include, Choice::Unless);
            (Path::new(path_at(&self.bytes, range)), choice)
        })
    }

    /// Whether `path` is one of the files, which are sorted.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        let is = |(range, _): &(Range<u32>, Option<Judge>)| {
            path_at(&self.bytes, range).cmp(path.as_os_str())
        };
        self.files.binary_search_by(is).is_ok()
    }

    /// The number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The length of all paths together, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn path_at<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a OsStr {
    OsStr::from_bytes(&bytes[range.start as usize..range.end as usize])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::FileList;
    use crate::host::choice::{Choice, Judge};

    #[test]
    fn paths_are_sorted_and_the_first_decision_counts() {
        let judge: Option<Judge> = Some(|_| None);
        let mut list = FileList::default();
        assert!(list.is_empty());
        for (path, judge) in [
            ("a/b", judge),
            ("a.c", None),
            ("a/b", None),
            ("a", None),
            ("a-", None),
        ] {
            assert!(list.push(Path::new(path), judge));
        }
        list.sort();
        let found = list
            .iter()
            .map(|(path, choice)| (path.to_str().unwrap(), matches!(choice, Choice::Include)));
        let found: Vec<_> = found.collect();
        let expected = [("a", true), ("a-", true), ("a.c", true), ("a/b", false)];
        assert_eq!(
            (found.as_slice(), list.len(), list.size()),
            (&expected[..], 4, 12)
        );
        assert!(list.contains("a/b".as_ref()) && !list.contains("a/".as_ref()));
    }
}
