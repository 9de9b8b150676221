//! An engine on directories of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::leftovers::{Names, Traces};
use crate::{Disk, eventually, install};

/// What is still there after [`Engine::switch_off`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Everything but processes: as if all of them had been killed at once.
    Mounts,
    /// What is on disk, as after a start of the machine.
    Disk,
}

/// A running daemon; stopped and cleaned up after when dropped.
#[derive(Debug)]
pub struct Engine {
    /// First, so that they are unmounted before the directories are removed.
    disks: Vec<Disk>,
    directory: TempDir,
    /// As in production on a tmpfs, and with a short path: it holds sockets.
    exec_root: TempDir,
    options: Vec<String>,
    /// Variables that the daemon gets.
    environment: Vec<(&'static str, OsString)>,
    daemon: Option<Child>,
    names: Names,
    manager: Option<ServiceManager>,
}

/// What a service manager gives to a daemon that it starts.
#[derive(Debug)]
pub struct ServiceManager {
    /// Two listening sockets, which become the descriptors 3 and 4, with their names.
    pub sockets: [(&'static str, OwnedFd); 2],
    /// Where the daemon says how it is.
    pub notify: (PathBuf, UnixDatagram),
}

/// Moves the sockets to where `sd_listen_fds(3)` expects them; the process ID is the daemon's own.
const ACTIVATE: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec "$@""#;

impl Engine {
    /// Starts a daemon with more options than it needs anyway.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(options: &[&str]) -> Self {
        Self::start_by(None, options, Vec::new(), None, None)
    }

    /// The same with variables of its environment.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_with(options: &[&str], environment: Vec<(&'static str, OsString)>) -> Self {
        Self::start_by(None, options, environment, None, None)
    }

    /// Starts a daemon as a service manager does.
    ///
    /// # Panics
    /// When it does not start.
    pub fn activated(manager: ServiceManager, options: &[&str]) -> Self {
        Self::start_by(Some(manager), options, Vec::new(), None, None)
    }

    /// Starts a daemon with its data root, its exec root or both on file systems of their own, with so many bytes.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_on(options: &[&str], data_bytes: Option<u64>, exec_bytes: Option<u64>) -> Self {
        Self::start_by(None, options, Vec::new(), data_bytes, exec_bytes)
    }

    fn start_by(
        manager: Option<ServiceManager>,
        options: &[&str],
        environment: Vec<(&'static str, OsString)>,
        data_bytes: Option<u64>,
        exec_bytes: Option<u64>,
    ) -> Self {
        // Not below /tmp: that may be a tmpfs, and images are large.
        let directory = tempfile::Builder::new().prefix("tare-test-").tempdir_in("/var/tmp").expect("directory");
        let exec_root = tempfile::Builder::new().prefix("tare-").tempdir_in("/run").expect("directory");
        let mut names = Names::new(&[directory.path(), exec_root.path()], &directory.path().join("data"));
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let data = data_bytes.map(|bytes| Disk::mount(&directory.path().join("data"), bytes));
        let exec = exec_bytes.map(|bytes| Disk::mount(exec_root.path(), bytes));
        let disks: Vec<Disk> = data.into_iter().chain(exec).collect();
        names.disks = disks.iter().map(|disk| disk.path().to_owned()).collect();
        let mut engine = Self { directory, exec_root, options, environment, daemon: None, names, manager, disks };
        engine.resume();
        engine
    }

    /// Starts the daemon again after [`Engine::stop`] or [`Engine::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = File::options().create(true).append(true).open(self.log()).expect("log file");
        let mut command = self.program();
        command.arg("daemon").arg("-H").arg(self.host());
        command.arg("--data-root").arg(self.data_root()).arg("--exec-root").arg(self.exec_root.path());
        command.arg("--config-file").arg(self.path("daemon.json")).args(&self.options);
        fs::write(self.path("daemon.json"), "{}").expect("configuration file");
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        eventually("the daemon to listen", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the daemon ended ({status}):\n{}", self.said());
            }
            UnixStream::connect(self.path("tare.sock")).ok()
        });
        self.daemon = Some(child);
    }

    /// Other options from the next start on.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
    }

    /// The program, with what its service manager gives it.
    fn program(&self) -> Command {
        let program = install::dist().join("tare");
        let Some(manager) = &self.manager else {
            let mut command = Command::new(program);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            return command;
        };
        let [(first, stdin), (second, stdout)] = &manager.sockets;
        let copy = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("a socket"));
        let mut command = Command::new("sh");
        command.args(["-c", ACTIVATE, "sh"]).arg(program).stdin(copy(stdin)).stdout(copy(stdout));
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", format!("{first}:{second}"));
        command.env("NOTIFY_SOCKET", &manager.notify.0);
        command
    }

    /// The next thing that the daemon tells its service manager.
    ///
    /// # Panics
    /// When there is none, or it says nothing.
    pub fn notified(&self) -> String {
        let manager = self.manager.as_ref().expect("a service manager");
        let mut text = vec![0; 4096];
        manager.notify.1.set_read_timeout(Some(crate::PATIENCE)).expect("a timeout");
        let length = manager.notify.1.recv(&mut text).expect("a notification");
        text.truncate(length);
        String::from_utf8(text).expect("a text").trim_end().to_owned()
    }

    /// Stops the daemon as a service manager does; containers stay.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Kills the daemon as a crash does; containers stay.
    ///
    /// # Panics
    /// When it does not end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Kills everything at once: the daemon, all shims and all containers, as when the machine loses power.
    ///
    /// # Panics
    /// When the daemon does not end, or something of it cannot be removed.
    pub fn switch_off(&mut self, remains: Remains) {
        self.kill();
        match remains {
            Remains::Mounts => assert!(self.names.kill_processes(), "{:?}", self.names.traces().processes),
            Remains::Disk => {
                self.names.remove();
                for entry in fs::read_dir(self.exec_root.path()).expect("the exec root").flatten() {
                    let path = entry.path();
                    let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                    removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                }
            }
        }
    }

    /// Writes the daemon's configuration file and has it read again: SIGHUP.
    ///
    /// # Panics
    /// When there is no daemon.
    pub fn reload(&self, settings: &str) {
        fs::write(self.path("daemon.json"), settings).expect("configuration file");
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("process ID");
        kill_process(pid, Signal::HUP).expect("signal the daemon");
    }

    fn signal(&mut self, signal: Signal) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("process ID");
        kill_process(pid, signal).expect("signal the daemon");
        eventually("the daemon to end", || daemon.try_wait().expect("wait for the daemon"));
    }

    /// The daemon's process ID.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// Its address, as `-H` wants it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("tare.sock").display())
    }

    /// Where it keeps images, volumes and containers.
    pub fn data_root(&self) -> PathBuf {
        self.path("data")
    }

    /// Where it keeps what lasts no longer than the machine is up.
    pub fn exec_root(&self) -> &Path {
        self.exec_root.path()
    }

    /// The file systems that were made for it: of the data root, then of the exec root.
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// A path in the engine's directory, for files of the test too.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What carries its name on this machine.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What the daemon wrote to its log.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.path("daemon.log")
    }

    /// Names in a directory below the data root; none when there is no such directory.
    pub fn stored(&self, directory: &str) -> Vec<String> {
        let path: &Path = &self.data_root().join(directory);
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.said());
            if let Some(mut daemon) = self.daemon.take() {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
            self.names.remove();
            return;
        }
        self.stop();
        // An engine without running containers takes everything along when it ends.
        let mut left = Traces::default();
        let found = crate::within_patience(|| {
            left = self.names.traces();
            left == Traces::default()
        });
        if !found {
            self.names.remove();
            panic!("the engine left {left:?}\n{}", self.said());
        }
    }
}
