//! The skeleton of a step, and what a step hands to it.

mod apply;
mod check;
mod dry_run;
mod invocation;
pub mod options;
mod output;
pub mod program;
pub mod receipt;
#[cfg(test)]
mod schemas;
mod script;

use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use serde::Serialize;
use serde_json::Value;

use crate::guest::listing::{Difference, LIST, Listing};
use crate::host::tar::Packed;
use crate::plan::Plan;
use crate::smolvm::call::{Calls, Exec};
use crate::step::options::CommandLine;
use crate::step::receipt::Status;

const EXAMPLES: &str = "Examples:
  STEP < plan.json > provisioned.json
  STEP -v -o receipt < plan.json
  STEP --dry-run < plan.json | sh
  STEP --check < plan.json > checked.json";

/// A step, to be handed to [`program::main`]. `O` is what it has for options of its own.
pub struct Step<O> {
    /// The program's name: `bottle-` and the key of its receipt.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Decides what to do from the plan, the step's own options and the host's files, all of it
    /// before the first call.
    pub prepare: fn(&Plan, &O) -> Result<Prepared>,
    /// Decides what to look at in the guest and what it should be, likewise.
    pub check: fn(&Plan, &O) -> Result<Check>,
}

/// What a step is going to do.
pub struct Prepared {
    pub(crate) calls: Calls,
    /// What a person should know beforehand.
    pub(crate) warnings: Vec<String>,
    pub(crate) report: MakeReport,
    /// What the receipt says when a call fails and the bottle can do without it.
    pub(crate) optional: Option<Value>,
}

type MakeReport = Box<dyn FnOnce(CallResults) -> Result<Report>>;

/// What the calls came to.
pub struct CallResults {
    /// What each call printed on stdout.
    pub answers: Vec<String>,
    /// The directories that were copied, in their order.
    pub packed: Vec<Packed>,
}

/// What a step has done.
pub struct Report {
    pub(crate) status: Status,
    /// What was done, for people.
    pub(crate) line: String,
    /// What was installed, for the receipt.
    pub(crate) details: Option<Value>,
    pub(crate) warnings: Vec<String>,
}

/// One look into the guest, which changes nothing there, and what its answer means.
pub struct Check {
    /// The call that asks; none where there is nothing to look at.
    pub(crate) exec: Option<Exec>,
    pub(crate) compare: Compare,
    /// What is in place, or why there is nothing to look at.
    pub(crate) line: String,
}

type Compare = Box<dyn FnOnce(&str) -> Result<Vec<Difference>>>;

impl<O: Args> Step<O> {
    /// The step's command line.
    #[must_use]
    pub fn command(&self) -> Command {
        CommandLine::<O>::command()
            .name(self.name)
            .about(self.about)
            .version(env!("CARGO_PKG_VERSION"))
            .after_help(EXAMPLES.replace("STEP", self.name))
    }

    /// The key of its receipt.
    fn key(&self) -> &str {
        self.name.trim_start_matches("bottle-")
    }
}

impl Prepared {
    /// Calls that come to what `report` says when none of them fails. When what they printed shows
    /// that they did not do what they were for, `report` fails.
    #[must_use]
    pub fn new(
        calls: impl Into<Calls>,
        report: impl FnOnce(CallResults) -> Result<Report> + 'static,
    ) -> Self {
        let calls = calls.into();
        Self {
            calls,
            warnings: Vec::new(),
            report: Box::new(report),
            optional: None,
        }
    }

    /// No calls at all, and why.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        let (status, line) = (Status::NothingToDo, why.to_owned());
        let report = Report {
            status,
            line,
            details: None,
            warnings: Vec::new(),
        };
        Self::new(Calls::none(), |_| Ok(report))
    }

    /// Prints `warnings` before the first call.
    #[must_use]
    pub fn warn(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Makes it work that the bottle can do without: a call that fails is a warning, and `details`
    /// is in its receipt.
    #[must_use]
    pub fn optional(mut self, details: &impl Serialize) -> Self {
        self.optional = Some(value(details));
        self
    }
}

impl Report {
    /// The work is done. `details` is the step's part of the receipt.
    #[must_use]
    pub fn done(line: String, details: &impl Serialize) -> Self {
        let details = Some(value(details));
        Self {
            status: Status::Done,
            line,
            details,
            warnings: Vec::new(),
        }
    }

    /// Adds warnings.
    #[must_use]
    pub fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

impl Check {
    /// Asks with `exec`; `compare` reads what it prints. `line` is said when nothing differs.
    pub fn new(
        exec: Exec,
        line: impl Into<String>,
        compare: impl FnOnce(&str) -> Result<Vec<Difference>> + 'static,
    ) -> Self {
        Self {
            exec: Some(exec.private()),
            compare: Box::new(compare),
            line: line.into(),
        }
    }

    /// Looks at `roots`, as [`LIST`] takes them, which are to be what is `expected`.
    #[must_use]
    pub fn listing(line: impl Into<String>, roots: &[&str], expected: Listing) -> Self {
        let exec = Self::exec("list \"$@\"", roots);
        Self::new(exec, line, move |answer| {
            let (found, _) = Listing::parse(answer)?;
            Ok(expected.differences(&found))
        })
    }

    /// Runs `script`, in which the function of [`LIST`] is known.
    #[must_use]
    pub fn exec(script: &str, parameters: &[&str]) -> Exec {
        Exec::script(
            "look into the guest",
            &format!("{LIST}\n{script}"),
            parameters,
        )
    }

    /// Nothing to look at, and why.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        Self {
            exec: None,
            compare: Box::new(|_| Ok(Vec::new())),
            line: why.to_owned(),
        }
    }
}

fn value(details: &impl Serialize) -> Value {
    // A receipt has no key that is not a string, and no number that JSON does not have.
    serde_json::to_value(details).unwrap_or_default()
}
