//! What is asked about a Dockerfile, with buildx: build checks, targets and what they take.

mod buildx;

use buildx::Buildx;

const FILE: &str = "ARG BASE=busybox:1.29\n\
    # tools what is built with\n\
    FROM $BASE AS tools\n\
    ARG LEVEL=3\n\
    RUN --mount=type=secret,id=pass,required --mount=type=ssh --mount=type=cache,target=/c true\n\
    FROM $BASE AS Final\n\
    COPY --from=tools /bin/busybox /b\n\
    CMD echo done\n";

#[test]
fn checks_are_made() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", FILE), (".dockerignore", "gone\n")]);
    let output = b.run("build --check .");
    assert_eq!(output.status, 1, "{output}");
    for text in [
        "Check complete, 2 warnings have been found!",
        "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/",
        "Stage name 'Final' should be lowercase",
        "WARNING: JSONArgsRecommended - ",
        ">>> CMD echo done",
        "Dockerfile:8",
    ] {
        assert!(output.stdout.contains(text), "{text} is not in {output}");
    }
    // Nothing is built for that; where something is, it says the same.
    assert_eq!(b.c.ok("images --quiet"), "");
    let said = b.ok("build --progress plain --target tools --secret id=pass,env=HOME .");
    assert!(said.contains("2 warnings found") && said.contains("StageNameCasing: Stage name 'Final'"), "{said}");
    let output = b.run("build --check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all .");
    assert!(output.status == 0 && output.stdout.contains("Check complete, no warnings found."), "{output}");
    b.files(&[("Dockerfile", "# check=skip=StageNameCasing;error=true\nFROM busybox:1.29 AS A\nCOPY gone /\n")]);
    let output = b.run("build --check .");
    assert!(output.status == 1 && output.stdout.contains("1 warning has been found!"), "{output}");
    let said = b.fails("build .");
    assert!(said.contains("lint violation found for rules: CopyIgnoredFile"), "{said}");
    let said = b.fails("build --build-arg BUILDKIT_DOCKERFILE_CHECK=x=y .");
    assert!(said.contains("invalid check option \"x\""), "{said}");
}

#[test]
fn targets_are_told() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", FILE)]);
    let output = b.run("build --call targets .");
    assert_eq!(output.status, 0, "{output}");
    let lines: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&"tools what is built with".split(' ').collect()), "{output}");
    assert!(lines.contains(&vec!["final", "(default)"]), "{output}");
    let output = b.run("build --call outline --target tools --build-arg LEVEL=7 .");
    assert_eq!(output.status, 0, "{output}");
    let lines: Vec<Vec<&str>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let all =
        ["TARGET: tools", "DESCRIPTION: what is built with", "BASE busybox:1.29", "LEVEL 7", "pass true", "default"];
    for line in all {
        assert!(lines.contains(&line.split(' ').collect()), "{line} is not in {output}");
    }
    let output = b.run("build --call outline --target none .");
    assert!(output.status == 1 && output.stderr.contains("target stage \"none\" could not be found"), "{output}");
}
