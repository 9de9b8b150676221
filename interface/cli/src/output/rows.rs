//! Lists: rows run through a template, as a table or line by line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tare_gotemplate::{Json, Object, Options, Template, Value};

use super::tabs;
use crate::cli::{Cli, Output};
use crate::error::CliError;

/// Template that prints an ID only.
pub const QUIET: &str = "{{.ID}}";
/// Help of every `--format` of a list.
pub const FORMAT_HELP: &str = "\
Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";
/// Help of every `--format` of one thing.
pub const INSPECT_FORMAT_HELP: &str = "\
Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates";
/// Smallest width of a column of a table.
const COLUMN: usize = 10;

/// A row: what its columns show, by the name that templates use.
pub struct Row {
    type_name: &'static str,
    fields: Vec<(&'static str, Value)>,
    /// For the method `Label`, where there is one.
    labels: Option<BTreeMap<String, String>>,
    /// Set when a template looks at the named field.
    watch: Option<(&'static str, Arc<AtomicBool>)>,
}

impl Row {
    /// An empty row; Go's errors name its type.
    pub fn new(type_name: &'static str) -> Row {
        Row { type_name, fields: Vec::new(), labels: None, watch: None }
    }

    /// Adds a column.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Row {
        self.fields.push((name, value.into()));
        self
    }

    /// Gives it the method `Label`.
    #[must_use]
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Row {
        self.labels = Some(labels);
        self
    }

    /// Notes in `seen` when a template looks at `name`.
    #[must_use]
    pub fn watch(mut self, name: &'static str, seen: Arc<AtomicBool>) -> Row {
        self.watch = Some((name, seen));
        self
    }

    /// What a column shows.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    fn note(&self, name: &str) {
        if let Some((watched, seen)) = &self.watch
            && (*watched == name || name.is_empty())
        {
            seen.store(true, Ordering::Relaxed);
        }
    }
}

impl Object for Row {
    fn type_name(&self) -> &str {
        self.type_name
    }
    fn arity(&self, method: &str) -> Option<usize> {
        if method == "Label" && self.labels.is_some() {
            return Some(1);
        }
        self.get(method).map(|_| 0)
    }
    fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, String> {
        self.note(method);
        if let (Some(labels), [label]) = (&self.labels, arguments) {
            return Ok(labels.get(label.as_str().unwrap_or("")).map_or_else(|| Value::str(""), Value::str));
        }
        Ok(self.get(method).cloned().unwrap_or(Value::Missing))
    }
    fn json(&self) -> Json {
        self.note("");
        let mut fields: Vec<(String, Json)> =
            self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_json())).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Json::Object(fields).html_safe()
    }
}

/// Names of columns, as the templates of tables see them.
struct Header(&'static [(&'static str, &'static str)]);

impl Object for Header {
    fn type_name(&self) -> &'static str {
        "formatter.SubHeaderContext"
    }
    fn arity(&self, method: &str) -> Option<usize> {
        Some(usize::from(method == "Label"))
    }
    fn call(&self, method: &str, arguments: &[Value]) -> Result<Value, String> {
        if let [label] = arguments {
            let last = label.as_str().unwrap_or("").rsplit('.').next().unwrap_or("");
            return Ok(Value::str(last.replace(['-', '_'], " ")));
        }
        Ok(self.0.iter().find(|(name, _)| *name == method).map_or(Value::Missing, |(_, title)| Value::str(title)))
    }
    fn json(&self) -> Json {
        Json::Object(self.0.iter().map(|(name, title)| ((*name).to_owned(), Json::Str((*title).to_owned()))).collect())
    }
}

/// How a list is shown.
pub struct Format {
    template: Template,
    table: bool,
}

impl Format {
    /// Reads a format: a template, `table TEMPLATE` or `json`.
    pub fn parse(format: &str) -> Result<Format, CliError> {
        let (table, text) = match format.strip_prefix("table") {
            Some(text) => (true, text),
            None if format == "json" => (false, "{{json .}}"),
            None => (false, format),
        };
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text).map_err(|e| CliError::new(format!("template parsing error: {e}")))?;
        Ok(Format { template, table })
    }

    /// The text of a list.
    pub fn render(&self, header: &'static [(&'static str, &'static str)], rows: Vec<Row>) -> Result<String, CliError> {
        let mut lines = String::new();
        if self.table {
            let options = Options { headers: true, ..Options::default() };
            let header = Value::Object(Arc::new(Header(header)));
            // A header that cannot be made leaves its line empty, as in docker.
            lines.push_str(&self.template.execute_with(&header, options).unwrap_or_default());
            lines.push('\n');
        }
        for row in rows {
            let row = Value::Object(Arc::new(row));
            let line = self.template.execute(&row);
            lines.push_str(&line.map_err(|e| CliError::new(format!("template parsing error: {e}")))?);
            lines.push('\n');
        }
        Ok(if self.table { tabs::align(&lines, COLUMN) } else { lines })
    }

    /// Prints a list.
    pub fn write(
        &self,
        out: &Output,
        header: &'static [(&'static str, &'static str)],
        rows: Vec<Row>,
    ) -> Result<(), CliError> {
        out.print(self.render(header, rows)?)
    }
}

/// The format to use: the one asked for, the one configured under `key`, or the plain table.
pub fn choose(cli: &Cli, asked: &str, key: &str, quiet: bool) -> Result<String, CliError> {
    let configured = if key.is_empty() || quiet { "" } else { cli.config()?.text(key) };
    Ok(match (asked, configured) {
        ("", "") => "table".to_owned(),
        ("", configured) => configured.to_owned(),
        (asked, _) => asked.to_owned(),
    })
}

/// `table` and `quiet` as templates; other formats stay.
pub fn resolve<'a>(format: &'a str, quiet: bool, table: &'a str) -> &'a str {
    match (format, quiet) {
        ("table", true) => QUIET,
        ("table", false) => table,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[(&str, &str)] = &[("ID", "CONTAINER ID"), ("Name", "NAME")];

    fn row(id: &str, name: &str) -> Row {
        let labels = BTreeMap::from([("com.example.a-b".to_owned(), "1".to_owned())]);
        Row::new("*formatter.X").with("ID", id).with("Name", name).labels(labels)
    }

    fn shown(format: &str) -> String {
        let rows = vec![row("1", "one"), row("22222222222222", "two")];
        let text = Format::parse(format).and_then(|f| f.render(HEADER, rows));
        text.unwrap_or_else(|e| format!("error: {e}"))
    }

    #[test]
    fn tables() {
        insta::assert_snapshot!(shown(r#"table {{.ID}}\t{{.Name | upper}}\t{{.Label "com.example.a-b"}}"#), @r"
        CONTAINER ID     NAME      a b
        1                ONE       1
        22222222222222   TWO       1
        ");
    }

    #[test]
    fn lines() {
        insta::assert_snapshot!(shown("{{.ID}}: {{.Name}}"), @r"
        1: one
        22222222222222: two
        ");
        let escaped = Value::Object(Arc::new(row("<none>", "a&b"))).to_json().to_string();
        assert_eq!(escaped, r#"{"ID":"\u003cnone\u003e","Name":"a\u0026b"}"#);
        insta::assert_snapshot!(shown("json"), @r#"
        {"ID":"1","Name":"one"}
        {"ID":"22222222222222","Name":"two"}
        "#);
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(shown("{{.Foo}}"), @r#"error: template parsing error: template: :1:2: executing "" at <.Foo>: can't evaluate field Foo in type *formatter.X"#);
        insta::assert_snapshot!(shown("{{.ID"), @"error: template parsing error: template: :1: unclosed action");
        insta::assert_snapshot!(shown("{{.Label}}"), @r#"error: template parsing error: template: :1:2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0"#);
    }
}
