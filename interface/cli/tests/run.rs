//! `run`, `create` and `start` against a scripted daemon: which requests in which order, what is shown, which exit status.

mod support;

use serde_json::json;
use support::{Answer, Daemon, Seen, frame, tare};

const ID: &str = "c0ffee";

/// A daemon with one container; `change` may answer first.
fn daemon(
    output: Vec<u8>,
    status: i64,
    read_input: bool,
    change: impl Fn(&Daemon, &Seen) -> Option<Answer> + Send + Sync + 'static,
) -> Daemon {
    Daemon::start(move |daemon, seen| {
        if let Some(answer) = change(daemon, seen) {
            return answer;
        }
        let line = seen.line.as_str();
        if line.starts_with("POST /containers/create") {
            Answer::Json(201, json!({"Id": ID, "Warnings": []}))
        } else if line.contains("/attach?") {
            Answer::Takeover { after: "started", output: output.clone(), read_input, then: "ended" }
        } else if line.contains("/wait") {
            Answer::Later("ended", json!({"StatusCode": status}))
        } else if line.ends_with("/start") {
            daemon.set("started");
            Answer::Nothing
        } else {
            Answer::Json(404, json!({"message": format!("unexpected: {line}")}))
        }
    })
}

fn plain(output: Vec<u8>, status: i64) -> Daemon {
    daemon(output, status, false, |_, _| None)
}

/// The requests, with those that go out side by side in a fixed order.
fn lines(daemon: &Daemon) -> String {
    let mut lines: Vec<String> = daemon.seen().into_iter().map(|s| s.line).collect();
    if let [.., first, second, _] = &mut lines[..]
        && first.contains("/wait")
        && second.contains("/attach")
    {
        std::mem::swap(first, second);
    }
    lines.join("\n")
}

#[test]
fn attached_and_removed() {
    let daemon = plain([frame(1, "out\n"), frame(2, "err\n")].concat(), 3);
    let run = tare(&daemon, &["run", "--rm", "--name", "x", "busybox", "true"], b"");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (3, "out\n", "err\n"));
    insta::assert_snapshot!(lines(&daemon), @r"
    POST /containers/create?name=x
    POST /containers/c0ffee/attach?stderr=1&stdout=1&stream=1
    POST /containers/c0ffee/wait?condition=removed
    POST /containers/c0ffee/start
    ");
    let body = daemon.seen()[0].json();
    assert_eq!(body["Cmd"], json!(["true"]));
    assert_eq!(body["HostConfig"]["AutoRemove"], json!(true));
    assert_eq!(body["AttachStdin"], json!(false));
    // The start request has no body at all.
    assert!(daemon.seen().last().unwrap().body.is_empty());
}

#[test]
fn input_is_sent_and_closed() {
    let daemon = daemon(frame(1, "got it\n"), 0, true, |_, _| None);
    let run = tare(&daemon, &["run", "-i", "busybox", "cat"], b"hello\nworld\n");
    assert_eq!((run.code, run.out.as_str()), (0, "got it\n"));
    assert_eq!(daemon.input(), b"hello\nworld\n");
    insta::assert_snapshot!(lines(&daemon), @r"
    POST /containers/create
    POST /containers/c0ffee/attach?stderr=1&stdin=1&stdout=1&stream=1
    POST /containers/c0ffee/wait?condition=next-exit
    POST /containers/c0ffee/start
    ");
    let body = daemon.seen()[0].json();
    assert_eq!((&body["OpenStdin"], &body["StdinOnce"]), (&json!(true), &json!(true)));
}

#[test]
fn detached() {
    let daemon = plain(Vec::new(), 0);
    let run = tare(&daemon, &["run", "-d", "-it", "busybox"], b"");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "c0ffee\n", ""));
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /containers/create
    POST /containers/c0ffee/start
    ");
    let body = daemon.seen()[0].json();
    assert_eq!(
        (&body["AttachStdin"], &body["StdinOnce"], &body["OpenStdin"]),
        (&json!(false), &json!(false), &json!(true))
    );
}

#[test]
fn a_missing_image_is_pulled() {
    let daemon = daemon(Vec::new(), 0, false, |daemon, seen| match seen.line.as_str() {
        line if line.starts_with("POST /containers/create") && daemon.seen().len() == 1 => {
            Some(Answer::Json(404, json!({"message": "No such image: busybox:latest"})))
        }
        line if line.starts_with("POST /images/create") => {
            let text =
                b"{\"status\":\"Pulling from library/busybox\",\"id\":\"latest\"}\r\n{\"status\":\"Status: done\"}\r\n";
            Some(Answer::Body("application/json", vec![], text.to_vec()))
        }
        _ => None,
    });
    let run = tare(&daemon, &["run", "-d", "busybox"], b"");
    assert_eq!((run.code, run.out.as_str()), (0, "c0ffee\n"));
    insta::assert_snapshot!(run.err, @r"
    Unable to find image 'busybox:latest' locally
    latest: Pulling from library/busybox
    Status: done
    ");
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /containers/create
    POST /images/create?fromImage=docker.io%2Flibrary%2Fbusybox&tag=latest
    POST /containers/create
    POST /containers/c0ffee/start
    ");
    assert!(daemon.seen()[1].headers.contains(&"x-registry-auth: e30=".to_owned()));
}

#[test]
fn a_missing_image_may_not_be_pulled() {
    let missing = |_: &Daemon, seen: &Seen| {
        seen.line
            .starts_with("POST /containers/create")
            .then(|| Answer::Json(404, json!({"message": "No such image: x:1"})))
    };
    let daemon = daemon(Vec::new(), 0, false, missing);
    let run = tare(&daemon, &["run", "--pull", "never", "x:1"], b"");
    assert_eq!(run.code, 125);
    insta::assert_snapshot!(run.err, @r"
    tare: Error response from daemon: No such image: x:1

    Run 'tare run --help' for more information
    ");
    assert_eq!(daemon.seen().len(), 1);
}

#[test]
fn pulls_that_fail_within_the_stream() {
    let daemon = daemon(Vec::new(), 0, false, |_, seen| {
        seen.line.starts_with("POST /images/create").then(|| {
            let text = b"{\"errorDetail\":{\"message\":\"no space left\"},\"error\":\"no space left\"}\r\n";
            Answer::Body("application/json", vec![], text.to_vec())
        })
    });
    let run = tare(&daemon, &["run", "--pull", "always", "-q", "x"], b"");
    assert_eq!(run.code, 125);
    assert!(run.err.starts_with("tare: no space left\n"), "{}", run.err);
    assert_eq!(daemon.seen().len(), 1);
}

#[test]
fn the_exit_status_depends_on_the_words() {
    let status = |message: &'static str, flags: &[&str]| {
        let daemon = daemon(Vec::new(), 0, false, move |daemon, seen| {
            seen.line.ends_with("/start").then(|| {
                daemon.set("started");
                daemon.set("ended");
                Answer::Json(400, json!({"message": message}))
            })
        });
        let args: Vec<&str> = ["run"].iter().chain(flags).chain(&["busybox"]).copied().collect();
        let run = tare(&daemon, &args, b"");
        assert!(run.err.starts_with(&format!("tare: Error response from daemon: {message}\n")), "{}", run.err);
        run.code
    };
    assert_eq!(status("exec: \"x\": executable file not found in $PATH: permission denied", &[]), 127);
    assert_eq!(status("stat x: no such file or directory", &["--rm"]), 127);
    assert_eq!(status("exec: \"/etc\": is a directory: permission denied", &[]), 126);
    assert_eq!(status("port is already allocated", &["-d"]), 125);
    // A detached container that does not start is waited for until it is gone.
    assert_eq!(status("port is already allocated", &["-d", "--rm"]), 125);
}

#[test]
fn warnings_and_the_id_file() {
    let daemon = daemon(Vec::new(), 0, false, |_, seen| {
        seen.line
            .starts_with("POST /containers/create")
            .then(|| Answer::Json(201, json!({"Id": ID, "Warnings": ["careful"]})))
    });
    let file = daemon.directory().join("cid");
    let path = file.to_str().unwrap();
    let create = tare(&daemon, &["create", "--cidfile", path, "busybox"], b"");
    assert_eq!((create.code, create.out.as_str(), create.err.as_str()), (0, "c0ffee\n", "WARNING: careful\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ID);
    let again = tare(&daemon, &["create", "--cidfile", path, "busybox"], b"");
    assert_eq!(again.code, 1);
    assert!(again.err.starts_with("container ID file found, make sure the other container isn't running or delete "));
    assert_eq!(daemon.seen().len(), 1);
}

#[test]
fn no_id_file_without_a_container() {
    let daemon = daemon(Vec::new(), 0, false, |_, seen| {
        seen.line.starts_with("POST /containers/create").then(|| Answer::Json(409, json!({"message": "in use"})))
    });
    let file = daemon.directory().join("cid");
    let create = tare(&daemon, &["create", "--cidfile", file.to_str().unwrap(), "busybox"], b"");
    assert_eq!((create.code, create.err.as_str()), (1, "Error response from daemon: in use\n"));
    assert!(!file.exists());
}

#[test]
fn mistakes_reach_no_daemon() {
    let daemon = plain(Vec::new(), 0);
    let fail = |args: &[&str]| {
        let run = tare(&daemon, args, b"");
        format!("{}: {}", run.code, run.err.trim_end())
    };
    insta::assert_snapshot!(fail(&["run", "-d", "-a", "stdout", "x"]), @"1: conflicting options: cannot specify both --attach and --detach");
    insta::assert_snapshot!(fail(&["run", "-it", "x"]), @"1: cannot attach stdin to a TTY-enabled container because stdin is not a terminal");
    insta::assert_snapshot!(fail(&["create", "UPPER"]), @"1: invalid reference format: repository name (library/UPPER) must be lowercase");
    insta::assert_snapshot!(fail(&["run", "--pull", "x", "y"]), @r#"
    125: tare: invalid pull option: 'x': must be one of "always", "missing" or "never"

    Run 'tare run --help' for more information
    "#);
    insta::assert_snapshot!(fail(&["create", "-p", "x", "y"]), @r"
    125: tare: invalid containerPort: x

    Run 'tare create --help' for more information
    ");
    insta::assert_snapshot!(fail(&["run", "--detach-keys", "foo", "x"]), @"1: invalid detach keys (foo): Unknown character: 'foo'");
    assert_eq!(daemon.lines(), "");
}

#[test]
fn errors_within_the_streams() {
    let daemon = plain([frame(1, "so far\n"), frame(3, "the log is gone")].concat(), 0);
    let run = tare(&daemon, &["run", "busybox"], b"");
    assert_eq!((run.code, run.out.as_str()), (1, "so far\n"));
    assert_eq!(run.err, "error from daemon in stream: the log is gone\n");
}

#[test]
fn started_with_streams() {
    let daemon = daemon(frame(1, "hi\n"), 5, false, |_, seen| {
        seen.line.ends_with("/json").then(|| {
            Answer::Json(
                200,
                json!({"Id": ID, "Config": {"Tty": false, "OpenStdin": true}, "HostConfig": {"AutoRemove": true}}),
            )
        })
    });
    let run = tare(&daemon, &["start", "-a", "web"], b"");
    assert_eq!((run.code, run.out.as_str()), (5, "hi\n"));
    insta::assert_snapshot!(lines(&daemon), @r"
    GET /containers/web/json
    POST /containers/c0ffee/attach?stderr=1&stdout=1&stream=1
    POST /containers/c0ffee/wait?condition=removed
    POST /containers/c0ffee/start
    ");
}

#[test]
fn started_one_after_the_other() {
    let daemon = Daemon::start(|_, seen| match seen.line.as_str() {
        "POST /containers/b/start" => Answer::Json(404, json!({"message": "No such container: b"})),
        _ => Answer::Nothing,
    });
    let run = tare(&daemon, &["start", "a", "b", "c"], b"");
    assert_eq!((run.code, run.out.as_str()), (1, "a\nc\n"));
    assert_eq!(run.err, "Error response from daemon: No such container: b\nfailed to start containers: b\n");
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /containers/a/start
    POST /containers/b/start
    POST /containers/c/start
    ");
}
