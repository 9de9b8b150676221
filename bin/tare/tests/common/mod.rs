//! A bundle with a busybox root file system, and `tare oci` on it. Needs root and a static busybox at `/bin/busybox`
//! (Debian: busybox-static).
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

pub struct Host {
    pub directory: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("tare-oci-").tempdir().unwrap();
        let root = directory.path().join("bundle/rootfs");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("a static busybox (Debian: busybox-static)");
        for applet in ["sh", "true", "sleep", "cat", "id", "echo", "tty", "stty", "ls", "kill", "grep"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        Self { directory }
    }

    pub fn bundle(&self) -> PathBuf {
        self.directory.path().join("bundle")
    }

    /// The program; a copy of the host's own if there is one.
    pub fn program(&self) -> PathBuf {
        let own = self.directory.path().join("tare");
        if own.exists() { own } else { env!("CARGO_BIN_EXE_tare").into() }
    }

    /// Names are the host's, in cgroups.
    pub fn id(&self, name: &str) -> String {
        format!(
            "{name}-{}",
            self.directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches("tare-oci-")
        )
    }

    pub fn config(&self, script: &str, change: impl FnOnce(&mut Value)) {
        let path = self.bundle().join("config.json");
        let _ = fs::remove_file(&path);
        assert!(self.run(&["spec", "--bundle", self.bundle().to_str().unwrap()]).status.success());
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["process"]["terminal"] = json!(false);
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(["oci", "--root"]).arg(self.directory.path().join("state")).args(args).current_dir(self.bundle());
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of what must succeed.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and standard error of what must fail.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    /// Creates a container whose output goes to a file, as the test's own would stay open in it.
    #[track_caller]
    pub fn create(&self, id: &str, more: &[&str]) {
        let log = File::create(self.log(id)).unwrap();
        let mut args = vec!["create"];
        args.extend(more);
        args.push(id);
        let mut command = self.command(&args);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        assert!(command.status().unwrap().success(), "{}", fs::read_to_string(self.log(id)).unwrap());
    }

    pub fn log(&self, id: &str) -> PathBuf {
        self.directory.path().join(format!("{id}.log"))
    }

    /// Waits until the container's init has ended.
    pub fn wait(&self, id: &str) {
        while self.status(id) != "stopped" {
            std::thread::yield_now();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for id in self.run(&["list", "-q"]).stdout.split(|byte| *byte == b'\n').filter(|id| !id.is_empty()) {
            self.run(&["delete", "--force", std::str::from_utf8(id).unwrap()]);
        }
    }
}
