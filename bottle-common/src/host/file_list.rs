//! A list of files in a directory, each with the decision on it.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::choice::Choice;

/// The maximum length of all paths together, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Files by their paths in a directory.
#[derive(Clone, Debug, Default)]
pub struct FileList {
    /// All paths. A separate allocation for each would take several times as much memory.
    bytes: Vec<u8>,
    /// Where in `bytes` each path is, and the decision on its file.
    files: Vec<(Range<u32>, Choice)>,
}

impl FileList {
    /// Adds a file. Returns whether there was room for it: all paths may take 64 MiB.
    pub fn push(&mut self, path: &Path, choice: Choice) -> bool {
        let start = self.bytes.len();
        let end = start + path.as_os_str().len();
        let (Ok(from), Ok(to)) = (u32::try_from(start), u32::try_from(end)) else {
            return false;
        };
        if end > MAX_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(path.as_os_str().as_bytes());
        self.files.push((from..to, choice));
        true
    }

    /// Sorts the files. If a path was added twice, the decision that was added first counts.
    pub fn sort(&mut self) {
        let Self { bytes, files } = self;
        // The files of a directory follow each other, because their paths begin alike.
        files.sort_by(|(one, _), (other, _)| path_at(bytes, one).cmp(path_at(bytes, other)));
        files.dedup_by(|(one, _), (other, _)| path_at(bytes, one) == path_at(bytes, other));
    }

    /// Iterates over the paths and the decisions.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, Choice)> {
        let files = self.files.iter();
        files.map(|(range, choice)| (Path::new(path_at(&self.bytes, range)), *choice))
    }

    /// Whether `path` is one of the files, which are sorted.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        let is =
            |(range, _): &(Range<u32>, Choice)| path_at(&self.bytes, range).cmp(path.as_os_str());
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
}

fn path_at<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a OsStr {
    OsStr::from_bytes(&bytes[range.start as usize..range.end as usize])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{FileList, MAX_BYTES};
    use crate::host::choice::Choice;

    #[test]
    fn paths_are_sorted_and_the_first_decision_counts() {
        let mut list = FileList::default();
        assert!(list.is_empty());
        for (path, choice) in [
            ("a/b", Choice::Exclude),
            ("a.c", Choice::Include),
            ("a/b", Choice::Include),
            ("a", Choice::Include),
            ("a-", Choice::Include),
        ] {
            assert!(list.push(Path::new(path), choice));
        }
        list.sort();
        let found = list
            .iter()
            .map(|(path, choice)| (path.to_str().unwrap(), choice.is_copied()));
        let found: Vec<_> = found.collect();
        let expected = [("a", true), ("a-", true), ("a.c", true), ("a/b", false)];
        assert_eq!((found.as_slice(), list.len()), (&expected[..], 4));
        assert!(list.contains("a/b".as_ref()) && !list.contains("a/".as_ref()));
    }

    #[test]
    fn the_memory_is_limited() {
        let mut list = FileList::default();
        let long = "a".repeat(MAX_BYTES);
        assert!(list.push(long.as_ref(), Choice::Include));
        assert!(!list.push("a".as_ref(), Choice::Include));
        assert_eq!(list.len(), 1);
    }
}
