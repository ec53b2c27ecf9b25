//! The only file that starts a process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use duct::Expression;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt::{self, Interrupted};

/// How long a signal, or a program's end, may go unnoticed where another thread has heard of it instead.
const ATTENTION: Duration = Duration::from_secs(1);
/// The same once its streams are closed: it is about to end.
const ENDING: Duration = Duration::from_millis(10);

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
    run_watched(program, args, timeout, |_| {})
}

/// The same, with what it prints on stderr handed to `watch` as it comes.
pub fn run_watched<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
    watch: impl FnMut(&str),
) -> Result<Output, Unfinished> {
    finish(&duct::cmd(find(program), args), timeout, watch)
}

/// Runs the host's git. What it finds depends on `args` alone: on no variable, and on no file of the user's or the
/// system's.
pub fn git<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, Unfinished> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const OURS: [(&str, &str); 3] = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C")];
    let is_others =
        |name: &OsString| name.as_encoded_bytes().starts_with(b"GIT_") && OURS.iter().all(|(ours, _)| *name != **ours);
    let git = duct::cmd(find(OsStr::new("git")), args);
    let git = env::vars_os().filter(|(name, _)| is_others(name)).fold(git, |git, (name, _)| git.env_remove(name));
    finish(&OURS.iter().fold(git, |git, (name, value)| git.env(name, value)), PATIENCE, |_| {})
}

fn finish(expression: &Expression, timeout: Duration, mut watch: impl FnMut(&str)) -> Result<Output, Unfinished> {
    interrupt::check().map_err(Unfinished::Interrupted)?;
    let deadline = Instant::now().checked_add(timeout);
    // Not duct's capture: it is a thread for each stream, and waits for whoever else holds them.
    let ((stdout, to_stdout), (stderr, to_stderr)) = (pipe()?, pipe()?);
    let child = expression
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
        let seen = streams[1].content.len();
        let is_ending = streams.iter().all(|stream| stream.pipe.is_none());
        let wake = Instant::now() + if is_ending { ENDING } else { ATTENTION };
        take(&mut streams, Some(deadline.map_or(wake, |deadline| wake.min(deadline))))?;
        if streams[1].content.len() > seen {
            watch(&String::from_utf8_lossy(&streams[1].content[seen..]));
        }
        if let Some(&Output { status, .. }) = child.try_wait()? {
            // What it printed last is in the pipes.
            take(&mut streams, Some(Instant::now()))?;
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

    /// Takes what is in the pipe, all of it at once, into no more memory than it takes.
    fn take(&mut self) -> io::Result<()> {
        if let Some(pipe) = &self.pipe {
            let waiting = usize::try_from(ioctl_fionread(pipe)?).map_err(io::Error::other)?;
            self.content.reserve(waiting.max(1));
            if rustix::io::read(pipe, spare_capacity(&mut self.content))? == 0 {
                self.pipe = None;
            }
        }
        Ok(())
    }
}

/// Takes what is in the pipes, once there is something, a signal comes, a child ends or it is `wake`.
fn take(streams: &mut [Stream], wake: Option<Instant>) -> io::Result<()> {
    let bell = interrupt::bell();
    let pipes = streams.iter().filter_map(|stream| stream.pipe.as_ref()).chain(bell);
    let mut pipes: Vec<_> = pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
    let timeout = wake.map(|wake| Timespec::try_from(wake.saturating_duration_since(Instant::now())));
    match poll(&mut pipes, timeout.transpose().map_err(io::Error::other)?.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready: Vec<_> = pipes.iter().map(|pipe| !pipe.revents().is_empty()).collect();
    let open = streams.iter_mut().filter(|stream| stream.pipe.is_some());
    for (stream, _) in open.zip(ready).filter(|&(_, is_ready)| is_ready) {
        stream.take()?;
    }
    // It does not block; what it says, the caller asks the system.
    if let Some(bell) = bell {
        let _ = rustix::io::read(bell, &mut [0; 64]);
    }
    Ok(())
}
