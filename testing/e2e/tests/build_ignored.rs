//! What a build does not see: the patterns of `.dockerignore` as Docker reads them, and the Dockerfile that comes from elsewhere.

mod buildx;

use std::io::Write as _;
use std::process::{Command, Stdio};

use buildx::Buildx;
use tare_testkit::{Console, eventually, with_both_clients};

with_both_clients!(comments_and_stars, a_dockerfile_from_elsewhere, a_dockerfile_in_lower_case);

/// Comments begin in the first column; `**` at the end means what is below, not the directory.
const IGNORED: &str =
    "# a comment\nfoo\n#dir/foo\n#1\n  #2\n/dir1/dir3/**\n**/dir4/**\n**/file?A\n**/file\\?B\n**/dir5/file.\n";
const FILES: &[&str] = &[
    "foo",
    "dir/foo",
    "#1",
    "#2",
    "dir1/dir3/f",
    "dir1/dir4/f",
    "dir1/dir5/fileAA",
    "dir1/dir5/fileAB",
    "dir1/dir5/fileB",
];
const SEEN: &str = "#1,dir,dir/foo,dir1,dir1/dir3,dir1/dir4,dir1/dir5,dir1/dir5/fileAB,dir1/dir5/fileB,";

fn dockerfile(what: &str) -> String {
    format!(
        "FROM busybox:1.29\nWORKDIR /all\n{what}\nRUN find . -mindepth 1 | cut -c3- | sort | tr '\\n' , >/seen\nCMD cat /seen\n"
    )
}

fn nothing_left(c: &Console) {
    let Some(engine) = c.engine() else { return };
    eventually("the builds' files to go", || engine.stored("builds").is_empty().then_some(()));
    c.remove_all();
}

fn comments_and_stars(c: &Console) {
    c.write_context(&FILES.iter().map(|name| (*name, "")).collect::<Vec<_>>());
    c.write_context(&[(".dockerignore", IGNORED), ("Dockerfile", &dockerfile("COPY . ."))]);
    c.ok("build -t seen context");
    assert_eq!(
        c.ok("run --rm seen"),
        format!("#1,.dockerignore,Dockerfile,{}", SEEN.strip_prefix("#1,").expect("first"))
    );
    nothing_left(c);
}

#[test]
fn comments_and_stars_with_buildx() {
    let b = Buildx::new();
    b.files(&FILES.iter().map(|name| (*name, "")).collect::<Vec<_>>());
    b.files(&[(".dockerignore", IGNORED), ("../Other", &dockerfile("COPY . ."))]);
    b.ok("build -f ../Other -t seen .");
    assert_eq!(b.c.ok("run --rm seen"), format!("#1,.dockerignore,{}", SEEN.strip_prefix("#1,").expect("first")));
}

/// Whether it comes on standard input or is outside of the context: no instruction sees it.
fn a_dockerfile_from_elsewhere(c: &Console) {
    c.write_context(&[("kept", ""), ("left", ""), ("../Other", &dockerfile("COPY . ."))]);
    c.ok(&format!("build -f {} -t outside context", c.path("Other").display()));
    assert_eq!(c.ok("run --rm outside"), "kept,left,");
    c.write_context(&[(".dockerignore", "left")]);
    let (program, host) = c.typed();
    let mut command = Command::new(program);
    command.args(["build", "-f", "-", "-t", "piped"]).arg(c.path("context")).env("DOCKER_HOST", host);
    command.env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", c.path("config")).env("HOME", c.path("home"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("client");
    child.stdin.take().expect("piped").write_all(dockerfile("COPY . .").as_bytes()).expect("written");
    assert!(child.wait().expect("ended").success());
    assert_eq!(c.ok("run --rm piped"), ".dockerignore,kept,");
    nothing_left(c);
}

fn a_dockerfile_in_lower_case(c: &Console) {
    c.write_context(&[("dockerfile", "FROM busybox:1.29\nCMD echo lower\n")]);
    c.ok("build -t small context");
    assert_eq!(c.ok("run --rm small"), "lower");
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nCMD echo usual\n")]);
    c.ok("build -t small context");
    assert_eq!(c.ok("run --rm small"), "usual");
    nothing_left(c);
}
