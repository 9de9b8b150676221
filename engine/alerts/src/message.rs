//! A message: the document that webhooks and programs get, and the text that people get.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// The same however often the message is delivered.
    #[serde(rename = "ID")]
    pub id: String,
    /// The alert's name.
    pub alert: String,
    /// What happened: a word of the alert, or `test`.
    pub event: String,
    /// When, RFC 3339.
    pub time: String,
    /// The machine's name.
    pub host: String,
    /// To whom.
    pub container: Subject,
    /// How it ended, for `die`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Messages held back since the last one about this container.
    pub suppressed: u64,
    /// Last lines of its log.
    pub lines: Vec<String>,
}

/// The container of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Subject {
    /// Full ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name without a slash.
    pub name: String,
    /// As it was asked for.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Message {
    /// One line.
    pub fn subject(&self) -> String {
        match self.event.as_str() {
            "test" => format!("[tare {}] test of alert {}", self.host, self.alert),
            _ => format!("[tare {}] {}: {}", self.host, self.container.name, self.what()),
        }
    }

    fn what(&self) -> String {
        match self.exit_code {
            Some(code) => format!("{} (exit code {code})", self.event),
            None => self.event.clone(),
        }
    }

    /// All of it, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<10} {value}");
        };
        if self.event == "test" {
            line("Event:", "test: this alert reaches you");
        } else {
            line("Event:", &self.what());
            line(
                "Container:",
                &format!("{} ({})", self.container.name, self.container.id.get(..12).unwrap_or_default()),
            );
            line("Image:", &self.container.image);
        }
        line("Time:", &self.time);
        line("Host:", &self.host);
        line("Alert:", &self.alert);
        line("ID:", &self.id);
        if self.suppressed > 0 {
            let _ =
                writeln!(text, "\n{} messages about this container were held back before this one.", self.suppressed);
        }
        if !self.lines.is_empty() {
            let _ = writeln!(text, "\nLast lines of its log:\n");
            self.lines.iter().for_each(|line| text.extend(["  ", line, "\n"]));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        let container =
            Subject { id: "0123456789abcdef".into(), name: "web".into(), image: "nginx".into(), ..Subject::default() };
        let message = Message {
            id: "77".into(),
            alert: "ops".into(),
            event: "die".into(),
            time: "2026-01-02T03:04:05Z".into(),
            host: "box".into(),
            container,
            exit_code: Some(137),
            suppressed: 2,
            lines: vec!["one".into(), "two".into()],
        };
        assert_eq!(message.subject(), "[tare box] web: die (exit code 137)");
        let expected = "\
Event:     die (exit code 137)
Container: web (0123456789ab)
Image:     nginx
Time:      2026-01-02T03:04:05Z
Host:      box
Alert:     ops
ID:        77

2 messages about this container were held back before this one.

Last lines of its log:

  one
  two
";
        assert_eq!(message.text(), expected);
        let back: Message = serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
        assert_eq!(back, message);
    }
}
