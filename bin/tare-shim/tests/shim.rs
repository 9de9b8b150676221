//! The shim with real containers. Needs root and busybox.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::json;
use support::{Daemon, Shim, both, command, eventually, frames, output, read_all, read_until, script};
use tare_logs::{Limit, LogReader, ReadOptions, Step, Stream};
use tare_shim_protocol::{
    Attach, Event, FailureKind, FdRole, HeldSocket, Op, Outcome, Protocol, Request, ShimState, encode,
};

/// Long enough for something wrong to show, if it is going to.
const A_WHILE: Duration = Duration::from_millis(300);

fn signal(signal: i32) -> Op {
    Op::Signal { exec: None, signal, all: false }
}

#[test]
fn output_is_logged_and_the_exit_reported() {
    let mut shim = script("echo out; echo err >&2; printf unfinished; exit 3").spawn();
    let pid = shim.launch();
    let record = shim.daemon.exit();
    assert_eq!((record.code, record.oom_killed, record.error.as_str()), (3, false, ""));
    let entries = shim.entries();
    let text = |stream| {
        let own = entries.iter().filter(|entry| entry.stream == stream);
        String::from_utf8(own.flat_map(|entry| entry.line.clone()).collect()).unwrap()
    };
    assert_eq!((text(Stream::Stdout).as_str(), text(Stream::Stderr).as_str()), ("out\nunfinished", "err\n"));
    let state: ShimState = serde_json::from_slice(&fs::read(shim.path().join("state.json")).unwrap()).unwrap();
    assert_eq!((state.pid, state.shim_pid), (pid, shim.pid));
    assert!(state.started_at <= record.finished_at);
    assert!(
        entries
            .iter()
            .all(|entry| (state.started_at - 1_000_000_000..=record.finished_at + 2_000_000_000)
                .contains(&entry.time_ns))
    );
    shim.acknowledge(&record);
}

#[test]
fn it_works_without_a_spare_and_with_another_cgroup_parent() {
    let mut plan = script("echo hi");
    plan.spare = false;
    assert_eq!(plan.launch().finish().code, 0);
    let mut plan = script("echo hi");
    plan.spec["linux"]["cgroupsPath"] = format!("/tare-test-other-{}/deep/er", std::process::id()).into();
    let shim = plan.launch();
    assert!(!shim.spare_exists());
    assert_eq!(shim.finish().code, 0);
    let hierarchies = tare_cgroup::Hierarchies::detect().unwrap();
    tare_cgroup::Cgroup::open(&hierarchies, &format!("/tare-test-other-{}", std::process::id())).remove().unwrap();
}

#[test]
fn a_client_attached_before_the_launch_sees_everything() {
    let mut shim = script("echo out; echo err >&2").spawn();
    let (client, _) = shim.attach(Attach { multiplexed: true, ..output(1) });
    let (errors, _) = shim.attach(Attach { id: 2, stderr: true, ..Attach::default() });
    shim.launch();
    let mut frames = frames(&client);
    frames.sort();
    assert_eq!(frames, [(1, b"out\n".to_vec()), (2, b"err\n".to_vec())]);
    assert_eq!(read_all(&errors), "err\n");
    shim.finish();
}

#[test]
fn input_reaches_the_container_and_its_end_too() {
    let mut shim = command(&["/bin/cat"]).stdin(true).spawn();
    let (mut client, _) = shim.attach(Attach { input: b"first ".to_vec(), ..both(1) });
    client.write_all(b"second ").unwrap();
    shim.launch();
    client.write_all(b"third").unwrap();
    assert_eq!(read_until(&client, "third"), "first second third");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), "");
    assert_eq!(shim.finish().code, 0);
}

#[test]
fn much_input_waits_for_the_container() {
    // It reads only when told to by the file.
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done; cat").stdin(true).launch();
    let (client, _) = shim.attach(both(1));
    let data: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let sent = data.clone();
    let mut sender = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    let mut received = Vec::new();
    (&client).read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == data);
    shim.finish();
}

#[test]
fn input_of_a_client_that_leaves_at_once_is_not_lost() {
    let mut shim = command(&["/bin/cat"]).stdin(true).spawn();
    let (mut client, _) = shim.attach(both(1));
    client.write_all(b"short visit\n").unwrap();
    drop(client);
    shim.launch();
    let record = shim.daemon.exit();
    assert_eq!(shim.log(), "short visit\n");
    shim.acknowledge(&record);
}

#[test]
fn input_stays_open_for_the_next_client_unless_it_is_once() {
    let mut shim = command(&["/bin/cat"]).stdin(false).launch();
    for text in ["one\n", "two\n"] {
        let (mut client, _) = shim.attach(both(1));
        client.write_all(text.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_until(&client, "\n"), text);
    }
    shim.daemon.ok(Op::CloseStdin, Vec::new());
    assert_eq!(shim.finish().code, 0);
}

#[test]
fn without_open_stdin_there_is_none() {
    let mut shim = command(&["/bin/cat"]).spawn();
    let (mut client, _) = shim.attach(both(1));
    client.write_all(b"lost").unwrap();
    shim.launch();
    assert_eq!(read_all(&client), "");
    assert_eq!(shim.finish().code, 0);
}

#[test]
fn a_terminal_echoes_resizes_and_can_be_left() {
    let mut shim = command(&["/bin/sh"]).terminal(20, 50).stdin(true).spawn();
    let (mut client, _) = shim.attach(Attach { detach_keys: b"zq".to_vec(), ..both(9) });
    shim.launch();
    client.write_all(b"stty size; echo do''ne\n").unwrap();
    assert!(read_until(&client, "done\r\n").contains("\n20 50\r\n"));
    shim.daemon.ok(Op::Resize { exec: None, rows: 31, cols: 91 }, Vec::new());
    // The first key alone is input like any other.
    client.write_all(b"stty size; echo do''ne z\n").unwrap();
    assert!(read_until(&client, "done z\r\n").contains("\n31 91\r\n"));
    client.write_all(b"z").unwrap();
    client.write_all(b"q").unwrap();
    assert_eq!(shim.daemon.event(), Event::Detached { id: 9, exec: None });
    read_all(&client);
    // Half-closing does not end a terminal's input; the container is still there.
    let (mut client, _) = shim.attach(both(10));
    client.write_all(b"exit 4\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&client).contains("exit 4"));
    let record = shim.daemon.exit();
    assert_eq!(record.code, 4);
    assert!(shim.log().contains("31 91"));
    shim.acknowledge(&record);
}

#[test]
fn a_terminal_that_is_closed_and_opened_again_still_works() {
    let text = "exec </dev/null >/dev/null 2>&1; while ! [ -e /go ]; do sleep 0.01; done; echo again >/dev/console";
    let mut shim = script(text).terminal(20, 50).launch();
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    let record = shim.daemon.exit();
    assert_eq!(shim.log(), "again\r\n");
    shim.acknowledge(&record);
}

#[test]
fn exec_has_its_own_streams_and_exit_code() {
    let mut shim = script("while ! [ -e /stop ]; do sleep 0.01; done").launch();
    let process = json!({ "args": ["/bin/sh", "-c", "cat; echo err >&2; exit 5"] });
    let (client, outcome) = shim.exec("e1", &process, Some(Attach { multiplexed: true, ..both(1) }));
    assert!(matches!(outcome, Outcome::Ok { pid: 2.., start_time: 1.., .. }), "{outcome:?}");
    let mut client = client.unwrap();
    client.write_all(b"in and out").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&client), [(1, b"in and out".to_vec()), (2, b"err\n".to_vec())]);
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "e1".to_owned(), code: 5 });
    // Nobody attached.
    let process = json!({ "args": ["/bin/sh", "-c", "echo hidden; echo seen >/tmp/file; kill -9 $$"] });
    assert!(matches!(shim.exec("e2", &process, None).1, Outcome::Ok { .. }));
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "e2".to_owned(), code: 137 });
    assert_eq!(fs::read_to_string(shim.path().join("rootfs/tmp/file")).unwrap(), "seen\n");
    fs::write(shim.path().join("rootfs/stop"), "").unwrap();
    let record = shim.daemon.exit();
    assert_eq!(shim.log(), "");
    shim.acknowledge(&record);
}

#[test]
fn exec_with_a_terminal_can_be_resized_signalled_and_left() {
    let mut shim = script("while ! [ -e /stop ]; do sleep 0.01; done").launch();
    let process = json!({ "args": ["/bin/sh"], "terminal": true });
    let (client, _) = shim.exec("t", &process, Some(Attach { detach_keys: b"qq".to_vec(), ..both(3) }));
    let mut client = client.unwrap();
    client.write_all(b"stty size; echo do''ne\n").unwrap();
    assert!(read_until(&client, "done\r\n").contains("\n33 44\r\n"));
    shim.daemon.ok(Op::Resize { exec: Some("t".to_owned()), rows: 7, cols: 8 }, Vec::new());
    client.write_all(b"stty size; echo do''ne\n").unwrap();
    assert!(read_until(&client, "done\r\n").contains("\n7 8\r\n"));
    client.write_all(b"qq").unwrap();
    assert_eq!(shim.daemon.event(), Event::Detached { id: 3, exec: Some("t".to_owned()) });
    shim.daemon.ok(Op::Signal { exec: Some("t".to_owned()), signal: 9, all: false }, Vec::new());
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "t".to_owned(), code: 137 });
    let failure = shim.daemon.failure(Op::Signal { exec: Some("t".to_owned()), signal: 9, all: false }, Vec::new());
    assert_eq!(failure.kind, FailureKind::State);
    fs::write(shim.path().join("rootfs/stop"), "").unwrap();
    shim.finish();
}

#[test]
fn exec_failures_are_in_the_reply() {
    let mut shim = script("while ! [ -e /stop ]; do sleep 0.01; done").launch();
    let (_, outcome) = shim.exec("e", &json!({ "args": ["/bin/nothing"] }), None);
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::NotFound);
    fs::write(shim.path().join("rootfs/stop"), "").unwrap();
    let record = shim.daemon.exit();
    let (_, outcome) = shim.exec("e", &json!({ "args": ["/bin/true"] }), None);
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::State);
    shim.acknowledge(&record);
}

#[test]
fn signals_reach_the_init_or_everyone() {
    let mut shim = script("sleep 1000").launch();
    shim.daemon.ok(signal(9), Vec::new());
    assert_eq!(shim.finish().code, 137);
    let mut shim = script("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done").spawn();
    let (client, _) = shim.attach(output(1));
    shim.launch();
    assert_eq!(read_until(&client, "\n"), "ready\n");
    shim.daemon.ok(signal(15), Vec::new());
    assert_eq!(shim.finish().code, 7);
    let mut shim = script("sleep 1000 & wait $!; exit 6").launch();
    shim.daemon.ok(Op::Signal { exec: None, signal: 9, all: true }, Vec::new());
    assert_eq!(shim.finish().code, 137);
}

#[test]
fn a_failed_launch_leaves_nothing() {
    for (plan, kind) in [(command(&["/bin/nothing"]), FailureKind::NotFound), {
        let mut plan = script("true");
        plan.config.log.driver = "syslog".to_owned();
        (plan, FailureKind::Setup)
    }] {
        let mut shim = plan.spawn();
        let (client, _) = shim.attach(output(1));
        let failure = shim.daemon.failure(shim.launch_op(), Vec::new());
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert_eq!(read_all(&client), "");
        shim.wait();
        assert!(!shim.cgroup_exists() && !shim.spare_exists());
        assert!(!shim.path().join("shim.sock").exists() && !shim.path().join("state.json").exists());
    }
}

#[test]
fn a_spare_ends_with_its_daemon() {
    let mut shim = script("true").spawn();
    eventually("it is ready", || fs::read_to_string(format!("/proc/{}/comm", shim.pid)).unwrap() == "tare-spare\n");
    eventually("its cgroup is there", || shim.spare_exists());
    shim.disconnect();
    shim.wait();
    assert!(!shim.spare_exists());
}

#[test]
fn a_daemon_may_die_and_come_back() {
    let mut shim = script("echo one; while ! [ -e /go ]; do sleep 0.01; done; echo two; exit 9").launch();
    shim.disconnect();
    for stray in [1, 2, 15] {
        tare_sys::kill::kill(shim.pid, stray).unwrap();
    }
    shim.reconnect();
    shim.daemon.ok(Op::Ping, Vec::new());
    let process = json!({ "args": ["/bin/sh", "-c", "exit 2"] });
    assert!(matches!(shim.exec("e", &process, None).1, Outcome::Ok { .. }));
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "e".to_owned(), code: 2 });
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    let record = shim.daemon.exit();
    assert_eq!((record.code, shim.log().as_str()), (9, "one\ntwo\n"));
    // A second daemon hears of it as well, as long as it is not acknowledged.
    let mut second = Daemon::connect(shim.directory.path());
    assert_eq!(second.exit(), record);
    shim.acknowledge(&record);
}

/// Leaves the bundle of a shim where a daemon that takes it away does, and makes another one of its name.
fn take_away(shim: &Shim, away: &Path) {
    fs::rename(shim.path(), away).unwrap();
    fs::create_dir(shim.path()).unwrap();
    fs::write(shim.path().join("shim.sock"), "another run's").unwrap();
}

/// Nothing of it runs, and the other run's directory is as it was.
fn assert_ended(shim: &Shim) {
    assert!(!shim.cgroup_exists() && !shim.spare_exists());
    let files: Vec<_> = fs::read_dir(shim.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["shim.sock"]);
}

#[test]
fn a_launch_whose_bundle_is_taken_away_meanwhile_is_ended() {
    let mut plan = script("sleep 1000");
    let root = tempfile::tempdir().unwrap();
    plan.spec["root"]["path"] = root.path().join("rootfs").to_str().unwrap().into();
    let mut shim = plan.spawn();
    fs::rename(shim.path().join("rootfs"), root.path().join("rootfs")).unwrap();
    // The shim stops in the middle of its launch: it reads its specification until we have written it.
    let specification = shim.path().join("config.json");
    let text = fs::read(&specification).unwrap();
    fs::remove_file(&specification).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, &specification, FileType::Fifo, mode, 0).unwrap();
    let launch = Request { seq: 1, fds: Vec::new(), op: shim.launch_op() };
    tare_sys::socket::send_with_fds(&shim.daemon.socket, &encode(&launch).unwrap(), &[]).unwrap();
    let mut writer = fs::File::options().write(true).open(&specification).unwrap();
    shim.disconnect();
    let away = root.path().join("away");
    take_away(&shim, &away);
    assert!(!away.join("state.json").exists(), "the next daemon sees no record");
    writer.write_all(&text).unwrap();
    drop(writer);
    shim.wait();
    assert!(away.join("state.json").exists(), "it was started, and found out");
    assert_ended(&shim);
}

#[test]
fn a_launch_by_a_daemon_that_is_gone_does_not_begin() {
    let mut shim = script("echo >/started; sleep 1000").spawn();
    eventually("it is ready", || shim.spare_exists());
    tare_sys::kill::kill(shim.pid, 19).unwrap();
    let launch = Request { seq: 1, fds: Vec::new(), op: shim.launch_op() };
    tare_sys::socket::send_with_fds(&shim.daemon.socket, &encode(&launch).unwrap(), &[]).unwrap();
    shim.disconnect();
    tare_sys::kill::kill(shim.pid, 18).unwrap();
    shim.wait();
    assert!(!shim.cgroup_exists() && !shim.spare_exists());
    assert!(!shim.path().join("rootfs/started").exists() && !shim.path().join("state.json").exists());
}

#[test]
fn events_wait_for_a_daemon() {
    let mut shim = script("while ! [ -e /stop ]; do sleep 0.01; done").launch();
    let process = json!({ "args": ["/bin/sh", "-c", "while ! [ -e /go ]; do sleep 0.01; done; exit 8"] });
    let (client, _) = shim.exec("e", &process, Some(output(1)));
    shim.disconnect();
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    // Closed once the exit has been reported, or kept.
    assert_eq!(read_all(&client.unwrap()), "");
    shim.reconnect();
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "e".to_owned(), code: 8 });
    fs::write(shim.path().join("rootfs/stop"), "").unwrap();
    shim.finish();
}

#[test]
fn without_a_daemon_the_record_is_left() {
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done; exit 11").launch();
    shim.disconnect();
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    shim.wait();
    let record: serde_json::Value = serde_json::from_slice(&fs::read(shim.path().join("exit.json")).unwrap()).unwrap();
    assert_eq!(record["code"], 11);
    assert!(shim.path().join("state.json").exists() && !shim.cgroup_exists());
}

#[test]
fn nonsense_closes_the_connection_and_nothing_else() {
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done").launch();
    for packet in [&b"{}"[..], b"\xff\xff", &[b'x'; 70_000]] {
        let other = Daemon::connect(shim.directory.path());
        tare_sys::socket::send_with_fds(&other.socket, packet, &[]).unwrap();
        assert_eq!(tare_sys::socket::recv_with_fds(&other.socket, &mut [0; 100]).unwrap().0, 0);
    }
    let failure = shim.daemon.failure(Op::Acknowledge, Vec::new());
    assert_eq!(failure.kind, FailureKind::State);
    assert_eq!(shim.daemon.failure(shim.launch_op(), Vec::new()).kind, FailureKind::State);
    assert_eq!(shim.daemon.failure(Op::Release { id: 5 }, Vec::new()).kind, FailureKind::State);
    // Without a terminal there is nothing to resize, which is no failure.
    shim.daemon.ok(Op::Resize { exec: None, rows: 1, cols: 1 }, Vec::new());
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    shim.finish();
}

#[test]
fn a_slow_client_stops_the_container_and_loses_nothing() {
    let mut shim = script("seq 1000000; echo end >&2").spawn();
    let (client, _) = shim.attach(Attach { stderr: false, ..output(1) });
    shim.launch();
    assert_eq!(shim.daemon.event_within(A_WHILE), None);
    let logged = fs::metadata(&shim.log_config().path).unwrap().len();
    assert!(logged < 20_000_000, "{logged} bytes in the log: the container was not stopped");
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(read_all(&client) == expected);
    let record = shim.daemon.exit();
    assert!(shim.log() == expected + "end\n");
    shim.acknowledge(&record);
}

#[test]
fn a_slow_client_that_leaves_lets_the_container_go_on() {
    let mut shim = script("seq 300000").spawn();
    let (client, _) = shim.attach(output(1));
    shim.launch();
    assert_eq!(shim.daemon.event_within(A_WHILE), None);
    drop(client);
    let record = shim.daemon.exit();
    assert_eq!(shim.entries().len(), 300_000);
    shim.acknowledge(&record);
}

#[test]
fn an_exit_does_not_wait_for_a_slow_client_that_still_gets_everything() {
    // More than the client's socket and less than that, the queue and the pipe together hold.
    let mut shim = script("head -c 300000 /dev/zero | tr '\\0' x").spawn();
    let (client, _) = shim.attach(output(1));
    shim.launch();
    let record = shim.daemon.exit();
    shim.daemon.ok(Op::Acknowledge, Vec::new());
    assert_eq!(record.code, 0);
    assert_eq!(read_all(&client).len(), 300_000);
    shim.wait();
}

#[test]
fn long_lines_are_split_as_docker_does() {
    let mut shim = script("head -c 40000 /dev/zero | tr '\\0' a; echo").launch();
    let record = shim.daemon.exit();
    let lengths: Vec<_> = shim.entries().iter().map(|entry| (entry.line.len(), entry.partial())).collect();
    assert_eq!(lengths, [(16_384, true), (16_384, true), (7_233, false)]);
    shim.acknowledge(&record);
}

#[test]
fn the_log_is_rotated_and_compressed() {
    let mut plan = script("seq 40000; while ! [ -e /go ]; do sleep 0.01; done");
    plan.config.log.max_size = Some(500_000);
    plan.config.log.max_file = 3;
    plan.config.log.compress = true;
    let mut shim = plan.launch();
    let compressed = |slot: u32| Path::new(&format!("{}.{slot}.gz", shim.log_config().path.display())).exists();
    eventually("both rotated files are compressed", || compressed(1) && compressed(2));
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    let record = shim.daemon.exit();
    let log = shim.log();
    let lines: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    let first = 40_001 - u32::try_from(lines.len()).unwrap();
    assert!(first > 1 && lines == (first..=40_000).collect::<Vec<_>>());
    shim.acknowledge(&record);
}

#[test]
fn a_replay_and_a_held_client_fit_together() {
    let mut shim = command(&["/bin/cat"]).stdin(true).launch();
    let (mut first, _) = shim.attach(both(1));
    first.write_all(b"line\nunfin").unwrap();
    assert_eq!(read_until(&first, "unfin"), "line\nunfin");
    let (held, outcome) = shim.attach(Attach { hold: true, ..output(2) });
    let Outcome::Ok { log_end: offset, log_file: file, .. } = outcome else { panic!("{outcome:?}") };
    first.write_all(b"ished\nmore\n").unwrap();
    assert_eq!(read_until(&first, "more\n"), "ished\nmore\n");
    let options = ReadOptions { limit: Some(Limit { file, offset }), ..ReadOptions::default() };
    let mut reader = LogReader::open(shim.log_config(), options).unwrap();
    let mut replay = Vec::new();
    while let Step::Entry(entry) = reader.next().unwrap() {
        replay.extend(entry.line);
    }
    assert_eq!(replay, b"line\n");
    assert!(!support::readable(&held, Duration::ZERO));
    shim.daemon.ok(Op::Release { id: 2 }, Vec::new());
    assert_eq!(read_until(&held, "more\n"), "unfinished\nmore\n");
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&held), "");
    shim.finish();
}

#[test]
fn a_held_client_is_dropped_with_its_daemon() {
    let mut shim = script("echo hi; while ! [ -e /go ]; do sleep 0.01; done").launch();
    let (held, _) = shim.attach(Attach { hold: true, ..output(2) });
    shim.disconnect();
    read_all(&held);
    shim.reconnect();
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    shim.finish();
}

#[test]
fn without_a_pid_namespace_the_rest_is_killed() {
    let mut shim = script("sleep 1000 & echo $!; exit 1").host_pids().launch();
    let record = shim.daemon.exit();
    assert_eq!(record.code, 1, "{record:?} {}", shim.log());
    let pid = shim.log().trim().to_owned();
    shim.acknowledge(&record);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn an_exec_whose_grandchild_keeps_the_pipe_ends_all_the_same() {
    let mut shim = script("while ! [ -e /stop ]; do sleep 0.01; done").launch();
    let process = json!({ "args": ["/bin/sh", "-c", "sleep 1000 & echo done"] });
    let (client, _) = shim.exec("e", &process, Some(output(1)));
    assert_eq!(read_all(&client.unwrap()), "done\n");
    assert_eq!(shim.daemon.event(), Event::ExecExit { id: "e".to_owned(), code: 0 });
    fs::write(shim.path().join("rootfs/stop"), "").unwrap();
    shim.finish();
}

#[test]
fn running_out_of_memory_is_told() {
    let mut plan = script("tail /dev/zero");
    plan.spec["linux"]["resources"] = json!({ "memory": { "limit": 16 * 1024 * 1024, "swap": 16 * 1024 * 1024 } });
    let mut shim = plan.launch();
    assert_eq!(shim.daemon.event(), Event::OutOfMemory);
    let record = shim.daemon.exit();
    assert!(record.oom_killed);
    shim.acknowledge(&record);
}

fn published(protocol: Protocol, relay: std::net::SocketAddr) -> FdRole {
    FdRole::Held(HeldSocket { protocol, relay: Some(relay) })
}

#[test]
fn tcp_ports_are_held_and_relayed() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, held_address) = (port.local_addr().unwrap(), held.local_addr().unwrap());
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done").spawn();
    let plain = FdRole::Held(HeldSocket { protocol: Protocol::Tcp, relay: None });
    shim.launch_with(vec![(published(Protocol::Tcp, target.local_addr().unwrap()), port.into()), (plain, held.into())]);
    assert!(TcpListener::bind(held_address).is_err() && TcpListener::bind(address).is_err());
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut connection, _) = target.accept().unwrap();
            let mut received = Vec::new();
            connection.read_to_end(&mut received).unwrap();
            // The client has half-closed, and gets the answer still.
            connection.write_all(&received).unwrap();
        }
        // Nobody listens from here on.
    });
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    for _ in 0..2 {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&data).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == data);
    }
    server.join().unwrap();
    let refused = TcpStream::connect(address).unwrap().read(&mut [0; 1]);
    assert!(matches!(refused, Ok(0) | Err(_)));
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    let record = shim.daemon.exit();
    assert!(TcpListener::bind(address).is_err(), "held until the end");
    shim.acknowledge(&record);
    TcpListener::bind(address).unwrap();
}

#[test]
fn udp_datagrams_are_relayed_per_client() {
    let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = port.local_addr().unwrap();
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done").spawn();
    shim.launch_with(vec![(published(Protocol::Udp, target.local_addr().unwrap()), port.into())]);
    let clients: Vec<_> = (0..3_u8).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    for socket in clients.iter().chain([&target]) {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    for (number, client) in (0..).zip(&clients) {
        client.send_to(&[number], address).unwrap();
    }
    for _ in &clients {
        let mut buffer = [0; 10];
        let (bytes, from) = target.recv_from(&mut buffer).unwrap();
        target.send_to(&[&buffer[..bytes], b"!"].concat(), from).unwrap();
    }
    for (number, client) in (0..).zip(&clients) {
        let mut buffer = [0; 10];
        let (bytes, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..bytes], from), (&[number, b'!'][..], address));
    }
    fs::write(shim.path().join("rootfs/go"), "").unwrap();
    shim.finish();
}
