//! `events`: what happens, as it happens.

use tare_docker_api::events::Message;
use tare_docker_api::time::{Time, timestamp_arg};
use tare_docker_client::{Query, Request};
use tare_gotemplate::{Json, Template};

use super::common::{FILTER, filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::INSPECT_FORMAT_HELP;
use crate::output::schema;

/// `events`
pub static COMMAND: Command = Command {
    names: &["system events", "events"],
    usage: "[OPTIONS]",
    about: "Get real time events from the server",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        FILTER,
        Flag::text("format", INSPECT_FORMAT_HELP),
        Flag::text("since", "Show all events created since timestamp"),
        Flag::text("until", "Stream events until this timestamp"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Exit status when a template cannot be parsed.
const EXIT_TEMPLATE: i32 = 64;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let template = template(m.text("format"))?;
    let mut query = Query::new();
    for name in ["since", "until"] {
        if !m.text(name).is_empty() {
            let now = Time::now().local();
            query = query.add(name, timestamp_arg(m.text(name), now).map_err(|e| CliError::new(e.to_string()))?);
        }
    }
    let query = query.some("filters", filters(m).to_json());
    let answer = cli.client()?.send(Request::get("/events").query(query)).await?;
    match template {
        None => {
            let mut events = answer.json_stream::<Message>();
            while let Some(event) = events.next().await? {
                cli.out.println(line(&event))?;
            }
        }
        Some(template) => {
            let mut events = answer.json_stream::<Message>();
            while let Some(event) = events.next().await? {
                let text = template.execute(&schema::typed(TYPE, &document(&event)));
                cli.out.println(text.map_err(|e| CliError::new(e.to_string()))?)?;
            }
        }
    }
    Ok(0)
}

/// What templates see, by Go's name.
const TYPE: &str = "*events.Message";

/// An event as docker's client writes it: without what only daemons for old clients send.
fn document(event: &Message) -> Json {
    let text = |text: &str| Json::Str(text.to_owned());
    let attributes = event.actor.attributes.iter().map(|(key, value)| (key.clone(), text(value)));
    let actor =
        vec![("ID".to_owned(), text(&event.actor.id)), ("Attributes".to_owned(), Json::Object(attributes.collect()))];
    let mut members = vec![
        ("Type".to_owned(), text(&event.kind)),
        ("Action".to_owned(), text(&event.action)),
        ("Actor".to_owned(), Json::Object(actor)),
    ];
    if !event.scope.is_empty() {
        members.push(("scope".to_owned(), text(&event.scope)));
    }
    for (key, number) in [("time", event.time), ("timeNano", event.time_nano)] {
        if number != 0 {
            members.push((key.to_owned(), Json::Int(number)));
        }
    }
    Json::Object(members)
}

/// Reads a format and tries it on an empty event.
fn template(format: &str) -> Result<Option<Template>, CliError> {
    let format = match format {
        "" => return Ok(None),
        "json" => "{{json .}}",
        other => other,
    };
    let bad = |e: tare_gotemplate::Error| CliError::with_code(format!("Error parsing format: {e}"), EXIT_TEMPLATE);
    let template = Template::parse(format).map_err(bad)?;
    template.execute(&schema::typed(TYPE, &document(&Message::default()))).map_err(bad)?;
    Ok(Some(template))
}

fn line(event: &Message) -> String {
    let time = match (event.time_nano, event.time) {
        (0, 0) => String::new(),
        (0, seconds) => stamp(Time::from_unix(seconds, 0).local()) + " ",
        (nanos, _) => stamp(Time::from_unix_nanos(nanos).local()) + " ",
    };
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time}{} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

/// RFC 3339 with nine digits of the second.
fn stamp(time: Time) -> String {
    let text = time.to_string();
    let zone_at = text.get(19..).and_then(|rest| rest.find(['Z', '+', '-'])).map_or(text.len(), |i| i + 19);
    let (clock, zone) = text.split_at(zone_at);
    let seconds = clock.split_once('.').map_or(clock, |(seconds, _)| seconds);
    format!("{seconds}.{:09}{zone}", time.nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let event: Message = serde_json::from_str(
            r#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"nginx"}},"scope":"local"}"#,
        )
        .unwrap();
        assert_eq!(line(&event), "container start abc (image=nginx, name=web)");
        let json = template("json").ok().flatten().unwrap().execute(&schema::typed(TYPE, &document(&event)));
        let ours = r#"{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"nginx","name":"web"}},"scope":"local"}"#;
        assert_eq!(json.as_deref(), Ok(ours));
        assert_eq!(stamp(Time::from_unix(1_700_000_000, 5_000)), "2023-11-14T22:13:20.000005000Z");
        assert_eq!(stamp(Time::from_unix(1_700_000_000, 0).at_offset(3600)), "2023-11-14T23:13:20.000000000+01:00");
    }

    #[test]
    fn a_bad_format_is_found_at_once() {
        let error = template("{{.Nope}}").err().unwrap();
        assert_eq!(error.code, EXIT_TEMPLATE);
        insta::assert_snapshot!(error.message, @r#"Error parsing format: template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *events.Message"#);
    }
}
