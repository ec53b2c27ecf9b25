//! Shows the progress of what takes long, on a line that changes.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::text;

/// A copy that takes less time shows no progress.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// The time between two changes of the line.
const INTERVAL: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy)]
pub struct Progress {
    /// Shows a text in place of the one before; `None` if no progress is shown.
    pub show: Option<fn(&str)>,
}

/// The progress of one copy. Dropping it clears the line.
pub struct Meter {
    show: Option<fn(&str)>,
    name: String,
    total: u64,
    started: Instant,
    shown: Option<Instant>,
}

/// Shows for how long something of unknown length has been going on. Dropping it clears the line.
pub struct Clock(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Starts a clock for what is called `name`.
    #[must_use]
    pub fn clock(self, name: &str) -> Clock {
        let Some(show) = self.show else {
            return Clock(None);
        };
        let (end, is_over) = mpsc::channel();
        let (name, started) = (name.to_owned(), Instant::now());
        let thread = thread::spawn(move || {
            let mut is_shown = false;
            let mut wait = QUIET_TIME;
            while is_over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                show(&format!("{name}: {}s", started.elapsed().as_secs()));
                is_shown = true;
                wait = Duration::from_secs(1);
            }
            if is_shown {
                show("");
            }
        });
        Clock(Some((end, thread)))
    }

    /// Starts to measure a copy of `total` bytes, which is called `name`.
    #[must_use]
    pub fn start(self, name: &str, total: u64) -> Meter {
        Meter {
            show: self.show,
            name: name.to_owned(),
            total,
            started: Instant::now(),
            shown: None,
        }
    }
}

impl Meter {
    /// Shows that `done` bytes have been copied.
    pub fn update(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        self.show(|meter| line(&meter.name, done, meter.total, elapsed));
    }

    /// Shows the progress that smolvm prints. `words` is a part of its output: smolvm 1.32.2 prints
    /// texts such as `Uploading FILE -> PATH: 6 B / 6 B (100.0%, 5.9 KB/s)`, each after a carriage
    /// return.
    pub fn relay(&mut self, words: &str) {
        for line in words.rsplit(['\r', '\n']) {
            if let Some((_, progress)) = line.rsplit_once(": ") {
                if progress.ends_with(')') {
                    self.show(|meter| format!("{}: {progress}", meter.name));
                }
                return;
            }
        }
    }

    fn show(&mut self, line: impl FnOnce(&Self) -> String) {
        let Some(show) = self.show else { return };
        if self.started.elapsed() < QUIET_TIME {
            return;
        }
        if self.shown.is_none_or(|shown| shown.elapsed() >= INTERVAL) {
            self.shown = Some(Instant::now());
            show(&line(self));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let (Some(show), Some(_)) = (self.show, self.shown) {
            show("");
        }
    }
}

/// Formats a line such as `NAME: 1.2 GiB of 2.0 GiB, 310.0 MiB/s, 3s left`.
fn line(name: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = done.saturating_mul(1000) / millis;
    let left = Duration::from_secs(total.saturating_sub(done).div_ceil(rate.max(1)));
    let left = humantime::format_duration(left);
    let (done, total, rate) = (text::size(done), text::size(total), text::size(rate));
    format!("{name}: {done} of {total}, {rate}/s, {left} left")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn progress_has_bytes_rate_and_time_left() {
        let after = |done, seconds| line("x", done, 2 << 30, Duration::from_secs(seconds));
        assert_eq!(
            after(512 << 20, 2),
            "x: 512.0 MiB of 2.0 GiB, 256.0 MiB/s, 6s left"
        );
        assert_eq!(
            after(100, 1),
            "x: 100 B of 2.0 GiB, 100 B/s, 8months 5days 45m 8s left"
        );
        assert_eq!(
            after(2 << 30, 3),
            "x: 2.0 GiB of 2.0 GiB, 682.6 MiB/s, 0s left"
        );
    }
}
