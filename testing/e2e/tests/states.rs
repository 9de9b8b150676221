//! The states of a container's life.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(from_created_to_exited, restarting);

fn from_created_to_exited(c: &Console) {
    c.ok("create --name life busybox:1.29 sleep 1000");
    let status = || c.ok("ps --all --filter name=life --format {{.Status}}");
    assert_eq!((c.state("life").as_str(), status().as_str()), ("created", "Created"));
    c.ok("start life");
    assert_eq!(c.state("life"), "running");
    assert!(status().starts_with("Up "), "{}", status());
    c.ok("pause life");
    assert_eq!(c.state("life"), "paused");
    assert!(status().starts_with("Up ") && status().ends_with(" (Paused)"), "{}", status());
    c.ok("unpause life");
    assert_eq!(c.state("life"), "running");
    c.ok("stop --timeout 0 life");
    assert_eq!(c.state("life"), "exited");
    assert!(status().starts_with("Exited (137) "), "{}", status());
    c.ok("start life");
    assert_eq!(c.state("life"), "running");
}

fn restarting(c: &Console) {
    c.ok("run -d --name again --restart always busybox:1.29 false");
    c.until("inspect --format {{.State.Status}} again", |state| state == "restarting");
    c.until("inspect --format {{.RestartCount}} again", |count| count.parse::<u32>().is_ok_and(|count| count >= 2));
    let status = c.until("ps --all --filter name=again --format {{.Status}}", |status| !status.starts_with("Up"));
    assert!(status.starts_with("Restarting (1) "), "{status}");
}
