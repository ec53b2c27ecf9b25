//! `--check`: looks into the guest and prints how it differs from the plan.

use clap::Args;

use crate::error::{Code, Error, in_phase};
use crate::step::Check;
use crate::step::invocation::Invocation;

/// Makes the calls of `checks`, and prints the differences. Returns whether there are none.
pub(crate) fn check<O: Args>(
    invocation: &Invocation<O>,
    checks: Vec<Check>,
) -> Result<bool, Error> {
    let mut runner = invocation.runner();
    let mut differences = Vec::new();
    let mut lines = Vec::new();
    let has_calls = checks.iter().any(|check| check.exec.is_some());
    for Check {
        exec,
        compare,
        line,
        limit,
    } in checks
    {
        lines.push(line);
        let Some(exec) = exec else { continue };
        let answer = runner.ask_within(limit, &exec);
        let answer = answer.map_err(|failure| failure.error)?;
        let found = in_phase(Code::GuestCommand, compare(&answer))?;
        for difference in &found {
            invocation.say(&difference.to_string());
        }
        differences.extend(found);
    }
    in_phase(Code::HostFile, invocation.print(&differences))?;
    if differences.is_empty() && !invocation.options.common.quiet {
        let lines = lines.join("; ");
        if has_calls {
            let seconds = invocation.started.elapsed().as_secs_f64();
            invocation.say(&format!("in place: {lines} ({seconds:.1}s)"));
        } else {
            invocation.say(&format!("nothing to check: {lines}"));
        }
    }
    Ok(differences.is_empty())
}
