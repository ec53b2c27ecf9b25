//! `--dry-run`: prints a script that makes the step's calls. `--archive`: packs a directory that
//! the script copies.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::host::tar;
use crate::smolvm::call::{Call, Copy, Source};
use crate::step::Prepared;
use crate::step::invocation::Invocation;
use crate::step::options::CommandLine;
use crate::step::output;
use crate::step::script::{Part, Script};

/// Prints the script. It names this program, which packs the directories that the script copies.
pub(crate) fn print_script<O: Args>(invocation: &Invocation<O>, prepared: &Prepared) -> Result<()> {
    let CommandLine {
        common, own_words, ..
    } = invocation.options;
    let mut packer = vec![
        env::current_exe()
            .context("find this program")?
            .into_os_string(),
    ];
    packer.extend(own_words.iter().cloned());
    let directory = env::current_dir().context("find the current directory")?;
    let script = Script {
        step: invocation.step.name,
        packer: &packer,
        directory: &directory,
        plan: invocation.document.text(),
        smolvm: &common.smolvm,
        machine: invocation.machine(),
        user: &common.exec_user,
        is_optional: prepared.optional.is_some(),
    };
    let part = match &common.known {
        None => Part::Whole,
        // The first of the steps that share the file makes it.
        Some(known) => match File::create_new(known) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Part::Later,
            _ => Part::First,
        },
    };
    output::print(&script.render(&prepared.calls, part)?)
}

/// Writes to stdout the tar that the step copies to `path` in the guest.
pub(crate) fn print_archive<O: Args>(
    invocation: &Invocation<O>,
    prepared: &Prepared,
    path: &str,
) -> Result<()> {
    for call in prepared.calls.iter() {
        let Call::Copy(Copy {
            from: Source::Archive(archive),
            to,
            ..
        }) = call
        else {
            continue;
        };
        if **to == *path {
            let packed = tar::pack(&archive.tree, io::stdout().lock(), "stdout", |_| {})?;
            output::warn(invocation.step.name, &packed.warnings);
            return Ok(());
        }
    }
    bail!("no directory is copied to {path}")
}
