//! Shared memory: a container's own, another container's, the host's, none.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(shared_with_another_container, sizes, the_hosts_and_none, who_does_not_share);

const SLEEP: &str = "busybox:1.29 sleep 1000";

fn size(c: &Console, container: &str) -> String {
    let line = c.ok(&format!("exec {container} sh -c 'df -k /dev/shm | tail -1'"));
    line.split_whitespace().nth(1).expect("a size").to_owned()
}

fn note(c: &Console, container: &str) -> String {
    c.ok(&format!("exec {container} cat /dev/shm/note"))
}

fn shared_with_another_container(c: &Console) {
    c.ok(&format!("run -d --name donor --ipc shareable --shm-size 10m {SLEEP}"));
    c.ok("exec donor sh -c 'echo first >/dev/shm/note'");
    let id = c.ok("inspect --format {{.Id}} donor");
    c.ok(&format!("run -d --name taker --ipc container:donor {SLEEP}"));
    assert_eq!(c.ok("inspect --format {{.HostConfig.IpcMode}} taker"), format!("container:{id}"));
    assert_eq!(note(c, "taker"), "first");
    c.ok("exec taker sh -c 'echo second >/dev/shm/note'");
    assert_eq!(note(c, "donor"), "second");
    let mounted = c.ok("exec taker grep -c ' /dev/shm tmpfs rw,nosuid,nodev,noexec' /proc/mounts");
    assert_eq!(mounted, "1");
    assert_eq!(c.ok("exec taker readlink /proc/1/ns/ipc"), c.ok("exec donor readlink /proc/1/ns/ipc"));
    // One that has it from another gives it on.
    c.ok(&format!("run -d --name third --ipc container:taker {SLEEP}"));
    assert_eq!(note(c, "third"), "second");
    // The donor begins anew; the others keep what they have.
    c.ok("restart -t 0 donor");
    assert_eq!(c.ok("exec donor ls /dev/shm"), "");
    assert_eq!(note(c, "taker"), "second");
    c.ok("exec donor sh -c 'echo third >/dev/shm/note'");
    c.ok("restart -t 0 taker");
    assert_eq!(note(c, "taker"), "third");
    c.ok("rm -f donor");
    assert_eq!(note(c, "taker"), "third");
    c.ok("stop -t 0 taker");
    let refused = c.fails("start taker", 1);
    assert!(refused.contains(&format!("failed to join IPC namespace: No such container: {id}")), "{refused}");
    assert_eq!(note(c, "third"), "second");
}

fn sizes(c: &Console) {
    c.ok(&format!("run -d --name donor --ipc shareable --shm-size 3m {SLEEP}"));
    c.ok(&format!("run -d --name taker --ipc container:donor --shm-size 9m {SLEEP}"));
    assert_eq!([size(c, "donor"), size(c, "taker")], ["3072", "3072"]);
    c.fails("exec taker sh -c 'head -c 4000000 /dev/zero >/dev/shm/large'", 1);
    assert_eq!(c.ok("exec donor sh -c 'wc -c </dev/shm/large'"), "3145728");
    // What the user puts in its place counts.
    c.ok(&format!("run -d --name other --ipc container:donor --tmpfs /dev/shm:size=1m {SLEEP}"));
    assert_eq!(size(c, "other"), "1024");
    assert_eq!(c.ok("exec other ls /dev/shm"), "");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    assert_eq!(size(c, "plain"), "65536");
}

fn the_hosts_and_none(c: &Console) {
    let name = format!("tare-e2e-{}-{}", std::process::id(), c.program());
    let path = std::path::Path::new("/dev/shm").join(&name);
    std::fs::write(&path, "from the host").expect("a file");
    let seen = c.run(&format!("run --rm --ipc host busybox:1.29 cat /dev/shm/{name}"));
    c.ok(&format!("run -d --name hosts --ipc host {SLEEP}"));
    let by_it = c.run(&format!("run --rm --ipc container:hosts busybox:1.29 cat /dev/shm/{name}"));
    std::fs::remove_file(&path).expect("removed");
    assert_eq!([&seen.stdout, &by_it.stdout], ["from the host"; 2], "{seen}{by_it}");
    let options = c.ok("exec hosts grep ' /dev/shm ' /proc/mounts");
    assert!(!options.contains("noexec"), "{options}");
    assert_eq!(c.run("run --rm --ipc none busybox:1.29 grep -c ' /dev/shm ' /proc/mounts").stdout, "0\n");
}

fn who_does_not_share(c: &Console) {
    for mode in ["private", "none", ""] {
        let option = if mode.is_empty() { String::new() } else { format!("--ipc {mode}") };
        let id = c.ok(&format!("run -d {option} {SLEEP}"));
        let refused = c.fails(&format!("run --rm --ipc container:{id} busybox:1.29 true"), 125);
        let expected = format!(
            "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor \
             container)"
        );
        assert!(refused.contains(&expected), "{refused}");
        // Who shares matters at the start only.
        let waiting = c.ok(&format!("create --ipc container:{id} busybox:1.29 true"));
        assert!(c.fails(&format!("start {waiting}"), 1).contains(&expected));
    }
    let id = c.ok("create --ipc shareable busybox:1.29");
    let refused = c.fails(&format!("run --rm --ipc container:{id} busybox:1.29 true"), 125);
    assert!(refused.contains(&format!("failed to join IPC namespace: container {id} is not running")), "{refused}");
    let refused = c.fails("run --rm --ipc container:nobody busybox:1.29 true", 125);
    assert!(refused.contains("No such container: nobody"), "{refused}");
}
