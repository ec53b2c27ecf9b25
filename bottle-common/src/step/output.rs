//! What a step prints on stdout and stderr. No other file prints.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::json;

use crate::error::{Code, Error};
use crate::step::options::ErrorFormat;
use crate::text::{one_line, shorten, visible_json};

/// Writes `text` to stdout.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
        .context("write to stdout")
}

/// The number of characters of a line that is replaced, and of its end that is shown in any case. A
/// terminal has 80 columns.
const MAX_SHOWN: usize = 79;
const MAX_END: usize = 39;
/// The number of characters of a message that are shown. It may name things of any length.
const MAX_MESSAGE: usize = 8000;

/// Prints `line` on stderr. Its control characters are escaped, so it stays one line.
pub(crate) fn say(line: &str) {
    // If stderr is closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", one_line(line));
}

/// Prints `lines` on stderr together, so that no other thread prints between them. An item with a
/// shell program in it has several lines.
pub(crate) fn say_all(lines: &[String]) {
    let _lock = io::stderr().lock();
    for line in lines {
        line.lines().for_each(say);
    }
}

/// Prints a warning of the step `name` for each of `warnings`.
pub(crate) fn warn(name: &str, warnings: &[String]) {
    for warning in warnings {
        say(&shorten(
            &format!("{name}: warning: {warning}"),
            MAX_MESSAGE,
        ));
    }
}

/// Replaces the terminal's current line by `line`. A line that is longer than the terminal could
/// not be replaced, so its middle is left out.
pub(crate) fn show(line: &str) {
    let line: Vec<_> = one_line(line).chars().collect();
    let mut shown: String = line.iter().take(MAX_SHOWN).collect();
    if line.len() > MAX_SHOWN {
        let end = &line[line.len() - MAX_END..];
        shown = line.iter().take(MAX_SHOWN - MAX_END - 1).collect();
        shown.push('…');
        shown.extend(end);
    }
    let _ = write!(io::stderr(), "\r{shown}\x1b[K");
}

/// Prints the error with which the step `name` failed, and its hint.
pub(crate) fn print_error(name: &str, error: &Error, format: ErrorFormat) {
    let message = format!("{name}: {}", error.message);
    let message = one_line(&shorten(&message, MAX_MESSAGE));
    if format == ErrorFormat::Json {
        let code = error.code.map(Code::name);
        let hint = error.hint.as_deref().map(one_line);
        let error = json!({"code": code, "message": message, "hint": hint});
        say(&visible_json(&json!({ "error": error }).to_string()));
        return;
    }
    say(&message);
    if let Some(hint) = &error.hint {
        say(&format!("hint: {hint}"));
    }
}
