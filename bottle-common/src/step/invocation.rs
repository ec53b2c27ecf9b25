//! A step on its way, with everything that it was given.

use std::io::{self, IsTerminal};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::plan::Plan;
use crate::plan::json::Document;
use crate::plan::values::MachineName;
use crate::smolvm::progress::Progress;
use crate::smolvm::runner::{Runner, Settings};
use crate::step::Step;
use crate::step::options::{CommandLine, Common, Output};
use crate::step::output;

pub(crate) struct Invocation<'a, O: Args> {
    pub step: &'a Step<O>,
    pub options: &'a CommandLine<O>,
    pub document: Document,
    pub plan: Plan,
    /// When the plan was there. (In a pipeline, reading it is waiting for the steps before.)
    pub started: Instant,
}

impl<O: Args> Invocation<'_, O> {
    pub fn machine(&self) -> &MachineName {
        self.options
            .common
            .machine
            .as_ref()
            .unwrap_or(&self.plan.machine_name)
    }

    pub fn runner(&self) -> Runner {
        let Common {
            smolvm,
            exec_user,
            timeout,
            verbose,
            known,
            ..
        } = &self.options.common;
        Runner::new(Settings {
            program: smolvm.clone(),
            machine: self.machine().clone(),
            user: exec_user.clone(),
            timeout: *timeout,
            trace: verbose.then_some(output::say_all),
            progress: self.progress(),
            known: known.clone(),
        })
    }

    /// A line that changes is for a terminal, and for whoever wants to hear more than warnings.
    pub fn progress(&self) -> Progress {
        let is_watched = !self.options.common.quiet && io::stderr().is_terminal();
        Progress {
            show: is_watched.then_some(output::show),
        }
    }

    /// Prints the plan with `value` as what this step says, or `value` alone.
    pub fn print(&self, value: &impl Serialize) -> Result<()> {
        let Common { output, check, .. } = &self.options.common;
        let default = if io::stdout().is_terminal() {
            Output::Receipt
        } else {
            Output::Plan
        };
        let text = match output.unwrap_or(default) {
            Output::Plan => {
                let group = if *check { "checks" } else { "receipts" };
                self.document.with(group, self.step.key(), value)?
            }
            Output::Receipt => serde_json::to_string_pretty(value)?,
        };
        output::print(&(text + "\n"))
    }

    /// Prints a line of this step's on stderr.
    pub fn say(&self, line: &str) {
        output::say(&format!("{}: {line}", self.step.name));
    }
}
