//! Templates whose results were recorded with Go's own text/template, and hostile ones.

use serde_json::Value as Document;
use tare_gotemplate::{Json, Options, Template, Value};

fn run(text: &str, data: &Value, strict: bool) -> Result<String, String> {
    let template = Template::parse(text).map_err(|e| e.to_string())?;
    template.execute_with(data, Options { strict, headers: false }).map_err(|e| e.to_string())
}

#[test]
fn as_go_does() {
    let golden: Document = serde_json::from_str(include_str!("golden.json")).unwrap();
    let data = Value::from(&serde_json::from_value::<Json>(golden["data"].clone()).unwrap());
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let text = case["template"].as_str().unwrap();
        let expected = match case["out"].as_str() {
            Some(out) => Ok(out.to_owned()),
            None => Err(case["error"].as_str().unwrap().to_owned()),
        };
        let got = run(text, &data, false);
        if got != expected {
            wrong.push(format!("{text}\n   Go: {expected:?}\n ours: {got:?}"));
        }
        if let Some(error) = case["strict"].as_str() {
            let got = run(text, &data, true);
            if got != Err(error.to_owned()) {
                wrong.push(format!("{text} (strict)\n   Go: {error:?}\n ours: {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn runaways_are_stopped() {
    let error = |text: &str| run(text, &Value::Int(1), false).unwrap_err();
    let recursion = error(r#"{{define "x"}}{{template "x"}}{{end}}{{template "x"}}"#);
    assert!(recursion.ends_with("exceeded maximum template depth (300)"), "{recursion}");
    let blocks = error(
        r#"{{define "x"}}{{if 1}}{{with (print (print .))}}{{template "x" .}}{{end}}{{end}}{{end}}{{template "x"}}"#,
    );
    assert!(blocks.ends_with("exceeded maximum template depth (300)"), "{blocks}");
    let steps = error("{{range 1000000}}{{range 1000000}}{{end}}{{end}}");
    assert!(steps.ends_with("runs too long: more than 2000000 steps"), "{steps}");
    let nesting = error(&"{{if 1}}".repeat(100_000));
    assert_eq!(nesting, "template: :1: nested deeper than 200 levels");
    let parens = error(&format!("{{{{{}", "(".repeat(100_000)));
    assert_eq!(parens, "template: :1: nested deeper than 200 levels");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Pieces of templates in any order: parsing and running end without a panic.
    #[test]
    fn nothing_panics(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24), tail in ".{0,8}") {
        let text = pieces.concat() + &tail;
        let data = Value::from(&Json::parse(br#"{"A":[1,"x",null,{"B":2.5}],"S":"h\u00e9llo"}"#).unwrap());
        let _ = run(&text, &data, false);
        let _ = run(&format!("{{{{{text}}}}}"), &data, true);
    }
}

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{- ",
    " -}}",
    " ",
    "\n",
    ".",
    "$",
    "$x",
    ":=",
    "=",
    ",",
    "|",
    "(",
    ")",
    ".A",
    ".S",
    ".B",
    "1",
    "-1",
    "0x",
    "1e9",
    "'a'",
    "\"s\"",
    "`r`",
    "nil",
    "true",
    "/*",
    "*/",
    "if ",
    "else",
    "else if ",
    "end",
    "{{end}}",
    "range ",
    "with ",
    "define ",
    "template ",
    "block ",
    "break",
    "continue",
    "index ",
    "slice ",
    "len ",
    "printf ",
    "\"%5.2v%q%x%*d%\"",
    "print ",
    "json ",
    "join ",
    "split ",
    "title ",
    "pad ",
    "truncate ",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "not ",
    "html ",
    "js ",
    "é",
    "☃",
];
