//! The command line that all steps share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, ValueEnum};

use crate::checked::MachineName;
use crate::exec_user::ExecUser;
use crate::failure::{Code, Failure};
use crate::step::Step;

/// All options of a step.
#[derive(Parser)]
pub struct CommandLine<O: Args> {
    /// The step's own.
    #[command(flatten)]
    pub own: O,
    /// Those of every step.
    #[command(flatten)]
    pub common: Common,
    /// The step's own once more, as far as they are set: as words for the command line in a script.
    #[arg(skip)]
    pub own_words: Vec<OsString>,
}

/// For a step without options of its own.
#[derive(Args)]
pub struct NoOptions {}

/// The options of every step.
#[derive(Args)]
#[command(next_help_heading = "Common options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Common {
    /// Provision this machine instead of the plan's
    #[arg(short, long, value_name = "NAME", value_parser = checked::<MachineName>)]
    pub machine: Option<MachineName>,

    /// Read the plan from a file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Print a script for sh(1) that makes the step's smolvm calls, and change nothing
    #[arg(short = 'n', long, conflicts_with_all = ["output", "check"])]
    pub dry_run: bool,

    /// Change nothing and see whether the guest still is as the plan says; exit status 3 when it is not
    #[arg(long)]
    pub check: bool,

    /// Write the tar that is copied to PATH in the guest to stdout, and do nothing else: for the script of --dry-run
    #[arg(long, value_name = "PATH", conflicts_with_all = ["output", "check", "dry_run"])]
    pub archive: Option<String>,

    /// Make no smolvm call: print the plan with the receipt in FILE, which an earlier run printed with `-o receipt`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "archive"])]
    pub receipt: Option<PathBuf>,

    /// What to print: the plan with this step's receipt, or the receipt alone [default: plan; receipt on a terminal]
    #[arg(short, long, value_name = "WHAT")]
    pub output: Option<Output>,

    /// Say nothing but warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show every smolvm call as a line for a shell, with its exit status and milliseconds
    #[arg(short, long)]
    pub verbose: bool,

    /// The smolvm to run
    #[arg(long, value_name = "PATH", env = "CLAUDE_BOTTLE_SMOLVM", default_value = "smolvm")]
    pub smolvm: OsString,

    /// Whom guest commands run as: `auto` (root, from smolvm 1.14.0 on by `--user root`), `none` (whom smolvm
    /// takes) or a user
    #[arg(long, value_name = "USER", env = "CLAUDE_BOTTLE_EXEC_USER", default_value = "auto")]
    pub exec_user: ExecUser,

    /// How long one smolvm call may take, like `30s` or `5m`
    #[arg(long, value_name = "DURATION", env = "CLAUDE_BOTTLE_TIMEOUT", default_value = "10m", value_parser = timeout)]
    pub timeout: Duration,

    /// How errors are printed on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub error_format: ErrorFormat,
}

/// What goes to stdout.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// the plan with the receipt
    Plan,
    /// the receipt, indented
    Receipt,
}

/// How errors are printed.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum ErrorFormat {
    /// for people
    Text,
    /// one JSON object on one line
    Json,
}

/// Parses an argument into a type that checks its value.
pub fn checked<T: TryFrom<String>>(text: &str) -> Result<T, T::Error> {
    T::try_from(text.to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a call needs some time".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// What the command line came to, other than options.
pub enum Other {
    /// Text for stdout: help or version.
    Text(String),
    /// It is wrong.
    Wrong(Failure, ErrorFormat),
}

/// Reads the command line and the environment; a variable that is empty counts as unset.
pub fn parse<O: Args>(step: &Step<O>) -> Result<CommandLine<O>, Other> {
    let mut command = step.command();
    let is_empty = |arg: &&Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let empty: Vec<_> = command.get_arguments().filter(is_empty).map(|arg| arg.get_id().clone()).collect();
    for id in empty {
        command = command.mut_arg(id, |arg| arg.env(None::<&str>));
    }
    let parsed = command.try_get_matches().and_then(|mut matches| {
        let own_words = if matches.get_flag("dry_run") { own_words::<O>(&matches) } else { Vec::new() };
        Ok(CommandLine { own_words, ..CommandLine::from_arg_matches_mut(&mut matches)? })
    });
    parsed.map_err(|error| {
        let text = error.render();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Other::Text(text.to_string()),
            _ => Other::Wrong(usage(step.name, &text.to_string()), asked_format()),
        }
    })
}

/// The options of `O` that are set, by the command line or the environment.
fn own_words<O: Args>(matches: &ArgMatches) -> Vec<OsString> {
    let own = O::augment_args(Command::default());
    let set = |arg: &&Arg| {
        let source = matches.value_source(arg.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    own.get_arguments()
        .filter(set)
        .flat_map(|arg| {
            let long = OsString::from(format!("--{}", arg.get_long().unwrap_or_default()));
            let values = matches.get_raw(arg.get_id().as_str()).filter(|_| arg.get_action().takes_values());
            match values {
                Some(values) => values.flat_map(|value| [long.clone(), value.to_owned()]).collect(),
                None => vec![long],
            }
        })
        .collect()
}

/// clap's paragraphs in one line and a hint.
fn usage(name: &str, text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n");
    let message = paragraphs.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let hint = tip.map_or_else(|| format!("`{name} --help` shows the options"), str::to_owned);
    Failure { code: Code::Usage, message, hint: Some(hint), status: 2 }
}

/// The error format, from a command line that is wrong elsewhere.
fn asked_format() -> ErrorFormat {
    let args: Vec<_> = std::env::args_os().collect();
    let is_json = args.iter().any(|arg| arg == "--error-format=json")
        || args.windows(2).any(|pair| pair[0] == "--error-format" && pair[1] == "json");
    if is_json { ErrorFormat::Json } else { ErrorFormat::Text }
}
