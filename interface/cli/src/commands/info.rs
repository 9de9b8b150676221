//! `info`: what the daemon says about itself and its machine.

use std::path::Path;

use serde::Serialize;
use tare_docker_api::system::Info;
use tare_docker_api::versions;
use tare_docker_client::{Error, Request};
use tare_gotemplate::{Json, Template};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::INSPECT_FORMAT_HELP;
use crate::output::schema;
use crate::output::text::binary_size;
use crate::plugins::{self, Metadata, Plugin};
use crate::{BUILD, VERSION, context};

/// `info`
pub static COMMAND: Command = Command {
    names: &["system info", "info"],
    usage: "[OPTIONS]",
    about: "Display system-wide information",
    common: 12,
    arity: Arity::None,
    interspersed: true,
    flags: &[Flag::text("format", INSPECT_FORMAT_HELP).short('f')],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Exit status when a template cannot be parsed.
const EXIT_TEMPLATE: i32 = 64;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let answer = fetch(cli).await;
    if !m.text("format").is_empty() {
        return formatted(cli, m.text("format"), answer);
    }
    let (plugins, warnings) = describe(&plugins::all(cli));
    cli.out.print(format!(
        "Client:\n Version:    {VERSION}\n Context:    {}\n Debug Mode: {}\n{plugins}\nServer:\n",
        context::current(cli)?,
        cli.globals.debug
    ))?;
    match answer {
        Ok(raw) => {
            let info: Info = serde_json::from_slice(&raw).map_err(|e| CliError::new(e.to_string()))?;
            cli.out.print(server(&info, cli.globals.debug))?;
            for warning in info.warnings.iter().chain(&warnings) {
                cli.err.println(warning)?;
            }
            Ok(0)
        }
        Err(error @ (Error::Api { .. } | Error::Mute { .. })) => {
            cli.err.println(format!("ERROR: {error}"))?;
            Err(CliError::new("errors pretty printing info"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The lines about plugins, and warnings of those that cannot be used.
fn describe(plugins: &[Plugin]) -> (String, Vec<String>) {
    let mut text = Lines::default();
    let mut warnings = Vec::new();
    for plugin in plugins {
        let path = plugin.path.display();
        match &plugin.metadata {
            Ok(metadata) => {
                text.line(
                    &format!("  {}", plugin.name),
                    format_args!("{} ({})", metadata.short_description, metadata.vendor),
                );
                if !metadata.version.is_empty() {
                    text.line("    Version", format_args!(" {}", metadata.version));
                }
                text.line("    Path", format_args!("    {path}"));
            }
            Err(why) => warnings.push(format!("WARNING: Plugin \"{path}\" is not valid: {why}")),
        }
    }
    let head = if plugins.is_empty() { "" } else { " Plugins:\n" };
    (format!("{head}{}", text.0), warnings)
}

/// A plugin as it is in `ClientInfo`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    #[serde(flatten)]
    metadata: Metadata,
    name: &'a str,
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<&'a str>,
}

impl Shown<'_> {
    fn json(plugin: &Plugin) -> Result<Json, CliError> {
        let (metadata, err) = match &plugin.metadata {
            Ok(metadata) => (metadata.clone(), None),
            Err(why) => (Metadata::default(), Some(why.as_str())),
        };
        let shown = Shown { metadata, name: &plugin.name, path: &plugin.path, err };
        let text = serde_json::to_vec(&shown).map_err(|e| CliError::new(e.to_string()))?;
        Json::parse(&text).map_err(|e| CliError::new(e.to_string()))
    }
}

async fn fetch(cli: &Cli) -> Result<Vec<u8>, Error> {
    let client = cli.client().map_err(|e| Error::Connect { text: e.message })?;
    Ok(client.send(Request::get("/info")).await?.bytes().await?.to_vec())
}

fn formatted(cli: &Cli, format: &str, answer: Result<Vec<u8>, Error>) -> Result<i32, CliError> {
    let format = if format == "json" { "{{json .}}" } else { format };
    let bad = |e: tare_gotemplate::Error| CliError::with_code(format!("template parsing error: {e}"), EXIT_TEMPLATE);
    let template = Template::parse(format).map_err(bad)?;
    let (mut entries, failure) = match answer {
        Ok(raw) => match Json::parse(&raw) {
            Ok(Json::Object(entries)) => (entries, None),
            _ => return Err(CliError::new("the daemon's answer is not an object")),
        },
        Err(error) => (Vec::new(), Some(CliError::from(error))),
    };
    let text = |value: &str| Json::Str(value.to_owned());
    let client = vec![
        ("Debug".to_owned(), Json::Bool(cli.globals.debug)),
        ("Version".to_owned(), text(VERSION)),
        ("GitCommit".to_owned(), text(BUILD)),
        ("DefaultAPIVersion".to_owned(), text(&versions::MAX.to_string())),
        ("Context".to_owned(), text(&context::current(cli)?)),
        ("Plugins".to_owned(), Json::Array(plugins::all(cli).iter().map(Shown::json).collect::<Result<_, _>>()?)),
    ];
    entries.push(("ClientInfo".to_owned(), Json::Object(client)));
    let shown = template.execute(&schema::typed("system.dockerInfo", &Json::Object(entries)));
    // The line ends in any case.
    cli.out.println(shown.as_deref().unwrap_or_default())?;
    shown.map_err(|e| CliError::new(e.to_string()))?;
    failure.map_or(Ok(0), Err)
}

/// The part about the server.
fn server(info: &Info, debug: bool) -> String {
    let mut text = Lines::default();
    text.line(" Containers", info.containers);
    text.line("  Running", info.containers_running);
    text.line("  Paused", info.containers_paused);
    text.line("  Stopped", info.containers_stopped);
    text.line(" Images", info.images);
    text.some(" Server Version", &info.server_version);
    text.some(" Storage Driver", &info.driver);
    text.pairs(&info.driver_status);
    text.some(" Logging Driver", &info.logging_driver);
    text.some(" Cgroup Driver", &info.cgroup_driver);
    text.some(" Cgroup Version", &info.cgroup_version);
    text.0.push_str(" Plugins:\n");
    text.line("  Volume", info.plugins.volume.join(" "));
    text.line("  Network", info.plugins.network.join(" "));
    text.some("  Authorization", &info.plugins.authorization.join(" "));
    text.line("  Log", info.plugins.log.join(" "));
    text.list(" CDI spec directories", &info.cdi_spec_dirs);
    if !info.discovered_devices.is_empty() {
        text.0.push_str(" Discovered Devices:\n");
        info.discovered_devices.iter().for_each(|device| text.line(&format!("  {}", device.source), &device.id));
    }
    text.line(" Swarm", &info.swarm.local_node_state);
    if !info.runtimes.is_empty() {
        text.line(" Runtimes", info.runtimes.keys().map(String::as_str).collect::<Vec<_>>().join(" "));
        text.line(" Default Runtime", &info.default_runtime);
    }
    text.some(" Init Binary", &info.init_binary);
    text.some(" containerd version", &info.containerd_commit.id);
    text.some(" runc version", &info.runc_commit.id);
    text.some(" init version", &info.init_commit.id);
    text.security(&info.security_options);
    machine(&mut text, info, debug || info.debug);
    settings(&mut text, info);
    text.0.push('\n');
    text.0
}

fn machine(text: &mut Lines, info: &Info, debug: bool) {
    text.some(" Kernel Version", &info.kernel_version);
    text.some(" Operating System", &info.operating_system);
    text.some(" OSType", &info.os_type);
    text.some(" Architecture", &info.architecture);
    text.line(" CPUs", info.n_cpu);
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    text.line(" Total Memory", binary_size(info.mem_total as f64));
    text.some(" Name", &info.name);
    text.some(" ID", &info.id);
    text.line(" Docker Root Dir", &info.docker_root_dir);
    text.line(" Debug Mode", info.debug);
    if debug {
        text.line("  File Descriptors", info.n_fd);
        text.line("  Goroutines", info.n_goroutines);
        text.line("  System Time", &info.system_time);
        text.line("  EventsListeners", info.n_events_listener);
    }
}

fn settings(text: &mut Lines, info: &Info) {
    text.some(" HTTP Proxy", &info.http_proxy);
    text.some(" HTTPS Proxy", &info.https_proxy);
    text.some(" No Proxy", &info.no_proxy);
    text.list(" Labels", &info.labels);
    text.line(" Experimental", info.experimental_build);
    let registries = &info.registry_config;
    let insecure = registries.index_configs.values().filter(|i| !i.secure).map(|i| i.name.clone());
    let insecure: Vec<String> = insecure.chain(registries.insecure_registry_cidrs.iter().cloned()).collect();
    if !registries.insecure_registry_cidrs.is_empty() || !registries.index_configs.is_empty() {
        text.0.push_str(" Insecure Registries:\n");
        insecure.iter().for_each(|name| text.item(name));
    }
    text.list(" Registry Mirrors", &registries.mirrors);
    text.line(" Live Restore Enabled", info.live_restore_enabled);
    text.some(" Product License", &info.product_license);
    if !info.default_address_pools.is_empty() {
        text.0.push_str(" Default Address Pools:\n");
        for pool in info.default_address_pools.iter() {
            text.0.push_str(&format!("   Base: {}, Size: {}\n", pool.base, pool.size));
        }
    }
    if let Some(firewall) = &info.firewall_backend {
        text.line(" Firewall Backend", &firewall.driver);
        text.pairs(&firewall.info);
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name}: {value}\n"));
    }

    fn some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.line(name, value);
        }
    }

    fn item(&mut self, value: &str) {
        self.0.push_str(&format!("  {value}\n"));
    }

    fn list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.0.push_str(&format!("{name}:\n"));
            values.iter().for_each(|value| self.item(value));
        }
    }

    fn pairs(&mut self, pairs: &[Vec<String>]) {
        for pair in pairs {
            if let [name, value] = pair.as_slice() {
                self.line(&format!("  {name}"), value);
            }
        }
    }

    /// `name=seccomp,profile=builtin` as a name and its profile.
    fn security(&mut self, options: &[String]) {
        if !options.is_empty() {
            self.0.push_str(" Security Options:\n");
        }
        for option in options {
            for (key, value) in option.split(',').filter_map(|part| part.split_once('=')) {
                match key {
                    "name" => self.item(value),
                    "profile" => self.line("   Profile", value),
                    _ => {}
                }
            }
        }
    }
}
