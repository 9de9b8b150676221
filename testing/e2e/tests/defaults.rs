//! What a container may do that asked for nothing: no more than Docker gives.

use std::collections::BTreeMap;

use tare_testkit::{Client, Console, native, with_both_clients};

with_both_clients!(capabilities, no_new_privileges, forbidden_devices, what_the_kernel_shows, the_host_s_files_by_proc);

fn status(c: &Console, options: &str) -> BTreeMap<String, String> {
    let text = c.ok(&format!("run --rm {options} busybox:1.29 cat /proc/self/status"));
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn capabilities(c: &Console) {
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
    // audit_write, setfcap.
    let default = "00000000a80425fb";
    let sets = |status: &BTreeMap<String, String>| {
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| status[set].clone())
    };
    let none = "0000000000000000";
    let root = status(c, "");
    assert_eq!(sets(&root), [none, default, default, default, none]);
    assert_eq!((root["Seccomp"].as_str(), root["NoNewPrivs"].as_str()), ("2", "0"));
    assert_eq!(sets(&status(c, "--user 1000")), [none, none, none, default, none]);
    assert_eq!(sets(&status(c, "--cap-drop all")), [none; 5]);
    let chown = "0000000000000001";
    assert_eq!(sets(&status(c, "--cap-drop ALL --cap-add CHOWN")), [none, chown, chown, chown, none]);
    // `exec` gives a process the same, and no more.
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let inside = c.ok("exec box cat /proc/self/status");
    for line in [format!("CapEff:\t{default}"), format!("CapBnd:\t{default}"), "Seccomp:\t2".to_owned()] {
        assert!(inside.lines().any(|own| own == line), "{line} is not in\n{inside}");
    }
    let inside = c.ok("exec --user 1000 box cat /proc/self/status");
    assert!(inside.contains(&format!("CapEff:\t{none}\n")), "{inside}");
}

fn no_new_privileges(c: &Console) {
    assert_eq!(status(c, "--security-opt no-new-privileges")["NoNewPrivs"], "1");
    // Without AppArmor its profiles are discarded, as everywhere.
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') {
        assert_eq!(c.ok("run --rm --security-opt apparmor=some busybox:1.29 echo ran"), "ran");
    }
    c.ok("run -d --name box --security-opt no-new-privileges busybox:1.29 sleep 1000");
    let inside = c.ok("exec box cat /proc/self/status");
    assert!(inside.contains("NoNewPrivs:\t1\n"), "{inside}");
}

/// A device can be made (CAP_MKNOD is a default) but not opened.
fn forbidden_devices(c: &Console) {
    // A disk, the kernel's memory, ports, the kernel's log, fuse, a loop device.
    for (kind, major, minor) in
        [("b", 254, 0), ("b", 8, 0), ("c", 1, 2), ("c", 1, 4), ("c", 1, 11), ("c", 10, 229), ("b", 7, 0)]
    {
        let refused = c.fails(&format!("run --rm busybox:1.29 sh -c 'mknod /x {kind} {major} {minor} && cat /x'"), 1);
        assert!(
            refused.ends_with("cat: can't open '/x': Operation not permitted"),
            "{kind} {major}:{minor}: {refused}"
        );
    }
    assert_eq!(c.ok("run --rm busybox:1.29 sh -c 'mknod /x c 1 5 && head -c 3 /x | wc -c'"), "3");
}

/// Masked and read-only paths.
fn what_the_kernel_shows(c: &Console) {
    let mounts = c.ok("run --rm busybox:1.29 cat /proc/self/mountinfo");
    let options = |point: &str| {
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(point));
        line.and_then(|line| line.split(' ').nth(5)).unwrap_or_else(|| panic!("{point} is not in\n{mounts}"))
    };
    for (point, needed) in [
        ("/proc", "nosuid,nodev,noexec"),
        ("/sys", "ro,nosuid,nodev,noexec"),
        ("/sys/fs/cgroup", "ro,nosuid,nodev,noexec"),
        ("/proc/sys", "ro,nosuid,nodev,noexec"),
        ("/proc/bus", "ro,nosuid,nodev,noexec"),
        ("/proc/fs", "ro,nosuid,nodev,noexec"),
        ("/proc/irq", "ro,nosuid,nodev,noexec"),
        ("/dev/shm", "nosuid,nodev,noexec"),
        ("/dev/mqueue", "nosuid,nodev,noexec"),
        ("/dev", "nosuid"),
        ("/dev/pts", "nosuid,noexec"),
    ] {
        let has: Vec<&str> = options(point).split(',').collect();
        assert!(needed.split(',').all(|option| has.contains(&option)), "{point}: {has:?}, not {needed}");
    }
    for cgroup in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        assert!(cgroup.split(' ').nth(5).is_some_and(|options| options.starts_with("ro,")), "{cgroup}");
    }
    // Files give nothing, directories are empty; what this kernel does not have is not there.
    let masked = "/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats \
                  /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap \
                  /sys/firmware";
    let script = format!(
        "for path in {masked}; do if [ -d $path ]; then ls -A $path; elif [ -e $path ]; then cat $path; fi; done"
    );
    assert_eq!(c.ok(&format!("run --rm busybox:1.29 sh -c '{script}'")), "");
    assert_ne!(c.ok("run --rm --privileged busybox:1.29 cat /proc/interrupts"), "");
    for attack in [
        "echo x >/proc/sys/kernel/hostname",
        "echo x >/proc/sys/kernel/core_pattern",
        "touch /sys/kernel/x",
        "mkdir /sys/fs/cgroup/x",
        "echo c >/proc/irq/default_smp_affinity",
    ] {
        let refused = c.fails(&format!("run --rm busybox:1.29 sh -c '{attack}'"), 1);
        assert!(refused.contains("Read-only file system"), "{attack}: {refused}");
    }
}

/// Other processes' `/proc/PID/root` leads anywhere, and takes CAP_SYS_PTRACE.
fn the_host_s_files_by_proc(c: &Console) {
    // One of the host's: this test.
    let process = format!("/proc/{}", std::process::id());
    let list = |options: &str, link: &str| {
        c.run(&format!("run --rm --pid host {options} busybox:1.29 ls -Ld {process}/{link}"))
    };
    for link in ["root/etc", "cwd/", "fd/0", "exe"] {
        let refused = list("", link);
        assert!(refused.status == 1 && refused.stderr.contains("Permission denied"), "{refused}");
        let granted = list("--cap-add SYS_PTRACE", link);
        assert_eq!(granted.status, 0, "{granted}");
    }
    let refused =
        c.fails(&format!("run --rm --pid host busybox:1.29 sh -c 'echo x >{process}/root/tmp/tare-escape'"), 1);
    assert!(refused.contains("Permission denied"), "{refused}");
}

/// Makes system calls with arguments that mean nothing: whoever lets them through says EINVAL, EFAULT or the like.
const CALLS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define CALL(name, ...) errno = 0; syscall(__VA_ARGS__); printf("%s %d\n", name, errno);
int main(void) {
    CALL("keyctl", SYS_keyctl, -1);
    CALL("add_key", SYS_add_key, 0, 0, 0, 0, 0);
    CALL("request_key", SYS_request_key, 0, 0, 0, 0);
    CALL("io_uring_setup", SYS_io_uring_setup, 0, 0);
    CALL("userfaultfd", SYS_userfaultfd, -1);
    CALL("unshare", SYS_unshare, CLONE_NEWUSER | CLONE_THREAD);
    CALL("clone", SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0);
    CALL("clone3", SYS_clone3, 0, 0);
    CALL("setns", SYS_setns, -1, 0);
    CALL("personality", SYS_personality, 0x0040000);
    CALL("bpf", SYS_bpf, -1, 0, 0);
    CALL("open_by_handle_at", SYS_open_by_handle_at, -1, 0, 0);
    CALL("kcmp", SYS_kcmp, 0, 0, -1, 0, 0);
    CALL("move_pages", SYS_move_pages, 0, -1, 0, 0, 0, -1);
    CALL("mount_setattr", SYS_mount_setattr, -1, "", 0, 0, 0);
    CALL("AF_ALG", SYS_socket, 38, -1, 0);
    CALL("AF_VSOCK", SYS_socket, 40, -1, 0);
    CALL("mount", SYS_mount, 0, 0, 0, 0, 0);
    CALL("ptrace", SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
    CALL("chroot", SYS_chroot, "/");
    CALL("AF_INET", SYS_socket, AF_INET, SOCK_STREAM, 0);
    CALL("AF_NETLINK", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    CALL("landlock", SYS_landlock_create_ruleset, 0, 0, 1);
    return 0;
}
"#;

#[test]
fn system_calls() {
    let c = Console::new(Client::Tare);
    let program = c.path("calls");
    native::program(CALLS, &program);
    let calls = |options: &str| -> BTreeMap<String, String> {
        let line = format!("run --rm -v {}:/calls:ro {options} busybox:1.29 /calls", program.display());
        let text = c.ok(&line);
        text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    let (filtered, free) = (calls(""), calls("--security-opt seccomp=unconfined --cap-add SYS_ADMIN"));
    for name in [
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "userfaultfd",
        "unshare",
        "clone",
        "setns",
        "personality",
        "bpf",
        "kcmp",
        "move_pages",
        "mount_setattr",
        "AF_ALG",
        "AF_VSOCK",
        "mount",
    ] {
        assert_eq!(filtered[name], EPERM, "{name}");
        // It is the filter that refuses, not the kernel.
        assert_ne!(free[name], EPERM, "{name}");
    }
    assert_eq!(filtered["open_by_handle_at"], EPERM);
    assert_eq!(filtered["clone3"], ENOSYS, "so that C libraries fall back to clone");
    for name in ["ptrace", "chroot", "AF_INET", "AF_NETLINK"] {
        assert_eq!(filtered[name], "0", "{name}");
    }
    assert_eq!(filtered["landlock"], free["landlock"]);
    // With the capability come the calls that need it.
    let admin = calls("--cap-add SYS_ADMIN");
    for name in ["mount", "unshare", "setns", "bpf", "mount_setattr"] {
        assert_ne!(admin[name], EPERM, "{name}");
    }
    assert_eq!((admin["keyctl"].as_str(), admin["io_uring_setup"].as_str()), (EPERM, EPERM));
}

/// The filter of system calls is the daemon's to say, and the container's.
#[test]
fn the_daemon_s_seccomp_profile() {
    let c = Console::with_options(Client::Tare, &["--seccomp-profile", "unconfined"]);
    if c.engine().is_none() {
        return;
    }
    let shown = "info --format '{{index .SecurityOptions 0}}'";
    assert_eq!(c.ok(shown), "name=seccomp,profile=unconfined");
    assert_eq!(status(&c, "")["Seccomp"], "0");
    assert_eq!(status(&c, "--security-opt seccomp=builtin")["Seccomp"], "2");
    drop(c);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("profile.json").display().to_string();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&path, profile).expect("a file");
    let c = Console::with_options(Client::Tare, &["--seccomp-profile", "builtin", "--seccomp-profile", &path]);
    assert_eq!(c.ok(shown), format!("name=seccomp,profile={path}"));
    assert!(c.fails("run --rm busybox:1.29 mkdir /x", 1).contains("Operation not permitted"));
    c.ok("run --rm --security-opt seccomp=builtin busybox:1.29 mkdir /x");
    c.ok("run --rm --privileged busybox:1.29 mkdir /x");
    c.ok("run -d --name box --security-opt seccomp=builtin busybox:1.29 sleep 1000");
    c.ok("exec box mkdir /x");
    // Tasks come and go with who is attached.
    let tasks = || c.ok("info --format {{.NGoroutines}}").parse::<u32>().expect("a number");
    assert!(tasks() > 0);
}

/// Options of logs are the daemon's where a container with the same driver does not give its own.
#[test]
fn the_daemon_s_log_options() {
    let c = Console::with_options(Client::Tare, &["--log-opt", "max-size=1m", "--log-opt", "max-file=3"]);
    if c.engine().is_none() {
        return;
    }
    c.ok("create --name all busybox:1.29");
    c.ok("create --name one --log-opt max-file=2 busybox:1.29");
    c.ok("create --name same --log-driver json-file busybox:1.29");
    c.ok("create --name other --log-driver local busybox:1.29");
    let options = |name| c.ok(&format!("inspect --format '{{{{json .HostConfig.LogConfig.Config}}}}' {name}"));
    assert_eq!(options("all"), r#"{"max-file":"3","max-size":"1m"}"#);
    assert_eq!(options("one"), r#"{"max-file":"2","max-size":"1m"}"#);
    assert_eq!(options("same"), r#"{"max-file":"3","max-size":"1m"}"#);
    assert_eq!(options("other"), "{}");
}
