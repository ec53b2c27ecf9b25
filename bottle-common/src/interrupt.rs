//! Ctrl-C, `kill` and a closed terminal: noted when they come, acted on where nothing is left half done.

use std::cell::Cell;
use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

static CAUGHT: OnceLock<Caught> = OnceLock::new();

struct Caught {
    /// The signal that came last; 0 for none.
    signal: Arc<AtomicUsize>,
    bell: PipeReader,
}

thread_local! {
    static IS_DEAF: Cell<bool> = const { Cell::new(false) };
}

/// The step was told to end.
#[derive(Clone, Copy, Debug, derive_more::Display, derive_more::Error)]
#[display("interrupted")]
pub struct Interrupted {
    #[error(not(source))]
    signal: u8,
}

impl Interrupted {
    /// The exit status that shells give a program ended by this signal.
    #[must_use]
    pub fn status(self) -> u8 {
        128 + self.signal
    }
}

/// From now on SIGHUP, SIGINT and SIGTERM are noted for [`check`] instead of ending the process.
///
/// One that the process was started to ignore (nohup, a shell's background job) stays ignored.
pub fn catch() -> std::io::Result<()> {
    let signal = Arc::new(AtomicUsize::new(0));
    let (bell, rope) = pipe()?;
    rustix::io::ioctl_fionbio(&bell, true)?;
    let ignored = ignored();
    for number in [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|number| ignored & (1 << (number - 1)) == 0) {
        flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or_default())?;
        low_level::pipe::register(number, rope.try_clone()?)?;
    }
    low_level::pipe::register(SIGCHLD, rope)?;
    // Whoever was first has caught them all.
    let _ = CAUGHT.set(Caught { signal, bell });
    Ok(())
}

/// Can be read when a signal has come or a child has ended; nothing before [`catch`].
pub(crate) fn bell() -> Option<&'static PipeReader> {
    CAUGHT.get().map(|caught| &caught.bell)
}

/// The signals that are ignored, as proc(5) has them; none where there is no /proc.
fn ignored() -> u64 {
    let mut status = String::with_capacity(1 << 12);
    let _ = File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Runs `action` on this thread, which no signal is to end: it clears up behind one.
pub(crate) fn uninterrupted<T>(action: impl FnOnce() -> T) -> T {
    IS_DEAF.set(true);
    let result = action();
    IS_DEAF.set(false);
    result
}

/// Fails when a signal has come.
pub fn check() -> Result<(), Interrupted> {
    if IS_DEAF.get() {
        return Ok(());
    }
    let signal = CAUGHT.get().map_or(0, |caught| caught.signal.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted { signal }),
    }
}
