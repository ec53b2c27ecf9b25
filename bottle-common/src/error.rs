//! The error type: what failed, the class of the failure, and a hint if there is a known way out.

use std::error::Error as StdError;
use std::io;

use derive_more::Display;

/// The classes of failure that `--error-format json` tells apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// The command line is wrong.
    Usage,
    /// The plan is invalid, empty or truncated.
    PlanInvalid,
    /// Something on the host cannot be used: a file, a directory or a resource.
    HostFile,
    /// A command in the guest failed.
    GuestCommand,
    /// A smolvm call took longer than `--timeout` allows.
    Timeout,
    /// smolvm itself refused or failed.
    SmolvmError,
    /// smolvm cannot be run, or is too old.
    SmolvmMissing,
    /// A signal with this number (SIGHUP, SIGINT or SIGTERM) ended the step.
    Interrupted(u8),
}

impl Code {
    /// The name in `--error-format json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "USAGE",
            Self::PlanInvalid => "PLAN_INVALID",
            Self::HostFile => "HOST_FILE",
            Self::GuestCommand => "GUEST_COMMAND",
            Self::Timeout => "TIMEOUT",
            Self::SmolvmError => "SMOLVM_ERROR",
            Self::SmolvmMissing => "SMOLVM_MISSING",
            Self::Interrupted(_) => "INTERRUPTED",
        }
    }

    /// The exit status of a step that ends with this class of failure.
    ///
    /// 65 and 69 are `EX_DATAERR` and `EX_UNAVAILABLE` of sysexits.h. An interrupted step exits
    /// with 128 plus the signal's number, which is what a shell reports for a process that a signal
    /// ended.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::HostFile | Self::GuestCommand | Self::Timeout | Self::SmolvmError => 1,
            Self::Usage => 2,
            Self::PlanInvalid => 65,
            Self::SmolvmMissing => 69,
            Self::Interrupted(signal) => 128 + signal,
        }
    }
}

/// An error that may have a class and a hint. It travels in an [`anyhow::Error`], whose context
/// says what the step was doing to which thing.
#[derive(Clone, Debug, Display, derive_more::Error)]
#[display("{message}")]
pub struct Error {
    /// What went wrong: one line in lower case, without a full stop.
    pub message: String,
    /// The class, if it differs from the class of the phase in which the error occurs.
    pub code: Option<Code>,
    /// The way out, which is printed on a line of its own.
    pub hint: Option<String>,
}

impl Error {
    /// Makes the error of a step that was ended by `signal`.
    #[must_use]
    pub fn interrupted(signal: u8) -> Self {
        Self {
            message: "interrupted".to_owned(),
            code: Some(Code::Interrupted(signal)),
            hint: None,
        }
    }

    /// Flattens the chain of `error` into one error: the text of all causes, and the first class
    /// and the first hint that a cause has. Without a class in the chain, the class is `default`.
    #[must_use]
    pub fn flatten(default: Code, error: &anyhow::Error) -> Self {
        let mut code = None;
        let mut hint = None;
        for cause in error.chain() {
            if let Some(known) = downcast(cause) {
                code = code.or(known.code);
                hint = hint.or_else(|| known.hint.clone());
            }
        }
        match code {
            // It does not matter what the step was doing when the signal came.
            Some(Code::Interrupted(signal)) => Self::interrupted(signal),
            _ => Self {
                message: format!("{error:#}"),
                code: Some(code.unwrap_or(default)),
                hint,
            },
        }
    }
}

/// Makes an error with this message, and with a hint that is printed on the next line.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Error {
        message: message.into(),
        code: None,
        hint: Some(hint.into()),
    }
    .into()
}

/// Flattens the error of `result`. Its class is `code` unless the error has one.
///
/// # Errors
///
/// The error of `result`.
pub(crate) fn in_phase<T>(code: Code, result: anyhow::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::flatten(code, &error))
}

/// Finds our error in a cause. An error that passed through a reader or a writer is in an
/// [`io::Error`].
fn downcast<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    if let Some(io) = cause.downcast_ref::<io::Error>() {
        return io.get_ref()?.downcast_ref();
    }
    cause.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::{Code, Error, hinted};

    #[test]
    fn every_class_has_its_name_and_exit_status() {
        for (code, name, status) in [
            (Code::Usage, "USAGE", 2),
            (Code::PlanInvalid, "PLAN_INVALID", 65),
            (Code::HostFile, "HOST_FILE", 1),
            (Code::GuestCommand, "GUEST_COMMAND", 1),
            (Code::Timeout, "TIMEOUT", 1),
            (Code::SmolvmError, "SMOLVM_ERROR", 1),
            (Code::SmolvmMissing, "SMOLVM_MISSING", 69),
            (Code::Interrupted(1), "INTERRUPTED", 129),
            (Code::Interrupted(15), "INTERRUPTED", 143),
        ] {
            assert_eq!((code.name(), code.exit_status()), (name, status));
        }
    }

    #[test]
    fn a_chain_of_errors_becomes_one_line_with_the_first_class_and_hint() {
        let error = anyhow::Error::from(io::Error::other("no")).context("read a");
        let flat = Error::flatten(Code::HostFile, &error);
        assert_eq!(
            (&*flat.message, flat.code, flat.hint),
            ("read a: no", Some(Code::HostFile), None)
        );

        let hint = Some("h".to_owned());
        let inner = Error {
            message: "m".to_owned(),
            code: Some(Code::Timeout),
            hint,
        };
        let flat = Error::flatten(Code::HostFile, &anyhow::Error::from(inner).context("c"));
        assert_eq!((&*flat.message, flat.code), ("c: m", Some(Code::Timeout)));
        assert_eq!(flat.hint.as_deref(), Some("h"));

        let flat = Error::flatten(Code::Usage, &hinted("m", "h"));
        assert_eq!(
            (flat.code, flat.hint.as_deref()),
            (Some(Code::Usage), Some("h"))
        );
    }

    #[test]
    fn an_interrupt_inside_an_io_error_replaces_the_message() {
        let read: io::Result<()> = Err(io::Error::other(Error::interrupted(2)));
        let error = read.context("pack a").unwrap_err();
        let flat = Error::flatten(Code::HostFile, &error);
        assert_eq!(
            (&*flat.message, flat.code),
            ("interrupted", Some(Code::Interrupted(2)))
        );
    }
}
