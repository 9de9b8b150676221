//! Ways out of a container through what is mounted in it, and through what the engine has open while it starts one.
//! With the mechanism alone: mechanism/runtime/tests, `proc.rs` and `world.rs`.

use std::fs;

use tare_testkit::{Client, Console, Output, native};

/// A console on an engine of ours; nothing of this is tried on a daemon that somebody else started.
fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

/// Exchanges two names of a volume without end: a directory and a link to what the first argument names.
const EXCHANGE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int count, char **arguments) {
    mkdir("/shared/target", 0755);
    symlink(arguments[1], "/shared/link");
    puts("racing");
    fflush(stdout);
    for (;;) renameat2(AT_FDCWD, "/shared/target", AT_FDCWD, "/shared/link", RENAME_EXCHANGE);
}
"#;

/// Starts a container that does it.
fn race(c: &Console, link: &str) {
    let program = c.path("exchange");
    native::program(EXCHANGE, &program);
    let volumes = format!("-v shared:/shared -v {}:/exchange:ro", program.display());
    c.ok(&format!("run -d --name racer {volumes} busybox:1.29 /exchange {link}"));
    c.logged("racer", "racing");
}

/// CVE-2018-15664: `cp` looks at a directory, and then it is a link.
#[test]
fn copies_by_names_that_become_links() {
    let Some(c) = console() else { return };
    let (outside, got) = (c.path("outside"), c.path("got"));
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "of the host").expect("a file");
    fs::write(c.path("new"), "attack").expect("a file");
    race(&c, &outside.display().to_string());
    c.ok("run -d --name box -v shared:/shared busybox:1.29 sleep 1000");
    for _ in 0..60 {
        let copied = c.run(&format!("cp racer:/shared/target/secret {}", got.display()));
        assert!(copied.status != 0 && !got.exists(), "{copied}");
        // It may go well, into the directory.
        c.run(&format!("cp {} box:/shared/target/new", c.path("new").display()));
    }
    let names: Vec<_> = fs::read_dir(&outside).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["secret"]);
}

/// CVE-2021-30465: the place of a mount becomes a link between a look at it and the mount. Wherever it leads, that is in
/// the container.
#[test]
fn mount_targets_that_become_links() {
    let Some(c) = console() else { return };
    let program = c.path("exchange");
    native::program(EXCHANGE, &program);
    c.ok(&format!(
        "run -d --name racer -v shared:/shared -v {}:/exchange:ro busybox:1.29 /exchange",
        program.display()
    ));
    c.logged("racer", "racing");
    let before = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mut places = [0; 2];
    for _ in 0..40 {
        let started = c.run(
            "run --rm -v shared:/shared -v evil:/shared/target -v evil:/shared/target/deeper busybox:1.29 \
             cat /proc/self/mountinfo",
        );
        // A lookup may find something renamed too often, or a link where a directory has to be made.
        if started.status != 0 {
            assert!(started.stderr.contains("/shared/target"), "{started}");
            continue;
        }
        let volumes = started.stdout.lines().filter(|line| line.contains("/volumes/evil/_data"));
        let points: Vec<&str> = volumes.filter_map(|line| line.split(' ').nth(4)).collect();
        assert_eq!(points.len(), 2, "a mount is not in the container: {started}");
        for point in points {
            let in_place = point.starts_with("/shared/target") || point.starts_with("/shared/link");
            assert!(in_place || point.starts_with("/tmp"), "{started}");
            places[usize::from(in_place)] += 1;
        }
    }
    assert!(places[0] + places[1] > 0, "no container has started");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("mounts"), before);
}

/// CVE-2024-21626: a descriptor of the host as working directory leads to its files.
#[test]
fn descriptors_of_the_host() {
    let Some(c) = console() else { return };
    // `exec` says so where the process's output would be.
    let is_refused =
        |output: &Output| output.status != 0 && output.stdout.lines().all(|line| line.contains("OCI runtime"));
    for directory in (0..16).map(|number| format!("/proc/self/fd/{number}")).chain(["/proc/self/cwd".to_owned()]) {
        let refused = c.run(&format!("run --rm -w {directory} busybox:1.29 ls ../../../../../../.."));
        assert!(is_refused(&refused), "{refused}");
    }
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok("exec box ln -s /proc/self/fd/8 /innocent");
    for directory in (0..16).map(|number| format!("/proc/self/fd/{number}")).chain(["/innocent".to_owned()]) {
        let refused = c.run(&format!("exec -w {directory} box ls ../../../../../../.."));
        assert!(is_refused(&refused), "{refused}");
    }
    c.ok("commit --change 'WORKDIR /proc/self/fd/8' box leaky");
    let refused = c.run("run --rm leaky ls ../../../../../../..");
    assert!(is_refused(&refused), "{refused}");

    // The fourth is the directory that `ls` reads.
    for command in ["run --rm busybox:1.29", "run --rm --init busybox:1.29", "exec box", "exec --privileged box"] {
        assert_eq!(c.ok(&format!("{command} ls /proc/self/fd")), "0\n1\n2\n3", "{command}");
    }
    c.ok("run -d --name terminal -t busybox:1.29 ls /proc/self/fd");
    c.ok("wait terminal");
    assert_eq!(c.logs("terminal").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    // What PID 1 has, and nothing else runs in there.
    assert_eq!(c.ok("exec box ls /proc/1/fd"), "0\n1\n2");
}

/// CVE-2019-16884, CVE-2025-52881: what the engine writes to procfs goes to procfs, so images get no volumes there.
#[test]
fn volumes_over_proc() {
    let Some(c) = console() else { return };
    c.ok("create --name box busybox:1.29 true");
    c.ok("commit --change 'VOLUME /proc' box whole");
    c.ok("commit --change 'VOLUME /proc/self/attr' box part");
    for line in [
        "run --rm whole true",
        "run --rm -v volume:/proc busybox:1.29 true",
        "run --rm --tmpfs /proc busybox:1.29 true",
    ] {
        let refused = c.run(line);
        assert_ne!(refused.status, 0, "{refused}");
        assert!(refused.stderr.contains("cannot be mounted because it is not of type proc"), "{refused}");
    }
    for line in [
        "run --rm part true",
        "run --rm -v volume:/proc/sys busybox:1.29 true",
        "run --rm -v volume:/proc/sys/net --sysctl net.ipv4.ip_forward=1 busybox:1.29 true",
        "run --rm -v /dev/null:/proc/version busybox:1.29 true",
    ] {
        let refused = c.run(line);
        assert_ne!(refused.status, 0, "{refused}");
        assert!(refused.stderr.contains("cannot be mounted because it is inside /proc"), "{refused}");
    }
    c.ok("run --rm -v /proc/meminfo:/proc/meminfo:ro busybox:1.29 cat /proc/meminfo");
}

/// CVE-2025-31133, CVE-2025-52565: what hides files of the kernel, and what becomes the terminal, is not taken from a
/// `/dev` that others have filled.
#[test]
fn devices_that_are_links() {
    let Some(c) = console() else { return };
    let pattern = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(pattern).expect("a pattern");
    c.ok(&format!(
        "run --rm -v devices:/devices busybox:1.29 sh -c 'mkdir /devices/pts && for name in null console ptmx pts/0 pts/ptmx; \
         do ln -s {pattern} /devices/$name; done'"
    ));
    let masked =
        c.ok("run --rm -v devices:/dev busybox:1.29 sh -c 'readlink /dev/null; stat -c %t:%T /proc/interrupts'");
    assert_eq!(masked, format!("{pattern}\n1:3"));
    let hidden = c.ok("run --rm -v devices:/dev busybox:1.29 cat /proc/interrupts /proc/keys /proc/timer_list");
    assert_eq!(hidden, "");
    // No terminal from there, at the start and later.
    let refused = c.run("run -d -t -v devices:/dev busybox:1.29 true");
    assert!(refused.status != 0 && refused.stderr.contains("terminal"), "{refused}");
    c.ok("run -d --name box -v devices:/dev busybox:1.29 sleep 1000");
    let refused = c.run("exec -d -t box sh -c 'echo x'");
    assert!(refused.status != 0 && refused.stderr.contains("terminal"), "{refused}");
    assert_eq!(fs::read_to_string(pattern).expect("a pattern"), before);
}

/// CVE-2022-0811 and its like: no parameter of the host's kernel is reached through one of the container's.
#[test]
fn parameters_of_the_kernel() {
    let Some(c) = console() else { return };
    let pattern = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(pattern).expect("a pattern");
    // What the clients refuse by themselves is sent past them.
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net.ipv4.ip_forward+kernel.core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4.../../kernel/core_pattern",
        "net.ipv4.conf.all.forwarding\nkernel.core_pattern",
        "fs.mqueue.../../../kernel.core_pattern",
        "kernel.shm_rmid_forced/../core_pattern",
    ] {
        let body =
            serde_json::json!({"Image": "busybox:1.29", "Cmd": ["true"], "HostConfig": {"Sysctls": {name: "|/x"}}});
        c.ok("pull -q busybox:1.29");
        let json = "Content-Type: application/json\r\n";
        let (status, answer) = c.request("POST /v1.45/containers/create?name=box", json, &body.to_string());
        if status == 201 {
            let (status, answer) = c.request("POST /v1.45/containers/box/start", "", "");
            assert!(status >= 400, "{name}: {answer}");
            c.ok("rm -f box");
        } else {
            assert_eq!(status, 400, "{name}: {answer}");
        }
        assert_eq!(fs::read_to_string(pattern).expect("a pattern"), before, "{name}");
    }
    let refused = c.run("run --rm --sysctl 'kernel.shm_rmid_forced=1+kernel.core_pattern=|/x' busybox:1.29 true");
    assert_ne!(refused.status, 0, "{refused}");
    assert_eq!(fs::read_to_string(pattern).expect("a pattern"), before);
    // Those of a namespace only where there is one.
    for line in ["--network host --sysctl net.ipv4.ip_forward=1", "--ipc host --sysctl kernel.shmmax=1"] {
        assert_ne!(c.run(&format!("run --rm {line} busybox:1.29 true")).status, 0, "{line}");
    }
}

/// In the host's network, too, the container has a sysfs of its own: what the host has mounted in its own is not there.
#[test]
fn the_hosts_sysfs() {
    let Some(c) = console() else { return };
    for network in ["host", "bridge"] {
        let run = format!("run --rm --network {network} busybox:1.29 sh -c");
        let mounts = c.ok(&format!("{run} 'grep \" /sys\" /proc/mounts'"));
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, point, kind, options, ..] = fields[..] else { panic!("{line}") };
            let own = matches!(kind, "sysfs" | "cgroup" | "cgroup2" | "tmpfs");
            assert!(own && options.starts_with("ro"), "{network}: {point}: {line}");
        }
    }
}
