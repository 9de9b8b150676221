//! Sizes for people: `1.5GB`, as Docker's units package writes them.

/// A size in powers of 1000 with `digits` significant digits: `1.23GB`.
#[expect(clippy::cast_precision_loss, reason = "a handful of digits is shown")]
pub fn human_size(bytes: i64, digits: usize) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), UNITS.get(unit).copied().unwrap_or("EB"))
}

/// C's and Go's `%.{digits}g`.
pub fn significant(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let precision = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out() {
        assert_eq!(human_size(0, 4), "0B");
        assert_eq!(human_size(999, 4), "999B");
        assert_eq!(human_size(1000, 4), "1kB");
        assert_eq!(human_size(2_746_000, 4), "2.746MB");
        assert_eq!(human_size(31_357_624, 4), "31.36MB");
        assert_eq!(human_size(1_536, 3), "1.54kB");
        assert_eq!(human_size(999_999, 3), "1e+03kB");
        assert_eq!(human_size(1_234_567_890_123, 4), "1.235TB");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(number in proptest::num::i64::ANY) {
            let _ = human_size(number, 3);
        }
    }
}
