//! Stopping and removing.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(remove, volumes, stop, kill, automatic, connections, everything);

fn remove(c: &Console) {
    c.ok("run --name gone busybox:1.29 true");
    assert_eq!(c.ok("rm gone"), "gone");
    c.ok("run -d --name busy busybox:1.29 sleep 1000");
    let running = "cannot remove container \"busy\": container is running: stop the container before removing or force \
                   remove";
    let refused = c.fails("rm busy", 1);
    assert!(refused.contains(running), "{refused}");
    c.ok("pause busy");
    let refused = c.fails("rm busy", 1);
    let paused = "cannot remove container \"busy\": container is paused and must be unpaused first";
    assert!(refused.contains(paused), "{refused}");
    assert_eq!(c.ok("rm -f busy"), "busy");
    let refused = c.fails("inspect busy", 1);
    assert!(refused.to_lowercase().contains("no such object: busy"), "{refused}");
    c.ok("run -d --name busy busybox:1.29 sleep 1000");
    assert_eq!(c.ok("rm --force busy"), "busy");
    c.ok("run -d --rm --name busy -v /data busybox:1.29 sleep 1000");
    assert_eq!(c.ok("rm --force busy"), "busy", "its own removal is not in the way");
    c.ok("run -d --rm --name busy busybox:1.29 sleep 1000");
    c.ok("rm -f busy");
}

fn volumes(c: &Console) {
    c.ok("run --name kept -v /data busybox:1.29 sh -c 'echo 1 >/data/file'");
    let volume = c.ok("inspect --format '{{(index .Mounts 0).Name}}' kept");
    c.ok("rm kept");
    assert_eq!(c.ok("volume ls -q"), volume);
    c.ok(&format!("volume rm {volume}"));
    c.ok("run --name thrown -v /data busybox:1.29 true");
    c.ok("rm -v thrown");
    assert_eq!(c.ok("volume ls -q"), "");
}

fn stop(c: &Console) {
    let obedient = |signal: &str| {
        format!("sh -c 'trap \"echo got {signal}; exit 7\" {signal}; echo ready; while true; do sleep 0.1; done'")
    };
    c.ok(&format!("run -d --name term busybox:1.29 {}", obedient("TERM")));
    c.ok(&format!("run -d --name usr1 --stop-signal USR1 busybox:1.29 {}", obedient("USR1")));
    for (name, signal) in [("term", "TERM"), ("usr1", "USR1")] {
        c.logged(name, "ready");
        assert_eq!(c.ok(&format!("stop {name}")), name);
        assert!(c.logs(name).contains(&format!("got {signal}")));
        assert_eq!(c.ok(&format!("inspect --format {{{{.State.ExitCode}}}} {name}")), "7");
    }
    // PID 1 ignores signals it has no handler for; then comes the one it cannot ignore.
    c.ok("run -d --name deaf busybox:1.29 sleep 1000");
    assert_eq!(c.ok("stop -t 1 deaf"), "deaf");
    assert_eq!(c.ok("inspect --format {{.State.ExitCode}} deaf"), "137");
    assert_eq!(c.ok("stop deaf"), "deaf");
}

fn kill(c: &Console) {
    c.ok("run -d --name victim busybox:1.29 sh -c 'trap \"echo got USR1\" USR1; echo ready; while true; do sleep 0.1; done'");
    c.logged("victim", "ready");
    assert_eq!(c.ok("kill --signal USR1 victim"), "victim");
    c.logged("victim", "got USR1");
    assert_eq!(c.state("victim"), "running");
    assert_eq!(c.ok("kill victim"), "victim");
    assert_eq!(c.ok("wait victim"), "137");
    let id = c.ok("inspect --format {{.Id}} victim");
    let refused = c.fails("kill victim", 1);
    assert!(refused.contains(&format!("cannot kill container: victim: container {id} is not running")), "{refused}");
    c.ok("start victim");
    let refused = c.fails("kill -s NONSENSE victim", 1);
    assert!(refused.to_lowercase().contains("invalid signal: nonsense"), "{refused}");
}

fn automatic(c: &Console) {
    assert_eq!(c.ok("run --rm --name auto-exit-test busybox:1.29 echo Hello World"), "Hello World");
    assert_eq!(c.ok("ps --all --quiet"), "");
}

/// A connection that can neither send what it has nor end keeps nothing on the host.
fn connections(c: &Console) {
    c.ok("run -d --name server busybox:1.29 nc -l -p 80 -e sleep 1000");
    c.ok("run -d --name client --link server:server busybox:1.29 sh -c 'sleep 0.5; yes | nc server 80'");
    // Established (01), with bytes waiting to be sent.
    c.until("exec client cat /proc/net/tcp", |sockets| {
        sockets.lines().any(|line| line.contains(":0050 01 ") && !line.contains(" 01 00000000:"))
    });
    c.ok("network disconnect bridge server");
    c.ok("rm -f client server");
    c.remove_all();
}

fn everything(c: &Console) {
    c.ok("run -d busybox:1.29 sleep 1000");
    c.ok("run -d -v /data --restart always busybox:1.29 true");
    c.ok("run -d --name paused busybox:1.29 sleep 1000");
    c.ok("pause paused");
    c.ok("create busybox:1.29");
    c.remove_all();
    assert_eq!(c.ok("volume ls -q"), "");
}
