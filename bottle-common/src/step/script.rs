//! A step's calls as a script for sh(1).

#![allow(
    clippy::format_push_string,
    reason = "a script is short, and `write!` can fail"
)]

use std::borrow::Cow;
use std::path::{Path, absolute};

use anyhow::{Context, Result};

use crate::plan::values::MachineName;
use crate::smolvm::call::{Archive, Call, Calls, Copy, Exec, Source};
use crate::smolvm::version::ExecUser;
use crate::text::one_line;

/// The first part of every script. It is the same for all; `$step`, `$smolvm`, `$machine` and
/// `$optional` are set behind it.
const PRELUDE: &str = include_str!("prelude.sh");

/// What a script needs to know beside the calls.
pub(crate) struct Script<'a> {
    /// The step's name.
    pub step: &'a str,
    /// The step as a command that packs a directory.
    pub packer: Vec<String>,
    /// Where relative paths begin.
    pub directory: String,
    /// The plan's text.
    pub plan: &'a str,
    pub smolvm: &'a str,
    pub machine: &'a MachineName,
    pub user: &'a ExecUser,
    /// Whether a failure is a warning.
    pub is_optional: bool,
}

impl Script<'_> {
    /// Writes the script that makes `calls`.
    ///
    /// # Errors
    ///
    /// When a host path is not UTF-8.
    pub(crate) fn render(&self, calls: &Calls) -> Result<String> {
        // By this line scripts/provision tells the parts from each other.
        let mut script = format!("{PRELUDE}\n# ---- {}\n\n", self.step);
        if calls.iter().any(copies_archive) {
            script += &format!("plan() {{\n    cat <<{}\n}}\n\n", here_document(self.plan));
        }
        script += &self.variables()?;
        // Everything is staged before the first call.
        let mut lines = String::new();
        for (number, call) in calls.iter().enumerate() {
            lines += &format!("\n    # {}\n", one_line(call.purpose()));
            match call {
                Call::Copy(copy) => {
                    let file = self.stage(copy, number, &mut script)?;
                    lines += &format!("    copy {file} {}\n", quoted(&copy.to)?);
                }
                Call::Exec(exec) => lines += &exec_lines(exec)?,
            }
        }
        Ok(script + &lines + "}\n\nmain\n")
    }

    /// The first lines of `main`.
    fn variables(&self) -> Result<String> {
        let optional = if self.is_optional { "yes" } else { "''" };
        let user = match self.user {
            ExecUser::Auto => "choose_user".to_owned(),
            ExecUser::None => "user=''".to_owned(),
            ExecUser::User(user) => format!("user={}", quoted(user)?),
        };
        Ok(format!(
            "main() {{\n    \
                 step={} optional={optional}\n    \
                 smolvm={} machine={}\n    \
                 cd -- {}\n    \
                 begin\n    \
                 {user}\n",
            self.step,
            quoted(self.smolvm)?,
            self.machine,
            quoted(&self.directory)?,
        ))
    }

    /// Gives the file that is copied, as a word. Where it has to be made, `script` makes it.
    fn stage(&self, copy: &Copy, number: usize, script: &mut String) -> Result<String> {
        let staged = format!("\"$stage/{number}\"");
        match &copy.from {
            Source::File(path) if !has_colon(path) => return Ok(quoted_path(path)?.into_owned()),
            // smolvm would take what is before the colon for a machine. It follows links.
            Source::File(path) => {
                *script += &format!("    ln -s {} {staged}\n", quoted_path(&absolute(path)?)?);
            }
            Source::Text(text) => {
                *script += &format!("    cat >{staged} <<{}\n", here_document(text));
            }
            Source::Archive(archive) => {
                let packer = shlex::try_join(self.packer.iter().map(String::as_str))?;
                let packer = format!("plan | {packer} --archive {}", quoted(&copy.to)?);
                *script += &pack_lines(archive, &packer, number, &staged);
            }
            Source::NextPart => {}
        }
        Ok(staged)
    }
}

fn copies_archive(call: &Call) -> bool {
    matches!(
        call,
        Call::Copy(Copy {
            from: Source::Archive(_),
            ..
        })
    )
}

fn has_colon(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b':')
}

/// Packs an archive into files that have the numbers of the calls that copy them.
fn pack_lines(archive: &Archive, packer: &str, number: usize, staged: &str) -> String {
    if archive.parts() == 1 {
        return format!("    {packer} >{staged}\n");
    }
    format!(
        "    {packer} | split -b {} - \"$stage/part.\"\n    \
             number={number}\n    \
             for part in \"$stage\"/part.*; do\n        \
                 mv \"$part\" \"$stage/$number\"\n        \
                 number=$((number + 1))\n    \
             done\n",
        archive.max_part
    )
}

/// A call with the way out of a failure that is expected.
fn exec_lines(exec: &Exec) -> Result<String> {
    let line = exec_line(exec)?;
    let Some(recovery) = &exec.recovery else {
        return Ok(format!("    {line}\n"));
    };
    let mut lines = format!(
        "    if ! said=$({line} 2>&1); then\n        expected {} \"$said\"\n",
        quoted(recovery.words)?
    );
    for call in &recovery.calls {
        lines += &format!("        {} || :\n", exec_line(call)?);
    }
    lines += &format!("        {line}\n    fi\n");
    Ok(lines)
}

fn exec_line(exec: &Exec) -> Result<String> {
    let mut words = vec!["guest".to_owned()];
    for (name, value) in &exec.env {
        words.extend(["-e".to_owned(), format!("{name}={value}")]);
    }
    words.push("--".to_owned());
    words.extend_from_slice(&exec.argv);
    Ok(shlex::try_join(words.iter().map(String::as_str))?)
}

/// `text` as what stands behind `<<`.
fn here_document(text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    format!("'{end}'\n{text}{newline}{end}")
}

fn quoted(text: &str) -> Result<Cow<'_, str>> {
    Ok(shlex::try_quote(text)?)
}

fn quoted_path(path: &Path) -> Result<Cow<'_, str>> {
    let text = path.to_str().with_context(|| {
        format!(
            "{}: a script cannot hold a path that is not UTF-8",
            path.display()
        )
    })?;
    quoted(text)
}
