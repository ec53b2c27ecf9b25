//! The skeleton of a step, and what a step hands to it.

mod apply;
mod check;
mod dry_run;
mod invocation;
pub mod live;
pub mod options;
mod output;
pub mod program;
pub mod receipt;
#[cfg(test)]
mod schemas;
mod script;

use std::time::Duration;

use anyhow::Result;
use clap::{Arg, ArgAction, Args, Command, CommandFactory};
use serde::Serialize;
use serde_json::Value;

use crate::guest::listing::{Difference, LIST, Listing};
use crate::host::tar::Packed;
use crate::plan::Plan;
use crate::smolvm::call::{Calls, Exec};
use crate::step::options::{CommandLine, Questions};
use crate::step::receipt::Status;

const EXAMPLES: &str = "Examples:
  STEP < plan.json > provisioned.json
  STEP -v -o receipt < plan.json
  STEP --dry-run < plan.json | sh
  STEP --check < plan.json > checked.json
  STEP --check --live < plan.json > checked.json";

/// A step, which [`program::main`] runs. `O` holds the options that only this step has.
pub struct Step<O> {
    /// The program's name: `bottle-` and the key of its receipt.
    pub name: &'static str,
    /// The first line of `--help`, without a full stop.
    pub about: &'static str,
    /// What else its users have to know: lines at the end of `--help` and in the man page, or `""`.
    pub notes: &'static str,
    /// Decides from the plan, the step's own options and the host's files what to do. It runs
    /// before the first call.
    pub prepare: fn(&Plan, &O) -> Result<Prepared>,
    /// Decides in the same way what to look at in the guest, and what should be there.
    pub check: fn(&Plan, &O) -> Result<Check>,
    /// Decides what to ask the guest, as the agent, about what works there.
    pub live: fn(&Plan, &O, &Questions) -> Result<Check>,
}

/// What a step is going to do.
pub struct Prepared {
    pub(crate) calls: Calls,
    /// What a person should know before the first call.
    pub(crate) warnings: Vec<String>,
    pub(crate) report: MakeReport,
    /// The receipt's details if a call fails; `Some` if the bottle works without this step.
    pub(crate) optional: Option<Value>,
}

type MakeReport = Box<dyn FnOnce(CallResults) -> Result<Report>>;

/// What came of the calls.
pub struct CallResults {
    /// What each call printed on stdout, in the order of the calls.
    pub answers: Vec<String>,
    /// The directories that were copied, in the order of their calls.
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

/// A call that looks into the guest and changes nothing, and how to read its answer.
pub struct Check {
    /// The call; `None` if there is nothing to look at.
    pub(crate) exec: Option<Exec>,
    pub(crate) compare: Compare,
    /// What is in place if nothing differs, or why there is nothing to look at.
    pub(crate) line: String,
    /// The time limit for the call, if it is shorter than that of all calls.
    pub(crate) limit: Option<Duration>,
}

type Compare = Box<dyn FnOnce(&str) -> Result<Vec<Difference>>>;

impl<O: Args> Step<O> {
    /// The step's command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let examples = EXAMPLES.replace("STEP", self.name);
        // Short help has long lines.
        let help = Arg::new("help")
            .short('h')
            .long("help")
            .help("Print help")
            .help_heading(None::<&str>);
        let command = CommandLine::<O>::command()
            .disable_help_flag(true)
            .arg(help.action(ArgAction::HelpLong))
            .name(self.name)
            .about(self.about)
            .version(env!("CARGO_PKG_VERSION"))
            .after_help(examples.clone());
        if self.notes.is_empty() {
            return command;
        }
        command.after_long_help(format!("{examples}\n\nNotes:\n{}", self.notes))
    }

    /// The key of the step's receipt: its name without `bottle-`.
    fn key(&self) -> &str {
        self.name.trim_start_matches("bottle-")
    }
}

impl Prepared {
    /// Work that consists of `calls`. When none of them fails, `report` says what was done. It
    /// fails if the calls' output shows that they did not do it.
    #[must_use]
    pub fn new(
        calls: impl Into<Calls>,
        report: impl FnOnce(CallResults) -> Result<Report> + 'static,
    ) -> Self {
        Self {
            calls: calls.into(),
            warnings: Vec::new(),
            report: Box::new(report),
            optional: None,
        }
    }

    /// No work at all; `why` is for people.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        let report = Report {
            status: Status::NothingToDo,
            line: why.to_owned(),
            details: None,
            warnings: Vec::new(),
        };
        Self::new(Calls::none(), |_| Ok(report))
    }

    /// Sets the warnings that are printed before the first call.
    #[must_use]
    pub fn warn(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Marks this as work that the bottle can do without: if a call fails, the step prints a
    /// warning and a receipt with `details`, and succeeds.
    #[must_use]
    pub fn optional(mut self, details: &impl Serialize) -> Self {
        self.optional = Some(value(details));
        self
    }
}

impl Report {
    /// Reports that the work is done. `line` says so to people, and `details` go into the receipt.
    #[must_use]
    pub fn done(line: String, details: &impl Serialize) -> Self {
        Self {
            status: Status::Done,
            line,
            details: Some(value(details)),
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
    /// Makes the call `exec`, whose output `compare` reads. `line` is printed when nothing differs.
    pub fn new(
        exec: Exec,
        line: impl Into<String>,
        compare: impl FnOnce(&str) -> Result<Vec<Difference>> + 'static,
    ) -> Self {
        Self {
            exec: Some(exec.private()),
            compare: Box::new(compare),
            line: line.into(),
            limit: None,
        }
    }

    /// Sets a time limit for the call.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lists `roots`, which are parameters of [`LIST`], and compares them with `expected`.
    #[must_use]
    pub fn listing(line: impl Into<String>, roots: &[&str], expected: Listing) -> Self {
        let exec = Self::exec("list \"$@\"", roots);
        Self::new(exec, line, move |answer| {
            let (found, _) = Listing::parse(answer)?;
            Ok(expected.differences(&found))
        })
    }

    /// Makes the call that runs `script`, which may use the shell function of [`LIST`].
    #[must_use]
    pub fn exec(script: &str, parameters: &[&str]) -> Exec {
        Exec::script(
            "look into the guest",
            &format!("{LIST}\n{script}"),
            parameters,
        )
    }

    /// Nothing to look at; `why` is for people.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        Self {
            exec: None,
            compare: Box::new(|_| Ok(Vec::new())),
            line: why.to_owned(),
            limit: None,
        }
    }
}

fn value(details: &impl Serialize) -> Value {
    // This cannot fail: a receipt has only string keys, and only numbers that JSON has.
    serde_json::to_value(details).unwrap_or_default()
}
