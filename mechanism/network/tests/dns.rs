//! The embedded server's sockets inside a container.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use support::{bridge, machine};
use tare_netlink::netns::run_in;
use tare_network::dns::DnsSockets;

#[test]
fn port_53_leads_to_the_server() {
    machine(|machine| {
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        machine.network.ensure_bridge(&spec).unwrap();
        let netns = machine.container("aaaaaaaaaa", &spec, 2);
        // Twice, as for a container that leaves its last user network and joins another.
        drop(DnsSockets::open(&netns).unwrap());
        let sockets = DnsSockets::open(&netns).unwrap();
        let (udp, tcp) = (UdpSocket::from(sockets.udp), TcpListener::from(sockets.tcp));
        udp.set_nonblocking(false).unwrap();
        tcp.set_nonblocking(false).unwrap();
        run_in(netns.fd(), || {
            exchange(&udp, &tcp);
            // Also where the container has a firewall of its own that tracks connections.
            support::nft(&["add", "table", "ip", "own"]);
            support::nft(&["add", "chain", "ip", "own", "in", "{ type filter hook input priority 0; }"]);
            support::nft(&["add", "rule", "ip", "own", "in", "ct", "state", "invalid", "drop"]);
            support::nft(&["add", "chain", "ip", "own", "nat", "{ type nat hook output priority -100; }"]);
            exchange(&udp, &tcp);
        })
        .unwrap();
    });
}

/// A query and an answer each way, from clients in this namespace.
fn exchange(udp: &UdpSocket, tcp: &TcpListener) {
    // A program of the container may have port 53 of all addresses.
    let _own = UdpSocket::bind("0.0.0.0:53").unwrap();
    let client = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.connect("127.0.0.11:53").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.send(b"query").unwrap();
    let mut buffer = [0; 16];
    let (length, from) = udp.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"query");
    udp.send_to(b"reply", from).unwrap();
    // Connected: the reply must come from port 53.
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"reply");

    let mut client = TcpStream::connect("127.0.0.11:53").unwrap();
    let (mut server, _) = tcp.accept().unwrap();
    let long = vec![b'x'; 200_000];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            server.write_all(&long).unwrap();
            drop(server);
        });
        let mut text = Vec::new();
        client.read_to_end(&mut text).unwrap();
        assert_eq!(text, long);
    });
}
