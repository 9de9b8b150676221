//! Commands from their arguments to what they print, against a server on a unix socket that answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tare_cli::app::{self, Request};
use tare_cli::cli::{Cli, Globals, Output};

/// What is sent back for a request line that starts with a text: status and body.
type Routes = &'static [(&'static str, u16, &'static str)];

/// Text that several parties write.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A run of the program.
struct Outcome {
    code: i32,
    out: String,
    err: String,
    /// Requests, with their bodies.
    requests: String,
    config: tempfile::TempDir,
}

impl Outcome {
    /// Everything in one text.
    fn shown(&self) -> String {
        let mut text = self.out.clone();
        if !self.err.is_empty() {
            text.push_str(&format!("--- stderr\n{}", self.err));
        }
        if self.code != 0 {
            text.push_str(&format!("--- exit {}\n", self.code));
        }
        text
    }
}

fn run(routes: Routes, line: &[&str]) -> Outcome {
    run_with(routes, "{}", line)
}

/// Runs a command line with a configuration file.
fn run_with(routes: Routes, config_file: &str, line: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("config.json"), config_file).unwrap();
    let path: PathBuf = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let requests = Shared::default();
    let log = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = log.clone();
            std::thread::spawn(move || serve(&stream, routes, log));
        }
    });
    let mut args = vec!["--config".to_owned(), config.path().display().to_string()];
    args.extend(["-H".to_owned(), format!("unix://{}", path.display())]);
    args.extend(line.iter().map(|a| (*a).to_owned()));
    let mut globals = Globals::default();
    let request = app::read(args, &mut globals, 80);
    let (out, err) = (Shared::default(), Shared::default());
    let cli = Cli::new(globals, Output::to(out.clone()), Output::to(err.clone()));
    let code = match request {
        Request::Run(matches) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(app::run(&cli, &matches))
        }
        Request::Fail(error) => app::report(&cli, &error),
        _ => panic!("{line:?} does not run"),
    };
    Outcome { code, out: out.text(), err: err.text(), requests: requests.text(), config }
}

fn serve(mut stream: &UnixStream, routes: Routes, mut log: Shared) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let length = head.iter().find_map(|h| h.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let line = head[0].trim_end_matches(" HTTP/1.1").replace("/v1.55", "");
        if line != "HEAD /_ping" {
            let body = String::from_utf8_lossy(&body);
            log.write_all(format!("{line} {body}").trim_end().as_bytes()).unwrap();
            log.write_all(b"\n").unwrap();
        }
        let route = routes.iter().find(|(prefix, ..)| line.starts_with(prefix));
        let (status, text) = match (line.as_str(), route) {
            ("HEAD /_ping", _) => (200, ""),
            (_, Some((_, status, text))) => (*status, *text),
            (_, None) => (404, r#"{"message":"page not found"}"#),
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nApi-Version: 1.55\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

const NO_B: &str = r#"{"message":"No such container: b"}"#;

#[test]
fn names_are_echoed_in_order_and_errors_come_last() {
    let routes: Routes = &[("POST /containers/b/stop", 404, NO_B), ("POST /containers/", 204, "")];
    let outcome = run(routes, &["stop", "-t", "3", "a", "b", "c"]);
    insta::assert_snapshot!(outcome.shown(), @"
    a
    c
    --- stderr
    Error response from daemon: No such container: b
    --- exit 1
    ");
    let mut requests: Vec<&str> = outcome.requests.lines().collect();
    requests.sort_unstable();
    assert_eq!(requests, ["POST /containers/a/stop?t=3", "POST /containers/b/stop?t=3", "POST /containers/c/stop?t=3"]);
}

#[test]
fn many_names_at_once() {
    let names: Vec<String> = (0..200).map(|i| format!("c{i}")).collect();
    let mut line = vec!["kill"];
    line.extend(names.iter().map(String::as_str));
    let outcome = run(&[("POST /containers/", 204, "")], &line);
    assert_eq!(outcome.out, names.join("\n") + "\n");
}

#[test]
fn removing_what_is_not_there() {
    let routes: Routes = &[("DELETE /containers/b", 404, NO_B), ("DELETE /containers/a", 204, "")];
    insta::assert_snapshot!(run(routes, &["rm", "-f", "a", "b"]).shown(), @"a");
    insta::assert_snapshot!(run(routes, &["rm", "-v", "b", "/a"]).shown(), @"
    /a
    --- stderr
    Error response from daemon: No such container: b
    --- exit 1
    ");
}

#[test]
fn lists() {
    let routes: Routes = &[
        (
            "GET /containers/json?all=1&filters=",
            200,
            r#"[{"Id":"0123456789abcdef","Names":["/web"],"Image":"nginx","Command":"x","Status":"Exited (0)"}]"#,
        ),
        ("GET /containers/json", 200, "[]"),
    ];
    let outcome = run(routes, &["ps", "-a", "-f", "status=exited", "--format", "{{.ID}} {{.Names}} {{.Status}}"]);
    assert_eq!(outcome.shown(), "0123456789ab web Exited (0)\n");
    assert_eq!(outcome.requests, "GET /containers/json?all=1&filters=%7B%22status%22%3A%7B%22exited%22%3Atrue%7D%7D\n");
    insta::assert_snapshot!(run(routes, &["ps"]).shown(), @"CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES");
    insta::assert_snapshot!(run_with(routes, r#"{"psFormat":"table {{.Names}}\\t{{.Image}}"}"#, &["ps"]).shown(), @"NAMES     IMAGE");
}

#[test]
fn inspecting() {
    let routes: Routes = &[
        ("GET /containers/a/json", 200, "{\"Id\":\"abc\",\"State\":{\"Running\":false}}\n"),
        ("GET /volumes/v", 200, r#"{"Name":"v","Labels":null}"#),
    ];
    insta::assert_snapshot!(run(routes, &["inspect", "a", "v", "nope"]).shown(), @r#"
    [
        {
            "Id": "abc",
            "State": {
                "Running": false
            }
        },
        {
            "Name": "v",
            "Labels": null
        }
    ]
    --- stderr
    error: no such object: nope
    --- exit 1
    "#);
    insta::assert_snapshot!(run(routes, &["inspect", "nope"]).shown(), @"
    []
    --- stderr
    error: no such object: nope
    --- exit 1
    ");
    assert_eq!(run(routes, &["inspect", "--format", "{{.State.Running}}", "a"]).shown(), "false\n");
    assert_eq!(run(routes, &["inspect", "-f", "json", "v"]).shown(), "[{\"Name\":\"v\",\"Labels\":null}]\n");
    insta::assert_snapshot!(run(routes, &["inspect", "-f", "{{.State", "a"]).shown(), @"
    --- stderr
    template parsing error: template: :1: unclosed action
    --- exit 64
    ");
    insta::assert_snapshot!(run(routes, &["volume", "inspect", "nope"]).shown(), @"
    []
    --- stderr
    Error response from daemon: page not found
    --- exit 1
    ");
}

#[test]
fn events_until_the_end() {
    let routes: Routes = &[(
        "GET /events?since=5&until=9",
        200,
        r#"{"Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"3"}}} {"Type":"network","Action":"create","Actor":{"ID":"n"}}"#,
    )];
    insta::assert_snapshot!(run(routes, &["events", "--since", "5", "--until", "9"]).shown(), @"
    container die a (exitCode=3)
    network create n
    ");
    let outcome = run(routes, &["events", "--since=5", "--until=9", "--format", "{{.Action}} {{json .Actor}}"]);
    insta::assert_snapshot!(outcome.shown(), @r#"
    die {"ID":"a","Attributes":{"exitCode":"3"}}
    create {"ID":"n","Attributes":{}}
    "#);
}

#[test]
fn statistics_once() {
    let routes: Routes = &[
        (
            "GET /containers/a/stats?stream=0",
            200,
            r#"{"id":"a","name":"/a","memory_stats":{"usage":1048576,"limit":2097152},"pids_stats":{"current":1}}"#,
        ),
        ("GET /containers/b/stats", 404, NO_B),
    ];
    let outcome =
        run(routes, &["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.MemPerc}} {{.PIDs}}", "a"]);
    assert_eq!(outcome.shown(), "a 1MiB / 2MiB 50.00% 1\n");
    insta::assert_snapshot!(run(routes, &["stats", "--no-stream", "a", "b"]).shown(), @"
    --- stderr
    Error response from daemon: No such container: b
    --- exit 1
    ");
}

#[test]
fn waiting_and_updating() {
    let routes: Routes = &[
        ("POST /containers/a/wait", 200, r#"{"StatusCode":137}"#),
        ("POST /containers/a/update", 200, r#"{"Warnings":["w"]}"#),
    ];
    assert_eq!(run(routes, &["wait", "a"]).shown(), "137\n");
    let outcome = run(routes, &["update", "--memory", "64m", "--restart", "on-failure:3", "--pids-limit", "-1", "a"]);
    assert_eq!(outcome.shown(), "a\nw\n");
    for part in
        [r#""Memory":67108864"#, r#""PidsLimit":-1"#, r#""RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}"#]
    {
        assert!(outcome.requests.contains(part), "{part} in {}", outcome.requests);
    }
    insta::assert_snapshot!(run(routes, &["update", "a"]).shown(), @"
    --- stderr
    you must provide one or more flags when using this command
    --- exit 1
    ");
}

#[test]
fn pruning() {
    let routes: Routes = &[
        ("POST /containers/prune", 200, r#"{"ContainersDeleted":["c1"],"SpaceReclaimed":2000}"#),
        ("POST /networks/prune", 200, r#"{"NetworksDeleted":["n"]}"#),
        ("POST /build/prune", 200, r#"{"CachesDeleted":["s1","s2"],"SpaceReclaimed":3000}"#),
        (
            "POST /images/prune",
            200,
            r#"{"ImagesDeleted":[{"Untagged":"a:b"},{"Deleted":"sha256:x"}],"SpaceReclaimed":1000000}"#,
        ),
    ];
    insta::assert_snapshot!(run(routes, &["system", "prune", "-f"]).shown(), @"
    Deleted Containers:
    c1

    Deleted Networks:
    n

    Deleted Images:
    untagged: a:b
    deleted: sha256:x

    Deleted build cache objects:
    s1
    s2

    Total reclaimed space: 1.005MB
    ");
    let outcome =
        run_with(routes, r#"{"pruneFilters":["label!=keep"]}"#, &["container", "prune", "-f", "--filter", "until=1h"]);
    assert!(outcome.requests.contains("label!%22") || outcome.requests.contains("label%21"), "{}", outcome.requests);
}

#[test]
fn credentials_are_kept() {
    let routes: Routes = &[("POST /auth", 200, r#"{"Status":"Login Succeeded","IdentityToken":""}"#)];
    let outcome = run_with(routes, r#"{"psFormat":"x"}"#, &["login", "-u", "u", "-p", "p", "r.example"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "Login Succeeded\n"));
    assert!(
        outcome.requests.contains(r#"{"username":"u","password":"p","serveraddress":"r.example"}"#),
        "{}",
        outcome.requests
    );
    let file = std::fs::read_to_string(outcome.config.path().join("config.json")).unwrap();
    insta::assert_snapshot!(file, @r#"
    {
    	"auths": {
    		"r.example": {
    			"auth": "dTpw"
    		}
    	},
    	"psFormat": "x"
    }
    "#);
    let outcome = run_with(&[], &file, &["logout", "r.example"]);
    assert_eq!(outcome.shown(), "Removing login credentials for r.example\n");
    let file = std::fs::read_to_string(outcome.config.path().join("config.json")).unwrap();
    assert!(!file.contains("r.example"), "{file}");
    let refused: Routes = &[("POST /auth", 401, r#"{"message":"unauthorized: incorrect username or password"}"#)];
    insta::assert_snapshot!(run(refused, &["login", "-u", "u", "-p", "p"]).shown(), @"
    --- stderr
    WARNING! Using --password via the CLI is insecure. Use --password-stdin.
    Error response from daemon: unauthorized: incorrect username or password
    --- exit 1
    ");
}

#[test]
fn a_daemon_that_is_not_there() {
    let mut globals = Globals::default();
    let args = ["-H", "unix:///nonexistent/s", "version", "--format", "{{.Client.Os}}"].map(str::to_owned).to_vec();
    let Request::Run(matches) = app::read(args, &mut globals, 80) else { panic!("does not run") };
    let (out, err) = (Shared::default(), Shared::default());
    let cli = Cli::new(globals, Output::to(out.clone()), Output::to(err.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(app::run(&cli, &matches)), 1);
    assert_eq!(out.text(), "linux\n");
    assert!(err.text().starts_with("failed to connect to the docker API at unix:///nonexistent/s; "), "{}", err.text());
}

#[test]
fn contexts() {
    let outcome = run(&[], &["context", "ls", "--format", "{{.Name}} {{.Current}}"]);
    assert_eq!(outcome.shown(), "default true\n");
    let refused = run(&[], &["context", "use", "nope"]).shown();
    let start = "--- stderr\ncontext \"nope\": context not found: open /";
    assert!(refused.starts_with(start), "{refused}");
    assert!(refused.ends_with("/meta.json: no such file or directory\n--- exit 1\n"), "{refused}");
}
