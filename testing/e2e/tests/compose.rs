//! Compose, unmodified: the example that people are given, and a file that asks for what Compose files ask for.

use std::fs;
use std::path::Path;
use std::process::Command;

use tare_testkit::{Client, Console, Output, http, install};

/// Compose in a directory with a `compose.yaml`.
struct Project<'c> {
    c: &'c Console,
    directory: &'c Path,
    variables: Vec<(&'static str, String)>,
}

impl Project<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let (_, host) = self.c.typed();
        let mut command = Command::new(install::compose());
        command.args(arguments).current_dir(self.directory).env("DOCKER_HOST", host);
        command
            .env("DOCKER_CONFIG", self.c.path("config"))
            .env("HOME", self.c.path("home"))
            .env("DOCKER_BUILDKIT", "0");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Output::of(&format!("docker-compose {}", arguments.join(" ")), &mut command)
    }

    /// Types a line that works; gives standard output, without the last newline.
    fn ok(&self, line: &str) -> String {
        self.typed(&line.split(' ').collect::<Vec<_>>())
    }

    fn typed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status, 0, "{output}");
        // Some versions clear the line before each one of a log, whatever they write to.
        output.stdout.replace("\u{1b}[2K", "").trim_end().to_owned()
    }

    /// Runs a command in a service's first container.
    fn exec(&self, service: &str, command: &str) -> String {
        self.typed(&["exec", "-T", service, "sh", "-c", command])
    }
}

/// Nothing is left of a project, and nothing else was made.
fn nothing_left(c: &Console, networks: usize) {
    assert_eq!(c.ok("ps --all --quiet"), "");
    assert_eq!(c.ok("volume ls --quiet"), "");
    assert_eq!(c.ok("network ls --quiet").lines().count(), networks);
}

#[test]
fn the_example() {
    let c = Console::new(Client::Tare);
    let networks = c.ok("network ls --quiet").lines().count();
    let port = http::free_port();
    let site = format!("127.0.0.1:{port}");
    let variables = vec![("PORT", port.to_string()), ("PASSWORD", "other than usual".to_owned())];
    let project = Project { c: &c, directory: &install::root().join("examples/wordpress"), variables };
    project.ok("up --detach --wait");
    let installed =
        "weblog_title=Kept&user_name=me&admin_email=me@example.com&admin_password=p&admin_password2=p&pw_weak=on";
    let (status, page) = http::ask(&site, "/wp-admin/install.php?step=2", Some(installed)).expect("an answer");
    assert_eq!(status, 200, "{page}");
    http::eventually(&site, "/?rest_route=/", |page| page.contains("\"name\":\"Kept\""));
    // Nobody but the site reaches the database.
    assert_eq!(project.ok("port site 80"), site);
    assert!(c.ok("port wordpress-database-1").is_empty());
    project.ok("restart database");
    project.ok("up --detach --wait");
    http::eventually(&site, "/?rest_route=/", |page| page.contains("\"name\":\"Kept\""));
    project.ok("down");
    assert_eq!(c.ok("ps --all --quiet"), "");
    project.ok("up --detach --wait");
    http::eventually(&site, "/?rest_route=/", |page| page.contains("\"name\":\"Kept\""));
    project.ok("down --volumes --timeout 1");
    nothing_left(&c, networks);
}

const FILE: &str = r#"
name: all
x-logs: &logs {driver: json-file, options: {max-size: 1m, max-file: "2"}}
services:
  db:
    image: busybox:1.29
    command: [sh, -c, "echo made >/data/file; touch /ready; sleep 1000"]
    healthcheck: {test: [CMD, test, -e, /ready], interval: 1s, retries: 60, start_period: 10s, start_interval: 200ms}
    networks: {back: {aliases: [sql], ipv4_address: 172.30.213.10}}
    volumes:
      - data:/data
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1048576, mode: 0o1777}}
    tmpfs: ["/small:size=64k,mode=700"]
    logging: *logs
    stop_grace_period: 0s
  init:
    image: busybox:1.29
    command: cat /run/secrets/from-file /run/secrets/from-environment /written /given
    depends_on: {db: {condition: service_healthy}}
    secrets: [from-file, from-environment]
    configs: [{source: written, target: /written}, {source: given, target: /given}]
    networks: [back]
  web:
    image: busybox:1.29
    command: [sh, -c, "mkdir -p /www; echo page >/www/index.html; httpd -f -p 80 -h /www"]
    depends_on: {init: {condition: service_completed_successfully}}
    environment: {OWN: "1"}
    env_file: [web.env]
    ports: ["127.0.0.1:${PORT}:80"]
    networks: {back: {}, front: {aliases: [www]}}
    ulimits: {nofile: {soft: 100, hard: 200}}
    sysctls: {net.core.somaxconn: 511}
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
    init: true
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M, pids: 100}}}
    extra_hosts: ["elsewhere:192.0.2.7"]
    dns_search: [example.test]
    dns_opt: [timeout:1]
    hostname: own
    domainname: example.test
    labels: {team: blue}
    expose: ["8000-8001"]
    restart: unless-stopped
    stop_grace_period: 0s
  locked:
    image: busybox:1.29
    command: sleep 1000
    read_only: true
    user: "1000:1000"
    group_add: ["33"]
    working_dir: /tmp
    security_opt: ["no-new-privileges:true"]
    ipc: shareable
    shm_size: 1m
    stop_signal: SIGKILL
  beside:
    image: busybox:1.29
    command: sleep 1000
    network_mode: "service:locked"
    pid: "service:locked"
    ipc: "service:locked"
    stop_grace_period: 0s
  worker:
    extends: {file: base.yaml, service: base}
    deploy: {replicas: 2}
  built:
    build: {context: context, args: {WHO: somebody}, target: last, tags: ["all-other:1"]}
    command: cat /who
  seldom:
    image: busybox:1.29
    command: echo seldom
    profiles: [seldom]
networks:
  back: {internal: true, ipam: {config: [{subnet: 172.30.213.0/24}]}}
  front: {}
volumes:
  data: {labels: {of: compose}}
  there: {external: true}
secrets:
  from-file: {file: ./secret}
  from-environment: {environment: SECRET}
configs:
  written: {content: "for ${WHOM:-nobody}\n"}
  given: {file: ./given}
"#;

const BASE: &str = "services:\n  base:\n    image: busybox:1.29\n    command: [sh, -c, 'echo at work; sleep 1000']\n    \
    volumes: ['there:/there']\n    stop_grace_period: 0s\n";

const DOCKERFILE: &str =
    "FROM busybox:1.29 AS first\nARG WHO=nobody\nRUN echo $WHO >/who\nFROM first AS last\nFROM first\nRUN false\n";

/// Compose with [`FILE`]; gives the port of its web server.
fn prepare(c: &Console) -> u16 {
    let directory = c.path("project");
    fs::create_dir_all(directory.join("context")).expect("directory");
    for (name, text) in [
        ("compose.yaml", FILE),
        ("base.yaml", BASE),
        ("context/Dockerfile", DOCKERFILE),
        ("web.env", "FROM_FILE=yes\n"),
        ("secret", "kept\n"),
        ("given", "as given\n"),
    ] {
        fs::write(directory.join(name), text).expect("file");
    }
    c.ok("volume create there");
    http::free_port()
}

#[test]
fn all_that_a_file_asks_for() {
    let c = Console::new(Client::Tare);
    let networks = c.ok("network ls --quiet").lines().count();
    let port = prepare(&c);
    let variables = vec![("PORT", port.to_string()), ("SECRET", "hidden\n".to_owned())];
    let project = Project { c: &c, directory: &c.path("project"), variables };
    project.ok("up --detach");
    assert_eq!(project.ok("logs --no-log-prefix init"), "kept\nhidden\nfor nobody\nas given");
    assert_eq!(project.ok("logs --no-log-prefix built"), "somebody");
    http::eventually(&format!("127.0.0.1:{port}"), "/", |page| page.contains("page"));
    let web = "echo $OWN $FROM_FILE; hostname; hostname -d; ulimit -n; ulimit -Hn; cat /proc/sys/net/core/somaxconn; \
        grep CapBnd /proc/self/status | tail -c 5; cat /proc/1/comm; grep -c elsewhere /etc/hosts; grep -e ^search -e ^options /etc/resolv.conf; \
        nslookup sql. 2>/dev/null | grep -c 172.30.213.10; nslookup worker. >/dev/null 2>&1 || echo apart";
    let wanted = "1 yes\nown\nexample.test\n100\n200\n511\n0400\ndocker-init\n1\nsearch example.test\noptions timeout:1 ndots:0\n1\napart";
    assert_eq!(project.exec("web", web), wanted);
    let limits =
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(c.ok(&format!("inspect --format '{limits}' all-web-1")), "67108864 500000000 100 unless-stopped");
    let exposed = c.ok("inspect --format '{{json .Config.ExposedPorts}}' all-web-1");
    assert_eq!(exposed, r#"{"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}"#);
    let db = "cat /data/file; mount | grep -c -e ' /scratch .*size=1024k' -e ' /small .*size=64k'";
    assert_eq!(project.exec("db", db), "made\n2");
    let locked = "id -u; id -G; pwd; grep NoNewPrivs /proc/self/status; touch /x 2>/dev/null || echo locked; echo seen >/dev/shm/file";
    assert_eq!(project.exec("locked", locked), "1000\n1000 33\n/tmp\nNoNewPrivs:\t1\nlocked");
    let beside = "cat /dev/shm/file; cat /proc/1/comm; hostname";
    let id = c.ok("inspect --format {{.Config.Hostname}} all-locked-1");
    assert_eq!(project.exec("beside", beside), format!("seen\nsleep\n{id}"));
    assert_eq!(c.ok("volume inspect --format {{.Labels.of}} all_data"), "compose");
    // Nothing has changed: nothing is made anew.
    let before = c.ok("ps --all --quiet --no-trunc --filter label=com.docker.compose.service=web");
    project.ok("up --detach");
    assert_eq!(c.ok("ps --all --quiet --no-trunc --filter label=com.docker.compose.service=web"), before);
    project.ok("down --volumes --rmi all --timeout 0");
    assert_eq!(c.ok("volume ls --quiet"), "there");
    assert_eq!(c.ok("images --quiet all-built"), "");
    c.ok("volume rm there");
    nothing_left(&c, networks);
}

#[test]
fn a_day_with_a_project() {
    let c = Console::new(Client::Tare);
    let networks = c.ok("network ls --quiet").lines().count();
    let port = prepare(&c);
    let variables = vec![("PORT", port.to_string()), ("SECRET", "hidden".to_owned())];
    let project = Project { c: &c, directory: &c.path("project"), variables };
    project.ok("up --detach --wait db web worker");
    assert_eq!(project.ok("run --rm seldom"), "seldom");
    assert_eq!(project.typed(&["run", "--rm", "--no-deps", "-T", "-e", "X=y", "worker", "sh", "-c", "echo $X"]), "y");
    assert_eq!(project.ok("ps --quiet worker").lines().count(), 2);
    project.ok("scale worker=3");
    assert_eq!(project.ok("ps --quiet worker").lines().count(), 3);
    project.ok("up --detach --scale worker=1 worker");
    assert_eq!(project.ok("ps --quiet worker").lines().count(), 1);
    assert!(project.ok("top worker").contains("sleep 1000"));
    assert!(project.ok("stats --no-stream --format {{.Name}}").contains("all-db-1"));
    assert!(project.ok("images").contains("busybox"));
    assert!(project.ok("ls").contains("running("));
    assert_eq!(project.ok("port web 80"), format!("127.0.0.1:{port}"));
    project.ok("pause worker");
    assert_eq!(c.state("all-worker-1"), "paused");
    project.ok("unpause worker");
    fs::write(c.path("project/new"), "new").expect("file");
    project.ok("cp new worker:/there/new");
    project.ok("cp worker:/there/new back");
    assert_eq!(fs::read(c.path("project/back")).expect("file"), b"new");
    project.ok("restart --timeout 0 worker");
    project.ok("kill worker");
    let ended = project.run(&["wait", "worker"]);
    assert!(ended.status == 137 || ended.stderr.contains("no containers"), "{ended}");
    project.ok("start worker");
    project.ok("stop worker");
    assert_eq!(c.state("all-worker-1"), "exited");
    let ended = project.run(&["up", "--no-deps", "--exit-code-from", "built", "built"]);
    assert!(ended.status == 0 && ended.stdout.contains("somebody"), "{ended}");
    project.ok("rm --force --stop worker built");
    assert_eq!(project.ok("ps --all --quiet worker"), "");
    project.ok("down --volumes --timeout 0");
    c.ok("volume rm there");
    nothing_left(&c, networks);
}

/// `tare compose` and `tare buildx` are docker's plugins.
#[test]
fn as_commands_of_tare() {
    let c = Console::new(Client::Tare);
    let plugins = c.path("config/cli-plugins");
    fs::create_dir_all(&plugins).expect("directory");
    for (name, program) in [("docker-compose", install::compose()), ("docker-buildx", install::buildx())] {
        std::os::unix::fs::symlink(program, plugins.join(name)).expect("link");
    }
    let file = "services:\n  made: {build: ., command: cat /f}\n";
    for (name, text) in [("compose.yaml", file), ("Dockerfile", "FROM busybox:1.29\nCOPY f /f\n"), ("f", "as built\n")]
    {
        fs::write(c.path(name), text).expect("file");
    }
    c.ok("buildx build --quiet --tag by-buildx .");
    assert_eq!(c.ok("run --rm by-buildx cat /f"), "as built");
    let mut build = Command::new(c.typed().0);
    build.args(["build", "--progress", "plain", "--secret", "id=s,src=f", "."]).current_dir(c.path("."));
    build.env("DOCKER_HOST", c.typed().1).env("DOCKER_CONFIG", c.path("config")).env_remove("DOCKER_BUILDKIT");
    let built = Output::of("build --progress plain", &mut build);
    assert!(built.status == 0 && built.stderr.contains("COPY f /f\n#"), "{built}");
    c.ok("compose --project-name plugged up --build --detach");
    assert_eq!(c.ok("wait plugged-made-1"), "0");
    assert!(c.ok("compose --project-name plugged logs --no-log-prefix").ends_with("as built"));
    c.ok("compose --project-name plugged down");
    assert_eq!(c.ok("ps --all --quiet"), "");
    let info = c.ok("info --format '{{range .ClientInfo.Plugins}}{{.Name}} {{end}}'");
    assert!(info.contains("buildx ") && info.contains("compose "), "{info}");
}
