//! A smolvm call that did not do what it was for: in which class, in whose words, with which way out.

use std::io;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use derive_more::Display;

use crate::checked::MachineName;
use crate::command::Unfinished;
use crate::failure::Code;
use crate::smolvm::OLDEST;

/// What of a program's own words goes into an error, in characters.
const MAX_WORDS: usize = 2000;
/// What a bare machine says of a program that is not there, without naming it; also of a missing working directory.
const NOT_SPAWNED: &str = "failed to spawn command: No such file";
/// What env(1) says, in the C locale and in others.
pub const NO_CLAUDE: &[&str] = &["env: 'claude': No such file", "env: ‘claude’: No such file"];
/// The way out of a smolvm that is too old.
const OTHER_SMOLVM: &str = "install a newer smolvm, or name one with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";

/// A call that did not do what it was for.
#[derive(Debug, Display, derive_more::Error)]
#[display("{message}")]
pub struct CallError {
    message: String,
    /// Its class.
    pub code: Code,
    /// The way out, where we know one.
    pub hint: Option<String>,
    /// What the failed command printed; nothing where it did not run to its end.
    words: Option<String>,
}

/// Why a call failed.
#[derive(Clone, Copy)]
pub(crate) enum Reason<'a> {
    /// It ended with another status than 0; which program it was to start in the guest.
    Failed(&'a Output, Option<&'a str>),
    /// It ended well but did not print what it should have.
    Answered(&'a Output, &'static str),
    /// It did not end, or did not begin.
    Unfinished(&'a Unfinished),
    /// This version of smolvm is not supported.
    TooOld(&'a semver::Version),
    /// The host path could not be put so that smolvm takes it.
    NoLink(&'a io::Error),
}

impl CallError {
    /// `doing` is what was done to which thing, and by which command.
    pub(crate) fn new(doing: &str, reason: Reason, machine: &MachineName, timeout: Duration) -> Self {
        let (code, why, hint, words) = match reason {
            Reason::Failed(output, program) => {
                let code = if is_smolvms_own(output) { Code::SmolvmError } else { Code::GuestCommand };
                let words = words(output);
                let what = match program {
                    Some(program) if words.contains(NOT_SPAWNED) => format!("cannot start `{program}`: "),
                    _ => String::new(),
                };
                let why = what + &status(output.status) + &after_colon(&words);
                (code, why, hint(code, &words, machine), Some(words))
            }
            Reason::Answered(output, answer) => {
                let words = words(output);
                let why = format!("no `{answer}` in its answer{}", after_colon(&words));
                (Code::GuestCommand, why, hint(Code::GuestCommand, &words, machine), Some(words))
            }
            Reason::Unfinished(Unfinished::NotStarted(error)) => {
                let hint = "install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";
                (Code::SmolvmMissing, format!("cannot be run: {error}"), Some(hint.to_owned()), None)
            }
            Reason::Unfinished(Unfinished::TimedOut) => {
                let timeout = humantime::format_duration(timeout);
                let hint = format!("--timeout allows a call more than {timeout}");
                (Code::Timeout, format!("not done after {timeout}"), Some(hint), None)
            }
            Reason::Unfinished(Unfinished::Interrupted(interrupted)) => {
                (Code::Interrupted, interrupted.to_string(), None, None)
            }
            Reason::TooOld(version) => {
                let why = format!("smolvm {version} is older than {OLDEST}, the oldest that is supported");
                (Code::SmolvmMissing, why, Some(OTHER_SMOLVM.to_owned()), None)
            }
            Reason::NoLink(error) => {
                (Code::HostFile, format!("make a link for a path with a colon: {error}"), None, None)
            }
        };
        Self { message: format!("{doing}: {why}"), code, hint, words }
    }

    /// Whether the failed command printed `needle`.
    pub(crate) fn says(&self, needle: &str) -> bool {
        self.words.as_ref().is_some_and(|words| words.contains(needle))
    }

    /// Says another way out.
    pub(crate) fn hinting(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    /// Passes over a call that ran and failed, but not over one that could not run or was ended.
    pub(crate) fn unless_failed(self) -> Result<(), Self> {
        if self.words.is_some() { Ok(()) } else { Err(self) }
    }
}

/// The way out of a failure, by its words: smolvm's (1.32.2) and those of Debian's programs.
fn hint(code: Code, words: &str, machine: &MachineName) -> Option<String> {
    let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    let hint = if code == Code::SmolvmError && says(&["unrecognized subcommand"]) {
        return Some(format!("bottle needs smolvm {OLDEST} or later: {OTHER_SMOLVM}"));
    } else if code == Code::SmolvmError && says(&["unexpected argument '--user'"]) {
        "`machine exec --user` came with smolvm 1.14.0; with --exec-user none the machine's own user is whom commands run as"
    } else if says(&["vm not found"]) {
        "`smolvm machine ls` shows the machines there are; -m NAME takes another than the plan's"
    } else if says(&["is not running"]) {
        return Some(format!(
            "`smolvm machine start --name {machine}` starts it; if it is running it is busy: try again"
        ));
    } else if code == Code::SmolvmError && says(&["connection closed", "send message: ", "Connection reset"]) {
        return Some(format!(
            "the machine ended in the middle of the call: `smolvm machine start --name {machine}` starts it again, then run \
             this step again"
        ));
    } else if says(&["ns-file helper write: Broken pipe"]) {
        // What an image machine says instead of why.
        "the guest could not write the file: its disk is full, or a directory on the way is none"
    } else if says(&["No space left on device", ": Wrote only "]) {
        "the machine's disk is full"
    } else if says(&["invalid user: ", "invalid group: ", "user node does not exist"]) {
        "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node image"
    } else if says(NO_CLAUDE) {
        "Claude Code is not on the guest's PATH: `npm install -g @anthropic-ai/claude-code` in the image puts it there"
    } else if says(&[": not found", "runuser: failed to execute ", "executable file `", NOT_SPAWNED]) {
        "the guest lacks a program: it needs Debian's ca-certificates, git, tar and util-linux"
    } else if code == Code::GuestCommand
        && says(&["Operation not permitted", "Permission denied", "may not be used by non-root users"])
    {
        "the command needs root in the guest: --exec-user auto asks for it from smolvm 1.14.0 on; with an older one the \
         machine's own user has to be root"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// Whether smolvm itself failed, not the command in the guest: the status is 1 for both, 2 for a wrong command line.
pub(crate) fn is_smolvms_own(output: &Output) -> bool {
    let stderr = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(1) => lines(&stderr).any(|line| line.starts_with("Error: ")),
        Some(2) => lines(&stderr).any(|line| line.starts_with("error: ")),
        _ => false,
    }
}

/// A status in words.
pub(crate) fn status(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// What a program printed, stderr last, without smolvm's progress.
pub(crate) fn printed(output: &Output) -> Vec<String> {
    let text = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = lines(&text).map(str::trim_end);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The same in one line, and the end only of what is long.
fn words(output: &Output) -> String {
    let line = printed(output).iter().map(|line| line.trim()).collect::<Vec<_>>().join("; ");
    match line.char_indices().rev().nth(MAX_WORDS) {
        Some((start, _)) => format!("…{}", &line[start..]),
        None => line,
    }
}

/// The lines of `text` without smolvm's progress, which has an error of its own right behind it, on the same line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r']).map(|line| {
        let rest =
            if line.starts_with("Uploading ") { line.rsplit_once("/s)").map(|(_, rest)| rest) } else { Some(line) };
        rest.unwrap_or_default()
    })
}

fn after_colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}
