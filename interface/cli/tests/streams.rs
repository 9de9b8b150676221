//! `exec`, `attach`, `logs`, `cp` and archives against a scripted daemon.

mod support;

use base64::Engine as _;
use serde_json::json;
use support::{Answer, Daemon, frame, tare};

fn exec_daemon(exit_code: serde_json::Value, read_input: bool) -> Daemon {
    Daemon::start(move |_, seen| match seen.line.as_str() {
        "POST /containers/web/exec" => Answer::Json(201, json!({"Id": "e1"})),
        "POST /exec/e1/start" if seen.json()["Detach"] == json!(true) => Answer::Json(200, json!({})),
        "POST /exec/e1/start" => {
            Answer::Takeover { after: "", output: [frame(1, "o"), frame(2, "e")].concat(), read_input, then: "" }
        }
        "GET /exec/e1/json" => Answer::Json(200, json!({"ID": "e1", "Running": false, "ExitCode": exit_code})),
        _ => Answer::Json(404, json!({"message": "No such container: web"})),
    })
}

#[test]
fn exec_attached() {
    let daemon = exec_daemon(json!(7), true);
    let args = ["exec", "-i", "-e", "A=1", "-u", "me", "-w", "/x", "--privileged", "web", "cat", "-n"];
    let run = tare(&daemon, &args, b"in");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (7, "o", "e"));
    assert_eq!(daemon.input(), b"in");
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /containers/web/exec
    POST /exec/e1/start
    GET /exec/e1/json
    ");
    insta::assert_snapshot!(daemon.seen()[0].json(), @r#"{"AttachStderr":true,"AttachStdin":true,"AttachStdout":true,"Cmd":["cat","-n"],"DetachKeys":"","Env":["A=1"],"Privileged":true,"Tty":false,"User":"me","WorkingDir":"/x"}"#);
    insta::assert_snapshot!(daemon.seen()[1].json(), @r#"{"Detach":false,"Tty":false}"#);
}

#[test]
fn exec_detached() {
    let daemon = exec_daemon(json!(null), false);
    let run = tare(&daemon, &["exec", "-d", "web", "touch", "x"], b"");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /containers/web/exec
    POST /exec/e1/start
    ");
    insta::assert_snapshot!(daemon.seen()[1].json(), @r#"{"Detach":true,"Tty":false}"#);
}

#[test]
fn exec_refused() {
    let daemon = exec_daemon(json!(0), false);
    let gone = tare(&daemon, &["exec", "-it", "gone", "sh"], b"");
    assert_eq!((gone.code, gone.err.as_str()), (1, "Error response from daemon: No such container: web\n"));
    insta::assert_snapshot!(daemon.lines(), @"GET /containers/gone/json");
}

fn attach_daemon(state: serde_json::Value) -> Daemon {
    Daemon::start(move |_, seen| match seen.line.as_str() {
        "GET /containers/web/json" => {
            Answer::Json(200, json!({"Id": "c1", "Config": {"OpenStdin": true}, "State": state}))
        }
        "POST /containers/web/wait" => Answer::Later("ended", json!({"StatusCode": 4})),
        line if line.starts_with("POST /containers/web/attach") => {
            Answer::Takeover { after: "", output: frame(1, "x\n"), read_input: true, then: "ended" }
        }
        _ => Answer::Json(404, json!({"message": "unexpected"})),
    })
}

#[test]
fn attached() {
    let daemon = attach_daemon(json!({"Running": true}));
    let run = tare(&daemon, &["attach", "--sig-proxy=false", "web"], b"in");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (4, "x\n", ""));
    assert_eq!(daemon.input(), b"in");
    let mut lines: Vec<String> = daemon.seen().into_iter().map(|s| s.line).collect();
    // The first two go out side by side.
    lines[..2].sort();
    insta::assert_snapshot!(lines.join("\n"), @r"
    GET /containers/web/json
    POST /containers/web/wait
    POST /containers/web/attach?stderr=1&stdin=1&stdout=1&stream=1
    GET /containers/web/json
    ");
}

#[test]
fn attach_refused() {
    let fail = |state| {
        let daemon = attach_daemon(state);
        daemon.set("ended");
        let run = tare(&daemon, &["attach", "web"], b"");
        assert_eq!(run.code, 1);
        run.err
    };
    assert_eq!(fail(json!({"Running": false})), "cannot attach to a stopped container, start it first\n");
    let paused = json!({"Running": true, "Paused": true});
    assert_eq!(fail(paused), "cannot attach to a paused container, unpause it first\n");
    let restarting = json!({"Running": true, "Restarting": true});
    assert_eq!(fail(restarting), "cannot attach to a restarting container, wait until it is running\n");
}

#[test]
fn logs() {
    let daemon = Daemon::start(|_, seen| match seen.line.as_str() {
        "GET /containers/plain/logs?stderr=1&stdout=1&tail=all" => Answer::Body(
            "application/vnd.docker.multiplexed-stream",
            vec![],
            [frame(1, "a\n"), frame(2, "b\n"), frame(1, "c\n")].concat(),
        ),
        line if line.starts_with("GET /containers/tty/logs") => {
            Answer::Body("application/vnd.docker.raw-stream", vec![], b"\x01raw\n".to_vec())
        }
        line if line.starts_with("GET /containers/old/logs") => {
            Answer::Body("application/octet-stream", vec![], frame(2, "framed\n"))
        }
        "GET /containers/old/json" => Answer::Json(200, json!({"Config": {"Tty": false}})),
        _ => Answer::Json(404, json!({"message": "No such container"})),
    });
    let plain = tare(&daemon, &["logs", "plain"], b"");
    assert_eq!((plain.code, plain.out.as_str(), plain.err.as_str()), (0, "a\nc\n", "b\n"));
    let args = ["logs", "-ft", "-n", "5", "--details", "--since", "2020-01-01T00:00:00Z", "--until", "10.5", "tty"];
    let tty = tare(&daemon, &args, b"");
    assert_eq!((tty.code, tty.out.as_str()), (0, "\x01raw\n"));
    // Where the content type does not say, the container does.
    assert_eq!(tare(&daemon, &["logs", "old"], b"").err, "framed\n");
    let bad = tare(&daemon, &["logs", "--since", "x", "plain"], b"");
    assert_eq!(bad.err, "invalid value for \"since\": failed to parse value as time or duration: \"x\"\n");
    insta::assert_snapshot!(daemon.lines(), @r"
    GET /containers/plain/logs?stderr=1&stdout=1&tail=all
    GET /containers/tty/logs?details=1&follow=1&since=1577836800.000000000&stderr=1&stdout=1&tail=5&timestamps=1&until=10.5
    GET /containers/old/logs?stderr=1&stdout=1&tail=all
    GET /containers/old/json
    ");
}

fn stat_header(mode: u32, size: u64, link: &str) -> String {
    let stat = json!({"name": "x", "size": size, "mode": mode, "mtime": "2020-01-01T00:00:00Z", "linkTarget": link});
    let encoded = base64::engine::general_purpose::STANDARD.encode(stat.to_string());
    format!("X-Docker-Container-Path-Stat: {encoded}")
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = tare_archive::Writer::new(Vec::new());
    for (path, content) in entries {
        let entry = tare_archive::Entry::new(*path, tare_archive::Kind::File, 0o640);
        let entry = tare_archive::Entry { size: content.len() as u64, ..entry };
        writer.append_data(&entry, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut reader = tare_archive::Reader::new(archive);
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        out.push(String::from_utf8(entry.path).unwrap());
    }
    out
}

#[test]
fn cp_from_a_container() {
    let daemon = Daemon::start(|_, seen| match seen.line.as_str() {
        "GET /containers/web/archive?path=%2Fa%2Fb" => {
            Answer::Body("application/x-tar", vec![stat_header(0o640, 3, "")], archive(&[("b", "one")]))
        }
        _ => Answer::Json(404, json!({"message": "Could not find the file /no in container web"})),
    });
    let target = daemon.directory().join("new");
    let run = tare(&daemon, &["cp", "web:/a/b", target.to_str().unwrap()], b"");
    assert_eq!(run, support::Run { code: 0, out: String::new(), err: String::new() });
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "one");
    let loud = tare(&daemon, &["cp", "-q=false", "web:/a/b", target.to_str().unwrap()], b"");
    assert_eq!(loud.err, format!("Successfully copied 3B (transferred 2.05kB) to {}\n", target.display()));
    let stream = tare(&daemon, &["cp", "web:/a/b", "-"], b"");
    assert_eq!(names(stream.out.as_bytes()), ["b"]);
    let gone = tare(&daemon, &["cp", "web:/no", target.to_str().unwrap()], b"");
    assert_eq!(
        (gone.code, gone.err.as_str()),
        (1, "Error response from daemon: Could not find the file /no in container web\n")
    );
}

#[test]
fn cp_to_a_container() {
    let directory = 0x8000_0000 | 0o755;
    let daemon = Daemon::start(move |_, seen| match seen.line.as_str() {
        "HEAD /containers/web/archive?path=%2Ftmp" => {
            Answer::Body("application/json", vec![stat_header(directory, 1, "")], vec![])
        }
        "HEAD /containers/web/archive?path=%2Flink" => {
            Answer::Body("application/json", vec![stat_header(0x0800_0000 | 0o777, 1, "tmp")], vec![])
        }
        line if line.starts_with("PUT ") => Answer::Json(200, json!({})),
        _ => Answer::Json(404, json!({"message": "nothing there"})),
    });
    let tree = daemon.directory().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("f"), "x").unwrap();
    let tree = tree.to_str().unwrap();
    let copied = |args: &[&str]| {
        let run = tare(&daemon, &[&["cp"], args].concat(), b"");
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args:?}");
        let seen = daemon.seen().pop().unwrap();
        format!("{} {:?}", seen.line, names(&seen.body))
    };
    insta::assert_snapshot!(copied(&[tree, "web:/tmp"]), @r#"PUT /containers/web/archive?noOverwriteDirNonDir=true&path=%2Ftmp ["tree/", "tree/f"]"#);
    insta::assert_snapshot!(copied(&[&format!("{tree}/."), "web:/tmp"]), @r#"PUT /containers/web/archive?noOverwriteDirNonDir=true&path=%2Ftmp ["./", "./f"]"#);
    insta::assert_snapshot!(copied(&["-a", tree, "web:/tmp/new"]), @r#"PUT /containers/web/archive?copyUIDGID=true&noOverwriteDirNonDir=true&path=%2Ftmp ["new/", "new/f"]"#);
    insta::assert_snapshot!(copied(&[&format!("{tree}/f"), "web:/link"]), @r#"PUT /containers/web/archive?noOverwriteDirNonDir=true&path=%2Ftmp ["f"]"#);
    let fail = |args: &[&str]| tare(&daemon, &[&["cp"], args].concat(), b"").err;
    assert_eq!(fail(&["-", "web:/no"]), "destination \"web:/no\" must be a directory\n");
    assert_eq!(fail(&["a:/x", "b:/x"]), "copying between containers is not supported\n");
    assert_eq!(fail(&["/x", "/y"]), "must specify at least one container source\n");
    assert_eq!(fail(&[&format!("{tree}/f"), "web:/no/"]), "no such directory\n");
    // What cannot be read is what is wrong, not what the daemon makes of half an archive.
    let strange = format!("{tree}/strange");
    std::fs::create_dir(&strange).unwrap();
    std::os::unix::fs::symlink("/does/not/exist", format!("{strange}/link")).unwrap();
    assert_eq!(
        fail(&["-L", &format!("{strange}/link"), "web:/tmp"]),
        format!("lstat {strange}/link: no such file or directory\n")
    );
}

#[test]
fn images_in_and_out() {
    let daemon = Daemon::start(|_, seen| match seen.line.as_str() {
        line if line.starts_with("GET /images/get") => Answer::Body("application/x-tar", vec![], b"archive".to_vec()),
        line if line.starts_with("POST /images/load") => {
            Answer::Body("application/json", vec![], b"{\"stream\":\"Loaded image: x:1\\n\"}\r\n".to_vec())
        }
        line if line.starts_with("POST /commit") => Answer::Json(201, json!({"Id": "sha256:1"})),
        _ => Answer::Json(404, json!({"message": "no"})),
    });
    let file = daemon.directory().join("out.tar");
    let path = file.to_str().unwrap();
    assert_eq!(tare(&daemon, &["save", "-o", path, "a", "b"], b"").code, 0);
    assert_eq!(std::fs::read(&file).unwrap(), b"archive");
    assert_eq!(tare(&daemon, &["load", "-i", path], b"").out, "Loaded image: x:1\n");
    assert_eq!(tare(&daemon, &["load"], b"from stdin").out, "Loaded image: x:1\n");
    assert_eq!(tare(&daemon, &["commit", "-a", "me", "--no-pause", "web", "r/x"], b"").out, "sha256:1\n");
    let export = tare(&daemon, &["export", "-o", path, "web"], b"");
    assert_eq!((export.code, export.err.as_str()), (1, "Error response from daemon: no\n"));
    // What was there before a failure is still there, and nothing beside it.
    assert_eq!(std::fs::read(&file).unwrap(), b"archive");
    assert_eq!(std::fs::read_dir(daemon.directory()).unwrap().count(), 2);
    let bodies: Vec<_> = daemon.seen().into_iter().map(|s| s.body).collect();
    assert_eq!((&bodies[1][..], &bodies[2][..]), (&b"archive"[..], &b"from stdin"[..]));
    insta::assert_snapshot!(daemon.lines(), @r"
    GET /images/get?names=a&names=b
    POST /images/load?quiet=1
    POST /images/load?quiet=1
    POST /commit?container=web&repo=docker.io%2Fr%2Fx&tag=latest&comment=&author=me&pause=0
    GET /containers/web/export
    ");
}

#[test]
fn pulls_and_pushes() {
    let daemon = Daemon::start(|_, seen| {
        let lines: &[u8] = match seen.line.as_str() {
            line if line.contains("broken") => b"{\"status\":\"Trying\"}\r\n{\"errorDetail\":{\"message\":\"denied\"},\"error\":\"denied\"}\r\n",
            "POST /images/docker.io/library/x/push?tag=latest" => {
                b"{\"status\":\"Pushed\",\"progressDetail\":{},\"id\":\"abc\"}\r\n{\"aux\":{\"Tag\":\"latest\"}}\r\n"
            }
            _ => b"{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"abc\"}\r\n{\"status\":\"Status: done\"}\r\n",
        };
        Answer::Body("application/json", vec![], lines.to_vec())
    });
    let out = |args: &[&str]| {
        let run = tare(&daemon, args, b"");
        format!("{} {}{}", run.code, run.out, run.err)
    };
    insta::assert_snapshot!(out(&["pull", "x"]), @r"
    0 Using default tag: latest
    Status: done
    docker.io/library/x:latest
    ");
    insta::assert_snapshot!(out(&["pull", "-q", "localhost:5000/x:1"]), @"0 localhost:5000/x:1");
    insta::assert_snapshot!(out(&["pull", "broken:1"]), @r"
    1 Trying
    denied
    ");
    insta::assert_snapshot!(out(&["pull", "-a", "x:1"]), @"1 tag can't be used with --all-tags/-a");
    insta::assert_snapshot!(out(&["push", "x"]), @r"
    0 Using default tag: latest
    abc: Pushed
    ");
    insta::assert_snapshot!(out(&["push", "-q", "x"]), @"0 docker.io/library/x:latest");
    insta::assert_snapshot!(daemon.lines(), @r"
    POST /images/create?fromImage=docker.io%2Flibrary%2Fx&tag=latest
    POST /images/create?fromImage=localhost%3A5000%2Fx&tag=1
    POST /images/create?fromImage=docker.io%2Flibrary%2Fbroken&tag=1
    POST /images/docker.io/library/x/push?tag=latest
    POST /images/docker.io/library/x/push?tag=latest
    ");
}

#[test]
fn builds() {
    let daemon = Daemon::start(|_, seen| {
        if seen.line.contains("t=no") {
            return Answer::Json(501, json!({"message": "building images is not supported by this engine"}));
        }
        let lines = b"{\"stream\":\"Step 1/1 : FROM x\\n\"}\r\n{\"aux\":{\"ID\":\"sha256:1\"}}\r\n{\"stream\":\"Successfully built 1\\n\"}\r\n";
        Answer::Body("application/json", vec![], lines.to_vec())
    });
    let context = daemon.directory().join("context");
    std::fs::create_dir_all(context.join("tmp/kept")).unwrap();
    for (path, content) in [
        ("Dockerfile", "FROM x"),
        (".dockerignore", "*file\ntmp\n!tmp/kept\n"),
        ("tmp/a", ""),
        ("tmp/kept/b", ""),
        ("c", ""),
    ] {
        std::fs::write(context.join(path), content).unwrap();
    }
    let (place, id) = (context.to_str().unwrap(), daemon.directory().join("id"));
    let built =
        tare(&daemon, &["build", "-t", "x:1", "--build-arg", "A=1", "--iidfile", id.to_str().unwrap(), place], b"");
    assert_eq!(
        (built.code, built.out.as_str(), built.err.as_str()),
        (0, "Step 1/1 : FROM x\nSuccessfully built 1\n", "")
    );
    assert_eq!(std::fs::read_to_string(id).unwrap(), "sha256:1");
    let seen = daemon.seen().pop().unwrap();
    insta::assert_snapshot!(seen.line, @"POST /build?t=x%3A1&rm=1&buildargs=%7B%22A%22%3A%221%22%7D&labels=%7B%7D&cachefrom=%5B%5D&ulimits=%5B%5D&networkmode=default&version=1&dockerfile=Dockerfile");
    assert_eq!(names(&seen.body), [".dockerignore", "Dockerfile", "c", "tmp/kept/", "tmp/kept/b"]);
    let fail = |args: &[&str]| {
        let run = tare(&daemon, args, b"");
        format!("{} {}", run.code, run.err.trim_end())
    };
    insta::assert_snapshot!(fail(&["build", "-t", "no", place]), @"1 Error response from daemon: building images is not supported by this engine");
    insta::assert_snapshot!(fail(&["build", "/does/not/exist"]), @r#"1 unable to prepare context: path "/does/not/exist" not found"#);
    insta::assert_snapshot!(fail(&["build", "-f", "-", "-"]), @"1 invalid argument: can't use stdin for both build context and dockerfile");
}
