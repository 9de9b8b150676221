//! procfs is the kernel's own, and where the specification says.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Bundle, run, script, try_run, with};
use serde_json::json;

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
