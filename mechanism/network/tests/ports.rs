//! Which host ports containers get, with real sockets in network namespaces of the tests.

mod support;

use std::net::{IpAddr, TcpListener, UdpSocket};

use rustix::net::sockopt;
use support::{HOST_4, ip, machine, v4};
use tare_network::{BoundPort, HostPort, PortError, PortMapping, PortRequest, Ports, Protocol, Target};

const BOTH: [&str; 2] = ["0.0.0.0", "::"];

fn target() -> Target {
    Target { ipv4: Some(v4("172.17.0.2")), ipv6: None }
}

fn request(protocol: Protocol, host_ip: Option<&str>, host_port: HostPort) -> PortRequest {
    PortRequest { protocol, host_ip: host_ip.map(ip), host_port, container_port: 80 }
}

fn tcp(host_ip: Option<&str>, port: u16) -> PortRequest {
    request(Protocol::Tcp, host_ip, HostPort::Range(port, port))
}

fn bind(ports: &Ports, owner: &str, requests: &[PortRequest]) -> Result<Vec<BoundPort>, PortError> {
    ports.bind(owner, &target(), requests)
}

fn places(bound: &[BoundPort]) -> Vec<(IpAddr, u16)> {
    bound.iter().map(|port| (port.mapping.host_ip, port.mapping.host_port)).collect()
}

fn set(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
}

#[test]
fn a_port_is_taken_on_both_families_for_everyone() {
    machine(|_| {
        let ports = Ports::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = bind(&ports, "a", &[request(protocol, None, HostPort::Range(8080, 8080))]).unwrap();
            assert_eq!(places(&held), BOTH.map(|address| (ip(address), 8080)));
            // Programs that ask for it get EADDRINUSE, even those that want to share.
            for address in ["0.0.0.0", "127.0.0.1", HOST_4, "::"] {
                let kind = match protocol {
                    Protocol::Udp => rustix::net::SocketType::DGRAM,
                    _ => rustix::net::SocketType::STREAM,
                };
                let address = std::net::SocketAddr::new(ip(address), 8080);
                let family = if address.is_ipv4() {
                    rustix::net::AddressFamily::INET
                } else {
                    rustix::net::AddressFamily::INET6
                };
                let socket = rustix::net::socket(family, kind, None).unwrap();
                sockopt::set_socket_reuseaddr(&socket, true).unwrap();
                assert_eq!(
                    rustix::net::bind(&socket, &address),
                    Err(rustix::io::Errno::ADDRINUSE),
                    "{address} {protocol}"
                );
            }
            drop(held);
            ports.release("a");
            let _again = bind(&ports, "b", &[request(protocol, None, HostPort::Range(8080, 8080))]).unwrap();
            ports.release("b");
        }
    });
}

#[test]
fn who_has_a_port_is_told() {
    machine(|_| {
        let ports = Ports::new();
        let _held = bind(&ports, "a", &[tcp(Some("127.0.0.1"), 80)]).unwrap();
        for address in [Some("127.0.0.1"), Some("0.0.0.0"), None] {
            let error = bind(&ports, "b", &[tcp(address, 80)]).unwrap_err();
            assert!(matches!(&error, PortError::Allocated { owner, .. } if owner == "a"), "{error}");
        }
        // Another address, another protocol, another family.
        let others = [
            tcp(Some(HOST_4), 80),
            request(Protocol::Udp, Some("127.0.0.1"), HostPort::Range(80, 80)),
            tcp(Some("::1"), 80),
        ];
        let _others = bind(&ports, "b", &others).unwrap();
        let _program = TcpListener::bind("0.0.0.0:81").unwrap();
        let error = bind(&ports, "b", &[tcp(Some("0.0.0.0"), 81)]).unwrap_err();
        assert_eq!(error.to_string(), "bind 0.0.0.0:81/tcp: address already in use");
        let _program = UdpSocket::bind("127.0.0.1:82").unwrap();
        let error = bind(&ports, "b", &[request(Protocol::Udp, None, HostPort::Range(82, 82))]).unwrap_err();
        assert!(matches!(error, PortError::InUse { .. }), "{error}");
        let error = bind(&ports, "b", &[tcp(Some("203.0.113.1"), 80)]).unwrap_err();
        assert_eq!(error.to_string(), "bind 203.0.113.1:80/tcp: cannot assign requested address");
        let error = ports.bind("b", &Target::default(), &[tcp(None, 83)]).unwrap_err();
        assert_eq!(error, PortError::NoTarget);
    });
}

#[test]
fn all_or_none() {
    machine(|_| {
        let ports = Ports::new();
        let _program = TcpListener::bind("[::]:81").unwrap();
        assert!(bind(&ports, "a", &[tcp(None, 80), tcp(None, 81)]).is_err());
        let _held = bind(&ports, "b", &[tcp(None, 80)]).unwrap();
        // Containers found running hold theirs, too.
        let mapping = PortMapping {
            protocol: Protocol::Tcp,
            host_ip: ip("0.0.0.0"),
            host_port: 90,
            container_ip: ip("172.17.0.3"),
            container_port: 80,
        };
        ports.reserve("c", &[mapping]);
        assert!(matches!(bind(&ports, "a", &[tcp(None, 90)]), Err(PortError::Allocated { .. })));
        ports.release("c");
        let _held = bind(&ports, "a", &[tcp(None, 90)]).unwrap();
    });
}

#[test]
fn the_first_free_port_of_a_range() {
    machine(|_| {
        let ports = Ports::new();
        let range = |first, last| [request(Protocol::Tcp, None, HostPort::Range(first, last))];
        let _program = TcpListener::bind("[::]:8000").unwrap();
        let first = bind(&ports, "a", &range(8000, 8002)).unwrap();
        let second = bind(&ports, "b", &range(8000, 8002)).unwrap();
        assert_eq!((first[0].mapping.host_port, second[1].mapping.host_port), (8001, 8002));
        assert!(matches!(bind(&ports, "c", &range(8000, 8002)), Err(PortError::Allocated { .. })));
        assert_eq!(bind(&ports, "c", &range(2, 1)).unwrap_err(), PortError::EmptyRange(2, 1));
        assert_eq!(bind(&ports, "c", &range(0, 1)).unwrap_err(), PortError::EmptyRange(0, 1));
    });
}

#[test]
fn any_port() {
    machine(|_| {
        set("ip_local_port_range", "40000 40003");
        set("ip_local_reserved_ports", "40001");
        let ports = Ports::new();
        let any = |address| request(Protocol::Tcp, address, HostPort::Any);
        let _program = TcpListener::bind("[::]:40000").unwrap();
        let first = bind(&ports, "a", &[any(None)]).unwrap();
        assert_eq!(places(&first), BOTH.map(|address| (ip(address), 40002)));
        drop(first);
        ports.release("a");
        // The next one, not the one that has just become free; the same for addresses that belong together.
        let second = bind(&ports, "b", &[any(Some("127.0.0.1")), any(Some("::1"))]).unwrap();
        assert_eq!(places(&second), [(ip("127.0.0.1"), 40003), (ip("::1"), 40003)]);
        let _third = bind(&ports, "c", &[any(None)]).unwrap();
        assert!(matches!(bind(&ports, "d", &[any(None)]), Err(PortError::Allocated { .. } | PortError::InUse { .. })));
        set("ip_local_reserved_ports", "40000-40003");
        assert_eq!(bind(&ports, "d", &[any(None)]).unwrap_err(), PortError::NoneFree);
    });
}

#[test]
fn any_port_leaves_those_that_are_asked_for() {
    machine(|_| {
        set("ip_local_port_range", "40000 40003");
        let ports = Ports::new();
        let any = request(Protocol::Tcp, None, HostPort::Any);
        let range = request(Protocol::Tcp, None, HostPort::Range(40000, 40002));
        let bound = bind(&ports, "a", &[any, range, tcp(None, 40000)]).unwrap();
        let mut numbers: Vec<_> = bound.iter().map(|port| port.mapping.host_port).collect();
        numbers.dedup();
        assert_eq!(numbers, [40000, 40001, 40002]);
    });
}

#[test]
fn which_sockets_are_relayed() {
    machine(|_| {
        let (v4_only, v6_only) = (target(), Target { ipv4: None, ipv6: Some("fd00::2".parse().unwrap()) });
        let both = Target { ipv6: v6_only.ipv6, ..v4_only };
        for (target, address, expected) in [
            (v4_only, "0.0.0.0", None),
            (v4_only, "127.0.0.1", None),
            (v4_only, "::", Some("172.17.0.2:80")),
            (v4_only, "::1", Some("172.17.0.2:80")),
            (v6_only, "0.0.0.0", Some("[fd00::2]:80")),
            (v6_only, support::HOST_6, None),
            (v6_only, "::", Some("[fd00::2]:80")),
            (both, "0.0.0.0", None),
            (both, "::1", Some("[fd00::2]:80")),
        ] {
            let bound = Ports::new().bind("a", &target, &[tcp(Some(address), 80)]).unwrap();
            assert_eq!(bound[0].relay, expected.map(|text| text.parse().unwrap()), "{address} to {target:?}");
        }
    });
}

#[test]
fn without_ipv6_there_is_ipv4() {
    machine(|_| {
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let bound = bind(&Ports::new(), "a", &[tcp(None, 80)]).unwrap();
        assert_eq!(places(&bound)[0], (ip("0.0.0.0"), 80));
        assert!(bind(&Ports::new(), "a", &[tcp(Some("2001:db8::1"), 80)]).is_err());
    });
}
