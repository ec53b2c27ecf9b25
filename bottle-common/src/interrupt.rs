//! Ctrl-C, `kill` and a closed terminal: noted when they come, acted on where nothing is left half done.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

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
    let caught = CAUGHT.get_or_init(Arc::default);
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if is_ignored(signal) {
            continue;
        }
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_usize(signal, Arc::clone(caught), number)?;
    }
    Ok(())
}

/// Whether `signal` is ignored, by proc(5); false where there is no /proc.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask & (1 << (signal - 1)) != 0
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
    let signal = CAUGHT.get().map_or(0, |caught| caught.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted { signal }),
    }
}
