//! Why a step ended without its work done: a class, a message, perhaps a way out.

use derive_more::Display;
use serde::Serialize;

use crate::call_error::CallError;
use crate::interrupt;

/// The classes of failure that `--error-format json` tells apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// the command line
    Usage,
    /// the plan
    PlanInvalid,
    /// a file on the host
    HostFile,
    /// a command in the guest
    GuestCommand,
    /// a deadline
    Timeout,
    /// smolvm said no
    SmolvmError,
    /// smolvm cannot be run
    SmolvmMissing,
    /// SIGHUP, SIGINT or SIGTERM
    Interrupted,
}

/// A message with the way out, printed as a line of its own.
#[derive(Debug, Display, derive_more::Error)]
#[display("{message}")]
pub struct Hinted {
    message: String,
    hint: String,
}

/// An error that says `message` and, on the next line, `hint`.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Hinted { message: message.into(), hint: hint.into() }.into()
}

/// A step's end, if it was not the good one.
#[derive(Debug)]
pub struct Failure {
    /// Its class.
    pub code: Code,
    /// What we were doing to which thing, then why.
    pub message: String,
    /// The way out, where we know one.
    pub hint: Option<String>,
    /// The exit status.
    pub status: u8,
}

impl Failure {
    /// `error` as a failure of the class that its phase has, unless it knows better itself.
    #[must_use]
    pub fn new(code: Code, error: &anyhow::Error) -> Self {
        if let Err(interrupted) = interrupt::check() {
            let (code, message, status) = (Code::Interrupted, interrupted.to_string(), interrupted.status());
            return Self { code, message, hint: None, status };
        }
        let call = error.chain().find_map(|cause| cause.downcast_ref::<CallError>());
        let hinted = error.chain().find_map(|cause| cause.downcast_ref::<Hinted>());
        let code = call.map_or(code, |call| call.code);
        let status = match code {
            Code::Usage => 2,
            Code::PlanInvalid => 65,
            Code::SmolvmMissing => 69,
            _ => 1,
        };
        let hint = call.and_then(|call| call.hint.clone()).or_else(|| hinted.map(|hinted| hinted.hint.clone()));
        Self { code, message: format!("{error:#}"), hint, status }
    }
}
