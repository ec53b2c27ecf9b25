//! Makes a step's calls and prints the plan with its receipt.

use std::time::Duration;

use clap::Args;

use crate::error::{Code, Error, in_phase};
use crate::smolvm::failure::CallFailure;
use crate::smolvm::staged::Staged;
use crate::step::invocation::Invocation;
use crate::step::output;
use crate::step::receipt::{Receipt, Status};
use crate::step::{CallResults, Prepared, Report};
use crate::text::one_line;

pub(crate) fn apply<O: Args>(invocation: &Invocation<O>, prepared: Prepared) -> Result<(), Error> {
    let Prepared {
        calls,
        report,
        optional,
        ..
    } = prepared;
    let name = invocation.step.name;
    let staged = Staged::new(calls, &invocation.plan.stage_dir, invocation.progress());
    let staged = in_phase(Code::HostFile, staged)?;
    for packed in &staged.packed {
        output::warn(name, &packed.warnings);
    }
    let mut runner = invocation.runner();
    let failure = match (runner.run(&staged.calls), optional) {
        (Ok(answers), _) => {
            let report = report(CallResults {
                answers,
                packed: staged.packed,
            });
            let report = in_phase(Code::GuestCommand, report)?;
            return finish(invocation, runner.calls(), report, None);
        }
        (Err(failure), Some(details)) if is_forgiven(&failure) => (failure, details),
        (Err(failure), _) => return Err(failure.error),
    };
    let (CallFailure { error, .. }, details) = failure;
    let status = Status::Failed;
    let line = error.message.clone();
    let report = Report {
        status,
        line,
        details: Some(details),
        warnings: Vec::new(),
    };
    finish(invocation, runner.calls(), report, Some(error))
}

/// Whether a failed call is a warning for a step that the bottle can do without.
fn is_forgiven(failure: &CallFailure) -> bool {
    !matches!(
        failure.error.code,
        Some(Code::SmolvmMissing | Code::Interrupted(_))
    )
}

/// Prints what was done, on stdout and on stderr. `error` is why it was not.
fn finish<O: Args>(
    invocation: &Invocation<O>,
    calls: u32,
    report: Report,
    error: Option<Error>,
) -> Result<(), Error> {
    let elapsed = invocation.started.elapsed();
    let Report {
        status,
        line,
        details,
        warnings,
    } = report;
    let receipt = Receipt {
        status,
        ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        calls,
        details,
        // It ends with the guest's words, and the receipt may go to a terminal.
        why: error.as_ref().map(|error| one_line(&error.message)),
    };
    in_phase(Code::HostFile, invocation.print(&receipt))?;
    output::warn(invocation.step.name, &warnings);
    if !invocation.options.common.quiet || status == Status::Failed {
        invocation.say(&said(status, &line, elapsed));
    }
    if let Some(hint) = error.and_then(|error| error.hint) {
        output::say(&format!("hint: {hint}"));
    }
    Ok(())
}

fn said(status: Status, line: &str, elapsed: Duration) -> String {
    match status {
        Status::Done => format!("{line} ({:.1}s)", elapsed.as_secs_f64()),
        Status::NothingToDo => format!("nothing to do: {line}"),
        Status::Failed => format!("warning: {line}"),
    }
}
