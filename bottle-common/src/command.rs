//! The only file that starts a process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::{self, Interrupted};

/// How long a signal, or the end of a program that leaves its streams to others, may wait to be noticed.
const ATTENTION: Duration = Duration::from_millis(50);
/// What a pipe holds at most.
const PIPE: usize = 1 << 16;

/// Why there is no output.
#[derive(Debug, derive_more::Display)]
pub enum Unfinished {
    /// The program could not be started.
    NotStarted(io::Error),
    /// The deadline passed; the program was ended.
    #[display("the deadline passed")]
    TimedOut,
    /// A signal came; the program was ended.
    Interrupted(Interrupted),
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Self::NotStarted(error)
    }
}

/// Runs `program` without stdin and takes what it prints, whatever its exit status.
///
/// It runs in a process group of its own, all of which is ended before this returns [`Unfinished`], be it the program
/// itself or a wrapper around it. What it leaves behind when it ends by itself is not waited for.
pub fn run<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
) -> Result<Output, Unfinished> {
    interrupt::check().map_err(Unfinished::Interrupted)?;
    let deadline = Instant::now().checked_add(timeout);
    // Not duct's capture: it is a thread for each stream, and waits for whoever else holds them.
    let ((stdout, to_stdout), (stderr, to_stderr)) = (pipe()?, pipe()?);
    let child = duct::cmd(find(program), args)
        .stdin_null()
        .stdout_file(to_stdout)
        .stderr_file(to_stderr)
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start()?;
    let mut streams = [Stream::of(stdout), Stream::of(stderr)];
    loop {
        let wake = Instant::now() + ATTENTION;
        let wake = deadline.map_or(wake, |deadline| wake.min(deadline));
        let is_open = take(&mut streams, wake)?;
        let ended = if is_open { child.try_wait() } else { child.wait_deadline(wake) };
        if let Some(&Output { status, .. }) = ended? {
            // What it printed last is in the pipes.
            take(&mut streams, Instant::now())?;
            let [stdout, stderr] = streams.map(|stream| stream.content);
            return Ok(Output { status, stdout, stderr });
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
        let _ = child.wait_timeout(Duration::from_secs(1));
        return Err(unfinished);
    }
}

/// `program` with its path, where it is on PATH: the standard library, given another environment as duct gives it, looks
/// for a name alone in a copy of this process, and making that copy takes longer than all else here.
fn find(program: &OsStr) -> OsString {
    let is_name = Path::new(program).file_name() == Some(program);
    let path = env::var_os("PATH").filter(|_| is_name).unwrap_or_default();
    let mut files = env::split_paths(&path).map(|directory| directory.join(program));
    let found = files.find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    found.map_or_else(|| program.to_owned(), PathBuf::into_os_string)
}

/// What a program prints, as far as it was taken.
struct Stream {
    /// Where the rest comes from; `None` at its end.
    pipe: Option<PipeReader>,
    content: Vec<u8>,
}

impl Stream {
    fn of(pipe: PipeReader) -> Self {
        Self { pipe: Some(pipe), content: Vec::new() }
    }
}

/// Takes what is in the pipes, once there is something, but not later than `wake`; whether one of them is still open.
fn take(streams: &mut [Stream], wake: Instant) -> io::Result<bool> {
    let pipes = streams.iter().filter_map(|stream| stream.pipe.as_ref());
    let mut pipes: Vec<_> = pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
    if pipes.is_empty() {
        return Ok(false);
    }
    let timeout = Timespec::try_from(wake.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
    match poll(&mut pipes, Some(&timeout)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(true),
        Err(error) => return Err(error.into()),
    }
    let ready: Vec<_> = pipes.iter().map(|pipe| !pipe.revents().is_empty()).collect();
    let open = streams.iter_mut().filter(|stream| stream.pipe.is_some());
    for (stream, _) in open.zip(ready).filter(|&(_, is_ready)| is_ready) {
        stream.content.reserve(PIPE);
        let Some(pipe) = &stream.pipe else { continue };
        if rustix::io::read(pipe, spare_capacity(&mut stream.content))? == 0 {
            stream.pipe = None;
        }
    }
    Ok(streams.iter().any(|stream| stream.pipe.is_some()))
}
