//! The machines. Each is a directory with `root`, the root of its guest; `share`, its
//! /usr/local/share; `kind`, a line such as `image node`; and `state`, such as `running (PID: 7)`.
//! A test may add `fstab`: more mounts for the guest, with paths relative to the directory.

use std::path::{Path, PathBuf};
use std::{fs, process};

use crate::command_line::Create;
use crate::{Refusal, Result, complain, print, root, unable, variable};

/// What is done when it fails.
const FILES: &str = "the machine's files";

/// A machine that is there.
pub struct Machine {
    pub directory: PathBuf,
    /// whether it runs an image's container, not commands right in the VM
    pub is_image: bool,
    /// the user of its commands
    pub user: String,
    pub state: String,
}

impl Machine {
    pub fn find(name: &str) -> std::result::Result<Self, Refusal> {
        check_name(name, "validate machine name")?;
        let directory = directory().join(name);
        let line = |file| fs::read_to_string(directory.join(file));
        let (Ok(kind), Ok(state)) = (line("kind"), line("state")) else {
            return Err(Refusal::new(1, format!("Error: vm not found: {name}")));
        };
        let (kind, user) = kind.trim_end().split_once(' ').unwrap_or_default();
        Ok(Self {
            is_image: kind == "image",
            user: user.to_owned(),
            state: state.trim_end().to_owned(),
            directory,
        })
    }

    pub fn find_running(name: &str) -> std::result::Result<Self, Refusal> {
        let machine = Self::find(name)?;
        if machine.is_running() {
            return Ok(machine);
        }
        Err(Refusal::agent(&format!(
            "connect: machine '{name}' is not running. Start it with 'smolvm machine start --name \
             {name}'; if a start is already in progress, retry once it finishes."
        )))
    }

    fn is_running(&self) -> bool {
        self.state.starts_with("running")
    }

    fn set_state(&self, state: &str) -> std::result::Result<(), Refusal> {
        fs::write(self.directory.join("state"), format!("{state}\n")).map_err(unable(FILES))
    }

    /// The root of its guest.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }
}

/// Where the machines are.
pub fn directory() -> PathBuf {
    if let Some(directory) = variable("STAND_IN_DIR") {
        return directory.into();
    }
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state
        .unwrap_or_else(|| Path::new(&variable("HOME").unwrap_or_default()).join(".local/state"));
    state.join("bottle-stand-in")
}

/// Refuses a name that the real smolvm refuses. `doing` is how its message begins.
fn check_name(name: &str, doing: &str) -> std::result::Result<(), Refusal> {
    let is_letter_or_digit = |char: char| char.is_ascii_alphanumeric();
    let why = if name.is_empty() {
        "machine name cannot be empty".to_owned()
    } else if !name.starts_with(is_letter_or_digit) {
        format!("machine name must start with a letter or digit (got: \"{name}\")")
    } else if let Some(bad) = name
        .chars()
        .find(|&char| !is_letter_or_digit(char) && !"-_".contains(char))
    {
        format!("machine name contains invalid character: '{bad}'")
    } else if name.len() > 128 {
        format!("machine name too long: {} characters (max 128)", name.len())
    } else {
        return Ok(());
    };
    Err(Refusal::config(&format!("{doing}: {why}")))
}

pub fn create(options: &Create) -> Result {
    let name = &options.name;
    check_name(name, "create machine")?;
    let machine = directory().join(name);
    let taken = format!("create machine: machine '{name}' already exists or is being created");
    if machine.exists() {
        return Err(Refusal::config(&taken));
    }
    let new = directory().join(format!(".create.{}", process::id()));
    let kind = match &options.image {
        None => "bare root\n".to_owned(),
        Some(_) => format!("image {}\n", options.user.as_deref().unwrap_or("root")),
    };
    let made = root::make(&new)
        .and_then(|()| fs::write(new.join("state"), "created\n"))
        .and_then(|()| fs::write(new.join("kind"), kind));
    let made = made
        .map_err(unable(FILES))
        .and_then(|()| fs::rename(&new, machine).map_err(|_| Refusal::config(&taken)));
    if made.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
    made?;
    Ok(print(format!(
        "Created machine: {name}\n  CPUs: 4, Memory: 8192 MiB\n\n\
         Use 'smolvm machine start --name {name}' to start the machine\n\
         Then use 'smolvm machine exec --name {name} -- <command>' to run commands\n"
    )))
}

pub fn start(name: &str) -> Result {
    let machine = Machine::find(name)?;
    if machine.is_running() {
        return Ok(print(format!(
            "Machine '{name}' already {}\n",
            machine.state
        )));
    }
    let state = format!("running (PID: {})", process::id());
    machine.set_state(&state)?;
    complain(&format!(
        "Starting machine '{name}'...\n\
         smolvm (stand-in): machine '{name}' is only a directory: IT ISOLATES NOTHING"
    ));
    Ok(print(format!("Machine '{name}' {state}\n")))
}

pub fn status(name: &str) -> Result {
    let machine = Machine::find(name)?;
    Ok(print(format!("Machine '{name}': {}\n", machine.state)))
}

pub fn stop(name: &str) -> Result {
    let machine = Machine::find(name)?;
    if !machine.is_running() {
        let state = &machine.state;
        return Ok(print(format!(
            "Machine '{name}' is not running (state: {state})\n"
        )));
    }
    machine.set_state("stopped")?;
    Ok(print(format!(
        "Stopping machine '{name}'...\nStopped machine: {name}\n"
    )))
}

pub fn delete(name: &str, force: bool) -> Result {
    let machine = Machine::find(name)?;
    if !force {
        return Err(Refusal::agent(&format!(
            "delete: machine '{name}' needs confirmation but stdin is not a terminal; pass --force \
             to delete it, or --cascade to remove it together with any machines branched from it"
        )));
    }
    fs::remove_dir_all(&machine.directory).map_err(unable(FILES))?;
    let mut said = String::new();
    if machine.is_running() {
        said = format!("Stopping machine '{name}'...\n");
    }
    if machine.state != "created" {
        said = said + "Cleaning up data directory for vm: " + name + "\n";
    }
    Ok(print(said + "Deleted machine: " + name + "\n"))
}
