//! Forms of instructions with buildx, as the Dockerfile frontend of Docker's engine follows them.

mod buildx;

use buildx::Buildx;

#[test]
fn modes_of_copied_files() {
    let b = Buildx::new();
    b.files(&[("a.txt", "a"), ("d/e/b.txt", "b")]);
    let dockerfile = "FROM busybox:1.29\nCOPY --chmod=u+x a.txt /x\nCOPY --chmod=755 a.txt /y\n\
        COPY --chmod=go-r,u=rwx a.txt /z\nADD --chmod=a+X d /d\n\
        CMD [\"stat\", \"-c\", \"%a %n\", \"/x\", \"/y\", \"/z\", \"/d/e\", \"/d/e/b.txt\"]\n";
    for place in ["a.txt", "d/e/b.txt"] {
        std::fs::set_permissions(
            b.c.path(&format!("context/{place}")),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .expect("mode");
    }
    b.files(&[("Dockerfile", dockerfile)]);
    b.ok("build -t modes .");
    assert_eq!(b.c.ok("run --rm modes"), "744 /x\n755 /y\n700 /z\n755 /d/e\n644 /d/e/b.txt");
    b.files(&[("Dockerfile", "FROM busybox:1.29\nCOPY --chmod=foo a.txt /x\n")]);
    let said = b.fails("build .");
    assert!(said.contains("failed to solve: invalid syntax"), "{said}");
}

/// A stage goes on with the arguments of the one that it is made from; of `ARG` and `ENV`, the last holds.
#[test]
fn arguments_of_stages() {
    let b = Buildx::new();
    let dockerfile = "FROM busybox:1.29 AS a\nARG V=1\nARG X=$V-x\nFROM a AS b\nRUN echo \"$V $X\" >/said\n\
        ENV V=env\nRUN echo $V >>/said\nARG V=arg\nRUN echo $V >>/said\nENV V=again\nRUN echo $V >>/said\n\
        FROM b\nRUN echo \"$V $X\" >>/said\nCMD cat /said; echo $V\n";
    b.files(&[("Dockerfile", dockerfile)]);
    b.ok("build -t arguments .");
    assert_eq!(b.c.ok("run --rm arguments"), "1 1-x\nenv\narg\nagain\nagain 1-x\nagain");
    b.ok("build --build-arg X=given -t arguments .");
    assert_eq!(b.c.ok("run --rm arguments"), "1 given\nenv\narg\nagain\nagain given\nagain");
}

#[test]
fn refusals() {
    let b = Buildx::new();
    b.files(&[("a.txt", "a")]);
    let sum = format!("sha256:{}", "0".repeat(64));
    for (lines, why) in [
        ("RUN --network=foo true".to_owned(), "dockerfile parse error on line 2: invalid network mode \"foo\""),
        ("RUN --network=host true".to_owned(), "failed to load LLB: network.host is not allowed"),
        ("ADD --checksum=foo http://127.0.0.1:1/x /".to_owned(), "invalid checksum digest format"),
        (format!("ADD --checksum={sum} a.txt /"), "checksum requires HTTP(S) or Git sources"),
    ] {
        b.files(&[("Dockerfile", &format!("FROM busybox:1.29\n{lines}\n"))]);
        let said = b.fails("build .");
        assert!(said.contains(&format!("failed to solve: {why}")), "{lines}: {said}");
    }
    b.files(&[("Dockerfile", "# check=foo=bar\nFROM busybox:1.29\n")]);
    let said = b.fails("build .");
    assert!(said.contains("failed to parse check options: invalid check option \"foo\""), "{said}");
}
