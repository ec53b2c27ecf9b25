//! Renders a step's calls as a script for sh(1). The script is bytes, because a path need not be
//! UTF-8.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, absolute};

use anyhow::Result;

use crate::plan::values::MachineName;
use crate::smolvm::call::{Archive, Call, Calls, Copy, Exec, Source};
use crate::smolvm::staged::fit;
use crate::smolvm::version::ExecUser;
use crate::text::{is_unseen, one_line, visible_json};

/// What every script begins with. The rest sets the variables `step`, `smolvm`, `machine` and
/// `optional`.
const PRELUDE: &str = include_str!("prelude.sh");

/// How a script is made of the parts of several steps.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// It is the script of one step.
    Whole,
    /// It is the part of the first step.
    First,
    /// It is the part of a later step, which needs what the first part begins with.
    Later,
}

/// What a script needs in addition to the calls.
pub(crate) struct Script<'a> {
    /// The step's name.
    pub step: &'a str,
    /// The command that packs a directory: this program, with the step's own options.
    pub packer: &'a [OsString],
    /// The directory that relative paths start from.
    pub directory: &'a Path,
    /// The plan, as JSON.
    pub plan: &'a str,
    /// The smolvm program.
    pub smolvm: &'a OsStr,
    pub machine: &'a MachineName,
    /// The user that runs guest commands.
    pub user: &'a ExecUser,
    /// Whether a failed call is only a warning.
    pub is_optional: bool,
}

impl Script<'_> {
    /// Renders the script, or the part of one, that makes `calls`.
    ///
    /// # Errors
    ///
    /// If a word contains a NUL. No argument of a program does.
    pub(crate) fn render(&self, calls: &Calls, part: Part) -> Result<Vec<u8>> {
        let mut script = Vec::new();
        // The parts run in subshells, because each has functions and a trap of its own.
        let [begin, end] = match part {
            Part::Whole => [PRELUDE, ""],
            Part::First => [&format!("{PRELUDE}\n("), ")\n"],
            Part::Later => ["\n(", ")\n"],
        };
        write!(script, "{begin}\n# ---- {}\n\n", self.step)?;
        if calls.iter().any(copies_archive) {
            let plan = here_document(&visible_json(self.plan));
            write!(script, "plan() {{\n    cat <<{plan}\n}}\n\n")?;
        }
        self.begin_main(&mut script)?;
        // The script stages everything before it makes the first call.
        let mut lines = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            writeln!(lines, "\n    # {}", one_line(call.purpose()))?;
            match call {
                Call::Copy(copy) => {
                    write!(lines, "    copy '{}' ", copy.mode.unwrap_or_default())?;
                    lines.extend(self.stage(copy, number, &mut script)?);
                    lines.extend(b" ");
                    lines.extend(quoted(copy.to.as_bytes())?);
                    lines.extend(b"\n");
                }
                Call::Exec(exec) => lines.extend(exec_lines(exec)?),
            }
        }
        script.extend(lines);
        write!(script, "}}\n\nmain\n{end}")?;
        Ok(script)
    }

    /// Writes the first lines of `main`.
    fn begin_main(&self, script: &mut Vec<u8>) -> Result<()> {
        let optional = if self.is_optional { "yes" } else { "''" };
        writeln!(script, "main() {{")?;
        writeln!(script, "    step={} optional={optional}", self.step)?;
        script.extend(b"    smolvm=");
        script.extend(quoted(self.smolvm.as_bytes())?);
        write!(script, " machine={}\n    cd -- ", self.machine)?;
        script.extend(quoted(self.directory.as_os_str().as_bytes())?);
        script.extend(b"\n    begin\n");
        match self.user {
            ExecUser::Auto => writeln!(script, "    choose_user")?,
            ExecUser::None => writeln!(script, "    user='' takes_user=''")?,
            ExecUser::User(user) => {
                writeln!(script, "    user={} takes_user=''", shlex::try_quote(user)?)?;
            }
        }
        Ok(())
    }

    /// Gives the path of the file that `copy` copies, as a shell word. If the file has to be
    /// staged, adds the commands that stage it to `script`.
    fn stage(&self, copy: &Copy, number: usize, script: &mut Vec<u8>) -> Result<Vec<u8>> {
        let staged = format!("\"$stage/{number}\"");
        match &copy.from {
            Source::File(path) if fit(path).is_some() => {
                return quoted(path.as_os_str().as_bytes());
            }
            Source::File(path) => {
                script.extend(b"    ln -s ");
                script.extend(quoted(absolute(path)?.as_os_str().as_bytes())?);
                writeln!(script, " {staged}")?;
            }
            Source::Text(text) => writeln!(script, "    cat >{staged} <<{}", here_document(text))?,
            Source::Archive(archive) => {
                script.extend(b"    plan | ");
                for word in self.packer {
                    script.extend(quoted(word.as_bytes())?);
                    script.extend(b" ");
                }
                script.extend(b"--archive ");
                script.extend(quoted(copy.to.as_bytes())?);
                script.extend(split_lines(archive, number, &staged).bytes());
            }
            Source::NextPart => {}
        }
        Ok(staged.into_bytes())
    }
}

fn copies_archive(call: &Call) -> bool {
    let Call::Copy(copy) = call else { return false };
    matches!(copy.from, Source::Archive(_))
}

/// Gives the end of a pipeline that splits the archive into files. Each has the number of the call
/// that copies it.
fn split_lines(archive: &Archive, number: usize, staged: &str) -> String {
    if archive.parts() == 1 {
        return format!(" >{staged}\n");
    }
    format!(
        " | split -b {} - \"$stage/part.\"\n    \
             number={number}\n    \
             for part in \"$stage\"/part.*; do\n        \
                 mv \"$part\" \"$stage/$number\"\n        \
                 number=$((number + 1))\n    \
             done\n",
        archive.max_part
    )
}

/// Gives the commands that make the call and, if it has a recovery, recover from the failure.
fn exec_lines(exec: &Exec) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    let line = exec_line(exec)?;
    let Some(recovery) = &exec.recovery else {
        lines.extend(b"    ");
        lines.extend(line);
        lines.push(b'\n');
        return Ok(lines);
    };
    let words = shlex::try_quote(recovery.words)?;
    lines.extend(b"    if ! said=$(");
    lines.extend(&line);
    writeln!(lines, " 2>&1); then\n        expected {words} \"$said\"")?;
    for call in &recovery.calls {
        lines.extend(b"        ");
        lines.extend(exec_line(call)?);
        lines.extend(b" || :\n");
    }
    lines.extend(b"        ");
    lines.extend(line);
    lines.extend(b"\n    fi\n");
    Ok(lines)
}

/// Gives the command that makes the call, without its recovery.
fn exec_line(exec: &Exec) -> Result<Vec<u8>> {
    let mut words = vec!["guest".to_owned(), exec.by.name().to_owned()];
    for (name, value) in &exec.env {
        words.extend(["-e".to_owned(), format!("{name}={value}")]);
    }
    words.push("--".to_owned());
    words.extend_from_slice(&exec.argv);
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend(quoted(word.as_bytes())?);
    }
    Ok(line)
}

/// Gives what follows `<<` in a here-document that contains `text`.
fn here_document(text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("'{end}'\n{text}{newline}{end}")
}

/// Quotes `text` for a shell. What a terminal would obey is written as its octal digits, except for
/// ends of lines and tabs.
fn quoted(text: &[u8]) -> Result<Vec<u8>> {
    let mut word = Vec::new();
    let mut plain = String::new();
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_unseen(character) && !matches!(character, '\n' | '\t' | '\0') {
                flush(&mut plain, &mut word)?;
                word.extend(printf(character.encode_utf8(&mut [0; 4]).as_bytes()));
            } else {
                plain.push(character);
            }
        }
        if !chunk.invalid().is_empty() {
            flush(&mut plain, &mut word)?;
            word.extend(printf(chunk.invalid()));
        }
    }
    if word.is_empty() || !plain.is_empty() {
        word.extend(&*shlex::bytes::try_quote(plain.as_bytes())?);
    }
    Ok(word)
}

/// Moves what is in `plain` to the end of `word`, quoted.
fn flush(plain: &mut String, word: &mut Vec<u8>) -> Result<()> {
    if !plain.is_empty() {
        word.extend(&*shlex::bytes::try_quote(plain.as_bytes())?);
        plain.clear();
    }
    Ok(())
}

/// Gives the part of a shell word that stands for `bytes`.
fn printf(bytes: &[u8]) -> Vec<u8> {
    let mut part = b"\"$(printf '".to_vec();
    for byte in bytes {
        part.extend(format!("\\{byte:03o}").bytes());
    }
    part.extend(b"')\"");
    part
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::quoted;
    use crate::text::one_line;

    #[test]
    fn a_word_is_what_it_was_and_shows_nothing_that_a_terminal_obeys() {
        for text in [
            &b""[..],
            b"plain",
            b"it's $HOME `x` \"q\" \\ %s",
            b"two\n\tlines\n",
            b"\x1b]0;title\x07\x7f",
            "\u{9b}31m \u{202e}txt.exe \u{e0041}\u{2028}".as_bytes(),
            b"\x9b\xff-\xfe",
            b"\xff",
            "\u{85}'".as_bytes(),
        ] {
            let word = String::from_utf8(quoted(text).unwrap()).unwrap();
            for line in word.split(['\n', '\t']) {
                assert_eq!(one_line(line), line);
            }
            let script = format!("printf %s. {word}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, [text, b"."].concat(), "{word}");
        }
        assert!(quoted(b"a\0b").is_err());
    }
}
