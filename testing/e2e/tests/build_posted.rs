//! `POST /build` with `version=2`, as clients without gRPC send it: the context in the body, BuildKit's messages as the answer.

use std::process::Command;

use serde_json::Value;
use tare_testkit::{Client, Console, eventually};

/// An archive of a context, which is text.
fn archive(c: &Console, dockerfile: &str) -> String {
    std::fs::write(c.path("Dockerfile"), dockerfile).expect("Dockerfile");
    std::fs::write(c.path("file"), "text of a file\n").expect("file");
    let output = Command::new("tar").args(["-c", "Dockerfile", "file"]).current_dir(c.path("")).output().expect("tar");
    String::from_utf8(output.stdout).expect("text")
}

/// Sends a build; its messages.
fn build(c: &Console, query: &str, dockerfile: &str) -> (u16, Vec<Value>) {
    let body = archive(c, dockerfile);
    let (status, answer) =
        c.request(&format!("POST /build?version=2{query}"), "Content-Type: application/x-tar\r\n", &body);
    let messages = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (status, messages)
}

#[test]
fn steps_and_the_image_are_told() {
    let c = Console::new(Client::Tare);
    c.ok("pull busybox:1.29");
    let dockerfile =
        "FROM busybox:1.29 AS a\nARG WHO\nRUN echo $WHO >/who\nFROM a AS b\nCOPY file /\nFROM b AS c\nRUN false\n";
    let (status, messages) =
        build(&c, "&target=b&t=posted:1&t=other&buildargs={\"WHO\":\"me\"}&labels={\"k\":\"v\"}", dockerfile);
    assert_eq!(status, 200, "{messages:?}");
    let (last, steps) = messages.split_last().expect("messages");
    assert_eq!(last["id"], "moby.image.id");
    let id = last["aux"]["ID"].as_str().expect("an ID");
    assert_eq!(c.ok("image inspect --format {{.Id}} posted:1"), id);
    assert_eq!(c.ok("image inspect --format {{.Config.Labels.k}} other"), "v");
    assert_eq!(c.ok("run --rm posted:1 cat /who /file"), "me\ntext of a file");
    assert!(!steps.is_empty());
    for step in steps {
        assert_eq!(step["id"], "moby.buildkit.trace");
        // Base64 of a message whose fields are vertices (1), statuses (2) or logs (3), all with a length.
        let text = step["aux"].as_str().expect("text");
        assert!(text.starts_with(['C', 'E', 'G']), "{text}");
    }
    // Nothing but the ID.
    let (status, messages) = build(&c, "&q=1&t=quiet&nocache=1", "FROM busybox:1.29\nRUN true\n");
    let id = c.ok("image inspect --format {{.Id}} quiet");
    assert_eq!((status, messages), (200, vec![serde_json::json!({ "stream": format!("{id}\n") })]));
}

#[test]
fn what_goes_wrong_is_said() {
    let c = Console::new(Client::Tare);
    c.ok("pull busybox:1.29");
    let (status, messages) = build(&c, "&t=failing", "FROM busybox:1.29\nRUN exit 3\n");
    assert_eq!(status, 200);
    let said = "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3";
    let error = messages.last().expect("messages")["error"].as_str().expect("an error");
    assert!(error.ends_with(said), "{error}");
    assert_eq!(c.ok("image ls --quiet failing"), "");
    let refused = |query: &str| {
        let (status, messages) = build(&c, query, "FROM busybox:1.29\n");
        (status, messages[0]["message"].as_str().unwrap_or_default().to_owned())
    };
    let said = "invalid reference format: repository name (library/UPPER) must be lowercase";
    assert_eq!(refused("&t=UPPER"), (400, said.to_owned()));
    let said = "network mode \"x\" not supported by buildkit";
    assert_eq!(refused("&networkmode=x"), (500, said.to_owned()));
    let outputs = "&outputs=[{\"Type\":\"tar\"},{\"Type\":\"local\"}]";
    assert_eq!(refused(outputs), (500, "multiple outputs not supported".to_owned()));
    eventually("the containers of steps to go", || c.ok("ps --all --quiet").is_empty().then_some(()));
}

#[test]
fn a_build_is_cancelled_by_its_name() {
    let c = Console::new(Client::Tare);
    c.ok("pull busybox:1.29");
    let (status, said) = c.request("POST /build/cancel", "", "");
    assert_eq!((status, said.trim()), (400, r#"{"message":"build ID not provided"}"#));
    // None of that name is none to end.
    assert_eq!(c.request("POST /build/cancel?id=other", "", ""), (200, String::new()));
    std::thread::scope(|scope| {
        let building = scope.spawn(|| build(&c, "&buildid=mine&t=never", "FROM busybox:1.29\nRUN sleep 1000\n"));
        eventually("the command to run", || (!c.ok("ps --quiet").is_empty()).then_some(()));
        assert_eq!(c.request("POST /build/cancel?id=mine", "", "").0, 200);
        let (status, messages) = building.join().expect("built");
        let error = messages.last().expect("messages")["error"].as_str().expect("an error").to_owned();
        assert_eq!((status, error.as_str()), (200, "context canceled"));
    });
    eventually("the command's container to go", || c.ok("ps --all --quiet").is_empty().then_some(()));
    assert_eq!(c.ok("image ls --quiet never"), "");
}
