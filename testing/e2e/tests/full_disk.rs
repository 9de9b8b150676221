//! Disks without a free byte, under images and containers or under what only lasts while they run: what runs goes on, what
//! ends is recorded, everything can be listed, stopped and removed, and what fails leaves nothing.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use tare_testkit::{Client, Console, Disk, eventually, within_patience};

/// Enough for an engine and a small image, too little for a large one.
const DATA_BYTES: u64 = 24 << 20;
/// Enough for some containers.
const EXEC_BYTES: u64 = 2 << 20;
/// What they all say.
const FULL: &str = "no space left on device";
/// Prints lines for ever and counts them where no disk is.
const COUNTER: &str = "sh -c 'i=0; while true; do i=$((i+1)); echo $i >/dev/shm/beat; echo line $i; sleep 0.01; done'";
/// Ends with a status of its own when it is told to.
const SEVEN: &str = "sh -c 'trap \"exit 7\" TERM; echo ready; while true; do sleep 0.05; done'";

/// A console on disks of its own; nothing of this can be asked of a daemon that somebody else started.
fn console(client: Client, data: Option<u64>, exec: Option<u64>) -> Option<Console> {
    let console = Console::on_disks(client, &[], data, exec);
    console.engine().is_some().then_some(console)
}

fn disk(c: &Console) -> &Disk {
    c.engine().expect("an engine").disks().first().expect("a disk")
}

fn fill(c: &Console) {
    c.engine().expect("an engine").disks().iter().for_each(Disk::fill);
}

fn clear(c: &Console) {
    c.engine().expect("an engine").disks().iter().for_each(Disk::clear);
}

/// A line fails because the disk is full, and says so.
fn refused(c: &Console, line: &str) {
    let output = c.run(line);
    assert_ne!(output.status, 0, "{output}");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(FULL), "{output}");
}

fn seen(c: &Console, name: &str, format: &str) -> String {
    c.ok(&format!("inspect --format {{{{{format}}}}} {name}"))
}

fn terminate(pid: &str) {
    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process(pid, Signal::TERM).expect("a process to signal");
}

/// A container is alive: it counts on.
fn goes_on(pid: &str) {
    let beat = || -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/root/dev/shm/beat")).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    };
    let before = eventually("a first beat", || Some(beat()).filter(|beat| *beat > 0));
    eventually("another beat", || (beat() > before + 2).then_some(()));
}

/// What is stored of images, by directory; temporary things are still going, perhaps.
fn images(c: &Console) -> Vec<Vec<String>> {
    let engine = c.engine().expect("an engine");
    let parts = ["ingest", "blobs/sha256", "layers", "snapshots", "trash"].map(|part| {
        let mut names = engine.stored(&format!("images/{part}"));
        names.sort();
        names
    });
    parts.into_iter().collect()
}

/// Does something that leaves nothing in the store.
fn leaving_nothing(c: &Console, what: &str, act: impl FnOnce()) {
    let before = images(c);
    act();
    let mut after = Vec::new();
    let same = within_patience(|| {
        after = images(c);
        after == before
    });
    assert!(same, "{what}: {before:?} became {after:?}");
}

#[test]
fn a_pull_that_is_too_large_leaves_nothing() {
    for client in [Client::Tare, Client::Docker] {
        let Some(c) = console(client, Some(DATA_BYTES), None) else { return };
        c.ok("pull busybox:1.29");
        let before = disk(&c).free();
        leaving_nothing(&c, "pull", || refused(&c, "pull nginx:latest"));
        assert!(disk(&c).free() + (64 << 10) > before, "{} of {before} bytes are free", disk(&c).free());
        assert_eq!(c.ok("images -q").lines().count(), 1);
        assert_eq!(c.ok("run --rm busybox:1.29 echo here"), "here");
    }
}

#[test]
fn everything_that_makes_something_fails_and_leaves_nothing() {
    let Some(c) = console(Client::Docker, Some(DATA_BYTES), None) else { return };
    c.ok(&format!("run -d --name counter busybox:1.29 {COUNTER}"));
    c.ok("create --name waiting busybox:1.29 true");
    let archive = c.path("busybox.tar").display().to_string();
    c.ok(&format!("save -o {archive} busybox:1.29"));
    c.ok("export -o root.tar counter");
    fs::write(c.path("Dockerfile"), "FROM busybox:1.29\nRUN echo x >/x\n").expect("a Dockerfile");
    fs::write(c.path("large"), vec![1; 1 << 20]).expect("a file");
    c.ok("exec counter sh -c 'echo changed >/changed'");
    fill(&c);
    for line in [
        "pull nginx:latest",
        "import root.tar imported",
        "commit counter committed",
        "build -t built .",
        "cp large counter:/large",
        "run --rm busybox:1.29 true",
        "run -d --name new busybox:1.29 true",
        "start waiting",
    ] {
        leaving_nothing(&c, line, || {
            refused(&c, line);
            c.run("rm new");
            fill(&c);
        });
    }
    assert_eq!(c.ok("images -q").lines().count(), 1);
    assert_eq!(c.state("waiting"), "created");
    // There is room for the records of some that are only created, and then not any more.
    let mut created = 0;
    while c.run(&format!("create --name c{created} busybox:1.29 true")).status == 0 {
        created += 1;
        assert!(created < 1000, "the disk is not full");
    }
    leaving_nothing(&c, "create", || refused(&c, "create busybox:1.29 true"));
    let engine = c.engine().expect("an engine");
    assert_eq!(engine.stored("containers").len(), c.ok("ps -aq").lines().count());
    goes_on(&seen(&c, "counter", ".State.Pid"));
    c.ok("rm -f counter");
    clear(&c);
    c.ok("start --attach waiting");
    c.ok(&format!("load -i {archive}"));
}

#[test]
fn what_runs_goes_on_and_everything_can_be_removed() {
    let Some(mut c) = console(Client::Tare, Some(DATA_BYTES), None) else { return };
    c.ok(&format!("run -d --name counter busybox:1.29 {COUNTER}"));
    c.ok(&format!("run -d --name seven busybox:1.29 {SEVEN}"));
    c.ok(&format!("run -d --name again --restart on-failure:1 busybox:1.29 {SEVEN}"));
    c.run("run --name ended busybox:1.29 sh -c 'exit 3'");
    c.logged("seven", "ready");
    c.logged("again", "ready");
    c.logged("counter", "line 10\n");
    let pids = ["counter", "seven", "again"].map(|name| seen(&c, name, ".State.Pid"));
    fill(&c);
    goes_on(&pids[0]);
    // Its log has taken what room was left in the file's last block.
    let lines = eventually("a log that stands still", || {
        let before = c.logs("counter").lines().count();
        // Empty for the moment in which the next number is written.
        let beats = c.ok("exec counter cat /dev/shm/beat").parse::<usize>().ok()?;
        let after = c.logs("counter").lines().count();
        (before == after && beats > after).then_some(after)
    });
    c.engine_mut().expect("an engine").kill();
    fill(&c);
    terminate(&pids[1]);
    terminate(&pids[2]);
    let bundle = c.engine().expect("an engine").exec_root().join("containers");
    eventually("both to end while nobody looks", || {
        let ended = fs::read_dir(&bundle).ok()?.flatten().filter(|entry| entry.path().join("exit.json").exists());
        (ended.count() == 2).then_some(())
    });
    // Also with both killed, whatever they were about.
    for _ in 0..2 {
        c.engine_mut().expect("an engine").resume();
        assert_eq!(disk(&c).free(), 0);
        c.engine_mut().expect("an engine").kill();
        fill(&c);
    }
    c.engine_mut().expect("an engine").resume();
    assert_eq!((c.state("seven"), seen(&c, "seven", ".State.ExitCode")), ("exited".to_owned(), "7".to_owned()));
    assert_eq!(seen(&c, "ended", ".State.ExitCode"), "3");
    assert_eq!((c.state("counter"), seen(&c, "counter", ".State.Pid")), ("running".to_owned(), pids[0].clone()));
    // What it needs on the disk, it has from its first start.
    c.until("inspect --format {{.State.Status}} again", |status| status == "running");
    goes_on(&pids[0]);
    clear(&c);
    c.until("logs --tail 1 counter", |line| {
        line.strip_prefix("line ").and_then(|number| number.parse::<usize>().ok()).is_some_and(|n| n > lines + 10)
    });
    let logs = c.logs("counter");
    let numbers: Vec<usize> = logs
        .lines()
        .map(|line| line.strip_prefix("line ").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line:?}")))
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{logs}");
    assert!(numbers.len() < *numbers.last().expect("a line"), "nothing was lost, so nothing was full");
    fill(&c);
    c.ok("stop -t 0 counter");
    assert_eq!(seen(&c, "counter", ".State.ExitCode"), "137");
    for name in ["counter", "seven", "again", "ended"] {
        fill(&c);
        c.ok(&format!("rm -f {name}"));
    }
    assert_eq!(c.ok("ps -aq"), "");
    let engine = c.engine_mut().expect("an engine");
    engine.kill();
    engine.resume();
    assert_eq!(c.ok("ps -aq"), "");
    fill(&c);
    c.ok("rmi busybox:1.29");
    assert_eq!(c.ok("images -q"), "");
    eventually("what an image took", || (disk(&c).free() > 1 << 20).then_some(()));
    clear(&c);
    assert_eq!(c.ok("run --rm busybox:1.29 echo here"), "here");
}

#[test]
fn nothing_is_lost_where_bundles_are_either() {
    let Some(mut c) = console(Client::Tare, Some(DATA_BYTES), Some(EXEC_BYTES)) else { return };
    c.ok(&format!("run -d --name counter busybox:1.29 {COUNTER}"));
    c.ok(&format!("run -d --name seven busybox:1.29 {SEVEN}"));
    c.ok(&format!("run -d --name eight busybox:1.29 {SEVEN}"));
    c.logged("seven", "ready");
    c.logged("eight", "ready");
    let pids = ["counter", "seven", "eight"].map(|name| seen(&c, name, ".State.Pid"));
    let exec = |c: &Console, command: &str| {
        let body = format!(r#"{{"Cmd":["sh","-c","{command}"]}}"#);
        let (status, body) = c.request("POST /containers/counter/exec", "Content-Type: application/json\r\n", &body);
        assert_eq!(status, 201, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let id = answer["Id"].as_str().expect("an ID").to_owned();
        let start = format!("POST /exec/{id}/start");
        assert_eq!(c.request(&start, "Content-Type: application/json\r\n", r#"{"Detach":true}"#).0, 200);
        id
    };
    let waiting = exec(&c, "while [ ! -e /dev/shm/go ]; do sleep 0.02; done; exit 9");
    fill(&c);
    let bundles = c.engine().expect("an engine").exec_root().join("containers");
    refused(&c, "exec counter true");
    refused(&c, "run --name new busybox:1.29 true");
    c.ok("rm new");
    assert_eq!(fs::read_dir(&bundles).expect("bundles").count(), 3);
    terminate(&pids[1]);
    assert_eq!(c.ok("wait seven"), "7");
    fill(&c);
    c.engine_mut().expect("an engine").kill();
    fill(&c);
    terminate(&pids[2]);
    fs::write(format!("/proc/{}/root/dev/shm/go", pids[0]), "").expect("to tell the exec");
    let code = bundles.join(seen_id(&bundles, &waiting)).join(format!("exec-{waiting}.exit"));
    eventually("the exec to end", || code.exists().then_some(()));
    eventually("the container to end", || {
        let ended = fs::read_dir(&bundles).ok()?.flatten().any(|entry| entry.path().join("exit.json").exists());
        ended.then_some(())
    });
    c.engine_mut().expect("an engine").resume();
    assert_eq!((c.state("eight"), seen(&c, "eight", ".State.ExitCode")), ("exited".to_owned(), "7".to_owned()));
    assert_eq!(seen(&c, "counter", ".State.Pid"), pids[0]);
    let (_, body) = c.request(&format!("GET /exec/{waiting}/json"), "", "");
    assert!(body.contains("\"ExitCode\":9"), "{body}");
    goes_on(&pids[0]);
    for name in ["counter", "seven", "eight"] {
        fill(&c);
        c.ok(&format!("rm -f {name}"));
    }
    assert_eq!(fs::read_dir(&bundles).expect("bundles").count(), 0);
    clear(&c);
    assert_eq!(c.ok("run --rm busybox:1.29 echo here"), "here");
}

/// The bundle in which there is an exec.
fn seen_id(bundles: &std::path::Path, exec: &str) -> String {
    let found = fs::read_dir(bundles).expect("bundles").flatten().find(|entry| {
        let names = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        names.into_iter().any(|file| file.file_name().to_string_lossy().contains(exec))
    });
    found.expect("the exec's bundle").file_name().to_string_lossy().into_owned()
}
