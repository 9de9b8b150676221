//! procfs is the kernel's own, and where the specification says.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Bundle, pipes, run, script, spec, try_run, with};
use serde_json::json;
use tare_runtime::{Launch, create};

#[test]
fn proc_is_not_mounted_where_the_image_points_to() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.root().join("fake")).unwrap();
    symlink("fake", bundle.root().join("proc")).unwrap();
    let error = try_run(&bundle, &script("true")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create mount point `/proc`: ELOOP (proc and sysfs must be mounted on ordinary directory)"
    );
}

#[test]
fn nothing_but_the_kernels_own_is_mounted_over_proc() {
    let bundle = Bundle::new();
    let root = bundle.root();
    symlink("/proc/sys", root.join("link")).unwrap();
    let refused = |mount: serde_json::Value| {
        let error = try_run(&bundle, &with(script("true"), json!({"mounts": [mount]}))).unwrap_err();
        error.to_string()
    };
    let tmpfs = |path: &str| json!({"destination": path, "type": "tmpfs", "source": "tmpfs"});
    let bind =
        |path: &str, source: &str| json!({"destination": path, "type": "bind", "source": source, "options": ["bind"]});
    let inside = "EPERM (cannot be mounted because it is inside /proc)";
    assert_eq!(refused(tmpfs("/proc/sys")), format!("mount on `/proc/sys`: {inside}"));
    assert_eq!(refused(tmpfs("/link/kernel")), format!("mount on `/link/kernel`: {inside}"));
    assert_eq!(refused(bind("/proc/version", "/dev/null")), format!("mount on `/proc/version`: {inside}"));
    let other = "mount on `/proc`: EPERM (cannot be mounted because it is not of type proc)";
    let over = |mount: serde_json::Value| {
        let mut spec = with(script("true"), json!({"mounts": [mount]}));
        spec.mounts.retain(|mount| mount.destination != Path::new("/proc") || mount.kind != "proc");
        try_run(&bundle, &spec).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(over(tmpfs("/proc")), Err(other.to_owned()));
    assert_eq!(over(bind("/proc", root.to_str().unwrap())), Err(other.to_owned()));
    assert_eq!(over(bind("/proc", "/proc")), Ok(()));
    // What tells a container that its machine is smaller.
    fs::write(bundle.path().join("meminfo"), "MemTotal: 1 kB\n").unwrap();
    let extra = json!({"mounts": [bind("/proc/meminfo", bundle.path().join("meminfo").to_str().unwrap())]});
    assert_eq!(run(&bundle, &with(script("cat /proc/meminfo"), extra)), "MemTotal: 1 kB\n");
}

/// The kernel lets nobody mount a procfs that shows more than the ones there: the host's must not be among these.
#[test]
fn without_a_pivot_the_hosts_proc_is_out_of_reach() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.root().join("other")).unwrap();
    let inner = "for kind in proc sysfs; do mount -t $kind none /other 2>&1; done";
    let namespaces = json!({
        "namespaces": [{"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
        "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
    });
    std::os::unix::fs::chown(bundle.root().join("other"), Some(100_000), Some(100_000)).unwrap();
    std::os::unix::fs::chown(bundle.path(), Some(100_000), Some(100_000)).unwrap();
    std::os::unix::fs::chown(bundle.root(), Some(100_000), Some(100_000)).unwrap();
    for linux in [json!({}), namespaces] {
        let mut spec = with(spec(&["unshare", "-Urmpnf", "sh", "-c", inner]), json!({ "linux": linux }));
        let sets = spec.process.as_mut().unwrap().capabilities.as_mut().unwrap();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(["CAP_SETFCAP".to_owned(), "CAP_SYS_ADMIN".to_owned()]);
        }
        for no_pivot in [false, true] {
            let (stdio, pipes) = pipes();
            let launch = Launch { stdio, no_pivot, ..Launch::new("test", bundle.path(), &spec) };
            let init = create(launch).unwrap().start().unwrap();
            let output = pipes.finish(&init);
            assert_eq!(output.stdout.matches("ermission denied").count(), 2, "{no_pivot} {output:?}");
        }
    }
}
