//! The portable half of a container's configuration, and the request that creates one.

use crate::container::{HostConfig, NetworkingConfig};
use crate::go::{Empty, List, Map};

/// A set of ports as `80/tcp`.
pub type PortSet = Map<Empty>;

go_types! {
    /// What runs in a container, independent of the host.
    pub struct Config {
        hostname: String ["Hostname"],
        domainname: String ["Domainname"],
        /// `user[:group]`, names or numbers; empty for the image's.
        user: String ["User"],
        attach_stdin: bool ["AttachStdin"],
        attach_stdout: bool ["AttachStdout"],
        attach_stderr: bool ["AttachStderr"],
        exposed_ports: PortSet ["ExposedPorts" omitempty],
        tty: bool ["Tty"],
        open_stdin: bool ["OpenStdin"],
        stdin_once: bool ["StdinOnce"],
        /// `NAME=value`; `NAME` alone removes the image's variable.
        env: List<String> ["Env"],
        /// `None` where the image's is meant.
        cmd: Option<Vec<String>> ["Cmd" command],
        healthcheck: Option<Healthcheck> ["Healthcheck" omitempty],
        args_escaped: bool ["ArgsEscaped" omitempty],
        image: String ["Image"],
        /// Paths that get an anonymous volume.
        volumes: Map<Empty> ["Volumes"],
        working_dir: String ["WorkingDir"],
        /// `None` where the image's is meant; `[""]` resets it.
        entrypoint: Option<Vec<String>> ["Entrypoint" command],
        network_disabled: bool ["NetworkDisabled" omitempty],
        /// Container-wide address; refused since API 1.52, moved to the endpoint before.
        mac_address: String ["MacAddress" omitempty],
        on_build: List<String> ["OnBuild" omitempty],
        labels: Map<String> ["Labels"],
        stop_signal: String ["StopSignal" omitempty],
        /// Seconds; -1 waits for ever.
        stop_timeout: Option<i64> ["StopTimeout" omitempty],
        shell: List<String> ["Shell" omitempty],
    }

    /// A health check. Zero values inherit the image's.
    pub struct Healthcheck {
        /// `[]` inherit, `["NONE"]` disable, `["CMD", …]` run, `["CMD-SHELL", line]` run with the shell.
        test: List<String> ["Test" omitempty],
        /// Nanoseconds between checks.
        interval: i64 ["Interval" omitempty],
        /// Nanoseconds until a check counts as failed.
        timeout: i64 ["Timeout" omitempty],
        /// Nanoseconds after the start in which failures do not count.
        start_period: i64 ["StartPeriod" omitempty],
        /// Nanoseconds between checks during the start period.
        start_interval: i64 ["StartInterval" omitempty],
        /// Failures in a row until unhealthy.
        retries: i64 ["Retries" omitempty],
    }

    /// Body of `POST /containers/create`.
    pub struct CreateRequest {
        config: Config [embed],
        host_config: HostConfig ["HostConfig"],
        networking_config: NetworkingConfig ["NetworkingConfig"],
    }

    /// Answer of `POST /containers/create`.
    pub struct CreateResponse {
        id: String ["Id"],
        /// Never `null`.
        warnings: Vec<String> ["Warnings"],
    }
}
