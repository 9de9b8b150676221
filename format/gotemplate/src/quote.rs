//! Go's quoted strings, written and read.

/// `text` as Go's `%q` (`strconv.Quote`) writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// `c` as Go's `%q` writes a rune.
pub fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c, '\'');
    out.push('\'');
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        c if c == quote => {
            out.push('\\');
            out.push(c);
        }
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        c if is_print(c) => out.push(c),
        c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Roughly Go's `strconv.IsPrint`: controls, odd spaces and private or unassigned planes are not.
pub fn is_print(c: char) -> bool {
    match u32::from(c) {
        0x20..0x7f | 0xa1..=0xac | 0xae..0x2000 => true,
        0x2010..0x2028 | 0x2030..0x205f | 0x2070..0xe000 => c != '\u{3000}',
        0xf900..=0xfefe | 0xff00..0xfff0 | 0xfffc..0xfffe | 0x1_0000..0xe_0000 => true,
        _ => false,
    }
}

/// Reads a quoted string (`"…"` with escapes, or raw); `None`: it is not one.
pub fn unquote(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, tail) = unescape(rest, '"')?;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(b) => bytes.push(b),
        }
        rest = tail;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a character constant (`'x'`).
pub fn unquote_char(text: &str) -> Option<u32> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let (unit, tail) = unescape(inner, '\'')?;
    if !tail.is_empty() {
        return None;
    }
    Some(match unit {
        Unit::Char(c) => u32::from(c),
        Unit::Byte(b) => u32::from(b),
    })
}

enum Unit {
    Char(char),
    Byte(u8),
}

/// The first character, perhaps escaped, and what follows it.
fn unescape(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let c = chars.next()?;
    if c == quote || c == '\n' {
        return None;
    }
    if c != '\\' {
        return Some((Unit::Char(c), chars.as_str()));
    }
    let kind = chars.next()?;
    let rest = chars.as_str();
    let simple = match kind {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' => '\\',
        c if c == quote => c,
        'x' | 'u' | 'U' => {
            let digits = [('x', 2), ('u', 4), ('U', 8)].into_iter().find(|(k, _)| *k == kind)?.1;
            let value = u32::from_str_radix(rest.get(..digits).filter(|d| !d.starts_with('+'))?, 16).ok()?;
            let unit =
                if kind == 'x' { Unit::Byte(u8::try_from(value).ok()?) } else { Unit::Char(char::from_u32(value)?) };
            return Some((unit, &rest[digits..]));
        }
        '0'..='7' => {
            let octal = text.get(1..4)?;
            let value = u32::from_str_radix(octal, 8).ok()?;
            return Some((Unit::Byte(u8::try_from(value).ok()?), text.get(4..)?));
        }
        _ => return None,
    };
    Some((Unit::Char(simple), rest))
}
