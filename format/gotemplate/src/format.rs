//! Go's package fmt: how values print, and the verbs of printf.

use std::fmt::Write as _;

use crate::quote::{quote, quote_char};
use crate::value::Value;

/// Longest field that a verb may ask for, in characters, as in Go.
const MAX_WIDTH: usize = 1_000_000;

/// `%v`
pub fn print(out: &mut String, value: &Value, nested: bool) {
    match value {
        Value::Missing if !nested => out.push_str("<no value>"),
        Value::Missing | Value::Nil | Value::NilPointer(_) => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => write!(out, "{i}").unwrap_or_default(),
        Value::Uint(u) => write!(out, "{u}").unwrap_or_default(),
        Value::Float(f) => out.push_str(&float_general(*f, None)),
        Value::Str(s) => out.push_str(s),
        Value::Named(named) => out.push_str(&named.text),
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(out, item, true);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.sorted().into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                print(out, item, true);
            }
            out.push(']');
        }
        Value::Struct(s) => {
            out.push('{');
            for (i, item) in s.values.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                print(out, item, true);
            }
            out.push('}');
        }
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Values as `fmt.Sprint` joins them: a space between two that are not strings.
pub fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    let mut previous_string = true;
    for (i, value) in values.iter().enumerate() {
        let string = matches!(value, Value::Str(_));
        if i > 0 && !string && !previous_string {
            out.push(' ');
        }
        print(&mut out, value, true);
        previous_string = string;
    }
    out
}

/// Values as `fmt.Sprintln` joins them.
pub fn sprintln(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        print(&mut out, value, true);
    }
    out.push('\n');
    out
}

#[derive(Default, Clone)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`
pub fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut rest = format;
    let mut next = 0;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        rest = &rest[percent + 1..];
        let (spec, complaint) = read_spec(&mut rest, values, &mut next);
        out.push_str(&complaint);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values.get(next) {
            None => write!(out, "%!{verb}(MISSING)").unwrap_or_default(),
            Some(value) => {
                next += 1;
                verb_value(&mut out, &spec, verb, value);
            }
        }
    }
    out.push_str(rest);
    if next < values.len() {
        out.push_str("%!(EXTRA ");
        for (i, value) in values[next..].iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            if value.is_nil() {
                out.push_str("<nil>");
            } else {
                write!(out, "{}=", value.type_name()).unwrap_or_default();
                print(&mut out, value, true);
            }
        }
        out.push(')');
    }
    out
}

/// Flags, width and precision after a percent sign; what is wrong with them.
fn read_spec(rest: &mut &str, values: &[Value], next: &mut usize) -> (Spec, String) {
    let mut spec = Spec::default();
    let mut complaint = String::new();
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => (spec.minus, spec.zero) = (true, false),
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            '0' => spec.zero = !spec.minus,
            _ => break,
        }
        *rest = &rest[1..];
    }
    match read_size(rest, values, next) {
        Size::None => {}
        Size::Number(n) if n < 0 => {
            (spec.minus, spec.zero) = (true, false);
            spec.width = usize::try_from(-n).ok();
        }
        Size::Number(n) => spec.width = usize::try_from(n).ok(),
        Size::Bad => complaint.push_str("%!(BADWIDTH)"),
    }
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        match read_size(rest, values, next) {
            Size::None => spec.precision = Some(0),
            Size::Number(n) if n < 0 => complaint.push_str("%!(BADPREC)"),
            Size::Number(n) => spec.precision = usize::try_from(n).ok(),
            Size::Bad => complaint.push_str("%!(BADPREC)"),
        }
    }
    (spec, complaint)
}

enum Size {
    None,
    Number(i64),
    Bad,
}

fn read_size(rest: &mut &str, values: &[Value], next: &mut usize) -> Size {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let value = values.get(*next);
        *next += usize::from(value.is_some());
        return match value.map(Value::base) {
            Some(Value::Int(n)) if n.unsigned_abs() <= MAX_WIDTH as u64 => Size::Number(*n),
            _ => Size::Bad,
        };
    }
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, after) = rest.split_at(digits);
    *rest = after;
    match number.parse::<i64>() {
        Ok(n) if n <= MAX_WIDTH as i64 => Size::Number(n),
        Ok(_) => Size::Bad,
        Err(_) if number.is_empty() => Size::None,
        Err(_) => Size::Bad,
    }
}

fn pad(out: &mut String, spec: &Spec, text: &str) {
    let length = text.chars().count();
    let fill = spec.width.unwrap_or(0).saturating_sub(length);
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', fill));
    } else {
        out.extend(std::iter::repeat_n(if spec.zero { '0' } else { ' ' }, fill));
        out.push_str(text);
    }
}

fn verb_value(out: &mut String, spec: &Spec, verb: char, value: &Value) {
    match (verb, value) {
        ('T', Value::Missing | Value::Nil) => pad(out, spec, "<nil>"),
        ('T', value) => pad(out, spec, &value.type_name()),
        ('v', Value::Missing | Value::Nil) => pad(out, spec, "<nil>"),
        (_, Value::Missing | Value::Nil) => write!(out, "%!{verb}(<nil>)").unwrap_or_default(),
        ('v' | 's', Value::NilPointer(_)) => pad(out, spec, "<nil>"),
        ('v', Value::Bool(_) | Value::Str(_)) if spec.sharp => verb_value(
            out,
            &Spec { sharp: false, ..spec.clone() },
            if matches!(value, Value::Str(_)) { 'q' } else { 't' },
            value,
        ),
        ('v' | 's' | 'q' | 'x' | 'X', Value::Named(named)) => {
            string_verb(out, spec, if verb == 'v' { 's' } else { verb }, &named.text)
        }
        (_, Value::Named(named)) => verb_value(out, spec, verb, &named.base),
        ('v' | 't', Value::Bool(b)) => {
            pad(out, &Spec { zero: false, ..spec.clone() }, if *b { "true" } else { "false" })
        }
        (_, Value::Int(i)) => integer(out, spec, verb, *i < 0, i.unsigned_abs(), value),
        (_, Value::Uint(u)) => integer(out, spec, verb, false, *u, value),
        (_, Value::Float(f)) => float(out, spec, verb, *f, value),
        (_, Value::Str(s)) if matches!(verb, 'v' | 's' | 'q' | 'x' | 'X') => {
            string_verb(out, spec, if verb == 'v' { 's' } else { verb }, s)
        }
        (_, Value::List(list)) => each(out, "[", "]", list.items.iter().map(|item| (None, item)), spec, verb),
        (_, Value::Map(map)) => {
            let entries = map.sorted();
            each(out, "map[", "]", entries.into_iter().map(|(k, v)| (Some(&**k), v)), spec, verb);
        }
        (_, Value::Struct(s)) => {
            let name = |i: usize| spec.plus.then(|| s.ty.fields.get(i).map_or("", |f| f.as_ref()));
            each(out, "{", "}", s.values.iter().enumerate().map(|(i, item)| (name(i), item)), spec, verb);
        }
        ('v', Value::Object(_)) => pad(out, spec, "{}"),
        _ => bad_verb(out, verb, value),
    }
}

fn each<'a>(
    out: &mut String,
    open: &str,
    close: &str,
    items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    spec: &Spec,
    verb: char,
) {
    out.push_str(open);
    for (i, (name, item)) in items.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        if let Some(name) = name {
            match (open, verb) {
                ("map[", 'v') | ("{", _) => out.push_str(name),
                _ => verb_value(out, spec, verb, &Value::str(name)),
            }
            out.push(':');
        }
        if item.is_nil() {
            out.push_str("<nil>");
        } else {
            verb_value(out, spec, verb, item);
        }
    }
    out.push_str(close);
}

fn bad_verb(out: &mut String, verb: char, value: &Value) {
    write!(out, "%!{verb}({}=", value.type_name()).unwrap_or_default();
    print(out, value, true);
    out.push(')');
}

fn string_verb(out: &mut String, spec: &Spec, verb: char, text: &str) {
    match verb {
        's' | 'q' => {
            let cut: String = match spec.precision {
                Some(n) => text.chars().take(n).collect(),
                None => text.to_owned(),
            };
            if verb == 's' {
                pad(out, spec, &cut);
            } else if spec.sharp
                && !cut.contains(['`', '\n', '\r', '\u{7f}'])
                && !cut.contains(|c: char| c < ' ' && c != '\t')
            {
                pad(out, spec, &format!("`{cut}`"));
            } else {
                pad(out, spec, &quote(&cut));
            }
        }
        _ => {
            let bytes = &text.as_bytes()[..spec.precision.unwrap_or(text.len()).min(text.len())];
            let mut hex = String::new();
            for (i, byte) in bytes.iter().enumerate() {
                if spec.space && i > 0 {
                    hex.push(' ');
                }
                if spec.sharp && (i == 0 || spec.space) {
                    hex.push_str(if verb == 'x' { "0x" } else { "0X" });
                }
                hex.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
            }
            pad(out, spec, &hex);
        }
    }
}

fn integer(out: &mut String, spec: &Spec, verb: char, negative: bool, magnitude: u64, value: &Value) {
    let (mut digits, prefix) = match verb {
        'v' | 'd' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), if spec.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if spec.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if spec.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if spec.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(magnitude).ok().filter(|_| !negative).and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = match verb {
                'c' => c.to_string(),
                'q' => quote_char(c),
                _ => format!("U+{magnitude:04X}"),
            };
            return pad(out, spec, &text);
        }
        _ => return bad_verb(out, verb, value),
    };
    let sign = match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    if spec.precision == Some(0) && magnitude == 0 {
        digits.clear();
        return pad(out, &Spec { zero: false, ..spec.clone() }, "");
    }
    let zeros = match (spec.precision, spec.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if spec.zero => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let fill = zeros.saturating_sub(digits.len());
    let text = format!("{sign}{prefix}{}{digits}", "0".repeat(fill));
    pad(out, &Spec { zero: false, ..spec.clone() }, &text);
}

fn float(out: &mut String, spec: &Spec, verb: char, f: f64, value: &Value) {
    let text = match verb {
        'v' | 'g' | 'G' => float_general(f, spec.precision),
        'f' | 'F' => finite(f, || format!("{f:.*}", spec.precision.unwrap_or(6))),
        'e' | 'E' => finite(f, || float_exponent(f, Some(spec.precision.unwrap_or(6)))),
        _ => return bad_verb(out, verb, value),
    };
    let text = if verb.is_ascii_uppercase() && verb != 'F' { text.to_uppercase() } else { text };
    let text = match (text.starts_with(['-', '+']), spec.plus, spec.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    };
    if spec.zero && f.is_finite() && text.starts_with(['-', '+', ' ']) {
        let (sign, digits) = text.split_at(1);
        let fill = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
        out.push_str(&format!("{sign}{}{digits}", "0".repeat(fill)));
        return;
    }
    pad(out, &Spec { zero: spec.zero && f.is_finite(), ..spec.clone() }, &text);
}

fn finite(f: f64, text: impl FnOnce() -> String) -> String {
    if f.is_nan() {
        "NaN".to_owned()
    } else if f.is_infinite() {
        if f > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        text()
    }
}

/// `%e`: at least two digits of exponent.
fn float_exponent(f: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{f:.precision$e}"),
        None => format!("{f:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Decimal exponent from which on `%g` writes one when no precision is asked for, as in Go's strconv.
const SHORTEST_THRESHOLD: i32 = 6;

/// `%g`: the shortest text that means the same.
pub fn float_general(f: f64, precision: Option<usize>) -> String {
    finite(f, || {
        if f == 0.0 {
            return if f.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
        }
        let significant = precision.map(|p| p.max(1));
        let scientific = float_exponent(f, significant.map(|s| s - 1));
        let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
        let limit = significant.map_or(SHORTEST_THRESHOLD, |s| i32::try_from(s).unwrap_or(i32::MAX));
        if exponent < -4 || exponent >= limit {
            let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
            let mantissa =
                if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
            return format!("{mantissa}e{exponent}");
        }
        match significant {
            None => format!("{f}"),
            Some(s) => {
                let decimals = usize::try_from(i64::try_from(s).unwrap_or(0) - 1 - i64::from(exponent)).unwrap_or(0);
                let text = format!("{f:.decimals$}");
                if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
            }
        }
    })
}
