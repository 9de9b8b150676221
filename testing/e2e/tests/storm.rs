//! A daemon that is killed again and again, in the middle of everything that can be asked of it: what it said is true
//! afterwards, what runs goes on, and nothing is left that belongs to nothing.
//!
//! `TARE_STORM_ROUNDS` is how often it is killed, `TARE_STORM_SEED` repeats a storm as far as that is possible.

mod weather;

use std::sync::Arc;
use std::time::Duration;

use tare_testkit::{Client, Console, eventually, leftovers};
use weather::worker::Worker;
use weather::{Dice, Shared};

/// Kills when nothing else is said: some seconds' worth.
const ROUNDS: u64 = 20;
/// Clients that ask for things all the time.
const WORKERS: u64 = 3;
/// Prints a line every few milliseconds.
const COUNTER: &str = "sh -c 'i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done'";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A container that must not notice anything.
#[derive(Debug, PartialEq, Eq)]
struct Witness {
    pid: String,
    started: String,
    restarts: String,
    status: String,
}

fn witness(c: &Console, name: &str) -> Witness {
    let format = "{{.State.Pid}} {{.State.StartedAt}} {{.RestartCount}} {{.State.Status}}";
    let seen = c.ok(&format!("inspect --format '{format}' {name}"));
    let mut words = seen.split(' ').map(str::to_owned);
    let mut next = || words.next().unwrap_or_default();
    Witness { pid: next(), started: next(), restarts: next(), status: next() }
}

#[test]
fn what_was_said_is_true_and_nothing_is_left() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    let rounds = number("TARE_STORM_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("TARE_STORM_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("TARE_STORM_SEED={seed} TARE_STORM_ROUNDS={rounds}");
    let mut dice = Dice::new(seed);
    let port = tare_testkit::http::free_port();
    c.ok("network create storm");
    c.ok("network create other");
    c.ok(&format!("run -d --name counter --restart always busybox:1.29 {COUNTER}"));
    c.ok(&format!(
        "run -d --name served --network storm -p {port}:80 busybox:1.29 sh -c \
         'mkdir /w; echo served >/w/index.html; httpd -f -p 80 -h /w'"
    ));
    c.ok("run -d --name still busybox:1.29 sleep 100000");
    c.ok("pause still");
    let names = ["counter", "served", "still"];
    let before = names.map(|name| witness(&c, name));
    let rules = leftovers::rules(c.engine().expect("an engine").names());

    let socket = c.engine().expect("an engine").path("tare.sock");
    let shared = Arc::new(Shared::new(socket));
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let mut worker = Worker::new(number, Dice::new(seed ^ (number + 1) << 32), Arc::clone(&shared));
            std::thread::spawn(move || worker.run())
        })
        .collect();
    for round in 0..rounds {
        let code = dice.below(100) + 1;
        let nap = format!("0.{:03}", dice.below(300));
        c.ok(&format!("run -d --name short busybox:1.29 sh -c 'sleep {nap}; exit {code}'"));
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        let engine = c.engine_mut().expect("an engine");
        engine.kill();
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        engine.resume();
        shared.next_daemon();
        assert_eq!(names.map(|name| witness(&c, name)), before, "round {round}");
        assert_eq!(c.ok("wait short"), code.to_string(), "round {round}");
        c.ok("rm short");
        if workers.iter().any(std::thread::JoinHandle::is_finished) {
            break;
        }
    }
    shared.end();
    let ports: Vec<u16> = workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect();
    tare_testkit::http::eventually(&format!("127.0.0.1:{port}"), "/", |page| page.contains("served"));
    c.ok("unpause still");
    c.ok("pause still");

    nothing_but_witnesses(&c, names.len(), &rules, ports);
    assert_eq!(names.map(|name| witness(&c, name)), before);
    c.ok("stop -t 0 counter");
    let logs = c.logs("counter");
    for (index, line) in logs.lines().enumerate() {
        assert_eq!(line, format!("line {}", index + 1), "a line is lost or there twice");
    }
    c.remove_all();
    c.ok("network rm storm other");
}

/// Nothing is there but the witnesses, for whom these rules were made; the ports of all others are free.
fn nothing_but_witnesses(c: &Console, witnesses: usize, rules: &str, ports: Vec<u16>) {
    let engine = c.engine().expect("an engine");
    let ids = c.ok("ps -aq --no-trunc");
    let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), witnesses, "{}", c.ok("ps -a"));
    let mut strays = Vec::new();
    let clean = tare_testkit::within_patience(|| {
        strays = leftovers::strays(engine, &ids);
        strays.is_empty()
    });
    assert!(clean, "belong to nothing: {strays:#?}");
    assert_eq!(c.ok("volume ls -q"), "");
    let mut now = String::new();
    let same = tare_testkit::within_patience(|| {
        now = leftovers::rules(engine.names());
        now == rules
    });
    assert!(same, "rules before\n{rules}\nand after\n{now}");
    for port in ports {
        eventually(&format!("port {port} to be free"), || std::net::TcpListener::bind(("0.0.0.0", port)).ok());
    }
}
