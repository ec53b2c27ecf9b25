//! One run of a step, with everything that it was given.

use std::io::{self, IsTerminal};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::plan::Plan;
use crate::plan::json::Document;
use crate::plan::values::MachineName;
use crate::smolvm::progress::Progress;
use crate::smolvm::runner::Runner;
use crate::smolvm::settings::Settings;
use crate::step::Step;
use crate::step::options::{CommandLine, Common, Output};
use crate::step::output;
use crate::text::visible_json;

pub(crate) struct Invocation<'a, O: Args> {
    pub step: &'a Step<O>,
    pub options: &'a CommandLine<O>,
    pub document: Document,
    pub plan: Plan,
    /// When the plan had been read. (In a pipeline, reading it includes the time of earlier steps.)
    pub started: Instant,
}

impl<O: Args> Invocation<'_, O> {
    /// The machine of the command line or, without one, of the plan.
    pub fn machine(&self) -> &MachineName {
        self.options
            .common
            .machine
            .as_ref()
            .unwrap_or(&self.plan.machine_name)
    }

    /// Sets up smolvm as the command line asks for it.
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
            stage_dir: self.plan.stage_dir.clone(),
            is_staged: false,
            known: known.clone(),
        })
    }

    /// Progress is a line that changes, so it is shown only on a terminal, and not with `--quiet`.
    pub fn progress(&self) -> Progress {
        let is_watched = !self.options.common.quiet && io::stderr().is_terminal();
        Progress {
            show: is_watched.then_some(output::show),
        }
    }

    /// Prints `value`, which is this step's receipt or its differences: added to the plan, or
    /// alone.
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
        output::print(visible_json(&text) + "\n")
    }

    /// Prints a line on stderr that starts with the step's name.
    pub fn say(&self, line: &str) {
        output::say(&format!("{}: {line}", self.step.name));
    }
}
