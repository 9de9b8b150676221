//! Mounts that depend on what is there when their turn comes.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Bundle, Running, pipes, run, script, try_run, with};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use tare_runtime::{Launch, create};

fn user_namespace() -> Value {
    json!({
        "namespaces": [{"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65536}],
    })
}

/// A source below the container's root is what the mounts before have put there, and a target may be named by where it is
/// on the host.
#[test]
fn sources_in_the_root_are_what_is_mounted_there() {
    let bundle = Bundle::new();
    let (path, root) = (bundle.path(), bundle.root());
    for directory in ["sources/a/x", "sources/b/y"] {
        fs::create_dir_all(path.join(directory)).unwrap();
        fs::write(path.join(directory).join("file"), directory).unwrap();
    }
    symlink("b", path.join("sources/link")).unwrap();
    // The container's user cannot get there.
    fs::set_permissions(path.join("sources"), PermissionsExt::from_mode(0o700)).unwrap();
    for directory in ["mnt", "final"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for user in [false, true] {
        for idmap in [false, true] {
            let owner = Some(if user { 100_000 } else { 0 });
            for path in [path, &root, &root.join("mnt"), &root.join("final")] {
                std::os::unix::fs::chown(path, owner, owner).unwrap();
            }
            let bind = |source: Value, target: Value| {
                json!({"source": source, "destination": target, "type": "bind",
                "options": ["rbind", "rprivate"]})
            };
            let mut last = bind(json!(root.join("mnt")), json!(root.join("final")));
            if idmap {
                last["options"] = json!(["rbind", "rprivate", "idmap"]);
                (last["uidMappings"], last["gidMappings"]) = (maps.clone(), maps.clone());
            }
            let mounts = [
                bind(json!(path.join("sources/a")), json!("/mnt")),
                bind(json!(path.join("sources/link")), json!("/mnt/x")),
                bind(json!(root.join("mnt/x")), json!(root.join("mnt/x/y"))),
                last,
            ];
            let linux = if user { user_namespace() } else { json!({}) };
            let spec =
                with(script("cat /final/x/y/y/file; stat -c ' %u' /final"), json!({"mounts": mounts, "linux": linux}));
            // The files are the host's root's, whom nobody is in the user namespace but through the map.
            let owner = match (user, idmap) {
                (false, false) | (true, true) => 0,
                (false, true) => 100_000,
                (true, false) => 65534,
            };
            assert_eq!(run(&bundle, &spec), format!("sources/b/y {owner}\n"), "{user} {idmap}");
        }
    }
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_hides() {
    let bundle = Bundle::new();
    let private = bundle.root().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o7710)).unwrap();
    let tmpfs = |target: &str, options: &[&str]| {
        json!({"destination": target, "type": "tmpfs", "source": "tmpfs",
        "options": options})
    };
    let mode = |mounts: &[Value], path: &str| {
        run(&bundle, &with(script(&format!("stat -c %a {path}")), json!({ "mounts": mounts })))
    };
    assert_eq!(mode(&[tmpfs("/private", &["nosuid"])], "/private"), "7710\n");
    assert_eq!(mode(&[tmpfs("/private", &["mode=1500"])], "/private"), "1500\n");
    assert_eq!(mode(&[tmpfs("/missing/x", &[])], "/missing/x"), "1777\n");
    // What a mount before has there.
    let both = [tmpfs("/private", &["mode=711"]), tmpfs("/private", &[])];
    assert_eq!(mode(&both, "/private"), "711\n");
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o7777, 0o7710);
}

#[test]
fn what_is_read_only_can_hold_mounts() {
    let bundle = Bundle::new();
    let mut spec = script("for d in /dev /data; do touch $d/x 2>&1; done; ls /dev/pts/ptmx; echo x > /data/inner/x");
    for mount in &mut spec.mounts {
        if mount.destination.to_str() == Some("/dev") {
            mount.options.push("ro".to_owned());
        }
    }
    let mounts = json!([
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/data/inner", "type": "tmpfs", "source": "tmpfs"},
    ]);
    let expected = "touch: /dev/x: Read-only file system\ntouch: /data/x: Read-only file system\n/dev/pts/ptmx\n";
    assert_eq!(run(&bundle, &with(spec, json!({ "mounts": mounts }))), expected);
}

/// Without mappings of its own, an idmapped mount has the container's.
#[test]
fn a_mount_has_the_ids_of_the_user_namespace() {
    let bundle = Bundle::new();
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    for path in [bundle.path(), &bundle.root()] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let mounts = json!([{"destination": "/data", "type": "bind", "source": data, "options": ["rbind", "idmap"]}]);
    let own = with(script("stat -c %u /data"), json!({"mounts": mounts, "linux": user_namespace()}));
    assert_eq!(run(&bundle, &own), "0\n");
    let other = Running::new(&bundle, own);
    let joined = json!({"namespaces": [{"type": "user", "path": format!("/proc/{}/ns/user", other.init.pid)}]});
    let joined = with(script("stat -c %u /data"), json!({"mounts": mounts, "linux": joined}));
    assert_eq!(run(&bundle, &joined), "0\n");
    let none = with(script("true"), json!({ "mounts": mounts }));
    let error = try_run(&bundle, &none).unwrap_err().to_string();
    assert_eq!(error, "mount `/data`: idmap without mappings, and no user namespace that has some");
}

/// What a bind mount has besides its options.
#[test]
fn attributes_of_sources_stay_or_are_the_options_alone() {
    let bundle = Bundle::new();
    let data = bundle.path().join("data");
    fs::create_dir(&data).unwrap();
    for path in [bundle.path(), &bundle.root()] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount("tmpfs", &data, "tmpfs", flags, None).unwrap();
    let found = |options: &[&str], user: bool, binds_as_asked: bool| {
        let mounts = json!([{"destination": "/data", "type": "bind", "source": data, "options": options}]);
        let linux = if user { user_namespace() } else { json!({}) };
        let spec =
            with(script("grep ' /data ' /proc/mounts | cut -d' ' -f4"), json!({"mounts": mounts, "linux": linux}));
        let (stdio, pipes) = pipes();
        let launch = Launch { stdio, binds_as_asked, ..Launch::new("test", bundle.path(), &spec) };
        let init = create(launch).map_err(|error| error.to_string())?.start().unwrap();
        let line = pipes.finish(&init).stdout;
        let known = ["ro", "rw", "nosuid", "nodev", "noatime", "relatime"];
        Ok(line.trim().split(',').filter(|option| known.contains(option)).collect::<Vec<_>>().join(","))
    };
    let ok = |text: &str| Ok::<_, String>(text.to_owned());
    for user in [false, true] {
        assert_eq!(found(&["bind", "ro"], user, false), ok("ro,nosuid,nodev,noatime"));
        assert_eq!(found(&["bind"], user, true), ok("rw,nosuid,nodev,noatime"));
    }
    assert_eq!(found(&["bind", "ro"], false, true), ok("ro,noatime"));
    assert_eq!(found(&["bind", "nosuid", "relatime"], false, true), ok("rw,nosuid,relatime"));
    assert_eq!(found(&["bind", "ro"], true, true), ok("ro,nosuid,nodev,noatime"));
    for refused in [["bind", "dev"], ["bind", "relatime"]] {
        assert_eq!(found(&refused, true, true), Err(format!("mount_setattr `{}`: EPERM", data.display())));
    }
    unmount(&data, UnmountFlags::DETACH).unwrap();
}
