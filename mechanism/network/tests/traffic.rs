//! Real packets between containers, the host and an outside machine, as root, in network namespaces of the test.

mod support;

use std::os::fd::AsFd;

use support::{
    HOST_4, HOST_6, Machine, OUTSIDE_4, OUTSIDE_6, UdpClient, assert_silent, bridge, here, ip, machine, tcp,
    tcp_server, udp_server, v4,
};
use tare_network::{BoundPort, HostPort, MacvlanMode, PortMapping, PortRequest, Ports, Protocol, Target};

/// Binds and publishes one port for a container.
fn publish(
    machine: &Machine,
    target: &str,
    protocol: Protocol,
    host_ip: Option<&str>,
    ports: (u16, u16),
) -> Vec<BoundPort> {
    let target = match ip(target) {
        std::net::IpAddr::V4(ipv4) => Target { ipv4: Some(ipv4), ipv6: None },
        std::net::IpAddr::V6(ipv6) => Target { ipv4: None, ipv6: Some(ipv6) },
    };
    let request = PortRequest {
        protocol,
        host_ip: host_ip.map(ip),
        host_port: HostPort::Range(ports.0, ports.0),
        container_port: ports.1,
    };
    let bound = Ports::new().bind("test", &target, &[request]).unwrap();
    machine.network.publish(&mappings(&bound)).unwrap();
    bound
}

fn mappings(bound: &[BoundPort]) -> Vec<PortMapping> {
    bound.iter().map(|port| port.mapping).collect()
}

#[test]
fn a_port_published_everywhere() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        let other = machine.container("bbbbbbbbbb", &spec, 3);
        tcp_server(web.fd(), "0.0.0.0", 80);
        let host = here();
        let bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));

        // From outside, with the client's address intact.
        assert_eq!(tcp(machine.outside.as_fd(), HOST_4, 8080).unwrap(), OUTSIDE_4);
        // From the host: by loopback (as the bridge's address), by its own address, by the container's.
        assert_eq!(tcp(host.as_fd(), "127.0.0.1", 8080).unwrap(), "172.17.0.1");
        assert_eq!(tcp(host.as_fd(), "127.9.9.9", 8080).unwrap(), "172.17.0.1");
        assert_eq!(tcp(host.as_fd(), HOST_4, 8080).unwrap(), HOST_4);
        assert_eq!(tcp(host.as_fd(), "172.17.0.2", 80).unwrap(), "172.17.0.1");
        // From another container, and from itself through the host.
        assert_eq!(tcp(other.fd(), HOST_4, 8080).unwrap(), "172.17.0.1");
        assert_eq!(tcp(web.fd(), HOST_4, 8080).unwrap(), "172.17.0.1");
        assert_eq!(tcp(web.fd(), "172.17.0.1", 8080).unwrap(), "172.17.0.1");

        machine.network.unpublish(&mappings(&bound)).unwrap();
        drop(bound);
        let refused = tcp(machine.outside.as_fd(), HOST_4, 8080).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_published_on_one_address() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        let host = here();
        let _local = publish(machine, "172.17.0.2", Protocol::Tcp, Some("127.0.0.1"), (8080, 80));
        assert_eq!(tcp(host.as_fd(), "127.0.0.1", 8080).unwrap(), "172.17.0.1");
        assert!(tcp(host.as_fd(), HOST_4, 8080).is_err());
        assert!(tcp(machine.outside.as_fd(), HOST_4, 8080).is_err());
        let _outer = publish(machine, "172.17.0.2", Protocol::Tcp, Some(HOST_4), (8081, 80));
        assert_eq!(tcp(machine.outside.as_fd(), HOST_4, 8081).unwrap(), OUTSIDE_4);
        assert_eq!(tcp(host.as_fd(), HOST_4, 8081).unwrap(), HOST_4);
        assert!(tcp(host.as_fd(), "127.0.0.1", 8081).is_err());
    });
}

#[test]
fn what_is_not_published_is_not_reachable() {
    machine(|machine| {
        let (a, b) = (bridge("tare0", &["172.17.0.0/16"]), bridge("br-b", &["172.18.0.0/16"]));
        machine.network.ensure_bridge(&a).unwrap();
        machine.network.ensure_bridge(&b).unwrap();
        let web = machine.container("aaaaaaaaaa", &a, 2);
        let sibling = machine.container("bbbbbbbbbb", &a, 3);
        let stranger = machine.container("cccccccccc", &b, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        // The published port does not open the container's own address.
        let _bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 80);
        assert_silent(stranger.fd(), "172.17.0.2", 80);
        assert_eq!(tcp(sibling.fd(), "172.17.0.2", 80).unwrap(), "172.17.0.3");
        // The way between networks is the published port.
        assert_eq!(tcp(stranger.fd(), HOST_4, 8080).unwrap(), "172.17.0.1");
        assert_eq!(tcp(stranger.fd(), "172.18.0.1", 8080).unwrap(), "172.17.0.1");
    });
}

#[test]
fn the_way_out_is_masqueraded() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"]);
        let routed = tare_network::BridgeSpec { masquerade: false, ..bridge("br-routed", &["172.19.0.0/16"]) };
        machine.network.ensure_bridge(&spec).unwrap();
        machine.network.ensure_bridge(&routed).unwrap();
        let container = machine.container("aaaaaaaaaa", &spec, 2);
        let plain = machine.container("bbbbbbbbbb", &routed, 2);
        tcp_server(machine.outside.as_fd(), "::", 80);
        let mapped = |address: &str| format!("::ffff:{address}");
        assert_eq!(tcp(container.fd(), OUTSIDE_4, 80).unwrap(), mapped(HOST_4));
        assert_eq!(tcp(container.fd(), OUTSIDE_6, 80).unwrap(), HOST_6);
        assert_eq!(tcp(plain.fd(), OUTSIDE_4, 80).unwrap(), mapped("172.19.0.2"));
    });
}

#[test]
fn internal_networks_are_closed_both_ways() {
    machine(|machine| {
        let open = bridge("tare0", &["172.17.0.0/16"]);
        let closed = tare_network::BridgeSpec { internal: true, ..bridge("br-in", &["172.18.0.0/16"]) };
        machine.network.ensure_bridge(&open).unwrap();
        machine.network.ensure_bridge(&closed).unwrap();
        let web = machine.container("aaaaaaaaaa", &open, 2);
        let inner = machine.container("bbbbbbbbbb", &closed, 2);
        let sibling = machine.container("cccccccccc", &closed, 3);
        tcp_server(machine.outside.as_fd(), "0.0.0.0", 80);
        tcp_server(web.fd(), "0.0.0.0", 80);
        tcp_server(inner.fd(), "0.0.0.0", 80);
        let _bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        assert_eq!(tcp(sibling.fd(), "172.18.0.2", 80).unwrap(), "172.18.0.3");
        assert_silent(inner.fd(), OUTSIDE_4, 80);
        assert_silent(inner.fd(), HOST_4, 8080);
        assert_silent(machine.outside.as_fd(), "172.18.0.2", 80);
        assert_silent(web.fd(), "172.18.0.2", 80);
    });
}

#[test]
fn open_networks_are_reached_without_publishing() {
    machine(|machine| {
        let open = tare_network::BridgeSpec { open_v4: true, ..bridge("tare0", &["172.17.0.0/16"]) };
        let other = bridge("br-b", &["172.18.0.0/16"]);
        machine.network.ensure_bridge(&open).unwrap();
        machine.network.ensure_bridge(&other).unwrap();
        let web = machine.container("aaaaaaaaaa", &open, 2);
        let stranger = machine.container("bbbbbbbbbb", &other, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        tcp_server(stranger.fd(), "0.0.0.0", 80);
        assert!(tcp(machine.outside.as_fd(), "172.17.0.2", 80).is_ok());
        assert!(tcp(stranger.fd(), "172.17.0.2", 80).is_ok());
        assert_silent(machine.outside.as_fd(), "172.18.0.2", 80);
        machine.network.ensure_bridge(&bridge("tare0", &["172.17.0.0/16"])).unwrap();
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 80);
    });
}

#[test]
fn routed_networks_are_reached_on_published_ports() {
    machine(|machine| {
        let routed = tare_network::BridgeSpec { routed_v4: true, ..bridge("tare0", &["172.17.0.0/16"]) };
        machine.network.ensure_bridge(&routed).unwrap();
        let web = machine.container("aaaaaaaaaa", &routed, 2);
        for port in [80, 81] {
            tcp_server(web.fd(), "0.0.0.0", port);
        }
        let direct = PortMapping::direct(Protocol::Tcp, v4("172.17.0.2").into(), 80);
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 80);
        machine.network.publish(&[direct]).unwrap();
        assert_eq!(tcp(machine.outside.as_fd(), "172.17.0.2", 80).unwrap(), OUTSIDE_4);
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 81);
        // It goes out by its own address.
        tcp_server(machine.outside.as_fd(), "0.0.0.0", 80);
        assert_eq!(tcp(web.fd(), OUTSIDE_4, 80).unwrap(), "172.17.0.2");
        machine.network.unpublish(&[direct]).unwrap();
        assert_silent(machine.outside.as_fd(), "172.17.0.2", 80);
        // Or whatever comes from an interface that is trusted.
        let trusted = vec!["switch".to_owned()];
        machine.network.ensure_bridge(&tare_network::BridgeSpec { trusted, ..routed }).unwrap();
        assert!(tcp(machine.outside.as_fd(), "172.17.0.2", 81).is_ok());
    });
}

#[test]
fn without_icc_containers_do_not_reach_each_other() {
    machine(|machine| {
        let spec = tare_network::BridgeSpec { icc: false, ..bridge("tare0", &["172.17.0.0/16"]) };
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        let other = machine.container("bbbbbbbbbb", &spec, 3);
        tcp_server(web.fd(), "0.0.0.0", 80);
        tcp_server(machine.outside.as_fd(), "0.0.0.0", 80);
        let host = here();
        assert_eq!(tcp(host.as_fd(), "172.17.0.2", 80).unwrap(), "172.17.0.1");
        assert_eq!(tcp(other.fd(), OUTSIDE_4, 80).unwrap(), HOST_4);
        let blocked = tcp_without_patience(&other, "172.17.0.2");
        assert!(blocked, "reached a container of the same network");
        let _bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        assert_eq!(tcp(machine.outside.as_fd(), HOST_4, 8080).unwrap(), OUTSIDE_4);
    });
}

/// Isolated ports do not even see each other's ARP, so the kernel may say "no route to host" before time is up.
fn tcp_without_patience(netns: &tare_network::Netns, address: &str) -> bool {
    let address = std::net::SocketAddr::new(ip(address), 80);
    let patience = std::time::Duration::from_millis(400);
    tare_netlink::netns::run_in(netns.fd(), || std::net::TcpStream::connect_timeout(&address, patience).is_err())
        .unwrap()
}

#[test]
fn the_hosts_loopback_is_not_reachable_from_containers() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let attacker = machine.container("aaaaaaaaaa", &spec, 2);
        let host = here();
        tcp_server(host.as_fd(), "127.0.0.1", 9000);
        assert_eq!(tcp(host.as_fd(), "127.0.0.1", 9000).unwrap(), "127.0.0.1");
        let _bound = publish(machine, "172.17.0.2", Protocol::Tcp, Some("127.0.0.1"), (8080, 80));
        // The attacker routes 127.0.0.1 through its gateway instead of keeping it.
        for (netns, gateway) in [(attacker.fd(), "172.17.0.1"), (machine.outside.as_fd(), HOST_4)] {
            route_loopback_away(netns, gateway);
            assert_silent(netns, "127.0.0.1", 9000);
            assert_silent(netns, "127.0.0.1", 8080);
        }
    });
}

fn route_loopback_away(netns: std::os::fd::BorrowedFd<'_>, gateway: &str) {
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tare_netlink::netns::run_in(netns, || {
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        run("ip", &["address", "flush", "dev", "lo"]);
        run("ip", &["route", "add", "127.0.0.1/32", "via", gateway, "dev", "eth0"]);
    })
    .unwrap();
}

/// Whether the host can ask for its neighbours on a link already. From `/proc/net/if_inet6`: address, index, prefix, scope,
/// flags, name (proc(5)); 0x40 is `IFA_F_TENTATIVE`.
fn has_usable_link_local(link: &str) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|row| row[0].starts_with("fe80") && row[5] == link && u8::from_str_radix(row[4], 16).unwrap() & 0x40 == 0)
}

#[test]
fn ipv6_ports() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        tcp_server(web.fd(), "::", 80);
        let host = here();
        assert!(has_usable_link_local("tare0"));
        let bound = publish(machine, "fd00:17::2", Protocol::Tcp, Some("::"), (8080, 80));
        assert_eq!(tcp(machine.outside.as_fd(), HOST_6, 8080).unwrap(), OUTSIDE_6);
        assert_eq!(tcp(host.as_fd(), HOST_6, 8080).unwrap(), HOST_6);
        assert_eq!(tcp(web.fd(), HOST_6, 8080).unwrap(), "fd00:17::1");
        assert_silent(machine.outside.as_fd(), "fd00:17::2", 80);
        // ::1 stays with the socket, for the relay.
        assert_eq!(bound[0].relay, Some("[fd00:17::2]:80".parse().unwrap()));
        let relayed = std::net::TcpListener::from(bound.into_iter().next().unwrap().socket.unwrap());
        let _client =
            tare_netlink::netns::run_in(host.as_fd(), || std::net::TcpStream::connect("[::1]:8080").unwrap()).unwrap();
        relayed.accept().unwrap();
    });
}

#[test]
fn an_ipv4_container_is_relayed_for_ipv6_clients() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        let relays: Vec<_> = bound.iter().map(|port| (port.mapping.host_ip, port.relay)).collect();
        assert_eq!(relays, [(ip("0.0.0.0"), None), (ip("::"), Some("172.17.0.2:80".parse().unwrap()))]);
        let socket = bound.into_iter().nth(1).unwrap().socket.unwrap();
        let listener = std::net::TcpListener::from(socket);
        let address = std::net::SocketAddr::new(ip(HOST_6), 8080);
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let _client = tare_netlink::netns::run_in(machine.outside.as_fd(), connect).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), ip(OUTSIDE_6));
    });
}

#[test]
fn udp_flows_follow_the_container() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let (old, new) = (machine.container("aaaaaaaaaa", &spec, 2), machine.container("bbbbbbbbbb", &spec, 3));
        udp_server(old.fd(), "0.0.0.0", 53, "old");
        udp_server(new.fd(), "0.0.0.0", 53, "new");
        // One flow that goes on all the time, from before the port is published.
        let client = UdpClient::new(machine.outside.as_fd(), HOST_4, 5353);
        assert!(!client.is_answered());
        let bound = publish(machine, "172.17.0.2", Protocol::Udp, Some("0.0.0.0"), (5353, 53));
        assert_eq!(client.ask().unwrap(), format!("old {OUTSIDE_4}"));
        machine.network.unpublish(&mappings(&bound)).unwrap();
        assert!(!client.is_answered());
        drop(bound);
        let _bound = publish(machine, "172.17.0.3", Protocol::Udp, None, (5353, 53));
        assert_eq!(client.ask().unwrap(), format!("new {OUTSIDE_4}"));
        assert_eq!(UdpClient::new(here().as_fd(), "127.0.0.1", 5353).ask().unwrap(), "new 172.17.0.1");
    });
}

#[test]
fn containers_start_side_by_side() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        std::thread::scope(|scope| {
            for host in 2..18_u16 {
                let spec = &spec;
                scope.spawn(move || {
                    let id = format!("{host:07}000");
                    let container = machine.container(&id, spec, host.into());
                    tcp_server(container.fd(), "0.0.0.0", 80);
                    let bound = publish(machine, &format!("172.17.0.{host}"), Protocol::Tcp, None, (8000 + host, 80));
                    assert_eq!(tcp(machine.outside.as_fd(), HOST_4, 8000 + host).unwrap(), OUTSIDE_4);
                    machine.network.unpublish(&mappings(&bound)).unwrap();
                    machine.network.detach(&id).unwrap();
                });
            }
        });
        let expected = tare_network::Expected { bridges: vec!["tare0".into()], ..tare_network::Expected::default() };
        assert_eq!(machine.network.reconcile(&expected).unwrap(), tare_network::Reconciled::default());
    });
}

#[test]
fn attached_means_passing() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let mut socket = tare_netlink::Socket::open(tare_netlink::Protocol::Route).unwrap();
        for host in 2..32 {
            let _container = machine.container(&format!("{host:010}"), &spec, host);
            // A listing does not bring links up to date as a look-up does: this is how they have been left.
            let links = tare_netlink::link::list(&mut socket).unwrap();
            let late = links.iter().find(|link| link.name != "lo" && !link.operational);
            assert_eq!(late, None);
            machine.network.detach(&format!("{host:010}")).unwrap();
        }
    });
}

#[test]
fn neighbours_learn_who_has_an_address_now() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let client = machine.container("aaaaaaaaaa", &spec, 2);
        for id in ["bbbbbbbbbb", "cccccccccc"] {
            let server = machine.container(id, &spec, 3);
            tcp_server(server.fd(), "0.0.0.0", 80);
            let mac = neighbour_mac(&client);
            assert!(tcp(client.fd(), "172.17.0.3", 80).is_ok());
            assert!(tcp(here().as_fd(), "172.17.0.3", 80).is_ok());
            // The second time the announcement alone must have told the client, before it asked.
            if id == "cccccccccc" {
                assert_eq!(mac, neighbour_mac(&client));
            }
            machine.network.detach(id).unwrap();
        }
    });
}

/// What a container believes 172.17.0.3 has for a hardware address.
fn neighbour_mac(netns: &tare_network::Netns) -> Option<String> {
    let table =
        tare_netlink::netns::run_in(netns.fd(), || std::fs::read_to_string("/proc/thread-self/net/arp").unwrap());
    let table = table.unwrap();
    let line = table.lines().find(|line| line.starts_with("172.17.0.3 "))?;
    line.split_whitespace().nth(3).map(str::to_owned)
}

#[test]
fn the_owners_rules_come_first() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        let _bound = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        assert!(tcp(machine.outside.as_fd(), HOST_4, 8080).is_ok());
        let table = format!("tare-{}", support::INSTANCE);
        support::nft(&["add", "rule", "inet", &table, "user", "ip", "saddr", OUTSIDE_4, "drop"]);
        // They survive an engine that starts again, and so do published ports.
        drop(support::open());
        assert_silent(machine.outside.as_fd(), HOST_4, 8080);
        support::nft(&["flush", "chain", "inet", &table, "user"]);
        assert!(tcp(machine.outside.as_fd(), HOST_4, 8080).is_ok());
    });
}

#[test]
fn a_flushed_ruleset_comes_back() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let web = machine.container("aaaaaaaaaa", &spec, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        let _first = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8080, 80));
        support::nft(&["flush", "ruleset"]);
        let _second = publish(machine, "172.17.0.2", Protocol::Tcp, None, (8081, 80));
        for port in [8080, 8081] {
            assert_eq!(tcp(machine.outside.as_fd(), HOST_4, port).unwrap(), OUTSIDE_4);
        }
    });
}

#[test]
fn an_interface_straight_on_the_hosts() {
    machine(|machine| {
        let spec = |mode, host: u128| tare_network::MacvlanSpec {
            parent: "switch".into(),
            mode,
            interface: tare_network::Interface {
                name: "eth0".into(),
                mac: None,
                ipv4: tare_network::Cidr::new(support::cidr("192.0.2.0/24").nth(host).unwrap(), 24),
                ipv6: None,
                further: Vec::new(),
                gateway_v4: Some(v4(OUTSIDE_4)),
                gateway_v6: None,
            },
        };
        tcp_server(machine.outside.as_fd(), "0.0.0.0", 80);
        let [one, two, apart] = [(); 3].map(|()| machine.network.new_netns().unwrap());
        machine.network.attach_macvlan(&one, &spec(MacvlanMode::Bridge, 11)).unwrap();
        machine.network.attach_macvlan(&two, &spec(MacvlanMode::Bridge, 12)).unwrap();
        machine.network.attach_macvlan(&apart, &spec(MacvlanMode::Private, 13)).unwrap();
        tcp_server(one.fd(), "0.0.0.0", 80);
        assert_eq!(tcp(one.fd(), OUTSIDE_4, 80).unwrap(), "192.0.2.11");
        assert_eq!(tcp(two.fd(), "192.0.2.11", 80).unwrap(), "192.0.2.12");
        assert_eq!(tcp(apart.fd(), OUTSIDE_4, 80).unwrap(), "192.0.2.13");
        assert!(tcp(apart.fd(), "192.0.2.11", 80).is_err());
        // The parent is there already for others.
        assert!(machine.network.attach_macvlan(&apart, &spec(MacvlanMode::Passthru, 14)).is_err());
        for _ in 0..2 {
            machine.network.detach_macvlan(&one, "eth0").unwrap();
        }
        assert!(tcp(one.fd(), OUTSIDE_4, 80).is_err());
        // Interfaces of containers that have ended go with their namespaces, in the kernel's time.
        let last = machine.network.new_netns().unwrap();
        drop((two, apart));
        machine.network.attach_macvlan(&last, &spec(MacvlanMode::Passthru, 14)).unwrap();
    });
}

#[test]
fn a_second_network_is_connected_and_disconnected() {
    machine(|machine| {
        let (a, b) = (bridge("tare0", &["172.17.0.0/16"]), bridge("br-b", &["172.18.0.0/16"]));
        machine.network.ensure_bridge(&a).unwrap();
        machine.network.ensure_bridge(&b).unwrap();
        let web = machine.container("bbbbbbbbbb", &b, 2);
        tcp_server(web.fd(), "0.0.0.0", 80);
        tcp_server(machine.outside.as_fd(), "0.0.0.0", 80);
        let client = machine.container("aaaaaaaaaa", &a, 2);
        // As a daemon that came back has it: only a descriptor.
        let adopted = tare_network::Netns::adopt(client.fd().try_clone_to_owned().unwrap());
        let mut second = support::endpoint("cccccccccc", &b, 3);
        second.interface.name = "eth1".into();
        second.interface.gateway_v4 = None;
        machine.network.attach(&adopted, &second).unwrap();
        assert_eq!(tcp(client.fd(), "172.18.0.2", 80).unwrap(), "172.18.0.3");
        assert_eq!(tcp(client.fd(), OUTSIDE_4, 80).unwrap(), HOST_4);
        machine.network.detach("aaaaaaaaaa").unwrap();
        machine.network.set_gateways(&adopted, Some(("eth1", v4("172.18.0.1"))), None).unwrap();
        assert_eq!(tcp(client.fd(), OUTSIDE_4, 80).unwrap(), HOST_4);
        machine.network.detach("cccccccccc").unwrap();
        machine.network.detach("cccccccccc").unwrap();
        assert!(tcp(client.fd(), OUTSIDE_4, 80).is_err());
    });
}
