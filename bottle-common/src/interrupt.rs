//! Ctrl-C, `kill` and a closed terminal: noted when they come, acted on where nothing is left half done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

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
    let ignored = ignored();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_usize(signal, Arc::clone(caught), number)?;
    }
    Ok(())
}

/// The signals that are ignored, as proc(5) has them; none where there is no /proc.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Fails when a signal has come.
pub fn check() -> Result<(), Interrupted> {
    let signal = CAUGHT.get().map_or(0, |caught| caught.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted { signal }),
    }
}
