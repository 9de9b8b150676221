//! Go's quoted strings.

/// `text` as Go's `%q` (`strconv.Quote`) writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if printable(c) => out.push(c),
            c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Roughly Go's `strconv.IsPrint`: controls, odd spaces and private or unassigned planes are not.
fn printable(c: char) -> bool {
    match u32::from(c) {
        0x20..0x7f | 0xa1..=0xac | 0xae..0x2000 => true,
        0x2010..0x2028 | 0x2030..0x205f | 0x2070..0xe000 => c != '\u{3000}',
        0xf900..=0xfefe | 0xff00..0xfff0 | 0xfffc..0xfffe | 0x1_0000..0xe_0000 => true,
        _ => false,
    }
}
