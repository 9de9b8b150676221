//! Names and IDs.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(a_name_is_taken_once, names_come_back, any_reference_will_do, ids_in_files, the_latest, given_names);

fn a_name_is_taken_once(c: &Console) {
    let first = c.ok("run -d --name webid nginx");
    let refused = c.fails("run -d --name webid nginx", 125);
    let expected = format!(
        "Error response from daemon: Conflict. The container name \"/webid\" is already in use by container \"{first}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    );
    assert!(refused.contains(&expected), "{refused}");
    c.ok("rename webid webid-old");
    let second = c.ok("run -d --name webid nginx");
    assert_eq!(c.ok("inspect --format {{.Name}} webid-old"), "/webid-old");
    assert_eq!(c.ok("inspect --format {{.Id}} webid"), second);
}

/// Whatever ended a container, or kept it from being made, its name and those of its links can be had again.
fn names_come_back(c: &Console) {
    c.ok("create --name db busybox:1.29");
    for _ in 0..2 {
        c.ok("create --name site --link db:mysql busybox:1.29");
        c.ok("rm site");
    }
    c.fails("create --name picky --log-opt nonsense=1 busybox:1.29", 1);
    c.fails("create --name picky --link nobody:x busybox:1.29", 1);
    c.fails("create --name picky --link db:x --link nobody:y busybox:1.29", 1);
    c.fails("create --name picky -v a:b:c:d busybox:1.29", 1);
    // Said twice is said once.
    c.ok("create --name picky --link db:x --link db:x busybox:1.29");
    c.ok("rm picky");
    c.ok("create --name picky --link db:x busybox:1.29");
}

fn any_reference_will_do(c: &Console) {
    let id = c.ok("run -d --name by-name busybox:1.29 sleep 1000");
    for reference in [&id, &id[..12], &id[..6], "by-name"] {
        assert_eq!(c.ok(&format!("inspect --format {{{{.Id}}}} {reference}")), id);
        assert_eq!(c.ok(&format!("exec {reference} echo here")), "here");
        assert_eq!(c.ok(&format!("pause {reference}")), reference);
        assert_eq!(c.ok(&format!("unpause {reference}")), reference);
        assert!(c.ok(&format!("top {reference}")).contains("sleep 1000"));
    }
    assert_eq!(c.ok(&format!("rm -f {}", &id[..10])), id[..10]);
}

fn ids_in_files(c: &Console) {
    let id = c.ok("create busybox:1.29");
    assert_eq!(id.len(), 64);
    assert_eq!(c.state(&id), "created");
    let id = c.ok("create --cidfile web.cid busybox:1.29");
    let file = std::fs::read_to_string(c.path("web.cid")).expect("the file");
    assert_eq!(file, id);
    let before = c.ok("ps -aq");
    let refused = c.fails("create --cidfile web.cid busybox:1.29", 1);
    assert!(refused.contains("container ID file found, make sure the other container isn't running or delete web.cid"));
    assert_eq!(c.ok("ps -aq"), before);
}

fn the_latest(c: &Console) {
    c.ok("run -d busybox:1.29 sleep 1000");
    let latest = c.ok("create busybox:1.29");
    assert_eq!(c.ok("ps --latest --quiet"), latest[..12]);
    assert_eq!(c.ok("ps -l -q"), latest[..12]);
    assert_eq!(c.ok("ps -l -q --no-trunc"), latest);
}

fn given_names(c: &Console) {
    let name = |id: String| c.ok(&format!("inspect --format {{{{.Name}}}} {id}"));
    let (one, two) = (name(c.ok("create busybox:1.29")), name(c.ok("create busybox:1.29")));
    for given in [&one, &two] {
        let words: Vec<&str> = given.trim_start_matches('/').split('_').collect();
        assert_eq!(words.len(), 2, "{given}");
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())), "{given}");
    }
    assert_ne!(one, two);
}
