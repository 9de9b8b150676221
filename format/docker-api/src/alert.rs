//! Alerts: Tare's own, below `/tare/alerts`; Docker has nothing like them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What somebody wants to be told, and where: body of `POST /tare/alerts`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AlertSpec {
    /// Unique among alerts.
    pub name: String,
    /// Words as in [`EVENTS`].
    pub on: Vec<String>,
    /// Filters as a list of containers takes them; empty: all containers.
    pub containers: BTreeMap<String, BTreeSet<String>>,
    /// A mail server: `smtp://` or `smtps://`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub smtp: String,
    /// Who gets mail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Who it is from; empty: `tare@` and the machine's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// A URL that gets a JSON document by POST.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub webhook: String,
    /// A command line on the machine, split as a shell's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exec: String,
    /// Last lines of the log in each message.
    pub lines: usize,
    /// Messages about one container within a period.
    pub rate: Rate,
}

/// So many in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Rate {
    /// At most; 0: no limit.
    pub count: usize,
    /// Nanoseconds.
    pub period: i64,
}

/// An alert and what became of it: answer of `GET /tare/alerts`, one by one or all in a list. Passwords are not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Alert {
    /// As it was made.
    #[serde(flatten)]
    pub spec: AlertSpec,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Messages delivered.
    pub sent: u64,
    /// Messages given up.
    pub failed: u64,
    /// Messages held back by the rate, or because too many waited.
    pub suppressed: u64,
    /// Messages that wait for delivery.
    pub waiting: usize,
    /// When the last one was delivered, RFC 3339; empty: none was.
    pub last_sent: String,
    /// What the target said to the last try, if it was no success.
    pub last_error: String,
}

/// What an alert can be about.
pub const EVENTS: [&str; 10] =
    ["die", "oom", "unhealthy", "restart", "start", "stop", "health-recovered", "kill", "pause", "unpause"];
