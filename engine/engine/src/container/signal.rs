//! Signal names and numbers as Docker takes them: `KILL`, `SIGKILL`, `9`, in any case.

use crate::error::{Error, Result};

/// Signals by name, x86 and ARM numbering (signal(7)); the two agree.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// First and last real-time signal that programs may use (signal(7): glibc keeps 32 and 33).
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// SIGTERM.
pub(crate) const TERM: i32 = 15;
/// SIGKILL.
pub(crate) const KILL: i32 = 9;

/// Parses a signal.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=RT_MAX => Ok(number),
            0 => Err(invalid()),
            _ => Err(Error::invalid(format!("the linux daemon does not support signal {number}"))),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(invalid)
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`.
fn real_time(name: &str) -> Option<i32> {
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RT_MIN.checked_add(offset(rest, '+')?)?
    } else {
        RT_MAX.checked_sub(offset(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RT_MIN..=RT_MAX).contains(&number).then_some(number)
}

fn offset(rest: &str, sign: char) -> Option<i32> {
    if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [("9", 9), ("kill", 9), ("SIGKILL", 9), ("sigusr1", 10), ("RTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "0", "SIGFOO", "RTMIN-1", "RTMIN+99", "RTMAX+1"] {
            assert_eq!(parse(text).unwrap_err().message, format!("invalid signal: {text}"));
        }
        for text in ["65", "-1"] {
            assert_eq!(parse(text).unwrap_err().message, format!("the linux daemon does not support signal {text}"));
        }
    }
}
