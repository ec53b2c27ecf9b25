//! A step's calls as a script for sh(1): what `--dry-run` prints.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::call::{Action, Call, Source};
use crate::checked::{GuestPath, MachineName};
use crate::exec_user::ExecUser;
use crate::pack::PART;

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

/// The first part of every script, the same for all; `$step`, `$smolvm`, `$machine` and `$optional` are set behind it.
const PRELUDE: &str = r#"#!/bin/sh
# Makes smolvm calls as the steps of bottle would. None is repeated, and none has a deadline.
# shellcheck disable=SC2016,SC2317 # what stands in single quotes is for another shell; not all is used
set -eu
umask 077

# Every call has an empty stdin: this script may be on it.
copy() { "$smolvm" machine cp "$1" "$machine:$2" </dev/null; }
guest() { "$smolvm" machine exec --name "$machine" ${user:+--user "$user"} "$@" </dev/null; }

# choose_user: root, from smolvm 1.14.0 on to be asked for, which a bare machine refuses because it has nobody else.
choose_user() {
    version=$("$smolvm" --version </dev/null) || version=
    version=${version##* } user=
    major=${version%%.*} minor=${version#*.}
    minor=${minor%%.*}
    case $major:$minor in :* | *: | *[!0-9:]*) return 0 ;; esac
    [ "$major" -gt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -ge 14 ]; } || return 0
    if said=$("$smolvm" machine exec --name "$machine" --user root -- true 2>&1 </dev/null); then
        user=root
    else
        case $said in *'needs an image machine'*) ;; *) printf '%s\n' "$said" >&2 && exit 1 ;; esac
    fi
}

# answering REGEX COMMAND...: fails unless COMMAND prints what REGEX matches.
answering() {
    regex=$1
    shift
    answer=$("$@")
    printf '%s\n' "$answer"
    printf '%s\n' "$answer" | grep -Eq -- "$regex" || { printf 'no `%s` in this answer\n' "$regex" >&2 && exit 1; }
}

# expected WORDS SAID: fails unless the command that failed said WORDS.
expected() { case $2 in *"$1"*) ;; *) printf '%s\n' "$2" >&2 && exit 1 ;; esac }

end() {
    status=$?
    rm -rf -- "$stage"
    if [ -n "$optional" ] && [ "$status" -ne 0 ]; then
        printf '%s: warning: that failed; the bottle works without it\n' "$step" >&2
        status=0
    fi
    exit "$status"
}
"#;

/// What follows the variables in `main`.
const BEGIN: &str = r#"    command -v "$smolvm" >/dev/null || { printf '%s: cannot be run\n' "$smolvm" >&2 && exit 69; }
    stage=$(mktemp -d)
    trap end EXIT
    trap 'optional= && exit 129' HUP
    trap 'optional= && exit 130' INT
    trap 'optional= && exit 143' TERM
"#;

impl Script<'_> {
    /// The script that makes `calls`.
    ///
    /// # Errors
    ///
    /// When a host path is not UTF-8.
    pub(crate) fn render(&self, calls: &[Call]) -> Result<String> {
        // The line by which scripts/provision tells the parts from each other.
        let mut script = format!("{PRELUDE}\n# ---- {}\n\n", self.step);
        if calls.iter().any(|call| matches!(call.action, Action::Copy { from: Source::Directory(_), .. })) {
            let _ = writeln!(script, "plan() {{\n    cat <<{}\n}}\n", here_document(self.plan));
        }
        let (smolvm, machine) = (quoted(self.smolvm)?, self.machine);
        let optional = if self.is_optional { "yes" } else { "" };
        let _ = writeln!(script, "main() {{\n    step={} optional={optional}", self.step);
        let _ = writeln!(script, "    smolvm={smolvm} machine={machine}");
        let _ = writeln!(script, "    cd -- {}", quoted(&self.directory)?);
        script.push_str(BEGIN);
        let _ = match self.user {
            ExecUser::Auto | ExecUser::RootIfTaken => writeln!(script, "    choose_user"),
            ExecUser::None => writeln!(script, "    user="),
            ExecUser::User(user) => writeln!(script, "    user={}", quoted(user)?),
        };
        // All that is made is made before the first call.
        let mut lines = String::new();
        for (number, call) in calls.iter().enumerate() {
            let line = match &call.action {
                Action::Copy { from, to } => {
                    let from = self.staged(from, to, number, &mut script)?;
                    format!("copy {from} {}", quoted(to)?)
                }
                action @ Action::Exec { .. } => exec(action)?,
            };
            let _ = writeln!(lines, "\n    # {}", call.purpose.replace(char::is_control, " "));
            let line = match call.answer {
                Some(answer) => format!("answering {} {line}", quoted(answer.pattern)?),
                None => line,
            };
            let Some(remedy) = &call.remedy else {
                let _ = writeln!(lines, "    {line}");
                continue;
            };
            let words = quoted(remedy.words)?;
            let _ = writeln!(lines, "    if ! said=$({line} 2>&1); then\n        expected {words} \"$said\"");
            for call in &remedy.calls {
                let _ = writeln!(lines, "        {} || :", exec(&call.action)?);
            }
            let _ = writeln!(lines, "        {line}\n    fi");
        }
        Ok(script + &lines + "}\n\nmain\n")
    }

    /// The file that is copied, as a word; where it has to be made, that is done in `script`.
    fn staged(&self, from: &Source, to: &GuestPath, number: usize, script: &mut String) -> Result<String> {
        let staged = format!("\"$stage/{number}\"");
        let _ = match from {
            Source::File(path) if !path.as_os_str().as_encoded_bytes().contains(&b':') => {
                return Ok(quoted_path(path)?.into_owned());
            }
            // smolvm would take what is before the colon for a machine; it follows links.
            Source::File(path) => writeln!(script, "    ln -s {} {staged}", quoted_path(&std::path::absolute(path)?)?),
            Source::Text(text) => writeln!(script, "    cat >{staged} <<{}", here_document(text)),
            Source::Directory(directory) => {
                let packer = shlex::try_join(self.packer.iter().map(String::as_str))?;
                let (to, parts) = (quoted(to)?, directory.parts());
                if parts == 1 {
                    writeln!(script, "    plan | {packer} --archive {to} >{staged}")
                } else {
                    // Each part under the number of its call.
                    writeln!(
                        script,
                        "    plan | {packer} --archive {to} | split -b {PART} - \"$stage/part.\"\n    \
                         number={number}\n    for part in \"$stage\"/part.*; do\n        \
                         mv \"$part\" \"$stage/$number\"\n        number=$((number + 1))\n    done"
                    )
                }
            }
            Source::Part => Ok(()),
        };
        Ok(staged)
    }
}

fn exec<S>(action: &Action<S>) -> Result<String> {
    let Action::Exec { argv, env } = action else { return Ok(String::new()) };
    let env = env.iter().flat_map(|(name, value)| ["-e".to_owned(), format!("{name}={value}")]);
    let words: Vec<_> = env.chain(["--".to_owned()]).chain(argv.iter().cloned()).collect();
    Ok(format!("guest {}", shlex::try_join(words.iter().map(String::as_str))?))
}

/// `text`, which ends with a newline, as what stands behind `<<`.
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
    quoted(path.to_str().with_context(|| format!("{}: a script cannot hold a path that is not UTF-8", path.display()))?)
}
