//! Container names: validity and the random `adjective_surname` of containers that were not given one.

use crate::error::{Error, Result};

/// First halves of random names.
const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "amber", "ample", "apt", "avid", "blithe", "bold", "brave", "bright", "brisk", "calm",
    "candid", "clear", "clever", "cosy", "crisp", "daring", "deft", "eager", "earnest", "easy", "elated", "fair",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "graceful", "grand", "happy", "hardy", "hearty",
    "honest", "humble", "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry",
    "mighty", "modest", "neat", "nifty", "nimble", "noble", "patient", "placid", "plucky", "polite", "prime", "proud",
    "quick", "quiet", "ready", "robust", "serene", "sharp", "silent", "sleek", "smart", "snug", "sober", "solid",
    "spry", "stable", "steady", "stoic", "sturdy", "sunny", "sure", "swift", "tender", "tidy", "tranquil", "trusty",
    "upbeat", "vibrant", "vivid", "warm", "wise", "witty", "zesty",
];

/// Second halves: people science and engineering owe something to.
const SURNAMES: &[&str] = &[
    "agnesi",
    "archimedes",
    "babbage",
    "banach",
    "bartik",
    "bell",
    "bernoulli",
    "bohr",
    "boltzmann",
    "boole",
    "bose",
    "brahmagupta",
    "cantor",
    "carson",
    "cauchy",
    "chandrasekhar",
    "clarke",
    "cori",
    "curie",
    "darwin",
    "dijkstra",
    "dirac",
    "easley",
    "edison",
    "einstein",
    "elion",
    "engelbart",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "haibt",
    "hamilton",
    "hawking",
    "heisenberg",
    "herschel",
    "hertz",
    "hilbert",
    "hodgkin",
    "hopper",
    "huygens",
    "hypatia",
    "jackson",
    "johnson",
    "kepler",
    "khayyam",
    "kirch",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "lamport",
    "laplace",
    "leavitt",
    "leibniz",
    "lewin",
    "liskov",
    "lovelace",
    "lumiere",
    "mahavira",
    "maxwell",
    "mayer",
    "mccarthy",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "montalcini",
    "morse",
    "napier",
    "nash",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "pare",
    "pascal",
    "pasteur",
    "payne",
    "perlman",
    "pike",
    "planck",
    "poincare",
    "ptolemy",
    "raman",
    "ramanujan",
    "rhodes",
    "ride",
    "ritchie",
    "robinson",
    "rosalind",
    "rubin",
    "saha",
    "sammet",
    "shannon",
    "shockley",
    "snyder",
    "stallman",
    "swartz",
    "tesla",
    "tharp",
    "thompson",
    "torvalds",
    "turing",
    "varahamihira",
    "vaughan",
    "villani",
    "volhard",
    "wescoff",
    "wilbur",
    "wiles",
    "williams",
    "wright",
    "wu",
    "yalow",
    "yonath",
];

/// Attempts at a free random name before the short ID is taken, as Docker does; from the second on a digit is appended.
const ATTEMPTS_MAX: u32 = 6;

/// Checks a name against Docker's rule `[a-zA-Z0-9][a-zA-Z0-9_.-]+`; a leading slash is accepted and dropped.
pub(crate) fn validate(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bare.len() >= 2
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if valid {
        return Ok(bare);
    }
    Err(Error::invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
}

/// A random name for which `taken` is false, or the short ID if luck does not help.
pub(crate) fn generate(id: &str, random: impl Fn() -> u32, taken: impl Fn(&str) -> bool) -> String {
    for attempt in 0..ATTEMPTS_MAX {
        let mut name = format!("{}_{}", pick(ADJECTIVES, random()), pick(SURNAMES, random()));
        if attempt > 0 {
            name.push_str(&(random() % 10).to_string());
        }
        if !taken(&name) {
            return name;
        }
    }
    id.chars().take(12).collect()
}

fn pick(words: &'static [&'static str], random: u32) -> &'static str {
    let index = usize::try_from(random).unwrap_or(0) % words.len();
    words.get(index).copied().unwrap_or("calm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "a1", "/web", "A.b_c-d", "0x"] {
            validate(good).unwrap();
        }
        for bad in ["", "a", "/", "_a", "-a", ".a", "a b", "a/b", "ü1", "a\n", "//a"] {
            let error = validate(bad).unwrap_err();
            assert_eq!(
                error.message,
                format!("Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn a_taken_name_gets_a_digit_and_then_the_short_id() {
        let name = generate("0123456789abcdef", || 3, |name| !name.ends_with(|last: char| last.is_ascii_digit()));
        assert_eq!(name, "amber_banach3");
        assert_eq!(generate("0123456789abcdef", || 3, |_| true), "0123456789ab");
    }
}
