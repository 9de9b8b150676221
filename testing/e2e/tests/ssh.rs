//! Daemons on other machines, reached with `-H ssh://`: a real sshd on loopback is the other machine.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tare_testkit::{Client, Console, Output, Terminal, eventually, install, with_both_clients, words};

with_both_clients!(a_day_at_work, at_a_terminal, a_socket_by_its_path, a_context, nobody_there);

/// Puts the packages of `SSH_SERVER` (see `./check`) over this machine's files, for sshd alone, and gives it the users and
/// the directory that it insists on.
const START: &str = r#"
set -e
[ -z "$SSH_SERVER" ] || mount -t overlay overlay -o "lowerdir=$SSH_SERVER:/usr" /usr
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount -t tmpfs tmpfs /run
mkdir /run/sshd
exec /usr/sbin/sshd -D -e -f "$PWD/sshd_config"
"#;

/// Another machine, and what is needed to get there.
struct Machine {
    directory: PathBuf,
    port: u16,
    sshd: Child,
}

impl Machine {
    /// A machine with these of our program's names on its path, whose users' daemon is at `host`.
    fn start(c: &Console, names: &[&str], host: &str) -> Machine {
        let directory = c.path("machine");
        let file = |name: &str, text: &str| fs::write(directory.join(name), text).expect("a file");
        let at = |name: &str| directory.join(name).display().to_string();
        for each in ["bin", "client"] {
            fs::create_dir_all(directory.join(each)).expect("a directory");
        }
        symlink("/bin/sh", directory.join("bin/sh")).expect("a link");
        for name in names {
            symlink(install::dist().join("tare"), directory.join("bin").join(name)).expect("a link");
        }
        for key in ["host_key", "key", "stranger"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key));
            let made = Output::of("ssh-keygen", &mut command);
            assert_eq!(made.status, 0, "{made}");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let host_key = fs::read_to_string(directory.join("host_key.pub")).expect("a key");
        file("known", &format!("[127.0.0.1]:{port} {host_key}"));
        file("passwd", "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n");
        file("shadow", "root:*:::::::\nsshd:*:::::::\n");
        let lines = [
            format!("Port {port}\nListenAddress 127.0.0.1\nHostKey {}", at("host_key")),
            format!("AuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none", at("key.pub")),
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes".to_owned(),
            format!("SetEnv PATH={} DOCKER_HOST={host}\n", at("bin")),
        ];
        file("sshd_config", &lines.join("\n"));
        let lines = [
            format!("IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}", at("key"), at("known")),
            "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n".to_owned(),
        ];
        file("ssh_config", &lines.join("\n"));
        file("client/ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("ssh_config")));
        fs::set_permissions(directory.join("client/ssh"), fs::Permissions::from_mode(0o755)).expect("a program");

        let log = File::create(directory.join("log")).expect("a log");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", START]).current_dir(&directory).stdin(Stdio::null()).stderr(log);
        let mut sshd = command.spawn().expect("sshd");
        eventually("sshd to listen", || {
            if let Ok(Some(status)) = sshd.try_wait() {
                panic!("sshd ended ({status}):\n{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Machine { directory, port, sshd }
    }

    fn url(&self) -> String {
        format!("ssh://root@127.0.0.1:{}", self.port)
    }

    /// Another configuration of the client's ssh: the same with a text replaced.
    fn change(&self, from: &str, to: &str) {
        let path = self.directory.join("ssh_config");
        let text = fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(path, text.replace(from, to)).expect("a configuration");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Those who were connected come to their end by themselves.
        if !std::thread::panicking() {
            let ours = self.directory.display().to_string();
            eventually("ssh to end", || (processes(&format!("-F {ours}")) == 0).then_some(()));
        }
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// How many processes have a text in their command line.
fn processes(text: &str) -> usize {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).replace('\0', " ").contains(text)).count()
}

/// A client's command, typed at the machine's visitor.
fn command(c: &Console, machine: &Machine, line: &str) -> Command {
    let mut command = Command::new(c.typed().0);
    let path = std::env::var("PATH").expect("a path");
    command.env("PATH", format!("{}:{path}", machine.directory.join("client").display()));
    command.env("DOCKER_CONFIG", c.path("config")).env_remove("DOCKER_HOST").env_remove("TARE_HOST");
    command.env_remove("DOCKER_CONTEXT").env("DOCKER_CLI_HINTS", "false").current_dir(c.path("."));
    command.args(words::split(line));
    command
}

fn run(c: &Console, machine: &Machine, line: &str) -> Output {
    Output::of(line, &mut command(c, machine, line))
}

#[track_caller]
fn ok(c: &Console, machine: &Machine, line: &str) -> String {
    let output = run(c, machine, line);
    assert_eq!(output.status, 0, "{output}{}", fs::read_to_string(machine.directory.join("log")).unwrap_or_default());
    output.stdout.trim_end().to_owned()
}

fn address(c: &Console) -> String {
    c.typed().1.to_owned()
}

fn a_day_at_work(c: &Console) {
    let machine = Machine::start(c, &["tare", "docker"], &address(c));
    let h = format!("-H {}", machine.url());
    assert_eq!(ok(c, &machine, &format!("{h} pull -q busybox:1.29")), "docker.io/library/busybox:1.29");
    let id = ok(c, &machine, &format!("{h} run -d --name box busybox:1.29 sleep 1000"));
    assert_eq!(c.ok("ps --quiet --no-trunc"), id);
    assert_eq!(ok(c, &machine, &format!("{h} exec box echo hello")), "hello");
    assert_eq!(run(c, &machine, &format!("{h} exec box sh -c 'exit 7'")).status, 7);
    let no = run(c, &machine, &format!("{h} rm box"));
    assert!(no.stderr.contains("container is running"), "{no}");
    // Both directions, all bytes, each to its end.
    let sent: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).expect("a byte")).collect();
    fs::write(c.path("sent"), &sent).expect("a file");
    let line = format!("{h} run --rm -i busybox:1.29 sh -c 'cat; echo end >&2; exit 3'");
    let mut cat = command(c, &machine, &line);
    cat.stdin(File::open(c.path("sent")).expect("a file")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let got = cat.spawn().and_then(Child::wait_with_output).expect("an answer");
    assert!(got.stdout == sent, "{} bytes came back", got.stdout.len());
    assert_eq!((String::from_utf8_lossy(&got.stderr).as_ref(), got.status.code()), ("end\n", Some(3)));
    ok(c, &machine, &format!("{h} cp sent box:/sent"));
    assert_eq!(ok(c, &machine, &format!("{h} exec box sh -c 'wc -c </sent'")), "300000");
    ok(c, &machine, &format!("{h} rm -f box"));
}

/// The keys that are typed go to the container, not to ssh.
fn at_a_terminal(c: &Console) {
    let machine = Machine::start(c, &["tare", "docker"], &address(c));
    let h = format!("-H {}", machine.url());
    ok(c, &machine, &format!("{h} pull -q busybox:1.29"));
    let line = format!("{h} run --rm -it busybox:1.29 sh");
    let mut shell = Terminal::start(&line, &command(c, &machine, &line));
    shell.expect("# ");
    shell.send("echo $((6 * 7))\r");
    shell.expect("42");
    shell.send("exit 4\r");
    assert_eq!(shell.wait(), 4, "{}", shell.seen());

    let line = format!(
        "{h} run --rm busybox:1.29 sh -c 'trap \"echo interrupted; exit 5\" INT; echo begin; while :; do sleep 0.1; done'"
    );
    let mut patient = Terminal::start(&line, &command(c, &machine, &line));
    patient.expect("begin");
    patient.send("\x03");
    patient.expect("interrupted");
    assert_eq!(patient.wait(), 5, "{}", patient.seen());
}

/// The socket's path goes with the address, and wins over what the other machine's users have.
fn a_socket_by_its_path(c: &Console) {
    let machine = Machine::start(c, &["docker"], "unix:///nowhere");
    let socket = address(c).replace("unix://", "");
    c.ok("volume create here");
    assert_eq!(ok(c, &machine, &format!("-H {}{socket} volume ls -q", machine.url())), "here");
    let output = run(c, &machine, &format!("-H {} volume ls -q", machine.url()));
    assert_eq!(output.status, 1, "{output}");
    // Docker's client says less when ssh ends while it writes.
    let said = output.stderr.contains("failed to open the raw stream connection: ");
    assert!(said || c.client() == Client::Docker, "{output}");
}

fn a_context(c: &Console) {
    let machine = Machine::start(c, &["docker"], &address(c));
    c.ok("volume create here");
    ok(c, &machine, &format!("context create far --docker host={}", machine.url()));
    assert_eq!(ok(c, &machine, "--context far volume ls -q"), "here");
    let mut by_variable = command(c, &machine, "volume ls -q");
    let output = Output::of("volume ls", by_variable.env("DOCKER_HOST", machine.url()));
    assert_eq!((output.status, output.stdout.as_str()), (0, "here\n"), "{output}");
}

/// What ssh says is said, in docker's sentence, with docker's status.
fn nobody_there(c: &Console) {
    let machine = Machine::start(c, &[], &address(c));
    let refused = |line: &str, parts: &[&str]| {
        let output = run(c, &machine, line);
        assert_eq!(output.status, 1, "{output}");
        let rest = "make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr=";
        for part in ["error during connect: ", ": command [ssh -o ConnectTimeout=30 -T ", rest].iter().chain(parts) {
            assert!(output.stderr.contains(part), "{part} is not in {output}");
        }
    };
    let h = format!("-H {}", machine.url());
    if c.client() == Client::Tare {
        let parts = ["\"http://docker.example.com/", "has exited with exit status 127, ", "docker: not found"];
        refused(&format!("{h} ps"), &parts);
    }
    refused("-H ssh://127.0.0.1:1 ps", &["has exited with exit status 255, ", "port 1: Connection refused"]);
    machine.change("/key\n", "/stranger\n");
    refused(&format!("{h} ps"), &["has exited with exit status 255, ", "Permission denied (publickey)."]);
    machine.change("/known\n", "/key.pub\n");
    refused(&format!("{h} ps"), &["has exited with exit status 255, ", "Host key verification failed."]);
    for (url, why) in [
        ("ssh://me:pw@h", "ssh host connection is not valid: invalid SSH URL: plain-text password is not supported"),
        ("ssh://h:x", "parse \"ssh://h:x\": invalid port \":x\" after host"),
    ] {
        let output = run(c, &machine, &format!("-H {url} ps"));
        assert_eq!((output.status, output.stderr), (1, format!("Failed to initialize: {why}\n")));
    }
}

/// `system dial-stdio` passes on what the daemon says, to its end, and does so for docker too.
#[test]
fn dial_stdio() {
    let c = Console::new(Client::Tare);
    let (program, host) = c.typed();
    let ask = |program: &Path| {
        let mut command = Command::new("sh");
        let line = "printf 'GET /_ping HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | \"$0\" -H \"$1\" system dial-stdio";
        let output = Output::of("system dial-stdio", command.args(["-c", line]).arg(program).arg(host));
        assert_eq!(output.status, 0, "{output}");
        output.stdout
    };
    let answer = ask(&program);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nOK"), "{answer}");
    assert_eq!(ask(&install::docker()).lines().next(), answer.lines().next());
    assert!(!c.ok("system --help").contains("dial-stdio"));
    let missing = "dial unix /nowhere: connect: no such file or directory";
    for program in [&program, &install::docker()] {
        let mut command = Command::new(program);
        let output = Output::of("dial-stdio", command.args(["-H", "unix:///nowhere", "system", "dial-stdio"]));
        let text = format!("failed to open the raw stream connection: {missing}\n");
        assert_eq!((output.status, output.stderr.as_str()), (1, text.as_str()));
    }
}
