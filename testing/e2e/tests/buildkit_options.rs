//! What a client says about a build, with buildx: every option is followed, refused by its name, or answered with a warning.

mod bad;
mod buildx;

use bad::Registry;
use buildx::Buildx;

#[test]
fn options_of_commands() {
    let b = Buildx::new();
    let dockerfile = "FROM busybox:1.29\n\
        RUN cat /etc/hosts && ulimit -n && df -k /dev/shm && hostname\n\
        RUN --network=none ! ip route get 1.1.1.1\n";
    b.files(&[("Dockerfile", dockerfile)]);
    let said = b
        .ok("build --progress plain --no-cache --add-host one.test:10.1.2.3 --add-host six.test:[2001:db8::7] \
         --ulimit nofile=77:88 --shm-size 8m --build-arg BUILDKIT_SANDBOX_HOSTNAME=sandbox .");
    for text in ["10.1.2.3", "one.test", "2001:db8::7", " 77\n", " 8192 ", " sandbox\n"] {
        assert!(said.contains(text), "{text} in {said}");
    }
}

#[test]
fn the_machines_network_is_asked_for_twice() {
    let b = Buildx::new();
    let (status, said) = b.piped("build -f - .", "FROM busybox:1.29\nRUN --network=host true\n");
    assert!(status == 1 && said.contains("network.host is not allowed"), "{said}");
    let allowed = "FROM busybox:1.29\nRUN --network=host ls /sys/class/net\n";
    let (status, said) = b.piped("buildx build --progress plain --allow network.host -f - .", allowed);
    assert!(status == 0, "{said}");
    let (status, said) = b.piped("build --network host -f - .", "FROM busybox:1.29\nRUN true\n");
    assert!(status == 0, "{said}");
    let (status, said) = b.piped("buildx build --allow security.insecure -f - .", "FROM busybox:1.29\n");
    let why = "granting entitlement security.insecure is not allowed by build daemon configuration";
    assert!(status == 1 && said.contains(why), "{said}");
}

#[test]
fn images_are_of_the_date_that_is_given() {
    let b = Buildx::new();
    b.files(&[(
        "Dockerfile",
        "FROM busybox:1.29\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH >/f\nCMD cat /f\n",
    )]);
    b.ok("build --build-arg SOURCE_DATE_EPOCH=1234567890 -t dated .");
    assert_eq!(b.c.ok("inspect --format {{.Created}} dated"), "2009-02-13T23:31:30Z");
    assert_eq!(b.c.ok("run --rm dated"), "1234567890");
    let said = b.fails("build --build-arg SOURCE_DATE_EPOCH=soon .");
    assert!(said.contains("SOURCE_DATE_EPOCH"), "{said}");
}

#[test]
fn caches_come_from_images() {
    let b = Buildx::new();
    let registry = Registry::start();
    let host = &registry.address;
    let image = format!("{host}/cached:1");
    b.files(&[("Dockerfile", "FROM busybox:1.29\nRUN echo slow >/f\nCOPY a /a\nCMD cat /f\n"), ("a", "a")]);
    b.ok(&format!("build --build-arg BUILDKIT_INLINE_CACHE=1 --push -t {image} ."));
    b.c.ok(&format!("rmi {image}"));
    b.ok("buildx prune --all --force");
    // Here is nothing of it any more: what is cached comes from there.
    let said = b.ok(&format!("build --progress plain --cache-from {image} -t again ."));
    assert!(said.contains(&format!("importing cache manifest from {image}")), "{said}");
    assert_eq!(said.matches(" CACHED").count(), 2, "{said}");
    assert_eq!(b.c.ok("run --rm again"), "slow");
    // One that is not there says so, and is no mistake: the first build of all has none.
    let said = b.ok(&format!("build --progress plain --cache-from {host}/none -t again ."));
    assert!(said.contains(&format!("importing cache manifest from {host}/none")) && said.contains("ERROR"), "{said}");
}

#[test]
fn what_makes_no_difference_is_a_warning() {
    let b = Buildx::new();
    if b.c.engine().is_none() {
        // BuildKit reads it.
        return;
    }
    b.files(&[("Dockerfile", "FROM busybox:1.29\nRUN true\n")]);
    let said = b.ok("build --progress plain --cache-from type=azblob,name=x .");
    assert!(said.contains("the cache of type \"azblob\" is not supported by this engine"), "{said}");
    assert!(said.contains("1 warning found"), "{said}");
}

#[test]
fn what_there_is_not_is_named() {
    let b = Buildx::new();
    if b.c.engine().is_none() {
        // BuildKit has it.
        return;
    }
    b.files(&[("Dockerfile", "FROM busybox:1.29\n")]);
    for (options, why) in [
        (
            "--platform linux/amd64,linux/arm64",
            "building for several platforms at once is not supported by this engine",
        ),
        (
            "--build-arg BUILDKIT_MULTI_PLATFORM=1",
            "an image with an index of platforms is not supported by this engine",
        ),
        ("--build-arg BUILDKIT_SYNTAX=other/frontend", "the Dockerfile frontend \"other/frontend\" is not supported"),
        ("--cache-to type=registry,ref=localhost/x", "the export of the cache of type \"registry\" is not supported"),
        ("--sbom true", "Attestations are not supported by the current BuildKit daemon"),
        ("--provenance mode=max", "Attestations are not supported by the current BuildKit daemon"),
        ("--build-arg BUILDKIT_ATTEST_SBOM=", "the attestation \"sbom\" is not supported by this engine"),
    ] {
        let said = b.fails(&format!("buildx build {options} ."));
        assert!(said.contains(why), "{options}: {said}");
    }
    // A request for provenance that nobody made goes nowhere, as in Docker without containerd's store.
    let mut command = b.command(&["build", "-t", "plain", "."]);
    let output = tare_testkit::Output::of("build", command.env_remove("BUILDX_NO_DEFAULT_ATTESTATIONS"));
    assert_eq!(output.status, 0, "{output}");
}
