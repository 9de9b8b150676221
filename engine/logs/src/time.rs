//! Points in time as nanoseconds since the Unix epoch, and as RFC 3339 text with nine or fewer digits, the way Go's
//! `RFC3339Nano` prints it.

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Bytes of the longest text: `2026-01-02T03:04:05.123456789Z`.
pub(crate) const TEXT_BYTES_MAX: usize = 30;

/// A time as text, on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn number(&mut self, mut value: u32, digits: usize) {
        let mut text = [b'0'; 9];
        for digit in text.iter_mut().take(digits).rev() {
            *digit += u8::try_from(value % 10).unwrap_or_default();
            value /= 10;
        }
        text.iter().take(digits).for_each(|digit| self.push(*digit));
    }
}

/// UTC, without trailing zeros in the fraction.
pub(crate) fn format(time_ns: i64) -> Text {
    let (seconds, nanos) = (time_ns.div_euclid(NANOS), time_ns.rem_euclid(NANOS));
    let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = date(days);
    let small = |value: i64| u32::try_from(value).unwrap_or_default();
    let mut text = Text { bytes: [0; TEXT_BYTES_MAX], length: 0 };
    text.number(small(year), 4);
    for (separator, value) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        text.push(separator);
        text.number(small(value), 2);
    }
    if nanos > 0 {
        text.push(b'.');
        text.number(small(nanos), 9);
        while text.as_bytes().ends_with(b"0") {
            text.length -= 1;
        }
    }
    text.push(b'Z');
    text
}

/// Reads `2026-01-02T03:04:05.123456789Z`, with any number of fraction digits and any offset.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    let number = |from: usize, digits: usize| {
        text.get(from..from + digits)?
            .iter()
            .try_fold(0_i64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(place, byte)| text.get(*place) != Some(byte)) {
        return None;
    }
    let day = days(number(0, 4)?, number(5, 2)?, number(8, 2)?)?;
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut unit = NANOS / 10;
        for digit in fraction.get(..digits)? {
            nanos += i64::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest = fraction.get(digits..)?;
    }
    let seconds = day * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset(rest)?;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

/// `Z` or `+01:30`, in seconds.
fn offset(text: &[u8]) -> Option<i64> {
    let [sign, h1, h2, b':', m1, m2] = text else { return (text == b"Z").then_some(0) };
    if ![h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let two = |high: &u8, low: &u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
    let seconds = two(h1, h2) * 3600 + two(m1, m2) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

// The proleptic Gregorian calendar in eras of 400 years that begin on 1 March, so that the leap day is the last of its
// year.
const ERA_DAYS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = (month + 9) % 12;
    Some(era * ERA_DAYS + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - EPOCH_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(time_ns: i64) -> String {
        String::from_utf8(format(time_ns).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_767_323_045_123_456_789), "2026-01-02T03:04:05.123456789Z");
        assert_eq!(text(1_709_164_800_000_000_000), "2024-02-29T00:00:00Z");
        assert_eq!(text(951_868_799_120_000_000), "2000-02-29T23:59:59.12Z");
        assert_eq!(parse(b"2026-01-02T04:34:05.5+01:30"), parse(b"2026-01-02T03:04:05.500Z"));
    }

    #[test]
    fn what_is_not_a_time() {
        for wrong in ["", "Z", "2026-13-02T03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05", "2026-01-0\u{e9}"]
        {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(time_ns in 0..i64::MAX) {
            prop_assert_eq!(parse(format(time_ns).as_bytes()), Some(time_ns));
        }

        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }
    }
}
