//! `build`: Dockerfiles become images, and nothing else stays.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use tare_testkit::{Client, Console, Output, eventually, with_both_clients};

with_both_clients!(
    stages_files_and_settings,
    the_cache,
    a_cache_from_elsewhere,
    arguments,
    failures_say_why,
    what_is_ignored_and_what_is_outside,
    archives_owners_and_modes,
    tags_labels_and_quiet,
    steps_go_with_their_image,
    the_cache_and_its_filters,
    triggers_volumes_and_heredocs,
);

/// Nothing is left of builds but images and their steps.
fn nothing_left(c: &Console) {
    let Some(engine) = c.engine() else { return };
    eventually("the builds' files to go", || engine.stored("builds").is_empty().then_some(()));
    eventually("the builds' layers to go", || engine.stored("images/snapshots").is_empty().then_some(()));
    c.remove_all();
}

fn stages_files_and_settings(c: &Console) {
    let dockerfile = "FROM busybox:1.29 AS first\n\
        WORKDIR /made\n\
        RUN echo from a command >file && echo seen\n\
        COPY deep /made/deep/\n\
        FROM busybox:1.29\n\
        LABEL made.by=\"a test\"\n\
        ENV GREETING=hello WHO=\"the world\"\n\
        EXPOSE 80 53/udp\n\
        STOPSIGNAL SIGQUIT\n\
        HEALTHCHECK --interval=1h CMD true\n\
        COPY --from=first /made /kept\n\
        COPY --from=0 /made/file renamed\n\
        COPY a.txt b.* ./many/\n\
        WORKDIR /kept\n\
        WORKDIR deep\n\
        USER 7:8\n\
        ENTRYPOINT [\"sh\", \"-c\"]\n\
        CMD [\"echo $GREETING $WHO $(id -u):$(id -g) $PWD $(cat ../file)\"]\n";
    c.write_context(&[
        ("Dockerfile", dockerfile),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("b.md", "B"),
        ("deep/er/f", "deep"),
    ]);
    let said = c.ok("build -t made context");
    for line in [
        "Step 1/18 : FROM busybox:1.29 AS first",
        "Step 3/18 : RUN echo from a command >file && echo seen",
        " ---> Running in ",
        "seen",
        " ---> Removed intermediate container ",
        "Step 18/18 : CMD [\"echo $GREETING $WHO",
        "Successfully built ",
        "Successfully tagged made:latest",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!(c.ok("run --rm made"), "hello the world 7:8 /kept/deep from a command");
    let run = |line: &str| c.ok(&format!("run --rm --entrypoint '' made {line}"));
    assert_eq!(run("cat /kept/deep/er/f /renamed"), "deepfrom a command");
    assert_eq!(run("ls /many"), "a.txt\nb.md\nb.txt");
    assert_eq!(run("stat -c %u:%g /many/a.txt /kept"), "0:0\n0:0");
    let inspect = |format: &str| c.ok(&format!("image inspect --format '{format}' made"));
    assert_eq!(inspect("{{json .Config.ExposedPorts}}"), r#"{"53/udp":{},"80/tcp":{}}"#);
    assert_eq!(
        inspect("{{index .Config.Labels \"made.by\"}} {{.Config.StopSignal}} {{.Config.User}}"),
        "a test SIGQUIT 7:8"
    );
    let history = c.ok("history --no-trunc --format '{{.CreatedBy}}' made");
    for line in [
        "/bin/sh -c #(nop)  CMD [\"echo $GREETING",
        "/bin/sh -c #(nop)  ENTRYPOINT [\"sh\" \"-c\"]",
        "/bin/sh -c #(nop) WORKDIR /kept/deep",
        "/bin/sh -c #(nop)  ENV GREETING=hello WHO=the world",
        "/bin/sh -c #(nop)  EXPOSE 53/udp 80",
    ] {
        assert!(history.contains(line), "{line:?} is not in\n{history}");
    }
    assert_eq!(c.ok("images --quiet").lines().count(), 2, "steps are in the list");
    assert_eq!(c.ok("ps --all --quiet"), "");
    nothing_left(c);
}

/// The ID that a build ends with.
fn built(said: &str) -> String {
    let id = said.lines().find_map(|line| line.strip_prefix("Successfully built "));
    id.unwrap_or_else(|| panic!("no ID in\n{said}")).to_owned()
}

fn the_cache(c: &Console) {
    let dockerfile = "FROM busybox:1.29\nRUN date +%s%N >/date\nCOPY file /file\nRUN cat /file\n";
    c.write_context(&[("Dockerfile", dockerfile), ("file", "one")]);
    let hits = |said: &str| said.matches(" ---> Using cache").count();
    let first = c.ok("build context");
    assert_eq!(hits(&first), 0, "{first}");
    let second = c.ok("build context");
    assert_eq!((hits(&second), built(&second)), (3, built(&first)), "{second}");
    c.write_context(&[("file", "two")]);
    let third = c.ok("build context");
    assert_eq!(hits(&third), 1, "{third}");
    assert!(third.contains("two"), "{third}");
    c.write_context(&[("file", "one")]);
    assert_eq!(built(&c.ok("build context")), built(&first));
    let anew = c.ok("build --no-cache context");
    assert_eq!(hits(&anew), 0, "{anew}");
    assert_ne!(built(&anew), built(&first));
    nothing_left(c);
}

/// What a registry's image was made of need not be made again, though no step of it was made here.
fn a_cache_from_elsewhere(c: &Console) {
    let dockerfile = "FROM busybox:1.29\n\
        ENV A=1\n\
        RUN date +%N >/made\n\
        COPY a.txt /\n\
        WORKDIR /deep\n\
        RUN true\n\
        CMD [\"cat\", \"/made\"]\n";
    c.write_context(&[("Dockerfile", dockerfile), ("a.txt", "a")]);
    c.ok("build -t first context");
    let id = c.ok("inspect --format {{.Id}} first");
    let made = c.ok("run --rm first");
    c.ok(&format!("save -o {} first", c.path("first.tar").display()));
    c.ok("rmi first");
    assert!(!c.ok("build --cache-from nothing:here -t other context").contains("Using cache"));
    c.ok("rmi other");
    c.ok(&format!("load -i {}", c.path("first.tar").display()));
    let used = |said: &str| said.matches(" ---> Using cache").count();
    // Names that mean nothing are no mistake: the first of all builds has none.
    let said = c.ok("build --cache-from nothing:here --cache-from first -t second context");
    assert_eq!(used(&said), 6, "{said}");
    assert_eq!(c.ok("inspect --format {{.Id}} second"), id);
    // Other content is copied again, and what comes after it is done again.
    c.write_context(&[("a.txt", "b")]);
    let said = c.ok("build --cache-from first -t third context");
    assert_eq!(used(&said), 2, "{said}");
    assert_eq!(c.ok("run --rm third"), made);
    assert_eq!(c.ok("run --rm third cat /a.txt"), "b");
    // Steps that were made here count where they lead to the image that is named, and only there.
    let said = c.ok("build --cache-from first -t third context");
    assert_eq!(used(&said), 2, "{said}");
    let said = c.ok("build --cache-from third -t third context");
    assert_eq!(used(&said), 6, "{said}");
    nothing_left(c);
}

fn arguments(c: &Console) {
    let dockerfile = "ARG TAG=none\nARG SHARED=shared\nFROM busybox:$TAG\nARG SHARED\nARG OWN=own\n\
        ENV KEPT=${OWN:-x}${MISSING:+y}\nRUN echo [$SHARED $OWN $KEPT $UNDECLARED]\n";
    c.write_context(&[("Dockerfile", dockerfile)]);
    let said = c.ok("build --build-arg TAG=1.29 --build-arg UNDECLARED=no -t args context");
    assert!(said.contains("[shared own own ]"), "{said}");
    assert!(said.contains("[Warning] One or more build-args [UNDECLARED] were not consumed"), "{said}");
    let said = c.ok("build --build-arg TAG=1.29 --build-arg OWN=given -t args context");
    assert!(said.contains("[shared given given ]"), "{said}");
    let history = c.ok("history --no-trunc --format '{{.CreatedBy}}' args");
    assert!(history.starts_with("|2 OWN=given SHARED=shared /bin/sh -c echo ["), "{history}");
    assert_eq!(c.ok("run --rm args env").matches("OWN=").count(), 0);
    nothing_left(c);
}

fn failures_say_why(c: &Console) {
    let fails = |dockerfile: &str, status: i32, why: &str| {
        c.write_context(&[("Dockerfile", dockerfile)]);
        let said = c.fails("build context", status);
        assert!(said.contains(why), "{dockerfile:?}: {why:?} is not in\n{said}");
    };
    fails("FROM busybox:1.29\nRUN exit 3\n", 3, "The command '/bin/sh -c exit 3' returned a non-zero code: 3");
    assert_eq!(c.ok("ps --all --quiet").lines().count(), 1, "the failed step's container is kept");
    c.remove_all();
    c.fails("build --force-rm context", 3);
    assert_eq!(c.ok("ps --all --quiet"), "");
    fails("FROM busybox:1.29\nRUN [\"nope\"]\n", 1, "nope");
    c.remove_all();
    fails(
        "FROM busybox:1.29\nRUNN x\n",
        1,
        "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
    );
    fails("# nothing\n", 1, "file with no instructions");
    fails(
        "FROM busybox:1.29\nCOPY nope /\n",
        1,
        "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist",
    );
    fails("FROM busybox:1.29\nCOPY no* /\n", 1, "COPY failed: no source files were specified");
    fails(
        "FROM busybox:1.29\nCOPY Dockerfile Dockerfile /x\n",
        1,
        "When using COPY with more than one source file, the destination must be a directory and end with a /",
    );
    fails("FROM busybox:1.29\nCOPY --from=5 x /\n", 1, "invalid from flag value 5: index out of bounds");
    fails(
        "FROM busybox:1.29\nCOPY --chown=nobody2 Dockerfile /\n",
        1,
        "can't find uid for user nobody2: no such user: nobody2",
    );
    fails("FROM scratch\n", 1, "No image was generated. Is your Dockerfile empty?");
    fails("FROM busybox:1.29\nRUN --security=insecure true\n", 1, "the --security option requires BuildKit.");
    fails("FROM busybox:1.29\nSTOPSIGNAL NOPE\n", 1, "invalid signal: NOPE");
    let said = c.fails("build --target nope context", 1);
    assert!(said.contains("target stage \"nope\" could not be found"), "{said}");
    nothing_left(c);
}

fn what_is_ignored_and_what_is_outside(c: &Console) {
    let dockerfile = "FROM busybox:1.29\nCOPY . /all/\nRUN find /all | sort\n";
    c.write_context(&[
        ("Dockerfile", dockerfile),
        (".dockerignore", "secret*\nDockerfile\n.dockerignore\n!secret-not\n"),
        ("secret", "s"),
        ("secret-not", "n"),
        ("kept", "k"),
    ]);
    let said = c.ok("build context");
    assert!(said.contains("/all\n/all/kept\n/all/secret-not\n"), "{said}");
    // The context is not the machine, whatever links lead out of it.
    std::os::unix::fs::symlink("/etc/hostname", c.path("context/link")).expect("link");
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nCOPY link /stolen\n")]);
    let said = c.fails("build context", 1);
    assert!(
        said.contains(
            "COPY failed: file not found in build context or excluded by .dockerignore: stat link: file does not exist"
        ),
        "{said}"
    );
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nCOPY ../kept /stolen\n")]);
    let said = c.fails("build context", 1);
    assert!(said.contains("COPY failed: forbidden path outside the build context: ../kept ()"), "{said}");
    // Nor does the image lead out of itself.
    c.write_context(&[(
        "Dockerfile",
        "FROM busybox:1.29\nRUN ln -s /etc /way\nCOPY kept /way/tare-was-here\nRUN cat /etc/tare-was-here\n",
    )]);
    let said = c.ok("build context");
    assert!(said.contains("k"), "{said}");
    assert!(!fs::exists("/etc/tare-was-here").expect("look"));
    nothing_left(c);
}

fn archives_owners_and_modes(c: &Console) {
    c.write_context(&[("in/side", "x"), ("plain", "p")]);
    let mut tar = Command::new("tar");
    let output = Output::of(
        "tar",
        tar.args(["-czf", "in.tar.gz", "--owner=5", "--group=6", "in"]).current_dir(c.path("context")),
    );
    assert_eq!(output.status, 0, "{output}");
    let dockerfile = "FROM busybox:1.29\n\
        ADD in.tar.gz /unpacked\n\
        COPY in.tar.gz /packed/\n\
        ADD plain /plain/\n\
        COPY --chown=daemon:3 --chmod=640 plain /owned/plain\n\
        RUN stat -c '%n %u:%g %a' /unpacked/in/side /packed/in.tar.gz /plain/plain /owned /owned/plain\n";
    c.write_context(&[("Dockerfile", dockerfile)]);
    let said = c.ok("build context");
    for line in [
        "/unpacked/in/side 5:6 644",
        "/packed/in.tar.gz 0:0 644",
        "/plain/plain 0:0 644",
        "/owned 1:3 755",
        "/owned/plain 1:3 640",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    nothing_left(c);
}

fn tags_labels_and_quiet(c: &Console) {
    c.write_context(&[("Other", "FROM busybox:1.29 AS one\nCMD echo one\nFROM one AS two\nCMD echo two\n")]);
    let said = c.ok("build -q -t a:1 -t b -t b:latest --label x=y --target one -f context/Other --iidfile id context");
    let id = said.trim_end();
    assert!(id.starts_with("sha256:") && id.lines().count() == 1, "{id}");
    assert_eq!(fs::read_to_string(c.path("id")).expect("ID").trim_end(), id);
    assert_eq!(c.ok("image inspect --format '{{.Id}} {{index .Config.Labels \"x\"}}' b"), format!("{id} y"));
    assert_eq!(c.ok("image inspect --format '{{json .RepoTags}}' a:1"), r#"["a:1","b:latest"]"#);
    assert_eq!(c.ok("run --rm a:1"), "one");
    // The old image stays without a name.
    c.ok("build -q -t b -f context/Other context");
    assert_eq!(c.ok("run --rm b"), "two");
    assert_eq!(c.ok("image inspect --format '{{json .RepoTags}}' a:1"), r#"["a:1"]"#);
    nothing_left(c);
}

fn steps_go_with_their_image(c: &Console) {
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nRUN echo a >/a\nRUN echo b >/b\nENV A=b\n")]);
    let layers = || c.engine().map(|engine| engine.stored("images/blobs/sha256").len());
    c.ok("pull busybox:1.29");
    let before = layers();
    c.ok("build -t made context");
    let removed = c.ok("rmi made");
    assert_eq!(removed.matches("Deleted: sha256:").count(), 3, "{removed}");
    if c.engine().is_some() {
        eventually("the steps' content to go", || (layers() == before).then_some(()));
    }
    c.ok("build -t made context");
    let said = c.ok("builder prune --force");
    assert!(said.contains("Total"), "{said}");
    let again = c.ok("build -t made context");
    assert!(!again.contains("Using cache"), "{again}");
    c.ok("build --no-cache -t made context");
    // The image that lost its name, with its steps, and nothing of the other one's.
    c.ok("image prune --force");
    let again = c.ok("build -t made context");
    assert_eq!(again.matches("Using cache").count(), 3, "{again}");
    nothing_left(c);
}

fn the_cache_and_its_filters(c: &Console) {
    let lines = "FROM busybox:1.29\nLABEL a=b\nRUN dd if=/dev/zero of=/a bs=1M count=3\nRUN echo b >/b\nENV A=b\n";
    c.write_context(&[("Dockerfile", lines)]);
    c.ok("build -t made context");
    if c.engine().is_none() {
        // Docker's classic builder keeps its steps among the images.
        return;
    }
    let list = || {
        c.ok("system df -v --format '{{range .BuildCache}}{{.ID}} {{.CacheType}} {{.Shared}} {{.Size}} {{.Description}}\n{{end}}'")
    };
    let before = list();
    // From instruction to instruction, down to what has none.
    let (mut image, mut length) = ("made".to_owned(), 0);
    while !image.is_empty() {
        let told: serde_json::Value = serde_json::from_str(&c.ok(&format!("image inspect {image}"))).expect("JSON");
        image = told[0]["Parent"].as_str().unwrap_or_default().to_owned();
        length += 1;
    }
    assert_eq!(length, 5);
    assert_eq!(before.lines().filter(|line| line.contains(" regular true ")).count(), 4, "{before}");
    let first = before.lines().find(|line| line.contains("count=3")).unwrap();
    assert!(first.contains(" 3.1"), "{first}");
    // What does not fit stays.
    for filter in [
        "shared=false",
        "type=exec.cachemount",
        "id=zz",
        "until=24h",
        "inuse=true",
        "description=x",
        "label=a=c",
        "label!=a=b",
    ] {
        c.ok(&format!("builder prune --force --filter {filter}"));
        assert_eq!(list(), before, "{filter}");
    }
    c.ok("builder prune --force --keep-storage 1GB");
    assert_eq!(list(), before);
    let refused = c.fails("builder prune --force --filter nope=x", 1);
    assert!(refused.contains("invalid filter 'nope'"), "{refused}");
    let id = first.split(' ').next().unwrap();
    let said = c.ok(&format!("builder prune --force --filter id={id}"));
    assert!(said.contains("Total reclaimed space"), "{said}");
    assert_eq!(list().lines().count(), before.lines().count() - 1);
    c.ok("builder prune --force --keep-storage 1");
    // Oldest first, until no more than that is left: what takes no room may stay.
    assert!(!list().contains("echo b"), "{}", list());
    nothing_left(c);
}

fn triggers_volumes_and_heredocs(c: &Console) {
    c.write_context(&[(
        "Dockerfile",
        "FROM busybox:1.29\nONBUILD COPY given /given\nONBUILD RUN cat /given\nVOLUME /v\n",
    )]);
    c.ok("build -t base context");
    let dockerfile = "FROM base\nRUN <<EOF\necho first >/first\ncat /first\nEOF\nCOPY <<one <<two /docs/\n1 $PATH\none\n2\ntwo\nRUN cat /docs/*\n";
    c.write_context(&[("Dockerfile", dockerfile), ("given", "given to it\n")]);
    let said = c.ok("build -t made context");
    for line in ["# Executing 2 build triggers", "given to it", "first", "1 /usr/local/sbin:", "2\n"] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert_eq!(
        c.ok("image inspect --format '{{len .Config.OnBuild}} {{json .Config.Volumes}}' made"),
        r#"0 {"/v":{}}"#
    );
    assert_eq!(c.ok("volume ls --quiet"), "", "volumes of steps stay");
    // Nothing below, and a command of no words.
    c.write_context(&[("Dockerfile", "FROM scratch\nVOLUME /a\nVOLUME /b\nENTRYPOINT [\"/x\"]\nCMD []\n")]);
    c.ok("build -t bare context");
    let bare: serde_json::Value = serde_json::from_str(&c.ok("image inspect bare")).expect("JSON");
    assert_eq!(bare[0]["Config"]["Volumes"], serde_json::json!({"/a": {}, "/b": {}}));
    assert!(bare[0]["Config"]["Cmd"].is_null(), "{bare}");
    nothing_left(c);
}

/// An archive with one Dockerfile.
fn archive(c: &Console, dockerfile: &str) -> Vec<u8> {
    c.write_context(&[("Dockerfile", dockerfile)]);
    let mut tar = Command::new("tar");
    let output = tar.args(["-c", "Dockerfile"]).current_dir(c.path("context")).output().expect("tar");
    output.stdout
}

/// Sends a build and reads until a text comes.
fn begin(c: &Console, dockerfile: &str, until: &str) -> UnixStream {
    let body = archive(c, dockerfile);
    let mut stream = UnixStream::connect(c.typed().1.trim_start_matches("unix://")).expect("connect");
    let head = format!(
        "POST /build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("send");
    let mut seen = String::new();
    while !seen.contains(until) {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).expect("read");
        assert!(read > 0, "the build ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    stream
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let c = Console::new(Client::Tare);
    c.ok("pull busybox:1.29");
    let stream = begin(&c, "FROM busybox:1.29\nRUN echo is-''running; sleep 1000\n", "is-running");
    assert_eq!(c.ok("ps --quiet").lines().count(), 1);
    drop(stream);
    eventually("the container to go", || c.ok("ps --all --quiet").is_empty().then_some(()));
    nothing_left(&c);
}

#[test]
fn a_killed_daemon_removes_what_its_builds_left() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    c.ok("pull busybox:1.29");
    let stream = begin(&c, "FROM busybox:1.29\nRUN echo a >/a\nRUN echo is-''running; sleep 1000\n", "is-running");
    let engine = c.engine_mut().expect("an engine");
    engine.kill();
    engine.resume();
    drop(stream);
    assert_eq!(c.ok("ps --all --quiet"), "");
    nothing_left(&c);
    // What was done before is still found.
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nRUN echo a >/a\nRUN echo b\n")]);
    c.ok("build context");
}

#[test]
fn hostile_contexts_stay_below_their_directory() {
    let c = Console::new(Client::Tare);
    c.ok("pull busybox:1.29");
    c.write_context(&[("Dockerfile", "FROM busybox:1.29\nCOPY out /out/\nRUN find /out\n"), ("f", "f")]);
    // A link, then a file through it; and a name that climbs.
    let script = "cd context && ln -sfn /var/tmp out && tar -cf ../h.tar Dockerfile out && rm out && mkdir out && \
                  cp f out/tare-hostile && cp f tare-hostile && tar -rf ../h.tar out/tare-hostile && \
                  tar -rf ../h.tar --transform 's,^,../../,' tare-hostile";
    let output = Output::of("tar", Command::new("sh").args(["-c", script]).current_dir(c.path("")));
    assert_eq!(output.status, 0, "{output}");
    let (program, host) = c.typed();
    let line = format!("DOCKER_HOST={host} {} build - <h.tar", program.display());
    Output::of(&line, Command::new("sh").args(["-c", &line]).current_dir(c.path("")));
    assert!(!fs::exists("/var/tmp/tare-hostile").expect("look"));
    let found = Output::of(
        "find",
        Command::new("find").arg(c.engine().map_or_else(|| c.path(""), tare_testkit::Engine::data_root)).args([
            "-name",
            "tare-hostile",
            "-not",
            "-path",
            "*/images/*",
        ]),
    );
    assert_eq!(found.stdout, "", "outside of the context");
    nothing_left(&c);
}

#[test]
fn what_only_buildkit_does_is_said() {
    let c = Console::new(Client::Tare);
    for (line, status, why) in [
        (
            "POST /build?version=2&remote=upload-request",
            501,
            "build contexts in a request of their own are not supported",
        ),
        ("POST /build?version=2&outputs=[{\"Type\":\"x\"}]", 501, "is not supported by this engine"),
        ("POST /build?outputs=[{\"Type\":\"tar\"}]", 501, "outputs of builds need BuildKit: ask for it with version=2"),
        ("POST /build?squash=1", 400, "squash is only supported with experimental mode"),
        ("POST /build?version=x", 400, "invalid version"),
        ("POST /build?t=UPPER", 400, "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("POST /build?buildargs=x", 400, "error reading build args"),
        ("POST /session", 500, "no upgrade proto in request"),
        ("POST /grpc", 500, "no upgrade proto in request"),
    ] {
        let (answered, body) = c.request(line, "", "");
        assert!(answered == status && body.contains(why), "{line}: {answered} {body}");
    }
}
