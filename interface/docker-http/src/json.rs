//! What is wrong with a JSON text, in the words of Go's `encoding/json` (scanner.go), which are Docker's.

/// Deepest nesting that is looked at; serde_json stops earlier.
const DEPTH_MAX: usize = 10_000;

type Verdict = Result<(), String>;

/// The first syntax error of a text that starts with a JSON value; `None` when the value is fine.
pub(crate) fn complaint(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0, open: Vec::new() };
    scanner.run().err()
}

/// Why a text could not be read: its syntax error in Go's words, or serde's about a type, which have no counterpart.
pub(crate) fn why(text: &str, error: &serde_json::Error) -> String {
    complaint(text.as_bytes()).unwrap_or_else(|| error.to_string())
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// Opening brackets not closed yet.
    open: Vec<u8>,
}

impl Scanner<'_> {
    fn run(&mut self) -> Verdict {
        loop {
            self.space();
            let start = self.next()?;
            match start {
                b'{' | b'[' => {
                    self.open.push(start);
                    if self.open.len() > DEPTH_MAX {
                        return Err("exceeded max depth".to_owned());
                    }
                    self.space();
                    if self.peek() == Some(closing(start)) {
                        self.at += 1;
                        self.open.pop();
                    } else if start == b'{' {
                        self.key("looking for beginning of object key string")?;
                        continue;
                    } else {
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                b'-' | b'0'..=b'9' => self.number(start)?,
                _ => return self.wrong("looking for beginning of value"),
            }
            if self.after_value()? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends there; true at the end of the whole, false where another value starts.
    fn after_value(&mut self) -> Result<bool, String> {
        while let Some(&bracket) = self.open.last() {
            self.space();
            let context = if bracket == b'{' { "after object key:value pair" } else { "after array element" };
            let found = self.next()?;
            if found == b',' {
                if bracket == b'{' {
                    self.space();
                    self.key("looking for beginning of object key string")?;
                }
                return Ok(false);
            }
            if found != closing(bracket) {
                return self.wrong(context).map(|()| false);
            }
            self.open.pop();
        }
        Ok(true)
    }

    /// A key and the colon after it.
    fn key(&mut self, context: &str) -> Verdict {
        if self.next()? != b'"' {
            return self.wrong(context);
        }
        self.string()?;
        self.space();
        if self.next()? == b':' { Ok(()) } else { self.wrong("after object key") }
    }

    /// The rest of a string.
    fn string(&mut self) -> Verdict {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            if !self.next()?.is_ascii_hexdigit() {
                                return self.wrong("in \\u hexadecimal character escape");
                            }
                        }
                    }
                    _ => return self.wrong("in string escape code"),
                },
                0..=0x1f => return self.wrong("in string literal"),
                _ => {}
            }
        }
    }

    /// The rest of a number; what follows it is for others to judge.
    fn number(&mut self, mut first: u8) -> Verdict {
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return self.wrong("in numeric literal");
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.next()?.is_ascii_digit() {
                return self.wrong("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.next()?.is_ascii_digit() {
                return self.wrong("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    /// The rest of `true`, `false` or `null`.
    fn literal(&mut self, word: &str) -> Verdict {
        for expected in word.bytes().skip(1) {
            let context = format!("in literal {word} (expecting '{}')", char::from(expected));
            if self.next()? != expected {
                return self.wrong(&context);
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or_else(|| "unexpected EOF".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    /// The byte just read does not belong there.
    fn wrong(&self, context: &str) -> Verdict {
        let byte = self.at.checked_sub(1).and_then(|at| self.text.get(at)).copied().unwrap_or_default();
        Err(format!("invalid character {} {context}", quoted(byte)))
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// As Go shows a byte: `'x'`, `'\''`, `'\n'`, `'\x00'`.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn gos_words() {
        for (text, expected) in [
            ("{invalid", "invalid character 'i' looking for beginning of object key string"),
            ("x", "invalid character 'x' looking for beginning of value"),
            (r#"{"a""#, "unexpected EOF"),
            (r#"{"a" 1"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b""#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u00g0""#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("[[", "unexpected EOF"),
        ] {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_serde_takes_has_no_fault() {
        for text in ["{}", "[]", r#" {"a":[1,-2.5e3,true,false,null,"\u00e9\"",{}],"b":{"c":[]}} "#, "0", "\"\""] {
            assert_eq!(complaint(text.as_bytes()), None, "{text}");
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_serde(text in r#"[\[\]{}:,"\\ a-ftrulsn0-9.eE+-]{0,24}"#) {
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
            let fine = values.next().is_some_and(|value| value.is_ok());
            // Numbers beyond an f64 and lone surrogates are syntax to Go.
            proptest::prop_assert!(!fine || complaint(text.as_bytes()).is_none());
        }
    }
}
