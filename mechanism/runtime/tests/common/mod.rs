//! A bundle with a busybox root file system, and running things in it. The tests need root and a static busybox at
//! `/bin/busybox` (Debian's busybox-static).
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::json;
use tare_oci_runtime::{Process, Spec};
use tare_runtime::{CgroupPlace, Error, ExecTarget, Init, Launch, Stdio, create, exec};

pub struct Bundle {
    directory: tempfile::TempDir,
}

const APPLETS: &[&str] = &[
    "sh", "true", "false", "cat", "echo", "id", "ls", "readlink", "hostname", "mount", "umount", "sleep", "stat",
    "stty", "tty", "grep", "mkdir", "touch", "env", "pwd", "ps", "cut", "sort", "ip", "wc", "head", "chmod", "test",
    "kill", "awk", "find", "tr", "ln", "rm", "cp", "dd", "uname", "ulimit", "printf", "chown", "date", "nc", "seq",
    "unshare",
];

impl Bundle {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("tare-runtime-").tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for path in ["bin", "etc", "tmp", "root", "home/web"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("a static busybox (Debian: busybox-static)");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/home/web:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nweb:x:34:\nextra:x:44:web\n").unwrap();
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }
}

/// What Docker asks for, without cgroups.
pub fn spec(args: &[&str]) -> Spec {
    let caps =
        ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_KILL", "CAP_SYS_CHROOT"];
    let spec = json!({
        "ociVersion": "1.2.1",
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi",
                            "/sys/firmware", "/proc/does-not-exist"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    serde_json::from_value(spec).unwrap()
}

/// A specification that runs a script.
pub fn script(text: &str) -> Spec {
    spec(&["sh", "-c", text])
}

/// What a process left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit code, or 128 and the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn wait(pidfd: &OwnedFd) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

/// Pipes for a process, and their other ends.
pub struct Pipes {
    pub stdout: File,
    pub stderr: File,
}

pub fn pipes() -> (Stdio, Pipes) {
    let (stdout, stdout_writer) = std::io::pipe().unwrap();
    let (stderr, stderr_writer) = std::io::pipe().unwrap();
    let stdio = Stdio::Fds {
        stdin: File::open("/dev/null").unwrap().into(),
        stdout: stdout_writer.into(),
        stderr: stderr_writer.into(),
    };
    (stdio, Pipes { stdout: OwnedFd::from(stdout).into(), stderr: OwnedFd::from(stderr).into() })
}

impl Pipes {
    pub fn finish(mut self, init: &Init) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut stdout).unwrap();
        self.stderr.read_to_end(&mut stderr).unwrap();
        let code = wait(&init.pidfd);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Output { code, stdout: text(&stdout), stderr: text(&stderr) }
    }
}

/// Runs a container to its end.
pub fn try_run(bundle: &Bundle, spec: &Spec) -> Result<Output, Error> {
    let (stdio, pipes) = pipes();
    let init = create(Launch { stdio, ..Launch::new("test", bundle.path(), spec) })?.start()?;
    Ok(pipes.finish(&init))
}

/// Runs a container that shall succeed; returns its standard output.
#[track_caller]
pub fn run(bundle: &Bundle, spec: &Spec) -> String {
    let output = try_run(bundle, spec).unwrap();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    output.stdout
}

/// A container that runs until it is dropped.
pub struct Running {
    pub init: Init,
    pub spec: Spec,
}

impl Running {
    pub fn new(bundle: &Bundle, mut spec: Spec) -> Self {
        spec.process.as_mut().unwrap().args = ["sleep", "1000"].map(str::to_owned).into();
        let (stdio, _) = pipes();
        let init = create(Launch { stdio, ..Launch::new("test", bundle.path(), &spec) }).unwrap().start().unwrap();
        Self { init, spec }
    }

    pub fn target<'a>(&'a self, bundle: &'a Bundle) -> ExecTarget<'a> {
        ExecTarget {
            id: "test",
            pid: self.init.pid,
            pidfd: self.init.pidfd.as_fd(),
            spec: &self.spec,
            bundle: bundle.path(),
            cgroup: CgroupPlace::None,
            preserve_fds: &[],
        }
    }

    pub fn process(&self, args: &[&str]) -> Process {
        let mut process = self.spec.process.clone().unwrap();
        process.args = args.iter().map(|argument| (*argument).to_owned()).collect();
        process
    }

    pub fn try_exec(&self, bundle: &Bundle, process: &Process) -> Result<Output, Error> {
        let (stdio, pipes) = pipes();
        let init = exec(&self.target(bundle), process, stdio)?;
        Ok(pipes.finish(&init))
    }

    #[track_caller]
    pub fn exec(&self, bundle: &Bundle, script: &str) -> String {
        let output = self.try_exec(bundle, &self.process(&["sh", "-c", script])).unwrap();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        output.stdout
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.init.pidfd, rustix::process::Signal::KILL);
        wait(&self.init.pidfd);
    }
}

/// Changes a specification through its JSON.
pub fn with(spec: Spec, change: serde_json::Value) -> Spec {
    fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (serde_json::Value::Array(into), serde_json::Value::Array(from)) => into.extend(from),
            (into, from) => *into = from,
        }
    }
    let mut value = serde_json::to_value(spec).unwrap();
    merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}
