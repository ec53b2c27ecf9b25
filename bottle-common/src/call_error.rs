//! A smolvm call that did not do what it was for: in which class, in whose words, with which way out.

use std::io;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use derive_more::Display;

use crate::checked::MachineName;
use crate::command::Unfinished;
use crate::failure::Code;

/// What of a program's own words goes into an error, in characters.
const MAX_WORDS: usize = 2000;

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
    /// It ended with another status than 0.
    Failed(&'a Output),
    /// It ended well but did not print what it should have.
    Answered(&'a Output, &'static str),
    /// It did not end, or did not begin.
    Unfinished(&'a Unfinished),
    /// The host path could not be put so that smolvm takes it.
    NoLink(&'a io::Error),
}

impl CallError {
    /// `doing` is what was done to which thing, and by which command.
    pub(crate) fn new(doing: &str, reason: Reason, machine: &MachineName, timeout: Duration) -> Self {
        let (code, why, hint, words) = match reason {
            Reason::Failed(output) => {
                let code = if is_smolvms_own(output) { Code::SmolvmError } else { Code::GuestCommand };
                let words = words(output);
                (code, status(output.status) + &after_colon(&words), hint(code, &words, machine), Some(words))
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

    /// Passes over a call that ran and failed, but not over one that could not run or was ended.
    pub(crate) fn unless_failed(self) -> Result<(), Self> {
        if self.words.is_some() { Ok(()) } else { Err(self) }
    }
}

/// The way out of a failure, by its words: smolvm's (1.32.2) and those of Debian's programs.
fn hint(code: Code, words: &str, machine: &MachineName) -> Option<String> {
    let says = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    let hint = if says(&["vm not found"]) {
        "`smolvm machine ls` shows the machines there are; -m NAME takes another than the plan's"
    } else if says(&["is not running"]) {
        return Some(format!(
            "`smolvm machine start --name {machine}` starts it; if it is running it is busy: try again"
        ));
    } else if says(&["No space left on device"]) {
        "the machine's disk is full"
    } else if says(&["invalid user: ", "user node does not exist"]) {
        "the guest needs the user `node` (uid and gid 1000, home /home/node), as in the node image"
    } else if says(&["claude’: No such file", "claude': No such file"]) {
        "Claude Code is not on the guest's PATH: `npm install -g @anthropic-ai/claude-code` in the image puts it there; \
         one in ~/.local/bin needs a link in /usr/local/bin"
    } else if says(&[
        ": not found",
        "failed to execute git",
        "executable file `",
        "failed to spawn command: No such file",
    ]) {
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
    let mut lines = stderr.split(['\n', '\r']);
    match output.status.code() {
        Some(1) => lines.any(|line| line.starts_with("Error: ")),
        Some(2) => lines.any(|line| line.starts_with("error: ")),
        _ => false,
    }
}

/// A status in words.
pub(crate) fn status(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}

/// What a program printed, stderr last, without smolvm's progress.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    let text = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = text.split(['\n', '\r']).map(str::trim_end);
    lines.filter(|line| !line.is_empty() && !line.starts_with("Uploading ")).map(str::to_owned).collect()
}

/// The same in one line, and the end only of what is long.
fn words(output: &Output) -> String {
    let line = lines(output).iter().map(|line| line.trim()).collect::<Vec<_>>().join("; ");
    match line.char_indices().rev().nth(MAX_WORDS) {
        Some((start, _)) => format!("…{}", &line[start..]),
        None => line,
    }
}

fn after_colon(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}
