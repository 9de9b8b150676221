//! What an engine keeps on its host is for those who may use it.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use tare_testkit::{Client, Console, Engine};

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.mode() & 0o7777
}

/// Everything below a directory for which others than root have any right, if they can get there.
fn open_to_others(directory: &Path, found: &mut Vec<String>) {
    if mode(directory) & 0o001 == 0 {
        return;
    }
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            open_to_others(&path, found);
        } else if kind.is_socket() || (kind.is_file() && mode(&path) & 0o007 != 0) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn modes_of_files() {
    let c = Console::new(Client::Tare);
    let Some(engine) = c.engine() else { return };
    c.ok("run -d --name box -v data:/data -e SECRET=word busybox:1.29 sh -c 'echo said; sleep 1000'");
    c.logged("box", "said");
    let id = c.ok("inspect --format {{.Id}} box");
    let (data, exec) = (engine.data_root(), engine.exec_root());
    assert_eq!(mode(&data), 0o710);
    for file in ["state.db", "state.db-wal", "engine.lock"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&data.join("containers").join(&id)), 0o710);
    assert_eq!(mode(&data.join("containers").join(&id).join(format!("{id}-json.log"))), 0o640);
    assert_eq!(mode(exec), 0o711);
    let bundle = exec.join("containers").join(&id);
    assert_eq!(mode(&bundle), 0o700);
    for file in ["shim.sock", "state.json"] {
        assert_eq!(mode(&bundle.join(file)), 0o600, "{file}");
    }
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    open_to_others(exec, &mut found);
    assert!(found.is_empty(), "{found:?}");
}

/// The socket is root's and its group's: whoever may connect is root on the machine.
#[test]
fn the_socket_s_group() {
    let owner = |engine: &Engine| {
        let socket = fs::symlink_metadata(engine.host().trim_start_matches("unix://")).expect("a socket");
        (socket.mode() & 0o7777, socket.uid(), socket.gid())
    };
    let groups = fs::read_to_string("/etc/group").expect("groups");
    let docker = groups.lines().find_map(|line| line.strip_prefix("docker:")?.split(':').nth(1)?.parse().ok());
    assert_eq!(owner(&Engine::start(&[])), (0o660, 0, docker.unwrap_or(0)));
    let number = groups.lines().find_map(|line| line.strip_prefix("daemon:")?.split(':').nth(1)?.parse().ok());
    assert_eq!(owner(&Engine::start(&["--group", "daemon"])), (0o660, 0, number.expect("a group daemon")));
    assert_eq!(owner(&Engine::start(&["--group", "4711"])), (0o660, 0, 4711));
}

/// Nothing of the engine is to be seen in a container, the sockets least of all.
#[test]
fn containers_do_not_reach_the_engine() {
    let c = Console::new(Client::Tare);
    let Some(engine) = c.engine() else { return };
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let (data, exec) = (engine.data_root(), engine.exec_root());
    for path in [data.as_path(), exec, Path::new(engine.host().trim_start_matches("unix://"))] {
        let refused = c.fails(&format!("exec box ls {}", path.display()), 1);
        assert!(refused.contains("No such file or directory"), "{refused}");
    }
    // On the host's network there are the abstract unix sockets of everybody; the engine has none.
    let sockets = c.ok("run --rm --network host busybox:1.29 cat /proc/net/unix");
    let abstract_ones: Vec<&str> = sockets.lines().filter(|line| line.contains("@") && line.contains("tare")).collect();
    assert!(abstract_ones.is_empty(), "{abstract_ones:?}");
}
