//! The program around a step: it parses the options, reads the plan and runs the mode that the
//! options ask for.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::error::{Code, Error, in_phase};
use crate::host::signals;
use crate::plan::Plan;
use crate::plan::json::Document;
use crate::step::invocation::Invocation;
use crate::step::options::{self, CommandLine, Common, ErrorFormat, NoWork};
use crate::step::{Step, apply, check, dry_run, output};

/// The largest plan that is read, in bytes.
const MAX_PLAN: u64 = 16 << 20;
/// The exit status when `--check` found a difference.
const DIFFERENT: u8 = 3;

/// Runs `step` as a program, which reads the plan on stdin and prints it with a receipt on stdout.
/// Returns the exit status.
#[must_use]
pub fn main<O: Args>(step: &Step<O>) -> ExitCode {
    let (error, format) = match options::parse(step.command()) {
        Ok(options) => match run(step, &options) {
            Ok(status) => return ExitCode::from(status),
            Err(error) => (error, options.common.error_format),
        },
        Err(NoWork::HelpOrVersion(text)) => match output::print(&text) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (Error::flatten(Code::HostFile, &error), ErrorFormat::Text),
        },
        Err(NoWork::UsageError(error, format)) => (error, format),
    };
    output::print_error(step.name, &error, format);
    ExitCode::from(error.code.unwrap_or(Code::HostFile).exit_status())
}

/// Reads the plan and runs the mode that `options` ask for. Returns the exit status.
fn run<O: Args>(step: &Step<O>, options: &CommandLine<O>) -> Result<u8, Error> {
    let CommandLine { common, own, .. } = options;
    let text = read(step.name, common)?;
    let started = Instant::now();
    let document = in_phase(Code::PlanInvalid, Document::parse(text))?;
    let plan = in_phase(Code::PlanInvalid, Plan::parse(&document))?;
    // Until now a signal ends the process at once. Nothing has to be cleaned up yet.
    in_phase(Code::HostFile, signals::catch().context("catch signals"))?;
    let invocation = Invocation {
        step,
        options,
        document,
        plan,
        started,
    };

    if common.print_where {
        let text = in_phase(Code::PlanInvalid, where_to_fetch(&invocation))?;
        in_phase(Code::HostFile, output::print(text))?;
        return Ok(0);
    }
    if let Some(file) = &common.receipt {
        let receipt = in_phase(Code::HostFile, read_receipt(file))?;
        in_phase(Code::HostFile, invocation.print(&receipt))?;
        return Ok(0);
    }
    let clock = invocation.progress().clock("read the host's files");
    if common.check {
        let mut checks = vec![in_phase(
            Code::HostFile,
            (step.check)(&invocation.plan, own),
        )?];
        drop(clock);
        if common.live {
            let live = (step.live)(&invocation.plan, own, &common.questions);
            checks.push(in_phase(Code::HostFile, live)?);
        }
        let is_in_place = check::check(&invocation, checks)?;
        return Ok(if is_in_place { 0 } else { DIFFERENT });
    }
    let prepared = in_phase(Code::HostFile, (step.prepare)(&invocation.plan, own));
    drop(clock);
    let prepared = prepared?;
    output::warn(step.name, &prepared.warnings);
    if common.dry_run {
        in_phase(
            Code::HostFile,
            dry_run::print_script(&invocation, &prepared),
        )?;
    } else if let Some(path) = &common.archive {
        in_phase(
            Code::HostFile,
            dry_run::print_archive(&invocation, &prepared, path),
        )?;
    } else {
        apply::apply(&invocation, prepared)?;
    }
    Ok(0)
}

/// Reads the plan from the file that the options name, or from stdin. `name` is the step's name.
fn read(name: &str, common: &Common) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let (result, place) = match common.file.as_deref() {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path);
            let result = file.and_then(|file| file.take(MAX_PLAN + 1).read_to_end(&mut text));
            (result, path.display().to_string())
        }
        _ if io::stdin().is_terminal() => {
            return Err(Error {
                message: "stdin is a terminal, not a plan".to_owned(),
                code: Some(Code::Usage),
                hint: Some(format!("{name} < plan.json, or {name} -f plan.json")),
            });
        }
        _ => {
            let result = io::stdin().lock().take(MAX_PLAN + 1).read_to_end(&mut text);
            (result, "stdin".to_owned())
        }
    };
    let result = result.with_context(|| format!("read the plan from {place}"));
    in_phase(Code::HostFile, result)?;
    in_phase(Code::PlanInvalid, refuse_no_plan(&text, &place))?;
    Ok(text)
}

/// Fails if `text`, which was read from `place`, is too large or empty.
fn refuse_no_plan(text: &[u8], place: &str) -> Result<()> {
    if text.len() as u64 > MAX_PLAN {
        bail!("the plan on {place} is larger than {} MiB", MAX_PLAN >> 20);
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        match place {
            "stdin" => bail!("no plan on stdin: did the step before fail?"),
            file => bail!("no plan in {file}: it is empty"),
        }
    }
    Ok(())
}

/// Formats what scripts/fetch needs of the plan.
fn where_to_fetch<O: Args>(invocation: &Invocation<O>) -> Result<String> {
    let key = "spec.user_cwd";
    let project = invocation.plan.user_cwd.as_deref();
    let project = project.with_context(|| format!("{key}: unset, so there is no repository"))?;
    let project = project.to_str().filter(|path| !path.contains('\n'));
    let project = project.with_context(|| format!("{key}: it has a line break"))?;
    let timeout = invocation.options.common.timeout;
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    Ok(format!("{}\n{seconds}\n{project}\n", invocation.machine()))
}

/// Reads a receipt that a step has printed.
fn read_receipt(file: &Path) -> Result<Value> {
    let reading = || format!("read the receipt in {}", file.display());
    let text = fs::read_to_string(file).with_context(reading)?;
    serde_json::from_str(&text).with_context(reading)
}
