//! The embedded server's sockets inside a container.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use support::{bridge, machine};
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
        tare_netlink::namespace::run_in(netns.fd().as_fd(), || {
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
            server.write_all(b"reply").unwrap();
            drop(server);
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "reply");
        })
        .unwrap();
    });
}
