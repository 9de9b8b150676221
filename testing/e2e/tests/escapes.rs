//! Ways out of a container that other engines once had, tried on ours. What they cost is in docs/security.md.

use std::fs;
use std::path::Path;

use tare_testkit::{Client, Console, native};

/// A console on an engine of ours; nothing of this is tried on a daemon that somebody else started.
fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

/// The process ID of a container's shim on the host.
fn shim(c: &Console, container: &str) -> String {
    let init = c.ok(&format!("inspect --format {{{{.State.Pid}}}} {container}"));
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("the init's state");
    let (_, after) = stat.rsplit_once(')').expect("a name");
    after.split_whitespace().nth(1).expect("a parent").to_owned()
}

/// CVE-2019-5736: through the process that enters it, a container reaches the program on the host.
#[test]
fn the_shim_s_program_is_not_written_to() {
    let Some(c) = console() else { return };
    c.ok("run -d --name victim busybox:1.29 sleep 1000");
    let shim = shim(&c, "victim");
    let name = |file: &str| fs::read_to_string(format!("/proc/{shim}/{file}")).expect("a process");
    assert_eq!(name("comm"), "tare-shim\n");
    assert!(name("cmdline").starts_with("tare-shim\0"), "{}", name("cmdline"));
    let program = fs::read_link(format!("/proc/{shim}/exe")).expect("a program");
    assert!(program.ends_with("tare-shim"), "{}", program.display());

    // More rights than these nobody has, and still: nothing of the file can be changed through the process.
    let script = format!(
        "exec 9</proc/{shim}/exe; chmod 777 /proc/{shim}/exe; echo x >>/proc/{shim}/exe; echo held; \
         while [ -e /proc/{shim} ]; do sleep 0.1; done; chmod 777 /proc/self/fd/9; echo x >>/proc/self/fd/9; true"
    );
    c.ok(&format!("run -d --name attacker --privileged --pid host busybox:1.29 sh -c '{script}'"));
    c.logged("attacker", "held\n");
    c.ok("rm -f victim");
    assert_eq!(c.ok("wait attacker"), "0");
    let said = c.logs("attacker");
    assert_eq!(said.matches("chmod: ").count(), 2, "{said}");
    assert_eq!(said.matches("Read-only file system").count() + said.matches("Text file busy").count(), 4, "{said}");
    assert!(said.matches("Read-only file system").count() >= 2, "{said}");
}

/// The same by a command that leads back to what executes it: it finds a shim that has nothing to do there.
#[test]
fn a_container_that_executes_the_shim_gains_nothing() {
    let Some(c) = console() else { return };
    let refused = c.fails("run --rm busybox:1.29 /proc/self/exe", 1);
    assert!(refused.contains("tare-shim: "), "{refused}");
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok("exec box sh -c 'echo \"#!/proc/self/exe\" >/script && chmod +x /script && ln -s /proc/self/exe /self'");
    for command in ["/script", "/self"] {
        let refused = c.fails(&format!("exec box {command}"), 1);
        assert!(refused.contains("tare-shim: "), "{refused}");
    }
}

/// The init of `--init` is the host's, too, and stays what the container runs.
#[test]
fn the_init_s_program_is_not_written_to() {
    let Some(c) = console() else { return };
    c.ok("run -d --name box --init busybox:1.29 sleep 1000");
    for (attack, reason) in [
        ("chmod 777 /proc/1/exe", "Read-only file system"),
        ("chmod 777 /sbin/docker-init", "Read-only file system"),
        ("rm /sbin/docker-init", "resource busy"),
    ] {
        let refused = c.fails(&format!("exec box {attack}"), 1);
        assert!(refused.contains(reason), "{attack}: {refused}");
    }
}

/// CVE-2019-14271: `cp` does its work without anything of the container: no library of its image, no program.
#[test]
fn cp_loads_nothing_of_the_container() {
    let Some(c) = console() else { return };
    let (library, proof) = (c.path("evil.so"), c.path("proof"));
    let source = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void f(void) {{ open(\"{}\", O_CREAT | O_WRONLY, 0600); }}",
        proof.display()
    );
    native::library(&source, &library);
    let prepare = "mkdir -p /lib /lib64 /lib/x86_64-linux-gnu /usr/bin; echo passwd: files >/etc/nsswitch.conf; \
                   echo /lib/libnss_files.so.2 >/etc/ld.so.preload";
    c.ok(&format!("run -d --name box busybox:1.29 sh -c '{prepare}; echo ready; sleep 1000'"));
    c.logged("box", "ready");
    // What a helper that has entered the container would load or run.
    for path in [
        "/lib/libnss_files.so.2",
        "/lib/x86_64-linux-gnu/libnss_files.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
        "/usr/bin/tar",
    ] {
        c.ok(&format!("cp {} box:{path}", library.display()));
    }
    c.ok(&format!("cp box:/etc/passwd {}", c.path("passwd").display()));
    c.ok(&format!("cp --archive {} box:/tmp/passwd", c.path("passwd").display()));
    c.ok(&format!("export -o {} box", c.path("export.tar").display()));
    c.ok("diff box");
    c.ok("stop -t 0 box");
    c.ok(&format!("cp box:/etc/passwd {}", c.path("again").display()));
    c.ok("commit box copy");
    assert!(!proof.exists(), "the engine ran what the container brought");
}

/// `cp` into a container follows the container's links inside it.
#[test]
fn cp_stays_in_the_container() {
    let Some(c) = console() else { return };
    let (outside, file) = (c.path("outside"), c.path("file"));
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("secret"), "of the host\n").expect("a file");
    fs::write(&file, "of the container\n").expect("a file");
    let (outside, file) = (outside.display().to_string(), file.display().to_string());
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok(&format!("exec box ln -s {outside} /direct"));
    c.ok(&format!("exec box ln -s ../../../../../../../..{outside} /up"));
    c.ok("exec box ln -s /proc/1/root /magic");
    let answered = c.run(&format!("cp {file} box:/direct/file"));
    assert_ne!(answered.status, 0, "{answered}");
    c.ok(&format!("exec box mkdir -p {outside}"));
    for link in ["direct", "up"] {
        c.ok(&format!("cp {file} box:/{link}/{link}"));
        assert_eq!(c.ok(&format!("exec box cat {outside}/{link}")), "of the container");
        assert_ne!(c.run(&format!("cp box:/{link}/secret {file}.got")).status, 0);
    }
    assert_ne!(c.run(&format!("cp {file} box:/magic{outside}/magic")).status, 0);
    assert_ne!(c.run(&format!("cp box:/magic{outside}/secret {file}.got")).status, 0);
    let names: Vec<_> = fs::read_dir(&outside).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert!(!Path::new(&format!("{file}.got")).exists());
}

/// CVE-2024-29018: on internal networks alone, nothing gets out by way of the host's name servers.
#[test]
fn internal_networks_do_not_ask_from_the_host() {
    let Some(c) = console() else { return };
    let Some(engine) = c.engine() else { return };
    c.ok("network create --internal closed");
    c.ok("network create open");
    // A server that the container has no address for is asked by the host.
    c.ok("run -d --name box --network closed --dns fd00::53 busybox:1.29 sleep 1000");
    let file = engine.exec_root().join("names/containers").join(c.ok("inspect --format {{.Id}} box"));
    let asks = || fs::read_to_string(&file).expect("names").contains("upstream fd00::53 host\n");
    assert!(!asks());
    c.ok("network connect open box");
    assert!(asks());
    c.ok("network disconnect open box");
    assert!(!asks());
}
