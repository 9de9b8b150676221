//! Containers that last: restarts with growing pauses, supervisors, init systems. What restart policies do when the
//! engine or the machine goes down is in `policies.rs`.

use std::process::Command;

use tare_testkit::{Console, Output, eventually, http, with_both_clients};

with_both_clients!(pauses_double, exec_while_restarting, retries_are_counted, supervised, entrypoints, init);

/// Pause before the first restart, in seconds, as Docker documents it; the next ones double.
const FIRST_PAUSE: f64 = 0.1;

fn pauses_double(c: &Console) {
    c.ok("run -d --name backoff-detector --restart always busybox:1.29 date");
    let lines = || c.ok("logs --timestamps backoff-detector").lines().map(str::to_owned).collect::<Vec<_>>();
    let lines = eventually("six runs", || Some(lines()).filter(|lines| lines.len() >= 6));
    let times: Vec<f64> = lines.iter().map(|line| seconds(line.split(' ').next().unwrap_or_default())).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut pause = FIRST_PAUSE;
    for gap in &gaps {
        // A pause is never shorter than it should be; half of it, for lines whose time was taken late. Longer it may be.
        assert!(*gap >= pause / 2.0, "{gaps:?}");
        pause *= 2.0;
    }
    assert!(gaps[4] > gaps[0], "{gaps:?}");
    let mut follower = c.terminal("logs --follow --tail 1 backoff-detector");
    follower.expect("UTC");
    follower.send("\u{3}");
    follower.wait();
}

/// Seconds since the epoch of a log's time.
fn seconds(time: &str) -> f64 {
    let output = Output::of(time, Command::new("date").args(["--date", time, "+%s.%N"]));
    output.stdout.trim().parse().unwrap_or_else(|_| panic!("{output}"))
}

fn exec_while_restarting(c: &Console) {
    let id = c.ok("run -d --name backoff-detector --restart always busybox:1.29 date");
    let expected = format!("Container {id} is restarting, wait until the container is running");
    // It runs every now and then.
    let output = eventually("an exec between two runs", || {
        let output = c.run("exec backoff-detector echo Just a Test");
        output.stderr.contains("is restarting").then_some(output)
    });
    assert!(output.stderr.contains(&expected), "{output}");
    assert_eq!(output.status, 1, "{output}");
}

fn retries_are_counted(c: &Console) {
    c.ok("run -d --name thrice --restart on-failure:3 busybox:1.29 sh -c 'echo run; exit 4'");
    c.ok("run -d --name never --restart on-failure:3 busybox:1.29 echo run");
    c.ok("run -d --name no --restart no busybox:1.29 sh -c 'echo run; exit 4'");
    let format = "'{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}'";
    c.until(&format!("inspect --format {format} thrice"), |state| state == "exited 3 4");
    c.until(&format!("inspect --format {format} never"), |state| state == "exited 0 0");
    c.until(&format!("inspect --format {format} no"), |state| state == "exited 0 4");
    assert_eq!(c.logs("thrice"), "run\n".repeat(4));
    assert_eq!((c.logs("never").as_str(), c.logs("no").as_str()), ("run\n", "run\n"));
    // Started by hand, they count anew.
    c.ok("start thrice");
    c.until(&format!("inspect --format {format} thrice"), |state| state == "exited 3 4");
    c.until("logs thrice", |logs| *logs == format!("{}run", "run\n".repeat(7)));
}

fn supervised(c: &Console) {
    let port = http::free_port();
    c.ok(&format!("run -d -p {port}:80 --name lamp-test tutum/lamp"));
    http::eventually(&format!("127.0.0.1:{port}"), "/", |page| {
        page.contains("Hello world!") && page.contains("MariaDB")
    });
    let top = c.ok("top lamp-test");
    assert_eq!(top.split_whitespace().take(4).collect::<Vec<_>>(), ["UID", "PID", "PPID", "C"], "{top}");
    let supervisor = top.lines().find(|line| line.contains("supervisord")).expect("a supervisor");
    let pid = supervisor.split_whitespace().nth(1).expect("its process ID");
    assert_ne!(pid, "1");
    assert_eq!(c.ok("inspect --format {{.State.Pid}} lamp-test"), pid, "as the host counts");
    let apache = |c: &Console| {
        let table = c.ok("exec lamp-test ps -e -o pid=,ppid=,comm=");
        let words = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut own =
            words.filter(|words| words[1] == "1" && words[2].starts_with("apache2")).map(|words| words[0].to_owned());
        own.next_back().unwrap_or_else(|| panic!("no apache2 in\n{table}"))
    };
    let before = apache(c);
    assert!(c.ok("exec lamp-test ps").contains("ps"));
    c.ok(&format!("exec lamp-test kill {before}"));
    c.logged("lamp-test", "exited: apache2");
    eventually("apache2 to be spawned again", || {
        let spawned = c.logs("lamp-test").matches("spawned: 'apache2' with pid").count();
        (spawned >= 2).then_some(())
    });
    http::eventually(&format!("127.0.0.1:{port}"), "/", |page| page.contains("Hello world!"));
    assert_ne!(apache(c), before);
    assert_eq!(c.ok("inspect --format {{.RestartCount}} lamp-test"), "0");
}

fn entrypoints(c: &Console) {
    const SCRIPT: &str = "/usr/local/bin/docker-entrypoint.sh";
    let image = "wordpress:5.0.0-php7.2-apache";
    let one = c.ok(&format!("run --rm {image} cat {SCRIPT}"));
    assert!(one.starts_with("#!/bin/bash\n") && one.contains("WORDPRESS_DB_HOST"), "{one}");
    assert_eq!(c.ok(&format!("run --rm --entrypoint=\"cat\" {image} {SCRIPT}")), one);
    // The image's command is the image's entrypoint's.
    assert_eq!(c.ok(&format!("run --rm --entrypoint echo {image}")), "");
}

fn init(c: &Console) {
    // A process that waits for no children leaves an orphan unburied; an init buries it.
    let orphan = "sh -c '(sleep 0.1 &); exec sleep 1000'";
    c.ok(&format!("run -d --name bare busybox:1.29 {orphan}"));
    c.ok(&format!("run -d --name cared --init busybox:1.29 {orphan}"));
    c.until("exec bare ps -o stat,comm", |table| table.lines().any(|line| line.starts_with('Z')));
    c.until("exec cared ps -o comm", |table| table.lines().filter(|line| *line == "sleep").count() == 1);
    let first = c.ok("exec cared cat /proc/1/comm");
    assert_ne!(first, "sleep");
    let script = "trap \"echo got TERM; exit 7\" TERM; echo ready; while true; do sleep 0.1; done";
    c.ok(&format!("run -d --name obedient --init busybox:1.29 sh -c '{script}'"));
    c.logged("obedient", "ready");
    c.ok("stop obedient");
    assert!(c.logs("obedient").contains("got TERM"));
    assert_eq!(c.ok("inspect --format {{.State.ExitCode}} obedient"), "7");
    // Without a handler a PID 1 is deaf; behind an init it is any process.
    c.ok("stop cared");
    assert_eq!(c.ok("inspect --format {{.State.ExitCode}} cared"), "143");
}
