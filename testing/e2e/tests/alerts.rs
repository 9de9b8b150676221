//! Alerts: what happens to containers reaches people, with the last lines of the log, once, whatever happens to the daemon
//! or to the target.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tare_testkit::{Client, Console, eventually, http};

type Received = Arc<Mutex<Vec<String>>>;

/// Takes connections until the test ends; what `talk` hears in each is received.
fn receive(port: u16, talk: fn(TcpStream) -> std::io::Result<String>) -> Received {
    let received = Received::default();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("listen");
    let all = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(message) = talk(stream) {
                all.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        }
    });
    received
}

fn webhook(stream: TcpStream) -> std::io::Result<String> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    String::from_utf8(body).map_err(std::io::Error::other)
}

fn mail(stream: TcpStream) -> std::io::Result<String> {
    let mut answer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    answer.write_all(b"220 test\r\n")?;
    let (mut line, mut mail) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 0 {
        let say: &[u8] = match line.trim_end() {
            "DATA" => {
                answer.write_all(b"354 go on\r\n")?;
                line.clear();
                while reader.read_line(&mut line)? > 0 && line != ".\r\n" {
                    mail.push_str(&line);
                    line.clear();
                }
                b"250 taken\r\n"
            }
            "QUIT" => {
                answer.write_all(b"221 bye\r\n")?;
                return Ok(mail);
            }
            _ => b"250 yes\r\n",
        };
        answer.write_all(say)?;
        line.clear();
    }
    Ok(mail)
}

fn documents(received: &Received) -> Vec<Value> {
    let all = received.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(|text| serde_json::from_str(text).expect("a document")).collect()
}

/// Waits for the message about an event.
fn message(received: &Received, event: &str) -> Value {
    eventually(event, || documents(received).into_iter().find(|message| message["Event"] == event))
}

fn console() -> Console {
    Console::new(Client::Tare)
}

#[test]
fn each_event_comes_with_the_last_lines() {
    let c = &console();
    let port = http::free_port();
    let received = receive(port, webhook);
    c.ok(&format!("alert add ops --on die,oom,unhealthy,restart --lines 2 --webhook http://127.0.0.1:{port}/x"));
    c.ok("run --name dies busybox:1.29 true");
    assert_eq!(message(&received, "die")["ExitCode"], 0);
    let code = c.run("run --rm --name gone busybox:1.29 sh -c 'echo one; echo two; echo three; exit 3'").status;
    assert_eq!(code, 3);
    let gone = eventually("the exit of a container that is gone", || {
        documents(&received).into_iter().find(|message| message["Container"]["Name"] == "gone")
    });
    assert_eq!(gone["ExitCode"], 3);
    assert_eq!(gone["Lines"], serde_json::json!(["two", "three"]));
    assert_eq!(gone["Container"]["Image"], "busybox:1.29");
    c.ok("run --detach --name sick --health-cmd false --health-interval 1s --health-retries 1 busybox:1.29 sleep 600");
    assert_eq!(message(&received, "unhealthy")["Container"]["Name"], "sick");
    c.ok("rm --force sick");
    c.ok("run --detach --name again --restart on-failure:1 busybox:1.29 sh -c 'echo up; exit 1'");
    let restart = message(&received, "restart");
    assert_eq!(restart["Container"]["Name"], "again");
    c.run("run --name big --memory 16m busybox:1.29 tail /dev/zero");
    assert_eq!(message(&received, "oom")["Container"]["Name"], "big");
}

#[test]
fn mail_comes_with_the_last_lines() {
    let c = &console();
    let port = http::free_port();
    let received = receive(port, mail);
    c.ok(&format!("alert add ops --on die --smtp smtp://127.0.0.1:{port} --to admin@work --container name=web"));
    c.ok("run --name other busybox:1.29 true");
    c.run("run --name web busybox:1.29 sh -c 'echo the last words; exit 7'");
    let text = eventually("mail", || received.lock().unwrap_or_else(PoisonError::into_inner).first().cloned());
    assert!(text.contains("To: admin@work"), "{text}");
    assert!(text.contains("web: die (exit code 7)"), "{text}");
    assert!(text.contains("the last words"), "{text}");
    assert!(!text.contains("other"), "{text}");
    c.until("alert ls --format {{.Sent}}", |sent| sent == "1");
}

#[test]
fn a_target_that_is_down_and_a_daemon_that_is_killed_lose_nothing() {
    let c = &mut console();
    let port = http::free_port();
    c.ok(&format!("alert add ops --on die --webhook http://127.0.0.1:{port}/"));
    c.run("run --name first busybox:1.29 sh -c 'exit 1'");
    c.ok("run --detach --name second busybox:1.29 sleep 600");
    let pid = c.ok("inspect --format {{.State.Pid}} second");
    assert_eq!(c.ok("alert ls --format '{{.Waiting}} {{.Sent}}'"), "1 0");
    let Some(engine) = c.engine_mut() else { return };
    engine.kill();
    // The second ends while there is no daemon.
    let status = std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    assert!(status.success());
    engine.resume();
    c.until("alert ls --format {{.Waiting}}", |waiting| waiting == "2");
    let received = receive(port, webhook);
    c.until("alert ls --format '{{.Waiting}} {{.Sent}}'", |counts| counts == "0 2");
    let names = |received: &Received| -> Vec<String> {
        documents(received).iter().map(|m| m["Container"]["Name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&received), ["first", "second"]);
    let Some(engine) = c.engine_mut() else { return };
    engine.kill();
    engine.resume();
    // Nothing is told twice: the next message is that of the next exit.
    c.run("run --name third busybox:1.29 true");
    eventually("the third", || (names(&received).len() > 2).then_some(()));
    assert_eq!(names(&received), ["first", "second", "third"]);
}

#[test]
fn containers_that_remove_themselves_are_told_of_though_nobody_saw_them_end() {
    let c = &mut console();
    let port = http::free_port();
    c.ok(&format!("alert add ops --on die --lines 2 --webhook http://127.0.0.1:{port}/"));
    let script = "trap \"echo bye; exit 7\" TERM; echo ready; while true; do sleep 0.05; done";
    for name in ["one", "two"] {
        c.ok(&format!(
            "run --detach --rm --label of={name} --volume /data --name {name} busybox:1.29 sh -c '{script}'"
        ));
        c.logged(name, "ready");
    }
    let pids = ["one", "two"].map(|name| c.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}")));
    let Some(engine) = c.engine_mut() else { return };
    engine.kill();
    for pid in &pids {
        assert!(std::process::Command::new("kill").args(["-TERM", pid]).status().expect("kill").success());
    }
    let bundles = engine.exec_root().join("containers");
    eventually("both to end", || {
        let all = std::fs::read_dir(&bundles).ok()?.flatten();
        (all.filter(|bundle| bundle.path().join("exit.json").exists()).count() == 2).then_some(())
    });
    // A daemon that dies as soon as it is there has told of them, or leaves it to the next.
    engine.resume();
    engine.kill();
    engine.resume();
    c.until("ps --all --quiet", str::is_empty);
    c.until("volume ls --quiet", str::is_empty);
    let received = receive(port, webhook);
    c.until("alert ls --format '{{.Waiting}} {{.Sent}}'", |counts| counts == "0 2");
    let mut told = documents(&received);
    told.sort_by_key(|message| message["Container"]["Name"].to_string());
    for (message, name) in told.iter().zip(["one", "two"]) {
        assert_eq!(message["Container"]["Name"], name);
        assert_eq!(message["Container"]["Labels"]["of"], name);
        assert_eq!(message["ExitCode"], 7);
        assert_eq!(message["Lines"], serde_json::json!(["ready", "bye"]));
    }
}

#[test]
fn rates_hold_back_and_tell() {
    let c = &console();
    let port = http::free_port();
    let received = receive(port, webhook);
    c.ok(&format!("alert add ops --on start --every 5s --webhook http://127.0.0.1:{port}/"));
    c.ok("create --name much busybox:1.29 true");
    for _ in 0..3 {
        c.ok("start --attach much");
    }
    c.until("alert inspect ops --format {{.Suppressed}}", |held| held == "2");
    // The window passes; then the next message tells of those that were held back.
    let told = eventually("a message after the window", || {
        c.ok("start --attach much");
        documents(&received).into_iter().find(|message| message["Suppressed"] != 0)
    });
    assert!(told["Suppressed"].as_u64().is_some_and(|held| held >= 2), "{told}");
}

#[test]
fn tests_tell_the_targets_error_and_removal_ends_it() {
    let c = &console();
    let port = http::free_port();
    c.ok(&format!("alert add hook --webhook http://me:secret@127.0.0.1:{port}/"));
    let said = c.fails("alert test hook", 1);
    assert!(said.contains("alert hook: ") && said.to_lowercase().contains("refused"), "{said}");
    assert!(!c.ok("alert inspect hook").contains("secret"));
    assert!(!c.ok("alert ls").contains("secret"));
    let received = receive(port, webhook);
    assert_eq!(c.ok("alert test hook"), "hook");
    assert_eq!(message(&received, "test")["Alert"], "hook");
    let file = c.path("ran");
    c.ok(&format!("alert add program --exec 'sh -c \"echo $TARE_ALERT_NAME; cat > {}\"'", file.display()));
    c.ok("alert test program");
    assert!(std::fs::read_to_string(&file).expect("the program's file").contains("\"Event\":\"test\""));
    c.ok("alert rm hook program");
    assert_eq!(c.ok("alert ls --quiet"), "");
    c.ok("run busybox:1.29 true");
    assert_eq!(documents(&received).len(), 1);
}

#[test]
fn mistakes_are_named() {
    let c = &console();
    c.ok("alert add a --webhook http://127.0.0.1:1/");
    for (line, said) in [
        ("alert add a --webhook http://127.0.0.1:1/", "alert \"a\" exists already"),
        ("alert add b --on dies --webhook http://127.0.0.1:1/", "unknown event \"dies\": must be one of die, oom"),
        ("alert add b --webhook http://127.0.0.1:1/ --exec true", "2 given"),
        ("alert add b --smtp smtp://127.0.0.1", "mail needs an address"),
        ("alert add b --webhook ftp://127.0.0.1", "unsupported scheme \"ftp\""),
        ("alert add b --exec true --container colour=red", "invalid filter"),
        ("alert inspect b", "no such alert: b"),
        ("alert rm b", "no such alert: b"),
        ("alert test b", "no such alert: b"),
    ] {
        let output = c.run(line);
        assert_ne!(output.status, 0, "{output}");
        assert!(output.stderr.contains(said), "{output}");
    }
}
