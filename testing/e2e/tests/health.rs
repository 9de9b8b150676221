//! Health checks, and the restart policy that heeds them.

use std::time::SystemTime;

use tare_testkit::{Console, with_both_clients};

with_both_clients!(healthy_and_not, first_steps_are_forgiven, too_slow, paused, none, mistakes, restarts, retries);

const STATUS: &str = "inspect --format '{{with .State.Health}}{{.Status}}{{end}}'";

/// What has happened to a container since a time.
fn events(c: &Console, since: &str, options: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_nanos();
    let until = format!("{}.{:09}", now / 1_000_000_000, now % 1_000_000_000);
    c.ok(&format!("events --since {since} --until {until} {options} --format {{{{.Action}}}}"))
}

fn healthy_and_not(c: &Console) {
    let options = "--health-cmd 'cat /tmp/well' --health-interval 100ms --health-retries 2";
    let id = c.ok(&format!("run -d --name patient {options} busybox:1.29 sleep 1000"));
    let since = c.ok("inspect --format {{.State.StartedAt}} patient");
    c.until(&format!("{STATUS} patient"), |status| status == "unhealthy");
    let health = c.ok("inspect --format '{{json .State.Health}}' patient");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert!(health["FailingStreak"].as_u64().is_some_and(|streak| streak >= 2), "{health}");
    let first = &health["Log"][0];
    assert_eq!(first["ExitCode"], 1, "{health}");
    assert!(first["Output"].as_str().is_some_and(|text| text.contains("can't open '/tmp/well'")), "{health}");
    assert!(c.ok("ps --format {{.Status}}").ends_with(" (unhealthy)"));
    assert_eq!(c.ok("ps --quiet --no-trunc --filter health=unhealthy"), id);
    c.ok("exec patient touch /tmp/well");
    c.until(&format!("{STATUS} patient"), |status| status == "healthy");
    assert_eq!(c.ok("inspect --format {{.State.Health.FailingStreak}} patient"), "0");
    assert!(c.ok("ps --format {{.Status}}").ends_with(" (healthy)"));
    assert_eq!(c.ok("ps --quiet --filter health=unhealthy"), "");
    // No more than five results are kept.
    c.until("inspect --format '{{len .State.Health.Log}}' patient", |count| count == "5");
    let events = events(c, &since, "--filter event=health_status");
    assert_eq!(events, "health_status: unhealthy\nhealth_status: healthy");
    c.ok("stop -t 0 patient");
    assert!(!c.ok("ps --all --format {{.Status}}").contains("health"));
}

/// Failures in the start period do not count, a success ends it.
fn first_steps_are_forgiven(c: &Console) {
    let options = "--health-cmd 'test -e /tmp/well' --health-interval 100ms --health-retries 1 --health-start-period 1h \
                   --health-start-interval 100ms";
    c.ok(&format!("run -d --name starter {options} busybox:1.29 sleep 1000"));
    c.until("inspect --format '{{len .State.Health.Log}}' starter", |count| count.parse::<u32>().is_ok_and(|n| n >= 3));
    assert_eq!(c.ok(&format!("{STATUS} starter")), "starting");
    assert!(c.ok("ps --format {{.Status}}").ends_with(" (health: starting)"));
    c.ok("exec starter touch /tmp/well");
    c.until(&format!("{STATUS} starter"), |status| status == "healthy");
    c.ok("exec starter rm /tmp/well");
    c.until(&format!("{STATUS} starter"), |status| status == "unhealthy");
    // A failed check is no failure of the container.
    assert_eq!(c.ok("inspect --format '{{.State.Status}} {{.RestartCount}}' starter"), "running 0");
}

/// A check that takes too long has failed, and is ended.
fn too_slow(c: &Console) {
    let options = "--health-cmd 'echo begun; sleep 777' --health-interval 100ms --health-timeout 1s --health-retries 1";
    c.ok(&format!("run -d --name slow {options} busybox:1.29 sleep 1000"));
    c.until(&format!("{STATUS} slow"), |status| status == "unhealthy");
    let log = c.ok("inspect --format '{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}' slow");
    assert_eq!(log, "-1 Health check exceeded timeout (1s): begun\n");
    c.until("inspect --format '{{len .State.Health.Log}}' slow", |count| count.parse::<u32>().is_ok_and(|n| n >= 3));
    // Its shell is gone; what that had started may be orphaned, but not one per check is left under a shell.
    let shells = |table: &str| table.lines().filter(|line| line.contains("echo begun")).count();
    c.until("top slow -o pid,args", |table| shells(table) <= 1);
}

/// What is frozen is not ill.
fn paused(c: &Console) {
    let options = "--health-cmd true --health-interval 100ms --health-timeout 200ms --health-retries 1";
    c.ok(&format!("run -d --name cold {options} busybox:1.29 sleep 1000"));
    c.until(&format!("{STATUS} cold"), |status| status == "healthy");
    let since = c.ok("inspect --format {{.State.StartedAt}} cold");
    c.ok("pause cold");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(c.ok(&format!("{STATUS} cold")), "healthy");
    c.ok("unpause cold");
    let events = events(c, &since, "--filter event=health_status");
    assert_eq!(events, "health_status: healthy");
}

fn none(c: &Console) {
    c.ok("run -d --name checked --health-cmd true busybox:1.29 sleep 1000");
    c.ok("commit checked checked:1");
    c.ok("run -d --name inherits checked:1 sleep 1000");
    assert_eq!(c.ok(&format!("{STATUS} inherits")), "starting");
    assert_eq!(c.ok("inspect --format '{{json .Config.Healthcheck.Test}}' inherits"), "[\"CMD-SHELL\",\"true\"]");
    c.ok("run -d --name without --no-healthcheck checked:1 sleep 1000");
    assert_eq!(c.ok("inspect --format '{{json .State.Health}}' without"), "null");
    assert_eq!(c.ok("inspect --format '{{json .Config.Healthcheck.Test}}' without"), "[\"NONE\"]");
    c.ok("rm -f checked inherits without");
    c.ok("rmi checked:1");
}

fn mistakes(c: &Console) {
    for (options, text) in [
        ("--no-healthcheck --health-cmd true", "--no-healthcheck conflicts with --health-* options"),
        ("--health-cmd true --health-interval 1us", "Interval in Healthcheck cannot be less than 1ms"),
        ("--health-cmd true --health-timeout 1us", "Timeout in Healthcheck cannot be less than 1ms"),
        ("--health-cmd true --health-start-period 1us", "StartPeriod in Healthcheck cannot be less than 1ms"),
        ("--health-cmd true --health-start-interval 1us", "StartInterval in Healthcheck cannot be less than 1ms"),
    ] {
        let refused = c.run(&format!("create {options} busybox:1.29"));
        assert_ne!(refused.status, 0, "{refused}");
        assert!(refused.stderr.contains(text), "{refused}");
    }
    assert_eq!(c.ok("ps --all --quiet"), "");
}

/// Ours, not Docker's: an unhealthy container is ended politely and started again.
fn restarts(c: &Console) {
    let script = "trap \"echo ends; exit 0\" TERM; echo run; touch /tmp/well; while true; do sleep 0.1; done";
    let options = "--restart on-unhealthy --health-cmd 'test -e /tmp/well' --health-interval 100ms --health-retries 2";
    c.ok(&format!("run -d --name phoenix {options} busybox:1.29 sh -c '{script}'"));
    assert_eq!(
        c.ok("inspect --format '{{json .HostConfig.RestartPolicy}}' phoenix"),
        "{\"Name\":\"on-unhealthy\",\"MaximumRetryCount\":0}"
    );
    let since = c.ok("inspect --format {{.State.StartedAt}} phoenix");
    c.until(&format!("{STATUS} phoenix"), |status| status == "healthy");
    c.ok("exec phoenix rm /tmp/well");
    c.until("inspect --format {{.RestartCount}} phoenix", |count| count == "1");
    c.until("logs phoenix", |logs| logs == "run\nends\nrun");
    c.until(&format!("{STATUS} phoenix"), |status| status == "healthy");
    let events = events(c, &since, "--filter container=phoenix");
    let wanted = ["health_status: unhealthy", "kill", "die", "start", "health_status: healthy"];
    let mut events =
        events.lines().filter(|action| !action.starts_with("exec_")).skip_while(|action| *action != wanted[0]);
    assert!(wanted.iter().all(|action| events.next() == Some(*action)), "{wanted:?}");
}

/// Without restarts left it goes on as it is; by hand it stays stopped.
fn retries(c: &Console) {
    let options =
        "--restart on-unhealthy:2 --health-cmd false --health-interval 100ms --health-retries 1 --stop-timeout 0";
    c.ok(&format!("run -d --name hopeless {options} busybox:1.29 sleep 1000"));
    c.until(
        "inspect --format '{{.RestartCount}} {{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}' hopeless",
        |state| state == "2 running unhealthy",
    );
    c.ok("stop hopeless");
    assert_eq!(c.state("hopeless"), "exited");
    // A failure counts as it does with on-failure, success ends it.
    c.ok("run -d --name fails --restart on-unhealthy:2 --health-cmd true busybox:1.29 sh -c 'exit 3'");
    c.until("inspect --format '{{.RestartCount}} {{.State.Status}}' fails", |state| state == "2 exited");
    c.ok("run -d --name done --restart on-unhealthy --health-cmd true busybox:1.29 true");
    c.until("inspect --format '{{.RestartCount}} {{.State.Status}}' done", |state| state == "0 exited");
    let unchecked = c.run("run -d --restart on-unhealthy busybox:1.29 sleep 1000");
    assert_eq!(unchecked.status, 0, "{unchecked}");
    assert!(unchecked.stderr.contains("without a health check"), "{unchecked}");
    let refused = c.fails("create --restart on-unhealthy:-1 busybox:1.29", 1);
    assert!(refused.contains("maximum retry count cannot be negative"), "{refused}");
}
