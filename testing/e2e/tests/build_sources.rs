//! `build` with what is not in the context: files, archives and repositories by HTTP, mounts of one command; and `import`.

mod served;

use std::fs;
use std::process::Command;

use tare_testkit::{Client, Console, Output, eventually, with_both_clients};

with_both_clients!(
    mounts_of_commands,
    caches_of_commands,
    secrets_that_nobody_gives,
    networks_of_commands,
    files_by_http,
    archives_by_http,
    repositories,
    compressed_archives,
    platforms,
);

fn write(c: &Console, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = c.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        fs::write(path, text).expect("file");
    }
}

fn shell(c: &Console, script: &str) {
    let output = Output::of(script, Command::new("sh").args(["-e", "-c", script]).current_dir(c.path("")));
    assert_eq!(output.status, 0, "{output}");
}

fn hits(said: &str) -> usize {
    said.matches(" ---> Using cache").count()
}

fn nothing_left(c: &Console) {
    let Some(engine) = c.engine() else { return };
    eventually("the builds' files to go", || engine.stored("builds").is_empty().then_some(()));
    eventually("the builds' layers to go", || engine.stored("images/snapshots").is_empty().then_some(()));
    c.remove_all();
}

fn mounts_of_commands(c: &Console) {
    let dockerfile = "FROM busybox:1.29 AS first\nRUN mkdir /made && echo staged >/made/file\n\
        FROM busybox:1.29\nWORKDIR /work\n\
        RUN --mount=target=/context --mount=type=bind,source=dir/f,target=one \
            --mount=type=bind,from=first,source=/made,target=/deep/er/stage --mount=type=tmpfs,target=/memory,size=1048576 \
            cat /context/dir/f one /deep/er/stage/file >/seen && ! touch /context/x && df -k /memory >>/seen && touch /memory/x\n";
    write(c, &[("context/Dockerfile", dockerfile), ("context/dir/f", "of the context\n")]);
    c.ok("build -t made context");
    let seen = c.ok("run --rm made cat /seen");
    assert!(seen.starts_with("of the context\nof the context\nstaged\n") && seen.contains(" 1024 "), "{seen}");
    // What was only there to be mounted on is not in the layer.
    assert_eq!(c.fails("run --rm made ls /context /deep /memory /work/one", 1).matches("No such file").count(), 4);
    let again = c.ok("build -t made context");
    assert_eq!(hits(&again), 3, "{again}");
    // What is mounted from the context counts, though it is in no layer.
    write(c, &[("context/dir/f", "changed\n")]);
    let changed = c.ok("build -t made context");
    assert_eq!(hits(&changed), 2, "{changed}");
    assert!(c.ok("run --rm made cat /seen").starts_with("changed\nchanged\n"));
    write(c, &[("context/Dockerfile", "FROM busybox:1.29\nRUN --mount=source=../..,target=/x ls /x\n")]);
    assert!(c.fails("build context", 1).contains("forbidden path outside the build context"));
    nothing_left(c);
}

fn caches_of_commands(c: &Console) {
    let dockerfile = "FROM busybox:1.29\nARG N\n\
        RUN --mount=type=cache,id=all,target=/cache,mode=0700,uid=7 stat -c %a:%u /cache; echo $N >>/cache/seen; cat /cache/seen\n";
    write(c, &[("context/Dockerfile", dockerfile)]);
    let first = c.ok("build --build-arg N=one -t made context");
    assert!(first.contains("700:7\n") && first.contains("one\n"), "{first}");
    let second = c.ok("build --build-arg N=two -t made context");
    assert!(second.contains("one\ntwo\n"), "{second}");
    assert!(c.fails("run --rm made ls /cache", 1).contains("No such file"));
    let kept = || c.engine().map_or(0, |engine| engine.stored("build-cache").len());
    assert_eq!(kept(), 1);
    let (program, _) = c.typed();
    let prune = if program.ends_with("docker") {
        c.request("POST /build/prune?all=1", "", "").1
    } else {
        c.ok("builder prune -af")
    };
    assert_eq!(kept(), 0, "{prune}");
    nothing_left(c);
}

fn secrets_that_nobody_gives(c: &Console) {
    let with = |mount: &str| format!("FROM busybox:1.29\nRUN --mount={mount} ls /run/secrets/s || echo none\n");
    write(c, &[("context/Dockerfile", &with("type=secret,id=s"))]);
    assert!(c.ok("build context").contains("none\n"));
    write(c, &[("context/Dockerfile", &with("type=secret,id=s,required"))]);
    assert!(c.fails("build context", 1).contains("secret s: not found"));
    nothing_left(c);
}

fn networks_of_commands(c: &Console) {
    let dockerfile = "FROM busybox:1.29\nRUN --network=none ls /sys/class/net\nRUN ls -d /sys/class/net/eth0\n";
    write(c, &[("context/Dockerfile", dockerfile)]);
    let said = c.ok("build context");
    assert!(said.contains("\nlo\n") && said.contains("/sys/class/net/eth0\n"), "{said}");
    nothing_left(c);
}

fn files_by_http(c: &Console) {
    write(c, &[("served/some/file.txt", "by http\n"), ("context/local", "local\n")]);
    shell(c, "tar -cf served/archive.tar context");
    let url = served::serve(c.path("served"));
    let sum = "sha256:fe39ad5ba3a5b25e7d7be5e1a5e71a1cd8ab5f0e5a1a5f8b2f40ab6b5d9e4a5c";
    let dockerfile = format!(
        "FROM busybox:1.29\nADD {url}/some/file.txt local /here/\nADD {url}/some/file.txt /there/name\n\
         ADD --chown=7:8 --chmod=0644 {url}/archive.tar /\n"
    );
    write(c, &[("context/Dockerfile", &dockerfile)]);
    c.ok("build -t made context");
    let run = |line: &str| c.ok(&format!("run --rm made {line}"));
    assert_eq!(run("cat /here/file.txt /here/local /there/name"), "by http\nlocal\nby http");
    assert_eq!(run("stat -c %a:%u:%g:%Y /there/name"), "600:0:0:784111777");
    assert_eq!(run("stat -c %a:%u:%g /archive.tar"), "644:7:8", "an archive from elsewhere stays one");
    let again = c.ok("build -t made context");
    assert_eq!(hits(&again), 3, "{again}");
    write(c, &[("served/some/file.txt", "another\n")]);
    c.ok("build -t made context");
    assert_eq!(run("cat /there/name"), "another");
    for (line, why) in [
        (format!("ADD {url}/none /"), format!("failed to GET {url}/none with status 404 Not Found: gone")),
        (format!("ADD {url}/ /x/"), "failed to GET".to_owned()),
        (format!("ADD --checksum={sum} {url}/some/file.txt /"), "digest mismatch sha256:".to_owned()),
        (format!("COPY {url}/some/file.txt /"), "source can't be a URL for COPY".to_owned()),
        ("ADD http://127.0.0.1:1/x /".to_owned(), "connection refused".to_owned()),
    ] {
        write(c, &[("context/Dockerfile", &format!("FROM busybox:1.29\n{line}\n"))]);
        let said = c.fails("build context", 1);
        assert!(said.contains(&why), "{line}: {why:?} is not in\n{said}");
    }
    nothing_left(c);
}

/// A client that fetches contexts itself does so; the engine does it for those that ask for it.
fn archives_by_http(c: &Console) {
    write(c, &[("made/Dockerfile", "FROM busybox:1.29\nCOPY file /file\n"), ("made/file", "in an archive\n")]);
    shell(c, "mkdir served; tar -czf served/context.tar.gz -C made .");
    write(c, &[("served/plain", "FROM busybox:1.29\nRUN echo alone >/file\n")]);
    let url = served::serve(c.path("served"));
    for (name, content) in [("context.tar.gz", "in an archive"), ("plain", "alone")] {
        c.ok(&format!("build -t made {url}/{name}"));
        assert_eq!(c.ok("run --rm made cat /file"), content);
        let (status, said) = c.request(&format!("POST /build?t=api&remote={url}/{name}"), "", "");
        assert!(status == 200 && said.contains("Successfully tagged api:latest"), "{status} {said}");
        assert_eq!(c.ok("run --rm api cat /file"), content);
    }
    let (status, said) = c.request(&format!("POST /build?remote={url}/none"), "", "");
    assert!(said.contains("with status 404 Not Found"), "{status} {said}");
    assert_eq!(c.request("POST /build?remote=file:///etc/passwd", "", "").0, 400);
    nothing_left(c);
}

fn repositories(c: &Console) {
    write(
        c,
        &[
            ("work/Dockerfile", "FROM busybox:1.29\nCOPY . /all\n"),
            ("work/sub/Dockerfile", "FROM busybox:1.29\nCOPY f /f\n"),
        ],
    );
    write(c, &[("work/sub/f", "first\n")]);
    shell(
        c,
        "cd work; git init --quiet; git config user.name n; git config user.email e; ln -s / out; git add .; git commit -qm 1; \
         git tag v1; echo second >sub/f; git commit -qam 2; cd ..; git clone --quiet --bare work served/a.git; \
         cd served/a.git; git update-server-info",
    );
    let url = served::serve(c.path("served"));
    for (place, content) in [("#v1:sub", "first"), ("#:sub", "second")] {
        let place = format!("{url}/a.git{place}");
        let (status, said) = c.request(&format!("POST /build?t=made&remote={}", place.replace('#', "%23")), "", "");
        assert!(status == 200 && said.contains("Successfully tagged made:latest"), "{status} {said}");
        assert_eq!(c.ok("run --rm made cat /f"), content, "{place}");
        c.ok(&format!("build -t made {place}"));
        assert_eq!(c.ok("run --rm made cat /f"), content, "{place}");
    }
    for (place, why) in [
        ("a.git%23none", "error fetching"),
        ("a.git%23--upload-pack=x", "invalid refspec"),
        ("a.git%23:../..", "outside"),
        ("a.git%23:out/etc", "No such file"),
        ("b.git", "error fetching"),
    ] {
        let (status, said) = c.request(&format!("POST /build?remote={url}/{place}"), "", "");
        assert!(status != 200 || said.contains("errorDetail"), "{place}: {status} {said}");
        assert!(said.contains(why), "{place}: {why:?} is not in {said}");
    }
    nothing_left(c);
}

fn compressed_archives(c: &Console) {
    write(c, &[("root/file", "packed\n")]);
    shell(
        c,
        "mkdir context; tar -cJf context/a.tar.xz -C root .; tar -cjf context/b.tar.bz2 -C root .; cp context/a.tar.xz served.tar.xz",
    );
    write(c, &[("context/Dockerfile", "FROM busybox:1.29\nADD a.tar.xz /xz/\nADD b.tar.bz2 /bz2/\n")]);
    c.ok("build -t made context");
    assert_eq!(c.ok("run --rm made cat /xz/file /bz2/file"), "packed\npacked");
    c.ok("import --change 'CMD [\"/none\"]' context/a.tar.xz imported:xz");
    let url = served::serve(c.path("context"));
    let said = c.ok(&format!("import {url}/b.tar.bz2 imported:bz2"));
    assert!(said.contains(&format!("Downloading from {url}/b.tar.bz2")) && said.contains("sha256:"), "{said}");
    assert!(c.fails(&format!("import {url}/none imported:none"), 1).contains("with status 404 Not Found"));
    for tag in ["xz", "bz2"] {
        assert_eq!(c.ok(&format!("image inspect --format '{{{{len .RootFS.Layers}}}}' imported:{tag}")), "1");
    }
    nothing_left(c);
}

fn platforms(c: &Console) {
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox:1.29\nARG TARGETPLATFORM\nARG TARGETOS TARGETARCH\n\
        RUN echo [$TARGETPLATFORM $TARGETOS/$TARGETARCH $BUILDARCH]\n";
    write(c, &[("context/Dockerfile", dockerfile)]);
    let said = c.ok("build context");
    let here = c.ok("version --format {{.Server.Os}}/{{.Server.Arch}}");
    assert!(said.contains(&format!("[{here} {here} ]")), "{said}");
    nothing_left(c);
}

/// A Dockerfile may have patterns of its own.
#[test]
fn patterns_of_one_dockerfile() {
    let c = Console::new(Client::Tare);
    let dockerfile = "FROM busybox:1.29\nCOPY . /all\nRUN ls /all\n";
    write(
        &c,
        &[("context/Dockerfile", dockerfile), ("context/other", dockerfile), ("context/a", ""), ("context/b", "")],
    );
    write(&c, &[("context/.dockerignore", "a\n"), ("context/other.dockerignore", "b\n")]);
    let lists = |said: &str, name: &str| said.lines().any(|line| line == name);
    let said = c.ok("build context");
    assert!(lists(&said, "b") && !lists(&said, "a"), "{said}");
    let said = c.ok("build -f context/other context");
    assert!(lists(&said, "a") && !lists(&said, "b"), "{said}");
    nothing_left(&c);
}
