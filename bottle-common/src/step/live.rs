//! `--live`: asks programs of the guest what works there, as the agent and with its environment.
//!
//! The guest may be hostile. So all of its answer is text: it is cut, and shown with its control
//! characters escaped.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::guest::listing::Difference;
use crate::plan::guest_env::GuestEnv;
use crate::plan::values::GuestPath;
use crate::smolvm::call::Exec;
use crate::step::Check;
use crate::step::options::Questions;
use crate::text::shorten;

/// Functions for the shell programs that ask.
const ASK: &str = include_str!("../guest/scripts/ask.sh");
/// Asks about files in node's home.
const FILES: &str = include_str!("../guest/scripts/ask_files.sh");

/// The exit status of timeout(1) if the time is up, also after it had to send SIGKILL.
const TIMED_OUT: [&str; 2] = ["124", "137"];
/// The exit status that says that a question cannot be asked.
const CANNOT_ASK: &str = "125";
/// What OpenSSL prints before the reason why it does not accept a certificate.
const VERIFY_ERROR: &str = "verify error:num=";
/// The error about an answer that nobody asked for.
const MORE: &str = "the guest's answer has more than was asked for";
/// The number of characters that are shown of what a program said.
const MAX_SHOWN: usize = 200;
/// The time that a call may take in addition to its questions.
const MARGIN: Duration = Duration::from_secs(30);
/// The number of bytes of input that xargs(1) takes. Linux allows a command 2 MiB.
const MAX_INPUT: &str = "1900000";

/// What a program in the guest answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its exit status.
    pub status: &'a str,
    /// What it printed.
    pub text: &'a str,
}

/// What the guest printed: fields, each of which ends with NUL.
pub struct Fields<'a>(&'a str);

impl Answer<'_> {
    /// Whether the program succeeded.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == "0"
    }

    /// What went wrong, in the program's own words: those that `words` finds in its lines, or those
    /// of its last line.
    ///
    /// # Errors
    ///
    /// If the program could not ask.
    pub fn why(&self, words: fn(&str) -> Option<&str>) -> Result<String> {
        if self.status == CANNOT_ASK {
            bail!(
                "{}: it is not known what works",
                shorten(self.text, MAX_SHOWN)
            );
        }
        if TIMED_OUT.contains(&self.status) {
            return Ok("no answer in time".to_owned());
        }
        let lines = || {
            self.text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
        };
        let said = lines().find_map(words).or_else(|| lines().next_back());
        let said = said.map(|said| shorten(said, MAX_SHOWN).into_owned());
        Ok(said.unwrap_or_else(|| format!("exit status {}", shorten(self.status, MAX_SHOWN))))
    }
}

/// Finds the reason in a line that OpenSSL printed: `verify error:num=20:REASON`, what a proxy
/// said, or `ID:error:NUMBER:LIBRARY:FUNCTION:REASON:FILE:LINE:`, where another library's reason
/// comes last.
#[must_use]
pub fn openssl_reason(line: &str) -> Option<&str> {
    if let Some((_, reason)) = line.split_once(VERIFY_ERROR) {
        return reason.split_once(':').map(|(_, words)| words);
    }
    // Some versions of OpenSSL put a space before the reason.
    if let Some((_, reason)) = line.split_once("HTTP CONNECT failed, reason=") {
        return Some(reason.trim_start());
    }
    let fields: Vec<_> = line.split(':').collect();
    match fields[..] {
        [_, "error", _, _, _, reason, ..] if reason != "system lib" => Some(reason),
        [_, "error", _, _, _, _, .., reason] => Some(reason),
        _ => None,
    }
}

impl<'a> Fields<'a> {
    /// Reads what a program with [`ASK`] printed.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Takes the next field.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn text(&mut self) -> Result<&'a str> {
        let cut = "the guest's answer is cut short";
        let (field, rest) = self.0.split_once('\0').context(cut)?;
        self.0 = rest;
        Ok(field)
    }

    /// Takes the two fields of an answer.
    ///
    /// # Errors
    ///
    /// If they are not there.
    pub fn answer(&mut self) -> Result<Answer<'a>> {
        let (status, text) = (self.text()?, self.text()?);
        Ok(Answer { status, text })
    }

    /// Checks that nothing is left but the mark of the end.
    ///
    /// # Errors
    ///
    /// If the mark is missing, or if more follows.
    pub fn end(mut self) -> Result<()> {
        ensure!(self.text()? == "end", MORE);
        self.is_empty()
    }

    /// Checks that nothing is left, after the mark of the end was read.
    ///
    /// # Errors
    ///
    /// If more follows.
    pub fn is_empty(&self) -> Result<()> {
        ensure!(self.0.is_empty(), MORE);
        Ok(())
    }
}

/// Makes the call that runs the shell program `script`, which may use the functions of [`ASK`], as
/// node with the agent's environment `env`. The environment may contain secrets, so it goes through
/// stdin.
#[must_use]
pub fn exec(env: &GuestEnv, questions: &Questions, script: &str, parameters: &[&str]) -> Exec {
    let program = format!("{ASK}\n{script}");
    let limit = questions.live_timeout.as_secs_f64().to_string();
    let mut words = env.assignments();
    words.extend(["sh", "-c", &program, "sh", &limit].map(str::to_owned));
    words.extend(parameters.iter().map(|&word| word.to_owned()));
    let input = words.join("\0") + "\0";
    let xargs = ["xargs", "-0", "-x", "-n", "99999", "-s", MAX_INPUT, "env"];
    Exec::as_node("ask the guest what works", &xargs).read(input)
}

/// The time that a call with this number of questions may take. In the guest, at least one is asked
/// at a time, and each may take as long as the options say.
#[must_use]
pub fn time_limit(questions: &Questions, number: usize) -> Duration {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let all = questions.live_timeout.saturating_mul(number);
    all.saturating_add(MARGIN)
}

/// Asks whether node can read everything at `targets`, can write to the directories `writable` if
/// they are there, and whether a target is on a mount of its own, which may be the host's. `line`
/// says what is fine if all of it is.
#[must_use]
pub fn files(
    line: &str,
    env: &GuestEnv,
    questions: &Questions,
    targets: &[GuestPath],
    writable: &[&str],
) -> Check {
    let number = writable.len().to_string();
    let mut parameters = vec![number.as_str()];
    parameters.extend(writable);
    parameters.extend(targets.iter().map(|target| target.as_str()));
    let exec = exec(env, questions, FILES, &parameters);
    let limit = time_limit(questions, targets.len());
    Check::new(exec, line, files_differences).within(limit)
}

/// Compares what [`FILES`] printed with a guest in which all is well.
fn files_differences(text: &str) -> Result<Vec<Difference>> {
    let mut fields = Fields::new(text);
    let mut differences = Vec::new();
    loop {
        let kind = fields.text()?;
        if kind == "end" {
            fields.is_empty()?;
            return Ok(differences);
        }
        let path = shorten(fields.text()?, MAX_SHOWN);
        differences.push(match kind {
            "unreadable" => Difference::new("live read", &path, "node can", Some("node cannot")),
            "unwritable" => Difference::new("live write", &path, "node can", Some("node cannot")),
            "mount" => Difference::extra("live mount", &path, "another file system, or the host's"),
            _ => bail!(MORE),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, Fields, exec, files_differences, openssl_reason, time_limit};
    use crate::plan::guest_env::GuestEnv;
    use crate::step::options::Questions;

    #[test]
    fn the_environment_is_on_stdin_alone() {
        let env: GuestEnv = serde_json::from_str(r#"{"B": "s3cret", "A": "1", "N": 1}"#).unwrap();
        let questions = Questions {
            live_timeout: Duration::from_millis(1500),
            live_host: None,
        };
        let exec = exec(&env, &questions, "echo", &["one", "two"]);
        assert!(!exec.argv.concat().contains("s3cret"));
        let input = exec.input.unwrap();
        let words: Vec<_> = input.split_terminator('\0').collect();
        assert_eq!(words[..4], ["A=1", "B=s3cret", "sh", "-c"]);
        assert!(words[4].ends_with("\necho"));
        assert_eq!(words[5..], ["sh", "1.5", "one", "two"]);
        assert_eq!(time_limit(&questions, 2), Duration::from_secs(33));
    }

    #[test]
    fn the_reason_is_short_and_says_what_is_missing() {
        fn why(status: &str, text: &str) -> anyhow::Result<String> {
            Answer { status, text }.why(|line| line.strip_prefix("fatal: "))
        }
        for (status, text, reason) in [
            ("1", "fatal: a\nb\n", "a"),
            ("1", "b\nc\n\n", "c"),
            ("1", " \n", "exit status 1"),
            ("124", "fatal: a", "no answer in time"),
            ("137", "", "no answer in time"),
        ] {
            assert_eq!(why(status, text).unwrap(), reason, "{status} {text}");
        }
        assert_eq!(why("1", &"x".repeat(300)).unwrap().chars().count(), 201);
        assert_eq!(why(&"9".repeat(300), "").unwrap().chars().count(), 213);
        let error = why("125", "no proxy").unwrap_err().to_string();
        assert_eq!(error, "no proxy: it is not known what works");
    }

    #[test]
    fn the_reason_is_found_in_openssls_lines() {
        for (line, reason) in [
            (
                "verify error:num=62:hostname mismatch",
                Some("hostname mismatch"),
            ),
            (
                "1:error:8000006F:system library:BIO_connect:Connection refused:f.c:117:x",
                Some("Connection refused"),
            ),
            (
                "1:error:2:BIO routines:f:system lib:f.c:1:Name not known",
                Some("Name not known"),
            ),
            (
                "s_client: HTTP CONNECT failed, reason= 403 No",
                Some("403 No"),
            ),
            (
                "s_client: HTTP CONNECT failed, reason=403 No",
                Some("403 No"),
            ),
            ("connect:errno=111", None),
            ("", None),
        ] {
            assert_eq!(openssl_reason(line), reason, "{line}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_end_and_no_further() {
        let mut fields = Fields::new("a\x000\0said\0end\0");
        assert_eq!(fields.text().unwrap(), "a");
        let answer = fields.answer().unwrap();
        assert!(answer.is_good() && answer.text == "said");
        fields.end().unwrap();
        for text in ["", "en", "end", "other\0", "end\0more\0", "end\0x"] {
            assert!(Fields::new(text).end().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_node_cannot_do_with_files_is_listed() {
        let text = "unwritable\0/home/node\0unreadable\0/a\0mount\0/home/node/b\0end\0";
        let found = files_differences(text).unwrap();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "/home/node: live write: `node can` in the plan, `node cannot` in the guest",
            "/a: live read: `node can` in the plan, `node cannot` in the guest",
            "/home/node/b: live mount: nothing in the plan, `another file system, or the host's` in \
             the guest",
        ];
        assert_eq!(found, expected);
        for end in 0..text.len() {
            assert!(files_differences(&text[..end]).is_err(), "{end}");
        }
        for text in ["other\0/a\0end\0", "end\0more\0"] {
            assert!(files_differences(text).is_err(), "{text}");
        }
    }
}
