//! A line as typed into a shell becomes arguments: blanks separate, quotes and backslashes protect.

/// Splits a line. There are no variables and no patterns: a test says what it means.
///
/// # Panics
/// When a quote is not closed.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (_, Some(end)) if c == end => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote is not closed: {line}");
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words() {
        assert_eq!(split("ps  -a"), ["ps", "-a"]);
        assert_eq!(split(r#"sh -c "a 'b' \"c\"" '' 'x\y'"#), ["sh", "-c", "a 'b' \"c\"", "", "x\\y"]);
        assert_eq!(split(r"a\ b --x='1 2'"), ["a b", "--x=1 2"]);
        assert!(split(" ").is_empty());
    }

    #[test]
    #[should_panic(expected = "a quote is not closed")]
    fn open_quotes() {
        split("'a");
    }
}
