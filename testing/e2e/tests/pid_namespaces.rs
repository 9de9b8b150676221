//! Containers do not see each other's processes, nor do their ports collide.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(each_sees_its_own, the_host_s_processes, conflicts_within, no_conflicts_between);

fn each_sees_its_own(c: &Console) {
    c.ok("run -d --name namespaceA busybox:1.29 /bin/sh -c 'sleep 30000'");
    c.ok("run -d --name namespaceB busybox:1.29 /bin/sh -c 'nc -l 0.0.0.0 -p 80'");
    for (name, own, others) in [("namespaceA", "sleep 30000", "nc -l"), ("namespaceB", "nc -l 0.0.0.0 -p 80", "sleep")]
    {
        let table = c.ok(&format!("exec {name} ps"));
        let first = table.lines().find(|line| line.trim_start().starts_with("1 ")).unwrap_or_default();
        assert!(first.contains(own), "{table}");
        assert!(table.lines().any(|line| line.ends_with(" ps")), "{table}");
        assert!(!table.contains(others), "{table}");
        assert!(table.lines().count() <= 4, "{table}");
    }
}

fn the_host_s_processes(c: &Console) {
    let own = std::process::id().to_string();
    let table = c.ok("run --rm --pid host busybox:1.29 ps");
    assert!(table.lines().any(|line| line.split_whitespace().next() == Some(&own)), "{own} is not in\n{table}");
}

fn conflicts_within(c: &Console) {
    c.ok("run -d --name webConflict nginx:latest");
    c.until("exec webConflict cat /proc/net/tcp", |table| table.contains(":0050 "));
    let refused = c.fails("exec webConflict nginx -g 'daemon off;'", 1);
    assert!(refused.contains("bind() to 0.0.0.0:80 failed (98: Address already in use)"), "{refused}");
}

fn no_conflicts_between(c: &Console) {
    c.ok("run -d --name webA nginx:latest");
    c.ok("run -d --name webB nginx:latest");
    for name in ["webA", "webB"] {
        c.until(&format!("exec {name} cat /proc/net/tcp"), |table| table.contains(":0050 "));
        assert_eq!(c.state(name), "running");
    }
}
