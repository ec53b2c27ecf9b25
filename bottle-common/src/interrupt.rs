//! Ctrl-C and `kill`: noted when they come, acted on where nothing is left half done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
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

/// From now on SIGINT and SIGTERM are noted for [`check`] instead of ending the process.
pub fn catch() -> std::io::Result<()> {
    let caught = CAUGHT.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_usize(signal, Arc::clone(caught), number)?;
    }
    Ok(())
}

/// Fails when a signal has come.
pub fn check() -> Result<(), Interrupted> {
    let signal = CAUGHT.get().map_or(0, |caught| caught.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(0) | Err(_) => Ok(()),
        Ok(signal) => Err(Interrupted { signal }),
    }
}
