//! Engines that are measured: our own on directories that nobody else has, and whoever answers at a Docker socket.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Client;

/// How long a daemon has for its start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to reach a daemon that starts: much less than what is measured.
const TRY_TIME: Duration = Duration::from_micros(200);

/// An engine of ours. Dropped, it ends and takes everything along.
pub struct Engine {
    /// Data root, socket, log.
    directory: PathBuf,
    exec_root: PathBuf,
    daemon: Child,
    /// From starting its program to the answer to its first ping, in seconds.
    pub start_seconds: f64,
}

impl Engine {
    /// Starts one with empty directories.
    pub fn start(dist: &Path, mirror: &str) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tare-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // As in production: images on a disk, sockets and pids on a tmpfs.
        let (directory, exec_root) = (Path::new("/var/tmp").join(&name), Path::new("/run").join(&name));
        let failed = |path: &Path, error: std::io::Error| format!("`{}`: {error}", path.display());
        for path in [&directory, &exec_root] {
            fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        }
        let (log, config) = (directory.join("log"), directory.join("daemon.json"));
        fs::write(&config, "{}").map_err(|error| failed(&config, error))?;
        let log = File::create(&log).map_err(|error| failed(&log, error))?;
        let mut command = Command::new(dist.join("tare"));
        command.args(["daemon", "--registry-mirror", mirror, "-H"]);
        command.arg(format!("unix://{}", directory.join("sock").display()));
        command.arg("--data-root").arg(directory.join("data")).arg("--exec-root").arg(&exec_root);
        command.arg("--config-file").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let start = Instant::now();
        let daemon = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut engine = Self { directory, exec_root, daemon, start_seconds: 0.0 };
        let ping = || Client::connect(&engine.socket())?.call("GET", "/_ping", &Value::Null);
        while let Err(error) = ping() {
            if start.elapsed() > PATIENCE {
                let said = fs::read_to_string(engine.directory.join("log")).unwrap_or_default();
                return Err(format!("the daemon does not answer: {error}\n{said}"));
            }
            sleep(TRY_TIME);
        }
        engine.start_seconds = start.elapsed().as_secs_f64();
        Ok(engine)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// A directory on the disk where its data is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory on a tmpfs.
    pub fn exec_root(&self) -> &Path {
        &self.exec_root
    }

    /// The daemon's process ID.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Without running containers it removes what it has on the machine when it is asked to end.
        let asked = Command::new("kill").arg(self.daemon.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("the daemon {} cannot be ended in order", self.daemon.id());
            let _ = self.daemon.kill();
        }
        let _ = self.daemon.wait();
        for path in [&self.directory, &self.exec_root] {
            if let Err(error) = fs::remove_dir_all(path) {
                eprintln!("`{}` stays: {error}", path.display());
            }
        }
    }
}

/// An engine by its socket.
#[derive(Clone)]
pub struct Target {
    /// As the table calls it.
    pub name: &'static str,
    /// Where it listens.
    pub socket: PathBuf,
}

impl Target {
    /// Connects.
    pub fn client(&self) -> Result<Client, String> {
        Client::connect(&self.socket).map_err(|error| format!("{}: {error}", self.name))
    }

    /// Its address, as clients want it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// Creates a container and returns its ID.
pub fn create(client: &mut Client, image: &str, command: &[&str], host: &Value) -> Result<String, String> {
    let body = json!({"Image": image, "Cmd": command, "HostConfig": host});
    let answer = client.json("POST", "/containers/create", &body)?;
    let id = answer.get("Id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| format!("create: no ID in {answer}"))
}

/// Starts it.
pub fn start(client: &mut Client, id: &str) -> Result<(), String> {
    client.call("POST", &format!("/containers/{id}/start"), &Value::Null).map(drop)
}

/// Waits for its end and returns its exit code.
pub fn wait(client: &mut Client, id: &str) -> Result<i64, String> {
    let answer = client.json("POST", &format!("/containers/{id}/wait"), &Value::Null)?;
    answer.get("StatusCode").and_then(Value::as_i64).ok_or_else(|| format!("wait: no status in {answer}"))
}

/// Removes it, running or not.
pub fn remove(client: &mut Client, id: &str) -> Result<(), String> {
    client.call("DELETE", &format!("/containers/{id}?force=true"), &Value::Null).map(drop)
}

/// The process ID of a running container's init.
pub fn pid(client: &mut Client, id: &str) -> Result<u64, String> {
    let answer = client.json("GET", &format!("/containers/{id}/json"), &Value::Null)?;
    let pid = answer.pointer("/State/Pid").and_then(Value::as_u64).filter(|pid| *pid > 0);
    pid.ok_or_else(|| format!("{id} does not run"))
}

/// Pulls an image. Errors come in the stream of progress.
pub fn pull(client: &mut Client, image: &str) -> Result<(), String> {
    let progress = client.call("POST", &format!("/images/create?fromImage={image}"), &Value::Null)?;
    let progress = String::from_utf8_lossy(&progress);
    match progress.lines().find(|line| line.contains("\"errorDetail\"")) {
        Some(error) => Err(format!("pull {image}: {error}")),
        None => Ok(()),
    }
}
