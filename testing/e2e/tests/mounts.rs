//! What can be mounted into a container, and how: volumes with options of mount(8), images, paths below volumes,
//! directories of the host with their propagation, memory.

use std::fs;
use std::path::Path;

use tare_testkit::{Client, Console, with_both_clients};

with_both_clients!(
    volumes_with_options,
    wrong_options,
    images,
    paths_below_volumes,
    copying_into_volumes,
    directories_of_the_host,
    propagation,
    memory,
    other_containers_volumes,
    in_use,
    sizes,
    a_volume_for_the_directory_of_the_network_s_files,
);

/// The complaint holds a text.
#[track_caller]
fn holds(complaint: &str, text: &str) {
    assert!(complaint.contains(text), "{text:?} is not in\n{complaint}");
}

fn volumes_with_options(c: &Console) {
    c.ok("volume create -d local -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=7,mode=0700 memory");
    let at = c.ok("volume inspect --format {{.Mountpoint}} memory");
    assert_eq!(
        c.ok("volume inspect --format '{{.Options.o}} {{.Options.type}}' memory"),
        "size=1m,uid=7,mode=0700 tmpfs"
    );
    assert!(!is_mounted(&at), "nobody uses it");
    let line = "sh -c 'echo here >/data/file; df -k /data | tail -n 1; stat -c %u:%a /data; exec sleep 1000'";
    c.ok(&format!("run -d --name one -v memory:/data busybox:1.29 {line}"));
    c.logged("one", "7:700");
    holds(&c.logs("one"), "1024");
    assert!(is_mounted(&at));
    // It is the same for all who use it, and goes with the last of them.
    assert_eq!(c.ok("run --rm -v memory:/data:ro busybox:1.29 cat /data/file"), "here");
    c.ok("run -d --name two -v memory:/data busybox:1.29 sleep 1000");
    c.ok("stop -t 0 one");
    assert_eq!(c.ok("exec two cat /data/file"), "here");
    fs::write(c.path("copied"), "copied").expect("a file");
    c.ok("cp copied two:/data/copied");
    assert_eq!(c.ok("exec two cat /data/copied"), "copied");
    holds(&c.fails("volume rm memory", 1), "volume is in use");
    c.ok("stop -t 0 two");
    assert!(!is_mounted(&at), "nobody uses it any more");
    assert_eq!(c.ok("run --rm -v memory:/data busybox:1.29 ls /data"), "");
    // A directory of the host under a name: what is in it stays, whatever becomes of the volume.
    fs::create_dir(c.path("mine")).expect("a directory");
    fs::write(c.path("mine/file"), "mine").expect("a file");
    let mine = c.path("mine").display().to_string();
    c.ok(&format!("volume create -o type=none -o o=bind -o device={mine} mine"));
    assert_eq!(c.ok("run --rm -v mine:/data busybox:1.29 sh -c 'cat /data/file; echo new >/data/new'"), "mine");
    c.ok("create --name idle -v mine:/data busybox:1.29");
    c.ok("cp idle:/data/new back");
    assert_eq!(fs::read_to_string(c.path("back")).expect("a file"), "new\n");
    let options = format!("volume-opt=type=none,volume-opt=o=bind,volume-opt=device={mine}");
    assert_eq!(c.ok(&format!("run --rm --mount type=volume,dst=/data,{options} busybox:1.29 cat /data/new")), "new");
    c.ok("rm -v idle one two");
    c.ok("volume rm mine memory");
    assert_eq!(fs::read_to_string(c.path("mine/new")).expect("the host's file"), "new\n");
    c.ok(&format!("volume create -o type=none -o o=bind,ro -o device={mine} sealed"));
    holds(&c.fails("run --rm -v sealed:/data busybox:1.29 touch /data/x", 1), "Read-only file system");
}

fn is_mounted(path: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

fn wrong_options(c: &Console) {
    for (options, text) in [
        ("-o colour=red", "invalid option: \"colour\""),
        ("-o type=tmpfs", "missing required option: \"device\""),
        ("-o device=tmpfs", "missing required option: \"type\""),
        ("-o o=bind", "missing required option: "),
        ("-o size=1g", "quota size requested but no quota support"),
        ("-d nothing", "nothing"),
    ] {
        holds(&c.fails(&format!("volume create {options} wrong"), 1), text);
    }
    holds(&c.fails("volume create my/vol", 1), "includes invalid characters for a local volume name");
    holds(&c.fails("volume create x", 1), "create x: volume name is too short");
    assert_eq!(c.ok("volume ls -q"), "");
    c.ok("volume create -o type=none -o o=bind -o device=/no/such/directory nowhere");
    let refused = c.fails("run --name first -v nowhere:/data busybox:1.29 true", 127);
    let at = c.ok("volume inspect --format {{.Mountpoint}} nowhere");
    let why = format!(
        "error while mounting volume '{at}': failed to mount local volume: mount /no/such/directory:{at}, flags: 0x1000: \
         no such file or directory"
    );
    holds(&refused, &why);
    holds(&c.fails("run --name second -v nowhere:/data:nocopy busybox:1.29 true", 127), &why);
    c.ok("volume create -o type=nfs -o o=addr=no.such.host.invalid,rw -o device=:/x remote");
    holds(
        &c.fails("run --rm -v remote:/data busybox:1.29 true", 125),
        "error resolving passed in network volume address: lookup no.such.host.invalid",
    );
    c.ok("volume create -o type=nofs -o o=password=secret,x -o device=nowhere unknown");
    let refused = c.fails("run --rm -v unknown:/data busybox:1.29 true", 125);
    holds(&refused, "data: password=********,x: no such device");
    assert!(!refused.contains("secret"), "{refused}");
    c.ok("volume create -o type=tmpfs -o device=tmpfs twice");
    // One that is there is given as it is.
    assert_eq!(c.ok("volume create -o type=tmpfs -o device=other twice"), "twice");
    assert_eq!(c.ok("volume inspect --format {{.Options.device}} twice"), "tmpfs");
}

fn images(c: &Console) {
    c.ok("pull -q nginx:latest");
    c.ok("pull -q busybox:1.29");
    let mount = "--mount type=image,src=nginx:latest,dst=/web";
    c.ok(&format!("run -d --name viewer {mount},readonly busybox:1.29 sleep 1000"));
    holds(&c.ok("exec viewer ls /web/etc"), "nginx");
    holds(&c.fails("exec viewer touch /web/new", 1), "Read-only file system");
    assert_eq!(
        c.ok("inspect --format '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}}{{end}}' viewer"),
        "image /web false"
    );
    // What is changed in one is the container's own, for as long as there is the container.
    c.ok(&format!("run --name writer {mount} busybox:1.29 sh -c 'rm -r /web/etc/nginx && echo own >/web/own'"));
    c.ok("start writer");
    assert_eq!(c.ok("wait writer"), "1", "what was removed is not there a second time");
    holds(&c.ok("exec viewer ls /web/etc"), "nginx");
    fs::create_dir(c.path("out")).expect("a directory");
    c.ok("cp writer:/web/own out/own");
    assert_eq!(fs::read_to_string(c.path("out/own")).expect("a file"), "own\n");
    holds(&c.ok(&format!("run --rm {mount},image-subpath=etc/nginx busybox:1.29 ls /web")), "nginx.conf");
    let below = |path: &str, status: i32| {
        c.fails(&format!("run --rm {mount},image-subpath={path} busybox:1.29 ls /web"), status)
    };
    holds(&below("../..", 125), "subpath must be a relative path");
    holds(&below("no/such", 127), "cannot access path");
    holds(&c.fails("rmi nginx:latest", 1), "is using its referenced image");
    c.ok("restart -t 0 viewer");
    holds(&c.ok("exec viewer ls /web/etc"), "nginx");
    holds(&c.fails("create --mount type=image,src=no/such,dst=/web busybox:1.29", 1), "no/such");
    holds(&c.fails("create --mount type=image,dst=/web busybox:1.29", 1), "field Source must not be empty");
    c.ok("rm -f viewer writer");
    c.ok("rmi nginx:latest");
}

fn paths_below_volumes(c: &Console) {
    c.ok("volume create data");
    c.ok("run --rm -v data:/data busybox:1.29 sh -c 'mkdir -p /data/a/b; echo deep >/data/a/b/file; ln -s / /data/top; ln -s a/b /data/short; ln -s ../../../../etc /data/up'");
    let below = |path: &str| {
        format!("run --rm --mount type=volume,src=data,dst=/x,volume-subpath={path} busybox:1.29 cat /x/file")
    };
    assert_eq!(c.ok(&below("a/b")), "deep");
    assert_eq!(c.ok(&below("short")), "deep");
    assert_eq!(c.ok(&below("a/../a/b/")), "deep");
    // Whatever a container has put there, the host's own files are out of reach.
    holds(&c.fails(&below("top"), 125), "path concatenation escapes the base directory");
    holds(&c.fails(&below("up"), 125), "path concatenation escapes the base directory");
    holds(&c.fails(&below("../other"), 125), "subpath must be a relative path within the volume");
    holds(&c.fails(&below("missing"), 127), "cannot access path");
    c.ok("run -d --name user --mount type=volume,src=data,dst=/x,volume-subpath=a/b busybox:1.29 sleep 1000");
    c.ok("cp user:/x/file copy");
    assert_eq!(fs::read_to_string(c.path("copy")).expect("a file"), "deep\n");
}

fn copying_into_volumes(c: &Console) {
    let run = |options: &str| c.ok(&format!("run --rm {options} busybox:1.29 ls /etc"));
    holds(&run("-v fresh:/etc"), "passwd");
    holds(&run("-v /etc"), "passwd");
    assert!(!run("-v empty:/etc:nocopy").contains("passwd"));
    assert!(!run("--mount type=volume,src=none,dst=/etc,volume-nocopy").contains("passwd"));
    holds(&run("--mount type=volume,src=some,dst=/etc"), "passwd");
    // Also into an empty directory in one.
    c.ok("run --rm -v parts:/parts busybox:1.29 sh -c 'mkdir /parts/empty /parts/full; touch /parts/full/mine'");
    let part = |path: &str| run(&format!("--mount type=volume,src=parts,dst=/etc,volume-subpath={path}"));
    holds(&part("empty"), "passwd");
    assert!(!part("full").contains("passwd"));
    // One that has something already is left as it is.
    c.ok("run --rm -v own:/own busybox:1.29 touch /own/mine");
    assert_eq!(
        run("-v own:/etc").lines().filter(|name| *name == "passwd" || *name == "mine").collect::<Vec<_>>(),
        ["mine"]
    );
    c.ok("run --rm --mount type=volume,src=labelled,dst=/x,volume-label=a=b busybox:1.29 true");
    assert_eq!(c.ok("volume ls -q --filter label=a=b"), "labelled");
}

fn directories_of_the_host(c: &Console) {
    let host = c.path("host");
    fs::create_dir_all(host.join("sub")).expect("directories");
    fs::write(host.join("file"), "here").expect("a file");
    let host = host.display();
    assert_eq!(c.ok(&format!("run --rm -v {host}:/x:z busybox:1.29 cat /x/file")), "here");
    assert_eq!(c.ok(&format!("run --rm -v {host}:/x:Z,rw busybox:1.29 cat /x/file")), "here");
    holds(&c.fails(&format!("run --rm -v {host}:/x:ro busybox:1.29 touch /x/new"), 1), "Read-only file system");
    assert_eq!(c.ok(&format!("run --rm -v {host}/file:/one busybox:1.29 cat /one")), "here");
    c.ok(&format!("run --rm -v {host}/made/for/it:/x busybox:1.29 touch /x/new"));
    assert!(c.path("host/made/for/it/new").exists());
    let mount = |options: &str, command: &str| {
        c.run(&format!("run --rm --mount type=bind,src={host},dst=/x{options} busybox:1.29 sh -c '{command}'"))
    };
    assert_eq!(mount("", "cat /x/file").stdout, "here");
    holds(&mount(",readonly", "touch /x/new").stderr, "Read-only file system");
    // Mounts below are there, and read-only too, unless it is said otherwise.
    let below = Mounted::tmpfs(&c.path("host/sub"));
    fs::write(c.path("host/sub/below"), "below").expect("a file");
    assert_eq!(mount("", "cat /x/sub/below").stdout, "below");
    holds(&mount(",readonly", "touch /x/sub/new").stderr, "Read-only file system");
    assert_eq!(mount(",bind-recursive=disabled", "ls /x/sub").stdout, "");
    assert_eq!(mount(",readonly,bind-recursive=writable", "touch /x/sub/new").status, 0);
    assert_ne!(mount(",readonly,bind-recursive=writable", "touch /x/new").status, 0);
    let forced = mount(",readonly,bind-recursive=readonly,bind-propagation=rprivate", "touch /x/sub/new");
    holds(&forced.stderr, "Read-only file system");
    drop(below);
    let missing = c.fails(&format!("run --rm --mount type=bind,src={host}/missing,dst=/x busybox:1.29 true"), 125);
    holds(&missing, "invalid mount config for type \"bind\": bind source path does not exist: ");
}

/// A file system on the host for as long as a test needs it.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Self {
        host(&["mount", "-t", "tmpfs", "tmpfs", &at.display().to_string()]);
        Self(at.to_owned())
    }

    fn shared(at: &Path) -> Self {
        let path = at.display().to_string();
        host(&["mount", "--bind", &path, &path]);
        let mounted = Self(at.to_owned());
        host(&["mount", "--make-private", &path]);
        host(&["mount", "--make-shared", &path]);
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        host(&["umount", "-R", &self.0.display().to_string()]);
    }
}

fn host(words: &[&str]) {
    let status = std::process::Command::new(words[0]).args(&words[1..]).status().expect("a program");
    assert!(status.success() || std::thread::panicking(), "{words:?}");
}

fn propagation(c: &Console) {
    let directory = c.path("shared");
    fs::create_dir_all(directory.join("later")).expect("directories");
    let shared = Mounted::shared(&directory);
    let path = directory.display();
    for (name, mode) in [("slave", "rslave"), ("shared", "rshared"), ("private", "rprivate"), ("default", "rw")] {
        c.ok(&format!("run -d --name {name} --cap-add SYS_ADMIN -v {path}:/x:{mode} busybox:1.29 sleep 1000"));
    }
    assert_eq!(c.ok("inspect --format '{{range .Mounts}}{{.Propagation}}{{end}}' slave default"), "rslave\nrprivate");
    let later = Mounted::tmpfs(&directory.join("later"));
    fs::write(directory.join("later/file"), "later").expect("a file");
    for (name, seen) in [("slave", "file"), ("shared", "file"), ("private", ""), ("default", "")] {
        assert_eq!(c.ok(&format!("exec {name} ls /x/later")), seen, "{name}");
    }
    drop(later);
    assert_eq!(c.ok("exec slave ls /x/later"), "");
    // The other way round only when it is shared.
    fs::create_dir(directory.join("inner")).expect("a directory");
    c.ok("rm -f shared");
    c.ok(&format!("run --rm --privileged -v {path}:/x:rshared busybox:1.29 sh -c 'mount -t tmpfs t /x/inner && touch /x/inner/seen'"));
    assert!(directory.join("inner/seen").exists());
    c.ok(&format!("run --rm --privileged -v {path}:/x:rslave busybox:1.29 sh -c 'mount -t tmpfs t /x/later && touch /x/later/seen'"));
    assert!(!directory.join("later/seen").exists());
    drop(shared);
    // What gets nothing passes nothing on.
    let private = c.path("private");
    fs::create_dir(&private).expect("a directory");
    let _private = Mounted::tmpfs(&private);
    host(&["mount", "--make-private", &private.display().to_string()]);
    let path = private.display();
    for (mode, kind) in [("rshared", "shared"), ("shared", "shared"), ("rslave", "shared or slave")] {
        let refused = c.fails(&format!("run --rm -v {path}:/x:{mode} busybox:1.29 true"), 125);
        holds(&refused, &format!("path {path} is mounted on {path} but it is not a {kind} mount"));
    }
    holds(&c.fails("create -v named:/x:rslave busybox:1.29", 1), "field BindOptions must not be specified");
}

fn memory(c: &Console) {
    let mounts = |options: &str| c.ok(&format!("run --rm {options} busybox:1.29 grep ' /scratch ' /proc/mounts"));
    let plain = mounts("--tmpfs /scratch");
    for option in ["tmpfs", "rw", "nosuid", "nodev", "noexec"] {
        assert!(plain.split([' ', ',']).any(|word| word == option), "{option} is not in {plain}");
    }
    let sized = mounts("--tmpfs /scratch:exec,size=64k,mode=0701,uid=5");
    assert!(sized.contains("size=64k") && sized.contains("mode=701") && sized.contains("uid=5"), "{sized}");
    assert!(!sized.contains("noexec"), "{sized}");
    let mount = mounts("--mount type=tmpfs,dst=/scratch,tmpfs-size=1m,tmpfs-mode=1770");
    assert!(mount.contains("size=1024k") && mount.contains("mode=1770"), "{mount}");
    assert!(mounts("--mount type=tmpfs,dst=/scratch,readonly").contains("ro,"));
    holds(&c.fails("create --tmpfs /scratch:colour=red busybox:1.29", 1), "invalid tmpfs option");
    holds(&c.fails("create --tmpfs scratch busybox:1.29", 1), "mount path must be absolute");
    let source = "create --mount type=tmpfs,src=/x,dst=/y busybox:1.29";
    holds(&c.fails(source, 1), "field Source must not be specified");
}

fn other_containers_volumes(c: &Console) {
    let host = c.path("host");
    fs::create_dir(&host).expect("a directory");
    c.ok(&format!("create --name owner -v /own -v named:/named -v {}:/host busybox:1.29", host.display()));
    c.ok("run --rm --volumes-from owner busybox:1.29 touch /own/a /named/b /host/c");
    assert!(host.join("c").exists());
    for path in ["/own", "/named", "/host"] {
        let refused = c.fails(&format!("run --rm --volumes-from owner:ro busybox:1.29 touch {path}/new"), 1);
        holds(&refused, "Read-only file system");
    }
    assert_eq!(c.ok("run --rm --volumes-from owner:ro busybox:1.29 ls /own /named"), "/named:\nb\n\n/own:\na");
    holds(&c.fails("create --volumes-from nobody busybox:1.29", 1), "No such container: nobody");
    holds(&c.fails("create --volumes-from owner:what busybox:1.29", 1), "invalid mode: what");
    // It is not theirs to take along.
    c.ok("create --name guest --volumes-from owner busybox:1.29");
    c.ok("rm -v guest");
    assert_eq!(c.ok("run --rm --volumes-from owner busybox:1.29 ls /own"), "a");
}

fn in_use(c: &Console) {
    c.ok("volume create data");
    let (_, nothing) = c.request("POST /volumes/prune", "", "");
    assert_eq!(nothing.trim_end(), r#"{"VolumesDeleted":[],"SpaceReclaimed":0}"#);
    let first = c.ok("create -v data:/x busybox:1.29");
    let refused = c.fails("volume rm data", 1);
    holds(&refused, &format!("remove data: volume is in use - [{first}]"));
    holds(&c.fails("volume rm -f data", 1), "volume is in use");
    c.ok("volume prune -f --all");
    assert_eq!(c.ok("volume ls -q"), "data");
    c.ok(&format!("rm -v -f {first}"));
    assert_eq!(c.ok("volume ls -q"), "data", "what has a name stays");
    c.ok("volume rm data");
    holds(&c.fails("volume rm data", 1), "get data: no such volume");
}

fn sizes(c: &Console) {
    let refused = c.fails("create --storage-opt size=10G busybox:1.29", 1);
    holds(&refused, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
}

fn a_volume_for_the_directory_of_the_network_s_files(c: &Console) {
    let options = "--rm -v /etc --hostname box --add-host there:192.0.2.1 --dns 192.0.2.2 -e HOME=";
    let seen = c.ok(&format!(
        "run {options} busybox:1.29 sh -c 'cat /etc/hostname /etc/hosts /etc/resolv.conf; echo home $HOME'"
    ));
    for text in ["box\n", "192.0.2.1\tthere\n", "nameserver 192.0.2.2\n", "home /root"] {
        assert!(seen.contains(text), "{text:?} is not in {seen}");
    }
}

/// A mount is neither lost nor made twice nor left behind when the engine crashes.
#[test]
fn volumes_with_options_survive_crashes() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    c.ok("volume create -o type=tmpfs -o device=tmpfs memory");
    let at = c.ok("volume inspect --format {{.Mountpoint}} memory");
    c.ok("pull -q nginx:latest");
    let mounts = "-v memory:/data --mount type=image,src=nginx:latest,dst=/web";
    c.ok(&format!("run -d --name keeper {mounts} busybox:1.29 sh -c 'echo kept >/data/file; exec sleep 1000'"));
    c.until("exec keeper ls /data", |names| names == "file");
    let count = || {
        fs::read_to_string("/proc/self/mountinfo").expect("mounts").lines().filter(|line| line.contains(&at)).count()
    };
    for _ in 0..2 {
        let engine = c.engine_mut().expect("an engine");
        engine.kill();
        engine.resume();
        assert_eq!(count(), 1);
        assert_eq!(c.ok("run --rm -v memory:/data busybox:1.29 cat /data/file"), "kept");
        assert_eq!(c.ok("exec keeper cat /data/file"), "kept");
    }
    // Ends while nobody looks.
    let pid = c.ok("inspect --format {{.State.Pid}} keeper");
    let engine = c.engine_mut().expect("an engine");
    engine.kill();
    host(&["kill", "-KILL", &pid]);
    engine.resume();
    c.until("inspect --format {{.State.Status}} keeper", |state| state == "exited");
    tare_testkit::eventually("the volume to be unmounted", || (count() == 0).then_some(()));
    c.ok("start keeper");
    assert_eq!(count(), 1);
    let engine = c.engine_mut().expect("an engine");
    engine.switch_off(tare_testkit::engine::Remains::Mounts);
    engine.resume();
    assert_eq!((c.state("keeper").as_str(), count()), ("exited", 0));
    c.ok("rm keeper");
    c.ok("volume rm memory");
}
