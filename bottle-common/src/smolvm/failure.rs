//! A smolvm call that did not do what it was for: in which class, in whose words, with which way
//! out.

use std::io;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use semver::Version;

use crate::error::{Code, Error};
use crate::host::process::Unfinished;
use crate::plan::values::MachineName;
use crate::smolvm::hints::{self, NEWER_SMOLVM, NOT_SPAWNED};
use crate::smolvm::version::OLDEST;

/// How much of a program's own words goes into an error, in characters.
const MAX_WORDS: usize = 2000;

/// A call that failed.
#[derive(Debug)]
pub struct CallFailure {
    /// What to say, its class, and the way out.
    pub error: Error,
    /// What the failed command printed; nothing where it did not run to its end.
    printed: Option<String>,
}

/// Why a call failed.
#[derive(Clone, Copy)]
pub(crate) enum Reason<'a> {
    /// It ended with another status than 0. `program` is what it was to start in the guest.
    Failed {
        output: &'a Output,
        program: Option<&'a str>,
    },
    /// It did not end, or did not begin.
    Unfinished(&'a Unfinished),
    /// This version of smolvm is not supported.
    TooOld(&'a Version),
    /// The host path could not be put so that smolvm takes it.
    NoLink(&'a io::Error),
}

impl CallFailure {
    /// `doing` is what was done to which thing, and by which command.
    pub(crate) fn new(
        doing: &str,
        reason: Reason,
        machine: &MachineName,
        timeout: Duration,
    ) -> Self {
        let (code, why, hint) = match reason {
            Reason::Failed { output, program } => {
                let printed = printed_line(output);
                let why = why_failed(output, program, &printed);
                let code = if is_smolvms_own(output) {
                    Code::SmolvmError
                } else {
                    Code::GuestCommand
                };
                let hint = hints::find(code, &printed, machine);
                let error = Error {
                    message: format!("{doing}: {why}"),
                    code: Some(code),
                    hint,
                };
                return Self {
                    error,
                    printed: Some(printed),
                };
            }
            Reason::Unfinished(missing @ Unfinished::Missing(_)) => {
                let hint = "install smolvm, or name it with --smolvm PATH or CLAUDE_BOTTLE_SMOLVM";
                (
                    Code::SmolvmMissing,
                    missing.to_string(),
                    Some(hint.to_owned()),
                )
            }
            Reason::Unfinished(full @ Unfinished::NotStarted(_)) => {
                (Code::HostFile, full.to_string(), None)
            }
            Reason::Unfinished(Unfinished::TimedOut) => {
                let timeout = humantime::format_duration(timeout);
                let hint = "allow more with --timeout".to_owned();
                (
                    Code::Timeout,
                    format!("timed out after {timeout}"),
                    Some(hint),
                )
            }
            Reason::Unfinished(Unfinished::Interrupted(interrupted)) => {
                return Self {
                    error: interrupted.clone(),
                    printed: None,
                };
            }
            Reason::TooOld(version) => {
                let why = format!(
                    "smolvm {version} is older than {OLDEST}, the oldest that is supported"
                );
                (Code::SmolvmMissing, why, Some(NEWER_SMOLVM.to_owned()))
            }
            Reason::NoLink(error) => {
                let why = format!("make a link for a path with a colon: {error}");
                (Code::HostFile, why, None)
            }
        };
        let error = Error {
            message: format!("{doing}: {why}"),
            code: Some(code),
            hint,
        };
        Self {
            error,
            printed: None,
        }
    }

    /// Whether the failed command printed `words`.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.printed
            .as_ref()
            .is_some_and(|printed| printed.contains(words))
    }

    /// Passes over a call that ran and failed, but not over one that could not run or was ended.
    pub(crate) fn unless_failed(self) -> Result<(), Self> {
        if self.printed.is_some() {
            Ok(())
        } else {
            Err(self)
        }
    }
}

impl From<CallFailure> for anyhow::Error {
    fn from(failure: CallFailure) -> Self {
        failure.error.into()
    }
}

/// Says how a call ended that ended with another status than 0.
fn why_failed(output: &Output, program: Option<&str>, printed: &str) -> String {
    let mut why = status(output.status);
    if let Some(program) = program.filter(|_| printed.contains(NOT_SPAWNED)) {
        why = format!("cannot start `{program}`: {why}");
    }
    if printed.is_empty() {
        why
    } else {
        format!("{why}: {printed}")
    }
}

/// Whether smolvm itself failed, not the command in the guest. The exit status is 1 for both, and 2
/// for a wrong command line.
pub(crate) fn is_smolvms_own(output: &Output) -> bool {
    let mark = match output.status.code() {
        Some(1) => "Error: ",
        Some(2) => "error: ",
        _ => return false,
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    lines(&stderr).any(|line| line.starts_with(mark))
}

/// An exit status in words.
pub(crate) fn status(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    }
}

/// The lines that a program printed, stderr last, without smolvm's progress.
pub(crate) fn printed(output: &Output) -> Vec<String> {
    let text = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = lines(&text)
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// The same in one line, and only the end of what is long.
fn printed_line(output: &Output) -> String {
    let lines = printed(output);
    let line = lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join("; ");
    match line.char_indices().rev().nth(MAX_WORDS) {
        Some((start, _)) => format!("…{}", &line[start..]),
        None => line,
    }
}

/// The lines of `text` without smolvm's progress. An error stands right behind the progress, on the
/// same line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r']).map(|line| {
        if !line.starts_with("Uploading ") {
            return line;
        }
        line.rsplit_once("/s)").map_or("", |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};
    use std::time::Duration;

    use super::{CallFailure, Reason, is_smolvms_own};
    use crate::error::Code;
    use crate::host::process::Unfinished;
    use crate::plan::values::MachineName;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    fn failure(reason: Reason) -> CallFailure {
        let machine = MachineName::try_from("m".to_owned()).unwrap();
        CallFailure::new("do it", reason, &machine, Duration::from_secs(90))
    }

    #[test]
    fn whose_failure_it_is() {
        let progress = "Uploading f -> /p: 1 B / 6 B (16.0%, 5.9 KB/s)";
        for (code, stderr, is_own) in [
            (1, "Error: vm not found: m".to_owned(), true),
            (
                1,
                format!("{progress}\r{progress}Error: io: connection closed"),
                true,
            ),
            (1, "cat: Error: no".to_owned(), false),
            (1, "error: no".to_owned(), false),
            (2, "error: unexpected argument".to_owned(), true),
            (2, "Error: x".to_owned(), false),
            (3, "Error: x".to_owned(), false),
            (1, String::new(), false),
        ] {
            assert_eq!(
                is_smolvms_own(&output(code, "", &stderr)),
                is_own,
                "{code} {stderr}"
            );
        }
    }

    #[test]
    fn a_failed_command_is_told_in_its_own_words() {
        let output = output(3, "out \n", "\nno\r\nnever\n");
        let failure = failure(Reason::Failed {
            output: &output,
            program: Some("sh"),
        });
        assert_eq!(
            failure.error.message,
            "do it: exit status 3: out; no; never"
        );
        assert_eq!(
            (failure.error.code, failure.error.hint.as_deref()),
            (Some(Code::GuestCommand), None)
        );
        assert!(failure.says("never") && !failure.says("Never"));
        assert!(failure.unless_failed().is_ok());
    }

    #[test]
    fn of_long_words_the_end_is_told() {
        let output = output(1, "", &format!("{}end", "ä".repeat(5000)));
        let failure = failure(Reason::Failed {
            output: &output,
            program: None,
        });
        let message = failure.error.message;
        assert!(message.starts_with("do it: exit status 1: …ää") && message.ends_with("ääend"));
        assert_eq!(
            message.chars().count(),
            "do it: exit status 1: …".chars().count() + 2001
        );
    }

    #[test]
    fn a_smolvm_that_is_not_there_and_a_host_that_is_full_are_two_things() {
        let missing = Unfinished::Missing(io::ErrorKind::NotFound.into());
        let missing = failure(Reason::Unfinished(&missing));
        assert_eq!(missing.error.code, Some(Code::SmolvmMissing));
        assert!(missing.error.hint.unwrap().starts_with("install smolvm"));
        let full = failure(Reason::Unfinished(&Unfinished::NotStarted(
            io::Error::from_raw_os_error(24),
        )));
        assert_eq!(
            (full.error.code, full.error.hint),
            (Some(Code::HostFile), None)
        );
        assert_eq!(
            full.error.message,
            "do it: cannot be started: Too many open files (os error 24)"
        );
    }

    #[test]
    fn a_deadline_has_its_way_out() {
        let late = failure(Reason::Unfinished(&Unfinished::TimedOut));
        assert_eq!(late.error.message, "do it: timed out after 1m 30s");
        assert_eq!(
            late.error.hint.as_deref(),
            Some("allow more with --timeout")
        );
        assert!(late.unless_failed().is_err());
    }
}
