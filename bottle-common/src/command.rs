//! The only file that starts a process.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use duct::Expression;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::{self, Interrupted};

/// How long a signal may wait to be noticed while a program runs.
const ATTENTION: Duration = Duration::from_millis(50);

/// Why there is no output.
#[derive(Debug, derive_more::Display)]
pub enum Unfinished {
    /// The program could not be started.
    NotStarted(std::io::Error),
    /// The deadline passed; the program was ended.
    #[display("the deadline passed")]
    TimedOut,
    /// A signal came; the program was ended.
    Interrupted(Interrupted),
}

/// Runs `program` without stdin and takes what it prints, whatever its exit status.
///
/// It runs in a process group of its own, all of which is ended before this returns [`Unfinished`], be it the program
/// itself or a wrapper around it.
pub fn run<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
) -> Result<Output, Unfinished> {
    finish(&duct::cmd(program, args).stderr_capture(), timeout)
}

/// The same, with what it prints on stderr handed to `watch` as it comes.
pub fn run_watched<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
    mut watch: impl FnMut(&str) + Send + 'static,
) -> Result<Output, Unfinished> {
    let (mut reader, writer) = io::pipe().map_err(Unfinished::NotStarted)?;
    let expression = duct::cmd(program, args).stderr_file(writer);
    let watcher = thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), [0; 1 << 12]);
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            all.extend_from_slice(&buffer[..read]);
            watch(&String::from_utf8_lossy(&buffer[..read]));
        }
        all
    });
    let result = finish(&expression, timeout);
    // It has the pipe's other end.
    drop(expression);
    if result.is_err() {
        // So that nothing is shown any more; what left the group may hold the pipe, and is not waited for.
        let _ = (0..20).find(|_| {
            watcher.is_finished() || {
                thread::sleep(Duration::from_millis(10));
                false
            }
        });
    }
    result.map(|output| Output { stderr: watcher.join().unwrap_or_default(), ..output })
}

/// Runs the host's git. What it finds depends on `args` alone: on no variable, and on no file of the user's or the
/// system's.
pub fn git<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, Unfinished> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut git = duct::cmd("git", args).stderr_capture().env("LC_ALL", "C");
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        git = git.env_remove(name);
    }
    finish(&git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null"), PATIENCE)
}

fn finish(expression: &Expression, timeout: Duration) -> Result<Output, Unfinished> {
    interrupt::check().map_err(Unfinished::Interrupted)?;
    let deadline = Instant::now().checked_add(timeout);
    let child = expression
        .stdin_null()
        .stdout_capture()
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start()
        .map_err(Unfinished::NotStarted)?;
    loop {
        let wake = Instant::now() + ATTENTION;
        match child.wait_deadline(deadline.map_or(wake, |deadline| wake.min(deadline))) {
            Ok(Some(_)) => return child.into_output().map_err(Unfinished::NotStarted),
            Ok(None) => {}
            Err(error) => return Err(Unfinished::NotStarted(error)),
        }
        let unfinished = match interrupt::check() {
            Err(interrupted) => Unfinished::Interrupted(interrupted),
            Ok(()) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => Unfinished::TimedOut,
            Ok(()) => continue,
        };
        for pid in child.pids() {
            if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended just now.
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        // What left the group may still hold the pipes; it is not waited for.
        let _ = child.wait_timeout(Duration::from_secs(1));
        return Err(unfinished);
    }
}
