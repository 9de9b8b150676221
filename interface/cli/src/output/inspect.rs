//! `inspect`: documents as the daemon sent them, or through a template.

use std::future::Future;

use tare_gotemplate::{Json, Options, Template, Value};

use super::schema;
use crate::cli::Cli;
use crate::error::CliError;

/// Exit status when a template cannot be parsed.
const EXIT_TEMPLATE: i32 = 64;

/// A document, and the type that templates see it as.
pub struct Document {
    /// Bytes of the answer.
    pub raw: Vec<u8>,
    /// A type of [`schema`].
    pub type_name: &'static str,
}

/// How documents are shown.
enum Shape {
    Indented,
    Compact,
    Template(Template),
}

/// Finds each of `names` and shows what was found; errors come after.
pub async fn inspect<'a, Fut>(
    cli: &Cli,
    names: &'a [String],
    format: &str,
    find: impl Fn(&'a str) -> Fut,
) -> Result<i32, CliError>
where
    Fut: Future<Output = Result<Document, CliError>>,
{
    let shape = match format {
        "" => Shape::Indented,
        "json" => Shape::Compact,
        text => Shape::Template(
            Template::parse(text)
                .map_err(|e| CliError::with_code(format!("template parsing error: {e}"), EXIT_TEMPLATE))?,
        ),
    };
    let (mut texts, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match find(name).await.and_then(|document| show(&shape, &document)) {
            Ok(text) => texts.push(text),
            Err(error) => errors.push(error),
        }
    }
    cli.out.print(match &shape {
        Shape::Indented if texts.is_empty() => "[]\n".to_owned(),
        Shape::Indented => indent(format!("[{}]", texts.join(",")).as_bytes()) + "\n",
        Shape::Compact => format!("[{}]\n", texts.join(",")),
        Shape::Template(_) if texts.is_empty() => "\n".to_owned(),
        Shape::Template(_) => texts.concat(),
    })?;
    CliError::join(errors).map_or(Ok(0), |e| Err(CliError { code: 1, ..e }))
}

fn show(shape: &Shape, document: &Document) -> Result<String, CliError> {
    match shape {
        Shape::Indented => Ok(String::from_utf8_lossy(&document.raw).into_owned()),
        Shape::Compact => Ok(compact(&document.raw)),
        Shape::Template(template) => {
            let json =
                Json::parse(&document.raw).map_err(|e| CliError::new(format!("unable to read inspect data: {e}")))?;
            run(template, document.type_name, &json).map(|text| text + "\n")
        }
    }
}

/// Runs a template on the typed value, and when that fails on the plain one, whose keys are those of the JSON.
pub fn run(template: &Template, type_name: &str, json: &Json) -> Result<String, CliError> {
    if let Ok(text) = template.execute(&schema::typed(type_name, json)) {
        return Ok(text);
    }
    let strict = Options { strict: true, ..Options::default() };
    let plain = template.execute_with(&Value::from(json), strict);
    plain.map_err(|e| CliError::new(format!("template parsing error: {e}")))
}

/// JSON laid out over lines as `inspect` does, its values as they were written.
pub fn indent(json: &[u8]) -> String {
    indent_by("    ", json)
}

/// JSON laid out over lines, with so much before what is nested.
pub fn indent_by(step: &str, json: &[u8]) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut pieces = Pieces(json).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(step, depth));
    };
    while let Some(piece) = pieces.next() {
        match piece {
            b"{" | b"[" => {
                out.push_str(&String::from_utf8_lossy(piece));
                // Empty ones stay on their line.
                if !matches!(pieces.peek(), Some(&b"}" | &b"]")) {
                    depth += 1;
                    line(&mut out, depth);
                } else if let Some(close) = pieces.next() {
                    out.push_str(&String::from_utf8_lossy(close));
                }
            }
            b"}" | b"]" => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push_str(&String::from_utf8_lossy(piece));
            }
            b"," => {
                out.push(',');
                line(&mut out, depth);
            }
            b":" => out.push_str(": "),
            other => out.push_str(&String::from_utf8_lossy(other)),
        }
    }
    out
}

/// JSON on one line, its values as they were written.
pub fn compact(json: &[u8]) -> String {
    Pieces(json).map(|piece| String::from_utf8_lossy(piece)).collect()
}

/// Brackets, commas, colons, strings and words of a JSON text.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.trim_ascii_start();
        let end = match text.first()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string_end(text),
            _ => text
                .iter()
                .position(|b| b.is_ascii_whitespace() || matches!(b, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"'))
                .unwrap_or(text.len()),
        };
        let (piece, rest) = text.split_at(end);
        self.0 = rest;
        Some(piece)
    }
}

/// Length of the string that a text begins with, quotes included.
fn string_end(text: &[u8]) -> usize {
    let mut escaped = false;
    for (i, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let text = indent(br#"[{"Id":"a\"}","N":1.50,"E":{},"L":[ ],"M":{"x":[1,{"y":null}]}}]"#);
        insta::assert_snapshot!(text, @r#"
        [
            {
                "Id": "a\"}",
                "N": 1.50,
                "E": {},
                "L": [],
                "M": {
                    "x": [
                        1,
                        {
                            "y": null
                        }
                    ]
                }
            }
        ]
        "#);
        assert_eq!(compact(b"{ \"a\" : [1, 2 ] }\n"), r#"{"a":[1,2]}"#);
    }

    fn shown(template: &str) -> String {
        let json = Json::parse(br#"{"Id":"x","State":{"Running":false}}"#).unwrap();
        let template = Template::parse(template).unwrap();
        run(&template, "container.InspectResponse", &json).unwrap_or_else(|e| e.message)
    }

    #[test]
    fn names_of_both_kinds() {
        assert_eq!(shown("{{.State.Running}}"), "false");
        assert_eq!(shown("{{.ID}}"), "x");
        assert_eq!(shown("{{.Id}}"), "x");
        insta::assert_snapshot!(shown("{{.Foo}}"), @r#"template parsing error: template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo""#);
        insta::assert_snapshot!(shown("{{.State.Foo}}"), @r#"template parsing error: template: :1:8: executing "" at <.State.Foo>: map has no entry for key "Foo""#);
    }
}
