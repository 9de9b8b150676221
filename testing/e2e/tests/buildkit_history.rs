//! `docker buildx history`: what was built, when it is over and when another daemon runs.

mod buildx;

use buildx::Buildx;
use serde_json::Value;

/// The records, newest first.
fn list(b: &Buildx) -> Vec<Value> {
    let output = b.run("buildx history ls --no-trunc --format json");
    assert_eq!(output.status, 0, "{output}");
    output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn inspect(b: &Buildx, reference: &str) -> Value {
    let output = b.run(&format!("buildx history inspect --format json {reference}"));
    assert_eq!(output.status, 0, "{output}");
    serde_json::from_str(&output.stdout).expect("JSON")
}

/// The part of a reference that the daemon knows.
fn short(record: &Value) -> String {
    let reference = record["ref"].as_str().expect("a reference");
    reference.rsplit('/').next().expect("a part").to_owned()
}

#[test]
fn builds_are_recorded_and_outlive_the_daemon() {
    let mut b = Buildx::new();
    b.c.ok("pull busybox:1.29");
    assert!(list(&b).is_empty());
    b.files(&[
        ("Dockerfile", "FROM busybox:1.29\nARG WHO\nRUN echo said by $WHO\n"),
        ("Bad", "FROM busybox:1.29\nRUN exit 3\n"),
    ]);
    b.ok("build --build-arg WHO=me --label k=v -t one .");
    b.ok("build --build-arg WHO=me --label k=v -t one .");
    b.fails("build -f Bad .");
    let all = list(&b);
    let states: Vec<_> = all.iter().map(|record| record["status"].as_str().expect("a status")).collect();
    assert_eq!(states, ["Error", "Completed", "Completed"], "{all:?}");
    let first = short(&all[2]);
    let shown = inspect(&b, &first);
    assert_eq!(shown["BuildArgs"][0]["Name"], "WHO", "{shown}");
    assert_eq!(shown["Labels"][0]["Value"], "v", "{shown}");
    assert_eq!((&shown["Status"], &shown["NumCachedSteps"]), (&"completed".into(), &0.into()), "{shown}");
    assert_eq!(shown["NumCompletedSteps"], shown["NumTotalSteps"], "{shown}");
    let cached = inspect(&b, &short(&all[1]));
    assert_eq!(cached["NumCachedSteps"], 1, "{cached}");
    let bad = inspect(&b, &short(&all[0]));
    let why = "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3";
    assert!(bad["Error"]["Message"].as_str().is_some_and(|said| said.ends_with(why)), "{bad}");
    // Without a format, for people.
    assert!(b.run(&format!("buildx history inspect {first}")).stdout.contains("(0% cached)"));
    let logs = |b: &Buildx| b.run(&format!("buildx history logs {first}"));
    let before = logs(&b);
    assert!(before.status == 0 && before.stderr.contains("said by me"), "{before}");
    let engine = b.c.engine_mut().expect("an engine");
    engine.stop();
    engine.resume();
    assert_eq!(list(&b).len(), 3);
    assert_eq!(logs(&b).stderr, before.stderr);
    let filtered = b.run("buildx history ls --filter status=error --format {{.Status}}");
    assert_eq!(filtered.stdout.trim(), "Error", "{filtered}");
    assert_eq!(b.run(&format!("buildx history rm {first}")).status, 0);
    assert_eq!(list(&b).len(), 2);
    let gone = b.run(&format!("buildx history logs {first}"));
    assert!(gone.status == 1 && gone.stderr.contains("no record found for ref"), "{gone}");
    let nosuch = b.fails("buildx history rm nosuch");
    assert!(nosuch.contains("lease \"ref_nosuch\": not found"), "{nosuch}");
    assert_eq!(b.run("buildx history rm --all").status, 0);
    assert!(list(&b).is_empty());
}
