//! One message as text, with the cursor movements that put it in its line.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use tare_docker_api::stream::{JsonMessage, ProgressDetail};

use crate::opts::size::human_size;

/// Width of the bar in characters.
const BAR: usize = 50;
/// The bar is shown on terminals with more columns than this.
const BAR_FROM: usize = 110;
/// The remaining time is shown on terminals with more columns than this.
const TIME_FROM: usize = 50;
/// Significant digits of sizes.
const DIGITS: usize = 4;
/// Most lines that are rewritten in place; an image has at most 127 layers, and a push may name each twice.
const MAX_LINES: usize = 1024;

/// Remembers which line belongs to which layer.
#[derive(Debug)]
pub struct Renderer {
    terminal: bool,
    /// Columns of the terminal.
    pub width: usize,
    lines: HashMap<String, usize>,
}

impl Renderer {
    /// For a terminal of so many columns, or for something else.
    pub fn new(terminal: bool, width: usize) -> Renderer {
        Renderer { terminal, width, lines: HashMap::new() }
    }

    /// The text for a message at a time since 1970; the error that it reports.
    pub fn render(&mut self, message: &JsonMessage, now: Duration) -> Result<String, String> {
        let mut text = String::new();
        let mut up = 0;
        if !message.id.is_empty() && message.progress_detail.is_some() && self.lines.len() < MAX_LINES {
            let next = self.lines.len();
            let line = *self.lines.entry(message.id.clone()).or_insert(next);
            if line == next && self.terminal {
                text.push('\n');
            }
            up = self.lines.len() - line;
        } else {
            // What has no line of its own scrolls the others away.
            self.lines.clear();
        }
        if let Some(error) = error(message) {
            return Err(error);
        }
        if self.terminal && up > 0 {
            let _ = write!(text, "\x1b[{up}A");
        }
        self.line(&mut text, message, now);
        if self.terminal && up > 0 {
            let _ = write!(text, "\x1b[{up}B");
        }
        Ok(text)
    }

    fn line(&self, text: &mut String, message: &JsonMessage, now: Duration) {
        let mut end = "";
        if self.terminal && message.stream.is_empty() && message.progress_detail.is_some() {
            text.push_str("\x1b[2K\r");
            end = "\r";
        } else if message.progress_detail.as_ref().is_some_and(|p| p.current > 0 || p.total > 0) {
            return;
        }
        if !message.id.is_empty() {
            let _ = write!(text, "{}: ", message.id);
        }
        let _ = match &message.progress_detail {
            Some(progress) if self.terminal => {
                write!(text, "{} {}{end}", message.status, bar(progress, self.width, now))
            }
            _ if !message.stream.is_empty() => write!(text, "{}{end}", message.stream),
            _ => writeln!(text, "{}{end}", message.status),
        };
    }
}

fn error(message: &JsonMessage) -> Option<String> {
    match &message.error_detail {
        Some(detail) => Some(detail.message.clone()),
        None if !message.error.is_empty() => Some(message.error.clone()),
        None => None,
    }
}

/// `[====>   ] 1.5MB/3MB 2s`, as much of it as there is room for.
fn bar(progress: &ProgressDetail, width: usize, now: Duration) -> String {
    let (current, total) = (progress.current, progress.total);
    let amount = |n: i64| if progress.units.is_empty() { human_size(n, DIGITS) } else { n.to_string() };
    let unit = if progress.units.is_empty() { String::new() } else { format!(" {}", progress.units) };
    // Sizes are padded to the right, counts are not.
    let pad = |text: String| if progress.units.is_empty() { format!("{text:>8}") } else { text };
    if current <= 0 && total <= 0 {
        return String::new();
    }
    if total <= 0 {
        return format!("{}{unit}", pad(amount(current)));
    }
    let filled = filled(current, total);
    let mut text = String::new();
    if width > BAR_FROM {
        let _ = write!(text, "[{}>{}] ", "=".repeat(filled), " ".repeat(BAR - filled));
    }
    if !progress.hide_counts {
        let current_text = pad(amount(current));
        // A total that is behind is no total.
        if current > total {
            let _ = write!(text, "{current_text}{unit}");
        } else {
            let _ = write!(text, "{current_text}/{}{unit}", amount(total));
        }
    }
    if width > TIME_FROM && current > 0 && progress.start > 0 && filled < BAR {
        let start = Duration::from_secs(u64::try_from(progress.start).unwrap_or(0));
        let left = remaining(now.saturating_sub(start), current, total);
        let _ = write!(text, " {}", in_seconds(left));
    }
    text
}

/// Characters of the bar that are filled: half of the percentage.
fn filled(current: i64, total: i64) -> usize {
    let percent = i128::from(current.max(0)) * 100 / i128::from(total.max(1));
    usize::try_from(percent / 2).map_or(BAR, |half| half.min(BAR))
}

/// Seconds until the rest is done, at the pace so far.
fn remaining(passed: Duration, current: i64, total: i64) -> u64 {
    let per_piece = passed.as_nanos() / u128::try_from(current).unwrap_or(1).max(1);
    let nanos = per_piece.saturating_mul(u128::try_from(total.saturating_sub(current)).unwrap_or(0));
    u64::try_from((nanos + 500_000_000) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// `1h2m3s`, as Go shows a duration of whole seconds.
fn in_seconds(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn play(terminal: bool, width: usize, messages: &[&str]) -> String {
        let mut renderer = Renderer::new(terminal, width);
        let mut text = String::new();
        for message in messages {
            match renderer.render(&serde_json::from_str(message).unwrap(), NOW) {
                Ok(more) => text.push_str(&more),
                Err(error) => text.push_str(&format!("! {error}")),
            }
        }
        text.replace('\x1b', "^").replace('\r', "\\r")
    }

    const PULL: &[&str] = &[
        r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aaaa"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bbbb"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":1000000,"total":2000000},"progress":"x","id":"aaaa"}"#,
        r#"{"status":"Download complete","progressDetail":{},"id":"aaaa"}"#,
        r#"{"status":"Digest: sha256:1234"}"#,
        r#"{"status":"Status: Downloaded newer image for busybox:latest"}"#,
    ];

    #[test]
    fn a_pull_off_a_terminal() {
        insta::assert_snapshot!(play(false, 80, PULL), @r"
        latest: Pulling from library/busybox
        aaaa: Pulling fs layer
        bbbb: Pulling fs layer
        aaaa: Download complete
        Digest: sha256:1234
        Status: Downloaded newer image for busybox:latest
        ");
    }

    #[test]
    fn a_pull_on_a_terminal() {
        // As Docker's client (28.2.2) writes it on a terminal of 120 columns.
        insta::assert_snapshot!(play(true, 120, PULL), @r"
        latest: Pulling from library/busybox

        ^[1A^[2K\raaaa: Pulling fs layer \r^[1B
        ^[1A^[2K\rbbbb: Pulling fs layer \r^[1B^[2A^[2K\raaaa: Downloading [=========================>                         ]      1MB/2MB\r^[2B^[2A^[2K\raaaa: Download complete \r^[2BDigest: sha256:1234
        Status: Downloaded newer image for busybox:latest
        ");
    }

    #[test]
    fn bars() {
        let bar = |json: &str, width| {
            let detail: ProgressDetail = serde_json::from_str(json).unwrap();
            super::bar(&detail, width, NOW)
        };
        assert_eq!(bar("{}", 200), "");
        assert_eq!(bar(r#"{"current":1}"#, 200), "      1B");
        assert_eq!(bar(r#"{"current":3,"units":"files"}"#, 200), "3 files");
        assert_eq!(bar(r#"{"current":20,"total":100,"start":999990}"#, 100), "     20B/100B 40s");
        assert_eq!(
            bar(r#"{"current":50,"total":100,"hidecounts":true}"#, 111),
            format!("[{}>{}] ", "=".repeat(25), " ".repeat(25))
        );
        assert_eq!(bar(r#"{"current":150,"total":100}"#, 60), "    150B");
        assert_eq!(bar(r#"{"current":50,"total":100,"units":"chunks"}"#, 40), "50/100 chunks");
        assert_eq!(in_seconds(3723), "1h2m3s");
        assert_eq!(in_seconds(60), "1m0s");
    }

    #[test]
    fn streams_and_errors() {
        assert_eq!(play(false, 80, &[r#"{"stream":"Step 1\n"}"#, r#"{"stream":" ---> x\n"}"#]), "Step 1\n ---> x\n");
        assert_eq!(play(false, 80, &[r#"{"errorDetail":{"message":"no"},"error":"no"}"#]), "! no");
        assert_eq!(play(false, 80, &[r#"{"error":"old"}"#]), "! old");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(current: i64, total: i64, start: i64, width in 0_usize..300, units in "(files)?") {
            let detail = ProgressDetail { current, total, start, hide_counts: false, units };
            bar(&detail, width, NOW);
        }
    }
}
