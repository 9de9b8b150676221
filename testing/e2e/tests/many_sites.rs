//! A site for each of ten clients, provisioned by the script that people are given: one database server, one mailer,
//! and per client a WordPress with an agent that watches it. Containers go, data stays.

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tare_testkit::{Console, Output, http, install, with_both_clients};

with_both_clients!(ten_clients);

const CLIENTS: usize = 10;

/// Ten sites that ten agents ask every second are work enough for two processors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn ten_clients(c: &Console) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let clients: Vec<String> = (0..CLIENTS).map(|number| format!("client{number}")).collect();
    for client in &clients {
        let said = script(c, &["up", client]);
        assert_eq!(said.trim_end(), format!("{client} http://{}/", address(c, client)));
        write_post(c, client);
    }
    each_has_its_own(c, &clients);
    let addresses: Vec<String> = clients.iter().map(|client| address(c, client)).collect();
    let databases = c.ok("exec wpdb mysql -uroot -pch2demo -e 'show databases'");
    for client in &clients {
        assert!(databases.lines().any(|name| name == client), "{client} has no database\n{databases}");
    }
    let before: Vec<String> = clients.iter().map(|client| id(c, client)).collect();
    for client in &clients {
        script(c, &["renew", client]);
    }
    assert!(clients.iter().zip(before).all(|(client, id)| self::id(c, client) != id), "containers are new");
    assert_eq!(clients.iter().map(|client| address(c, client)).collect::<Vec<_>>(), addresses);
    each_has_its_own(c, &clients);
    for client in &clients {
        http::eventually(&address(c, client), "/", |page| page.contains(client));
        // An agent waits two seconds for an answer; on a machine that is busy it may take more than one to get it.
        c.logged(&format!("agent_{client}"), "System up.");
    }
    assert_eq!(script(c, &["list"]).lines().count(), CLIENTS);
    c.ok("stop wp_client3");
    c.logged("mailer", "The service is down!");
    // There is nothing to be linked to any more.
    c.until("inspect --format {{.State.Status}} agent_client3", |state| state == "exited");
    script(c, &["down"]);
    assert_eq!(c.ok("ps --all --quiet"), "");
    assert_eq!(c.ok("volume ls --quiet"), "");
}

fn script(c: &Console, arguments: &[&str]) -> String {
    let (program, host) = c.typed();
    let mut command = Command::new(install::root().join("examples/many-sites"));
    command.args(arguments).env("ENGINE", program).env("DOCKER_HOST", host).env("DOCKER_CONFIG", c.path("config"));
    let output = Output::of(&format!("many-sites {}", arguments.join(" ")), &mut command);
    assert_eq!(output.status, 0, "{output}");
    output.stdout
}

fn id(c: &Console, client: &str) -> String {
    c.ok(&format!("inspect --format {{{{.Id}}}} wp_{client}"))
}

fn address(c: &Console, client: &str) -> String {
    let port = c.ok(&format!("port wp_{client} 80/tcp"));
    let line = port.lines().find(|line| line.starts_with("0.0.0.0:")).expect("a port on IPv4");
    line.replace("0.0.0.0", "127.0.0.1")
}

fn write_post(c: &Console, client: &str) {
    let code = format!(
        "require '/var/www/html/wp-load.php'; echo wp_insert_post(['post_title' => 'Post of {client}', 'post_status' => \
         'publish']);"
    );
    let number = c.ok(&format!("exec wp_{client} php -r \"{code}\""));
    assert!(number.parse::<u32>().is_ok_and(|number| number > 0), "{number}");
}

/// Every site has its own name and its own post, and nobody else's.
fn each_has_its_own(c: &Console, clients: &[String]) {
    for client in clients {
        let page = http::eventually(&address(c, client), "/?rest_route=/wp/v2/posts", |page| page.contains("Post of"));
        for other in clients {
            assert_eq!(page.contains(&format!("Post of {other}\"")), other == client, "{client}: {page}");
        }
        let page = http::eventually(&address(c, client), "/?rest_route=/", |_| true);
        assert!(page.contains(&format!("\"name\":\"{client}\"")), "{client}: {page}");
    }
}
