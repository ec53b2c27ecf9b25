//! The log of the calls, and faults at the N-th exec or cp. Faults need `STAND_IN_LOG`: FILE.count
//! beside it counts the calls made while one of them is set. Without that file, counting begins
//! at 1.
//!
//! - `STAND_IN_FAIL='N STATUS WORDS...'`: the call is not carried out, says WORDS and exits STATUS
//!   (N may be `*`: every call)
//! - `STAND_IN_KILL='N before|during|after'`: the program that made the call is killed (SIGKILL),
//!   and the call with it, before or after it is carried out; with `STAND_IN_REAL` also half a
//!   second after its beginning
//! - `STAND_IN_HANG=N`: the call never returns (N may be `*`: no call does)

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use crate::{Refusal, unable, variable};

const COUNT: &str = "count calls beside STAND_IN_LOG";

/// Whether the call is one after which its caller is killed.
static KILLS_AFTER: AtomicBool = AtomicBool::new(false);

/// Adds a record to the log in one write, so that calls at the same time do not mix.
pub fn log(arguments: &[OsString]) -> Result<(), Refusal> {
    let Some(path) = variable("STAND_IN_LOG") else {
        return Ok(());
    };
    let mut record = Vec::new();
    for argument in arguments {
        record.extend(argument.as_bytes());
        record.push(0x1f);
    }
    record.extend(b"\x1e\n");
    let file = File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(&record))
        .map_err(unable("write STAND_IN_LOG"))
}

/// Causes the fault of this call, if it has one.
pub fn cause(arguments: &[OsString], real: Option<&OsStr>) -> Result<(), Refusal> {
    let [fail, kill, hang] = ["STAND_IN_FAIL", "STAND_IN_KILL", "STAND_IN_HANG"]
        .map(|name| env::var(name).unwrap_or_default());
    let is_counted = matches!(arguments, [machine, verb, ..]
        if machine == "machine" && (verb == "exec" || verb == "cp"));
    if !is_counted || (fail.is_empty() && kill.is_empty() && hang.is_empty()) {
        return Ok(());
    }
    let number = count()?;
    let is_this = |word: &str| word == number || word == "*";
    if let Some((_, fault)) = fail.split_once(' ').filter(|(word, _)| is_this(word)) {
        let (status, words) = fault.split_once(' ').unwrap_or((fault, ""));
        return Err(Refusal::new(status.parse().unwrap_or(1), words));
    }
    match kill.split_once(' ') {
        Some((word, "before")) if word == number => kill_all(None),
        Some((word, "during")) if word == number => {
            let child = real.and_then(|real| Command::new(real).args(arguments).spawn().ok());
            thread::sleep(Duration::from_millis(500));
            kill_all(child.map(|child| child.id()));
        }
        Some((word, "after")) if word == number => KILLS_AFTER.store(true, Ordering::Relaxed),
        _ => {}
    }
    while is_this(&hang) {
        thread::sleep(Duration::from_secs(3600));
    }
    Ok(())
}

/// Counts this call, and gives its number.
fn count() -> Result<String, Refusal> {
    let mut path = variable("STAND_IN_LOG")
        .ok_or("it is not set")
        .map_err(unable(COUNT))?;
    path.push(".count");
    let counted = || {
        let lock = File::options().append(true).create(true).open(&path)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        let number: u64 = fs::read_to_string(&path)?.trim().parse().unwrap_or(0) + 1;
        fs::write(&path, format!("{number}\n"))?;
        Ok(number.to_string())
    };
    counted().map_err(unable::<io::Error>(COUNT))
}

/// Kills the program that called us, and us, if that is the fault of this call.
pub fn kill_after() {
    if KILLS_AFTER.load(Ordering::Relaxed) {
        kill_all(None);
    }
}

/// Kills the program that called us, `child`, and us.
fn kill_all(child: Option<u32>) {
    let child = child.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    for process in [getppid(), child, Some(getpid())].into_iter().flatten() {
        // It may have ended.
        let _ = kill_process(process, Signal::KILL);
    }
}
