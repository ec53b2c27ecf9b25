//! The command line that all steps share.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, Parser, ValueEnum};

use crate::error::{Code, Error};
use crate::plan::values::{MachineName, TlsHost};
use crate::smolvm::version::ExecUser;

/// All options of a step.
#[derive(Parser)]
pub struct CommandLine<O: Args> {
    /// The options that only this step has.
    #[command(flatten)]
    pub own: O,
    /// The options that every step has.
    #[command(flatten)]
    pub common: Common,
    /// Those of the step's own options that are set, as words for a script.
    #[arg(skip)]
    pub own_words: Vec<OsString>,
}

/// The own options of a step that has none.
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

    /// Print a shell script of the step's smolvm calls, and change nothing
    #[arg(short = 'n', long, conflicts_with_all = ["output", "check"])]
    pub dry_run: bool,

    /// Change nothing; exit with status 3 if the guest differs from the plan
    #[arg(long)]
    pub check: bool,

    /// With --check: ask the guest, as the agent, whether it works
    #[arg(long, requires = "check")]
    pub live: bool,

    /// What `--live` asks.
    #[command(flatten)]
    pub questions: Questions,

    /// Write to stdout the tar that is copied to PATH in the guest; for the script of --dry-run
    #[arg(
        long, hide = true, value_name = "PATH",
        conflicts_with_all = ["output", "check", "dry_run"]
    )]
    pub archive: Option<String>,

    /// Print the plan with the receipt in FILE, and make no smolvm call; for scripts/provision
    #[arg(long, hide = true, value_name = "FILE", conflicts_with_all = ["dry_run", "archive"])]
    pub receipt: Option<PathBuf>,

    /// Print the machine, the time limit in seconds and the project, one a line; for scripts/fetch
    #[arg(long = "where", hide = true, conflicts_with_all = ["output", "check", "dry_run"])]
    pub print_where: bool,

    /// Share what is found out about smolvm with other steps in FILE; for scripts/provision. With
    /// --dry-run, the step that makes FILE prints what the script of all steps begins with
    #[arg(long, hide = true, value_name = "FILE")]
    pub known: Option<PathBuf>,

    /// What to print [default: plan, or receipt on a terminal]
    #[arg(short, long, value_name = "WHAT")]
    pub output: Option<Output>,

    /// Print only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print every smolvm call as a shell command, with what it printed
    #[arg(short, long)]
    pub verbose: bool,

    /// smolvm program to run
    #[arg(
        long,
        value_name = "PATH",
        env = "CLAUDE_BOTTLE_SMOLVM",
        default_value = "smolvm"
    )]
    pub smolvm: OsString,

    /// User that runs guest commands: `auto`, `none` or a user name
    ///
    /// With `auto`, root or node, as each command needs, by smolvm's --user.
    ///
    /// With `none`, the machine's default user.
    #[arg(
        long,
        value_name = "USER",
        env = "CLAUDE_BOTTLE_EXEC_USER",
        default_value = "auto"
    )]
    pub exec_user: ExecUser,

    /// Time limit for one smolvm call, such as `30s` or `5m`
    #[arg(
        long, value_name = "DURATION", env = "CLAUDE_BOTTLE_TIMEOUT",
        default_value = "10m", value_parser = timeout
    )]
    pub timeout: Duration,

    /// Format of errors on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub error_format: ErrorFormat,
}

/// What `--live` asks.
#[derive(Args)]
pub struct Questions {
    /// Time limit for one question of --live
    #[arg(
        long, value_name = "DURATION", requires = "live",
        default_value = "10s", value_parser = timeout
    )]
    pub live_timeout: Duration,

    /// Host for --live's TLS connection, instead of the plan's egress routes
    #[arg(long, value_name = "HOST[:PORT]", requires = "live", value_parser = checked::<TlsHost>)]
    pub live_host: Option<TlsHost>,
}

/// What a step prints on stdout.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// the plan with this step's receipt
    Plan,
    /// the receipt alone
    Receipt,
}

/// The format of errors.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum ErrorFormat {
    /// for people
    Text,
    /// one JSON object on one line
    Json,
}

/// Why there is no work to do after the command line was parsed.
pub enum NoWork {
    /// It asks for this text, which goes to stdout.
    HelpOrVersion(String),
    /// It is wrong. The format is the one that it asks for.
    UsageError(Error, ErrorFormat),
}

/// Parses the value of an option into a type that checks it.
///
/// # Errors
///
/// The errors of that type.
pub fn checked<T: TryFrom<String>>(text: &str) -> Result<T, T::Error> {
    T::try_from(text.to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("not a duration such as `30s` or `5m`".to_owned()),
    }
}

/// Parses the command line and the environment. An empty variable counts as unset.
pub(crate) fn parse<O: Args>(mut command: Command) -> Result<CommandLine<O>, NoWork> {
    let name = command.get_name().to_owned();
    for id in arguments_with_empty_variables(&command) {
        command = command.mut_arg(id, |arg| arg.env(None::<&str>));
    }
    let variables = variables(&command);
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
            _ => {
                let words: Vec<_> = env::args_os().collect();
                let error = usage_error(&name, &blame_variable(text, &variables, &words));
                NoWork::UsageError(error, wanted_format())
            }
        }
    })
}

/// Lists the arguments whose environment variable is set but empty.
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

/// Gives the options of `O` that the command line or the environment sets, as words.
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

/// Lists the options that a variable can set, each as `--OPTION` with its variable.
fn variables(command: &Command) -> Vec<(String, String)> {
    let options = command.get_arguments().filter_map(|arg| {
        let variable = arg.get_env()?.to_str()?.to_owned();
        Some((format!("--{}", arg.get_long()?), variable))
    });
    options.collect()
}

/// Puts the name of a variable into clap's message about an option, if not one of `words`, the
/// command line, but the variable has set the option.
fn blame_variable(text: String, variables: &[(String, String)], words: &[OsString]) -> String {
    for (option, variable) in variables {
        let is_given = words.iter().any(|word| {
            let word = word.to_string_lossy();
            let rest = word.strip_prefix(option.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        });
        let Some((before, after)) = text.split_once(&format!("for '{option} ")) else {
            continue;
        };
        if !is_given && let Some((_, after)) = after.split_once('\'') {
            return format!("{before}for the variable {variable}{after}");
        }
    }
    text
}

/// Makes one line and a hint of clap's message, which has several paragraphs.
fn usage_error(name: &str, text: &str) -> Error {
    let mut paragraphs = text.split("\n\n");
    let message = paragraphs.next().unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = message
        .strip_prefix("error: ")
        .unwrap_or(&message)
        .to_owned();
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let word = message.strip_prefix("unexpected argument '");
    let word = word.and_then(|rest| rest.strip_suffix("' found"));
    let hint = match tip {
        _ if word.is_some_and(|word| !word.starts_with('-') && word.contains('.')) => {
            "the plan is read from stdin: `< FILE`, or from a file: `-f FILE`".to_owned()
        }
        Some(tip) => tip.to_owned(),
        None => format!("`{name} --help` shows the options"),
    };
    Error {
        message,
        code: Some(Code::Usage),
        hint: Some(hint),
    }
}

/// Gives the error format that the command line asks for, although clap rejected the command line.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{blame_variable, timeout, usage_error};

    #[test]
    fn a_variable_is_blamed_for_its_value() {
        let variables = [("--timeout".to_owned(), "T".to_owned())];
        let text = "error: invalid value 'x' for '--timeout <DURATION>': no number";
        let of_variable = "error: invalid value 'x' for the variable T: no number";
        let other = "error: invalid value 'x' for '--timeouts <X>': no number";
        for (text, words, expected) in [
            (text, &["a", "--timeouts=x"][..], of_variable),
            (text, &["a", "--timeout", "x"], text),
            (text, &["a", "--timeout=x"], text),
            (other, &["a"], other),
        ] {
            let words: Vec<_> = words.iter().map(Into::into).collect();
            assert_eq!(
                blame_variable(text.to_owned(), &variables, &words),
                expected
            );
        }
    }

    #[test]
    fn a_plan_without_its_option_is_recognised() {
        let plan = "the plan is read from stdin: `< FILE`, or from a file: `-f FILE`";
        for (word, hint) in [
            ("plan.json", plan),
            ("./x", plan),
            ("-x.json", "`step --help` shows the options"),
            ("x", "`step --help` shows the options"),
        ] {
            let text = format!("error: unexpected argument '{word}' found\n\nUsage: step");
            assert_eq!(
                usage_error("step", &text).hint.as_deref(),
                Some(hint),
                "{word}"
            );
        }
    }

    #[test]
    fn a_timeout_is_longer_than_0() {
        for (text, result) in [
            ("5m", Some(Duration::from_secs(300))),
            ("1ms", Some(Duration::from_millis(1))),
            ("0s", None),
            ("0s 0ms", None),
            ("5", None),
            ("-1s", None),
            ("", None),
        ] {
            assert_eq!(timeout(text).ok(), result, "{text}");
        }
        assert_eq!(timeout("0s").unwrap_err(), "it must be longer than 0");
    }
}
