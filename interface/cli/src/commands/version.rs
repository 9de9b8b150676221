//! `version`: of this program and of the daemon.

use tare_docker_api::system::{ComponentVersion, Version};
use tare_docker_api::time::Time;
use tare_docker_api::versions;
use tare_docker_client::Query;
use tare_gotemplate::{Json, Template};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::INSPECT_FORMAT_HELP;
use crate::output::{schema, tabs};
use crate::{BUILD, VERSION, context};

/// `version`
pub static COMMAND: Command = Command {
    names: &["version"],
    usage: "[OPTIONS]",
    about: "Show the Tare version information",
    common: 11,
    arity: Arity::None,
    interspersed: true,
    flags: &[Flag::text("format", INSPECT_FORMAT_HELP).short('f')],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Exit status when a template cannot be parsed.
const EXIT_TEMPLATE: i32 = 64;
/// Smallest width of the column of names, and what follows it.
const COLUMN: (usize, usize) = (20, 1);

/// What `--format` and the text are made from.
struct Versions {
    api: String,
    context: String,
    server: Option<Version>,
}

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let template = match m.text("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        other => Some(other),
    };
    let bad = |e: tare_gotemplate::Error| {
        CliError::with_code(format!("template parsing error: {}", named(&e)), EXIT_TEMPLATE)
    };
    let template = template.map(Template::parse).transpose().map_err(bad)?;
    let client = cli.client()?;
    let api = client.version().await;
    let (server, failure) = match client.get_json::<Version>("/version", Query::new()).await {
        Ok(version) => (Some(version), None),
        Err(error) => (None, Some(CliError::from(error))),
    };
    let api = api.unwrap_or(versions::MAX).to_string();
    let versions = Versions { api, context: context::current(cli)?, server };
    let text = match template {
        None => versions.text(),
        Some(template) => {
            let value = schema::typed("system.versionInfo", &versions.json());
            match template.execute(&value) {
                Ok(text) => text + "\n",
                Err(error) => {
                    cli.out.print("\n")?;
                    return Err(CliError::new(named(&error)));
                }
            }
        }
    };
    cli.out.print(text)?;
    failure.map_or(Ok(0), Err)
}

/// An error of a template, which has a name in docker here alone.
fn named(error: &tare_gotemplate::Error) -> String {
    error.0.replacen("template: :", "template: version:", 1).replacen("executing \"\"", "executing \"version\"", 1)
}

/// `2024-01-02T03:04:05Z` as `Tue Jan  2 03:04:05 2024`; other texts stay.
fn readable(time: &str) -> String {
    if time.parse::<Time>().is_err() {
        return time.to_owned();
    }
    let timestamp = time.parse::<jiff::Timestamp>();
    timestamp.map_or_else(|_| time.to_owned(), |t| t.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

impl Versions {
    fn text(&self) -> String {
        let default = versions::MAX.to_string();
        let downgraded = if self.api == default { String::new() } else { format!(" (downgraded from {default})") };
        let mut text = format!(
            "Client:\n Version:\t{VERSION}\n API version:\t{}{downgraded}\n Git commit:\t{BUILD}\n OS/Arch:\t{}/{}\n Context:\t{}\n",
            self.api,
            std::env::consts::OS,
            arch(),
            self.context
        );
        if let Some(server) = &self.server {
            let name =
                if server.platform.name.is_empty() { String::new() } else { format!(" {}", server.platform.name) };
            text.push_str(&format!("\nServer:{name}\n"));
            for component in components(server) {
                text.push_str(&component_text(&component));
            }
        }
        tabs::align_with(&text, COLUMN.0, COLUMN.1)
    }

    fn json(&self) -> Json {
        let text = |value: &str| Json::Str(value.to_owned());
        let client = vec![
            ("Version".to_owned(), text(VERSION)),
            ("ApiVersion".to_owned(), text(&self.api)),
            ("DefaultAPIVersion".to_owned(), text(&versions::MAX.to_string())),
            ("GitCommit".to_owned(), text(BUILD)),
            ("Os".to_owned(), text(std::env::consts::OS)),
            ("Arch".to_owned(), text(arch())),
            ("Context".to_owned(), text(&self.context)),
        ];
        let mut server = self.server.clone();
        for component in server.iter_mut().flat_map(|s| s.components.iter_mut()).filter(|c| c.name == "Engine") {
            let mut details = component.details.clone().into_inner();
            details.entry("BuildTime".to_owned()).and_modify(|time| *time = readable(time));
            component.details = details.into();
        }
        let server = server.as_ref().map(|s| serde_json::to_vec(s).unwrap_or_default());
        let server = server.and_then(|bytes| Json::parse(&bytes).ok()).unwrap_or(Json::Null);
        Json::Object(vec![("Client".to_owned(), Json::Object(client)), ("Server".to_owned(), server)])
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The parts that the daemon names; itself when it names none.
fn components(server: &Version) -> Vec<ComponentVersion> {
    let mut components: Vec<ComponentVersion> = server.components.iter().cloned().collect();
    if !components.iter().any(|c| c.name == "Engine") {
        let details = [
            ("ApiVersion", &server.api_version),
            ("MinAPIVersion", &server.min_api_version),
            ("Os", &server.os),
            ("Arch", &server.arch),
        ];
        let details =
            details.into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect::<std::collections::BTreeMap<_, _>>();
        components.push(ComponentVersion {
            name: "Engine".into(),
            version: server.version.clone(),
            details: details.into(),
        });
    }
    components
}

fn component_text(component: &ComponentVersion) -> String {
    let detail = |key: &str| component.details.get(key).map_or("", String::as_str);
    let mut text = format!(" {}:\n  Version:\t{}\n", component.name, component.version);
    if component.name != "Engine" {
        for (key, value) in component.details.iter() {
            text.push_str(&format!("  {key}:\t{value}\n"));
        }
        return text;
    }
    let api = format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion"));
    let system = format!("{}/{}", detail("Os"), detail("Arch"));
    let lines = [
        ("API version", api.as_str()),
        ("Go version", detail("GoVersion")),
        ("Git commit", detail("GitCommit")),
        ("Built", &readable(detail("BuildTime"))),
        ("OS/Arch", &system),
        ("Experimental", detail("Experimental")),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("  {name}:\t{value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let server: Version = serde_json::from_str(
            r#"{"Platform":{"Name":"Tare"},"Components":[{"Name":"Engine","Version":"0.1.0","Details":{"ApiVersion":"1.55","Arch":"amd64",
            "BuildTime":"2026-01-02T03:04:05.000000000+00:00","Experimental":"false","GitCommit":"abc","GoVersion":"","MinAPIVersion":"1.24","Os":"linux"}},
            {"Name":"tare-shim","Version":"0.1.0","Details":{"GitCommit":"abc"}}],"Version":"0.1.0","ApiVersion":"1.55"}"#,
        )
        .unwrap();
        let versions = Versions { api: "1.50".into(), context: "default".into(), server: Some(server) };
        let text = versions.text();
        let (client, server) = text.split_once("\n\n").unwrap();
        assert!(client.contains(" API version:       1.50 (downgraded from 1.55)\n"), "{client}");
        insta::assert_snapshot!(server, @r"
        Server: Tare
         Engine:
          Version:          0.1.0
          API version:      1.55 (minimum version 1.24)
          Git commit:       abc
          Built:            Fri Jan  2 03:04:05 2026
          OS/Arch:          linux/amd64
          Experimental:     false
         tare-shim:
          Version:          0.1.0
          GitCommit:        abc
        ");
        let value = schema::typed("system.versionInfo", &versions.json());
        let run = |text: &str| Template::parse(text).unwrap().execute(&value).unwrap();
        assert_eq!(run("{{(index .Server.Components 0).Details.BuildTime}}"), "Fri Jan  2 03:04:05 2026");
        let error = Template::parse("{{.Server.Nope}}").unwrap().execute(&value).unwrap_err();
        let said = "template: version:1:9: executing \"version\" at <.Server.Nope>: can't evaluate field Nope in type ";
        assert!(named(&error).starts_with(said), "{error}");
        assert_eq!(run("{{.Server.Version}} {{.Client.APIVersion}} {{.Server.APIVersion}}"), "0.1.0 1.50 1.55");
    }
}
