//! The skeleton of a step: reads the plan, does what the options ask for, prints. The only file that prints and exits.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Command, CommandFactory};
use serde::Serialize;
use serde_json::{Value, json};

use crate::call::{Action, Call, Source};
use crate::check::Check;
use crate::document::Document;
use crate::failure::{Code, Failure, hinted};
use crate::interrupt;
use crate::options::{self, CommandLine, Common, ErrorFormat, Other, Output};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::receipt::{Receipt, Status};
use crate::script::Script;
use crate::smolvm::Smolvm;
use crate::stage::Staged;
use crate::work::{Done, Outcome, Work};

/// The largest plan that is read, in bytes.
const MAX_PLAN: u64 = 16 << 20;
/// The exit status when `--check` found a difference.
const DIFFERS: u8 = 3;

const EXAMPLES: &str = "Examples:
  STEP < plan.json > provisioned.json
  STEP -v -o receipt < plan.json
  STEP --dry-run < plan.json | sh
  STEP --check < plan.json > checked.json";

/// A step, to be handed to [`main`].
pub struct Step<O> {
    /// The program's name, `bottle-` and the key of its receipt.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Decides what to do from the plan, the step's own options and the host's files, all before the first call.
    pub prepare: fn(&Plan, &O) -> Result<Work>,
    /// Decides what to look at in the guest, and what it should be, likewise.
    pub check: fn(&Plan, &O) -> Result<Check>,
}

impl<O: Args> Step<O> {
    /// The step's command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let command = CommandLine::<O>::command().name(self.name).about(self.about);
        command.version(env!("CARGO_PKG_VERSION")).after_help(EXAMPLES.replace("STEP", self.name))
    }

    /// The key of its receipt.
    fn key(&self) -> &str {
        self.name.trim_start_matches("bottle-")
    }
}

/// Runs `step` as a program: plan on stdin, plan with receipt on stdout.
#[must_use]
pub fn main<O: Args>(step: &Step<O>) -> ExitCode {
    let (failure, format) = match options::parse(step) {
        Ok(options) => match run(step, &options) {
            Ok(status) => return ExitCode::from(status),
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

/// A step on its way, with all it was given.
struct Run<'a, O: Args> {
    step: &'a Step<O>,
    options: &'a CommandLine<O>,
    document: Document,
    plan: Plan,
    started: Instant,
}

fn run<O: Args>(step: &Step<O>, options: &CommandLine<O>) -> Result<u8, Failure> {
    let text = read(step.name, &options.common)?;
    // In a pipeline, reading is waiting for the steps before.
    let started = Instant::now();
    let document = Document::parse(text).map_err(|error| Failure::new(Code::PlanInvalid, &error))?;
    let plan = Plan::parse(&document).map_err(|error| Failure::new(Code::PlanInvalid, &error))?;
    // Not before: while the plan is awaited, a signal simply ends us.
    interrupt::catch().context("catch signals").map_err(|error| host(&error))?;
    Run { step, options, document, plan, started }.run()
}

/// What goes wrong on the host, unless it says otherwise itself.
fn host(error: &anyhow::Error) -> Failure {
    Failure::new(Code::HostFile, error)
}

impl<O: Args> Run<'_, O> {
    /// Gives the exit status.
    fn run(self) -> Result<u8, Failure> {
        let Self { step, options: CommandLine { common, own, .. }, .. } = self;
        if let Some(file) = &common.receipt {
            let receipt = read_receipt(file).with_context(|| format!("read the receipt in {}", file.display()));
            return self.print(&receipt.map_err(|error| host(&error))?).map(|()| 0);
        }
        if common.check {
            let check = (step.check)(&self.plan, own).map_err(|error| host(&error))?;
            return self.check(check);
        }
        let work = (step.prepare)(&self.plan, own).map_err(|error| host(&error))?;
        warn(step.name, &work.warnings);
        if common.dry_run {
            print(&self.script(&work).map_err(|error| host(&error))?).map_err(|error| host(&error))?;
        } else if let Some(path) = &common.archive {
            self.pack(&work, path).map_err(|error| host(&error))?;
        } else {
            self.provision(work)?;
        }
        Ok(0)
    }

    fn provision(&self, work: Work) -> Result<(), Failure> {
        let Work { calls, finish, optional, .. } = work;
        let staged = Staged::make(calls, &self.plan.stage_dir, self.progress()).map_err(|error| host(&error))?;
        staged.packed.iter().for_each(|packed| warn(self.step.name, &packed.warnings));
        let mut smolvm = self.smolvm();
        let answers = smolvm.run(&staged.calls);
        let outcome = match (answers, optional) {
            (Ok(answers), _) => finish(Done { answers, packed: staged.packed }),
            (Err(error), Some(details)) if !matches!(error.code, Code::SmolvmMissing | Code::Interrupted) => {
                Outcome::failed(&error, details)
            }
            (Err(error), _) => return Err(Failure::new(Code::GuestCommand, &error.into())),
        };

        let elapsed = self.started.elapsed();
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let Outcome { status, line, details, why, warnings, hint } = outcome;
        // It ends with the guest's words, and the receipt may go to a terminal.
        let why = why.map(|why| one_line(&why));
        let receipt = Receipt { status, ms, calls: smolvm.calls(), details, why };
        self.print(&receipt)?;
        warn(self.step.name, &warnings);
        if !self.options.common.quiet || status == Status::Failed {
            self.say(&said(status, &line, elapsed));
        }
        if let Some(hint) = hint {
            say(&format!("hint: {hint}"));
        }
        Ok(())
    }

    fn check(&self, check: Check) -> Result<u8, Failure> {
        let Check { call, compare, line } = check;
        let (mut differences, mut said) = (Vec::new(), format!("nothing to check: {line}"));
        if let Some(call) = call {
            let answers = self.smolvm().run(&[call]);
            let guest = |error: anyhow::Error| Failure::new(Code::GuestCommand, &error);
            let answers = answers.map_err(|error| guest(error.into()))?;
            differences = compare(&answers.concat()).map_err(guest)?;
            said = format!("in place: {line} ({:.1}s)", self.started.elapsed().as_secs_f64());
        }
        self.print(&differences)?;
        for difference in &differences {
            self.say(&difference.to_string());
        }
        if !differences.is_empty() {
            return Ok(DIFFERS);
        }
        if !self.options.common.quiet {
            self.say(&said);
        }
        Ok(0)
    }

    fn script(&self, work: &Work) -> Result<String> {
        let CommandLine { common, own_words, .. } = self.options;
        let is_packed = |call: &Call| matches!(call.action, Action::Copy { from: Source::Directory(_), .. });
        let mut packer = Vec::new();
        if work.calls.iter().any(is_packed) {
            let program = std::env::current_exe().context("find this program")?.into_os_string();
            packer = [program].into_iter().chain(own_words.iter().cloned()).map(utf8).collect::<Result<_>>()?;
        }
        let directory = std::env::current_dir().context("find the current directory")?;
        let script = Script {
            step: self.step.name,
            packer,
            directory: utf8(directory.into_os_string())?,
            plan: self.document.text(),
            smolvm: &common.smolvm.to_string_lossy(),
            machine: common.machine.as_ref().unwrap_or(&self.plan.machine_name),
            user: &common.exec_user,
            is_optional: work.optional.is_some(),
        };
        script.render(&work.calls)
    }

    fn pack(&self, work: &Work, path: &str) -> Result<()> {
        let directory = work.calls.iter().find_map(|call| match &call.action {
            Action::Copy { from: Source::Directory(directory), to } if **to == *path => Some(directory),
            _ => None,
        });
        let directory = directory.with_context(|| format!("no directory is copied to {path}"))?;
        let packed = (directory.pack)(directory, &mut io::stdout().lock(), "stdout", &mut |_| {})?;
        warn(self.step.name, &packed.warnings);
        Ok(())
    }

    fn smolvm(&self) -> Smolvm {
        let common = &self.options.common;
        let machine = common.machine.as_ref().unwrap_or(&self.plan.machine_name).clone();
        let trace = common.verbose.then_some(say_all as fn(&[String]));
        Smolvm::new(common.smolvm.clone(), machine, common.exec_user.clone(), common.timeout, trace, self.progress())
    }

    /// A line that changes is for a terminal, and for who wants to hear more than warnings.
    fn progress(&self) -> Progress {
        let is_watched = !self.options.common.quiet && io::stderr().is_terminal();
        Progress { show: is_watched.then_some(show as fn(&str)) }
    }

    /// Prints the plan with `value` as what this step says, or `value` alone.
    fn print(&self, value: &impl Serialize) -> Result<(), Failure> {
        let Common { output, check, .. } = &self.options.common;
        let group = if *check { "checks" } else { "receipts" };
        let text = match output.unwrap_or(if io::stdout().is_terminal() { Output::Receipt } else { Output::Plan }) {
            Output::Plan => self.document.with(group, self.step.key(), value),
            Output::Receipt => serde_json::to_string_pretty(value).map_err(Into::into),
        };
        text.and_then(|text| print(&(text + "\n"))).map_err(|error| host(&error))
    }

    fn say(&self, text: &str) {
        say(&format!("{}: {text}", self.step.name));
    }
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

/// `text` for a script.
fn utf8(text: OsString) -> Result<String> {
    text.into_string().map_err(|text| anyhow!("{}: a script cannot hold what is not UTF-8", text.display()))
}

fn read_receipt(file: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
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

/// Says `lines` with nothing between them.
fn say_all(lines: &[String]) {
    let _lock = io::stderr().lock();
    for line in lines {
        say(line);
    }
}

fn say(line: &str) {
    // When stderr is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", one_line(line));
}

/// Puts `line` in place of the one that the terminal's cursor is on.
fn show(line: &str) {
    let _ = write!(io::stderr(), "\r{}\x1b[K", one_line(line));
}

/// File names and the guest's words may hold anything; none of it may move the cursor or begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
