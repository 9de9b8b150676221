//! A web server, watched by an agent that mails when it is down.

use tare_testkit::{Console, with_both_clients};

with_both_clients!(watched_web_server, links_and_environment);

fn watched_web_server(c: &Console) {
    the_image_comes_by_itself(c);
    assert_eq!(c.ok("run -d --name mailer dockerinaction/ch2_mailer").len(), 64);
    a_shell_asks_the_web_server(c);
    the_agent_is_left_and_visited(c);
    three_rows(c);
    everything_restarts(c);
    what_they_said(c);
    the_alarm(c);
}

/// `run` pulls what is missing, tells about it on stderr, and prints nothing but the container's ID.
fn the_image_comes_by_itself(c: &Console) {
    let run = c.run("run --detach --name web nginx:latest");
    assert_eq!(run.status, 0, "{run}");
    let id = run.stdout.trim_end();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{run}");
    for line in ["Unable to find image 'nginx:latest' locally", "latest: Pulling from library/nginx", "Digest: sha256:"]
    {
        assert!(run.stderr.contains(line), "{run}");
    }
    assert!(run.stderr.contains("Status: Downloaded newer image for nginx:latest"), "{run}");
}

fn a_shell_asks_the_web_server(c: &Console) {
    let mut shell = c.terminal("run --interactive --tty --link web:web --name web_test busybox:1.29 /bin/sh");
    shell.expect("/ # ");
    shell.send("wget -O - http://web:80/\n");
    shell.expect("wget -O - http://web:80/\r\n");
    shell.expect("Welcome to nginx!");
    shell.expect("/ # ");
    // The terminal and its job control are the shell's: Ctrl-C ends what runs, not the shell.
    shell.send("sh -c 'echo star''ted; sleep 1000'\n");
    shell.expect("started");
    shell.send("\u{3}");
    shell.expect("/ # ");
    shell.send("exit 3\n");
    assert_eq!(shell.wait(), 3);
    assert!(!shell.seen().contains("job control turned off"), "{}", shell.seen());
    assert_eq!(c.state("web_test"), "exited");
}

fn the_agent_is_left_and_visited(c: &Console) {
    let line = "run -it --name agent --link web:insideweb --link mailer:insidemailer dockerinaction/ch2_agent";
    let mut agent = c.terminal(line);
    agent.expect("System up.");
    agent.expect("System up.");
    agent.send("\u{10}\u{11}");
    assert_eq!(agent.wait(), 0, "{}", agent.seen());
    assert_eq!(c.state("agent"), "running");
    let mut agent = c.terminal("attach agent");
    agent.expect("System up.");
    agent.send("\u{10}\u{11}");
    agent.wait();
    assert_eq!(c.state("agent"), "running");
}

fn three_rows(c: &Console) {
    let table = c.ok("ps");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    let header: Vec<&str> = lines[0].split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(header, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let expected = [
        ("dockerinaction/ch2_agent", "\"/watcher/watcher.sh\"", "", "agent"),
        ("dockerinaction/ch2_mailer", "\"/mailer/mailer.sh\"", "33333/tcp", "mailer"),
        ("nginx:latest", "\"nginx -g 'daemon of…\"", "80/tcp", "web"),
    ];
    for (line, (image, command, ports, name)) in lines[1..].iter().zip(expected) {
        let mut cells = cells(line);
        if ports.is_empty() {
            cells.insert(5, String::new());
        }
        assert_eq!(cells.len(), 7, "{table}");
        assert!(cells[0].len() == 12 && cells[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{table}");
        assert_eq!((cells[1].as_str(), cells[2].as_str()), (image, command));
        assert!(cells[3].ends_with(" ago") && cells[4].starts_with("Up "), "{table}");
        assert_eq!((cells[5].as_str(), cells[6].as_str()), (ports, name));
    }
}

fn everything_restarts(c: &Console) {
    for name in ["web", "mailer", "agent"] {
        assert_eq!(c.ok(&format!("restart {name}")), name);
    }
    let address = c.ok("inspect --format {{.NetworkSettings.Networks.bridge.IPAddress}} web");
    let id = c.ok("inspect --format {{.Id}} web");
    let hosts = c.ok("exec agent cat /etc/hosts");
    assert!(hosts.contains(&format!("{address}\tinsideweb {} web", &id[..12])), "{hosts}");
}

fn what_they_said(c: &Console) {
    c.logged("web", "\"GET / HTTP/1.0\" 200");
    c.logged("mailer", "CH2 Example Mailer has started.");
    c.logged("agent", "System up.");
    let mut follower = c.terminal("logs --follow --tail 0 agent");
    follower.expect("System up.");
    follower.expect("System up.");
    follower.send("\u{3}");
    follower.wait();
}

fn the_alarm(c: &Console) {
    assert_eq!(c.ok("stop web"), "web");
    c.until("inspect --format {{.State.Status}} agent", |state| state == "exited");
    c.logged("mailer", "The service is down!");
    let logs = c.logs("mailer");
    let last = logs.lines().last().unwrap_or_default();
    assert_eq!(last, "Sending email: To: admin@work  Message: The service is down!", "{logs}");
    assert_eq!(c.ok("wait agent"), "0");
}

/// Containers that are created first and started later, in the order of their links.
fn links_and_environment(c: &Console) {
    let mailer = c.ok("run -d dockerinaction/ch2_mailer");
    let web = c.ok("create nginx:latest");
    let links = format!("--link {web}:insideweb --link {mailer}:insidemailer");
    let agent = c.ok(&format!("create {links} dockerinaction/ch2_agent"));
    assert_eq!(c.ok("ps --quiet --no-trunc"), mailer);
    assert_eq!(c.ok("ps --all --quiet --no-trunc"), [&*agent, &web, &mailer].join("\n"));
    assert_eq!(c.ok(&format!("ps --all --filter id={web} --format {{{{.Status}}}}")), "Created");

    let name = |id: &str| c.ok(&format!("inspect --format {{{{.Name}}}} {id}"));
    let refused = c.fails(&format!("start {agent}"), 1);
    let expected = format!("Cannot link to a non running container: {} AS {}/insideweb", name(&web), name(&agent));
    assert!(refused.contains(&expected), "{refused}\n{expected}");
    assert_eq!(c.ok(&format!("start {web}")), web);
    // The agent ends at the first request without an answer: the server must listen (port 80, state LISTEN) before.
    c.until(&format!("exec {web} cat /proc/net/tcp"), |sockets| sockets.contains(":0050 00000000:0000 0A"));
    assert_eq!(c.ok(&format!("start {agent}")), agent);

    let address = c.ok(&format!("inspect --format {{{{.NetworkSettings.Networks.bridge.IPAddress}}}} {web}"));
    let environment = c.ok(&format!("exec {agent} env"));
    for variable in [
        format!("INSIDEWEB_NAME={}/insideweb", name(&agent)),
        format!("INSIDEWEB_PORT=tcp://{address}:80"),
        format!("INSIDEWEB_PORT_80_TCP=tcp://{address}:80"),
        format!("INSIDEWEB_PORT_80_TCP_ADDR={address}"),
        "INSIDEWEB_PORT_80_TCP_PORT=80".to_owned(),
        "INSIDEWEB_PORT_80_TCP_PROTO=tcp".to_owned(),
        "INSIDEMAILER_PORT_33333_TCP_PORT=33333".to_owned(),
    ] {
        assert!(environment.lines().any(|line| line == variable), "{variable} is not in\n{environment}");
    }
    assert!(environment.contains("INSIDEWEB_ENV_NGINX_VERSION="), "{environment}");
    assert!(!environment.contains("INSIDEWEB_ENV_PATH"), "{environment}");
    let hosts = c.ok(&format!("exec {agent} cat /etc/hosts"));
    assert!(hosts.contains(&format!("{address}\tinsideweb {}", &web[..12])), "{hosts}");
    c.logged(&agent, "System up.");
}
