//! Sizes, times, IDs and names for people.

use std::time::Duration;

use tare_docker_api::time::{Time, human_duration};

use super::tabs::char_width;
use crate::opts::size;

/// Characters of an ID that are shown.
const SHORT_ID: usize = 12;

/// The first 12 characters of an ID, without `sha256:`.
pub fn short_id(id: &str) -> &str {
    let bare = id.split_once(':').map_or(id, |(_, bare)| bare);
    bare.get(..SHORT_ID).unwrap_or(bare)
}

/// An ID, shortened if asked for.
pub fn id(id: &str, short: bool) -> &str {
    if short { short_id(id) } else { id }
}

/// At most `width` columns of a text, the last one an ellipsis if it was longer.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().map(char_width).sum::<usize>() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_width(c);
        if used > width.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    if width > 1 {
        out.push('…');
    }
    out
}

/// Size in powers of 1000, three digits: `1.23GB`.
pub fn size3(bytes: i64) -> String {
    size::human_size(bytes, 3)
}

/// Size in powers of 1000, four digits: `1.235GB`.
pub fn size4(bytes: i64) -> String {
    size::human_size(bytes, 4)
}

/// Size in powers of 1024, four digits: `1.953GiB`.
pub fn binary_size(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}{}", size::significant(value, 4), UNITS.get(unit).copied().unwrap_or_default())
}

/// `3 minutes ago`, from unix seconds.
pub fn ago(seconds: i64) -> String {
    format!("{} ago", human_duration(Time::now().since(Time::from_unix(seconds, 0))))
}

/// How long, roughly.
pub fn duration(seconds: i64) -> String {
    human_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// `2006-01-02 15:04:05 -0700 MST` in the local zone, from unix seconds.
pub fn local_time(seconds: i64) -> String {
    zoned(seconds, jiff::tz::TimeZone::system())
}

fn zoned(seconds: i64, zone: jiff::tz::TimeZone) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_second(seconds) else { return seconds.to_string() };
    let zoned = timestamp.to_zoned_datetime(zone);
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// RFC 3339 in the local zone.
pub fn local_rfc3339(seconds: i64) -> String {
    Time::from_unix(seconds, 0).local().to_string()
}

/// A duration as Go prints it: `1h0m0s`, `1.5s`, `300ms`.
pub fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if total == 0 {
        return "0s".to_owned();
    }
    match total {
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(total, 1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// A time as Go prints it: `2006-01-02 15:04:05.999 +0000 UTC`.
pub fn go_time(time: Time) -> String {
    // RFC 3339 has all that is needed, in another arrangement.
    let text = time.to_string();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    let zone = match zone {
        "Z" | "" => "+0000 UTC".to_owned(),
        offset => {
            let offset = offset.replace(':', "");
            format!("{offset} {offset}")
        }
    };
    format!("{date} {clock} {zone}")
}

/// `label=value,…`, sorted.
pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<String> = labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.sort();
    pairs.join(",")
}

/// Orders texts so that numbers in them count as numbers.
pub fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |s: &str| s.len() - s.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (da, db) = (digits(a), digits(b));
        if da > 0 && db > 0 {
            let (na, nb) = (a[..da].trim_start_matches('0'), b[..db].trim_start_matches('0'));
            let order = na.len().cmp(&nb.len()).then(na.cmp(nb)).then(da.cmp(&db));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[da..], &b[db..]);
            continue;
        }
        let (mut ca, mut cb) = (a.chars(), b.chars());
        match (ca.next(), cb.next()) {
            (None, None) => return Ordering::Equal,
            (x, y) if x != y => return x.cmp(&y),
            _ => (a, b) = (ca.as_str(), cb.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
        assert_eq!(ellipsis("nginx -g 'daemon off;'", 20), "nginx -g 'daemon of…");
        assert_eq!(ellipsis("short", 20), "short");
        assert_eq!(ellipsis("日本語", 4), "日…");
        assert_eq!(binary_size(2_097_152_000.0), "1.953GiB");
        assert_eq!(binary_size(0.0), "0B");
        assert_eq!(zoned(1_700_000_000, jiff::tz::TimeZone::UTC), "2023-11-14 22:13:20 +0000 UTC");
    }

    #[test]
    fn times_of_go() {
        assert_eq!(go_duration(30_000_000_000), "30s");
        assert_eq!(go_duration(5_400_000_000_000), "1h30m0s");
        assert_eq!(go_duration(1_500_000), "1.5ms");
        assert_eq!(go_duration(-1), "-1ns");
        assert_eq!(go_duration(90_500_000_000), "1m30.5s");
        let time = |text: &str| go_time(text.parse().unwrap());
        assert_eq!(time("2024-05-06T07:08:09.12Z"), "2024-05-06 07:08:09.12 +0000 UTC");
        assert_eq!(time("2024-05-06T07:08:09+02:00"), "2024-05-06 07:08:09 +0200 +0200");
    }

    #[test]
    fn numbers_in_order() {
        let mut ports = ["9/tcp", "80/tcp", "8080/tcp", "443/tcp", "80/udp"];
        ports.sort_by(|a, b| natural_order(a, b));
        assert_eq!(ports, ["9/tcp", "80/tcp", "80/udp", "443/tcp", "8080/tcp"]);
    }
}
