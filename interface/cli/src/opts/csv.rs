//! One record of comma-separated values, as Go's `encoding/csv` reads it: `--mount`, `--network`, `--gpus`.

use super::{Parsed, invalid};

/// Reads the fields of the first record. Quotes (`"`) may enclose a field that has commas; `""` within is a quote.
pub fn record(text: &str) -> Parsed<Vec<String>> {
    let text = text.trim_start_matches(['\n', '\r']);
    if text.is_empty() {
        return invalid("EOF");
    }
    let line = |end: usize| text.get(..end).map_or(1, |seen| 1 + seen.matches('\n').count());
    let column = |at: usize| at - text.get(..at).and_then(|seen| seen.rfind('\n').map(|n| n + 1)).unwrap_or(0) + 1;
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let field = &rest[..end];
            if let Some(quote) = field.find('"') {
                let at = column(at + quote);
                return invalid(format_args!("parse error on line 1, column {at}: bare \" in non-quoted-field"));
            }
            fields.push(field.trim_end_matches('\r').to_owned());
            if !rest[end..].starts_with(',') {
                return Ok(fields);
            }
            at += end + 1;
            continue;
        };
        let mut field = String::new();
        let mut inside = 0;
        loop {
            let Some(quote) = quoted[inside..].find('"') else {
                return extraneous(line(text.len()), column(text.len()));
            };
            field.push_str(&quoted[inside..inside + quote]);
            inside += quote + 1;
            if quoted[inside..].starts_with('"') {
                field.push('"');
                inside += 1;
            } else {
                break;
            }
        }
        fields.push(field);
        at += 1 + inside;
        match text[at..].chars().next() {
            Some(',') => at += 1,
            None | Some('\n' | '\r') => return Ok(fields),
            Some(_) => return extraneous(line(at), column(at - 1)),
        }
    }
}

fn extraneous<T>(line: usize, column: usize) -> Parsed<T> {
    let start = if line > 1 { "record on line 1; " } else { "" };
    invalid(format_args!(
        "{start}parse error on line {line}, column {column}: extraneous or missing \" in quoted-field"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        assert_eq!(record("a,b=c,,d"), Ok(vec!["a".into(), "b=c".into(), String::new(), "d".into()]));
        assert_eq!(record("a,\"b,c\",\"d\"\"e\""), Ok(vec!["a".into(), "b,c".into(), "d\"e".into()]));
        assert_eq!(record("a,"), Ok(vec!["a".into(), String::new()]));
        assert_eq!(record("a\nb"), Ok(vec!["a".into()]));
        assert_eq!(record("").unwrap_err().0, "EOF");
        insta::assert_snapshot!(record("type=bind,a\"b").unwrap_err(), @r#"parse error on line 1, column 12: bare " in non-quoted-field"#);
        insta::assert_snapshot!(record("\"type=bind").unwrap_err(), @r#"parse error on line 1, column 11: extraneous or missing " in quoted-field"#);
        insta::assert_snapshot!(record("\"a\"b").unwrap_err(), @r#"parse error on line 1, column 3: extraneous or missing " in quoted-field"#);
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_comes_back(fields in proptest::collection::vec("[a-z,\"\n ]{0,8}", 1..5)) {
            let text: Vec<String> = fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
            proptest::prop_assert_eq!(record(&text.join(",")), Ok(fields));
        }

        #[test]
        fn nothing_panics(text in "[a,\"\n\réß]{0,20}") {
            let _ = record(&text);
        }
    }
}
