//! Ctrl-C, `kill` and a closed terminal. A signal is noted when it comes, and acted on where
//! nothing is left half done.

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
    /// The signal that came last; 0 for none.
    signal: Arc<AtomicUsize>,
    /// The self-pipe's end that becomes readable when a signal comes.
    reader: PipeReader,
}

thread_local! {
    /// Whether signals are deferred on this thread.
    static DEFERRED: Cell<bool> = const { Cell::new(false) };
}

/// From now on SIGHUP, SIGINT and SIGTERM are noted for [`check`] instead of ending the process.
///
/// A signal that the process was started to ignore (by nohup, or as a shell's background job)
/// stays ignored.
///
/// # Errors
///
/// When the system has no pipe for us or refuses a handler.
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
    // Where this was called before, the first call's handlers stay.
    let _ = CAUGHT.set(Caught { signal, reader });
    Ok(())
}

/// The self-pipe's reader, which becomes readable when a signal has come or a child has ended.
/// There is none before [`catch`].
pub(crate) fn reader() -> Option<&'static PipeReader> {
    CAUGHT.get().map(|caught| &caught.reader)
}

/// The signals that are ignored, as a bit mask (`SigIgn` in proc(5)). Without /proc none is known.
fn ignored() -> u64 {
    let mut status = String::with_capacity(1 << 12);
    let _ = File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// Runs `action` with signals deferred on this thread: it clears up behind one.
pub(crate) fn deferred<T>(action: impl FnOnce() -> T) -> T {
    DEFERRED.set(true);
    let result = action();
    DEFERRED.set(false);
    result
}

/// Fails when a signal has come.
///
/// # Errors
///
/// [`Error::interrupted`] by that signal.
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
