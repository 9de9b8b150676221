//! An engine in a container of an engine, as CI services have it: it needs `--privileged` and a volume for its data.

use std::process::Command;

use tare_testkit::{Client, Console, Output, install};

#[test]
fn an_engine_in_a_container() {
    let c = Console::new(Client::Tare);
    let dist = install::dist();
    // The daemon answers on its socket from the moment that this prints. A client that is told where its daemon is starts
    // none of its own, which may be there first.
    let asked = "DOCKER_HOST=unix:///run/tare.sock /dist/tare version >/dev/null 2>&1";
    let daemon = format!("/dist/tare daemon & until {asked}; do sleep 0.05; done; echo up; wait");
    let programs = format!("--volume {}:/dist:ro --volume /var/lib/tare", dist.display());
    c.ok(&format!("run -d --name inner --privileged {programs} nginx:latest sh -c '{daemon}'"));
    c.logged("inner", "up\n");
    let tare = |line: &str| c.ok(&format!("exec inner /dist/tare {line}"));
    c.ok("pull --quiet busybox:1.29");
    let (program, host) = c.typed();
    let move_image = "\"$0\" save busybox:1.29 | \"$0\" exec -i inner /dist/tare load";
    let mut command = Command::new("sh");
    let moved = Output::of(move_image, command.args(["-c", move_image]).arg(program).env("DOCKER_HOST", host));
    assert!(moved.status == 0 && moved.stdout == "Loaded image: busybox:1.29\n", "{moved}");
    tare("run -d --name web --memory 64m --hostname innermost -p 8080:80 busybox:1.29 httpd -f -h /etc");
    // Through its published port, from its host's network, which is the outer container's; as soon as it listens.
    let ask = "until wget -q -O - http://127.0.0.1:8080/hostname; do sleep 0.1; done";
    let said = tare(&format!("run --rm --network host busybox:1.29 sh -c \"{ask}\""));
    assert!(said.ends_with("innermost"), "{said}");
    assert_eq!(tare("exec web ps -o pid,args").lines().nth(1).map(str::trim), Some("1 httpd -f -h /etc"));
    // The inner daemon goes with its container, and so does all that it made.
    c.ok("rm --force --volumes inner");
    assert_eq!(c.ok("volume ls --quiet"), "");
}
