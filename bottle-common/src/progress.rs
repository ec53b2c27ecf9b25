//! How far a long copy is, for a terminal.

use std::time::{Duration, Instant};

/// What is over before is not spoken of.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);

/// A place for a line that changes.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// Shows a text in place of the one before.
    pub show: Option<fn(&str)>,
}

/// One copy on its way; its line goes when this is dropped.
pub(crate) struct Meter {
    show: Option<fn(&str)>,
    name: String,
    total: u64,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Begins a copy of `total` bytes.
    pub(crate) fn of(self, name: &str, total: u64) -> Meter {
        Meter { show: self.show, name: name.to_owned(), total, started: Instant::now(), shown: None }
    }
}

impl Meter {
    /// `done` bytes are copied.
    pub(crate) fn at(&mut self, done: u64) {
        let elapsed = self.started.elapsed();
        self.say(|meter| line(&meter.name, done, meter.total, elapsed));
    }

    /// Another program says how far it is: smolvm, `Uploading FILE -> PATH: 6 B / 6 B (100.0%, 5.9 KB/s)`, over and over
    /// with a carriage return between.
    pub(crate) fn heard(&mut self, words: &str) {
        let last = words.rsplit(['\r', '\n']).find_map(|line| line.rsplit_once(": "));
        if let Some((_, far)) = last.filter(|(_, far)| far.ends_with(')')) {
            self.say(|meter| format!("{}: {far}", meter.name));
        }
    }

    fn say(&mut self, line: impl FnOnce(&Self) -> String) {
        let Some(show) = self.show else { return };
        if self.started.elapsed() >= PATIENCE && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
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
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let left = Duration::from_secs(total.saturating_sub(done).div_ceil(rate.max(1)));
    let (done, total, rate, left) = (bytes(done), bytes(total), bytes(rate), humantime::format_duration(left));
    format!("{name}: {done} of {total}, {rate}/s, {left} left")
}

/// `bytes` as people read it.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{}.{} {unit}", bytes >> shift, ((bytes & ((1 << shift) - 1)) * 10) >> shift),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn says_bytes_rate_and_time_left() {
        let after = |done, seconds| line("repository", done, 2 << 30, Duration::from_secs(seconds));
        assert_eq!(after(512 << 20, 2), "repository: 512.0 MiB of 2.0 GiB, 256.0 MiB/s, 6s left");
        assert_eq!(after(100, 1), "repository: 100 B of 2.0 GiB, 100 B/s, 8months 5days 45m 8s left");
        assert_eq!(after(2 << 30, 3), "repository: 2.0 GiB of 2.0 GiB, 682.6 MiB/s, 0s left");
    }
}
