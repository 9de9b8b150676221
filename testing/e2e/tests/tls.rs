//! The API over TCP with TLS, spoken by both clients: who is let in, and that everything works through it, with standard
//! input that ends while output goes on. Certificates are made with the program openssl.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tare_testkit::{Engine, Output, ServiceManager, Terminal, install};

const BOTH: [&str; 2] = ["tare", "docker"];

fn program(name: &str) -> PathBuf {
    if name == "tare" { install::dist().join("tare") } else { install::docker() }
}

/// An authority, with a daemon and a client that it has signed certificates for, in directories of their own.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let authority = Self(tempfile::Builder::new().prefix("tare-tls-").tempdir().expect("directory"));
        let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
                   -keyout authority.key -out ca.pem";
        authority.openssl(new);
        authority.sign("daemon", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth");
        authority.sign("client", "extendedKeyUsage=clientAuth");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sign(&self, name: &str, extensions: &str) {
        std::fs::create_dir(self.path(name)).expect("directory");
        std::fs::write(self.path("extensions"), extensions).expect("file");
        self.openssl(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}/key.pem -out \
             request"
        ));
        self.openssl(&format!(
            "openssl x509 -req -in request -CA ca.pem -CAkey authority.key -CAcreateserial -days 2 -extfile extensions \
             -out {name}/cert.pem"
        ));
        std::fs::copy(self.path("ca.pem"), self.path(name).join("ca.pem")).expect("copy");
    }

    fn openssl(&self, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        let output = Output::of(line, command.args(words).current_dir(self.0.path()));
        assert_eq!(output.status, 0, "{output}");
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().expect("a text").to_owned()
    }
}

/// An engine that listens on loopback's TCP.
struct Site {
    authority: Authority,
    engine: Engine,
    port: u16,
}

impl Site {
    /// With the daemon's certificate, and more options.
    fn new(options: &[&str]) -> Self {
        let authority = Authority::new();
        // The socket is handed over: its port is nobody else's at any time.
        let tcp = TcpListener::bind("127.0.0.1:0").expect("socket");
        let port = tcp.local_addr().expect("address").port();
        let unix = UnixListener::bind(authority.path("other.sock")).expect("socket");
        let notify =
            (authority.path("notify.sock"), UnixDatagram::bind(authority.path("notify.sock")).expect("socket"));
        let manager = ServiceManager { sockets: [("tcp", tcp.into()), ("unix", unix.into())], notify };
        let files = ["ca.pem", "daemon/cert.pem", "daemon/key.pem"].map(|name| authority.file(name));
        let mut all = vec!["-H", "fd://tcp", "--registry-mirror", install::mirror()];
        all.extend(["--tlscacert", &files[0], "--tlscert", &files[1], "--tlskey", &files[2]]);
        all.extend(options);
        let engine = Engine::activated(manager, &all);
        assert_eq!(engine.notified(), "READY=1");
        Self { authority, engine, port }
    }

    fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    fn command(&self, client: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(client));
        command.arg("-H").arg(self.host()).args(arguments).env("DOCKER_CONFIG", self.authority.path("config"));
        for variable in ["DOCKER_HOST", "TARE_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(variable);
        }
        command
    }

    /// With the client's certificate.
    fn trusted(&self, client: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(client, arguments);
        command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", self.authority.path("client"));
        command
    }

    #[track_caller]
    fn ok(&self, client: &str, arguments: &[&str]) -> String {
        let output = Output::of(&format!("{client} {arguments:?}"), &mut self.trusted(client, arguments));
        assert_eq!(output.status, 0, "{output}{}", self.engine.said());
        output.stdout
    }

    /// What a command prints that gets an input, and its status.
    fn piped(&self, client: &str, arguments: &[&str], input: &[u8]) -> (Option<i32>, Vec<u8>) {
        let mut command = self.trusted(client, arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("a client");
        feeder.join().expect("the input").expect("the input is taken");
        (output.status.code(), output.stdout)
    }
}

#[test]
fn everything_works_through_it() {
    let site = Site::new(&["--tlsverify"]);
    site.ok("docker", &["pull", "-q", "busybox:1.29"]);
    for client in BOTH {
        assert_eq!(site.ok(client, &["run", "--rm", "busybox:1.29", "echo", "hello"]), "hello\n");
        // The input ends, and the output comes after that.
        let count = ["run", "-i", "--rm", "busybox:1.29", "sh", "-c", "n=$(wc -c); echo $n; exit 7"];
        assert_eq!(site.piped(client, &count, b"twelve bytes"), (Some(7), b"12\n".to_vec()), "{client}");
        // More than all buffers hold, both ways at once; keys that detach are data where there is no terminal.
        let mut large = b"\x10\x11".to_vec();
        large.extend((0..1_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()));
        let echoed = site.piped(client, &["run", "-i", "--rm", "busybox:1.29", "cat"], &large);
        assert_eq!(echoed.0, Some(0), "{client}");
        assert!(echoed.1 == large, "{client}: {} bytes of {}", echoed.1.len(), large.len());
        // A container that does not read its input, and one that outlives a client.
        let unread = site.piped(client, &["run", "-i", "--rm", "busybox:1.29", "echo", "done"], b"x");
        assert_eq!(unread, (Some(0), b"done\n".to_vec()), "{client}");
        site.ok(client, &["run", "-dit", "--name", "terminal", "busybox:1.29", "sh"]);
        let mut terminal = Terminal::start("exec -it", &site.trusted(client, &["exec", "-it", "terminal", "sh"]));
        terminal.send("echo 4$((1+1))\r");
        terminal.expect("42");
        terminal.send("exit 5\r");
        assert_eq!(terminal.wait(), 5);
        let mut terminal = Terminal::start("attach", &site.trusted(client, &["attach", "terminal"]));
        terminal.send("echo at$((1+1))ched\r");
        terminal.expect("at2ched");
        terminal.send("\u{10}\u{11}");
        assert_eq!(terminal.wait(), 1);
        assert_eq!(site.ok(client, &["inspect", "--format", "{{.State.Running}}", "terminal"]), "true\n");
        assert!(site.ok(client, &["logs", "terminal"]).contains("at2ched"));
        std::fs::write(site.authority.path("upload"), &large).expect("file");
        let upload = site.authority.file("upload");
        site.ok(client, &["cp", &upload, "terminal:/upload"]);
        site.ok(client, &["cp", "terminal:/upload", &format!("{upload}2")]);
        assert!(std::fs::read(site.authority.path("upload2")).expect("file") == large);
        site.ok(client, &["rm", "-f", "terminal"]);
    }
}

/// A context that one client has made leads the other to the same place.
#[test]
fn contexts_are_the_same_for_both() {
    let site = Site::new(&["--tlsverify"]);
    let files = ["ca.pem", "client/cert.pem", "client/key.pem"].map(|name| site.authority.file(name));
    let endpoint = format!("host={},ca={},cert={},key={}", site.host(), files[0], files[1], files[2]);
    let types = |client: &str, arguments: &[&str]| {
        let mut command = Command::new(program(client));
        command.args(arguments).env("DOCKER_CONFIG", site.authority.path("config"));
        for variable in ["DOCKER_HOST", "TARE_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(variable);
        }
        let output = Output::of(&format!("{client} {arguments:?}"), &mut command);
        assert_eq!(output.status, 0, "{output}");
        output.stdout
    };
    for maker in BOTH {
        let exported = site.authority.file(&format!("by-{maker}"));
        types(maker, &["context", "create", &format!("by-{maker}"), "--docker", &endpoint]);
        types(maker, &["context", "export", &format!("by-{maker}"), &exported]);
        for client in BOTH {
            let imported = format!("by-{maker}-for-{client}");
            types(client, &["context", "import", &imported, &exported]);
            for name in [&format!("by-{maker}"), &imported] {
                let os = types(client, &["--context", name, "version", "--format", "{{.Server.Os}}"]);
                assert_eq!(os, "linux\n", "{name} with {client}");
            }
        }
    }
    types("tare", &["context", "rm", "by-docker", "by-tare"]);
    let left = types("docker", &["context", "ls", "--format", "{{.Name}}"]);
    assert!(!left.contains("by-docker\n") && !left.contains("by-tare\n"), "{left}");
}

#[test]
fn who_has_no_certificate_is_not_let_in() {
    let site = Site::new(&["--tlsverify"]);
    let stranger = Authority::new();
    let ca = site.authority.file("ca.pem");
    let theirs = ["ca.pem", "client/cert.pem", "client/key.pem"].map(|name| stranger.file(name));
    let ours = ["client/cert.pem", "client/key.pem"].map(|name| site.authority.file(name));
    for client in BOTH {
        let fails = |options: &[&str]| {
            let arguments = [options, &["ps"]].concat();
            let output = Output::of(client, &mut site.command(client, &arguments));
            assert_eq!(output.status, 1, "{output}");
            output.stderr
        };
        let hint = "The server probably has client authentication (--tlsverify) enabled; check your TLS client certification \
                    settings: ";
        let none = fails(&["--tlsverify", "--tlscacert", &ca]);
        assert!(client == "docker" || none.contains(hint), "{client}: {none}");
        let wrong = fails(&["--tlsverify", "--tlscacert", &ca, "--tlscert", &theirs[1], "--tlskey", &theirs[2]]);
        assert!(client == "docker" || wrong.contains(hint), "{client}: {wrong}");
        // The daemon has to be the right one, too, unless nobody cares.
        let unknown = fails(&["--tlsverify", "--tlscacert", &theirs[0], "--tlscert", &ours[0], "--tlskey", &ours[1]]);
        assert!(client == "docker" || unknown.contains("invalid peer certificate"), "{client}: {unknown}");
        let careless = ["--tls", "--tlscacert", &theirs[0], "--tlscert", &ours[0], "--tlskey", &ours[1], "version"];
        assert_eq!(Output::of(client, &mut site.command(client, &careless)).status, 0, "{client}");
        let plain = fails(&[]);
        assert!(plain.contains("Client sent an HTTP request to an HTTPS server."), "{client}: {plain}");
        let missing = fails(&["--tlsverify", "--tlscacert", "/nowhere/ca.pem"]);
        assert!(
            missing.contains("unable to resolve docker endpoint: open /nowhere/ca.pem: no such file or directory"),
            "{client}: {missing}"
        );
    }
}

/// `--tls` alone asks for certificates as well; that they are not asked for has to be said.
#[test]
fn certificates_may_be_waived() {
    for (options, status) in
        [(&["--tls"][..], 1), (&["--tlsverify=false"][..], 0), (&["--tls", "--tlsverify=false"][..], 0)]
    {
        let site = Site::new(options);
        for client in BOTH {
            let arguments = ["--tlsverify", "--tlscacert", &site.authority.file("ca.pem"), "version"];
            let output = Output::of(client, &mut site.command(client, &arguments));
            assert_eq!(output.status, status, "{options:?} {output}");
        }
    }
}

#[test]
fn clients_that_never_say_who_they_are_do_not_stay() {
    let site = Site::new(&["--tlsverify"]);
    // More than may shake hands at once, some silent, some slow.
    let mut idle: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(("127.0.0.1", site.port)).expect("connection")).collect();
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(&[0x16, 3, 1]).expect("a part of a handshake");
    }
    // Others get their turn all the same.
    assert_eq!(site.ok("tare", &["version", "--format", "{{.Server.Os}}"]), "linux\n");
    for mut stream in idle {
        stream.set_read_timeout(Some(tare_testkit::PATIENCE)).expect("a timeout");
        match stream.read_to_end(&mut Vec::new()) {
            // It may be told why first.
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn tcp_addresses_and_what_is_wrong_with_them() {
    let authority = Authority::new();
    let daemon = |options: &[&str]| {
        let mut command = Command::new(install::dist().join("tare"));
        command.args(["daemon", "--config-file", "/dev/null", "--data-root"]).arg(authority.path("data"));
        command.arg("--exec-root").arg(authority.path("exec")).args(options).env("DOCKER_CONFIG", "/nowhere");
        command.env_remove("DOCKER_CERT_PATH");
        let output = Output::of(&format!("{options:?}"), &mut command);
        assert_eq!(output.status, 1, "{output}");
        assert!(!Path::exists(&authority.path("data")), "{output}");
        output.stderr
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("socket");
    let address = taken.local_addr().expect("address").to_string();
    let refused = daemon(&["-H", &address]);
    assert!(refused.contains("Binding to IP address without --tlsverify is insecure"), "{refused}");
    assert!(
        refused.ends_with(&format!("failed to load listeners: listen tcp {address}: bind: address already in use\n")),
        "{refused}"
    );
    let cert = authority.file("daemon/cert.pem");
    let key = authority.file("daemon/key.pem");
    assert_eq!(
        daemon(&["-H", &address, "--tls"]),
        "invalid TLS configuration: could not read CA certificate \"/nowhere/ca.pem\": open /nowhere/ca.pem: no such file or \
         directory\n"
    );
    assert_eq!(
        daemon(&["-H", &address, "--tlsverify=false", "--tlscert", &cert]),
        format!(
            "invalid TLS configuration: could not load X509 key pair (cert: {cert:?}, key: \"\"): open : no such file or \
             directory\n"
        )
    );
    let mixed = daemon(&[
        "-H",
        &address,
        "--tlsverify=false",
        "--tlscert",
        &cert,
        "--tlskey",
        &authority.file("client/key.pem"),
    ]);
    assert!(mixed.starts_with("invalid TLS configuration: error reading X509 key pair - make sure "), "{mixed}");
    assert_eq!(
        daemon(&["-H", &address, "--tlsverify", "--tlscacert", &key, "--tlscert", &cert, "--tlskey", &key]),
        format!("invalid TLS configuration: failed to append certificates from PEM file: {key:?}\n")
    );
    let verified = daemon(&[
        "-H",
        &address,
        "--tlsverify",
        "--tlscacert",
        &authority.file("ca.pem"),
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ]);
    assert_eq!(verified, format!("failed to load listeners: listen tcp {address}: bind: address already in use\n"));
    assert_eq!(daemon(&["-H", "foo://x"]), "invalid bind address (foo://x): unsupported proto 'foo'\n");
}
