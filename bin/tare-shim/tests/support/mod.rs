//! Drives a shim as the daemon does: spawns it, speaks the protocol, looks at what it leaves behind.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::{Value, json};
use tare_cgroup::{Cgroup, Hierarchies};
use tare_logs::{Entry, LogConfig, LogReader, ReadOptions, Step};
use tare_shim_protocol::{
    Attach, Event, Exec, ExitRecord, Failure, FdRole, Launch, Message, Op, Outcome, PACKET_BYTES_MAX, Request,
    SOCKET_NAME, ShimConfig, decode, encode,
};

/// When a test gives up waiting for something that must come: generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(30);

static LAST: AtomicU32 = AtomicU32::new(0);

/// Held while a process is spawned, which for a moment has copies of all our descriptors, and while one is closed that
/// nobody else may have open afterwards.
static SPAWNING: Mutex<()> = Mutex::new(());

/// What is to be run.
pub struct Plan {
    pub spec: Value,
    pub config: ShimConfig,
    pub spare: bool,
}

/// A container that runs a shell script.
pub fn script(text: &str) -> Plan {
    command(&["/bin/sh", "-c", text])
}

/// A container that runs a command.
pub fn command(args: &[&str]) -> Plan {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let spec = json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin", "TERM=dumb"], "cwd": "/"
        },
        "root": { "path": "rootfs" },
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]),
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }],
        },
    });
    let config = ShimConfig {
        id: String::new(),
        open_stdin: false,
        stdin_once: false,
        log: LogConfig {
            driver: "json-file".to_owned(),
            path: PathBuf::new(),
            max_size: None,
            max_file: 1,
            compress: false,
            attrs: BTreeMap::new(),
        },
        dns: None,
        labels: BTreeMap::new(),
    };
    Plan { spec, config, spare: true }
}

impl Plan {
    pub fn stdin(mut self, once: bool) -> Self {
        self.config.open_stdin = true;
        self.config.stdin_once = once;
        self
    }

    pub fn terminal(mut self, rows: u16, cols: u16) -> Self {
        self.spec["process"]["terminal"] = true.into();
        self.spec["process"]["consoleSize"] = serde_json::json!({"height": rows, "width": cols});
        self
    }

    pub fn host_pids(mut self) -> Self {
        self.spec["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        self
    }

    /// Starts the shim; the container is not launched yet.
    pub fn spawn(mut self) -> Shim {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let parent = format!("/tare-test-{}-{number}", std::process::id());
        let id = format!("c{number}");
        let directory = tempfile::tempdir().unwrap();
        make_rootfs(&directory.path().join("rootfs"));
        self.config.id = id.clone();
        self.config.log.path = directory.path().join("log");
        if self.spec["linux"]["cgroupsPath"].is_null() {
            self.spec["linux"]["cgroupsPath"] = format!("{parent}/{id}").into();
        }
        fs::write(directory.path().join("config.json"), self.spec.to_string()).unwrap();
        fs::write(directory.path().join("shim.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        let (socket, theirs) = seqpacket_pair();
        let null = fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let stderr = std::io::stderr();
        let binary = CString::new(env!("CARGO_BIN_EXE_tare-shim")).unwrap();
        let mut argv = vec!["tare-shim", "--cgroup-parent", &parent];
        if self.spare {
            argv.extend(["--spare", &id]);
        }
        let argv: Vec<_> = argv.into_iter().map(|argument| CString::new(argument).unwrap()).collect();
        let fds = [null.as_fd(), null.as_fd(), stderr.as_fd(), theirs.as_fd()];
        let spawning = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = tare_sys::spawn::spawn(&binary, &argv, &[], &fds).unwrap();
        drop(spawning);
        let cgroup = self.spec["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
        let daemon = Daemon { socket, last_seq: 0, events: VecDeque::new() };
        Shim { id, daemon, pid, ended: false, directory, parent, cgroup, log: self.config.log }
    }

    /// Starts the shim and the container.
    pub fn launch(self) -> Shim {
        let mut shim = self.spawn();
        shim.launch();
        shim
    }
}

fn seqpacket_pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn make_rootfs(root: &Path) {
    for directory in ["bin", "dev", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // A program that somebody may write to cannot be executed (ETXTBSY), and a copy of the descriptor is enough.
    let _spawning = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("the package busybox-static is needed");
    for applet in ["cat", "dd", "echo", "head", "kill", "printf", "seq", "sh", "sleep", "stty", "tail", "tr", "true"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

/// One connection to a shim.
pub struct Daemon {
    pub socket: OwnedFd,
    last_seq: u64,
    events: VecDeque<Event>,
}

impl Daemon {
    pub fn connect(directory: &Path) -> Self {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(directory.join(SOCKET_NAME)).unwrap()).unwrap();
        Self { socket, last_seq: 0, events: VecDeque::new() }
    }

    pub fn call(&mut self, op: Op, fds: Vec<(FdRole, OwnedFd)>) -> Outcome {
        self.last_seq += 1;
        let (roles, fds): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
        let request = Request { seq: self.last_seq, fds: roles, op };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        tare_sys::socket::send_with_fds(&self.socket, &encode(&request).unwrap(), &fds).unwrap();
        loop {
            match self.message(PATIENCE).expect("no reply in time") {
                Message::Reply(reply) => {
                    assert_eq!(reply.seq, self.last_seq);
                    return reply.outcome;
                }
                Message::Event(event) => self.events.push_back(event),
            }
        }
    }

    pub fn ok(&mut self, op: Op, fds: Vec<(FdRole, OwnedFd)>) -> Outcome {
        match self.call(op, fds) {
            Outcome::Failed(failure) => panic!("{failure:?}"),
            outcome => outcome,
        }
    }

    pub fn failure(&mut self, op: Op, fds: Vec<(FdRole, OwnedFd)>) -> Failure {
        match self.call(op, fds) {
            Outcome::Failed(failure) => failure,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The next event, in order.
    pub fn event(&mut self) -> Event {
        self.event_within(PATIENCE).expect("no event in time")
    }

    pub fn event_within(&mut self, patience: Duration) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        match self.message(patience)? {
            Message::Event(event) => Some(event),
            Message::Reply(reply) => panic!("{reply:?}"),
        }
    }

    fn message(&mut self, patience: Duration) -> Option<Message> {
        if !readable(&self.socket, patience) {
            return None;
        }
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        let (bytes, _) = tare_sys::socket::recv_with_fds(&self.socket, &mut buffer).unwrap();
        assert!(bytes > 0, "the shim has closed the connection");
        Some(decode(&buffer[..bytes]).unwrap())
    }

    /// The next event, which is the exit.
    pub fn exit(&mut self) -> ExitRecord {
        match self.event() {
            Event::Exit(record) => record,
            event => panic!("{event:?}"),
        }
    }
}

pub fn readable(fd: impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

/// Waits until something is so.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A running shim; when dropped, everything of it is removed by force.
pub struct Shim {
    pub id: String,
    pub daemon: Daemon,
    pub pid: i32,
    ended: bool,
    pub directory: tempfile::TempDir,
    parent: String,
    cgroup: String,
    log: LogConfig,
}

impl Shim {
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn launch_op(&self) -> Op {
        Op::Launch(Launch { bundle: self.path().to_owned() })
    }

    pub fn launch(&mut self) -> i32 {
        self.launch_with(Vec::new())
    }

    pub fn launch_with(&mut self, fds: Vec<(FdRole, OwnedFd)>) -> i32 {
        match self.daemon.ok(self.launch_op(), fds) {
            Outcome::Ok { pid, start_time, .. } => {
                assert!(pid > 1 && start_time > 0);
                pid
            }
            Outcome::Failed(_) => unreachable!(),
        }
    }

    /// Attaches a client; returns our end of its connection and the reply.
    pub fn attach(&mut self, attach: Attach) -> (UnixStream, Outcome) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let outcome = self.daemon.ok(Op::Attach(attach), vec![(FdRole::Client, theirs.into())]);
        (ours, outcome)
    }

    /// Runs a command in the container, with a client if `attach` says so.
    pub fn exec(&mut self, id: &str, process: &Value, attach: Option<Attach>) -> (Option<UnixStream>, Outcome) {
        let mut full = json!({ "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"], "cwd": "/" });
        full.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
        let file = format!("exec-{id}.json");
        fs::write(self.path().join(&file), full.to_string()).unwrap();
        let (mut fds, mut stream) = (Vec::new(), None);
        if attach.is_some() {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(PATIENCE)).unwrap();
            fds.push((FdRole::Client, theirs.into()));
            stream = Some(ours);
        }
        let exec = Exec {
            id: id.to_owned(),
            process_file: file.clone(),
            attach,
            size: Some((33, 44)),
            exit_file: format!("exec-{id}.exit"),
        };
        let outcome = self.daemon.call(Op::Exec(exec), fds);
        assert!(!self.path().join(file).exists());
        (stream, outcome)
    }

    pub fn entries(&self) -> Vec<Entry> {
        let mut reader = LogReader::open(&self.log, ReadOptions::default()).unwrap();
        let mut entries = Vec::new();
        while let Step::Entry(entry) = reader.next().unwrap() {
            entries.push(entry);
        }
        entries
    }

    /// The logged text of both streams in order.
    pub fn log(&self) -> String {
        let lines = self.entries().into_iter().map(|entry| String::from_utf8(entry.line).unwrap());
        lines.collect()
    }

    pub fn log_config(&self) -> &LogConfig {
        &self.log
    }

    pub fn cgroup_exists(&self) -> bool {
        Cgroup::open(&Hierarchies::detect().unwrap(), &self.cgroup).exists()
    }

    pub fn spare_exists(&self) -> bool {
        let name = self.cgroup.rsplit('/').next().unwrap();
        Cgroup::open(&Hierarchies::detect().unwrap(), &format!("{}/spare-{name}", self.parent)).exists()
    }

    /// The daemon is gone.
    pub fn disconnect(&mut self) {
        let _spawning = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        self.daemon = Daemon { socket: seqpacket_pair().0, last_seq: 0, events: VecDeque::new() };
    }

    /// Another daemon takes over.
    pub fn reconnect(&mut self) {
        self.daemon = Daemon::connect(self.path());
    }

    /// Waits for the shim's own end.
    pub fn wait(&mut self) {
        let mut exit = None;
        eventually("the shim ends", || {
            exit = waitpid(Pid::from_raw(self.pid), WaitOptions::NOHANG).unwrap();
            exit.is_some()
        });
        self.ended = true;
        assert_eq!(exit.unwrap().1.exit_status(), Some(0));
    }

    /// The container's end as the daemon sees it through: exit, acknowledgement, nothing left.
    pub fn finish(mut self) -> ExitRecord {
        let record = self.daemon.exit();
        self.acknowledge(&record);
        record
    }

    pub fn acknowledge(&mut self, record: &ExitRecord) {
        let file = self.path().join("exit.json");
        let stored: ExitRecord = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(&stored, record);
        self.daemon.ok(Op::Acknowledge, Vec::new());
        self.wait();
        assert!(!file.exists() && !self.path().join(SOCKET_NAME).exists());
        assert!(!self.cgroup_exists());
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let hierarchies = Hierarchies::detect().unwrap();
        let _ = Cgroup::open(&hierarchies, &self.cgroup).kill_all(9);
        if !self.ended {
            let _ = tare_sys::kill::kill(self.pid, 9);
            let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::empty());
        }
        let _ = Cgroup::open(&hierarchies, &self.cgroup).remove();
        let removed = Cgroup::open(&hierarchies, &self.parent).remove();
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Takes framed output apart: (stream, bytes).
pub fn frames(mut stream: &UnixStream) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    loop {
        let mut header = [0; 8];
        match stream.read(&mut header[..1]).unwrap() {
            0 => return frames,
            _ => stream.read_exact(&mut header[1..]).unwrap(),
        }
        assert_eq!(header[1..4], [0, 0, 0]);
        let mut bytes = vec![0; u32::from_be_bytes(header[4..].try_into().unwrap()) as usize];
        stream.read_exact(&mut bytes).unwrap();
        frames.push((header[0], bytes));
    }
}

/// Reads until the text ends with `end`.
pub fn read_until(mut stream: &UnixStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads to the end.
pub fn read_all(mut stream: &UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Wants all output.
pub fn output(id: u64) -> Attach {
    Attach { id, stdout: true, stderr: true, ..Attach::default() }
}

/// Wants all output and gives input.
pub fn both(id: u64) -> Attach {
    Attach { stdin: true, ..output(id) }
}
