//! A stand-in for smolvm 1.32.2, for the tests and the demo. IT ISOLATES NOTHING.
//!
//! It has the subcommands of `smolvm machine` that a provisioner needs, with the messages of the
//! real smolvm, and refuses the others. A machine is a directory. `exec` runs real programs: the
//! host's /usr, read-only, with what it needs of /etc (alternatives, pam.d and security), on a root
//! that is otherwise the machine's own, in new mount and pid namespaces. Network and kernel are the
//! host's. It works as root, or as a user with subordinate ids.
//!
//! These environment variables change what it does:
//!
//! - `STAND_IN_DIR`: where the machines are (default: `~/.local/state/bottle-stand-in`)
//! - `STAND_IN_BIN`: a directory of more programs for the guest: /opt/bin, first in its PATH
//! - `STAND_IN_CAS`: how many of the host's public CAs a new machine trusts (default: all)
//! - `STAND_IN_TEMPLATE`: the directory of a created machine; a new machine becomes a copy of it
//! - `STAND_IN_VERSION`: what `--version` claims (default: 1.32.2)
//! - `STAND_IN_LOG`: a file to which each call adds its arguments, each ended by 0x1f, then 0x1e
//!   and a newline
//! - `STAND_IN_REAL`: a real smolvm, which carries out all calls; the log and the faults are ours
//! - `STAND_IN_ANSWER`: no machine is needed and nothing is carried out: exec prints this, and cp
//!   copies the file for the guest to LOG.copy
//! - `STAND_IN_ANSWER_FILE`: the same, with what exec prints in a file, which may hold NUL
//!
//! The variables of [`faults`] make calls fail. An empty variable counts as unset.

mod command_line;
mod copy;
mod exec;
mod faults;
mod guest;
mod machine;
mod root;

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser as _;

use command_line::{Line, Subcommand, Verb};

/// Why a call is not carried out.
struct Refusal {
    /// what stderr says
    words: String,
    /// the exit status
    status: u8,
}

impl Refusal {
    fn new(status: u8, words: impl Into<String>) -> Self {
        let words = words.into();
        Self { words, status }
    }

    /// A failure of a kind that the real smolvm names, such as `agent`.
    fn of_kind(kind: &str, words: &str) -> Self {
        Self::new(1, format!("Error: {kind} operation failed: {words}"))
    }

    /// A failure of the guest's agent.
    fn agent(words: &str) -> Self {
        Self::of_kind("agent", words)
    }

    /// A wrong request.
    fn config(words: &str) -> Self {
        Self::of_kind("config", words)
    }
}

/// Makes a failure that the real smolvm does not have: the stand-in cannot work here.
fn unable<Error: Display>(doing: &str) -> impl FnOnce(Error) -> Refusal {
    move |error| Refusal::new(69, format!("smolvm (stand-in): {doing}: {error}"))
}

/// What a call ends with: its exit status, or why it was not carried out.
type Result = std::result::Result<u8, Refusal>;

fn main() -> ExitCode {
    if let Some(status) = guest::run_as_init() {
        return status;
    }
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let status = carry_out(&arguments).unwrap_or_else(|refusal| {
        complain(&refusal.words);
        refusal.status
    });
    faults::kill_after();
    ExitCode::from(status)
}

fn carry_out(arguments: &[OsString]) -> Result {
    let real = variable("STAND_IN_REAL");
    let is_for_machine = arguments.first().is_some_and(|first| first == "machine");
    if is_for_machine && real.is_none() && !exec::is_answer_given() {
        become_root(arguments)?;
    }
    faults::log(arguments)?;
    faults::cause(arguments, real.as_deref())?;
    if let Some(real) = real {
        let status = Command::new(real).args(arguments).status();
        return status
            .map(guest::exit_status)
            .map_err(unable("run the smolvm of STAND_IN_REAL"));
    }
    if arguments
        .first()
        .is_some_and(|first| first == "--version" || first == "-V")
    {
        let version = variable("STAND_IN_VERSION").unwrap_or_else(|| "1.32.2".into());
        return Ok(print(format!("smolvm {}\n", version.display())));
    }
    let words = [OsString::from("smolvm")]
        .into_iter()
        .chain(arguments.iter().cloned());
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return Ok(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Subcommand::Machine { verb } = line.subcommand;
    match verb {
        Verb::Create(options) => machine::create(&options),
        Verb::Start { name } => machine::start(&name),
        Verb::Status { name } => machine::status(&name),
        Verb::Stop { name } => machine::stop(&name),
        Verb::Delete { name, force } => machine::delete(&name, force),
        Verb::Exec(options) => exec::exec(&options),
        Verb::Cp(options) => copy::copy(&options),
    }
}

/// The environment variable `name`, unless it is empty.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Starts this program again as root of a user namespace, unless it is root.
fn become_root(arguments: &[OsString]) -> std::result::Result<(), Refusal> {
    if rustix::process::getuid().is_root() {
        return Ok(());
    }
    let error = Command::new("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "--"])
        .arg(Path::new("/proc/self/exe").read_link().unwrap_or_default())
        .args(arguments)
        .exec();
    Err(unable("run unshare(1)")(error))
}

/// Prints to stdout, and gives the exit status.
fn print(text: impl AsRef<[u8]>) -> u8 {
    let mut stdout = io::stdout();
    let written = stdout.write_all(text.as_ref());
    u8::from(written.and_then(|()| stdout.flush()).is_err())
}

/// Prints a line to stderr.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
