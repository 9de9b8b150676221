//! A person who types commands.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::leftovers::Traces;
use crate::{Engine, Output, PATIENCE, PAUSE, Terminal, api, install, words};

/// Which program is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Ours.
    Tare,
    /// The unmodified docker client.
    Docker,
}

/// An engine and a client of it. At the end of a test that passed, everything is removed and nothing may be left.
///
/// A test is trusted once the reference passes it: with `TARE_REFERENCE=unix:///…`, the address of a daemon that runs
/// already, the same lines are typed there and nothing of our own is started or looked at; one test at a time, then.
#[derive(Debug)]
pub struct Console {
    engine: Option<Engine>,
    client: Client,
    /// The client's directory: its configuration, and files of the test.
    directory: TempDir,
    host: String,
}

impl Console {
    /// Starts an engine for a test: with the story's images on its mirror.
    ///
    /// # Panics
    /// When anything of that does not start.
    pub fn new(client: Client) -> Self {
        Self::with_options(client, &[])
    }

    /// The same with options of the daemon.
    ///
    /// # Panics
    /// When anything of that does not start.
    pub fn with_options(client: Client, options: &[&str]) -> Self {
        Self::on_disks(client, options, None, None)
    }

    /// The same with file systems of their own, of so many bytes, below the data root, the exec root or both.
    ///
    /// # Panics
    /// When anything of that does not start.
    pub fn on_disks(client: Client, options: &[&str], data_bytes: Option<u64>, exec_bytes: Option<u64>) -> Self {
        let directory = tempfile::Builder::new().prefix("tare-client-").tempdir().expect("directory");
        if let Ok(host) = std::env::var("TARE_REFERENCE") {
            return Self { engine: None, client, directory, host };
        }
        let mut all = vec!["--registry-mirror", install::mirror()];
        all.extend(options);
        let engine = Engine::start_on(&all, data_bytes, exec_bytes);
        Self { host: engine.host(), engine: Some(engine), client, directory }
    }

    /// A client of an engine that has been started.
    ///
    /// # Panics
    /// When there is no directory for it.
    pub fn of(client: Client, engine: Engine) -> Self {
        let directory = tempfile::Builder::new().prefix("tare-client-").tempdir().expect("directory");
        Self { host: engine.host(), engine: Some(engine), client, directory }
    }

    /// The engine; none when this is about the reference.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The engine, to stop it and the like; none when this is about the reference.
    pub fn engine_mut(&mut self) -> Option<&mut Engine> {
        self.engine.as_mut()
    }

    /// A path for a file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes files of a build's context; names with a slash make directories.
    pub fn write_context(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.path(&format!("context/{name}"));
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
    }

    fn said(&self) -> String {
        self.engine.as_ref().map(|engine| format!("--- daemon\n{}", engine.said())).unwrap_or_default()
    }

    /// Which program is typed.
    pub fn client(&self) -> Client {
        self.client
    }

    /// Its name, which stands in some messages.
    pub fn program(&self) -> &'static str {
        match self.client {
            Client::Tare => "tare",
            Client::Docker => "docker",
        }
    }

    /// Types a line; arguments only, without the program's name.
    pub fn run(&self, line: &str) -> Output {
        Output::of(&format!("{} {line}", self.program()), &mut self.command(line))
    }

    /// Types a line that works, and returns what it prints, without the last newline.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status, 0, "{output}{}", self.said());
        output.stdout.strip_suffix('\n').unwrap_or(&output.stdout).to_owned()
    }

    /// Types a line that fails with a status, and returns what it complains about, without the last newline.
    ///
    /// # Panics
    /// When it has another status.
    pub fn fails(&self, line: &str, status: i32) -> String {
        let output = self.run(line);
        assert_eq!(output.status, status, "{output}{}", self.said());
        output.stderr.strip_suffix('\n').unwrap_or(&output.stderr).to_owned()
    }

    /// Types a line at a terminal.
    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(&format!("{} {line}", self.program()), &self.command(line))
    }

    /// Types a line that works, again and again, until what it prints is as it should be.
    ///
    /// # Panics
    /// When it fails or does not change; says what it printed last.
    pub fn until(&self, line: &str, is_right: impl Fn(&str) -> bool) -> String {
        let start = std::time::Instant::now();
        loop {
            let printed = self.ok(line);
            if is_right(&printed) {
                return printed;
            }
            assert!(start.elapsed() < PATIENCE, "{line}: still prints\n{printed}");
            std::thread::sleep(PAUSE);
        }
    }

    /// A container's state, as `inspect` has it.
    pub fn state(&self, container: &str) -> String {
        self.ok(&format!("inspect --format {{{{.State.Status}}}} {container}"))
    }

    /// Everything a container has printed so far, on both streams.
    ///
    /// # Panics
    /// When there are no logs.
    pub fn logs(&self, container: &str) -> String {
        let output = self.run(&format!("logs {container}"));
        assert_eq!(output.status, 0, "{output}");
        output.stdout + &output.stderr
    }

    /// Waits until a container has printed a text.
    pub fn logged(&self, container: &str, text: &str) {
        let start = std::time::Instant::now();
        while !self.logs(container).contains(text) {
            assert!(
                start.elapsed() < PATIENCE,
                "{text:?} is not in the logs of {container}:\n{}",
                self.logs(container)
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a request past any client, on a connection of its own: `head` is everything between the request line and
    /// the empty line. Returns the status and the body.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn request(&self, line: &str, head: &str, body: &str) -> (u16, String) {
        let socket = self.host.trim_start_matches("unix://");
        api::ask(Path::new(socket), line, head, body).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Program and address, for a shell's lines with pipes.
    pub fn typed(&self) -> (PathBuf, &str) {
        let program = match self.client {
            Client::Tare => install::dist().join("tare"),
            Client::Docker => install::docker(),
        };
        (program, &self.host)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.typed().0);
        command.args(words::split(line));
        command
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", self.path("config"))
            .env("DOCKER_CLI_HINTS", "false")
            .env("DOCKER_BUILDKIT", "0");
        for variable in
            ["TARE_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_DEFAULT_PLATFORM", "DOCKER_TLS_VERIFY"]
        {
            command.env_remove(variable);
        }
        command.current_dir(self.directory.path());
        command
    }

    /// The last command of the story: `rm -vf $(ps -aq)`, after which there is nothing left of any container.
    ///
    /// # Panics
    /// When something is left.
    pub fn remove_all(&self) {
        let all = self.ok("ps --all --quiet").replace('\n', " ");
        if !all.is_empty() {
            self.ok(&format!("rm --volumes --force {all}"));
        }
        assert_eq!(self.ok("ps --all --quiet"), "");
        if let Some(engine) = &self.engine {
            // Answered before the kernel has taken everything apart.
            let cleaned = crate::within_patience(|| left(engine).is_none());
            assert!(cleaned, "{:?}", left(engine));
        }
    }
}

/// What there is but what belongs to the engine itself: its daemon, bridges, table and cgroup; and directories of
/// containers.
fn left(engine: &Engine) -> Option<(Traces, Vec<String>)> {
    let mut traces = engine.names().traces();
    let daemon = format!("{} ", engine.pid());
    traces.cgroups.retain(|cgroup| !cgroup.ends_with(&engine.names().mark) && !cgroup.contains("/spare"));
    traces.processes.retain(|process| !process.starts_with(&daemon));
    traces.bridges.clear();
    traces.tables.clear();
    let directories = engine.stored("containers");
    (traces != Traces::default() || !directories.is_empty()).then_some((traces, directories))
}

impl Drop for Console {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.remove_all();
        }
    }
}
