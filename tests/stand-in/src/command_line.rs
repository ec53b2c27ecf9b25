//! The command lines. smolvm reads its own with clap, too, so the errors are the same.

use std::ffi::OsString;

use clap::{Args, Parser};

/// A stand-in for smolvm, for tests. IT ISOLATES NOTHING: commands run on this host's kernel and
/// network.
#[derive(Parser)]
#[command(name = "smolvm", bin_name = "smolvm", arg_required_else_help = false)]
pub struct Line {
    #[command(subcommand)]
    pub subcommand: Subcommand,
}

#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Subcommand {
    /// Manage machines
    #[command(arg_required_else_help = false)]
    Machine {
        #[command(subcommand)]
        verb: Verb,
    },
}

#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Verb {
    /// Create a machine
    Create(Create),
    /// Start a machine
    Start {
        #[arg(short, long)]
        name: String,
    },
    /// Print the state of a machine
    Status {
        #[arg(short, long)]
        name: String,
    },
    /// Stop a machine
    Stop {
        #[arg(short, long)]
        name: String,
    },
    /// Delete a machine
    Delete {
        #[arg(short, long)]
        name: String,
        #[arg(short, long)]
        force: bool,
    },
    /// Run a command in a machine
    Exec(Exec),
    /// Copy a file to or from a machine
    Cp(Copy),
}

#[derive(Args)]
pub struct Create {
    #[arg(short, long)]
    pub name: String,
    /// Make an image machine
    #[arg(short = 'I', long)]
    pub image: Option<String>,
    /// The user of an image machine's commands
    #[arg(short, long)]
    pub user: Option<String>,
}

#[derive(Args)]
pub struct Exec {
    #[arg(long)]
    pub name: Option<String>,
    #[arg(short, long)]
    pub user: Option<String>,
    // Without a `=` it is ignored, as in the real smolvm.
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub env: Vec<OsString>,
    #[arg(short, long, value_name = "DIR", default_value = "/")]
    pub workdir: OsString,
    #[arg(short, long)]
    pub interactive: bool,
    #[arg(trailing_var_arg = true, required = true)]
    pub command: Vec<OsString>,
}

#[derive(Args)]
pub struct Copy {
    #[arg(long, value_name = "OCTAL")]
    pub mode: Option<String>,
    #[arg(long)]
    pub uid: Option<u32>,
    #[arg(long)]
    pub gid: Option<u32>,
    #[arg(value_name = "SRC")]
    pub source: OsString,
    #[arg(value_name = "DST")]
    pub destination: OsString,
}
