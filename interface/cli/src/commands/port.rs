//! `port`: where a container's ports are published.

use tare_docker_api::container::{ContainerJson, PortBinding};
use tare_docker_api::port::ContainerPort;
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;
use crate::output::text::natural_order;

/// `port`
pub static COMMAND: Command = Command {
    names: &["container port", "port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    common: 0,
    arity: Arity::Range(1, 2),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = m.arg(0);
    let container: ContainerJson = cli.client()?.get_json(&format!("/containers/{name}/json"), Query::new()).await?;
    let ports = &container.network_settings.ports;
    let mut lines = Vec::new();
    if let Some(wanted) = m.args.get(1) {
        let port: ContainerPort =
            wanted.parse().map_err(|_| CliError::new(format!("invalid port '{wanted}': invalid syntax")))?;
        let bindings = ports.get(&port.to_string()).filter(|b| !b.is_empty());
        let Some(bindings) = bindings else {
            return Err(CliError::new(format!("no public port '{wanted}' published for {name}")));
        };
        lines.extend(bindings.iter().map(address));
    } else {
        for (port, bindings) in ports.iter() {
            lines.extend(bindings.iter().map(|b| format!("{port} -> {}", address(b))));
        }
    }
    lines.sort_by(|a, b| natural_order(a, b));
    if !lines.is_empty() {
        cli.out.println(lines.join("\n"))?;
    }
    Ok(0)
}

fn address(binding: &PortBinding) -> String {
    join_host_port(&binding.host_ip, &binding.host_port)
}

/// `host:port`, with brackets around an IPv6 address.
pub fn join_host_port(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
