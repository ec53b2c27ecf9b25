//! The default mode: makes the step's calls and prints the plan with the step's receipt.

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

/// Stages what the calls copy, makes the calls, and prints what came of them.
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
    let failure = match runner.run(&staged.calls) {
        Ok(answers) => {
            let report = report(CallResults {
                answers,
                packed: staged.packed,
            });
            let report = in_phase(Code::GuestCommand, report)?;
            return finish(invocation, runner.calls(), report, None);
        }
        Err(failure) => failure,
    };
    let may_go_on = is_forgiven(&failure);
    let error = failure.error;
    let Some(details) = optional.filter(|_| may_go_on) else {
        return Err(error);
    };
    let report = Report {
        status: Status::Failed,
        line: error.message.clone(),
        details: Some(details),
        warnings: Vec::new(),
    };
    finish(invocation, runner.calls(), report, Some(error))
}

/// Whether an optional step may go on after `failure`, with a warning.
fn is_forgiven(failure: &CallFailure) -> bool {
    !matches!(
        failure.error.code,
        Some(Code::SmolvmMissing | Code::Interrupted(_))
    )
}

/// Prints the receipt on stdout, and a line for people on stderr. `error` is the failure of an
/// optional step.
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
        // The message may contain output of the guest, and the receipt may go to a terminal.
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

/// The line for people.
fn said(status: Status, line: &str, elapsed: Duration) -> String {
    match status {
        Status::Done => format!("{line} ({:.1}s)", elapsed.as_secs_f64()),
        Status::NothingToDo => format!("nothing to do: {line}"),
        Status::Failed => format!("warning: {line}"),
    }
}
