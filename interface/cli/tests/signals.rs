//! Signals of the client reach the container. A process of its own: signals are for the whole process.

mod support;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use support::{Answer, Daemon, tare};

#[test]
fn signals_are_sent_on_as_soon_as_the_container_runs() {
    let daemon = Daemon::start(|daemon, seen| match seen.line.as_str() {
        "POST /containers/create" => Answer::Json(201, json!({"Id": "c1", "Warnings": []})),
        line if line.contains("/attach?") => {
            Answer::Takeover { after: "killed", output: Vec::new(), read_input: false, then: "ended" }
        }
        line if line.contains("/wait?") => Answer::Later("ended", json!({"StatusCode": 130})),
        "POST /containers/c1/start" => {
            // It arrives before the client knows that the container runs.
            kill_process(getpid(), Signal::INT).unwrap();
            Answer::Nothing
        }
        "POST /containers/c1/kill?signal=INT" => {
            daemon.set("killed");
            Answer::Nothing
        }
        _ => Answer::Json(404, json!({"message": "unexpected"})),
    });
    let run = tare(&daemon, &["run", "busybox"], b"");
    assert_eq!((run.code, run.err.as_str()), (130, ""));
    let lines: Vec<String> = daemon.seen().into_iter().map(|s| s.line).collect();
    assert_eq!(lines[3..], ["POST /containers/c1/start", "POST /containers/c1/kill?signal=INT"]);
}
