//! What a container, an exec or an image's volume is before the first start.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    a_working_directory_is_there_before_the_start,
    no_volume_where_a_file_is,
    a_run_that_names_no_command,
    a_command_that_is_empty,
    execs_are_for_one_run,
    containers_of_images_made_from_others
);

/// Files can be copied there at once.
fn a_working_directory_is_there_before_the_start(c: &Console) {
    std::fs::write(c.path("note"), "here").expect("a file");
    c.ok("create --name box -w /srv/deep/down busybox:1.29 cat note");
    c.ok("cp note box:/srv/deep/down/");
    assert_eq!(c.ok("start --attach box"), "here");
    // What the image has is not made again.
    c.ok("create --name other -w /usr/bin busybox:1.29 true");
    assert_eq!(c.ok("diff other"), "");
    assert_eq!(
        c.ok("diff box").lines().filter(|line| line.ends_with("/srv/deep")).collect::<Vec<_>>(),
        ["A /srv/deep"]
    );
    let refused = c.fails("create -w /etc/passwd busybox:1.29 true", 1);
    assert!(refused.contains("Cannot mkdir: /etc/passwd is not a directory"), "{refused}");
    // Links lead where they lead in the container.
    std::fs::write(c.path("Dockerfile"), "FROM busybox:1.29\nRUN mkdir /real && ln -s /real /link").expect("a file");
    c.ok("build -t linked .");
    c.ok("create --name through -w /link/below linked true");
    c.ok("cp note through:/real/below/");
}

fn no_volume_where_a_file_is(c: &Console) {
    let refused = c.fails("run --rm -v /etc/passwd busybox:1.29 true", 125);
    assert!(refused.contains("cannot mount volume over existing file, file exists"), "{refused}");
    assert_eq!(c.ok("volume ls -q"), "");
    std::fs::write(c.path("Dockerfile"), "FROM busybox:1.29\nRUN touch /foo\nVOLUME /foo").expect("a file");
    let refused = c.fails("build .", 1);
    assert!(refused.contains("file exists"), "{refused}");
}

fn a_run_that_names_no_command(c: &Console) {
    let file = "FROM busybox:1.29\nCMD [\"touch\", \"/by-default\"]\nRUN []";
    std::fs::write(c.path("Dockerfile"), file).expect("a file");
    c.ok("build -t empty .");
    assert_eq!(c.ok("run --rm empty ls /by-default"), "/by-default");
}

/// One word that is empty is a command; that there is no such program is the start's to say.
fn a_command_that_is_empty(c: &Console) {
    c.ok("create --name box busybox:1.29 ''");
    let refused = c.fails("start box", 1);
    assert!(refused.contains("exec: \"\": executable file not found in $PATH"), "{refused}");
    assert_eq!(c.ok("inspect --format '{{.State.Status}} {{.State.ExitCode}}' box"), "created 127");
}

fn execs_are_for_one_run(c: &Console) {
    const JSON: &str = "Content-Type: application/json\r\n";
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let id = c.ok("inspect --format {{.Id}} box");
    let create = || {
        let (status, body) = c.request("POST /containers/box/exec", JSON, r#"{"Cmd":["true"]}"#);
        assert_eq!(status, 201, "{body}");
        body.split('"').nth(3).expect("an ID").to_owned()
    };
    let start = |exec: &str| c.request(&format!("POST /exec/{exec}/start"), JSON, r#"{"Detach":true}"#);
    let (before, done) = (create(), create());
    assert_eq!(start(&done).0, 200);
    c.ok("stop -t 0 box");
    let gone = format!("{{\"message\":\"No such exec instance: {before}\"}}");
    assert_eq!(start(&before), (404, gone.clone()));
    assert_eq!(start(&done), (409, format!("{{\"message\":\"container {id} is not running\"}}")));
    c.ok("start box");
    assert_eq!(start(&before), (404, gone));
    let exec = create();
    c.ok("pause box");
    let words = format!("{{\"message\":\"Container {id} is paused, unpause the container before exec\"}}");
    assert_eq!(start(&exec), (409, words));
    c.ok("unpause box");
    assert_eq!(start(&exec).0, 200);
    assert_eq!(start(&exec).0, 409);
}

/// `ancestor` names an image and means those that were made from it, too.
fn containers_of_images_made_from_others(c: &Console) {
    std::fs::write(c.path("Dockerfile"), "FROM busybox:1.29\nLABEL a=b").expect("a file");
    c.ok("build -t child .");
    std::fs::write(c.path("Dockerfile"), "FROM child\nRUN touch /x").expect("a file");
    c.ok("build -t grandchild .");
    std::fs::write(c.path("Dockerfile"), "FROM busybox:1.29\nLABEL c=d").expect("a file");
    c.ok("build -t sibling .");
    for image in ["busybox:1.29", "child", "grandchild", "sibling"] {
        c.ok(&format!("create --name of-{} {image} true", image.trim_end_matches(":1.29")));
    }
    let by = |filter: &str| {
        let names = c.ok(&format!("ps -a --format {{{{.Names}}}} {filter}"));
        let mut names: Vec<_> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(by("-f ancestor=busybox:1.29"), ["of-busybox", "of-child", "of-grandchild", "of-sibling"]);
    assert_eq!(by("-f ancestor=child"), ["of-child", "of-grandchild"]);
    assert_eq!(by("-f ancestor=grandchild"), ["of-grandchild"]);
    assert_eq!(by("-f ancestor=sibling -f ancestor=grandchild"), ["of-grandchild", "of-sibling"]);
    assert_eq!(by("-f ancestor=nothing"), [""; 0]);
}
