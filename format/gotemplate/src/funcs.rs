//! Functions: Go's own and docker's.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::format::{print, sprint, sprintf, sprintln};
use crate::quote::is_print;
use crate::value::{List, Value};

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// Anything.
    Any,
    /// `string`
    Str,
    /// `int`
    Int,
}

impl Param {
    /// Go's name.
    pub fn go_name(self) -> &'static str {
        match self {
            Param::Any => "interface {}",
            Param::Str => "string",
            Param::Int => "int",
        }
    }
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Parameters that must be there.
    pub params: &'static [Param],
    /// Whether more may follow.
    pub variadic: bool,
    /// Type of those.
    pub rest: Param,
    /// What it does; the error is a sentence.
    pub run: fn(&[Value]) -> Result<Value, String>,
}

const fn fixed(name: &'static str, params: &'static [Param], run: fn(&[Value]) -> Result<Value, String>) -> Function {
    Function { name, params, variadic: false, rest: Param::Any, run }
}

const fn variadic(
    name: &'static str,
    params: &'static [Param],
    run: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function { name, params, variadic: true, rest: Param::Any, run }
}

use Param::{Any, Int, Str};

static FUNCTIONS: &[Function] = &[
    // Go's.
    variadic("and", &[Any], |a| Ok(get(a, 0))),
    variadic("or", &[Any], |a| Ok(get(a, 0))),
    fixed("not", &[Any], |a| Ok(Value::Bool(!get(a, 0).truth()))),
    variadic("eq", &[Any], equal),
    fixed("ne", &[Any, Any], |a| equal(a).map(|v| Value::Bool(!v.truth()))),
    fixed("lt", &[Any, Any], |a| compare(a).map(|o| Value::Bool(o == Some(Ordering::Less)))),
    fixed("le", &[Any, Any], |a| compare(a).map(|o| Value::Bool(matches!(o, Some(Ordering::Less | Ordering::Equal))))),
    fixed("gt", &[Any, Any], |a| compare(a).map(|o| Value::Bool(!matches!(o, Some(Ordering::Less | Ordering::Equal))))),
    fixed("ge", &[Any, Any], |a| compare(a).map(|o| Value::Bool(o != Some(Ordering::Less)))),
    variadic("call", &[Any], call),
    variadic("html", &[], |a| Ok(Value::str(html(&text_of(a))))),
    variadic("index", &[Any], index),
    variadic("js", &[], |a| Ok(Value::str(js(&text_of(a))))),
    fixed("len", &[Any], length),
    variadic("print", &[], |a| Ok(Value::str(sprint(a)))),
    variadic("printf", &[Str], |a| Ok(Value::str(sprintf(string(a, 0), a.get(1..).unwrap_or(&[]))))),
    variadic("println", &[], |a| Ok(Value::str(sprintln(a)))),
    variadic("slice", &[Any], slice),
    variadic("urlquery", &[], |a| Ok(Value::str(url_query(&text_of(a))))),
    // Docker's.
    fixed("json", &[Any], json),
    fixed("split", &[Str, Str], |a| Ok(split(string(a, 0), string(a, 1)))),
    fixed("join", &[Any, Str], join),
    fixed("title", &[Str], |a| Ok(Value::str(title(string(a, 0))))),
    fixed("lower", &[Str], |a| Ok(Value::str(string(a, 0).to_lowercase()))),
    fixed("upper", &[Str], |a| Ok(Value::str(string(a, 0).to_uppercase()))),
    fixed("pad", &[Str, Int, Int], pad),
    fixed("truncate", &[Str, Int], truncate),
];

/// Docker's functions as they are for the header of a table: the name of a column stays as it is.
static HEADER_FUNCTIONS: &[Function] = &[
    fixed("json", &[Str], |a| Ok(get(a, 0))),
    fixed("split", &[Str, Str], |a| Ok(get(a, 0))),
    fixed("join", &[Str, Str], |a| Ok(get(a, 0))),
    fixed("title", &[Str], |a| Ok(get(a, 0))),
    fixed("lower", &[Str], |a| Ok(get(a, 0))),
    fixed("upper", &[Str], |a| Ok(get(a, 0))),
    fixed("truncate", &[Str, Int], |a| Ok(get(a, 0))),
];

/// The function of a name.
pub fn find(name: &str, headers: bool) -> Option<&'static Function> {
    let header = HEADER_FUNCTIONS.iter().filter(|_| headers);
    header.chain(FUNCTIONS).find(|f| f.name == name)
}

fn get(arguments: &[Value], i: usize) -> Value {
    arguments.get(i).cloned().unwrap_or(Value::Missing)
}

fn string(arguments: &[Value], i: usize) -> &str {
    arguments.get(i).and_then(Value::as_str).unwrap_or("")
}

fn int(arguments: &[Value], i: usize) -> i64 {
    match arguments.get(i) {
        Some(Value::Int(i)) => *i,
        _ => 0,
    }
}

/// `fmt.Sprint` of what is given, as html, js and urlquery see it.
fn text_of(arguments: &[Value]) -> String {
    match arguments {
        [Value::Str(text)] => text.to_string(),
        _ => {
            let known =
                |value: &Value| if matches!(value, Value::Missing) { Value::str("<no value>") } else { value.clone() };
            sprint(&arguments.iter().map(known).collect::<Vec<_>>())
        }
    }
}

fn json(arguments: &[Value]) -> Result<Value, String> {
    Ok(Value::str(get(arguments, 0).to_json().to_string()))
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::strings(text.chars().map(|c| c.to_string()));
    }
    Value::strings(text.split(separator))
}

fn join(arguments: &[Value]) -> Result<Value, String> {
    let separator = string(arguments, 1);
    let shown = |value: &Value| {
        let mut text = String::new();
        print(&mut text, value, true);
        text
    };
    match &get(arguments, 0) {
        Value::Missing | Value::Nil => Ok(Value::str("")),
        Value::List(list) => {
            let texts: Vec<String> = list.items.iter().map(shown).collect();
            Ok(Value::str(texts.join(separator)))
        }
        Value::Map(map) => {
            let mut texts: Vec<String> = map.entries.iter().map(|(_, v)| shown(v)).collect();
            texts.sort();
            Ok(Value::str(texts.join(separator)))
        }
        other => Err(format!("expected slice, got {}", other.type_name())),
    }
}

/// Upper case for the first letter of each word (Go's strings.Title).
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        in_word = c.is_alphanumeric() || c == '_' || (in_word && !c.is_ascii() && !c.is_whitespace());
    }
    out
}

/// Most spaces that `pad` adds, in characters.
const MAX_PAD: i64 = 1 << 20;

fn pad(arguments: &[Value]) -> Result<Value, String> {
    let text = string(arguments, 0);
    if text.is_empty() {
        return Ok(Value::str(""));
    }
    let spaces = |n: i64| match usize::try_from(n) {
        Ok(n) if n as i64 <= MAX_PAD => Ok(" ".repeat(n)),
        Ok(_) => Err(format!("padding of more than {MAX_PAD} characters")),
        Err(_) => Err("strings: negative Repeat count".to_owned()),
    };
    Ok(Value::str(format!("{}{text}{}", spaces(int(arguments, 1))?, spaces(int(arguments, 2))?)))
}

fn truncate(arguments: &[Value]) -> Result<Value, String> {
    let text = string(arguments, 0);
    let Ok(length) = usize::try_from(int(arguments, 1)) else {
        return Err(format!("runtime error: slice bounds out of range [:{}]", int(arguments, 1)));
    };
    Ok(bytes(text.as_bytes().get(..length).unwrap_or(text.as_bytes())))
}

/// A string of bytes that may have been cut inside of a character.
fn bytes(bytes: &[u8]) -> Value {
    Value::str(String::from_utf8_lossy(bytes))
}

fn length(arguments: &[Value]) -> Result<Value, String> {
    let count = match get(arguments, 0).base() {
        Value::Str(s) => s.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Nil | Value::NilPointer(_) => return Err("len of nil pointer".to_owned()),
        Value::Missing => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// A position in something of `size` elements.
fn position(value: &Value, size: usize) -> Result<usize, String> {
    let i = match value.base() {
        Value::Int(i) => i128::from(*i),
        Value::Uint(u) => i128::from(*u),
        Value::Missing | Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    usize::try_from(i).ok().filter(|i| *i <= size).ok_or_else(|| format!("index out of range: {i}"))
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut item = get(arguments, 0);
    if matches!(item, Value::Missing | Value::Nil) {
        return Err("index of untyped nil".to_owned());
    }
    for key in arguments.iter().skip(1) {
        item = match item.base() {
            Value::Missing | Value::Nil | Value::NilPointer(_) => return Err("index of nil pointer".to_owned()),
            Value::List(list) => {
                let i = position(key, list.items.len())?;
                list.items.get(i).cloned().ok_or("reflect: slice index out of range")?
            }
            Value::Str(s) => {
                let i = position(key, s.len())?;
                let byte = s.as_bytes().get(i).ok_or("reflect: string index out of range")?;
                Value::Uint(u64::from(*byte))
            }
            Value::Map(map) => match key.base() {
                Value::Str(key) => map.get(key).cloned().unwrap_or_else(|| zero(&map.type_name)),
                Value::Missing | Value::Nil => return Err("value is nil; should be of type string".to_owned()),
                other => {
                    return Err(format!("value has type {}; should be string", other.type_name()));
                }
            },
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// What a map gives for a key that it does not have: the zero value of its elements.
fn zero(map_type: &str) -> Value {
    match map_type {
        "map[string]string" => Value::str(""),
        "map[string]int" => Value::Int(0),
        "map[string]bool" => Value::Bool(false),
        other if other.contains("]struct") => Value::str("{}"),
        other if other.contains("][]") => {
            Value::List(Arc::new(List { type_name: "[]".into(), items: Vec::new(), nil: false }))
        }
        _ => Value::Missing,
    }
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let item = get(arguments, 0);
    let indexes = arguments.get(1..).unwrap_or(&[]);
    if matches!(item, Value::Missing | Value::Nil) {
        return Err("slice of untyped nil".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let size = match item.base() {
        Value::Str(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Str(s) => s.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let mut bounds = [0, size, size];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, size)?;
    }
    let [low, high, cap] = bounds;
    for (a, b) in [(low, high), (high, cap)] {
        if a > b {
            return Err(format!("invalid slice index: {a} > {b}"));
        }
    }
    Ok(match item.base() {
        Value::Str(s) => bytes(&s.as_bytes()[low..high]),
        Value::List(list) => Value::List(Arc::new(List {
            type_name: list.type_name.clone(),
            items: list.items[low..high].to_vec(),
            nil: list.nil,
        })),
        _ => item,
    })
}

fn call(arguments: &[Value]) -> Result<Value, String> {
    match get(arguments, 0) {
        Value::Missing | Value::Nil => Err("call of nil".to_owned()),
        other => Err(format!("non-function of type {}", other.type_name())),
    }
}

const BAD_TYPE: &str = "invalid type for comparison";
const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal(arguments: &[Value]) -> Result<Value, String> {
    let Some((first, others)) = arguments.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in others {
        if same(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn same(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a.base(), b.base()) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        #[expect(clippy::float_cmp, reason = "what == means")]
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => integers(a, b) == Some(Ordering::Equal),
        (a, b) if a.is_nil() || b.is_nil() => a.is_nil() == b.is_nil(),
        (Value::List(_) | Value::Map(_) | Value::Struct(_) | Value::Object(_), other) => {
            let mut shown = String::new();
            print(&mut shown, other, true);
            return match other {
                Value::List(_) | Value::Map(_) => Err(format!("non-comparable type {shown}: {}", other.type_name())),
                _ => Err(INCOMPATIBLE.to_owned()),
            };
        }
        _ => return Err(INCOMPATIBLE.to_owned()),
    })
}

fn integers(a: &Value, b: &Value) -> Option<Ordering> {
    let wide = |value: &Value| match value.base() {
        Value::Int(i) => Some(i128::from(*i)),
        Value::Uint(u) => Some(i128::from(*u)),
        _ => None,
    };
    Some(wide(a)?.cmp(&wide(b)?))
}

/// Order of two basic values; `None` for floats that have none.
fn compare(arguments: &[Value]) -> Result<Option<Ordering>, String> {
    let (a, b) = (get(arguments, 0), get(arguments, 1));
    let basic = |value: &Value| match value.base() {
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Str(_) => Ok(()),
        _ => Err(BAD_TYPE.to_owned()),
    };
    basic(&a)?;
    basic(&b)?;
    match (a.base(), b.base()) {
        (Value::Bool(_), Value::Bool(_)) => Err(BAD_TYPE.to_owned()),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.cmp(b))),
        (x, y) => integers(x, y).map(Some).ok_or_else(|| INCOMPATIBLE.to_owned()),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' || (!c.is_ascii() && !is_print(c)) => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
