//! Alerts that run a program: what it is given, that it is tried again, and that it is ended when it does not end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tare_testkit::{Client, Console, eventually};

/// A shell script of the test.
fn script(c: &Console, name: &str, text: &str) -> PathBuf {
    let path = c.path(name);
    fs::write(&path, format!("#!/bin/sh\ncd {}\n{text}", c.path("").display())).expect("script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("script");
    path
}

/// A file that is there, or will be, whole.
fn written(path: &Path) -> String {
    eventually("the program to have run", || fs::read_to_string(path).ok())
}

#[test]
fn a_program_gets_the_message_and_is_tried_again() {
    let c = &Console::new(Client::Tare);
    // Fails the first time.
    let text = "[ -e tried ] || { touch tried; exit 9; }\n\
                cat >stdin\nenv | grep ^TARE_ALERT_ | sort >env\npwd >pwd\nprintf '<%s>' \"$@\" >new\nmv new arguments\n";
    let program = script(c, "program", text);
    let words = "one 'two words' \"$HOME;*\" ''";
    let line = format!("{} {words}", program.display()).replace('"', "\\\"");
    c.ok(&format!("alert add ops --on die --lines 2 --exec \"{line}\""));
    let code = c.run("run --name web --label a=b busybox:1.29 sh -c 'echo one; echo two; echo three; exit 7'").status;
    assert_eq!(code, 7);
    // No shell has seen it.
    assert_eq!(written(&c.path("arguments")), "<one><two words><$HOME;*><>");
    let document: Value = serde_json::from_str(&written(&c.path("stdin"))).expect("a document");
    assert_eq!(document["Event"], "die");
    assert_eq!(document["ExitCode"], 7);
    assert_eq!(document["Lines"], serde_json::json!(["two", "three"]));
    assert_eq!(document["Container"]["Labels"], serde_json::json!({ "a": "b" }));
    let id = c.ok("inspect --format {{.Id}} web");
    let field = |name: &str| document[name].as_str().expect("text").to_owned();
    let expected = [
        format!("TARE_ALERT_CONTAINER_ID={id}"),
        "TARE_ALERT_CONTAINER_NAME=web".to_owned(),
        "TARE_ALERT_EVENT=die".to_owned(),
        "TARE_ALERT_EXIT_CODE=7".to_owned(),
        format!("TARE_ALERT_ID={}", field("ID")),
        "TARE_ALERT_IMAGE=busybox:1.29".to_owned(),
        "TARE_ALERT_NAME=ops".to_owned(),
        "TARE_ALERT_SUPPRESSED=0".to_owned(),
        format!("TARE_ALERT_TIME={}", field("Time")),
    ];
    assert_eq!(written(&c.path("env")).lines().collect::<Vec<_>>(), expected);
    c.until("alert inspect ops --format '{{.Sent}} {{.Failed}} {{.Waiting}}'", |counts| counts == "1 0 0");
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let c = &Console::new(Client::Tare);
    let program = script(c, "program", "sleep 987 & echo $! >pid; exit 0\n");
    c.ok(&format!("alert add ops --exec {}", program.display()));
    assert_eq!(c.ok("alert test ops"), "ops");
    ends(&written(&c.path("pid")));
    // One that does not end, and whoever it has started.
    let program = script(c, "slow", "sleep 987 & echo $! >slow.pid; wait\n");
    c.ok(&format!("alert add slow --exec {}", program.display()));
    let said = c.fails("alert test slow", 1);
    assert!(said.contains("no answer within 30 seconds"), "{said}");
    ends(&written(&c.path("slow.pid")));
}

/// Waits until there is no such process.
fn ends(pid: &str) {
    let path = format!("/proc/{}/stat", pid.trim());
    // Dead, or waiting for somebody to take note of it.
    let is_dead = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
    eventually("the process to end", || fs::read_to_string(&path).map_or(true, |stat| is_dead(&stat)).then_some(()));
}

#[test]
fn programs_that_are_wrong_are_said_to_be() {
    let c = &Console::new(Client::Tare);
    let fails = script(c, "fails", "exit 3\n");
    let not_executable = c.path("text");
    fs::write(&not_executable, "text").expect("file");
    for (program, said) in [
        (fails.display().to_string(), "exit status: 3"),
        ("/no/such/program".to_owned(), "No such file or directory"),
        (not_executable.display().to_string(), "Permission denied"),
    ] {
        c.ok(&format!("alert add ops --exec {program}"));
        let all = c.fails("alert test ops", 1);
        assert!(all.contains("alert ops: ") && all.contains(said), "{all}");
        c.ok("alert rm ops");
    }
    // Words that cannot be taken apart are refused at once.
    let all = c.fails("alert add ops --exec \"sh -c 'no end\"", 1);
    assert!(!all.is_empty());
}
