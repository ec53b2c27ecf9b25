//! The command line that all steps share.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, Parser, ValueEnum};

use crate::error::{Code, Error};
use crate::plan::values::MachineName;
use crate::smolvm::version::ExecUser;

/// All options of a step.
#[derive(Parser)]
pub struct CommandLine<O: Args> {
    /// The step's own.
    #[command(flatten)]
    pub own: O,
    /// Those of every step.
    #[command(flatten)]
    pub common: Common,
    /// The step's own options once more, as far as they are set, as words for a script.
    #[arg(skip)]
    pub own_words: Vec<OsString>,
}

/// For a step without options of its own.
#[derive(Args)]
pub struct NoOptions {}

/// The options of every step.
#[derive(Args)]
#[command(next_help_heading = "Common options")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Common {
    /// Provision this machine instead of the plan's
    #[arg(short, long, value_name = "NAME", value_parser = checked::<MachineName>)]
    pub machine: Option<MachineName>,

    /// Read the plan from a file instead of stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Print a shell script that makes the step's smolvm calls, and change nothing
    #[arg(short = 'n', long, conflicts_with_all = ["output", "check"])]
    pub dry_run: bool,

    /// Change nothing, and report how the guest differs from the plan; exit status 3 if it does
    #[arg(long)]
    pub check: bool,

    /// Write the tar that is copied to PATH in the guest to stdout: for the script of --dry-run
    #[arg(
        long, hide = true, value_name = "PATH",
        conflicts_with_all = ["output", "check", "dry_run"]
    )]
    pub archive: Option<String>,

    /// Print the plan with the receipt in FILE, and make no smolvm call: for scripts/provision
    #[arg(long, hide = true, value_name = "FILE", conflicts_with_all = ["dry_run", "archive"])]
    pub receipt: Option<PathBuf>,

    /// Share with other steps, in FILE, what is found out about smolvm: for scripts/provision
    #[arg(long, hide = true, value_name = "FILE")]
    pub known: Option<PathBuf>,

    /// What to print: the plan with this step's receipt, or the receipt alone [default: plan;
    /// receipt on a terminal]
    #[arg(short, long, value_name = "WHAT")]
    pub output: Option<Output>,

    /// Print only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show every smolvm call as a command for a shell, with its exit status and milliseconds
    #[arg(short, long)]
    pub verbose: bool,

    /// The smolvm to run
    #[arg(
        long,
        value_name = "PATH",
        env = "CLAUDE_BOTTLE_SMOLVM",
        default_value = "smolvm"
    )]
    pub smolvm: OsString,

    /// User that runs guest commands: `auto` (root, by `--user root` from smolvm 1.14.0 on),
    /// `none` (the machine's own user), or a user's name
    #[arg(
        long,
        value_name = "USER",
        env = "CLAUDE_BOTTLE_EXEC_USER",
        default_value = "auto"
    )]
    pub exec_user: ExecUser,

    /// How long one smolvm call may take, like `30s` or `5m`
    #[arg(
        long, value_name = "DURATION", env = "CLAUDE_BOTTLE_TIMEOUT",
        default_value = "10m", value_parser = timeout
    )]
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

/// What a command line comes to that does not ask for work.
pub enum NoWork {
    /// Text for stdout.
    HelpOrVersion(String),
    /// What is wrong with the command line, and how to print that.
    UsageError(Error, ErrorFormat),
}

/// Parses an argument into a type that checks its value.
///
/// # Errors
///
/// Those of the type.
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

/// Reads the command line and the environment. A variable that is empty counts as unset.
pub(crate) fn parse<O: Args>(mut command: Command) -> Result<CommandLine<O>, NoWork> {
    let name = command.get_name().to_owned();
    for id in arguments_with_empty_variables(&command) {
        command = command.mut_arg(id, |arg| arg.env(None::<&str>));
    }
    let parsed = command.try_get_matches().and_then(|mut matches| {
        let own_words = if matches.get_flag("dry_run") {
            own_words::<O>(&matches)
        } else {
            vec![]
        };
        Ok(CommandLine {
            own_words,
            ..CommandLine::from_arg_matches_mut(&mut matches)?
        })
    });
    parsed.map_err(|error| {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoWork::HelpOrVersion(text),
            _ => NoWork::UsageError(usage_error(&name, &text), wanted_format()),
        }
    })
}

fn arguments_with_empty_variables(command: &Command) -> Vec<clap::Id> {
    let mut ids = Vec::new();
    for arg in command.get_arguments() {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            ids.push(arg.get_id().clone());
        }
    }
    ids
}

/// The options of `O` that are set, by the command line or by the environment.
fn own_words<O: Args>(matches: &ArgMatches) -> Vec<OsString> {
    let mut words = Vec::new();
    for arg in O::augment_args(Command::default()).get_arguments() {
        let id = arg.get_id().as_str();
        let source = matches.value_source(id);
        if !matches!(
            source,
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) {
            continue;
        }
        let long = OsString::from(format!("--{}", arg.get_long().unwrap_or_default()));
        if !arg.get_action().takes_values() {
            words.push(long);
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            words.extend([long.clone(), value.to_owned()]);
        }
    }
    words
}

/// Puts clap's paragraphs into one line and a hint.
fn usage_error(name: &str, text: &str) -> Error {
    let mut paragraphs = text.split("\n\n");
    let message = paragraphs.next().unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = message
        .strip_prefix("error: ")
        .unwrap_or(&message)
        .to_owned();
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let hint = match tip {
        Some(tip) => tip.to_owned(),
        None => format!("`{name} --help` shows the options"),
    };
    Error {
        message,
        code: Some(Code::Usage),
        hint: Some(hint),
    }
}

/// The error format that a command line asks for which is wrong elsewhere.
fn wanted_format() -> ErrorFormat {
    let args: Vec<_> = env::args_os().collect();
    let is_json = args.iter().any(|arg| arg == "--error-format=json")
        || args
            .windows(2)
            .any(|pair| pair[0] == "--error-format" && pair[1] == "json");
    if is_json {
        ErrorFormat::Json
    } else {
        ErrorFormat::Text
    }
}
