//! Networks that containers are connected to and disconnected from, also while they run.

use tare_testkit::{Client, Console, PAUSE, http, with_both_clients};

with_both_clients!(
    a_server_of_names_comes_with_the_first_network,
    an_edited_resolv_conf_is_the_containers,
    the_hosts_network_has_the_hosts_servers,
    default_routes_follow_the_networks,
    interfaces_are_called_as_asked,
    addresses_by_family,
    mistakes_in_options,
    gateways_of_bridges,
    networks_of_routes,
    settings_of_interfaces,
    networks_made_from_others,
    published_ports_follow_the_networks,
    ports_of_a_container_without_a_way_in,
    addresses_of_the_link,
    an_address_to_go_out_by,
    one_name_for_a_link,
    links_are_good_for_their_network,
    links_lead_to_whose_network_it_is,
    networks_that_exclude_each_other,
    networks_named_alone
);

const SLEEP: &str = "busybox:1.29 sleep 1000";

fn address(c: &Console, network: &str, container: &str) -> String {
    c.ok(&format!("inspect --format {{{{.NetworkSettings.Networks.{network}.IPAddress}}}} {container}"))
}

fn file(c: &Console, container: &str, path: &str) -> String {
    c.ok(&format!("exec {container} cat {path}"))
}

/// Whether a name server, the container's own if it is empty, knows a name and by which address.
fn knows(c: &Console, container: &str, name: &str, server: &str, address: &str) -> bool {
    let output = c.run(&format!("exec {container} nslookup {name} {server}"));
    output.stdout.lines().any(|line| line.trim_end().ends_with(&format!(": {address}")))
}

fn a_server_of_names_comes_with_the_first_network(c: &Console) {
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok(&format!("run -d --name user --network late {SLEEP}"));
    let before = file(c, "plain", "/etc/resolv.conf");
    assert!(before.contains("(legacy)") && !before.contains("127.0.0.11"), "{before}");
    c.ok("network connect --alias other late plain");
    let after = file(c, "plain", "/etc/resolv.conf");
    assert!(after.contains("\nnameserver 127.0.0.11\n") && after.contains("(internal resolver)"), "{after}");
    assert_eq!(after, file(c, "user", "/etc/resolv.conf"));
    let (own, user) = (address(c, "late", "plain"), address(c, "late", "user"));
    assert!(knows(c, "plain", "user", "", &user));
    assert!(knows(c, "plain", "plain", "", &own));
    assert!(knows(c, "user", "other", "", &own));
    // A short name's own line for each address.
    let id = c.ok("inspect --format {{.Config.Hostname}} plain");
    let hosts = file(c, "plain", "/etc/hosts");
    let lines: Vec<_> = hosts.lines().filter(|line| line.ends_with(&id)).collect();
    assert_eq!(lines, [format!("{}\t{id}", address(c, "bridge", "plain")), format!("{own}\t{id}")], "{hosts}");
    assert!(hosts.contains("\n::1\tlocalhost ip6-localhost ip6-loopback\n"), "{hosts}");
    // The server stays, and says what is left to say.
    c.ok("network disconnect late plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), after);
    assert!(!knows(c, "plain", "user", "", &user));
    assert!(!file(c, "plain", "/etc/hosts").contains(&own));
    c.ok("network connect late plain");
    assert!(knows(c, "plain", "user", "", &user));
    c.ok("network disconnect late plain");
    c.ok("restart -t 0 plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), before);
}

fn the_hosts_network_has_the_hosts_servers(c: &Console) {
    let text = c.ok("run --rm --network host busybox:1.29 cat /etc/resolv.conf");
    assert!(text.contains("# Based on host file: '/etc/resolv.conf'\n# Overrides: []"), "{text}");
    let text = c.ok("run --rm --network host --dns 192.0.2.1 --dns-option ndots:2 busybox:1.29 cat /etc/resolv.conf");
    assert!(text.contains("\nnameserver 192.0.2.1\n") && text.contains("# Overrides: [nameservers options]"), "{text}");
}

fn an_edited_resolv_conf_is_the_containers(c: &Console) {
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok("exec plain sh -c 'echo \"# mine\" >>/etc/resolv.conf'");
    let edited = file(c, "plain", "/etc/resolv.conf");
    c.ok("network connect late plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), edited);
    assert!(knows(c, "plain", "plain", "127.0.0.11", &address(c, "late", "plain")));
    c.ok("restart -t 0 plain");
    assert!(file(c, "plain", "/etc/resolv.conf").contains("nameserver 127.0.0.11"));
}

fn default_routes_follow_the_networks(c: &Console) {
    for name in ["ark", "zoo", "inside --internal"] {
        c.ok(&format!("network create {name}"));
    }
    let gateway =
        |name: &str| c.ok(&format!("network inspect --format '{{{{(index .IPAM.Config 0).Gateway}}}}' {name}"));
    let via = |container: &str| {
        let routes = c.ok(&format!("exec {container} ip route"));
        let line = routes.lines().find(|line| line.starts_with("default")).map(str::to_owned);
        line.and_then(|line| line.split_whitespace().nth(2).map(str::to_owned)).unwrap_or_default()
    };
    let interface = |container: &str, network: &str| {
        let address = address(c, network, container);
        let all = c.ok(&format!("exec {container} ip -o -4 addr"));
        let line = all.lines().find(|line| line.contains(&format!(" {address}/"))).expect("a line").to_owned();
        line.split_whitespace().nth(1).expect("a name").to_owned()
    };
    // By name, whichever was asked for first; a rank goes before.
    c.ok(&format!("run -d --name first --network zoo --network ark --network inside {SLEEP}"));
    assert_eq!(via("first"), gateway("ark"));
    assert_eq!([interface("first", "ark"), interface("first", "zoo")], ["eth0", "eth2"]);
    c.ok(&format!("run -d --name second --network name=zoo,gw-priority=1 --network ark {SLEEP}"));
    assert_eq!(via("second"), gateway("zoo"));
    assert_eq!([interface("second", "ark"), interface("second", "zoo")], ["eth0", "eth1"]);
    // And while it runs.
    c.ok(&format!("run -d --name third --network inside {SLEEP}"));
    assert_eq!(via("third"), "");
    c.ok("network connect zoo third");
    assert_eq!(via("third"), gateway("zoo"));
    c.ok("network connect ark third");
    assert_eq!(via("third"), gateway("ark"));
    c.ok("network connect --gw-priority 5 bridge third");
    assert_eq!(via("third"), gateway("bridge"));
    c.ok("network disconnect bridge third");
    assert_eq!(via("third"), gateway("ark"));
    c.ok("network disconnect ark third");
    c.ok("network disconnect zoo third");
    assert_eq!(via("third"), "");
}

fn interfaces_are_called_as_asked(c: &Console) {
    const IFNAME: &str = "driver-opt=com.docker.network.endpoint.ifname";
    c.ok("network create ark");
    c.ok("network create -o com.docker.network.container_iface_prefix=side zoo");
    let show = "busybox:1.29 ls /sys/class/net";
    let names =
        |options: &str| c.ok(&format!("run --rm {options} {show}")).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(names("--network ark --network zoo"), "eth0 lo side0");
    assert_eq!(names(&format!("--network name=ark,{IFNAME}=side0 --network zoo")), "lo side0 side1");
    assert_eq!(names(&format!("--network name=zoo,{IFNAME}=eth0")), "eth0 lo");
    for (name, reason) in [
        ("lo", "file exists"),
        ("side0", "file exists"),
        ("sixteen-letters-", "numerical result out of range"),
        ("a/b", "invalid argument"),
    ] {
        // The networks are connected by name.
        let options = format!("--network name=zzz,{IFNAME}={name} --network zoo");
        c.run("network create zzz");
        let refused = c.fails(&format!("run --rm {options} {show}"), 125);
        assert!(refused.contains("failed to set up container networking: failed to add interface veth"), "{refused}");
        assert!(refused.contains(&format!(" to \"{name}\": {reason}")), "{refused}");
    }
    c.ok(&format!("run -d --name live --network ark {SLEEP}"));
    c.ok("network connect --driver-opt com.docker.network.endpoint.ifname=late0 zoo live");
    assert_eq!(c.ok("exec live ls /sys/class/net"), "eth0\nlate0\nlo");
    let refused = c.fails("network connect --driver-opt com.docker.network.endpoint.ifname=eth0 bridge live", 1);
    assert!(refused.contains("\"eth0\": file exists"), "{refused}");
    let option = "{{index .NetworkSettings.Networks.zoo.DriverOpts \"com.docker.network.endpoint.ifname\"}}";
    assert_eq!(c.ok(&format!("inspect --format '{option}' live")), "late0");
}

fn addresses_by_family(c: &Console) {
    let subnets = |name: &str| {
        let all =
            c.ok(&format!("network inspect --format '{{{{range .IPAM.Config}}}}{{{{.Subnet}}}} {{{{end}}}}' {name}"));
        all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    c.ok("network create --ipv6 both");
    let chosen = subnets("both");
    assert!(chosen.len() == 2 && chosen[0].contains('.') && chosen[1].starts_with("fd"), "{chosen:?}");
    c.ok("network create --ipv4=false --ipv6 six");
    assert!(subnets("six").len() == 1 && subnets("six")[0].starts_with("fd"), "{:?}", subnets("six"));
    c.ok("network create --ipv6 --subnet fd00:e2e::/64 --subnet 10.213.0.0/24 given");
    assert_eq!(subnets("given"), ["10.213.0.0/24", "fd00:e2e::/64"]);
    c.ok("network create --subnet 0.0.0.0/28 small");
    assert!(subnets("small")[0].ends_with("/28") && !subnets("small")[0].starts_with("0.0.0.0"));
    c.ok(&format!("run -d --name one --network six {SLEEP}"));
    let address = c.ok("inspect --format {{.NetworkSettings.Networks.six.GlobalIPv6Address}} one");
    assert_eq!(c.ok("inspect --format {{.NetworkSettings.Networks.six.IPAddress}} one"), "");
    let hosts = file(c, "one", "/etc/hosts");
    assert!(hosts.contains(&format!("{address}\t")) && !hosts.contains("172."), "{hosts}");
    assert_eq!(c.ok("exec one sh -c 'ip -o -4 addr | wc -l'"), "1");
    assert!(c.ok("exec one ip -6 route").contains("default via fd"));
    c.ok(&format!("run -d --name two --network six {SLEEP}"));
    assert!(c.ok("exec two ping -6 -c 1 -w 20 one").contains(&address));
    for (options, reason) in [
        ("--ipv4=false", "IPv4 or IPv6 must be enabled"),
        ("--subnet 10.214.0.0/24 --subnet 10.215.0.0/24", "bridge driver doesn't support multiple subnets"),
        ("--subnet 10.214.0.1/24", "invalid network config:\ninvalid subnet 10.214.0.1/24: it should be 10.214.0.0/24"),
        ("--subnet 10.213.0.128/25", "invalid pool request: Pool overlaps with other one on this address space"),
    ] {
        let refused = c.fails(&format!("network create {options} wrong"), 1);
        assert!(refused.contains(reason), "{refused}");
    }
}

fn mistakes_in_options(c: &Console) {
    for (options, reason) in [
        (
            "-o com.docker.network.bridge.enable_icc=maybe",
            "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing \"maybe\": \
             invalid syntax)",
        ),
        ("-o com.docker.network.driver.mtu=-1", "invalid MTU number: -1"),
        (
            "-o com.docker.network.bridge.gateway_mode_ipv4=isolated",
            "gateway mode 'isolated' can only be used for an internal network",
        ),
        ("-o com.docker.network.host_ipv4=x", "failed to parse com.docker.network.host_ipv4 value: x (nil ip)"),
        (
            "-o com.docker.network.bridge.gateway_mode_ipv6=bogus",
            "failed to parse com.docker.network.bridge.gateway_mode_ipv6 value: bogus (unknown gateway mode bogus)",
        ),
        ("--scope swarm", "cannot create a swarm scoped network when swarm is not active"),
        ("-d overlay", "This node is not a swarm manager."),
        ("-d host", "only one instance of \"host\" network is allowed"),
        ("--ipam-driver null", "ipv4 pool is empty"),
    ] {
        let refused = c.fails(&format!("network create {options} wrong"), 1);
        assert!(refused.contains(reason), "{refused}");
    }
    let bridge = format!("e2e{}", std::process::id() % 100_000);
    c.ok(&format!("network create --attachable -o com.docker.network.bridge.name={bridge} -o anything=goes named"));
    assert_eq!(c.ok("network inspect --format '{{.Attachable}} {{.Options.anything}}' named"), "true goes");
    let refused = c.fails(&format!("network create -o com.docker.network.bridge.name={bridge} again"), 1);
    assert!(refused.contains("networks have same bridge name"), "{refused}");
}

fn gateways_of_bridges(c: &Console) {
    const OPTION: &str = "-o com.docker.network.bridge";
    c.ok(&format!("network create --internal {OPTION}.gateway_mode_ipv4=isolated alone"));
    c.ok(&format!("network create {OPTION}.inhibit_ipv4=true bare"));
    c.ok(&format!("network create {OPTION}.host_binding_ipv4=127.0.0.1 near"));
    let gateway =
        |name: &str| c.ok(&format!("network inspect --format '{{{{(index .IPAM.Config 0).Gateway}}}}' {name}"));
    assert_eq!(gateway("alone").replace("<no value>", ""), "");
    for name in ["alone", "bare"] {
        let id = c.ok(&format!("network inspect --format {{{{.Id}}}} {name}"));
        let show =
            std::process::Command::new("ip").args(["-o", "-4", "addr", "show", &format!("br-{}", &id[..12])]).output();
        assert_eq!(String::from_utf8_lossy(&show.expect("ip").stdout), "", "{name}");
    }
    c.ok(&format!("run -d --name one --network alone {SLEEP}"));
    c.ok(&format!("run -d --name two --network alone {SLEEP}"));
    assert!(c.ok("exec two ping -c 1 -w 20 one").contains("1 packets received"));
    assert!(
        c.ok("run --rm --network bare busybox:1.29 ip route").contains(&format!("default via {}", gateway("bare")))
    );
    c.ok(&format!("run -d --name web -p 80 --network near {SLEEP}"));
    assert!(c.ok("port web").starts_with("80/tcp -> 127.0.0.1:"));
}

/// Containers go out by their own addresses, and have no port of the host's.
fn networks_of_routes(c: &Console) {
    let mode = "-o com.docker.network.bridge.gateway_mode_ipv4=routed";
    c.ok(&format!("network create {mode} --subnet 10.226.0.0/24 routed"));
    c.ok(&format!("run -d --name web -p 8765:80 --network routed {SLEEP}"));
    assert_eq!(
        c.ok("inspect --format '{{json .NetworkSettings.Ports}}' web"),
        r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":""}]}"#
    );
    c.ok("network create other");
    let other = |line: &str| c.run(&format!("run --rm --network other busybox:1.29 {line}"));
    c.ok("exec -d web nc -ll -p 80 -e echo served");
    c.ok("exec -d web nc -ll -p 81 -e echo served");
    tare_testkit::eventually("the port to be reached", || {
        other("nc -w 5 10.226.0.2 80").stdout.contains("served").then_some(())
    });
    assert!(!other("nc -w 2 10.226.0.2 81").stdout.contains("served"));
    assert_eq!(other("ping -c 1 -w 20 10.226.0.2").status, 0);
}

fn settings_of_interfaces(c: &Console) {
    const OPTION: &str = "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME";
    c.ok("network create ark");
    let show = "busybox:1.29 cat /proc/sys/net/ipv4/conf/eth0/log_martians /proc/sys/net/ipv4/conf/eth0/forwarding";
    let set = format!("'name=ark,\"{OPTION}.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0\"'");
    assert_eq!(c.ok(&format!("run --rm --network {set} {show}")), "1\n0");
    let refused = c.fails(&format!("run --rm --network name=ark,{OPTION}.nonsense=1 {show}"), 125);
    assert!(refused.contains("/proc/sys/net/ipv4/conf/eth0/nonsense is not a sysctl file"), "{refused}");
    let wrong = OPTION.replace("IFNAME", "eth0");
    let refused = c.fails(&format!("run --rm --network name=ark,{wrong}.log_martians=1 {show}"), 125);
    assert!(refused.contains("invalid config for network ark: invalid endpoint settings:\nunrecognised"), "{refused}");
    let refused = c.fails(&format!("run --rm --sysctl net.ipv4.conf.eth0.log_martians=1 {show}"), 125);
    assert!(refused.contains("must be supplied using driver option"), "{refused}");
}

fn networks_made_from_others(c: &Console) {
    c.ok("network create --config-only --subnet 10.217.0.0/24 --label of=conf conf");
    assert_eq!(c.ok("network inspect --format '{{.ConfigOnly}} {{.Driver}}' conf"), "true null");
    c.ok("network create --config-from conf made");
    let shown = "{{.ConfigFrom.Network}} {{.Labels.of}} {{(index .IPAM.Config 0).Subnet}} {{.Driver}}";
    assert_eq!(c.ok(&format!("network inspect --format '{shown}' made")), "conf conf 10.217.0.0/24 bridge");
    assert!(c.ok("run --rm --network made busybox:1.29 ip route").contains("10.217.0.0/24"));
    for (line, status, reason) in [
        ("network create --config-from nobody x", 1, "configuration network \"nobody\" does not exist"),
        ("network create --config-from made x", 1, "configuration network \"made\" does not exist"),
        ("network create --config-from conf --label a=b x", 1, "are not supported if the network depends on a"),
        ("network create --config-from conf -o a=b x", 1, "network driver options are not supported if the network"),
        ("network create --config-only --internal x", 1, "can only contain network specific fields"),
        ("network rm conf", 1, "configuration network \"conf\" is in use"),
        ("run --rm --network conf busybox:1.29 true", 125, "cannot create endpoint on configuration-only network"),
    ] {
        let refused = c.fails(line, status);
        assert!(refused.contains(reason), "{refused}");
    }
    c.ok("network rm made");
    c.ok("network prune --force");
    c.ok("network rm conf");
}

fn published_ports_follow_the_networks(c: &Console) {
    for name in ["ark", "zoo"] {
        c.ok(&format!("network create {name}"));
    }
    let serve = "sh -c 'mkdir /w; echo served >/w/index.html; httpd -f -p 80 -h /w'";
    c.ok(&format!("run -d --name web -p 0:80 --network ark busybox:1.29 {serve}"));
    let port = c.ok("port web 80/tcp").lines().next().and_then(|line| line.rsplit(':').next().map(str::to_owned));
    let port = port.expect("a port");
    // By translation, and by the shim, which relays what comes to ::1.
    let served = || {
        for host in ["127.0.0.1", "[::1]"] {
            http::eventually(&format!("{host}:{port}"), "/", |page| page.ends_with("served\n"));
        }
    };
    served();
    c.ok("network connect zoo web");
    served();
    c.ok("network disconnect ark web");
    served();
    assert!(c.ok("port web 80/tcp").contains(&port));
    // Nobody else is reached by the address that it has had.
    c.ok("network disconnect zoo web");
    c.ok(&format!("run -d --name other --network zoo busybox:1.29 {serve}"));
    assert!(http::ask(&format!("[::1]:{port}"), "/", None).is_err());
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    assert!(std::net::TcpStream::connect_timeout(&address, PAUSE * 20).is_err());
    c.ok("network connect ark web");
    served();
}

/// On internal networks alone nothing is published; it is as soon as there is a way in.
fn ports_of_a_container_without_a_way_in(c: &Console) {
    c.ok("network create --internal inside");
    c.ok("network create zoo");
    let serve = "sh -c 'echo inside >/index.html; httpd -f -p 80 -h /'";
    c.ok(&format!("run -d --name web --network inside -p 127.0.0.1::80 busybox:1.29 {serve}"));
    assert_eq!(c.ok("port web"), "");
    c.ok("network connect zoo web");
    let place = c.ok("port web 80");
    http::eventually(&place, "/", |page| page.ends_with("inside\n"));
    // A port that somebody has keeps the container from being connected.
    let port = place.rsplit(':').next().expect("a port").to_owned();
    c.ok(&format!("run -d --name late --network inside -p 127.0.0.1:{port}:80 {SLEEP}"));
    let refused = c.fails("network connect zoo late", 1);
    assert!(refused.contains("driver failed programming external connectivity on endpoint late"), "{refused}");
    assert!(refused.contains(&format!("Bind for 127.0.0.1:{port} failed: port is already allocated")), "{refused}");
    assert_eq!(c.ok("exec late ls /sys/class/net"), "eth0\nlo");
    assert!(!c.ok("network inspect zoo").contains("\"late\""));
    c.ok("network disconnect zoo web");
    c.ok("network connect zoo web");
    http::eventually(&place, "/", |page| page.ends_with("inside\n"));
    c.ok("rm -f web");
    c.ok("network connect zoo late");
    assert_eq!(c.ok("port late 80"), place);
}

fn addresses_of_the_link(c: &Console) {
    c.ok("network create --ipv6 ark");
    c.ok(&format!("run -d --name one --network ark --link-local-ip 169.254.7.7 --link-local-ip fe80::254:77 {SLEEP}"));
    c.ok(&format!("run -d --name two {SLEEP}"));
    c.ok("network connect --link-local-ip 169.254.9.9 ark two");
    c.ok("exec one ping -c 1 -w 20 169.254.9.9");
    let addresses = c.ok("exec one ip -o addr show eth0");
    assert!(addresses.contains(" 169.254.7.7/16 ") && addresses.contains(" fe80::254:77/64 "), "{addresses}");
    let asked = "{{.NetworkSettings.Networks.ark.IPAMConfig.LinkLocalIPs}}";
    assert_eq!(c.ok(&format!("inspect --format {asked} one")), "[169.254.7.7 fe80::254:77]");
    for address in ["169.253.5.5", "2001:db8::89"] {
        let refused = c.fails(&format!("run --rm --network ark --link-local-ip {address} busybox:1.29 true"), 125);
        assert!(refused.contains(&format!("invalid link local IP address: {address}")), "{refused}");
    }
}

/// What a container sends out carries the address of the host that its network says.
fn an_address_to_go_out_by(c: &Console) {
    // That of a network's bridge is one.
    c.ok("network create near");
    let gateway =
        |name: &str| c.ok(&format!("network inspect --format '{{{{(index .IPAM.Config 0).Gateway}}}}' {name}"));
    c.ok(&format!("network create -o com.docker.network.host_ipv4={} far", gateway("near")));
    // Outside is whatever is reached by the host, a published port of another network too.
    c.ok("run -d --name web -p 80 busybox:1.29 httpd -f -vv -p 80");
    let port = c.ok("port web 80/tcp").lines().next().and_then(|line| line.rsplit(':').next().map(str::to_owned));
    let place = format!("http://{}:{}/", gateway("bridge"), port.expect("a port"));
    for (network, page) in [("far", "one"), ("near", "two")] {
        c.fails(&format!("run --rm --network {network} busybox:1.29 wget -q {place}{page}"), 1);
    }
    c.logged("web", "url:/two");
    let log = c.logs("web");
    let from = |page: &str| {
        let line = log.lines().find(|line| line.ends_with(page)).expect("a line");
        line.split(']').next().expect("an address").trim_start_matches("[::ffff:").to_owned()
    };
    assert_eq!(from("url:/one"), gateway("near"), "{log}");
    assert_ne!(from("url:/two"), gateway("near"), "{log}");
}

fn one_name_for_a_link(c: &Console) {
    for name in ["first", "second"] {
        c.ok(&format!("run -d --name {name} {SLEEP}"));
    }
    c.ok(&format!("run -d --name box --link first:db --link first:db --link second:db {SLEEP}"));
    assert_eq!(c.ok("inspect --format '{{.HostConfig.Links}}' box"), "[/first:/box/db]");
    assert!(file(c, "box", "/etc/hosts").contains(&format!("{}\tdb ", address(c, "bridge", "first"))));
}

fn links_are_good_for_their_network(c: &Console) {
    for network in ["one", "two"] {
        c.ok(&format!("network create {network}"));
    }
    c.ok(&format!("run -d --name first --network one {SLEEP}"));
    c.ok(&format!("run -d --name second --network one --link first:here {SLEEP}"));
    c.ok("network connect two first");
    c.ok("network connect --link first:there two second");
    let (one, two) = (address(c, "one", "first"), address(c, "two", "first"));
    assert!(knows(c, "second", "here", "", &one) && knows(c, "second", "there", "", &two));
    c.ok("network disconnect one first");
    assert!(!knows(c, "second", "here", "", &two), "the link was on the other network");
    assert!(knows(c, "second", "there", "", &two));
}

fn links_lead_to_whose_network_it_is(c: &Console) {
    c.ok(&format!("run -d --name owner {SLEEP}"));
    c.ok(&format!("run -d --name guest --network container:owner {SLEEP}"));
    c.ok(&format!("run -d --name client --link guest:db {SLEEP}"));
    let line = format!("{}\tdb ", address(c, "bridge", "owner"));
    assert!(file(c, "client", "/etc/hosts").contains(&line));
}

fn networks_that_exclude_each_other(c: &Console) {
    c.ok("network create back");
    c.ok(&format!("run -d --name alone --network none {SLEEP}"));
    let refused = c.fails("network connect back alone", 1);
    let text = "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    assert!(refused.contains(text), "{refused}");
    let refused = c.fails(&format!("run --name me --network container:me {SLEEP}"), 125);
    assert!(refused.contains("cannot join own network namespace"), "{refused}");
}

/// Clients that name networks and leave the mode as it is get those alone.
fn networks_named_alone(c: &Console) {
    for network in ["one", "two"] {
        c.ok(&format!("network create {network}"));
    }
    c.ok("pull busybox:1.29");
    let body = r#"{"Image":"busybox:1.29","Cmd":["sleep","1000"],
        "NetworkingConfig":{"EndpointsConfig":{"one":{},"two":{}}}}"#;
    let (status, body) = c.request("POST /containers/create?name=box", "Content-Type: application/json\r\n", body);
    assert_eq!(status, 201, "{body}");
    c.ok("start box");
    let names = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(c.ok(&format!("inspect --format '{names}' box")).trim_end(), "one two");
    assert!(!address(c, "one", "box").is_empty() && !address(c, "two", "box").is_empty());
}

/// What the daemon is told about networks that do not say themselves.
#[test]
fn settings_for_networks() {
    let options = [
        "--default-network-opt",
        "bridge=com.docker.network.driver.mtu=1234",
        "--host-gateway-ip",
        "192.0.2.7",
        "--host-gateway-ip",
        "2001:db8::7",
    ];
    let c = Console::with_options(Client::Tare, &options);
    if c.engine().is_none() {
        return;
    }
    c.ok("network create plain");
    c.ok("network create -o com.docker.network.driver.mtu=1300 own");
    let mtu = |name: &str| c.ok(&format!("run --rm --network {name} busybox:1.29 cat /sys/class/net/eth0/mtu"));
    assert_eq!([mtu("plain"), mtu("own")], ["1234", "1300"]);
    let hosts = c.ok("run --rm --add-host up:host-gateway busybox:1.29 cat /etc/hosts");
    assert!(hosts.contains("\n192.0.2.7\tup\n2001:db8::7\tup\n"), "{hosts}");
}

/// What the daemon is told about its default bridge holds from the next start on, too.
#[test]
fn settings_of_the_default_bridge() {
    let options = ["--ipv6", "--fixed-cidr-v6", "fd00:e2e:7::/64", "--icc=false", "--init", "--live-restore"];
    let mut c = Console::with_options(Client::Tare, &options);
    if c.engine().is_none() {
        return;
    }
    let of_bridge = "{{.EnableIPv6}} {{index .Options \"com.docker.network.bridge.enable_icc\"}}";
    assert_eq!(c.ok(&format!("network inspect --format '{of_bridge}' bridge")), "true false");
    let show = "run --rm busybox:1.29 sh -c 'ip -6 addr show eth0; head -n 1 /proc/1/comm'";
    let inside = c.ok(show);
    assert!(inside.contains(" fd00:e2e:7::2/64 ") && inside.ends_with("\ndocker-init"), "{inside}");
    let id = c.ok("network inspect --format {{.Id}} bridge");
    let engine = c.engine_mut().expect("an engine");
    engine.stop();
    let mirror = tare_testkit::install::mirror();
    engine.set_options(&["--registry-mirror", mirror, "--ipv6", "--bip6", "fd00:e2e:8::99/64"]);
    engine.resume();
    let inside = c.ok("run --rm busybox:1.29 ip -6 route");
    assert!(inside.contains("default via fd00:e2e:8::99 "), "{inside}");
    let engine = c.engine_mut().expect("an engine");
    engine.stop();
    engine.set_options(&["--registry-mirror", mirror, "--fixed-cidr", "10.219.0.0/25"]);
    engine.resume();
    assert_eq!(c.ok("network inspect --format {{.Id}} bridge"), id);
    assert_eq!(c.ok(&format!("network inspect --format '{of_bridge}' bridge")), "false true");
    let inside = c.ok("run --rm busybox:1.29 sh -c 'ip addr show eth0; head -n 1 /proc/1/comm'");
    assert!(inside.contains(" 10.219.0.2/25 ") && !inside.contains("fd00:"), "{inside}");
    assert!(!inside.ends_with("docker-init"), "{inside}");
}

/// Without a default bridge, whoever asks for no network gets none.
#[test]
fn no_default_bridge() {
    let c = Console::with_options(Client::Tare, &["--bridge", "none"]);
    if c.engine().is_none() {
        return;
    }
    assert!(c.fails("network inspect bridge", 1).contains("network bridge not found"));
    assert_eq!(c.ok("network ls --format {{.Name}}"), "host\nnone");
    for network in ["", "--network bridge", "-p 80"] {
        assert_eq!(c.ok(&format!("run --rm {network} busybox:1.29 ls /sys/class/net")), "lo", "{network}");
    }
    c.ok("network create own");
    assert_eq!(c.ok("run --rm --network own busybox:1.29 ls /sys/class/net"), "eth0\nlo");
}

/// How a stored sandbox tells the file that was written from one that the user has changed.
fn fingerprint(sandbox: &std::path::Path) -> String {
    let text = std::fs::read_to_string(sandbox).expect("the sandbox");
    let (_, number) = text.split_once("\"resolv_conf\":").expect("a fingerprint");
    number.chars().take_while(char::is_ascii_digit).collect()
}

/// What a daemon was doing when it was killed, the next one does.
#[test]
fn names_survive_daemons() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok(&format!("run -d --name user --network late {SLEEP}"));
    let id = c.ok("inspect --format {{.Id}} plain");
    let data = c.engine().expect("an engine").data_root();
    let sandbox = c.engine().expect("an engine").exec_root().join("containers").join(&id).join("sandbox.json");
    let resolv_conf = data.join("containers").join(&id).join("resolv.conf");
    let read = || std::fs::read_to_string(&resolv_conf).expect("the file");
    let (legacy, written) = (read(), fingerprint(&sandbox));
    c.ok("network connect late plain");
    let user = address(&c, "late", "user");
    c.engine_mut().expect("an engine").kill();
    c.engine_mut().expect("an engine").resume();
    assert!(knows(&c, "plain", "user", "", &user));
    let embedded = read();
    // As if it had been killed before the server was there, and before it had written down that it was.
    for text in [&legacy, &embedded] {
        c.engine_mut().expect("an engine").kill();
        let stored = std::fs::read_to_string(&sandbox).expect("the sandbox");
        assert!(stored.contains("\"names\":true"), "{stored}");
        let stored = stored.replace("\"names\":true", "\"names\":false").replace(&fingerprint(&sandbox), &written);
        std::fs::write(&sandbox, stored).expect("written");
        std::fs::write(&resolv_conf, text).expect("written");
        c.engine_mut().expect("an engine").resume();
        assert!(knows(&c, "plain", "user", "127.0.0.11", &user));
        assert_eq!(read(), embedded);
    }
    c.ok("network disconnect late plain");
    assert!(!knows(&c, "plain", "user", "127.0.0.11", &user));
}
