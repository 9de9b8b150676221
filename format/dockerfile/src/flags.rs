//! Flags of an instruction, and names that were perhaps meant.

/// What an instruction's flags are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Flag,
    Text,
    Texts,
}

/// The values of an instruction's flags, by name.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Reads the flags that an instruction knows.
    pub(crate) fn read(given: &[String], known: &[(&'static str, Takes)]) -> Result<Flags, String> {
        let mut flags = Flags::default();
        for flag in given {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.as_str(), None),
            };
            let bare = name.strip_prefix("--").ok_or_else(|| format!("arg should start with -- : {flag}"))?;
            let Some((known, takes)) = known.iter().find(|(known, _)| *known == bare) else {
                let names = known.iter().map(|(name, _)| *name);
                return Err(format!("unknown flag: {name}{}", meant(bare, names, true)));
            };
            if *takes != Takes::Texts && flags.has(known) {
                return Err(format!("duplicate flag specified: {name}"));
            }
            let missing = || format!("missing a value on flag: {name}");
            let value = match (takes, value) {
                (Takes::Flag, None) => "true".to_owned(),
                (Takes::Flag, Some("")) => return Err(missing()),
                (Takes::Flag, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    "true" => "true".to_owned(),
                    "false" => String::new(),
                    _ => return Err(format!("expecting boolean value for flag {name}, not: {value}")),
                },
                (_, None) => return Err(missing()),
                (_, Some(value)) => value.to_owned(),
            };
            flags.0.push((known, value));
        }
        Ok(flags)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.all(name).next().cloned().unwrap_or_default()
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// ` (did you mean RUN?)`, or nothing. The nearest name at most two edits away.
pub(crate) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>, case: bool) -> String {
    let fold = |text: &str| if case { text.to_owned() } else { text.to_ascii_lowercase() };
    let wanted = fold(word);
    let best = known
        .map(|name| (distance(&wanted, &fold(name)), name))
        .filter(|(distance, _)| (1..3).contains(distance))
        .min_by_key(|(distance, _)| *distance);
    match best {
        Some((_, name)) if case => format!(" (did you mean {name}?)"),
        Some((_, name)) if word.chars().any(char::is_lowercase) => {
            format!(" (did you mean {}?)", name.to_ascii_lowercase())
        }
        Some((_, name)) => format!(" (did you mean {}?)", name.to_ascii_uppercase()),
        None => String::new(),
    }
}

/// Levenshtein's; long words are far from everything.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default() + 1;
            let before = next.last().copied().unwrap_or_default() + 1;
            let diagonal = row.get(j).copied().unwrap_or_default() + usize::from(left != right);
            next.push(above.min(before).min(diagonal));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_in_the_case_of_the_word() {
        let known = || ["RUN", "COPY"].into_iter();
        assert_eq!(meant("RNU", known(), false), " (did you mean RUN?)");
        assert_eq!(meant("copi", known(), false), " (did you mean copy?)");
        assert_eq!(meant("FROBNICATE", known(), false), "");
    }
}
