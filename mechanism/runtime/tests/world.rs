//! What a container's process finds: namespaces, mounts, devices, masks, limits.

mod common;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Bundle, Running, run, script, spec, try_run, with};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, unmount,
};
use serde_json::json;
use tare_runtime::{ErrorKind, Launch, create};

#[test]
fn new_namespaces() {
    let bundle = Bundle::new();
    let text = "for n in mnt pid net ipc uts cgroup user time; do readlink /proc/self/ns/$n; done; echo $$; hostname";
    let output = run(&bundle, &script(text));
    let mut lines = output.lines();
    for name in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let shared = ["user", "time"].contains(&name);
        assert_eq!(lines.next().unwrap() == own.to_str().unwrap(), shared, "{name}");
    }
    assert_eq!((lines.next(), lines.next(), lines.next()), (Some("1"), Some("box"), None));
}

#[test]
fn nothing_of_the_host_is_mounted() {
    let bundle = Bundle::new();
    let mounts = run(&bundle, &script("cut -d' ' -f5-6 /proc/self/mountinfo"));
    let mut found: Vec<&str> = mounts.lines().collect();
    found.sort_unstable();
    let all = "\
/ rw,relatime
/dev rw,nosuid
/dev/mqueue rw,nosuid,nodev,noexec,relatime
/dev/pts rw,nosuid,noexec,relatime
/dev/shm rw,nosuid,nodev,noexec,relatime
/proc rw,nosuid,nodev,noexec,relatime
/proc/acpi ro,nosuid,nodev,noexec,relatime
/proc/bus ro,nosuid,nodev,noexec,relatime
/proc/fs ro,nosuid,nodev,noexec,relatime
/proc/irq ro,nosuid,nodev,noexec,relatime
/proc/kcore rw,relatime
/proc/keys rw,relatime
/proc/scsi ro,nosuid,nodev,noexec,relatime
/proc/sys ro,nosuid,nodev,noexec,relatime
/proc/sysrq-trigger ro,nosuid,nodev,noexec,relatime
/proc/timer_list rw,relatime
/sys ro,nosuid,nodev,noexec,relatime
/sys/firmware ro,nosuid,nodev,noexec,relatime";
    // Not every kernel has every one of them.
    let here = |line: &&str| {
        let path = line.split(' ').next().unwrap();
        !path.starts_with("/proc") || Path::new(path).exists()
    };
    let expected: Vec<&str> = all.lines().filter(here).collect();
    assert!(expected.len() > 12);
    assert_eq!(found, expected);
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(bundle.path().to_str().unwrap()));
}

#[test]
fn masked_and_readonly_paths() {
    let bundle = Bundle::new();
    let text = "for f in kcore keys timer_list; do test ! -e /proc/$f || cat /proc/$f; done; \
                for d in acpi scsi; do test ! -e /proc/$d || ls -A /proc/$d; done; ls -A /sys/firmware; \
                for f in /proc/sys/kernel/hostname /proc/sysrq-trigger; do (echo x > $f) 2>/dev/null && echo $f; done; \
                touch /sys/firmware/x 2>/dev/null && echo made; true";
    assert_eq!(run(&bundle, &script(text)).trim(), "");
}

#[test]
fn devices() {
    let bundle = Bundle::new();
    let extra = json!({"linux": {"devices": [
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o20600, "uid": 33, "gid": 34},
        {"path": "/run/pipe", "type": "p"},
    ]}});
    let text = "stat -c '%n %F %t:%T %a %u:%g' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty \
                /dev/net/tun /run/pipe; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; \
                test -e /dev/console || echo none; echo > /dev/null";
    insta::assert_snapshot!(run(&bundle, &with(script(text), extra)), @"
    /dev/null character special file 1:3 666 0:0
    /dev/zero character special file 1:5 666 0:0
    /dev/full character special file 1:7 666 0:0
    /dev/random character special file 1:8 666 0:0
    /dev/urandom character special file 1:9 666 0:0
    /dev/tty character special file 5:0 666 0:0
    /dev/net/tun character special file a:c8 600 33:34
    /run/pipe fifo 0:0 666 0:0
    /proc/self/fd
    /proc/self/fd/0
    /proc/self/fd/1
    /proc/self/fd/2
    pts/ptmx
    none
    ");
}

#[test]
fn bind_mounts_and_their_options() {
    let bundle = Bundle::new();
    let host = bundle.path().join("data");
    fs::create_dir_all(host.join("deep")).unwrap();
    fs::write(host.join("file"), "content").unwrap();
    let extra = json!({"mounts": [
        {"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "rprivate"]},
        {"destination": "/new/ro", "type": "bind", "source": host, "options": ["rbind", "ro", "nosuid", "noexec"]},
        {"destination": "/new/file", "type": "bind", "source": host.join("file"), "options": ["bind", "rro"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]},
    ]});
    fs::write(bundle.root().join("tmp/from-image"), "x").unwrap();
    let text = "cat /data/file /new/ro/file /new/file; echo w > /data/written; \
                (echo w > /new/ro/x) 2>/dev/null || echo ro; (echo w > /new/file) 2>/dev/null || echo ro; \
                grep /new/ro /proc/self/mountinfo | cut -d' ' -f6; cat /tmp/from-image";
    insta::assert_snapshot!(run(&bundle, &with(script(text), extra)), @"
    contentcontentcontentro
    ro
    ro,nosuid,noexec,relatime
    x
    ");
    assert_eq!(fs::read_to_string(host.join("written")).unwrap(), "w\n");
}

#[test]
fn mounts_in_a_container_stay_there() {
    let bundle = Bundle::new();
    let host = bundle.path().join("data");
    fs::create_dir_all(host.join("deep")).unwrap();
    let caps = json!(["CAP_SYS_ADMIN"]);
    for option in ["rprivate", "rslave", "slave", ""] {
        let extra = json!({
            "mounts": [{"destination": "/data", "type": "bind", "source": host, "options": ["rbind", option]}],
            "process": {"capabilities": {"bounding": caps, "effective": caps, "permitted": caps}},
        });
        let spec =
            with(script("mount -t tmpfs none /data/deep && mount -t tmpfs none /tmp && echo x > /data/deep/x"), extra);
        run(&bundle, &spec);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(bundle.path().to_str().unwrap()), "{option}");
        assert_eq!(fs::read_dir(host.join("deep")).unwrap().count(), 0);
    }
}

#[test]
fn mounts_propagate_as_asked() {
    let bundle = Bundle::new();
    let host = bundle.path().join("data");
    fs::create_dir(&host).unwrap();
    mount(c"tmpfs", &host, c"tmpfs", MountFlags::empty(), None).unwrap();
    mount_change(&host, MountPropagationFlags::SHARED).unwrap();
    for name in ["from-host", "from-container"] {
        fs::create_dir(host.join(name)).unwrap();
    }
    let caps = json!(["CAP_SYS_ADMIN"]);
    let container = |option: &str| {
        Running::new(
            &bundle,
            with(
                spec(&[]),
                json!({
                    "mounts": [{"destination": "/data", "type": "bind", "source": host, "options": ["rbind", option]}],
                    "process": {"capabilities": {"bounding": caps, "effective": caps, "permitted": caps}},
                }),
            ),
        )
    };
    let all = ["rprivate", "rslave", "rshared"].map(container);
    mount(c"tmpfs", host.join("from-host"), c"tmpfs", MountFlags::empty(), None).unwrap();
    let seen =
        all.each_ref().map(|container| container.exec(&bundle, "grep -c from-host /proc/self/mountinfo || true"));
    for container in &all {
        container.exec(&bundle, "mount -t tmpfs none /data/from-container");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let reached = mounts.lines().filter(|line| line.contains("from-container")).count();
    drop(all);
    unmount(&host, UnmountFlags::DETACH).unwrap();
    assert_eq!(seen, ["0\n", "1\n", "1\n"]);
    assert_eq!(reached, 1, "that of the shared one only: {mounts}");
}

#[test]
fn the_hosts_root_can_be_shown() {
    let bundle = Bundle::new();
    let host = bundle.path().join("file");
    fs::write(&host, "host").unwrap();
    symlink("../../../../../../../../../../etc/hostname", bundle.path().join("link")).unwrap();
    let extra = json!({"mounts": [
        {"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "ro"]},
        {"destination": "/name", "type": "bind", "source": bundle.path().join("link"), "options": ["bind"]},
    ]});
    let spec = with(script(&format!("cat /host{}; cat /name", host.display())), extra);
    let name = fs::read_to_string("/etc/hostname").unwrap();
    assert_eq!(run(&bundle, &spec), format!("host{name}"));
    // The same with a root that is attached over the host's.
    let root = rustix::mount::open_tree(rustix::fs::CWD, bundle.root(), OpenTreeFlags::OPEN_TREE_CLONE).unwrap();
    let (stdio, pipes) = common::pipes();
    let launch = Launch { root: Some(root), stdio, ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    assert_eq!(pipes.finish(&init).stdout, format!("host{name}"));
}

#[test]
fn a_root_that_the_host_shares_keeps_its_mounts() {
    let bundle = Bundle::new();
    let host = bundle.path().join("shared");
    fs::create_dir(&host).unwrap();
    rustix::mount::mount_bind(bundle.root(), &host).unwrap();
    mount_change(&host, MountPropagationFlags::SHARED).unwrap();
    let spec = with(script("true"), json!({"root": {"path": "shared"}}));
    let by_path = try_run(&bundle, &spec).map(|output| output.code);
    let root = rustix::mount::open_tree(rustix::fs::CWD, &host, OpenTreeFlags::OPEN_TREE_CLONE).unwrap();
    let (stdio, pipes) = common::pipes();
    let launch = Launch { root: Some(root), stdio, ..Launch::new("test", bundle.path(), &spec) };
    let by_descriptor = create(launch).and_then(tare_runtime::Created::start).map(|init| pipes.finish(&init).code);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let reached = mounts.lines().filter(|line| line.contains("/shared/")).count();
    unmount(&host, UnmountFlags::DETACH).unwrap();
    assert_eq!((by_path.unwrap(), by_descriptor.unwrap(), reached), (0, 0, 0));
}

#[test]
fn mounts_are_listed_in_their_order() {
    let bundle = Bundle::new();
    let extra = json!({"mounts": [
        {"destination": "/a", "type": "bind", "source": bundle.root().join("etc"), "options": ["rbind"]},
        {"destination": "/b", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/c", "type": "bind", "source": bundle.root().join("etc"), "options": ["rbind"]},
    ]});
    let order =
        run(&bundle, &with(script("cut -d' ' -f5 /proc/self/mountinfo | grep -E '^/([abc]|proc|sys|)$'"), extra));
    assert_eq!(order, "/\n/proc\n/sys\n/a\n/b\n/c\n");
}

#[test]
fn root_propagation() {
    let bundle = Bundle::new();
    for (option, expected) in [("shared", "shared:"), ("rslave", ""), ("private", ""), ("unbindable", "unbindable")] {
        let text = "awk '$5 == \"/\" && $7 != \"-\" {print $7}' /proc/self/mountinfo";
        let output = run(&bundle, &with(script(text), json!({"linux": {"rootfsPropagation": option}})));
        // Whether a slave has a master depends on the host.
        let output = if option == "rslave" { output.trim_start_matches("master:").trim() } else { output.as_str() };
        let number = option == "rslave" && output.parse::<u64>().is_ok();
        assert!(
            number || output.starts_with(expected) && output.is_empty() == expected.is_empty(),
            "{option}: {output}"
        );
    }
}

#[test]
fn a_shared_root_has_a_group_of_its_own() {
    let bundle = Bundle::new();
    // Whatever the host's is: no second tag, which would be that of a slave.
    let text = "awk '$5 == \"/\" {print $8}' /proc/self/mountinfo";
    let output = run(&bundle, &with(script(text), json!({"linux": {"rootfsPropagation": "shared"}})));
    assert_eq!(output, "-\n");
}

#[test]
fn links_in_the_image_do_not_lead_mounts_outside() {
    let bundle = Bundle::new();
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let root = bundle.root();
    symlink("/../../../../../../../../outside", root.join("absolute")).unwrap();
    symlink("../../../outside", root.join("relative")).unwrap();
    symlink(&outside, root.join("host")).unwrap();
    symlink("/proc/1/root", root.join("magic")).unwrap();
    let extra = json!({
        "mounts": [
            {"destination": "/absolute/a", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/relative/b", "type": "bind", "source": root.join("etc/passwd"), "options": ["bind"]},
            {"destination": "/host/c", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/etc/../../../../d", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {
            "devices": [{"path": "/absolute/null", "type": "c", "major": 1, "minor": 3}],
            "maskedPaths": ["/relative/b"], "readonlyPaths": ["/absolute/a"],
        },
        "process": {"cwd": "/relative/cwd"},
    });
    run(&bundle, &with(script("pwd; test -d /outside/a && test -c /outside/b && test -c /outside/null"), extra));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let magic = json!({"mounts": [{"destination": "/magic/etc/x", "type": "tmpfs", "source": "tmpfs"}]});
    let error = try_run(&bundle, &with(script("true"), magic)).unwrap_err();
    assert_eq!(error.to_string(), "create mount point `/magic/etc/x`: ELOOP");
}

#[test]
fn limits_and_parameters() {
    let bundle = Bundle::new();
    let extra = json!({
        "process": {
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ],
            "oomScoreAdj": 500,
            "user": {"umask": 0o027},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
            "scheduler": {"policy": "SCHED_BATCH", "nice": 4},
        },
        "domainname": "example",
        "linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4096", "kernel.domainname": "sysctl"}},
    });
    let text = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; umask; \
                cat /proc/sys/net/ipv4/ip_forward \
                /proc/sys/kernel/shmmax /proc/sys/kernel/domainname; cut -d' ' -f19,41 /proc/self/stat";
    insta::assert_snapshot!(run(&bundle, &with(script(text), extra)), @"
    64
    128
    0
    500
    0027
    1
    4096
    sysctl
    4 3
    ");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().len(), 2);
}

/// It is for processes run in a container, says the specification (config.md, `execCPUAffinity`).
#[test]
fn an_affinity_is_not_for_the_init() {
    let extra = json!({"process": {"execCPUAffinity": {"initial": "0", "final": "0"}}});
    let allowed = run(&Bundle::new(), &with(script("grep Cpus_allowed_list /proc/self/status | cut -f2"), extra));
    assert_eq!(allowed, fs::read_to_string("/sys/devices/system/cpu/online").unwrap());
}

#[test]
fn a_read_only_root() {
    let bundle = Bundle::new();
    let extra = json!({"root": {"readonly": true}, "process": {"cwd": "/made/here"}});
    let text = "pwd; (echo x > /x) 2>/dev/null || echo ro; echo x > /dev/shm/x && cat /dev/shm/x";
    assert_eq!(run(&bundle, &with(script(text), extra)), "/made/here\nro\nx\n");
}

#[test]
fn a_root_that_is_a_link() {
    let bundle = Bundle::new();
    let elsewhere = bundle.path().join("elsewhere");
    fs::rename(bundle.root(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, bundle.root()).unwrap();
    assert_eq!(run(&bundle, &script("echo made > /file; cat /file")), "made\n");
    assert_eq!(fs::read_to_string(elsewhere.join("file")).unwrap(), "made\n");
}

#[test]
fn a_detached_overlay_as_root() {
    let bundle = Bundle::new();
    let path = |name: &str| {
        let path = bundle.path().join(name);
        fs::create_dir(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (upper, work) = (path("upper"), path("work"));
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (key, value) in [("lowerdir", bundle.root().to_str().unwrap()), ("upperdir", &upper), ("workdir", &work)] {
        fsconfig_set_string(&context, key, value).unwrap();
    }
    fsconfig_create(&context).unwrap();
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    drop(context);
    let spec =
        with(script("echo x > /written; grep ' / ' /proc/self/mountinfo | grep -c overlay"), json!({"root": null}));
    let (stdio, pipes) = common::pipes();
    let launch = Launch { root: Some(root), stdio, ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    assert_eq!(pipes.finish(&init).stdout, "1\n");
    assert_eq!(fs::read_to_string(bundle.path().join("upper/written")).unwrap(), "x\n");
    assert!(!bundle.root().join("written").exists());
}

#[test]
fn a_network_namespace_by_descriptor() {
    let bundle = Bundle::new();
    let other = Running::new(&bundle, spec(&[]));
    let path = format!("/proc/{}/ns/net", other.init.pid);
    let network: OwnedFd = fs::File::open(&path).unwrap().into();
    let expected = fs::read_link(&path).unwrap();
    let spec = script("readlink /proc/self/ns/net; ls /sys/class/net");
    let (stdio, pipes) = common::pipes();
    let launch = Launch { netns: Some(network), stdio, ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    assert_eq!(pipes.finish(&init).stdout, format!("{}\nlo\n", expected.display()));
}

#[test]
fn namespaces_of_another_container() {
    let bundle = Bundle::new();
    let other = Running::new(&bundle, spec(&[]));
    let path = |name: &str| format!("/proc/{}/ns/{name}", other.init.pid);
    let mut joined =
        script("for n in pid net ipc; do readlink /proc/self/ns/$n; done; ps | grep -c '[s]leep 1000'; echo $$");
    joined.hostname.clear();
    let linux = joined.linux.as_mut().unwrap();
    linux.namespaces = serde_json::from_value(json!([
        {"type": "mount"}, {"type": "pid", "path": path("pid")}, {"type": "network", "path": path("net")},
        {"type": "ipc", "path": path("ipc")},
    ]))
    .unwrap();
    let output = run(&bundle, &joined);
    let lines: Vec<&str> = output.lines().collect();
    for (line, name) in lines.iter().zip(["pid", "net", "ipc"]) {
        assert_eq!(*line, fs::read_link(path(name)).unwrap().to_str().unwrap());
    }
    assert_eq!((lines.get(3), lines.get(4) != Some(&"1")), (Some(&"1"), true), "{output}");
    // This process has come back.
    let own = fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap();
    assert_eq!(own, fs::read_link("/proc/thread-self/ns/pid").unwrap());
}

#[test]
fn the_hosts_namespaces() {
    let bundle = Bundle::new();
    let mut spec = script("for n in pid net ipc uts; do readlink /proc/self/ns/$n; done");
    spec.hostname.clear();
    spec.linux.as_mut().unwrap().namespaces = serde_json::from_value(json!([{"type": "mount"}])).unwrap();
    let expected: String = ["pid", "net", "ipc", "uts"]
        .map(|name| format!("{}\n", fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display()))
        .concat();
    assert_eq!(run(&bundle, &spec), expected);
}

#[test]
fn a_user_namespace() {
    let bundle = Bundle::new();
    for path in [bundle.path().to_owned(), bundle.root()] {
        std::os::unix::fs::chown(path, Some(100_000), Some(200_000)).unwrap();
    }
    let other = Running::new(&bundle, spec(&[]));
    let extra = json!({"linux": {
        "namespaces": [{"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
        "gidMappings": [{"containerID": 0, "hostID": 200_000, "size": 1000}],
    }});
    let text = "id -u; id -g; awk '{print $1,$2,$3}' /proc/self/uid_map; echo x > /dev/null; stat -c %t:%T /dev/null; \
                echo x > /by-root; hostname";
    assert_eq!(run(&bundle, &with(script(text), extra.clone())), "0\n0\n0 100000 1000\n1:3\nbox\n");
    let owner = fs::metadata(bundle.root().join("by-root")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 100_000);
    // Namespaces that the new user namespace does not own can be joined all the same.
    let mut joined = with(script("readlink /proc/self/ns/ipc"), extra);
    let path = format!("/proc/{}/ns/ipc", other.init.pid);
    for namespace in &mut joined.linux.as_mut().unwrap().namespaces {
        if namespace.kind == tare_oci_runtime::NamespaceKind::Ipc {
            namespace.path = path.clone().into();
        }
    }
    joined.mounts.retain(|mount| mount.kind != "mqueue");
    assert_eq!(run(&bundle, &joined), format!("{}\n", fs::read_link(&path).unwrap().display()));
}

#[test]
fn a_time_namespace() {
    let bundle = Bundle::new();
    let extra = json!({"linux": {"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"secs": 1_000_000}}}});
    let uptime = run(&bundle, &with(script("cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time"), extra));
    let (seconds, namespace) = uptime.trim().split_once('\n').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_000_000, "{uptime}");
    assert_ne!(namespace, fs::read_link("/proc/self/ns/time").unwrap().to_str().unwrap());
}

#[test]
fn an_idmapped_bind_mount() {
    let bundle = Bundle::new();
    let host = bundle.path().join("data");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "").unwrap();
    std::os::unix::fs::chown(host.join("file"), Some(0), Some(0)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 33, "size": 10}]);
    let extra = json!({"mounts": [{"destination": "/data", "type": "bind", "source": host,
        "options": ["rbind", "idmap"], "uidMappings": map, "gidMappings": map}]});
    assert_eq!(run(&bundle, &with(script("stat -c %u:%g /data/file"), extra)), "33:33\n");
}

#[test]
fn cgroups() {
    let group = format!("tare-runtime-test-{}", std::process::id());
    let directory = Path::new("/sys/fs/cgroup/pids").join(&group);
    fs::create_dir(&directory).unwrap();
    let bundle = Bundle::new();
    let spec = script("grep pids /proc/self/cgroup");
    let place = [directory.clone()];
    let join = tare_runtime::CgroupPlace::Join(&place);
    let (stdio, pipes) = common::pipes();
    let launch = Launch { cgroup: join, stdio, ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    let joined = pipes.finish(&init).stdout;
    // Born: the calling thread is in it.
    let (name, place) = (group.clone(), directory.clone());
    let (born, mounted) = std::thread::spawn(move || {
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        fs::write(place.join("tasks"), &thread).unwrap();
        let text = "grep pids /proc/self/cgroup; wc -l < /sys/fs/cgroup/pids/tasks; \
                    (echo 1 > /sys/fs/cgroup/pids/tasks) \
                    2>/dev/null || echo ro";
        let extra = json!({
            "mounts": [
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]},
            ],
            "linux": {"cgroupsPath": format!("/{name}")},
        });
        let spec = with(script(text), extra);
        let (stdio, pipes) = common::pipes();
        let cgroup = tare_runtime::CgroupPlace::Born;
        let launch = Launch { cgroup, stdio, ..Launch::new("test", bundle.path(), &spec) };
        let init = create(launch).unwrap().start().unwrap();
        let mut output = pipes.finish(&init).stdout;
        fs::write("/sys/fs/cgroup/pids/tasks", &thread).unwrap();
        let rest = output.split_off(output.find('\n').unwrap());
        (output, rest)
    })
    .join()
    .unwrap();
    fs::remove_dir(&directory).unwrap();
    assert!(joined.trim().ends_with(":pids:/"), "the namespace's root is the container's group: {joined}");
    assert!(born.ends_with(":pids:/"), "{born}");
    // The shell and its child; the thread that the container was born from is not of its process namespace.
    assert_eq!(mounted, "\n2\nro\n");
}

/// Where cgroup v2 is mounted: alone, or beside v1.
fn unified() -> Option<&'static str> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find(|path| Path::new(path).join("cgroup.procs").exists())
}

#[test]
fn cgroups_of_version_2() {
    let Some(unified) = unified() else { panic!("this test needs a mount of cgroup v2") };
    let directory = Path::new(unified).join(format!("tare-runtime-test-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let bundle = Bundle::new();
    let text = "grep ^0: /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/tare* 2>/dev/null; \
                grep ' /sys/fs/cgroup ' /proc/self/mountinfo | cut -d' ' -f4,6; grep -c . /sys/fs/cgroup/cgroup.procs";
    let mount = json!({"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["ro", "nosuid", "noexec", "nodev"]}]});
    let mounts = tare_cgroup::MountSources::V2 { host: directory.clone() };
    let mut outputs = Vec::new();
    for own_namespace in [true, false] {
        let mut spec = with(script(text), mount.clone());
        if !own_namespace {
            let namespaces = &mut spec.linux.as_mut().unwrap().namespaces;
            namespaces.retain(|namespace| namespace.kind != tare_oci_runtime::NamespaceKind::Cgroup);
        }
        let group = fs::File::open(&directory).unwrap();
        let (stdio, pipes) = common::pipes();
        let cgroup = tare_runtime::CgroupPlace::Into(group.as_fd());
        let launch =
            Launch { cgroup, cgroup_mounts: Some(&mounts), stdio, ..Launch::new("test", bundle.path(), &spec) };
        let init = create(launch).unwrap().start().unwrap();
        outputs.push(pipes.finish(&init).stdout);
    }
    fs::remove_dir(&directory).unwrap();
    // In its own namespace the container sees its group as the root; in the host's, the group alone is shown.
    let name = directory.file_name().unwrap().to_str().unwrap();
    let options = "ro,nosuid,nodev,noexec,relatime";
    assert_eq!(outputs[0], format!("0::/\n/sys/fs/cgroup/cgroup.procs\n/ {options}\n1\n"));
    assert_eq!(outputs[1], format!("0::/{name}\n/sys/fs/cgroup/cgroup.procs\n/{name} {options}\n1\n"));
}

#[test]
fn what_is_missing_or_does_not_fit_is_said() {
    let bundle = Bundle::new();
    let error = |extra: serde_json::Value| {
        let error = try_run(&bundle, &with(script("true"), extra)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setup);
        error.to_string()
    };
    let bind = |source: &str, destination: &str| {
        let mount = json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]});
        json!({"mounts": [mount]})
    };
    assert_eq!(error(bind("/nonexistent", "/x")), "open_tree `/nonexistent`: ENOENT");
    assert_eq!(
        error(bind("/etc", "/etc/passwd")),
        "move_mount `/etc/passwd`: ENOTDIR: Are you trying to mount a directory onto a file (or vice-versa)? \
         Check if the specified host path exists and is the expected type"
    );
    let tmpfs = json!({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["nonsense"]}]});
    assert_eq!(error(tmpfs), "fsconfig `tmpfs` on `/x`: EINVAL");
    let unknown = json!({"mounts": [{"destination": "/x", "type": "nofs"}]});
    assert_eq!(error(unknown), "fsopen `nofs` on `/x`: ENODEV");
    assert_eq!(
        error(json!({"root": {"path": "nowhere"}})),
        format!("open_tree `{}/nowhere`: ENOENT", bundle.path().display())
    );
    let sysctl = json!({"linux": {"sysctl": {"net.no.such": "1"}}});
    assert_eq!(error(sysctl), "write sysctl `sys/net/no/such`: ENOENT");
    let limit = json!({"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 4}]}});
    assert_eq!(error(limit), "setrlimit `NOFILE`: EINVAL");
    let join = json!({"linux": {"namespaces": [{"type": "time", "path": "/proc/self/ns/net"}]}});
    assert_eq!(error(join), "setns `/proc/self/ns/net`: EINVAL");
}
