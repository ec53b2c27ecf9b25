//! The only file that starts a process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use duct::{Expression, Handle};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Error;
use crate::host::signals;

/// How long a signal or a program's end may go unnoticed when another thread has taken the notice
/// of it from the self-pipe.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The same once the program's streams are closed, since it is about to end.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long one call of the host's git may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no output of a program.
#[derive(Debug, derive_more::Display)]
pub enum Unfinished {
    /// The program is not there, or is no program that can be started.
    #[display("cannot be run: {_0}")]
    Missing(io::Error),
    /// The host has no more descriptors, processes or memory for it.
    #[display("cannot be started: {_0}")]
    NotStarted(io::Error),
    /// The deadline passed, and the program was ended.
    #[display("the deadline passed")]
    TimedOut,
    /// A signal came, and the program was ended.
    Interrupted(Error),
}

impl Unfinished {
    /// Tells a program that cannot be run from a host that cannot run one just now.
    fn to_start(error: io::Error) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        let is_missing = matches!(
            error.kind(),
            NotFound | PermissionDenied | NotADirectory | IsADirectory
        ) || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error());
        if is_missing {
            Self::Missing(error)
        } else {
            Self::NotStarted(error)
        }
    }
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Self::NotStarted(error)
    }
}

/// Runs `program` without stdin and takes what it prints, whatever its exit status.
///
/// It runs in a process group of its own. All of the group is ended before this returns
/// [`Unfinished`], also when `program` is a wrapper around another one. What a program that ends by
/// itself leaves behind is not waited for.
///
/// # Errors
///
/// [`Unfinished`], when there is no output to take.
pub fn run<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
) -> Result<Output, Unfinished> {
    run_watched(program, args, timeout, |_| {})
}

/// Does the same as [`run`], handing what the program prints on stderr to `watch` as it comes.
///
/// # Errors
///
/// As [`run`].
pub fn run_watched<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
    watch: impl FnMut(&str),
) -> Result<Output, Unfinished> {
    finish(&duct::cmd(find(program), args), timeout, watch)
}

/// Runs the host's git. The result depends on `args` alone: neither the environment nor the user's
/// or the system's configuration has a say.
///
/// # Errors
///
/// [`Unfinished`], when there is no output to take.
pub fn git<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, Unfinished> {
    let mut git = duct::cmd(find(OsStr::new("git")), args);
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            git = git.env_remove(name);
        }
    }
    let git = git
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C");
    finish(&git, GIT_TIMEOUT, |_| {})
}

fn finish(
    expression: &Expression,
    timeout: Duration,
    mut watch: impl FnMut(&str),
) -> Result<Output, Unfinished> {
    signals::check().map_err(Unfinished::Interrupted)?;
    let deadline = Instant::now().checked_add(timeout);
    // duct's own capture would start a thread for each stream, and wait for whoever else holds it.
    let (stdout, to_stdout) = pipe()?;
    let (stderr, to_stderr) = pipe()?;
    let child = expression
        .stdin_null()
        .stdout_file(to_stdout)
        .stderr_file(to_stderr)
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start()
        .map_err(Unfinished::to_start)?;
    let mut streams = [Stream::new(stdout), Stream::new(stderr)];
    loop {
        let seen = streams[1].content.len();
        let is_ending = streams.iter().all(|stream| stream.pipe.is_none());
        let interval = if is_ending {
            EXIT_POLL_INTERVAL
        } else {
            POLL_INTERVAL
        };
        let wake = Instant::now() + interval;
        read_ready(
            &mut streams,
            deadline.map_or(wake, |deadline| wake.min(deadline)),
        )?;
        if streams[1].content.len() > seen {
            watch(&String::from_utf8_lossy(&streams[1].content[seen..]));
        }
        if let Some(&Output { status, .. }) = child.try_wait()? {
            // What it printed last is still in the pipes.
            read_ready(&mut streams, Instant::now())?;
            let [stdout, stderr] = streams.map(|stream| stream.content);
            return Ok(Output {
                status,
                stdout,
                stderr,
            });
        }
        if let Err(interrupted) = signals::check() {
            kill(&child);
            return Err(Unfinished::Interrupted(interrupted));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            kill(&child);
            return Err(Unfinished::TimedOut);
        }
    }
}

/// Ends the process groups of `child`, and waits a second for it.
fn kill(child: &Handle) {
    for pid in child.pids() {
        if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = child.wait_timeout(Duration::from_secs(1));
}

/// Finds `program` on PATH. The standard library, given another environment as duct gives it, would
/// look a name up in a copy of this process, and making that copy takes longer than all else here.
fn find(program: &OsStr) -> OsString {
    if Path::new(program).file_name() != Some(program) {
        return program.to_owned();
    }
    for directory in env::split_paths(&env::var_os("PATH").unwrap_or_default()) {
        let file = directory.join(program);
        if file.is_file() && access(&file, Access::EXEC_OK).is_ok() {
            return PathBuf::into_os_string(file);
        }
    }
    program.to_owned()
}

/// What a program prints, as far as it was read.
struct Stream {
    /// Where the rest comes from; `None` at its end.
    pipe: Option<PipeReader>,
    content: Vec<u8>,
}

impl Stream {
    fn new(pipe: PipeReader) -> Self {
        Self {
            pipe: Some(pipe),
            content: Vec::new(),
        }
    }

    /// Reads what is in the pipe, all of it at once, into no more memory than it needs.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let waiting = usize::try_from(ioctl_fionread(pipe)?).map_err(io::Error::other)?;
        self.content.reserve(waiting.max(1));
        if rustix::io::read(pipe, spare_capacity(&mut self.content))? == 0 {
            self.pipe = None;
        }
        Ok(())
    }
}

/// Reads what is in the pipes, once there is something, a signal comes, a child ends, or it is
/// `wake`.
fn read_ready(streams: &mut [Stream], wake: Instant) -> io::Result<()> {
    let self_pipe = signals::reader();
    let pipes = streams
        .iter()
        .filter_map(|stream| stream.pipe.as_ref())
        .chain(self_pipe);
    let mut pipes: Vec<_> = pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
    let timeout = wake.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(&mut pipes, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready: Vec<_> = pipes
        .iter()
        .map(|pipe| !pipe.revents().is_empty())
        .collect();
    let open = streams.iter_mut().filter(|stream| stream.pipe.is_some());
    for (stream, is_ready) in open.zip(is_ready) {
        if is_ready {
            stream.read()?;
        }
    }
    if let Some(reader) = self_pipe {
        // It does not block, and what it says the caller asks the system.
        let _ = rustix::io::read(reader, &mut [0; 64]);
    }
    Ok(())
}
