//! Values of flags, read as Go's strconv, go-units and math/big read them, with the texts of their errors.

use crate::flags::Kind;

/// Checks that `text` is a value of `kind`.
pub fn verify(kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Text | Kind::List | Kind::Commas => Ok(()),
        Kind::Bool => parse_bool(text).map(drop),
        Kind::Int(bits) => parse_int(text, bits).map(drop),
        Kind::Uint(bits) => parse_uint(text, bits).map(drop),
        Kind::Duration => parse_duration(text).map(drop),
        Kind::BytesOrMinusOne if text == "-1" => Ok(()),
        Kind::Bytes | Kind::BytesOrMinusOne => parse_bytes(text).map(drop),
        Kind::Cpus => parse_cpus(text).map(drop),
    }
}

/// `text` as Go's `%q` shows it.
pub fn quote(text: &str) -> String {
    tare_gotemplate::quote(text)
}

/// `c` as Go's `%q` shows a character.
pub fn quote_char(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '\\' => "'\\\\'".to_owned(),
        c => format!("'{c}'"),
    }
}

/// `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// `strconv.ParseInt(text, 0, bits)`.
pub fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    let fail = |what: &str| format!("strconv.ParseInt: parsing {}: {what}", quote(text));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = magnitude(digits).map_err(fail)?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    let limit = 1_i128 << (bits.clamp(1, 64) - 1);
    if value < -limit || value >= limit {
        return Err(fail("value out of range"));
    }
    i64::try_from(value).map_err(|_| fail("value out of range"))
}

/// `strconv.ParseUint(text, 0, bits)`.
pub fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let fail = |what: &str| format!("strconv.ParseUint: parsing {}: {what}", quote(text));
    let value = magnitude(text).map_err(fail)?;
    if u128::from(value) >> bits.min(64) != 0 {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

/// Digits with Go's prefixes for the base: `0x`, `0b`, `0o`, `0`.
fn magnitude(text: &str) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', rest @ ..] => (rest, 16),
        [b'0', b'b', rest @ ..] => (rest, 2),
        [b'0', b'o', rest @ ..] => (rest, 8),
        [b'0', rest @ ..] if !rest.is_empty() => (rest, 8),
        all => (all, 10),
    };
    let mut value: u64 = 0;
    if digits.is_empty() {
        return Err("invalid syntax");
    }
    for digit in digits {
        let digit = char::from(*digit).to_digit(base).ok_or("invalid syntax")?;
        let next = value.checked_mul(u64::from(base)).and_then(|v| v.checked_add(u64::from(digit)));
        value = next.ok_or("value out of range")?;
    }
    Ok(value)
}

/// `time.ParseDuration`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    tare_docker_api::time::parse_duration(text).map_err(|e| e.to_string())
}

/// `units.RAMInBytes`: `512`, `64m`, `1.5GiB`, `1 kb`.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = match text.as_bytes()[end] {
        b' ' => (&text[..end], &text[end + 1..]),
        _ => text.split_at(end + 1),
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let parsed = number.parse::<f64>().ok().filter(|_| plain);
    let number = parsed.ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(number)))?;
    if number < 0.0 {
        return Err(invalid());
    }
    let suffix = suffix.to_lowercase();
    let scale = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{suffix}'")),
    };
    #[allow(clippy::cast_possible_truncation)] // saturates, as sizes beyond eight exbibytes should
    Ok((number * 1024_f64.powi(scale)) as i64)
}

/// Most decimals of a number of CPUs that are looked at: nine are meaningful.
const MAX_DECIMALS: usize = 18;

/// A number of CPUs (`1.5`, `1/2`), in billionths.
pub fn parse_cpus(text: &str) -> Result<i64, String> {
    let fail = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((n, d)) => (n.parse::<i64>().ok().map(i128::from), d.parse::<u32>().ok().map(i128::from)),
        None => decimal(text).map_or((None, None), |(n, d)| (Some(n), Some(d))),
    };
    let (numerator, denominator) = numerator.zip(denominator.filter(|d| *d != 0)).ok_or_else(fail)?;
    let nano = numerator.checked_mul(1_000_000_000).ok_or_else(fail)?;
    if nano % denominator != 0 {
        return Err("value is too precise".to_owned());
    }
    i64::try_from(nano / denominator).map_err(|_| fail())
}

fn decimal(text: &str) -> Option<(i128, i128)> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || whole.len() > 12 {
        return None;
    }
    let part = part.trim_end_matches('0');
    if part.len() > MAX_DECIMALS {
        return Some((1, 1_000_000_000_000));
    }
    let value: i128 = format!("0{whole}{part}").parse().ok()?;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Some((sign * value, 10_i128.pow(u32::try_from(part.len()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64m"), Ok(64 << 20));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("32"), Ok(32));
        assert_eq!(parse_bytes("32b"), Ok(32));
        assert_eq!(parse_bytes("-1").unwrap_err(), "invalid size: '-1'");
        assert_eq!(parse_bytes("").unwrap_err(), "invalid size: ''");
        assert_eq!(parse_bytes("hello").unwrap_err(), "invalid size: 'hello'");
        assert_eq!(parse_bytes("32bb").unwrap_err(), "invalid suffix: 'bb'");
        assert_eq!(parse_bytes("1 2x").unwrap_err(), "strconv.ParseFloat: parsing \"1 2\": invalid syntax");
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_int("-0x10", 64), Ok(-16));
        assert_eq!(parse_int("010", 64), Ok(8));
        assert_eq!(parse_int("-9223372036854775808", 64), Ok(i64::MIN));
        assert_eq!(parse_int("", 64).unwrap_err(), "strconv.ParseInt: parsing \"\": invalid syntax");
        assert_eq!(parse_uint("65536", 16).unwrap_err(), "strconv.ParseUint: parsing \"65536\": value out of range");
        assert_eq!(parse_uint("-1", 16).unwrap_err(), "strconv.ParseUint: parsing \"-1\": invalid syntax");
    }

    #[test]
    fn cpus() {
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus("1/2"), Ok(500_000_000));
        assert_eq!(parse_cpus(".01"), Ok(10_000_000));
        assert_eq!(parse_cpus("0.0000000001").unwrap_err(), "value is too precise");
        assert_eq!(parse_cpus("x").unwrap_err(), "failed to parse x as a rational number");
        assert_eq!(parse_cpus("1/0").unwrap_err(), "failed to parse 1/0 as a rational number");
    }
}
