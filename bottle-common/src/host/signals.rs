//! SIGHUP, SIGINT and SIGTERM: Ctrl-C, kill(1) and a closed terminal. A handler only notes the
//! signal. The process acts on it where it leaves nothing half done.

use std::cell::Cell;
use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::error::Error;

static CAUGHT: OnceLock<Caught> = OnceLock::new();

struct Caught {
    /// The number of the last signal that came; 0 if none came.
    signal: Arc<AtomicUsize>,
    /// The reader of the self-pipe, which becomes readable when a signal comes.
    reader: PipeReader,
}

thread_local! {
    /// Whether signals are deferred on this thread.
    static DEFERRED: Cell<bool> = const { Cell::new(false) };
}

/// Installs handlers that note SIGHUP, SIGINT and SIGTERM for [`check`], so that these signals no
/// longer end the process.
///
/// A signal that was ignored when the process started, by nohup(1) or because it is a background
/// job of a shell, stays ignored.
///
/// # Errors
///
/// If no pipe can be made or no handler can be installed.
pub fn catch() -> std::io::Result<()> {
    let signal = Arc::new(AtomicUsize::new(0));
    let (reader, writer) = pipe()?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    let ignored = ignored();
    for number in [SIGHUP, SIGINT, SIGTERM] {
        if ignored & (1 << (number - 1)) != 0 {
            continue;
        }
        let value = usize::try_from(number).unwrap_or_default();
        flag::register_usize(number, Arc::clone(&signal), value)?;
        low_level::pipe::register(number, writer.try_clone()?)?;
    }
    low_level::pipe::register(SIGCHLD, writer)?;
    // If this was called before, the first call counts.
    let _ = CAUGHT.set(Caught { signal, reader });
    Ok(())
}

/// The reader of the self-pipe, which becomes readable when a signal comes or a child exits; `None`
/// before [`catch`].
pub(crate) fn reader() -> Option<&'static PipeReader> {
    CAUGHT.get().map(|caught| &caught.reader)
}

/// Gives the ignored signals as a bit mask, which is `SigIgn` in /proc/self/status (proc(5)).
/// Without /proc it is 0.
fn ignored() -> u64 {
    let mut status = String::with_capacity(1 << 12);
    let _ = File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// Runs `action`, which cleans up after a signal, with signals deferred on this thread.
pub(crate) fn deferred<T>(action: impl FnOnce() -> T) -> T {
    DEFERRED.set(true);
    let result = action();
    DEFERRED.set(false);
    result
}

/// Fails if a signal has come, unless signals are deferred on this thread.
///
/// # Errors
///
/// [`Error::interrupted`], with the number of the signal.
pub fn check() -> Result<(), Error> {
    if DEFERRED.get() {
        return Ok(());
    }
    let signal = CAUGHT
        .get()
        .map_or(0, |caught| caught.signal.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Error::interrupted(signal)),
    }
}
