//! What becomes of a file when its directory is copied.

use std::borrow::Cow;

/// The decision on a file, or on a directory with everything in it.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// It is copied.
    Include,
    /// It is copied, unless the function finds something in its content. Then, or if it is longer
    /// than 1 MiB, a warning says why it is not copied.
    Unless(fn(&[u8]) -> Option<&'static str>),
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
