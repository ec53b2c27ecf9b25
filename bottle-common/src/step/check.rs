//! `--check`: looks into the guest and prints how it differs from the plan.

use clap::Args;

use crate::error::{Code, Error, in_phase};
use crate::step::Check;
use crate::step::invocation::Invocation;

/// Makes the check's call and prints the differences. Returns whether there are none.
pub(crate) fn check<O: Args>(invocation: &Invocation<O>, check: Check) -> Result<bool, Error> {
    let Check {
        exec,
        compare,
        line,
    } = check;
    let mut differences = Vec::new();
    let mut said = format!("nothing to check: {line}");
    if let Some(exec) = exec {
        let answer = invocation
            .runner()
            .ask(&exec)
            .map_err(|failure| failure.error)?;
        differences = in_phase(Code::GuestCommand, compare(&answer))?;
        let seconds = invocation.started.elapsed().as_secs_f64();
        said = format!("in place: {line} ({seconds:.1}s)");
    }
    in_phase(Code::HostFile, invocation.print(&differences))?;
    for difference in &differences {
        invocation.say(&difference.to_string());
    }
    if differences.is_empty() && !invocation.options.common.quiet {
        invocation.say(&said);
    }
    Ok(differences.is_empty())
}
