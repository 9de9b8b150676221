//! `alert …`: who is told what happens to containers. Tare's own; docker has no such command.

use tare_docker_api::alert::{Alert, AlertSpec, Rate};
use tare_docker_api::time::Time;
use tare_docker_client::{Query, Request};

use super::common::{each, echo};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::inspect::{Document, inspect};
use crate::output::rows::{FORMAT_HELP, Format, INSPECT_FORMAT_HELP, Row};
use crate::output::text::ago;
use crate::values;

/// `alert add`
pub static ADD: Command = Command {
    names: &["alert add"],
    usage: "[OPTIONS] NAME",
    about: "Tell somebody what happens to containers",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::list("container", "Only containers that pass this filter, as of 'ps --filter' (default all)")
            .type_name("filter")
            .check(check_filter),
        Flag::duration("every", "At most one message about a container in this time; short for '--rate 1/DURATION'"),
        Flag::text("exec", "Run this command line on the machine, as root, with the message as JSON on its input"),
        Flag::text("from", "Sender of mail (default \"tare@HOST\")"),
        Flag::uint("lines", 32, "uint", "Last lines of the container's log in a message").default("20"),
        Flag::commas("on", "Events: die, oom, unhealthy, restart, start, stop, health-recovered, kill, pause, unpause")
            .default("[die,oom,unhealthy]"),
        Flag::text("rate", "At most so many messages about a container in a time, 'N/DURATION', or 'none'")
            .default("10/10m")
            .check(|text| rate(text).map(|_| ())),
        Flag::text("smtp", "Send mail over this server: smtp[s]://[USER:PASSWORD@]HOST[:PORT]"),
        Flag::commas("to", "Addresses that get mail"),
        Flag::text("webhook", "Post the message as JSON to this URL"),
    ],
    run: |cli, m| Box::pin(add(cli, m)),
};

/// `alert ls`
pub static LIST: Command = Command {
    names: &["alert ls", "alert list"],
    usage: "[OPTIONS]",
    about: "List alerts",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[Flag::text("format", FORMAT_HELP), Flag::bool("quiet", "Only display names").short('q')],
    run: |cli, m| Box::pin(list(cli, m)),
};

/// `alert inspect`
pub static INSPECT: Command = Command {
    names: &["alert inspect"],
    usage: "[OPTIONS] NAME [NAME...]",
    about: "Display detailed information on one or more alerts",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[Flag::text("format", INSPECT_FORMAT_HELP).short('f')],
    run: |cli, m| Box::pin(show(cli, m)),
};

/// `alert rm`
pub static REMOVE: Command = Command {
    names: &["alert rm", "alert remove"],
    usage: "NAME [NAME...]",
    about: "Remove one or more alerts, and their messages that wait",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| {
        Box::pin(each(cli, &m.args, |client, name| async move {
            echo(client.delete(&format!("/tare/alerts/{name}"), Query::new()).await)
        }))
    },
};

/// `alert test`
pub static TEST: Command = Command {
    names: &["alert test"],
    usage: "NAME",
    about: "Send a test message now and say what became of it",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(test(cli, m)),
};

fn check_filter(value: &str) -> Result<(), String> {
    if value.contains('=') { Ok(()) } else { Err("bad format of filter (expected name=value)".to_owned()) }
}

/// `10/1m`; a unit without a number counts as one: `10/h`.
fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate::default());
    }
    let wrong = || "must be 'N/DURATION', such as 10/1h, or 'none'".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(wrong)?;
    let count: usize = count.parse().map_err(|_| wrong())?;
    let period =
        if period.starts_with(|c: char| c.is_ascii_digit()) { period.to_owned() } else { format!("1{period}") };
    let period = values::parse_duration(&period).map_err(|_| wrong())?;
    if count == 0 || period <= 0 {
        return Err(wrong());
    }
    Ok(Rate { count, period })
}

async fn add(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    if m.given("rate") && m.given("every") {
        return Err(CliError::new("conflicting options: cannot specify both --rate and --every"));
    }
    let words = |given: &[String], default: &[&str]| match given {
        [] => default.iter().map(|word| (*word).to_owned()).collect(),
        given => given.to_vec(),
    };
    let mut spec = AlertSpec {
        name: m.arg(0).to_owned(),
        on: words(m.list("on"), &["die", "oom", "unhealthy"]),
        smtp: m.text("smtp").to_owned(),
        to: m.list("to").to_vec(),
        from: m.text("from").to_owned(),
        webhook: m.text("webhook").to_owned(),
        exec: m.text("exec").to_owned(),
        lines: usize::try_from(m.int("lines")).unwrap_or_default(),
        rate: rate(m.text("rate")).map_err(CliError::new)?,
        ..AlertSpec::default()
    };
    if m.given("every") {
        spec.rate = Rate { count: 1, period: m.duration("every") };
    }
    for (name, value) in m.list("container").iter().filter_map(|filter| filter.split_once('=')) {
        spec.containers.entry(name.trim().to_lowercase()).or_default().insert(value.trim().to_owned());
    }
    let alert: Alert = cli.client()?.post_json("/tare/alerts", Query::new(), &spec).await?;
    cli.out.println(alert.spec.name)?;
    Ok(0)
}

const HEADER: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("On", "ON"),
    ("Containers", "CONTAINERS"),
    ("Target", "TARGET"),
    ("Sent", "SENT"),
    ("Failed", "FAILED"),
    ("Waiting", "WAITING"),
    ("Last", "LAST"),
    ("Error", "ERROR"),
];
const TABLE: &str =
    "table {{.Name}}\t{{.On}}\t{{.Containers}}\t{{.Target}}\t{{.Sent}}\t{{.Failed}}\t{{.Waiting}}\t{{.Last}}";

async fn list(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let alerts: Vec<Alert> = cli.client()?.get_json("/tare/alerts", Query::new()).await?;
    let format = match (m.text("format"), m.bool("quiet")) {
        ("" | "table", true) => "{{.Name}}",
        ("" | "table", false) => TABLE,
        (other, _) => other,
    };
    Format::parse(format)?.write(&cli.out, HEADER, alerts.into_iter().map(row).collect())?;
    Ok(0)
}

fn row(alert: Alert) -> Row {
    let spec = &alert.spec;
    let filters: Vec<String> =
        spec.containers.iter().flat_map(|(name, values)| values.iter().map(move |v| format!("{name}={v}"))).collect();
    let target = match (spec.smtp.as_str(), spec.webhook.as_str()) {
        ("", "") => format!("exec {}", spec.exec),
        ("", url) => url.to_owned(),
        _ => format!("mail to {}", spec.to.join(",")),
    };
    let last: Result<Time, _> = alert.last_sent.parse();
    Row::new("*formatter.alertContext")
        .with("Name", spec.name.as_str())
        .with("On", spec.on.join(","))
        .with("Containers", if filters.is_empty() { "all".to_owned() } else { filters.join(",") })
        .with("Target", target)
        .with("Sent", alert.sent.to_string())
        .with("Failed", alert.failed.to_string())
        .with("Waiting", alert.waiting.to_string())
        .with("Last", last.map_or_else(|_| "never".to_owned(), |time| ago(time.unix_nanos() / 1_000_000_000)))
        .with("Error", alert.last_error.as_str())
}

async fn show(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let client = cli.client()?;
    inspect(cli, &m.args, m.text("format"), |name| async move {
        let answer = client.send(Request::get(format!("/tare/alerts/{name}"))).await?;
        Ok(Document { raw: answer.bytes().await?.trim_ascii().to_vec(), type_name: "any" })
    })
    .await
}

async fn test(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = m.arg(0);
    cli.client()?.post(&format!("/tare/alerts/{name}/test"), Query::new()).await?;
    cli.out.println(name)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("10/1m"), Ok(Rate { count: 10, period: 60_000_000_000 }));
        assert_eq!(rate("1/h"), Ok(Rate { count: 1, period: 3_600_000_000_000 }));
        assert_eq!(rate("none"), Ok(Rate::default()));
        for wrong in ["", "10", "x/1m", "0/1m", "1/0s", "1/x"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
