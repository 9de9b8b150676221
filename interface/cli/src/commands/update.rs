//! `update`: changes limits and the restart policy of containers.

use tare_docker_api::container::{Resources, UpdateRequest, UpdateResponse};
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::text::restart_policy;

/// `update`
pub static COMMAND: Command = Command {
    names: &["container update", "update"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Update configuration of one or more containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::uint(
            "blkio-weight",
            16,
            "uint16",
            "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
        ),
        Flag::int("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
        Flag::int("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
        Flag::int("cpu-rt-period", "Limit the CPU real-time period in microseconds"),
        Flag::int("cpu-rt-runtime", "Limit the CPU real-time runtime in microseconds"),
        Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
        Flag::cpus("cpus", "Number of CPUs"),
        Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag::bytes("kernel-memory", "Kernel memory limit (deprecated)")
            .deprecated("and no longer supported by the kernel"),
        Flag::bytes("memory", "Memory limit").short('m'),
        Flag::bytes("memory-reservation", "Memory soft limit"),
        Flag::bytes_or_minus_one("memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
        Flag::int("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
        Flag::text("restart", "Restart policy to apply when a container exits"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    if m.given_names().next().is_none() {
        return Err(CliError::new("you must provide one or more flags when using this command"));
    }
    let request = request(m)?;
    let client = cli.client()?;
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for name in &m.args {
        let path = format!("/containers/{name}/update");
        match client.post_json::<_, UpdateResponse>(&path, Query::new(), &request).await {
            Ok(answer) => {
                cli.out.println(name)?;
                warnings.extend(answer.warnings.into_vec());
            }
            Err(error) => errors.push(error.into()),
        }
    }
    if !warnings.is_empty() {
        cli.out.println(warnings.join("\n"))?;
    }
    CliError::join(errors).map_or(Ok(0), Err)
}

fn request(m: &Matches) -> Result<UpdateRequest, CliError> {
    let restart_policy = match m.text("restart") {
        "" => Default::default(),
        text => restart_policy(text).map_err(|e| CliError::new(e.to_string()))?,
    };
    let resources = Resources {
        blkio_weight: u16::try_from(m.int("blkio-weight")).unwrap_or(0),
        cpuset_cpus: m.text("cpuset-cpus").to_owned(),
        cpuset_mems: m.text("cpuset-mems").to_owned(),
        cpu_shares: m.int("cpu-shares"),
        memory: m.bytes("memory"),
        memory_reservation: m.bytes("memory-reservation"),
        memory_swap: m.bytes("memory-swap"),
        cpu_period: m.int("cpu-period"),
        cpu_quota: m.int("cpu-quota"),
        cpu_realtime_period: m.int("cpu-rt-period"),
        cpu_realtime_runtime: m.int("cpu-rt-runtime"),
        nano_cpus: m.nano_cpus("cpus"),
        pids_limit: Some(m.int("pids-limit")).filter(|n| *n != 0),
        ..Resources::default()
    };
    Ok(UpdateRequest { resources, restart_policy })
}
