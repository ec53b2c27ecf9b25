//! What becomes of a file when its directory is copied.

use std::borrow::Cow;

/// Judges the content of a file: says why it must not be copied, or nothing.
pub type Judge = fn(&[u8]) -> Option<&'static str>;

/// The decision on a file, or on a directory with everything in it.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// It is copied.
    Include,
    /// It is copied unless its judge says why not, or unless it is longer than 1 MiB. Then a
    /// warning says so.
    Unless(Judge),
    /// It is copied, and each of its lines is rewritten.
    Rewrite(fn(&[u8]) -> Cow<'_, [u8]>),
    /// It is not copied.
    Exclude,
    /// It is not copied, and a warning says why.
    Warn(&'static str),
}

impl Choice {
    /// Whether the file is copied, as far as its name says.
    pub(crate) fn is_copied(self) -> bool {
        matches!(self, Self::Include | Self::Unless(_) | Self::Rewrite(_))
    }
}
