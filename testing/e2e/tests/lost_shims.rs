//! Shims that are killed, alone, with the daemon, or before they have a container; and a daemon that stands still.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use tare_testkit::{Client, Console, Engine, eventually, leftovers};

/// A console on an engine of ours; nothing of this can be asked of a daemon that somebody else started.
fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process ID");
    kill_process(pid, signal).expect("a process to signal");
}

/// The shim of a container, as it wrote it down.
fn shim(c: &Console, name: &str) -> u32 {
    let id = c.ok(&format!("inspect --format {{{{.Id}}}} {name}"));
    let state = c.engine().expect("an engine").exec_root().join("containers").join(id).join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).expect("a state")).expect("JSON");
    state["shim_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process ID")
}

fn seen(c: &Console, name: &str, format: &str) -> String {
    c.ok(&format!("inspect --format {{{{{format}}}}} {name}"))
}

/// A process has ended; whoever it was left to may not have noticed yet.
fn assert_dead(pid: &str) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

/// Nothing of containers that do not run is left on the machine, and their ports are free.
fn reclaimed(c: &Console, port: u16) {
    let ids = c.ok("ps -aq --no-trunc");
    let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
    let engine: &Engine = c.engine().expect("an engine");
    let mut left = Vec::new();
    let clean = tare_testkit::within_patience(|| {
        left = leftovers::strays(engine, &ids);
        let traces = engine.names().traces();
        let alive = |text: &String| ids.iter().any(|id| text.contains(id));
        left.extend(traces.cgroups.into_iter().filter(alive));
        left.extend(traces.links);
        left.is_empty()
    });
    assert!(clean, "{left:#?}");
    eventually("the port to be free", || std::net::TcpListener::bind(("0.0.0.0", port)).ok());
}

#[test]
fn a_container_without_its_shim_is_dead() {
    let Some(c) = console() else { return };
    let port = tare_testkit::http::free_port();
    c.ok(&format!("run -d --name one -p {port}:80 busybox:1.29 sleep 100000"));
    let init = seen(&c, "one", ".State.Pid");
    signal(shim(&c, "one"), Signal::KILL);
    assert_eq!(c.ok("wait one"), "137");
    assert_eq!((c.state("one"), seen(&c, "one", ".State.ExitCode")), ("exited".to_owned(), "137".to_owned()));
    assert_dead(&init);
    reclaimed(&c, port);
    c.ok("start one");
    assert_eq!(c.ok("exec one echo again"), "again");
}

#[test]
fn a_container_without_its_shim_is_dead_for_the_next_daemon_too() {
    let Some(mut c) = console() else { return };
    let port = tare_testkit::http::free_port();
    c.ok(&format!("run -d --name one -p {port}:80 busybox:1.29 sleep 100000"));
    c.ok("run -d --name two --restart always busybox:1.29 sleep 100000");
    c.ok("run -d --rm -v /data --name three busybox:1.29 sleep 100000");
    let shims = ["one", "two", "three"].map(|name| shim(&c, name));
    let init = seen(&c, "one", ".State.Pid");
    let engine = c.engine_mut().expect("an engine");
    engine.kill();
    shims.into_iter().for_each(|pid| signal(pid, Signal::KILL));
    engine.resume();
    assert_eq!((c.state("one"), seen(&c, "one", ".State.ExitCode")), ("exited".to_owned(), "137".to_owned()));
    assert_eq!(seen(&c, "one", ".State.Error"), "shim lost");
    assert_dead(&init);
    c.until("inspect --format {{.State.Status}} two", |status| status == "running");
    // What was to remove itself is gone, with what was made for it.
    c.until("ps -a --format {{.Names}}", |names| !names.contains("three"));
    c.until("volume ls -q", str::is_empty);
    c.ok("rm -f two");
    reclaimed(&c, port);
    c.ok("start one");
    assert_eq!(c.ok("exec one echo again"), "again");
}

/// The shims that wait for a container.
fn waiting(c: &Console) -> Vec<u32> {
    let mark = format!("--cgroup-parent /{}", c.engine().expect("an engine").names().mark);
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let waiting = processes.filter(|entry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.starts_with("tare-shim --spare") && command.contains(&mark)
    });
    waiting.map(|entry| entry.file_name().to_string_lossy().parse().expect("a process ID")).collect()
}

#[test]
fn shims_in_waiting_are_no_loss() {
    let Some(c) = console() else { return };
    c.ok("run --rm busybox:1.29 true");
    for _ in 0..3 {
        waiting(&c).into_iter().for_each(|pid| signal(pid, Signal::KILL));
        assert_eq!(c.ok("run --rm busybox:1.29 echo here"), "here");
    }
}

#[test]
fn a_shim_that_is_killed_as_it_is_taken_is_replaced() {
    let Some(c) = console() else { return };
    c.ok("run --rm busybox:1.29 true");
    let bundles = c.engine().expect("an engine").exec_root().join("containers");
    eventually("the bundle of the first to be gone", || fs::read_dir(&bundles).ok()?.next().is_none().then_some(()));
    let stopped = eventually("shims that wait", || Some(waiting(&c)).filter(|pids| !pids.is_empty()));
    stopped.iter().for_each(|pid| signal(*pid, Signal::STOP));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| c.ok("run --rm -p 0:80 busybox:1.29 echo here"));
        // Everything is there but the shim.
        eventually("the container to be prepared", || {
            let bundle = fs::read_dir(&bundles).ok()?.flatten().next()?.path();
            bundle.join("sandbox.json").exists().then_some(())
        });
        std::thread::sleep(tare_testkit::PAUSE * 5);
        stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
        assert_eq!(run.join().expect("a line"), "here");
    });
    // One that was not taken yet is passed over; that is told as well.
    assert!(c.engine().expect("an engine").said().contains("waiting shim"));
}

#[test]
fn a_daemon_that_stands_still_holds_nothing_up() {
    let Some(c) = console() else { return };
    c.ok("run -d --name counter busybox:1.29 sh -c 'for i in $(seq 2000); do echo line $i; done; exit 9'");
    c.ok("run -d --name short busybox:1.29 sh -c 'sleep 0.2; echo done; exit 5'");
    let log = {
        let id = seen(&c, "short", ".Id");
        c.engine().expect("an engine").data_root().join("containers").join(&id).join(format!("{id}-json.log"))
    };
    let daemon = c.engine().expect("an engine").pid();
    signal(daemon, Signal::STOP);
    eventually("output while the daemon stands still", || {
        fs::read_to_string(&log).ok().filter(|text| text.contains("done"))
    });
    signal(daemon, Signal::CONT);
    assert_eq!((c.ok("wait counter"), c.ok("wait short")), ("9".to_owned(), "5".to_owned()));
    assert_eq!(c.logs("counter").lines().count(), 2000);
}

#[test]
fn exit_codes_of_execs_outlive_the_daemon() {
    let Some(mut c) = console() else { return };
    c.ok("run -d --name one busybox:1.29 sleep 100000");
    let exec = |c: &Console, command: &str| {
        let body = format!(r#"{{"Cmd":["sh","-c","{command}"]}}"#);
        let (status, body) = c.request("POST /containers/one/exec", "Content-Type: application/json\r\n", &body);
        assert_eq!(status, 201, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        answer["Id"].as_str().expect("an ID").to_owned()
    };
    let start = |c: &Console, id: &str| {
        let body = r#"{"Detach":true}"#;
        let head = "Content-Type: application/json\r\n";
        c.request(&format!("POST /exec/{id}/start"), head, body).0
    };
    let look = |c: &Console, id: &str| -> serde_json::Value {
        let (status, body) = c.request(&format!("GET /exec/{id}/json"), "", "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let (before, meanwhile, after) = (exec(&c, "exit 3"), exec(&c, "sleep 0.3; exit 4"), exec(&c, "sleep 1000"));
    let later = exec(&c, "exit 6");
    for id in [&before, &meanwhile, &after] {
        assert_eq!(start(&c, id), 200);
    }
    eventually("the first to end", || (look(&c, &before)["ExitCode"] == 3).then_some(()));
    c.engine_mut().expect("an engine").kill();
    // It ends while nobody looks.
    let bundle = c.engine().expect("an engine").exec_root().join("containers");
    let bundle = fs::read_dir(bundle).expect("bundles").flatten().next().expect("a bundle").path();
    eventually("the second to end", || bundle.join(format!("exec-{meanwhile}.exit")).exists().then_some(()));
    c.engine_mut().expect("an engine").resume();
    assert_eq!(look(&c, &before)["ExitCode"], 3);
    assert_eq!(
        (look(&c, &meanwhile)["ExitCode"].clone(), look(&c, &meanwhile)["Running"].clone()),
        (4.into(), false.into())
    );
    assert_eq!(look(&c, &after)["Running"], true);
    assert_eq!(start(&c, &after), 409);
    // One that was only made can still be started.
    assert_eq!(start(&c, &later), 200);
    eventually("the last to end", || (look(&c, &later)["ExitCode"] == 6).then_some(()));
}
