//! BuildKit's protocol, with the unmodified docker client and its plugin buildx: what people do who have Docker's own
//! packages. Each case passes against Docker's engine, too.

mod buildx;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use buildx::Buildx;
use tare_testkit::{Output, eventually, install};

/// The lines of plain progress that name a step.
fn steps(said: &str) -> Vec<&str> {
    let named = said.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' ').map(|(_, rest)| rest));
    named.filter(|rest| rest.starts_with('[') || rest.starts_with("exporting to image")).collect()
}

#[test]
fn an_image_with_everything_that_is_shown() {
    let b = Buildx::new();
    // BuildKit fetches the frontend that is named from Docker's registry; here it is the engine's own.
    let syntax = b.c.engine().map_or("", |_| "# syntax=docker/dockerfile:1\n");
    let dockerfile = "ARG BASE=busybox:1.29\n\
        FROM $BASE AS first\n\
        ARG WHO\n\
        WORKDIR /made\n\
        RUN echo for $WHO >file && echo seen && echo warned >&2\n\
        FROM busybox:1.29 AS unused\n\
        RUN false\n\
        FROM busybox:1.29\n\
        ENV GREETING=hello\n\
        COPY --from=first /made /made\n\
        COPY --chown=7:8 deep a.txt /kept/\n\
        CMD [\"sh\", \"-c\", \"echo $GREETING; cat /made/file; stat -c '%n %u:%g %a' /kept/*\"]\n";
    b.files(&[
        ("Dockerfile", &format!("{syntax}{dockerfile}")),
        ("a.txt", "a"),
        ("deep/er/f", "f"),
        (".dockerignore", "*.log\n"),
    ]);
    b.files(&[("deep/x.log", "not ignored: the pattern is for the top"), ("y.log", "ignored")]);
    let said = b.ok("buildx build --progress plain --build-arg WHO=you --label a=b -t made -t made:two .");
    let shown = steps(&said);
    for step in [
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[first 2/3] WORKDIR /made",
        "[first 3/3] RUN echo for $WHO >file && echo seen && echo warned >&2",
        "[stage-2 2/3] COPY --from=first /made /made",
        "[stage-2 3/3] COPY --chown=7:8 deep a.txt /kept/",
        "exporting to image",
    ] {
        // Variables are replaced in some of BuildKit's names.
        let replaced = step.replace("$WHO", "you");
        assert!(shown.contains(&step) || shown.contains(&replaced.as_str()), "{step} in {said}");
    }
    assert!(!said.contains("RUN false"), "{said}");
    assert!(said.contains(" seen\n") && said.contains(" warned\n"), "{said}");
    assert!(said.contains("naming to docker.io/library/made:two"), "{said}");
    let ran = b.c.ok("run --rm made:two");
    assert_eq!(ran, "hello\nfor you\n/kept/a.txt 7:8 644\n/kept/er 7:8 755\n/kept/x.log 7:8 644");
    assert_eq!(b.c.ok("inspect --format {{.Config.Labels.a}} made"), "b");
    // Once more, nothing is done.
    let again = b.ok("build --progress plain --build-arg WHO=you --label a=b -t made .");
    assert_eq!(again.lines().filter(|line| line.ends_with(" CACHED")).count(), 4, "{again}");
    let quiet = b.run("build --quiet --build-arg WHO=you --label a=b .");
    assert_eq!(b.c.ok("inspect --format {{.Id}} made"), quiet.stdout.trim());
    // Unless it is asked for.
    let anew = b.ok("build --progress plain --no-cache --build-arg WHO=you -t made .");
    assert!(!anew.contains("CACHED\n#") && anew.contains(" seen\n"), "{anew}");
}

#[test]
fn failures_say_why() {
    let b = Buildx::new();
    b.files(&[("kept", "k"), (".dockerignore", "ignored\n"), ("ignored", "i")]);
    for (dockerfile, why) in [
        (
            "FROM busybox:1.29\nRUN echo before; exit 3\n",
            "failed to solve: process \"/bin/sh -c echo before; exit 3\" did not complete successfully: exit code: 3",
        ),
        ("FROM busybox:1.29\nCOPY missing /\n", "\"/missing\": not found"),
        ("FROM busybox:1.29\nCOPY ignored /\n", "\"/ignored\": not found"),
        ("FROM busybox:1.29\nFOO x\n", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("FROM busybox:1.29\nCOPY ../x /\n", "\"/x\": not found"),
    ] {
        let (status, said) = b.piped("build --progress plain -f - .", dockerfile);
        assert!(status == 1 && said.contains(why), "{dockerfile}: {status} {said}");
    }
    let said = b.fails("build --file Other .");
    assert!(said.contains("open Other: no such file or directory"), "{said}");
    let (_, said) = b.piped("build --target none -f - .", "FROM busybox:1.29 AS one\n");
    assert!(said.contains("target stage \"none\" could not be found"), "{said}");
}

#[test]
fn a_client_that_goes_ends_its_build() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", "FROM busybox:1.29\nRUN echo begun; sleep 1000\n")]);
    let mut command = b.command(&["build", "--progress", "plain", "-t", "never", "."]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("docker");
    let said = BufReader::new(child.stderr.take().expect("piped"));
    let begun = |line: std::io::Result<String>| line.is_ok_and(|line| line.ends_with(" begun"));
    assert!(said.lines().any(begun), "the command did not run");
    child.kill().expect("killed");
    child.wait().expect("ended");
    eventually("its container to go", || b.c.ok("ps --quiet --all").is_empty().then_some(()));
    assert_eq!(b.c.ok("images --quiet never"), "");
}

#[test]
fn links_in_a_context_lead_nowhere_else() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", "FROM busybox:1.29\nCOPY d /d/\nRUN cat /d/in && readlink /d/out && test ! -e /d/out\n")]);
    b.files(&[("d/file", "inside")]);
    for (target, name) in [("file", "in"), ("/proc/version-of-nobody", "out")] {
        std::os::unix::fs::symlink(target, b.c.path(&format!("context/d/{name}"))).expect("link");
    }
    b.ok("build --progress plain -t linked .");
}

#[test]
fn the_builder_tells_what_it_is() {
    let b = Buildx::new();
    let told = b.run("buildx inspect").stdout;
    assert!(told.contains("docker") && told.contains("running") && told.contains("linux/"), "{told}");
    b.files(&[("Dockerfile", "FROM busybox:1.29\nLABEL a=b\nRUN echo x >/x\n")]);
    b.ok("build -t pruned .");
    let list = || b.run("buildx du --format {{.ID}}").stdout;
    let before = list();
    assert!(before.lines().count() >= 2, "{before}");
    // What does not fit stays.
    for filter in ["type=exec.cachemount", "id=zz", "until=24h", "inuse=true", "description=x"] {
        let output = b.run(&format!("buildx prune --force --filter {filter}"));
        assert_eq!((output.status, list()), (0, before.clone()), "{filter}: {output}");
    }
    let output = b.run("buildx prune --force --filter nope=x");
    assert!(output.status != 0 && output.stderr.contains("unknown field \"nope\""), "{output}");
    let output = b.run("buildx prune --force --filter type=regular --filter shared=true");
    assert!(output.status == 0 && output.stdout.contains("Total:"), "{output}");
    assert!(list().lines().count() < before.lines().count(), "{}", list());
    b.ok("build -t pruned .");
    let output = b.run("buildx prune --force");
    assert!(output.status == 0 && output.stdout.contains("Total:"), "{output}");
    b.c.ok("run --rm pruned cat /x");
}

#[test]
fn secrets_and_agents_are_for_one_command() {
    let b = Buildx::new();
    let dockerfile = "FROM busybox:1.29\n\
        RUN --mount=type=secret,id=one cp /run/secrets/one /seen && stat -c '%a %u:%g' /run/secrets/one >/how && ! touch /run/secrets/one\n\
        RUN --mount=type=secret,id=two,target=/deep/er/two,mode=0440,uid=7,gid=8 cat /deep/er/two >>/seen && stat -c '%a %u:%g' /deep/er/two >>/how\n\
        RUN --mount=type=secret,id=one,env=VALUE echo \"env $VALUE\" >>/seen && test ! -e /run/secrets/one\n\
        RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n\
        RUN --mount=type=ssh test ! -e \"$SSH_AUTH_SOCK\"\n\
        RUN test ! -e /run/secrets/one && test ! -e /deep/er/two && cat /seen\n";
    b.files(&[("Dockerfile", dockerfile)]);
    fs::write(b.c.path("two"), "of a file\n").expect("file");
    let two = format!("id=two,src={}", b.c.path("two").display());
    let build = |more: &[&str]| {
        let line = ["build", "--progress", "plain", "--secret", "id=one,env=ONE", "--secret", &two, "-t", "kept", "."];
        Output::of("build with secrets", b.command(&[&line, more].concat()).env("ONE", "of a variable"))
    };
    let output = build(&[]);
    assert_eq!(output.status, 0, "{output}");
    assert_eq!(b.c.ok("run --rm kept cat /how"), "400 0:0\n440 7:8");
    assert_eq!(b.c.ok("run --rm kept cat /seen"), "of a variableof a file\nenv of a variable");
    // What was only there to be mounted on is in no layer; nor is what was granted in any record.
    b.c.ok("run --rm kept sh -c 'test ! -e /deep && test ! -e /run/secrets'");
    assert!(!b.c.ok("history --no-trunc kept").contains("of a variable"));
    let again = build(&[]).stderr;
    // BuildKit does not say it of each.
    let least = if b.c.engine().is_some() { 6 } else { 1 };
    assert!(again.matches(" CACHED").count() >= least, "{again}");
    let (status, said) = b.piped("build -f - .", "FROM busybox:1.29\nRUN --mount=type=secret,id=none,required true\n");
    assert!(status == 1 && said.contains("secret none: not found"), "{said}");
}

#[test]
fn an_agent_answers_a_command() {
    let b = Buildx::new();
    let socket = b.c.path("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    std::thread::spawn(move || {
        // The protocol of agents: a list of one key is asked for, and answered.
        let text = |text: &[u8]| [&u32::try_from(text.len()).expect("short").to_be_bytes(), text].concat();
        let list = [&[12, 0, 0, 0, 1][..], &text(&text(b"ssh-test")), &text(b"a key of the caller")].concat();
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut asked = [0; 5];
            while std::io::Read::read_exact(&mut connection, &mut asked).is_ok() && asked == [0, 0, 0, 1, 11] {
                connection.write_all(&text(&list)).expect("written");
            }
        }
    });
    let ask = "use IO::Socket::UNIX; $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die; \
        print $s pack(\"NC\", 1, 11); $s->flush; read($s, $n, 4); read($s, $x, unpack(\"N\", $n)); print \"answered $x\\n\"";
    let dockerfile =
        format!("FROM nginx:latest\nRUN --mount=type=ssh,mode=0666 perl -e '{ask}' && stat -c %a $SSH_AUTH_SOCK\n");
    b.files(&[("Dockerfile", &dockerfile)]);
    let output = Output::of(
        "build --ssh",
        &mut b.command(&["build", "--progress", "plain", "--ssh", &format!("default={}", socket.display()), "."]),
    );
    assert!(output.status == 0 && output.stderr.contains("a key of the caller\n"), "{output}");
}

#[test]
fn compose_builds_several_at_once() {
    let b = Buildx::new();
    let file = "services:\n  one: {build: one}\n  two: {build: {context: shared, args: {WHO: two}}}\n\
        \x20 three: {build: {context: shared, dockerfile_inline: \"FROM busybox:1.29\\nCOPY f /g\\nCMD cat /g\\n\"}}\n";
    b.files(&[
        ("compose.yaml", file),
        ("one/Dockerfile", "FROM busybox:1.29\nRUN echo first >/f\nCMD cat /f\n"),
        ("shared/Dockerfile", "FROM busybox:1.29\nARG WHO\nCOPY f /f\nRUN echo for $WHO >>/f\nCMD cat /f\n"),
        ("shared/f", "shared\n"),
    ]);
    let compose = |arguments: &[&str]| {
        let client = b.command(&[]);
        let mut compose = Command::new(install::compose());
        compose.args(["--project-name", "several"]).args(arguments).current_dir(b.c.path("context"));
        compose.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("DOCKER_BUILDKIT");
        Output::of(&format!("compose {}", arguments.join(" ")), &mut compose)
    };
    for arguments in [&["build"][..], &["build", "--no-cache", "two"], &["up", "--build", "--detach"]] {
        let output = compose(arguments);
        assert_eq!(output.status, 0, "{output}");
    }
    for (service, said) in [("one", "first"), ("two", "shared\nfor two"), ("three", "shared")] {
        assert_eq!(b.c.ok(&format!("run --rm several-{service}")), said);
    }
    let down = compose(&["down", "--timeout", "0"]);
    assert_eq!(down.status, 0, "{down}");
}

#[test]
fn what_there_is_not_is_named() {
    let b = Buildx::new();
    if b.c.engine().is_none() {
        // BuildKit has it.
        return;
    }
    let plain = "FROM busybox:1.29\n";
    for (line, dockerfile, why) in [
        (
            "build -f - .",
            "# syntax=other/frontend:1\nFROM busybox:1.29\n",
            "the Dockerfile frontend \"other/frontend:1\"",
        ),
        ("build --output type=other,dest=out -f - .", plain, "the exporter \"other\""),
    ] {
        let (status, said) = b.piped(line, dockerfile);
        assert!(status == 1 && said.contains(&format!("{why} is not supported by this engine")), "{line}: {said}");
    }
}

#[test]
fn a_context_comes_as_an_archive() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", "FROM busybox:1.29\nCOPY d /d\nCMD cat /d/f\n"), ("d/f", "archived\n")]);
    let (program, _) = b.c.typed();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("tar cz . | {} build -t archived -", program.display())]);
    let client = b.command(&[]);
    shell.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("DOCKER_BUILDKIT");
    let output = Output::of("tar | build -", shell.current_dir(b.c.path("context")));
    assert_eq!(output.status, 0, "{output}");
    assert_eq!(b.c.ok("run --rm archived"), "archived");
}
