//! Modes of files as chmod(1) takes them: in octal digits, or as changes (`u+x,go-w`).

/// All that a mode has.
const ALL: u32 = 0o7777;
/// Most changes in one.
const CHANGES_MAX: usize = 64;

/// What becomes of a file's mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewMode {
    /// This.
    Exactly(u32),
    /// The old one with changes, in this order.
    Changed(Vec<Change>),
}

/// A change of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The bits of those who are meant.
    who: u32,
    operator: char,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// These bits, and execution where `X` says so.
    Bits { bits: u32, execute_where_it_makes_sense: bool },
    /// What the owner (6), the group (3) or others (0) have, by their place in a mode.
    CopyOf(u32),
}

impl NewMode {
    /// Reads a mode; `None` where it is none.
    pub fn parse(text: &str) -> Option<NewMode> {
        if text.chars().all(|c| c.is_digit(8)) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= ALL).map(NewMode::Exactly);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let (who, mut rest) = clause.split_at(clause.find(|c| !"ugoa".contains(c))?);
            let who = match who {
                "" => ALL,
                who => who.chars().fold(0, |bits, c| bits | bits_of(c)),
            };
            while let Some(operator) = rest.chars().next() {
                rest = rest.strip_prefix(['+', '-', '='])?;
                let (what, after) = rest.split_at(rest.find(['+', '-', '=']).unwrap_or(rest.len()));
                changes.push(Change { who, operator, what: what_of(what)? });
                rest = after;
            }
        }
        (changes.len() <= CHANGES_MAX).then_some(NewMode::Changed(changes))
    }

    /// The mode of what had another.
    pub fn of(&self, before: u32, is_directory: bool) -> u32 {
        let changes = match self {
            NewMode::Exactly(mode) => return *mode,
            NewMode::Changed(changes) => changes,
        };
        let execute = is_directory || before & 0o111 != 0;
        changes.iter().fold(before & ALL, |mode, change| {
            let bits = match change.what {
                What::Bits { bits, execute_where_it_makes_sense } => {
                    bits | if execute_where_it_makes_sense && execute { 0o111 } else { 0 }
                }
                What::CopyOf(place) => ((mode >> place) & 7) * 0o111,
            };
            let bits = bits & change.who;
            match change.operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !(change.who & !if is_directory { 0o6000 } else { 0 }) | bits,
            }
        })
    }
}

fn bits_of(who: char) -> u32 {
    match who {
        'u' => 0o4700,
        'g' => 0o2070,
        'o' => 0o1007,
        _ => ALL,
    }
}

fn what_of(text: &str) -> Option<What> {
    let place = match text {
        "u" => Some(6),
        "g" => Some(3),
        "o" => Some(0),
        _ => None,
    };
    if let Some(place) = place {
        return Some(What::CopyOf(place));
    }
    let mut bits = 0;
    for c in text.chars() {
        bits |= match c {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            'X' => 0,
            _ => return None,
        };
    }
    Some(What::Bits { bits, execute_where_it_makes_sense: text.contains('X') })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        for (text, before, is_directory, after) in [
            ("755", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("go-r,u=rwx", 0o644, false, 0o700),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("+X", 0o644, true, 0o755),
            ("g=u,o=", 0o640, false, 0o660),
            ("u+s,+t", 0o755, false, 0o5755),
            ("u=rw-r+x", 0o777, false, 0o377),
            ("=", 0o777, false, 0),
            ("g=rx", 0o2777, true, 0o2757),
        ] {
            assert_eq!(NewMode::parse(text).unwrap().of(before, is_directory), after, "{text} {after:o}");
        }
        for bad in ["foo", "u", "u+q", "99", "10000", "u+x,", "u+x g+x", "ux"] {
            assert_eq!(NewMode::parse(bad), None, "{bad}");
        }
    }
}
