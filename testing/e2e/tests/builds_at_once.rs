//! Builds of the same Dockerfile at the same time.

use std::process::Command;

use tare_testkit::{Console, with_both_clients};

with_both_clients!(each_goes_on_with_its_own_steps);

/// Builds at once: as many as make the same steps again and again while others are on them.
const BUILDS: usize = 6;

fn each_goes_on_with_its_own_steps(c: &Console) {
    std::fs::create_dir(c.path("context")).expect("directory");
    let dockerfile = "FROM busybox:1.29\nRUN exit 0\nRUN exit 0\nRUN echo made >/made\n";
    std::fs::write(c.path("context/Dockerfile"), dockerfile).expect("file");
    c.ok("pull -q busybox:1.29");
    let (program, host) = c.typed();
    let directory = c.path("");
    let build = |number: usize| {
        let mut command = Command::new(&program);
        command.args(["build", "--no-cache", "-t", &format!("made{number}"), "context"]).current_dir(&directory);
        command.env("DOCKER_HOST", host).env("DOCKER_BUILDKIT", "0");
        command.output().expect("a build")
    };
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..BUILDS).map(|number| scope.spawn(move || build(number))).collect();
        for built in builds {
            let output = built.join().expect("a build");
            assert!(output.status.success(), "{output:?}");
        }
    });
    for number in 0..BUILDS {
        assert_eq!(c.ok(&format!("run --rm made{number} cat /made")), "made");
    }
}
