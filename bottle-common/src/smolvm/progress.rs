//! How far a long copy is, on a line that changes.

use std::time::{Duration, Instant};

use crate::text;

/// What is over sooner is not spoken of.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// How long a line stays before the next one takes its place.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where progress is shown, if it is.
#[derive(Clone, Copy)]
pub struct Progress {
    /// Shows a text in place of the one before.
    pub show: Option<fn(&str)>,
}

/// One copy on its way. Its line is cleared when this is dropped.
pub struct Meter {
    show: Option<fn(&str)>,
    name: String,
    total: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Begins a copy of `total` bytes.
    #[must_use]
    pub fn start(self, name: &str, total: u64) -> Meter {
        let started = Instant::now();
        Meter {
            show: self.show,
            name: name.to_owned(),
            total,
            started,
            shown: None,
        }
    }
}

impl Meter {
    /// Tells that `done` bytes are copied.
    pub fn update(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        self.show(|meter| line(&meter.name, done, meter.total, elapsed));
    }

    /// Tells what smolvm (1.32.2) says of its own copy, over and over with a carriage return
    /// between: `Uploading FILE -> PATH: 6 B / 6 B (100.0%, 5.9 KB/s)`.
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

impl Drop for Meter {
    fn drop(&mut self) {
        if let (Some(show), Some(_)) = (self.show, self.shown) {
            show("");
        }
    }
}

/// `NAME: 1.2 GiB of 2.0 GiB, 310.0 MiB/s, 3s left`
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
    fn says_bytes_rate_and_time_left() {
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
