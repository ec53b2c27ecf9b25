//! The skeleton of a step: reads the plan, runs the calls, prints. The only file that prints and exits.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::call::Call;
use crate::call_error::CallError;
use crate::document::Document;
use crate::failure::{Code, Failure, hinted};
use crate::interrupt;
use crate::options::{self, CommandLine, Common, ErrorFormat, Other, Output};
use crate::plan::Plan;
use crate::smolvm::Smolvm;

/// The largest plan that is read, in bytes.
const MAX_PLAN: u64 = 16 << 20;

/// A step, to be handed to [`main`].
pub struct Step<O> {
    /// The program's name, `bottle-` and the key of its receipt.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Decides what to do from the plan, the step's own options and the host's files, all before the first call.
    pub prepare: fn(&Plan, &O) -> Result<Work>,
}

/// What a step is going to do.
pub struct Work {
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// What a person should know beforehand.
    pub warnings: Vec<String>,
    /// Turns what the calls printed, or the failure that ended them, into the outcome.
    pub finish: Finish,
}

/// See [`Work::finish`].
pub type Finish = Box<dyn FnOnce(Result<Vec<String>, CallError>) -> Result<Outcome>>;

/// What a step has done.
pub struct Outcome {
    status: Status,
    /// What was done, for people.
    line: String,
    /// What was installed, for the receipt: an object.
    details: serde_json::Value,
    warnings: Vec<String>,
    hint: Option<String>,
}

#[derive(Clone, Copy, Eq, PartialEq, Serialize)]
enum Status {
    #[serde(rename = "done")]
    Done,
    #[serde(rename = "nothing to do")]
    NothingToDo,
    #[serde(rename = "failed")]
    Failed,
}

#[derive(Serialize)]
struct Receipt {
    status: Status,
    ms: u64,
    calls: u32,
    #[serde(flatten)]
    details: serde_json::Value,
}

impl Work {
    /// `calls` that come to `outcome` when none of them fails.
    #[must_use]
    pub fn new(calls: Vec<Call>, outcome: Outcome) -> Self {
        let finish = |answers: Result<_, CallError>| answers.map(|_| outcome).map_err(Into::into);
        Self { calls, warnings: Vec::new(), finish: Box::new(finish) }
    }

    /// No calls at all, and why.
    #[must_use]
    pub fn nothing(why: &str) -> Self {
        Self::new(Vec::new(), Outcome::new(Status::NothingToDo, why.to_owned(), json!({})))
    }

    /// Says `warnings` before the first call.
    #[must_use]
    pub fn warning(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Keeps what was staged until the calls are made.
    #[must_use]
    pub fn holding(self, staged: impl Sized + 'static) -> Self {
        let finish = |answers| {
            let outcome = (self.finish)(answers);
            drop(staged);
            outcome
        };
        Self { finish: Box::new(finish), ..self }
    }
}

impl Outcome {
    fn new(status: Status, line: String, details: serde_json::Value) -> Self {
        Self { status, line, details, warnings: Vec::new(), hint: None }
    }

    /// The work is done; `details` is an object.
    #[must_use]
    pub fn done(line: String, details: serde_json::Value) -> Self {
        Self::new(Status::Done, line, details)
    }

    /// The work is not done, which is no reason to stop.
    #[must_use]
    pub fn failed(why: &CallError, mut details: serde_json::Value) -> Self {
        // It ends with the guest's words, and the receipt may go to a terminal.
        details["why"] = one_line(&why.to_string()).into();
        Self { hint: why.hint.clone(), ..Self::new(Status::Failed, why.to_string(), details) }
    }

    /// Adds warnings.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// Runs `step` as a program: plan on stdin, plan with receipt on stdout.
#[must_use]
pub fn main<O: Args>(step: &Step<O>) -> ExitCode {
    let (failure, format) = match options::parse(step) {
        Ok(options) => match run(step, &options) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => (failure, options.common.error_format),
        },
        Err(Other::Text(text)) => match print(&text) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (Failure::new(Code::HostFile, &error), ErrorFormat::Text),
        },
        Err(Other::Wrong(failure, format)) => (failure, format),
    };
    let message = format!("{}: {}", step.name, failure.message);
    if format == ErrorFormat::Json {
        let error = json!({"code": failure.code, "message": one_line(&message), "hint": failure.hint});
        say(&json!({"error": error}).to_string());
    } else {
        say(&message);
        if let Some(hint) = failure.hint {
            say(&format!("hint: {hint}"));
        }
    }
    ExitCode::from(failure.status)
}

fn run<O: Args>(step: &Step<O>, options: &CommandLine<O>) -> Result<(), Failure> {
    let common = &options.common;
    let text = read(step.name, common)?;
    // In a pipeline, reading is waiting for the steps before.
    let started = Instant::now();
    let document = Document::parse(text).map_err(|error| Failure::new(Code::PlanInvalid, &error))?;
    let plan = Plan::parse(&document).map_err(|error| Failure::new(Code::PlanInvalid, &error))?;
    let machine = common.machine.as_ref().unwrap_or(&plan.machine_name).clone();

    // Not before: while the plan is awaited, a signal simply ends us.
    let host = |error| Failure::new(Code::HostFile, &error);
    interrupt::catch().context("catch signals").map_err(host)?;
    let work = (step.prepare)(&plan, &options.own).map_err(host)?;
    warn(step.name, &work.warnings);

    let trace = common.verbose.then_some(say as fn(&str));
    let (program, user) = (common.smolvm.clone(), common.exec_user.clone());
    let mut smolvm = Smolvm::new(program, machine, user, common.timeout, trace);
    let answers = smolvm.run(&work.calls);
    let outcome = (work.finish)(answers).map_err(|error| Failure::new(Code::GuestCommand, &error))?;

    let elapsed = started.elapsed();
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let receipt = Receipt { status: outcome.status, ms, calls: smolvm.calls(), details: outcome.details };
    print(&output(step, common, &document, &receipt).map_err(host)?).map_err(host)?;
    warn(step.name, &outcome.warnings);
    if !common.quiet || outcome.status == Status::Failed {
        say(&format!("{}: {}", step.name, said(outcome.status, &outcome.line, elapsed)));
    }
    if let Some(hint) = outcome.hint {
        say(&format!("hint: {hint}"));
    }
    Ok(())
}

fn read(name: &str, common: &Common) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let (result, place) = match common.file.as_deref() {
        Some(file) if file.as_os_str() != "-" => {
            let result = File::open(file).and_then(|file| file.take(MAX_PLAN + 1).read_to_end(&mut text));
            (result, file.display().to_string())
        }
        _ if io::stdin().is_terminal() => {
            let hint = format!("{name} < plan.json, or {name} -f plan.json");
            return Err(Failure::new(Code::Usage, &hinted("stdin is a terminal, not a plan", hint)));
        }
        _ => (io::stdin().lock().take(MAX_PLAN + 1).read_to_end(&mut text), "stdin".to_owned()),
    };
    result.with_context(|| format!("read the plan from {place}")).map_err(|e| Failure::new(Code::HostFile, &e))?;
    let error = if text.len() as u64 > MAX_PLAN {
        anyhow!("the plan on {place} is larger than {} MiB", MAX_PLAN >> 20)
    } else if text.iter().all(u8::is_ascii_whitespace) {
        anyhow!("no plan on {place}: did the step before fail?")
    } else {
        return Ok(text);
    };
    Err(Failure::new(Code::PlanInvalid, &error))
}

fn output<O>(step: &Step<O>, common: &Common, document: &Document, receipt: &Receipt) -> Result<String> {
    let what = common.output.unwrap_or(if io::stdout().is_terminal() { Output::Receipt } else { Output::Plan });
    let text = match what {
        Output::Plan => document.with_receipt(step.name.trim_start_matches("bottle-"), receipt)?,
        Output::Receipt => serde_json::to_string_pretty(receipt)?,
    };
    Ok(text + "\n")
}

fn said(status: Status, line: &str, elapsed: Duration) -> String {
    match status {
        Status::Done => format!("{line} ({:.1}s)", elapsed.as_secs_f64()),
        Status::NothingToDo => format!("nothing to do: {line}"),
        Status::Failed => format!("warning: {line}"),
    }
}

fn warn(name: &str, warnings: &[String]) {
    for warning in warnings {
        say(&format!("{name}: warning: {warning}"));
    }
}

fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to stdout")
}

fn say(line: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", one_line(line));
}

/// File names and the guest's words may hold anything; none of it may move the cursor or begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
