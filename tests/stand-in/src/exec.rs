//! `machine exec`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command_line::Exec;
use crate::guest::{self, Task, User};
use crate::machine::{self, Machine};
use crate::{Refusal, Result, complain, print, unable, variable};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether nothing is carried out.
pub fn is_answer_given() -> bool {
    ["STAND_IN_ANSWER", "STAND_IN_ANSWER_FILE"]
        .iter()
        .any(|name| variable(name).is_some())
}

/// What exec prints if nothing is carried out.
fn answer() -> Result {
    let Some(file) = variable("STAND_IN_ANSWER_FILE") else {
        let answer = variable("STAND_IN_ANSWER").unwrap_or_default();
        return Ok(print(answer.as_bytes()));
    };
    let content = fs::read(file);
    let content = content.map_err(unable("read STAND_IN_ANSWER_FILE"))?;
    Ok(print(content))
}

pub fn exec(options: &Exec) -> Result {
    let name = options.name.as_deref().unwrap_or("default");
    if is_answer_given() {
        return answer();
    }
    if options.name.is_none() && !machine::directory().join(name).exists() {
        return Err(Refusal::agent("connect: machine 'default' not found"));
    }
    let machine = Machine::find_running(name)?;
    if let Some(user) = options.user.as_ref().filter(|_| !machine.is_image) {
        return Err(Refusal::config(&format!(
            "exec --user: running a command as '{user}' needs an image machine; a bare VM runs \
             every command as root"
        )));
    }
    let user = User::find(&machine, options.user.as_ref().unwrap_or(&machine.user))?;
    let path = match guest::programs() {
        Some(_) => format!("/opt/bin:{PATH}"),
        None => PATH.to_owned(),
    };
    let mut home = OsString::from("HOME=");
    home.push(&user.home);
    let more = if machine.is_image {
        "LANG=C.UTF-8".to_owned()
    } else {
        format!("SMOLVM_MACHINE_NAME={name}")
    };
    let mut arguments = vec![
        if machine.is_image { "image" } else { "bare" }.into(),
        user.uid.to_string().into(),
        user.gid.to_string().into(),
        options.workdir.clone(),
        home,
        format!("PATH={path}").into(),
        "TERM=xterm-256color".into(),
        more.into(),
    ];
    // Without a `=` it is ignored, as in the real smolvm.
    let given = options.env.iter();
    arguments.extend(
        given
            .filter(|variable| variable.as_bytes().contains(&b'='))
            .cloned(),
    );
    arguments.push("--".into());
    arguments.extend(options.command.iter().cloned());
    let stdin = if options.interactive {
        Stdio::inherit()
    } else {
        Stdio::null()
    };
    guest::run(&machine, &Task::Run, &arguments, stdin, Stdio::inherit())
}

/// Why a command cannot be run: what an image machine was doing, and the error's words and number.
struct Reason(String, &'static str, i32);

impl Reason {
    fn missing(doing: String) -> Self {
        Self(doing, "No such file or directory", 2)
    }

    fn denied(doing: String) -> Self {
        Self(doing, "Permission denied", 13)
    }

    /// Says it as the real smolvm does, and gives the exit status.
    fn say(&self, is_image: bool) -> u8 {
        let Self(doing, words, number) = self;
        if is_image {
            complain(&format!("{doing}: {words}"));
            return 255;
        }
        let failed = "vm exec: failed to spawn command";
        let refusal = Refusal::agent(&format!("{failed}: {words} (os error {number})"));
        complain(&refusal.words);
        refusal.status
    }
}

/// Runs a command as PID 1 of a guest, with the arguments that [`exec`] makes.
pub fn run(arguments: &[OsString]) -> u8 {
    let [kind, uid, gid, directory, rest @ ..] = arguments else {
        return 69;
    };
    let mut words = rest.iter();
    let variables = words.by_ref().take_while(|word| *word != "--");
    let variables: Vec<_> = variables.filter_map(|variable| split(variable)).collect();
    let command: Vec<_> = words.collect();
    let is_image = kind == "image";
    let program = find_program(Path::new(directory), command[0], &variables, is_image);
    let child = program.and_then(|program| {
        let number = |word: &OsStr| word.to_str().and_then(|word| word.parse().ok());
        // As root, this also gives up the supplementary groups.
        let started = Command::new(&program)
            .arg0(command[0])
            .args(&command[1..])
            .current_dir(directory)
            .uid(number(uid).unwrap_or_default())
            .gid(number(gid).unwrap_or_default())
            .env_clear()
            .envs(variables)
            .spawn();
        started.map_err(|error| why_not_started(&error, &program, directory))
    });
    match child {
        Ok(child) => guest::reap(child.id()),
        Err(reason) => reason.say(is_image),
    }
}

fn split(variable: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = variable.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=')?;
    Some((
        OsStr::from_bytes(&bytes[..at]),
        OsStr::from_bytes(&bytes[at + 1..]),
    ))
}

/// Finds the program `name` for a command in `directory`.
fn find_program(
    directory: &Path,
    name: &OsStr,
    variables: &[(&OsStr, &OsStr)],
    is_image: bool,
) -> std::result::Result<PathBuf, Reason> {
    let entering = format!("chdir `{}`", directory.display());
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Reason(entering, "Not a directory", 20)),
        Err(_) => return Err(Reason::missing(entering)),
    }
    let not_found = format!("executable file `{}` not found in $PATH", name.display());
    let is_program = |path: &Path| {
        let found = fs::metadata(path);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let mut program = directory.join(name);
    if !name.as_bytes().contains(&b'/') {
        let path = variables.iter().rfind(|(key, _)| *key == "PATH");
        for place in path.iter().flat_map(|(_, path)| env::split_paths(path)) {
            program = directory.join(place).join(name);
            if is_program(&program) {
                break;
            }
        }
    }
    if !program.exists() || (name.is_empty() && !is_image) {
        return Err(Reason::missing(not_found));
    }
    let opening = "open executable".to_owned();
    if is_image && program.is_dir() {
        return Err(Reason(opening, "Operation not permitted", 1));
    }
    if !is_program(&program) {
        return Err(Reason::denied(opening));
    }
    Ok(program)
}

fn why_not_started(error: &io::Error, program: &Path, directory: &OsStr) -> Reason {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Reason("open executable".to_owned(), "Exec format error", 8);
    }
    let mode = fs::metadata(program).map_or(0, |found| found.permissions().mode());
    Reason::denied(match mode & 0o001 {
        0 => "open executable".to_owned(),
        _ => format!("chdir `{}`", directory.display()),
    })
}
