//! Whole numbers inside option values, as Go's `strconv` reads them, with Go's words for what is wrong.
//! (Numbers that are a flag's whole value are read by [`crate::values`].)

use super::{Invalid, Parsed};
use crate::values::quote;

/// What Go's `strconv` complains about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a number at all.
    Syntax,
    /// Does not fit.
    Range,
}

impl Fault {
    /// Go's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Syntax => "invalid syntax",
            Fault::Range => "value out of range",
        }
    }

    /// Go's sentence.
    pub fn of(self, function: &str, text: &str) -> Invalid {
        Invalid(format!("strconv.{function}: parsing {}: {}", quote(text), self.as_str()))
    }
}

/// Digits of a base.
pub fn unsigned(text: &str, base: u32) -> Result<u64, Fault> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(base)) {
        return Err(Fault::Syntax);
    }
    u64::from_str_radix(text, base).map_err(|_| Fault::Range)
}

/// A decimal number, perhaps with a sign.
pub fn signed(text: &str) -> Result<i64, Fault> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::Syntax);
    }
    text.parse().map_err(|_| Fault::Range)
}

/// A decimal number, perhaps with a sign, with Go's sentence about `strconv.ParseInt`.
pub fn int(text: &str) -> Parsed<i64> {
    signed(text).map_err(|fault| fault.of("ParseInt", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(signed("-7"), Ok(-7));
        assert_eq!(signed("+7"), Ok(7));
        assert_eq!(signed("0x7"), Err(Fault::Syntax));
        assert_eq!(signed(""), Err(Fault::Syntax));
        assert_eq!(signed("99999999999999999999"), Err(Fault::Range));
        assert_eq!(unsigned("777", 8), Ok(0o777));
        assert_eq!(unsigned("9", 8), Err(Fault::Syntax));
        assert_eq!(unsigned("+1", 10), Err(Fault::Syntax));
        insta::assert_snapshot!(int("x").unwrap_err(), @r#"strconv.ParseInt: parsing "x": invalid syntax"#);
    }
}
