//! Times and durations as Go and Docker print and parse them.
//!
//! [`Time`] is Go's `time.Time` in JSON: RFC 3339 with up to nine digits, the zero time is `0001-01-01T00:00:00Z`.
//! [`human_duration`] is the age in `docker ps`; [`timestamp_arg`] reads `--since` and `--until`.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::go::{GoValue, nullable};

/// Unix seconds of Go's zero time, the first of January of year 1.
const ZERO: i64 = -62_135_596_800;
const SECONDS_PER_DAY: i64 = 86_400;

/// A text that is not a time or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not RFC 3339.
    #[error("parsing time {0:?}: not in RFC 3339 format")]
    Time(String),
    /// Not a Go duration such as `1h30m`.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// Not unix seconds with an optional fraction.
    #[error("invalid timestamp {0:?}: {1}")]
    Unix(String, String),
    /// None of the above.
    #[error("failed to parse value as time or duration: {0:?}")]
    Neither(String),
}

/// A point in time with the offset it is shown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: i64,
    nanos: u32,
    /// East of UTC, seconds.
    offset: i32,
}

/// Go's zero time.
impl Default for Time {
    fn default() -> Self {
        Time { seconds: ZERO, nanos: 0, offset: 0 }
    }
}

impl Time {
    /// Unix seconds and nanoseconds (below 10⁹), shown in UTC.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Self {
        Time { seconds, nanos, offset: 0 }
    }

    /// Unix nanoseconds, shown in UTC.
    pub fn from_unix_nanos(nanos: i64) -> Self {
        let below = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
        Time::from_unix(nanos.div_euclid(1_000_000_000), below)
    }

    /// Now, shown in UTC.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The same instant, shown at an offset east of UTC in seconds (less than a day).
    #[must_use]
    pub fn at_offset(self, offset: i32) -> Self {
        Time { offset: offset.clamp(-86_399, 86_399), ..self }
    }

    /// The same instant, shown in the time zone of this process (`TZ`, `/etc/localtime`).
    #[must_use]
    pub fn local(self) -> Self {
        let offset = jiff::Timestamp::from_second(self.seconds).map(|t| jiff::tz::TimeZone::system().to_offset(t));
        self.at_offset(offset.map_or(0, jiff::tz::Offset::seconds))
    }

    /// Unix seconds.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds below the second.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// East of UTC, seconds.
    pub const fn offset(self) -> i32 {
        self.offset
    }

    /// Unix nanoseconds, saturating (years 1678 to 2262 fit).
    pub const fn unix_nanos(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanos as i64)
    }

    /// Whether it is Go's zero time: never set.
    pub const fn is_zero(self) -> bool {
        self.seconds == ZERO && self.nanos == 0
    }

    /// Time passed since `earlier`; zero when it is later.
    pub fn since(self, earlier: Time) -> Duration {
        let seconds = self.seconds.saturating_sub(earlier.seconds);
        let nanos = i64::from(self.nanos) - i64::from(earlier.nanos);
        let (seconds, nanos) =
            if nanos < 0 { (seconds.saturating_sub(1), nanos + 1_000_000_000) } else { (seconds, nanos) };
        match u64::try_from(seconds) {
            Ok(seconds) => Duration::new(seconds, u32::try_from(nanos).unwrap_or(0)),
            Err(_) => Duration::ZERO,
        }
    }

    /// Nine digits always, in UTC: the prefix of log lines (`2006-01-02T15:04:05.000000000Z`).
    pub fn fixed(self) -> String {
        let (date, clock) = self.civil_at(0);
        format!("{date}T{clock}.{:09}Z", self.nanos)
    }

    fn civil_at(self, offset: i32) -> (Date, Clock) {
        let local = self.seconds.saturating_add(i64::from(offset));
        (Date::of_day(local.div_euclid(SECONDS_PER_DAY)), Clock(local.rem_euclid(SECONDS_PER_DAY)))
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time::from_unix(i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(before) => {
                let before = i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX);
                Time::from_unix_nanos(-before)
            }
        }
    }
}

/// A date of the proleptic Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date of a day counted from 1970-01-01. Works in eras of 400 years that start on the first of March.
    fn of_day(day: i64) -> Date {
        let day = day.saturating_add(719_468);
        let era = day.div_euclid(146_097);
        let of_era = day.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Date { year, month, day: of_year - (153 * shifted + 2) / 5 + 1 }
    }

    /// The day counted from 1970-01-01, of a date known to exist.
    fn day_number(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let of_year = (153 * shifted + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * 146_097 + of_era - 719_468
    }

    fn exists(&self) -> bool {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 31,
        };
        (1..=12).contains(&self.month) && (1..=days).contains(&self.day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Seconds since midnight.
struct Clock(i64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

/// RFC 3339 with as many digits as needed, Go's `time.RFC3339Nano`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, clock) = self.civil_at(self.offset);
        write!(f, "{date}T{clock}")?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        match self.offset {
            0 => f.write_str("Z"),
            offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.unsigned_abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

/// Reads fixed-width fields off a text.
struct Scanner<'a>(&'a str);

impl Scanner<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        head.bytes().all(|b| b.is_ascii_digit()).then(|| head.parse().ok())?
    }

    fn eat(&mut self, c: char) -> Option<()> {
        self.0 = self.0.strip_prefix(c)?;
        Some(())
    }

    fn date(&mut self) -> Option<Date> {
        let year = self.digits(4)?;
        self.eat('-')?;
        let month = self.digits(2)?;
        self.eat('-')?;
        let date = Date { year, month, day: self.digits(2)? };
        date.exists().then_some(date)
    }

    /// `HH[:MM[:SS[.digits]]]` as seconds and nanoseconds; a full clock when `full`.
    fn clock(&mut self, full: bool) -> Option<(i64, u32)> {
        let mut fields = [self.digits(2)?, 0, 0];
        let mut read = 1;
        while read < 3 && self.eat(':').is_some() {
            fields[read] = self.digits(2)?;
            read += 1;
        }
        if (full && read < 3) || fields[0] > 23 || fields[1] > 59 || fields[2] > 59 {
            return None;
        }
        let mut nanos = 0;
        if read == 3 && self.eat('.').is_some() {
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            self.0 = rest;
            nanos = fraction(digits)?;
        }
        Some((fields[0] * 3600 + fields[1] * 60 + fields[2], nanos))
    }

    /// `Z` or `±HH:MM`, seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        if self.eat('Z').is_some() || self.eat('z').is_some() {
            return Some(0);
        }
        let sign = if self.eat('-').is_some() {
            -1
        } else {
            self.eat('+')?;
            1
        };
        let hours = self.digits(2)?;
        self.eat(':')?;
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        i32::try_from(sign * (hours * 3600 + minutes * 60)).ok()
    }
}

/// Decimal digits after the point as nanoseconds; digits beyond the ninth are dropped.
fn fraction(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(9)];
    let value: u32 = kept.parse().ok()?;
    Some(value * 10_u32.pow(9 - u32::try_from(kept.len()).ok()?))
}

impl FromStr for Time {
    type Err = TimeError;
    /// Reads RFC 3339.
    fn from_str(text: &str) -> Result<Self, TimeError> {
        let parse = || {
            let mut scanner = Scanner(text);
            let date = scanner.date()?;
            scanner.eat('T').or_else(|| scanner.eat('t'))?;
            let (clock, nanos) = scanner.clock(true)?;
            let offset = scanner.zone()?;
            let seconds = date.day_number() * SECONDS_PER_DAY + clock - i64::from(offset);
            scanner.0.is_empty().then_some(Time { seconds, nanos, offset })
        };
        parse().ok_or_else(|| TimeError::Time(text.to_owned()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        nullable(deserializer)
    }
}

/// An empty text is the zero time: some of the fields are strings in Go.
impl GoValue for Time {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(Time::default()) } else { text.parse().map_err(D::Error::custom) }
    }
    fn is_empty(&self) -> bool {
        self.is_zero()
    }
}

/// How long, roughly: `Less than a second`, `5 seconds`, `About a minute`, `2 weeks`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // Go rounds the hours to the nearest.
    let hours = (seconds + 1800) / 3600;
    match (seconds, hours) {
        (0, _) => "Less than a second".into(),
        (1, _) => "1 second".into(),
        (..60, _) => format!("{seconds} seconds"),
        (..120, _) => "About a minute".into(),
        (..3600, _) => format!("{} minutes", seconds / 60),
        (_, 1) => "About an hour".into(),
        (_, ..48) => format!("{hours} hours"),
        (_, ..336) => format!("{} days", hours / 24),
        (_, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, ..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Reads a Go duration (`300ms`, `-1.5h`, `2h45m`), in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let fail = || TimeError::Duration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(fail());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total += quantity(digits, unit).ok_or_else(fail)?;
        if total > i128::from(i64::MAX) {
            return Err(fail());
        }
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| fail())
}

/// `digits` (with a point perhaps) of a unit, in nanoseconds.
fn quantity(digits: &str, unit: &str) -> Option<i128> {
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Eighteen digits are finer than a nanosecond of an hour.
    let part = &part[..part.len().min(18)];
    let fraction: i128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    Some(whole * scale + fraction * scale / 10_i128.pow(u32::try_from(part.len()).ok()?))
}

/// Reads the `since` and `until` parameters of a request: unix seconds with an optional fraction.
pub fn parse_unix(text: &str) -> Result<Time, TimeError> {
    let fail = |why| TimeError::Unix(text.to_owned(), why);
    let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
    let nanos = if part.is_empty() { Some(0) } else { fraction(part) };
    let seconds: i64 = seconds.parse().map_err(|_| fail(format!("invalid seconds {seconds:?}: invalid syntax")))?;
    Ok(Time::from_unix(seconds, nanos.ok_or_else(|| fail(format!("invalid nanoseconds {part:?}")))?))
}

/// Turns an argument of `--since` or `--until` into what the API takes: a Go duration counts back from `now`; a date or time
/// without a zone is at the offset of `now`; unix seconds pass as they are.
pub fn timestamp_arg(value: &str, now: Time) -> Result<String, TimeError> {
    if value != "0"
        && let Ok(back) = parse_duration(value)
    {
        let then = now.unix_nanos().saturating_sub(back);
        return Ok(Time::from_unix_nanos(then).seconds().to_string());
    }
    if let Some(time) = lenient_time(value, now.offset) {
        return Ok(format!("{}.{:09}", time.seconds, time.nanos));
    }
    if value.contains('-') {
        return Err(TimeError::Time(value.to_owned()));
    }
    parse_unix(value).map(|_| value.to_owned()).map_err(|_| TimeError::Neither(value.to_owned()))
}

/// A date, optionally a clock down to any precision, optionally a zone.
fn lenient_time(value: &str, local: i32) -> Option<Time> {
    let mut scanner = Scanner(value);
    let date = scanner.date()?;
    let (clock, nanos) = if scanner.eat('T').is_some() { scanner.clock(false)? } else { (0, 0) };
    let offset = if scanner.0.is_empty() { local } else { scanner.zone()? };
    let seconds = date.day_number() * SECONDS_PER_DAY + clock - i64::from(offset);
    scanner.0.is_empty().then_some(Time { seconds, nanos, offset })
}
