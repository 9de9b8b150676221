//! Machines on which another firewall drops what it knows nothing of: a Docker engine ran before, or ufw is on. Real
//! packets, as root, in network namespaces of the test.

mod support;

use std::os::fd::AsFd as _;

use support::{
    HOST_4, HOST_6, INSTANCE, Machine, OUTSIDE_4, OUTSIDE_6, assert_silent, bridge, ip, machine, nft, tcp, tcp_server,
};
use tare_network::{BridgeSpec, Config, HostPort, Network, PortRequest, Ports, Protocol, Target};

/// The tables of `iptables` and `ip6tables`, with the policy that dockerd and ufw give them, and rules of their owner.
fn others() {
    for family in ["ip", "ip6"] {
        nft(&["add", "table", family, "filter"]);
        nft(&["add", "chain", family, "filter", "FORWARD", "{ type filter hook forward priority 0; policy drop; }"]);
        nft(&["add", "rule", family, "filter", "FORWARD", "iifname", "docker0", "counter", "accept"]);
        nft(&["add", "chain", family, "filter", "INPUT", "{ type filter hook input priority 0; policy accept; }"]);
    }
}

fn chain(family: &str) -> String {
    nft(&["list", "chain", family, "filter", "FORWARD"])
}

/// How many rules of this engine a chain has.
fn own(family: &str) -> usize {
    chain(family).matches(&format!("comment \"tare-{INSTANCE} ")).count()
}

fn spec() -> BridgeSpec {
    bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"])
}

/// A web server, published on port 8080.
fn web(machine: &Machine) -> tare_network::Netns {
    let web = machine.container("aaaaaaaaaa", &spec(), 2);
    tcp_server(web.fd(), "::", 80);
    for (ipv4, ipv6) in [(Some("172.17.0.2"), None), (None, Some("fd00:17::2"))] {
        let target = Target {
            ipv4: ipv4.map(|address| address.parse().unwrap()),
            ipv6: ipv6.map(|address| address.parse().unwrap()),
        };
        let request = PortRequest {
            protocol: Protocol::Tcp,
            host_ip: Some(ip(if ipv4.is_some() { "0.0.0.0" } else { "::" })),
            host_port: HostPort::Range(8080, 8080),
            container_port: 80,
        };
        let bound = Ports::new().bind("test", &target, &[request]).unwrap();
        let mappings: Vec<_> = bound.iter().map(|port| port.mapping).collect();
        machine.network.publish(&mappings).unwrap();
    }
    web
}

fn works(machine: &Machine, web: &tare_network::Netns) {
    assert!(tcp(machine.outside.as_fd(), HOST_4, 8080).unwrap().ends_with(OUTSIDE_4));
    assert_eq!(tcp(machine.outside.as_fd(), HOST_6, 8080).unwrap(), OUTSIDE_6);
    assert!(tcp(web.fd(), OUTSIDE_4, 81).unwrap().ends_with(HOST_4));
    assert_eq!(tcp(web.fd(), OUTSIDE_6, 81).unwrap(), HOST_6);
}

#[test]
fn containers_get_through() {
    machine(|machine| {
        others();
        machine.network.ensure_bridge(&spec()).unwrap();
        tcp_server(machine.outside.as_fd(), "::", 81);
        let web = web(machine);
        works(machine, &web);
        assert_eq!(machine.network.forward_conflicts().unwrap(), Vec::<String>::new());
        assert_eq!((own("ip"), own("ip6")), (2, 2));
        // What is not published stays closed, and so does everything that is not this engine's.
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 80);
        tcp_server(web.fd(), "::", 82);
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 82);
        assert!(chain("ip").contains("policy drop"));
    });
}

/// What the owner of the chain drops stays dropped: this engine's rules are the last ones.
#[test]
fn decisions_of_others_stand() {
    machine(|machine| {
        others();
        nft(&["add", "rule", "ip", "filter", "FORWARD", "ip", "saddr", OUTSIDE_4, "drop"]);
        machine.network.ensure_bridge(&spec()).unwrap();
        let _web = web(machine);
        assert_silent(machine.outside.as_fd(), HOST_4, 8080);
        assert_eq!(tcp(machine.outside.as_fd(), HOST_6, 8080).unwrap(), OUTSIDE_6);
    });
}

/// The other firewall starts later, or writes its chains anew.
#[test]
fn passages_come_back() {
    machine(|machine| {
        machine.network.ensure_bridge(&spec()).unwrap();
        machine.network.ensure_bridge(&bridge("br-b", &["172.18.0.0/16"])).unwrap();
        tcp_server(machine.outside.as_fd(), "::", 81);
        let web = web(machine);
        others();
        let named = ["table ip filter chain FORWARD", "table ip6 filter chain FORWARD"];
        assert_eq!(machine.network.forward_conflicts().unwrap(), named);
        assert_silent(machine.outside.as_fd(), HOST_4, 8080);
        for _ in 0..2 {
            machine.network.renew_passages().unwrap();
            assert_eq!((own("ip"), own("ip6")), (4, 4));
        }
        works(machine, &web);
        nft(&["flush", "chain", "ip", "filter", "FORWARD"]);
        assert_eq!(machine.network.forward_conflicts().unwrap(), named[..1]);
        machine.network.renew_passages().unwrap();
        works(machine, &web);
        // One that does not drop any more needs none.
        nft(&["chain", "ip", "filter", "FORWARD", "{ policy accept; }"]);
        machine.network.renew_passages().unwrap();
        assert_eq!((own("ip"), own("ip6")), (0, 4));
    });
}

#[test]
fn nothing_is_left_behind() {
    machine(|machine| {
        others();
        let before = (chain("ip"), chain("ip6"));
        let other = Network::open(Config { instance: "12345678".into(), passages: true, ready_namespaces: 0 }).unwrap();
        machine.network.ensure_bridge(&spec()).unwrap();
        machine.network.ensure_bridge(&bridge("br-b", &["172.18.0.0/16"])).unwrap();
        other.ensure_bridge(&bridge("br-c", &["172.19.0.0/16"])).unwrap();
        machine.network.remove_bridge("br-b").unwrap();
        assert_eq!((own("ip"), own("ip6")), (2, 2));
        assert!(!chain("ip").contains("br-b") && chain("ip").contains("br-c"));

        // An engine that was killed, and starts again with other networks.
        machine.network.ensure_bridge(&bridge("br-b", &["172.18.0.0/16"])).unwrap();
        let next = support::open();
        next.ensure_bridge(&spec()).unwrap();
        assert_eq!(own("ip"), 4, "the other networks' containers go on meanwhile");
        let expected = tare_network::Expected { bridges: vec!["tare0".into()], ..Default::default() };
        next.reconcile(&expected).unwrap();
        assert_eq!(own("ip"), 2);

        next.remove_rules().unwrap();
        other.remove_rules().unwrap();
        assert_eq!((chain("ip"), chain("ip6")), before);
    });
}

#[test]
fn where_they_are_not_wanted_there_are_none() {
    machine(|machine| {
        others();
        machine.network.ensure_bridge(&spec()).unwrap();
        assert_eq!(own("ip"), 2);
        let config = Config { instance: INSTANCE.into(), passages: false, ready_namespaces: 0 };
        let strict = Network::open(config).unwrap();
        strict.ensure_bridge(&spec()).unwrap();
        strict.renew_passages().unwrap();
        assert_eq!((own("ip"), own("ip6")), (0, 0));
        assert_eq!(strict.forward_conflicts().unwrap().len(), 2);
        let _web = web(machine);
        assert_silent(machine.outside.as_fd(), HOST_4, 8080);
    });
}
