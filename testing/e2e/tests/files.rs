//! A container's files from outside: `export`, `cp` both ways, `diff`.

use std::fs;
use std::process::Command;

use tare_testkit::{Console, Output, with_both_clients};

with_both_clients!(export_of_a_running_container, copies_see_volumes, copies_in_and_out, changes);

/// The names in an archive, sorted.
fn names(c: &Console, archive: &str) -> Vec<String> {
    let mut tar = Command::new("tar");
    let output = Output::of("tar -t", tar.arg("-tf").arg(c.path(archive)));
    assert_eq!(output.status, 0, "{output}");
    let mut names: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Runs a shell line; returns what it prints.
fn shell(c: &Console, line: &str) -> String {
    let output = Output::of(line, Command::new("sh").args(["-c", line]).current_dir(c.path("")));
    assert_eq!(output.status, 0, "{output}");
    output.stdout
}

fn export_of_a_running_container(c: &Console) {
    c.ok("run -d --name web -v /data --tmpfs /scratch busybox:1.29 sh -c 'echo own >/own; echo v >/data/v; echo s >/scratch/s; sleep 1000'");
    c.until("exec web ls /scratch", |names| names == "s");
    c.ok(&format!("export -o {} web", c.path("all.tar").display()));
    let names = names(c, "all.tar");
    let has = |name: &str| names.iter().any(|other| other.trim_end_matches('/') == name);
    for present in ["own", "bin/sh", "proc", "sys", "dev", "data", "scratch", "etc/hosts"] {
        assert!(has(present), "{present} is not in {names:?}");
    }
    for absent in ["data/v", "scratch/s", "proc/1", "sys/kernel", "dev/pts/ptmx"] {
        assert!(!has(absent), "{absent} is in the archive");
    }
    c.ok("stop -t 0 web");
    c.ok(&format!("export -o {} web", c.path("stopped.tar").display()));
    assert_eq!(self::names(c, "stopped.tar"), names);
}

fn copies_see_volumes(c: &Console) {
    c.ok("run -d --name web -v /data busybox:1.29 sh -c 'mkdir /data/in; echo deep >/data/in/file; sleep 1000'");
    c.until("exec web ls /data/in", |names| names == "file");
    let all = |archive: &str| {
        shell(c, &format!("{} cp web:/ - >{archive}", command(c)));
        names(c, archive)
    };
    let running = all("running.tar");
    assert!(running.iter().any(|name| name.ends_with("data/in/file")), "{running:?}");
    assert!(!running.iter().any(|name| name.contains("proc/1/")), "/proc is in the archive");
    assert_eq!(shell(c, &format!("{} cp web:/data/in/file - | tar -xO", command(c))), "deep\n");
    let hosts = shell(c, &format!("{} cp web:/etc/hosts - | tar -xO", command(c)));
    assert!(hosts.contains("localhost"), "{hosts}");
    c.ok("stop -t 0 web");
    assert_eq!(all("stopped.tar"), running);
    fs::write(c.path("new"), "new").unwrap();
    c.ok("cp new web:/data/in/new");
    c.ok("start web");
    assert_eq!(c.ok("exec web cat /data/in/new"), "new");
}

/// The client as a shell types it.
fn command(c: &Console) -> String {
    let (program, host) = c.typed();
    format!("DOCKER_HOST={host} {}", program.display())
}

fn copies_in_and_out(c: &Console) {
    c.ok("run -d --name web --tmpfs /scratch busybox:1.29 sleep 1000");
    fs::create_dir_all(c.path("tree/sub")).unwrap();
    fs::write(c.path("tree/sub/file"), "text").unwrap();
    std::os::unix::fs::symlink("sub/file", c.path("tree/link")).unwrap();
    c.ok("cp tree web:/tmp");
    assert_eq!(c.ok("exec web cat /tmp/tree/link"), "text");
    c.ok("cp tree/. web:/tmp/content-only");
    assert_eq!(c.ok("exec web ls /tmp/content-only"), "link\nsub");
    c.ok("cp web:/tmp/tree back");
    assert_eq!(fs::read_to_string(c.path("back/link")).unwrap(), "text");
    c.ok("cp web:/etc/passwd .");
    assert!(fs::read_to_string(c.path("passwd")).unwrap().starts_with("root:"));
    let missing = c.fails("cp web:/nope .", 1);
    assert!(missing.contains("Could not find the file /nope in container web"), "{missing}");
    c.ok("run -d --name sealed --read-only busybox:1.29 sleep 1000");
    let sealed = c.fails("cp passwd sealed:/passwd", 1);
    assert!(sealed.contains("container rootfs is marked read-only"), "{sealed}");
    // Nor by a link in a volume that leads out of it.
    fs::write(c.path("new"), "new").unwrap();
    c.ok("run -d --name leak --read-only -v /open busybox:1.29 sh -c 'ln -s /etc /open/way; sleep 1000'");
    c.until("exec leak ls /open", |names| names == "way");
    let leak = c.fails("cp new leak:/open/way", 1);
    assert!(leak.contains("container rootfs is marked read-only"), "{leak}");
    c.ok("cp new leak:/open/new");
    // Links that lead nowhere are copied as such.
    c.ok("run --name lost busybox:1.29 ln -s nowhere /way");
    c.ok("cp lost:/way way");
    assert_eq!(fs::read_link(c.path("way")).unwrap().to_str(), Some("nowhere"));
    // In archive mode files are whose they were, or of the container's user.
    std::os::unix::fs::chown(c.path("new"), Some(7), Some(8)).unwrap();
    for (user, owner) in [("", "7:8"), ("--user 5:6", "5:6")] {
        let id = c.ok(&format!("run -d {user} busybox:1.29 sleep 1000"));
        c.ok(&format!("cp -a new {id}:/tmp/new"));
        assert_eq!(c.ok(&format!("exec {id} stat -c %u:%g /tmp/new")), owner);
    }
}

fn changes(c: &Console) {
    c.ok(
        "run --name worker busybox:1.29 sh -c 'echo a >/added; rm /etc/group; echo root >>/etc/passwd; mkdir -p /d/e'",
    );
    let mut lines: Vec<_> = c.ok("diff worker").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["A /added", "A /d", "A /d/e", "C /etc", "C /etc/passwd", "D /etc/group"]);
}
