//! What is built from, with buildx: contexts with names, contexts that are elsewhere, parts of contexts. Each case passes
//! against Docker's engine, too, if it has Dockerfiles of version 1.20 and more.

mod buildx;
mod served;

use std::process::Command;

use buildx::Buildx;
use tare_testkit::{Output, install};

#[test]
fn names_stand_for_directories() {
    let b = Buildx::new();
    let dockerfile = "FROM busybox:1.29 AS other\nRUN false\n\
        FROM busybox:1.29\n\
        COPY --from=lib one/f /one\n\
        COPY --from=other g /two\n\
        RUN --mount=type=bind,from=lib,source=one,target=/m cp /m/f /three && ! touch /m/x && ls -A /m >/all\n\
        CMD cat /one /two /three /all && stat -c '%u:%g' /one\n";
    b.files(&[("Dockerfile", dockerfile)]);
    b.files(&[("../lib/one/f", "first\n"), ("../lib/one/x.log", "ignored"), ("../lib/.dockerignore", "**/*.log\n")]);
    b.files(&[("../lib/unwanted/g", "no"), ("../other/g", "second\n")]);
    let build = "build --progress plain --build-context lib=../lib --build-context other=../other -t named .";
    let said = b.ok(build);
    // The stage that a name stands for is not built.
    assert!(said.contains("[context lib] load .dockerignore") && !said.contains("RUN false"), "{said}");
    assert_eq!(b.c.ok("run --rm named"), "first\nsecond\nfirst\nf\n0:0");
    let again = b.ok(build);
    assert!(again.matches(" CACHED").count() >= 3, "{again}");
    b.files(&[("../lib/one/f", "changed\n")]);
    b.ok(build);
    assert_eq!(b.c.ok("run --rm named"), "changed\nsecond\nchanged\nf\n0:0");
}

#[test]
fn names_stand_for_images() {
    let b = Buildx::new();
    b.files(&[("base/Dockerfile", "FROM busybox:1.29\nRUN echo mine >/mine\n")]);
    b.ok("build -t mine:1 base");
    b.files(&[("Dockerfile", "FROM nobody.test/alpine\nCOPY --from=tools /mine /tool\nCMD cat /mine /tool\n")]);
    let (image, tools) = ("nobody.test/alpine=docker-image://mine:1", "tools=docker-image://mine:1");
    b.ok(&format!("build --build-context {image} --build-context {tools} -t replaced ."));
    assert_eq!(b.c.ok("run --rm replaced"), "mine\nmine");
    // A directory as what is begun with, and nothing.
    b.files(&[("Dockerfile", "FROM rootfs\nFROM busybox:1.29\nCOPY --from=0 / /r/\nCMD cat /r/etc/f && ls -A /r\n")]);
    b.files(&[("rootfs/etc/f", "of a root\n")]);
    b.ok("build --build-context rootfs=rootfs -t rooted .");
    assert_eq!(b.c.ok("run --rm rooted"), "of a root\netc");
    b.files(&[("Dockerfile", "FROM empty\nCOPY rootfs /\n")]);
    b.ok("build --build-context empty=docker-image://scratch -t emptied .");
    assert_eq!(b.c.ok("inspect --format {{.RootFS.Layers}} emptied").matches("sha256:").count(), 1);
}

#[test]
fn compose_names_contexts() {
    let b = Buildx::new();
    let file = "services:\n  one:\n    build: {context: ., additional_contexts: {lib: ./lib, busybox: docker-image://busybox:1.29}}\n";
    b.files(&[("compose.yaml", file), ("lib/f", "by compose\n")]);
    b.files(&[("Dockerfile", "FROM busybox\nCOPY --from=lib f /f\nCMD cat /f\n")]);
    let client = b.command(&[]);
    let mut compose = Command::new(install::compose());
    compose.args(["--project-name", "contexts", "build"]).current_dir(b.c.path("context"));
    compose.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("DOCKER_BUILDKIT");
    let output = Output::of("compose build", &mut compose);
    assert_eq!(output.status, 0, "{output}");
    assert_eq!(b.c.ok("run --rm contexts-one"), "by compose");
}

#[test]
fn targets_stand_for_names() {
    let b = Buildx::new();
    b.files(&[("base/Dockerfile", "FROM busybox:1.29\nENV OF=base\nRUN echo of the base >/f\n")]);
    b.files(&[("tools/Dockerfile", "FROM busybox:1.29\nCOPY t /t\n"), ("tools/t", "a tool\n")]);
    let dockerfile = "FROM base\nCOPY --from=tools /t /t\nRUN --mount=from=tools,target=/m cat /m/t >/u\n\
        CMD echo $OF && cat /f /t /u\n";
    b.files(&[("Dockerfile", dockerfile)]);
    let bake = "target \"base\" { context = \"base\" }\ntarget \"tools\" { context = \"tools\" }\n\
        target \"middle\" {\n dockerfile-inline = \"FROM base\\nRUN echo of the middle >>/f\"\n contexts = { base = \"target:base\" }\n}\n\
        target \"default\" {\n tags = [\"linked\"]\n contexts = { base = \"target:middle\", tools = \"target:tools\" }\n}\n";
    b.files(&[("docker-bake.hcl", bake)]);
    b.ok("buildx bake");
    assert_eq!(b.c.ok("run --rm linked"), "base\nof the base\nof the middle\na tool\na tool");
    // What they are built on has no name and is in no list.
    let listed = b.c.ok("image ls --all --format {{.Repository}}");
    assert_eq!(listed.lines().filter(|name| *name != "busybox").collect::<Vec<_>>(), ["linked"]);
    let again = b.ok("buildx bake --progress plain");
    assert!(again.contains("FROM base\n") && again.matches(" CACHED").count() == 5, "{again}");
    // The newest images are wanted where there is a registry to ask.
    b.files(&[("tools/t", "another\n")]);
    b.ok("buildx bake --pull");
    assert_eq!(b.c.ok("run --rm linked"), "base\nof the base\nof the middle\nanother\nanother");
    b.files(&[("base/Dockerfile", "FROM busybox:1.29\nRUN exit 3\n")]);
    let failed = b.fails("buildx bake");
    assert!(failed.contains("target base: failed to solve: process \"/bin/sh -c exit 3\""), "{failed}");
}

#[test]
fn contexts_are_elsewhere() {
    let b = Buildx::new();
    b.files(&[("work/Dockerfile", "FROM busybox:1.29\nCOPY f /f\nCMD cat /f\n"), ("work/f", "first\n")]);
    let script = "cd work; git init --quiet; git config user.name n; git config user.email e; git add .; git commit -qm 1; \
        git tag v1; echo second >f; git commit -qam 2; cd ..; git clone --quiet --bare work served/a.git; \
        cd served/a.git; git update-server-info; cd ..; tar czf b.tar.gz -C ../work f Dockerfile; cp ../work/Dockerfile alone";
    let made = Output::of("git", Command::new("sh").args(["-e", "-c", script]).current_dir(b.c.path("context")));
    assert_eq!(made.status, 0, "{made}");
    let url = served::serve(b.c.path("context/served"));
    for (place, content) in [("a.git#v1", "first"), ("a.git", "second"), ("b.tar.gz", "second")] {
        b.ok(&format!("build -t remote {url}/{place}"));
        assert_eq!(b.c.ok("run --rm remote"), content, "{place}");
    }
    // The Dockerfile is here, the files are there.
    let own = "FROM busybox:1.29\nCOPY f /g\nCOPY --from=old f /old\nADD {url}/a.git#v1 /added\n\
        ADD --keep-git-dir=true {url}/a.git /kept/\nCMD cat /g /old /added/f && ls -A /added && test -d /kept/.git\n";
    let own = own.replace("{url}", &url);
    let (status, said) = b.piped(&format!("build --build-context old={url}/a.git#v1 -t remote -f - {url}/a.git"), &own);
    assert_eq!(status, 0, "{said}");
    assert_eq!(b.c.ok("run --rm remote"), "second\nfirst\nfirst\nDockerfile\nf");
    let (status, said) = b.piped("build -f - .", &format!("FROM busybox:1.29\nCOPY {url}/a.git /\n"));
    assert!(status == 1 && said.contains("source can't be a "), "{said}");
}

#[test]
fn parts_of_contexts() {
    let b = Buildx::new();
    let dockerfile = "# syntax=docker/dockerfile:1.20\nFROM busybox:1.29 AS base\n\
        COPY --exclude=*.log --exclude=**/deep/x --exclude=!keep.log d /excluded/\n\
        COPY --parents d/deep/*.txt ./e/./sub/f /parents/\n\
        COPY --parents **/x /found/\n\
        RUN --mount=type=bind,source=d,target=/m,rw touch /m/new && rm /m/a.log && ls /m >/seen\n\
        RUN --mount=type=bind,source=d,target=/m ls /m >/after\n\
        RUN --mount=type=bind,from=busybox:1.29,source=bin,target=/m,rw touch /m/new\n\
        CMD cd / && find excluded parents found -type f | sort && cat seen after\n";
    b.files(&[("Dockerfile", dockerfile.strip_prefix("# syntax=docker/dockerfile:1.20\n").expect("a syntax"))]);
    if b.c.engine().is_none() {
        b.files(&[("Dockerfile", dockerfile)]);
    }
    b.files(&[
        ("d/a.log", ""),
        ("d/keep.log", ""),
        ("d/b", "b"),
        ("d/deep/x", "x"),
        ("d/deep/y.txt", "y"),
        ("d/deep/z", "z"),
    ]);
    b.files(&[("e/sub/f", "f"), ("e/sub/g", "g"), ("x", "x")]);
    b.ok("build -t parts .");
    let all = "excluded/b\nexcluded/deep/y.txt\nexcluded/deep/z\nexcluded/keep.log\nfound/d/deep/x\nfound/x\n\
        parents/d/deep/y.txt\nparents/sub/f\n\
        b\ndeep\nkeep.log\nnew\na.log\nb\ndeep\nkeep.log";
    assert_eq!(b.c.ok("run --rm parts"), all);
    // What is left out is no reason to do it again; the rest is.
    b.files(&[("d/a.log", "more"), ("e/sub/g", "more")]);
    let again = b.ok("build --progress plain -t parts .");
    assert!(again.contains("COPY --parents **/x /found/\n") && again.matches(" CACHED").count() == 3, "{again}");
    b.files(&[("e/sub/f", "more")]);
    assert_eq!(b.ok("build --progress plain -t parts .").matches(" CACHED").count(), 1);
    let (status, said) = b.piped("build -f - .", "FROM busybox:1.29\nCOPY --parents d/none /x/\n");
    assert!(status == 1 && said.contains("not found"), "{said}");
}
