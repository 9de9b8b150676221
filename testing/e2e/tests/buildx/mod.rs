//! The unmodified docker client with its plugin buildx, in a directory of its own.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use tare_testkit::{Client, Console, Output, eventually, install};

/// A docker client with buildx.
pub struct Buildx {
    /// The console it is typed at.
    pub c: Console,
}

impl Buildx {
    /// One with an empty context.
    pub fn new() -> Buildx {
        let c = Console::new(Client::Docker);
        let plugins = c.path("config/cli-plugins");
        fs::create_dir_all(&plugins).expect("directory");
        std::os::unix::fs::symlink(install::buildx(), plugins.join("docker-buildx")).expect("link");
        fs::create_dir_all(c.path("context")).expect("directory");
        Buildx { c }
    }

    /// Writes files of the context; names with a slash make directories.
    pub fn files(&self, files: &[(&str, &str)]) {
        self.c.write_context(files);
    }

    /// The client, in the context.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let (program, host) = self.c.typed();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.c.path("context"));
        command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", self.c.path("config")).env("HOME", self.c.path("home"));
        command.env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1").env("DOCKER_CLI_HINTS", "false");
        command.env_remove("DOCKER_BUILDKIT").env_remove("DOCKER_CONTEXT").env_remove("BUILDX_BUILDER");
        command
    }

    /// Types a line.
    pub fn run(&self, line: &str) -> Output {
        Output::of(line, &mut self.command(&line.split(' ').collect::<Vec<_>>()))
    }

    /// Types a line that works; gives what it says, on standard error where progress is.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status, 0, "{output}");
        output.stderr
    }

    /// Types a line that fails; gives why.
    pub fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status, 1, "{output}");
        output.stderr
    }

    /// Types a line with a Dockerfile on standard input.
    pub fn piped(&self, line: &str, dockerfile: &str) -> (i32, String) {
        let mut command = self.command(&line.split(' ').collect::<Vec<_>>());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("docker");
        child.stdin.take().expect("piped").write_all(dockerfile.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("ended");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Buildx {
    /// Nothing is left of builds but images and their steps.
    fn drop(&mut self) {
        let Some(engine) = self.c.engine().filter(|_| !std::thread::panicking()) else { return };
        eventually("the builds' files to go", || engine.stored("builds").is_empty().then_some(()));
        eventually("the builds' layers to go", || engine.stored("images/snapshots").is_empty().then_some(()));
        self.c.remove_all();
    }
}
