//! Prints a step's calls as a script instead of making them, and packs the directories that the
//! script copies.

use std::env;
use std::ffi::OsString;
use std::io;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::host::tar;
use crate::smolvm::call::{Call, Copy, Source};
use crate::step::Prepared;
use crate::step::invocation::Invocation;
use crate::step::options::CommandLine;
use crate::step::output;
use crate::step::script::Script;

/// Prints the script.
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
        packer: packer.into_iter().map(utf8).collect::<Result<_>>()?,
        directory: utf8(directory.into_os_string())?,
        plan: invocation.document.text(),
        smolvm: &common.smolvm.to_string_lossy(),
        machine: invocation.machine(),
        user: &common.exec_user,
        is_optional: prepared.optional.is_some(),
    };
    output::print(&script.render(&prepared.calls)?)
}

/// Writes the tar that is copied to `path` in the guest to stdout.
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
    Err(anyhow!("no directory is copied to {path}"))
}

/// `text` for a script.
fn utf8(text: OsString) -> Result<String> {
    text.into_string()
        .map_err(|text| anyhow!("{}: a script cannot hold what is not UTF-8", text.display()))
}
