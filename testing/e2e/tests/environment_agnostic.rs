//! Systems that do not depend on where they run: read-only file systems, volumes for what is written, links,
//! published ports, environment variables.

use tare_testkit::{Console, http, with_both_clients};

with_both_clients!(a_site, random_ports, environment);

const WORDPRESS: &str = "wordpress:5.0.0-php7.2-apache";

/// One test, so that the image is pulled once.
fn a_site(c: &Console) {
    read_only_and_stopped(c);
    changes_of_a_writable_one(c);
    read_only_with_volumes(c);
    a_site_with_its_database(c);
}

/// Apache cannot write its PID file, and says so.
fn read_only_and_stopped(c: &Console) {
    c.ok(&format!("run -d --name wp --read-only {WORDPRESS}"));
    c.until("inspect --format {{.State.Running}} wp", |running| running == "false");
    let logs = c.logs("wp");
    assert!(logs.contains("Read-only file system"), "{logs}");
    assert_ne!(c.ok("inspect --format {{.State.ExitCode}} wp"), "0");
}

fn changes_of_a_writable_one(c: &Console) {
    c.ok(&format!("run -d --name wp_writable {WORDPRESS}"));
    let changes = c.until("container diff wp_writable", |changes| changes.contains("A /run/apache2/apache2.pid"));
    for line in ["C /run", "C /run/apache2"] {
        assert!(changes.lines().any(|change| change == line), "{line} is not in\n{changes}");
    }
    assert!(!changes.contains("/var/www/html/"), "a volume's files are not the container's: {changes}");
}

fn read_only_with_volumes(c: &Console) {
    c.ok(&format!("run -d --name wp2 --read-only -v /run/apache2/ --tmpfs /tmp {WORDPRESS}"));
    c.until("exec wp2 ls /run/apache2", |names| names.contains("apache2.pid"));
    assert_eq!(c.ok("inspect --format {{.State.Running}} wp2"), "true");
    let mounts =
        c.ok("inspect --format '{{range .Mounts}}{{.Type}} {{.Destination}} {{len .Name}}{{println}}{{end}}' wp2");
    assert!(mounts.lines().any(|mount| mount == "volume /run/apache2 64"), "{mounts}");
    c.fails("exec wp2 touch /etc/new", 1);
    c.ok("exec wp2 touch /tmp/new /var/www/html/new");
}

fn a_site_with_its_database(c: &Console) {
    c.ok("run -d --name wpdb -e MYSQL_ROOT_PASSWORD=ch2demo mysql:5.7");
    // Elsewhere than the story's 8000, which may be somebody's.
    let port = http::free_port();
    let options = format!("--link wpdb:mysql -p {port}:80 --read-only -v /run/apache2/ --tmpfs /tmp");
    c.ok(&format!("run -d --name wp3 {options} {WORDPRESS}"));
    // Only with its database WordPress knows that it is not installed yet.
    let page =
        http::eventually(&format!("127.0.0.1:{port}"), "/wp-admin/install.php", |page| page.contains("WordPress"));
    assert!(!page.contains("Error establishing a database connection"), "{page}");
    assert_eq!(c.ok("inspect --format {{.State.Running}} wp3"), "true");
    let databases = c.ok("exec wpdb mysql -uroot -pch2demo -e 'show databases'");
    assert!(databases.lines().any(|name| name == "wordpress"), "{databases}");
}

fn random_ports(c: &Console) {
    c.ok("run -d --name web -p 80 nginx:latest");
    let port = c.ok("port web 80/tcp").lines().next().expect("a line").to_owned();
    let port = port.strip_prefix("0.0.0.0:").expect("every address").to_owned();
    assert!(port.parse::<u16>().is_ok_and(|port| port > 1024), "{port}");
    assert_eq!(c.ok("inspect --format '{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}' web"), port);
    let shown = c.ok("ps --filter name=web --format {{.Ports}}");
    assert!(shown.contains(&format!("0.0.0.0:{port}->80/tcp")), "{shown}");
    http::eventually(&format!("127.0.0.1:{port}"), "/", |page| page.contains("Welcome to nginx!"));
    // Another port for another container.
    c.ok("run -d --name other -p 80 nginx:latest");
    assert_ne!(c.ok("port other 80/tcp"), c.ok("port web 80/tcp"));
}

fn environment(c: &Console) {
    let printed = c.ok("run --rm --env MY_ENVIRONMENT_VAR='this is a test' busybox:1.29 env");
    assert!(printed.lines().any(|line| line == "MY_ENVIRONMENT_VAR=this is a test"), "{printed}");
    let printed = c.ok("run --rm -e A=1 -e A=2 -e EMPTY= -e PATH=/bin nginx:latest env");
    for line in ["A=2", "EMPTY=", "PATH=/bin"] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(!printed.contains("A=1"), "{printed}");
    assert!(printed.contains("NGINX_VERSION="), "the image's own are kept: {printed}");
    assert_eq!(c.ok("run --rm -e NGINX_VERSION=mine nginx:latest sh -c 'echo $NGINX_VERSION'"), "mine");
}
