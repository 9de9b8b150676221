//! Progress messages, with the bar that old clients print as it comes.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tare_docker_api::stream::{JsonMessage, ProgressDetail};
use tare_reference::Digest;

/// Between two messages about the same transfer: as often as Docker, which is what a terminal can show.
const INTERVAL: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR: u64 = 50;

/// A line about a layer, or, with an empty `id`, about the whole.
pub fn status(id: &str, text: impl Into<String>) -> JsonMessage {
    JsonMessage::status(id, text)
}

/// A line about a layer's transfer.
pub fn amount(id: &str, action: &str, current: u64, total: u64) -> JsonMessage {
    JsonMessage {
        progress: bar(current, total),
        progress_detail: Some(ProgressDetail {
            current: i64::try_from(current).unwrap_or(i64::MAX),
            total: i64::try_from(total).unwrap_or(i64::MAX),
            ..ProgressDetail::default()
        }),
        ..status(id, action)
    }
}

/// A line about a layer with an empty detail, as Docker sends with every status of a layer.
pub fn step(id: &str, action: &str) -> JsonMessage {
    JsonMessage { progress_detail: Some(ProgressDetail::default()), ..status(id, action) }
}

/// Layers are shown by the first 12 digits of their digest.
pub fn layer_id(digest: &Digest) -> String {
    digest.short().to_owned()
}

/// Lets one message pass per interval.
#[derive(Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    pub(crate) fn due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// `[=====>      ]  1.2MB/3.4MB`
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return if current == 0 { String::new() } else { format!("{:>8}", human_size(current)) };
    }
    let filled = (current.saturating_mul(BAR) / total).min(BAR);
    let (done, left) = (usize::try_from(filled).unwrap_or(0), usize::try_from(BAR - filled).unwrap_or(0));
    let counts = if current > total {
        format!("{:>8}", human_size(current))
    } else {
        format!("{:>8}/{}", human_size(current), human_size(total))
    };
    format!("[{}>{}] {counts}", "=".repeat(done), " ".repeat(left))
}

/// Four significant digits with a decimal unit, as Docker writes sizes: `1.234MB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        v if v >= 999.95 => 0,
        v if v >= 99.995 => 1,
        v if v >= 9.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS.get(unit).copied().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::{amount, human_size};

    #[test]
    fn sizes_are_written_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (12_345, "12.35kB"),
            (123_456, "123.5kB"),
            (2_200_000, "2.2MB"),
            (1_099_511_627_776, "1.1TB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

    #[test]
    fn the_bar_grows() {
        let text = |current, total| amount("x", "Downloading", current, total).progress;
        assert_eq!(text(0, 0), "");
        assert_eq!(text(0, 1000), format!("[>{}]       0B/1kB", " ".repeat(50)));
        assert_eq!(text(500, 1000), format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25)));
        assert_eq!(text(1000, 1000), format!("[{}>]      1kB/1kB", "=".repeat(50)));
        assert_eq!(text(1500, 0), " 1.5kB".to_owned().replace(" 1.5kB", "   1.5kB"));
    }
}
