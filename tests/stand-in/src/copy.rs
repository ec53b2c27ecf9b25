//! `machine cp`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{self, Stdio};

use crate::command_line::Copy;
use crate::guest::{self, Task, User};
use crate::machine::Machine;
use crate::{Refusal, Result, complain, exec, variable};

const NOT_THERE: &str = "No such file or directory (os error 2)";

pub fn copy(options: &Copy) -> Result {
    let mode = options.mode.as_deref().unwrap_or("644");
    if mode.is_empty() || mode.bytes().any(|byte| !matches!(byte, b'0'..=b'7')) {
        return Err(Refusal::config(&format!(
            "cp: invalid octal mode '{mode}' (expected e.g. 644)"
        )));
    }
    if let Some((name, path)) = in_guest(&options.source) {
        return download(name, path, &options.destination);
    }
    if let Some((name, path)) = in_guest(&options.destination) {
        return upload(options, mode, name, path);
    }
    Err(Refusal::config(
        "cp: one of SRC or DST must use machine:path syntax (e.g., myvm:/workspace/file)",
    ))
}

/// Takes `machine:path` apart.
fn in_guest(word: &OsStr) -> Option<(&str, &OsStr)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&bytes[..at]).unwrap_or_default();
    Some((name, OsStr::from_bytes(&bytes[at + 1..])))
}

fn upload(options: &Copy, mode: &str, name: &str, path: &OsStr) -> Result {
    let source = Path::new(&options.source);
    let is_recorded = exec::is_answer_given();
    let machine = if is_recorded {
        None
    } else {
        Some(Machine::find_running(name)?)
    };
    if machine.as_ref().is_some_and(|machine| !machine.is_image) {
        check_path(path)?;
    }
    let size = check_source(source)?;
    let Some(machine) = machine else {
        let mut copy = variable("STAND_IN_LOG").unwrap_or_default();
        copy.push(".copy");
        // fs::copy would copy its mode, too.
        let copied = fs::read(source).and_then(|content| fs::write(copy, content));
        return copied
            .map(|()| 0)
            .map_err(|error| read_failed(source, &error));
    };
    // The real one's default owner in an image machine is the user of whichever exec came first;
    // here the machine's user.
    let user = User::find(&machine, &machine.user)?;
    let is_given = options.uid.is_some() || options.gid.is_some();
    let owner = |given: Option<u32>, default: u32| {
        if is_given {
            given.unwrap_or(0)
        } else {
            default
        }
    };
    let arguments = [
        path.to_owned(),
        process::id().to_string().into(),
        owner(options.uid, user.uid).to_string().into(),
        owner(options.gid, user.gid).to_string().into(),
        mode.into(),
    ];
    // Of a pipe the real one believes its size, 0.
    let content = if source.is_file() {
        source
    } else {
        Path::new("/dev/null")
    };
    let content = File::open(content).map_err(|error| read_failed(source, &error))?;
    let status = guest::run(
        &machine,
        &Task::Receive,
        &arguments,
        content.into(),
        Stdio::inherit(),
    )?;
    if status != 0 {
        return failure(&machine, "write", path, status);
    }
    complain(&format!(
        "Uploading {} -> {}: {size} B / {size} B (100.0%, 0 B/s)",
        source.display(),
        path.display()
    ));
    Ok(0)
}

/// What the agent of a bare machine says of a path before it looks.
fn check_path(path: &OsStr) -> std::result::Result<(), Refusal> {
    let shown = path.display();
    let why = if path.is_empty() {
        "path is empty"
    } else if path
        .as_bytes()
        .split(|&byte| byte == b'/')
        .any(|part| part == b"..")
    {
        "parent traversal is not allowed"
    } else {
        return Ok(());
    };
    Err(Refusal::agent(&format!(
        "write file: invalid guest path {shown}: {why}"
    )))
}

/// Gives the size of the file to be copied.
fn check_source(source: &Path) -> std::result::Result<u64, Refusal> {
    let found = fs::metadata(source).map_err(|error| read_failed(source, &error))?;
    if found.is_dir() {
        return Err(Refusal::agent(
            "read source file: Is a directory (os error 21)",
        ));
    }
    Ok(if found.is_file() { found.len() } else { 0 })
}

fn read_failed(source: &Path, error: &io::Error) -> Refusal {
    Refusal::agent(&format!("read local file: {}: {error}", source.display()))
}

fn download(name: &str, path: &OsStr, to: &OsStr) -> Result {
    let machine = Machine::find_running(name)?;
    let part = machine
        .directory
        .join(format!("download.{}", process::id()));
    let written = |error: io::Error| {
        let to = to.display();
        Refusal::agent(&format!("write local file: {to}: {error}"))
    };
    let file = File::create(&part).map_err(written)?;
    let arguments = [path.to_owned()];
    let status = guest::run(
        &machine,
        &Task::Send,
        &arguments,
        Stdio::null(),
        file.into(),
    );
    let content = fs::read(&part);
    let _ = fs::remove_file(&part);
    let status = status?;
    if status != 0 {
        return failure(&machine, "read", path, status);
    }
    let content = content.map_err(written)?;
    fs::write(to, &content).map_err(written)?;
    complain(&format!(
        "Downloading {} -> {}: {} B (0 B/s)",
        path.display(),
        to.display(),
        content.len()
    ));
    Ok(0)
}

/// Says in the words of the real smolvm why a copy in the guest failed.
fn failure(machine: &Machine, doing: &str, path: &OsStr, status: u8) -> Result {
    let path = path.display().to_string();
    let directory = path
        .rsplit_once('/')
        .map_or(".", |(directory, _)| directory);
    let (bare, image, words) = match (doing, status) {
        ("read", 2) => (
            format!("failed to open {path}"),
            format!("open {path}"),
            NOT_THERE,
        ),
        ("read", 21) => (
            "is a directory".to_owned(),
            "is a directory".to_owned(),
            path.as_str(),
        ),
        (_, 17) => (
            format!("failed to create directory {directory}"),
            format!("create {directory}"),
            "File exists (os error 17)",
        ),
        (_, 20 | 21) => (
            format!("failed to rename onto {path}"),
            format!("rename into {path}"),
            if status == 20 {
                "Not a directory (os error 20)"
            } else {
                "Is a directory (os error 21)"
            },
        ),
        // This is not so in the real smolvm.
        (_, 30) => (
            format!("failed to create {path}"),
            format!("create {path}"),
            "Read-only file system (os error 30)",
        ),
        _ => return Ok(1),
    };
    Err(Refusal::agent(&if machine.is_image {
        format!(
            "{doing} file: failed to {doing} {path} in the workload container: {image}: {words}"
        )
    } else {
        format!("{doing} file: {bare}: {words}")
    }))
}

/// Receives stdin as a file, as PID 1 of a guest, with the arguments that [`upload`] makes. The exit
/// status is the error's number, as [`failure`] knows it.
pub fn receive(arguments: &[OsString]) -> u8 {
    let [path, id, uid, gid, mode] = arguments else {
        return 1;
    };
    let number = |word: &OsStr, radix| {
        word.to_str()
            .and_then(|word| u32::from_str_radix(word, radix).ok())
            .unwrap_or_default()
    };
    let target = Path::new(path);
    let bytes = path.as_bytes();
    if bytes.starts_with(b"/usr/") && !bytes.starts_with(b"/usr/local/share/") {
        return 30;
    }
    let directory = match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(at) => OsStr::from_bytes(&bytes[..=at]),
        None => OsStr::new("."),
    };
    if fs::create_dir_all(directory).is_err() {
        return 17;
    }
    if bytes.ends_with(b"/") {
        return 20;
    }
    if fs::symlink_metadata(target).is_ok_and(|found| found.is_dir()) {
        return 21;
    }
    let part = Path::new(directory).join(format!(".smolvm-cp.{}", id.display()));
    let received = File::create(&part)
        .and_then(|mut file| io::copy(&mut io::stdin().lock(), &mut file))
        .and_then(|_| chown(&part, Some(number(uid, 10)), Some(number(gid, 10))))
        .and_then(|()| fs::set_permissions(&part, Permissions::from_mode(number(mode, 8))))
        .and_then(|()| fs::rename(&part, target));
    if let Err(error) = received {
        complain(&format!(
            "smolvm (stand-in): write {}: {error}",
            target.display()
        ));
        let _ = fs::remove_file(&part);
        return 1;
    }
    0
}

/// Sends a file to stdout, as PID 1 of a guest. The exit status is the error's number.
pub fn send(arguments: &[OsString]) -> u8 {
    let Some(path) = arguments.first() else {
        return 1;
    };
    let Ok(mut file) = File::open(path) else {
        return 2;
    };
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return 21;
    }
    u8::from(io::copy(&mut file, &mut io::stdout().lock()).is_err())
}
