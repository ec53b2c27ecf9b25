//! What a step is going to do, and what it has done.

use serde::Serialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::call_error::CallError;
use crate::pack::Packed;

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
    /// What was installed, for the receipt: an object.
    pub(crate) details: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) hint: Option<String>,
}

#[derive(Clone, Copy, Eq, PartialEq, Serialize)]
pub(crate) enum Status {
    #[serde(rename = "done")]
    Done,
    #[serde(rename = "nothing to do")]
    NothingToDo,
    #[serde(rename = "failed")]
    Failed,
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
        let outcome = Outcome::new(Status::NothingToDo, why.to_owned(), json!({}));
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
    pub fn optional(mut self, details: Value) -> Self {
        self.optional = Some(details);
        self
    }
}

impl Outcome {
    fn new(status: Status, line: String, details: Value) -> Self {
        Self { status, line, details, warnings: Vec::new(), hint: None }
    }

    /// The work is done; `details` is an object.
    #[must_use]
    pub fn done(line: String, details: Value) -> Self {
        Self::new(Status::Done, line, details)
    }

    /// The work is not done, which is no reason to stop.
    pub(crate) fn failed(why: &CallError, mut details: Value) -> Self {
        details["why"] = why.to_string().into();
        Self { hint: why.hint.clone(), ..Self::new(Status::Failed, why.to_string(), details) }
    }

    /// Adds a warning.
    #[must_use]
    pub fn warning(mut self, warning: Option<String>) -> Self {
        self.warnings.extend(warning);
        self
    }
}
