//! The forms of the daemon's log, those of dockerd: `time="…" level=info msg="…" key=value`, or a JSON object a line.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Result, bail};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Text,
    Json,
}

impl Lines {
    /// By dockerd's names.
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => bail!("invalid log format: {text}"),
        }
    }

    fn line(self, time: &str, level: &str, said: Said) -> String {
        let Said { message, fields } = said;
        match self {
            Self::Text => {
                let mut line = format!("time={} level={level} msg={}", value(time), value(&message));
                for (name, field) in fields {
                    let _ = write!(line, " {name}={}", value(&shown(&field)));
                }
                line
            }
            Self::Json => {
                let mut all = fields;
                for (name, text) in [("level", level), ("msg", &message), ("time", time)] {
                    all.insert(name.to_owned(), text.into());
                }
                serde_json::to_string(&all).unwrap_or_default()
            }
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let time = format!("{:.9}", jiff::Timestamp::now());
        writeln!(writer, "{}", self.line(&time, name(*event.metadata().level()), said))
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: BTreeMap<String, Value>,
}

impl Said {
    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = shown(&value),
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value, in quotation marks unless it is one word of plain characters.
fn value(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { tare_cli::values::quote(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_dockerd_writes_them() {
        let said = || Said {
            message: "a \"b\"\nc".to_owned(),
            fields: BTreeMap::from([
                ("ref".to_owned(), "docker.io/x".into()),
                ("none".to_owned(), "".into()),
                ("n".to_owned(), 7.into()),
            ]),
        };
        let time = "2026-11-28T14:52:06.123456789Z";
        assert_eq!(
            Lines::Text.line(time, name(Level::WARN), said()),
            format!(r#"time="{time}" level=warning msg="a \"b\"\nc" n=7 none="" ref=docker.io/x"#)
        );
        assert_eq!(
            Lines::Json.line(time, name(Level::INFO), said()),
            format!(r#"{{"level":"info","msg":"a \"b\"\nc","n":7,"none":"","ref":"docker.io/x","time":"{time}"}}"#)
        );
        assert_eq!(Lines::parse("json").unwrap(), Lines::Json);
        assert_eq!(Lines::parse("xml").unwrap_err().to_string(), "invalid log format: xml");
    }
}
