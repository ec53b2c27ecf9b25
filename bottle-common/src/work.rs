//! What a step is going to do, and what it has done.

use serde::Serialize;
use serde_json::Value;

use crate::call::Call;
use crate::call_error::CallError;
use crate::pack::Packed;
use crate::receipt::Status;

/// What a step is going to do.
pub struct Work {
    /// The calls, in order.
    pub(crate) calls: Vec<Call>,
    /// What a person should know beforehand.
    pub(crate) warnings: Vec<String>,
    pub(crate) finish: Finish,
    /// Where a call that fails is a warning and no error: what the receipt says besides.
    pub(crate) optional: Option<Value>,
}

type Finish = Box<dyn FnOnce(Done) -> Outcome>;

/// What the calls came to.
pub struct Done {
    /// What each call printed on stdout.
    pub answers: Vec<String>,
    /// The directories that were copied, in their order.
    pub packed: Vec<Packed>,
}

/// What a step has done.
pub struct Outcome {
    pub(crate) status: Status,
    /// What was done, for people.
    pub(crate) line: String,
    /// What was installed, for the receipt.
    pub(crate) details: Option<Value>,
    /// Why it failed.
    pub(crate) why: Option<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Work {
    /// `calls` that come to what `finish` says when none of them fails.
    #[must_use]
    pub fn new(calls: Vec<Call>, finish: impl FnOnce(Done) -> Outcome + 'static) -> Self {
        Self { calls, warnings: Vec::new(), finish: Box::new(finish), optional: None }
    }

    /// No calls at all, and why.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        let outcome = Outcome::new(Status::NothingToDo, why.to_owned(), None);
        Self::new(Vec::new(), |_| outcome)
    }

    /// Says `warnings` before the first call.
    #[must_use]
    pub fn warning(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Work that the bottle can do without: a call that fails is a warning, and `details` is in its receipt.
    #[must_use]
    pub fn optional(mut self, details: &impl Serialize) -> Self {
        self.optional = Some(value(details));
        self
    }
}

impl Outcome {
    fn new(status: Status, line: String, details: Option<Value>) -> Self {
        Self { status, line, details, why: None, warnings: Vec::new(), hint: None }
    }

    /// The work is done; `details` is the step's part of the receipt.
    #[must_use]
    pub fn done(line: String, details: &impl Serialize) -> Self {
        Self::new(Status::Done, line, Some(value(details)))
    }

    /// The work is not done, which is no reason to stop.
    pub(crate) fn failed(error: &CallError, details: Value) -> Self {
        let (why, hint) = (Some(error.to_string()), error.hint.clone());
        Self { why, hint, ..Self::new(Status::Failed, error.to_string(), Some(details)) }
    }

    /// Adds warnings.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

fn value(details: &impl Serialize) -> Value {
    // A receipt has no key that is not a string and no number that JSON lacks.
    serde_json::to_value(details).unwrap_or_default()
}
