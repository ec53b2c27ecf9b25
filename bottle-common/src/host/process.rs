//! Starts processes. No other file does.

use std::cell::Cell;
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

/// The longest time for which a signal or the exit of a program goes unnoticed, if another thread
/// has read the notice of it from the self-pipe.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The same once the program's streams are closed, because it is about to exit.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much a program may print on both streams together, in bytes. `machine exec` gives at most
/// 11 MiB (smolvm 1.32.2).
const MAX_OUTPUT: usize = 12 << 20;
/// The time limit for one call of the host's git.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The address space that the host's git may take, in bytes. It maps packs of any size, but in
/// windows.
const GIT_ADDRESS_SPACE: u64 = 2 << 30;
/// The memory that git may allocate to read a configuration, in bytes.
const GIT_CONFIG_MEMORY: u64 = 32 << 20;
/// How long git may be silent before the caller looks for what keeps it.
const SLOW: Duration = Duration::from_secs(2);
/// Runs the program behind two limits: for the memory that it allocates and for its address space,
/// in KiB. The stacks of its threads count as its memory. A lower hard limit stays. macOS does not
/// hold a program to them.
const WITHIN_LIMITS: &str = r#"
{ ulimit -S -s 1024; ulimit -d "$1"; ulimit -v "$2"; } 2>/dev/null
shift 2
exec "$@"
"#;
/// The variables with which git reads no configuration of the user and of the system.
const WITHOUT_CONFIGURATION: &[(&str, &str)] = &[
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
];

/// Why a program has no output.
#[derive(Debug, derive_more::Display)]
pub enum Unfinished {
    /// The program is missing or cannot be executed.
    #[display("cannot be run: {_0}")]
    Missing(io::Error),
    /// The host has too few descriptors, processes or memory to start it.
    #[display("cannot be started: {_0}")]
    NotStarted(io::Error),
    /// The time limit passed, and the program was killed.
    #[display("timed out")]
    TimedOut,
    /// The program printed more than [`MAX_OUTPUT`], and was killed.
    #[display("printed more than {} MiB", MAX_OUTPUT >> 20)]
    TooMuchOutput,
    /// A signal came, and the program was killed.
    Interrupted(Error),
    /// The program was killed, because the caller found out why it does not end.
    #[display("{_0:#}")]
    Stuck(anyhow::Error),
}

impl Unfinished {
    /// Tells a program that can never be started from a host that cannot start one just now.
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

/// Runs `program` with `input` on stdin, and returns its exit status and output.
///
/// The program runs in a process group of its own. If this returns [`Unfinished`], the whole group
/// has been killed, so a wrapper leaves no process behind. If the program exits by itself, this
/// does not wait for the processes that it leaves behind.
///
/// # Errors
///
/// [`Unfinished`], if the program was not started or did not exit by itself within `timeout`.
pub fn run<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    input: &str,
    timeout: Duration,
) -> Result<Output, Unfinished> {
    let command = duct::cmd(find(program), args);
    // With stdin_bytes, duct starts a thread that writes.
    let command = if input.is_empty() {
        command.stdin_null()
    } else {
        command.stdin_bytes(input)
    };
    finish(&command, timeout, |_, _| {}, || Ok(()))
}

/// Does the same as [`run`], with an empty stdin, and passes what the program prints on stderr to
/// `watch` as it comes.
///
/// # Errors
///
/// The errors of [`run`].
pub fn run_watched<'a>(
    program: &OsStr,
    args: impl IntoIterator<Item = &'a str>,
    timeout: Duration,
    watch: impl FnMut(&str),
) -> Result<Output, Unfinished> {
    let mut watch = watch;
    let command = duct::cmd(find(program), args).stdin_null();
    let watch = |_: &mut Vec<u8>, said: &str| {
        if !said.is_empty() {
            watch(said);
        }
    };
    finish(&command, timeout, watch, || Ok(()))
}

/// Runs the host's git, without the `GIT_*` variables of the environment, and without the
/// configuration of the user and of the system.
///
/// # Errors
///
/// The errors of [`run`]. The time limit is [`GIT_TIMEOUT`].
pub fn git<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, Unfinished> {
    let git = git_command(args, WITHOUT_CONFIGURATION, GIT_CONFIG_MEMORY, |_| false)?;
    finish(&git, GIT_TIMEOUT, |_, _| {}, || Ok(()))
}

/// Does the same as [`git`], with `variables` set, and with at most `memory` bytes of memory. Passes
/// each part of the output that ends with a NUL to `each` as it comes; it is not in the output that
/// this returns. If git prints nothing for [`SLOW`], calls `slow` once, whose error says what keeps
/// it.
///
/// # Errors
///
/// The errors of [`run`], and that of `slow`. The time limit is [`GIT_TIMEOUT`].
pub fn git_parts<'a>(
    args: impl IntoIterator<Item = &'a OsStr>,
    variables: &[(&str, &str)],
    memory: u64,
    mut each: impl FnMut(&[u8]),
    slow: impl FnOnce() -> anyhow::Result<()>,
) -> Result<Output, Unfinished> {
    let variables = [WITHOUT_CONFIGURATION, variables].concat();
    let git = git_command(args, &variables, memory, |_| false)?;
    let heard = Cell::new(Instant::now());
    let mut slow = Some(slow);
    let watch = |output: &mut Vec<u8>, _: &str| {
        if let Some(end) = output.iter().rposition(|&byte| byte == 0) {
            heard.set(Instant::now());
            for part in output[..end].split(|&byte| byte == 0) {
                each(part);
            }
            output.drain(..=end);
        }
    };
    finish(&git, GIT_TIMEOUT, watch, || {
        match slow.take_if(|_| heard.get().elapsed() >= SLOW) {
            Some(slow) => slow().map_err(Unfinished::Stuck),
            None => Ok(()),
        }
    })
}

/// Does the same as [`git`], but with the configuration of the user and of the system.
///
/// # Errors
///
/// The errors of [`run`]. The time limit is [`GIT_TIMEOUT`].
pub fn git_of_user<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Result<Output, Unfinished> {
    let git = git_command(args, &[], GIT_CONFIG_MEMORY, |name| {
        matches!(
            name,
            b"GIT_CONFIG_GLOBAL" | b"GIT_CONFIG_NOSYSTEM" | b"GIT_CONFIG_SYSTEM"
        )
    })?;
    finish(&git, GIT_TIMEOUT, |_, _| {}, || Ok(()))
}

/// Makes the command that runs the host's git with `variables` set, and with at most `memory` bytes
/// of memory. Of the variables of the environment that begin with `GIT_`, it gets those that
/// `is_kept` accepts.
fn git_command<'a>(
    args: impl IntoIterator<Item = &'a OsStr>,
    variables: &[(&str, &str)],
    memory: u64,
    is_kept: fn(&[u8]) -> bool,
) -> Result<Expression, Unfinished> {
    let name = OsStr::new("git");
    let program = find(name);
    if program == name {
        return Err(Unfinished::Missing(Errno::NOENT.into()));
    }
    // A limit that is set once git runs may come too late.
    let limits = [memory, GIT_ADDRESS_SPACE].map(|bytes| OsString::from((bytes >> 10).to_string()));
    let mut words = vec!["-c".into(), WITHIN_LIMITS.into(), "sh".into()];
    words.extend(limits);
    words.push(program);
    words.extend(args.into_iter().map(OsStr::to_owned));
    let mut git = duct::cmd("/bin/sh", words);
    for (name, _) in env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"GIT_") && !is_kept(bytes) {
            git = git.env_remove(name);
        }
    }
    for (name, value) in variables {
        git = git.env(name, value);
    }
    Ok(git.env("LC_ALL", "C").stdin_null())
}

/// Runs `expression`. `watch` gets all of stdout that it has not yet removed, and what is new of
/// stderr. `idle` is called at least once a second while the program runs, and its error ends it.
fn finish(
    expression: &Expression,
    timeout: Duration,
    watch: impl FnMut(&mut Vec<u8>, &str),
    idle: impl FnMut() -> Result<(), Unfinished>,
) -> Result<Output, Unfinished> {
    signals::check().map_err(Unfinished::Interrupted)?;
    let deadline = Instant::now().checked_add(timeout);
    let (child, streams) = start(expression)?;
    let result = read_to_exit(&child, streams, deadline, watch, idle);
    if result.is_err() {
        kill(&child);
    }
    result
}

/// Starts a program in a process group of its own. Returns also the streams that it prints on.
fn start(expression: &Expression) -> Result<(Handle, [Stream; 2]), Unfinished> {
    // duct's capture would start a thread for each stream, and would wait until every process that
    // holds the stream has closed it.
    let (stdout, to_stdout) = pipe()?;
    let (stderr, to_stderr) = pipe()?;
    let child = expression
        .stdout_file(to_stdout)
        .stderr_file(to_stderr)
        .unchecked()
        .before_spawn(|command| {
            command.process_group(0);
            Ok(())
        })
        .start()
        .map_err(Unfinished::to_start)?;
    Ok((child, [Stream::new(stdout), Stream::new(stderr)]))
}

/// Reads `streams`, those of stdout and stderr, until `child` exits. After an error it still runs.
fn read_to_exit(
    child: &Handle,
    mut streams: [Stream; 2],
    deadline: Option<Instant>,
    mut watch: impl FnMut(&mut Vec<u8>, &str),
    mut idle: impl FnMut() -> Result<(), Unfinished>,
) -> Result<Output, Unfinished> {
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
        let printed: usize = streams.iter().map(|stream| stream.content.len()).sum();
        if printed > MAX_OUTPUT {
            return Err(Unfinished::TooMuchOutput);
        }
        let [stdout, stderr] = &mut streams;
        let said = String::from_utf8_lossy(&stderr.content[seen..]);
        watch(&mut stdout.content, &said);
        if let Some(&Output { status, .. }) = child.try_wait()? {
            // The end of the output may still be in the pipes.
            read_ready(&mut streams, Instant::now())?;
            let [mut stdout, stderr] = streams.map(|stream| stream.content);
            watch(&mut stdout, "");
            return Ok(Output {
                status,
                stdout,
                stderr,
            });
        }
        signals::check().map_err(Unfinished::Interrupted)?;
        idle()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Unfinished::TimedOut);
        }
    }
}

/// Kills the process groups of `child`, and waits at most a second for its exit.
fn kill(child: &Handle) {
    for pid in child.pids() {
        if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // It may have exited just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = child.wait_timeout(Duration::from_secs(1));
}

/// Finds `program` on PATH. The standard library would fork before it looks up a name, because duct
/// sets the environment of the child, and the fork takes longer than everything else here.
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

/// One output stream of a program.
struct Stream {
    /// The pipe; `None` once it is at its end.
    pipe: Option<PipeReader>,
    /// What was read so far.
    content: Vec<u8>,
}

impl Stream {
    fn new(pipe: PipeReader) -> Self {
        Self {
            pipe: Some(pipe),
            content: Vec::new(),
        }
    }

    /// Reads everything that is in the pipe now, and allocates no more memory than that needs.
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

/// Waits until a pipe has data, a signal comes, a child exits, or it is `wake`. Then reads what is
/// in the pipes.
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
        // This empties the self-pipe, which does not block. The caller finds out what happened.
        let _ = rustix::io::read(reader, &mut [0; 64]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;
    use std::time::Duration;
    use std::{fs, io};

    use rustix::io::Errno;

    use super::{Unfinished, run};

    #[test]
    fn a_program_that_cannot_be_run_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        // Another process writes what is to be run: see the tests of the runner.
        let script = "printf rubbish >\"$0/rubbish\" && chmod 755 \"$0/rubbish\" && : >\"$0/text\"";
        let mut sh = Command::new("sh");
        let sh = sh.args(["-c", script]).arg(directory.path());
        assert!(sh.status().unwrap().success());
        for program in [
            path("nowhere"),
            path("text"),
            path("text/a"),
            path(""),
            path("rubbish"),
            "no-program-has-this-name".into(),
        ] {
            let result = run(program.as_os_str(), [], "", Duration::from_secs(60));
            let is_missing = matches!(result, Err(Unfinished::Missing(_)));
            assert!(is_missing, "{}: {result:?}", program.display());
        }
    }

    #[test]
    fn a_host_without_resources_does_not_make_a_program_missing() {
        for (errno, is_missing) in [
            (Errno::NOENT, true),
            (Errno::ACCESS, true),
            (Errno::PERM, true),
            (Errno::NOTDIR, true),
            (Errno::ISDIR, true),
            (Errno::NOEXEC, true),
            (Errno::AGAIN, false),
            (Errno::NOMEM, false),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::TXTBSY, false),
            (Errno::TOOBIG, false),
            (Errno::IO, false),
            (Errno::INVAL, false),
        ] {
            let found = Unfinished::to_start(errno.into());
            let words = if is_missing {
                "cannot be run: "
            } else {
                "cannot be started: "
            };
            assert_eq!(
                matches!(found, Unfinished::Missing(_)),
                is_missing,
                "{errno:?}"
            );
            assert!(found.to_string().starts_with(words), "{found}");
        }
        let unnamed = io::Error::other("no number");
        assert!(matches!(
            Unfinished::to_start(unnamed),
            Unfinished::NotStarted(_)
        ));
    }

    #[test]
    fn a_program_has_no_stdin_and_both_its_streams_are_read() {
        let script = "readlink /proc/self/fd/0; echo two >&2; echo three; exit 4";
        let output = run(
            OsStr::new("sh"),
            ["-c", script],
            "",
            Duration::from_secs(60),
        )
        .unwrap();
        assert_eq!(output.stdout, b"/dev/null\nthree\n");
        assert_eq!(
            (output.stderr, output.status.code()),
            (b"two\n".to_vec(), Some(4))
        );
    }

    #[test]
    fn the_whole_process_group_is_killed_at_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("process");
        let script = "sleep 1000 & echo \"$!\" >\"$0.new\" && mv \"$0.new\" \"$0\"; wait";
        let args = ["-c", script, file.to_str().unwrap()];
        // On a busy host, the first deadline may pass before the program has started.
        let process = [1, 10, 100].iter().find_map(|&tenths| {
            let result = run(
                OsStr::new("sh"),
                args,
                "",
                Duration::from_millis(tenths * 100),
            );
            assert!(matches!(result, Err(Unfinished::TimedOut)), "{result:?}");
            fs::read_to_string(&file).ok()
        });
        let process = process.unwrap();
        // The process is gone, or is a zombie that its new parent has not waited for yet.
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
            stat.ok()
                .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()))
        };
        harness::wait_for("the end of all of the group", || {
            state().is_none_or(|state| state.starts_with('Z'))
        });
    }
}
