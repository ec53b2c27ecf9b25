//! A smolvm call that failed: whether smolvm or the command in the guest failed, what it printed,
//! and which hint helps.

use std::process::{ExitStatus, Output};
use std::time::Duration;

use semver::Version;

use crate::error::{Code, Error};
use crate::host::process::Unfinished;
use crate::plan::values::MachineName;
use crate::smolvm::hints::{self, INSTALL_SMOLVM, NEWER_SMOLVM, NOT_SPAWNED};
use crate::smolvm::version::OLDEST;

/// How much of a program's output goes into an error, in characters.
const MAX_PRINTED: usize = 2000;

/// How much of the end of each stream is looked at, in bytes.
const MAX_STREAM: usize = 64 << 10;

/// A call that failed.
#[derive(Debug)]
pub struct CallFailure {
    /// The message, its class and its hint.
    pub error: Error,
    /// What the failed command printed; `None` if it did not run to its end.
    printed: Option<String>,
}

/// Why a call failed.
#[derive(Clone, Copy)]
pub(crate) enum Reason<'a> {
    /// Its exit status was not 0. `program` is the program that it had to start in the guest.
    Failed {
        output: &'a Output,
        program: Option<&'a str>,
    },
    /// It was not started, or did not run to its end.
    Unfinished(&'a Unfinished),
    /// This version of smolvm is not supported.
    TooOld(&'a Version),
}

impl CallFailure {
    /// Describes a failed call. `doing` says what it was doing to which thing, by which command.
    pub(crate) fn new(
        doing: &str,
        reason: Reason,
        machine: &MachineName,
        timeout: Duration,
    ) -> Self {
        let (code, why, hint) = match reason {
            Reason::Failed { output, program } => {
                return Self::exited(doing, output, program, machine);
            }
            Reason::Unfinished(unfinished) => match unfinished {
                Unfinished::Missing(_) => (
                    Code::SmolvmMissing,
                    unfinished.to_string(),
                    Some(INSTALL_SMOLVM),
                ),
                Unfinished::NotStarted(_) => (Code::HostFile, unfinished.to_string(), None),
                Unfinished::TooMuchOutput | Unfinished::Stuck(_) => {
                    (Code::SmolvmError, unfinished.to_string(), None)
                }
                Unfinished::TimedOut => {
                    let timeout = humantime::format_duration(timeout);
                    let why = format!("timed out after {timeout}");
                    (Code::Timeout, why, Some("allow more with --timeout"))
                }
                Unfinished::Interrupted(interrupted) => {
                    return Self {
                        error: interrupted.clone(),
                        printed: None,
                    };
                }
            },
            Reason::TooOld(version) => {
                let why = format!("smolvm {version} is too old: {OLDEST} or later is needed");
                (Code::SmolvmMissing, why, Some(NEWER_SMOLVM))
            }
        };
        Self {
            error: Error {
                message: format!("{doing}: {why}"),
                code: Some(code),
                hint: hint.map(str::to_owned),
            },
            printed: None,
        }
    }

    /// Describes a call whose exit status was not 0.
    fn exited(doing: &str, output: &Output, program: Option<&str>, machine: &MachineName) -> Self {
        let printed = printed_line(output);
        let why = why_failed(output, program, &printed);
        let code = if is_smolvms_own(output) {
            Code::SmolvmError
        } else {
            Code::GuestCommand
        };
        Self {
            error: Error {
                message: format!("{doing}: {why}"),
                code: Some(code),
                hint: hints::find(code, &printed, machine),
            },
            printed: Some(printed),
        }
    }

    /// Whether the failed command printed `words`.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.printed
            .as_ref()
            .is_some_and(|printed| printed.contains(words))
    }

    /// Ignores the failure of a call that ran to its end.
    ///
    /// # Errors
    ///
    /// The failure, if the call could not be started or was ended.
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

/// Gives the exit status and the output of a call whose exit status was not 0.
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

/// Whether smolvm itself failed, not the command in the guest.
///
/// smolvm exits with 1 if it fails and with 2 if its command line is wrong. The command in the
/// guest may have the same status, so the message decides, too.
pub(crate) fn is_smolvms_own(output: &Output) -> bool {
    let mark = match output.status.code() {
        Some(1) => "Error: ",
        Some(2) => "error: ",
        _ => return false,
    };
    let stderr = String::from_utf8_lossy(end(&output.stderr));
    lines(&stderr).any(|line| line.starts_with(mark))
}

/// Gives an exit status in words.
pub(crate) fn status(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => status.to_string(),
    }
}

/// Gives the end of what a program printed on one stream: smolvm's own words come last.
pub(crate) fn end(stream: &[u8]) -> &[u8] {
    &stream[stream.len().saturating_sub(MAX_STREAM)..]
}

/// Gives the lines that a program printed, first stdout, then stderr, without smolvm's progress. Of
/// each stream it gives the [`end`].
pub(crate) fn printed(output: &Output) -> Vec<String> {
    let text = [end(&output.stdout), b"\n", end(&output.stderr)].concat();
    let text = String::from_utf8_lossy(&text);
    let mut printed = Vec::new();
    for line in lines(&text) {
        let line = line.trim_end();
        if !line.is_empty() {
            printed.push(line.to_owned());
        }
    }
    printed
}

/// Gives the same as one line. Of long output it gives the end.
fn printed_line(output: &Output) -> String {
    let lines = printed(output);
    let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
    let line = lines.join("; ");
    match line.char_indices().rev().nth(MAX_PRINTED) {
        Some((start, _)) => format!("…{}", &line[start..]),
        None => line,
    }
}

/// Splits `text` into lines, without smolvm's progress. An error may follow the progress on the
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
    fn smolvms_own_failures_are_told_from_the_guests() {
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
    fn a_failure_has_the_words_of_the_command() {
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
    fn long_output_is_cut_at_the_start() {
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
    fn a_missing_smolvm_and_a_host_without_resources_differ() {
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
    fn a_timeout_has_a_hint() {
        let late = failure(Reason::Unfinished(&Unfinished::TimedOut));
        assert_eq!(late.error.message, "do it: timed out after 1m 30s");
        assert_eq!(
            late.error.hint.as_deref(),
            Some("allow more with --timeout")
        );
        assert!(late.unless_failed().is_err());
    }

    #[test]
    fn a_missing_program_is_named_if_smolvm_does_not_name_it() {
        let said = "Error: failed to spawn command: No such file or directory (os error 2)";
        let output = output(1, "", said);
        let message = |program| {
            let failed = failure(Reason::Failed {
                output: &output,
                program,
            });
            failed.error.message
        };
        assert_eq!(
            message(Some("git")),
            format!("do it: cannot start `git`: exit status 1: {said}")
        );
        assert_eq!(message(None), format!("do it: exit status 1: {said}"));
    }

    #[test]
    fn progress_is_removed_from_the_output() {
        let progress = "Uploading f -> /p: 1 B / 6 B (16.0%, 5.9 KB/s)";
        let output = output(1, "", &format!("{progress}\r{progress}Error: no\rmore\n"));
        let failed = failure(Reason::Failed {
            output: &output,
            program: None,
        });
        assert_eq!(
            (&*failed.error.message, failed.error.code),
            (
                "do it: exit status 1: Error: no; more",
                Some(Code::SmolvmError)
            )
        );
        // `Error:` may follow a carriage return.
        assert!(is_smolvms_own(&self::output(1, "", "working\rError: no")));
    }
}
