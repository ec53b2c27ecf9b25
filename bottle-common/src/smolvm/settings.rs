//! How smolvm is run: which program, for which machine, and for how long.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::host::process::{self, Unfinished};
use crate::plan::values::MachineName;
use crate::smolvm::call::Call;
use crate::smolvm::failure::{self, CallFailure, Reason};
use crate::smolvm::progress::Progress;
use crate::smolvm::version::ExecUser;

/// What is said of the calls of a group that cannot be made again later.
const REMOVED: &str =
    "; not alone: its file is removed when the step ends; --dry-run makes it again";

/// How calls are made. All of this but `is_staged` comes from the command line and the plan.
#[derive(Clone)]
pub struct Settings {
    /// The smolvm program.
    pub program: OsString,
    /// The machine that the calls are for.
    pub machine: MachineName,
    /// The user that runs guest commands.
    pub user: ExecUser,
    /// The time limit for one call.
    pub timeout: Duration,
    /// Prints a call: its command line with its exit status and its time, then its output.
    pub trace: Option<fn(&[String])>,
    /// Shows the progress of copies, and for how long another call has been going on.
    pub progress: Progress,
    /// Where files are staged, which are removed when the step ends.
    pub stage_dir: PathBuf,
    /// Whether the calls that are being made belong to a group that copies such a file.
    pub is_staged: bool,
    /// The file through which the steps share what they know about smolvm.
    pub known: Option<PathBuf>,
}

impl Settings {
    /// Runs smolvm once with `args`. `call` is the call that this is for.
    pub(super) fn start(
        &self,
        call: &Call<String>,
        args: &[String],
    ) -> Result<Output, CallFailure> {
        let started = Instant::now();
        let (program, timeout) = (&self.program, self.timeout);
        let words = args.iter().map(String::as_str);
        let result = if self.progress.show.is_some() && matches!(call, Call::Copy(_)) {
            let mut meter = self.progress.start(call.purpose(), 0);
            process::run_watched(program, words, timeout, move |words| meter.relay(words))
        } else {
            let input = match call {
                Call::Exec(exec) => exec.input.as_deref(),
                Call::Copy(_) => None,
            };
            let _clock = self.progress.clock(call.purpose());
            process::run(program, words, input.unwrap_or_default(), timeout)
        };
        if let Some(trace) = self.trace {
            let end = match &result {
                Ok(output) => failure::status(output.status),
                Err(unfinished) => unfinished.to_string(),
            };
            let millis = started.elapsed().as_millis();
            let note = if self.is_staged { REMOVED } else { "" };
            let line = self.shell_line(args);
            let mut lines = vec![format!("{line}  # {end}, {millis} ms{note}")];
            if let Ok(output) = &result {
                for line in failure::printed(&presentable(call, output)) {
                    // A comment, so that nobody pastes what the guest says.
                    lines.push(format!("    # {line}"));
                }
            }
            trace(&lines);
        }
        result.map_err(|unfinished| self.failure(call, Reason::Unfinished(&unfinished)))
    }

    /// Formats a call of smolvm as a line for a shell.
    fn shell_line(&self, args: &[String]) -> String {
        let program = self.program.to_string_lossy();
        let words = [program.as_ref()]
            .into_iter()
            .chain(args.iter().map(String::as_str));
        // Quoting fails only for a NUL, which no argument can contain.
        shlex::try_join(words).unwrap_or_default()
    }

    /// Makes the failure of `call`.
    pub(super) fn failure(&self, call: &Call<String>, reason: Reason) -> CallFailure {
        let command = match call {
            Call::Copy(_) => "cp",
            Call::Exec(_) => "exec",
        };
        // Which program it is counts if there is none.
        let program = match reason {
            Reason::Unfinished(Unfinished::Missing(_) | Unfinished::NotStarted(_)) => {
                self.program.to_string_lossy()
            }
            _ => "smolvm".into(),
        };
        let doing = format!("{}: {program} machine {command}", call.purpose());
        CallFailure::new(&doing, reason, &self.machine, self.timeout)
    }
}

/// Returns the part of `output` that people may see. The stdout of a private call is left out.
pub(super) fn presentable<'a>(call: &Call<String>, output: &'a Output) -> Cow<'a, Output> {
    match call {
        Call::Exec(exec) if exec.is_private => Cow::Owned(Output {
            stdout: Vec::new(),
            ..output.clone()
        }),
        _ => Cow::Borrowed(output),
    }
}
