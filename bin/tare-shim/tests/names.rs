//! The embedded name server: containers' names, and servers that know others. Needs root and busybox.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use support::{Shim, script};
use tare_netlink::netns::{current, run_in, run_in_new};
use tare_netlink::{Batch, Protocol, Socket, link};
use tare_network::Netns;
use tare_network::dns::{DnsSockets, zone};
use tare_network::resolv::{EMBEDDED, Upstream};
use tare_shim_protocol::{FdRole, Op, ServeNames};

/// When a client gives up: later than the server asks two others in vain.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container with its network namespace.
struct Container {
    shim: Shim,
    netns: OwnedFd,
}

impl Container {
    fn start(directory: &Path, networks: &[&str], upstream: &[(&str, bool)]) -> Self {
        let mut plan = script("while ! [ -e /go ]; do sleep 0.01; done");
        plan.config.dns = Some(directory.to_owned());
        let mut shim = plan.spawn();
        let netns = new_netns();
        let container = Netns::adopt(netns.try_clone().unwrap());
        let sockets = DnsSockets::open(&container).unwrap();
        let settings = zone::Container {
            networks: networks.iter().map(|id| (*id).to_owned()).collect(),
            links: Vec::new(),
            upstream: upstream
                .iter()
                .map(|&(address, from_host)| Upstream { address: address.to_owned(), from_host })
                .collect(),
        };
        zone::write_container(directory, &shim.id, &settings).unwrap();
        shim.launch_with(vec![
            (FdRole::DnsUdp, sockets.udp),
            (FdRole::DnsTcp, sockets.tcp),
            (FdRole::NetNs, container.into_fd()),
        ]);
        Self { shim, netns }
    }

    /// Asks for the IPv4 addresses of a name with a datagram.
    fn ask(&self, name: &str) -> String {
        run_in(self.netns.as_fd(), || {
            let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect((EMBEDDED, 53)).unwrap();
            client.send(&query(name, 77)).unwrap();
            let mut buffer = [0; 4096];
            let length = client.recv(&mut buffer).unwrap();
            describe(&buffer[..length], 77)
        })
        .unwrap()
    }

    fn connect(&self) -> TcpStream {
        let client = run_in(self.netns.as_fd(), || TcpStream::connect((EMBEDDED, 53)).unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn finish(self) {
        fs::write(self.shim.path().join("rootfs/go"), "").unwrap();
        self.shim.finish();
    }
}

fn new_netns() -> OwnedFd {
    run_in_new(|| {
        let mut batch = Batch::new();
        link::set_loopback_up(&mut batch);
        Socket::open(Protocol::Route).unwrap().execute(batch).unwrap();
        current().unwrap()
    })
    .unwrap()
}

fn query(name: &str, id: u16) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new_unchecked(name),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().unwrap()
}

fn describe(reply: &[u8], id: u16) -> String {
    let packet = Packet::parse(reply).unwrap();
    assert_eq!(packet.id(), id);
    let addresses = packet.answers.iter().map(|record| match &record.rdata {
        RData::A(a) => format!(" {}", Ipv4Addr::from(a.address)),
        other => panic!("{other:?}"),
    });
    format!("{:?}{}", packet.rcode(), addresses.collect::<String>())
}

/// A reply with an address, or without one when it is a refusal.
fn reply(query: &[u8], address: Ipv4Addr, code: RCODE) -> Vec<u8> {
    let mut packet = Packet::parse(query).unwrap().into_reply();
    *packet.rcode_mut() = code;
    if code == RCODE::NoError {
        let name = packet.questions[0].qname.clone();
        packet.answers.push(ResourceRecord::new(name, CLASS::IN, 5, RData::A(A { address: address.into() })));
    }
    packet.build_bytes_vec().unwrap()
}

/// Answers one datagram as a server somewhere does, after replies that must not count.
fn serve_datagram(server: &UdpSocket, address: Ipv4Addr, code: RCODE) {
    let mut buffer = [0; 4096];
    let (length, client) = server.recv_from(&mut buffer).unwrap();
    let query = &buffer[..length];
    let good = reply(query, address, code);
    let mut wrong_id = good.clone();
    wrong_id[0] ^= 1;
    let mut wrong_name = good.clone();
    wrong_name[13] ^= 1;
    for bytes in [&wrong_id, &wrong_name, query, b"short", &good] {
        server.send_to(bytes, client).unwrap();
    }
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn network(directory: &Path, id: &str, name: &str, records: &[(&str, &str)]) {
    let records = records.iter().map(|(address, name)| (address.parse().unwrap(), vec![(*name).to_owned()])).collect();
    zone::write_network(directory, id, &zone::Network { name: name.to_owned(), records, ..zone::Network::default() })
        .unwrap();
}

/// A server's socket in a namespace.
fn upstream(netns: &OwnedFd, address: &str) -> UdpSocket {
    let address: SocketAddr = format!("{address}:53").parse().unwrap();
    run_in(netns.as_fd(), || UdpSocket::bind(address).unwrap()).unwrap()
}

#[test]
fn containers_know_the_names_of_their_networks() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    network(directory, "n1", "back", &[("172.18.0.2", "web")]);
    network(directory, "n2", "front", &[("172.19.0.2", "proxy")]);
    let both = Container::start(directory, &["n1", "n2"], &[]);
    let one = Container::start(directory, &["n2"], &[]);
    assert_eq!(both.ask("web"), "NoError 172.18.0.2");
    assert_eq!(both.ask("proxy.front"), "NoError 172.19.0.2");
    assert_eq!(one.ask("proxy"), "NoError 172.19.0.2");
    // Nobody else is to be asked.
    assert_eq!(one.ask("web"), "ServerFailure");
    // The daemon replaces a file.
    network(directory, "n2", "front", &[("172.19.0.3", "proxy"), ("172.19.0.4", "web")]);
    assert_eq!(one.ask("web"), "NoError 172.19.0.4");
    assert_eq!(both.ask("proxy"), "NoError 172.19.0.3");
    both.finish();
    one.finish();
}

/// A container that was launched without a server gets one, and another one when a daemon that came back does not know.
#[test]
fn a_running_container_gets_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    network(directory, "n1", "back", &[("172.18.0.2", "web")]);
    let mut shim = script("while ! [ -e /go ]; do sleep 0.01; done").spawn();
    let netns = new_netns();
    shim.launch_with(vec![(FdRole::NetNs, netns.try_clone().unwrap())]);
    let settings = zone::Container { networks: vec!["n1".to_owned()], ..zone::Container::default() };
    zone::write_container(directory, &shim.id, &settings).unwrap();
    let serve = || Op::ServeNames(ServeNames { directory: directory.to_owned() });
    assert!(shim.daemon.failure(serve(), Vec::new()).message.contains("descriptors are missing"));
    let mut container = Container { shim, netns };
    for _ in 0..2 {
        let inside = Netns::adopt(container.netns.try_clone().unwrap());
        let sockets = DnsSockets::open(&inside).unwrap();
        let fds = vec![(FdRole::DnsUdp, sockets.udp), (FdRole::DnsTcp, sockets.tcp), (FdRole::NetNs, inside.into_fd())];
        container.shim.daemon.ok(serve(), fds);
        assert_eq!(container.ask("web"), "NoError 172.18.0.2");
        let mut client = container.connect();
        client.write_all(&framed(&query("web", 5))).unwrap();
        assert_eq!(describe(&read_message(&mut client).unwrap(), 5), "NoError 172.18.0.2");
    }
    container.finish();
}

#[test]
fn other_names_are_asked_of_servers_in_order() {
    let directory = tempfile::tempdir().unwrap();
    // The first does not exist, the third is the host's; a fourth would not be asked.
    let process = std::process::id().to_be_bytes();
    let host = format!("127.77.{}.{}", process[2], process[3]);
    let servers = [("127.0.0.7", false), ("127.0.0.8", false), (host.as_str(), true), ("127.0.0.9", false)];
    let container = Container::start(directory.path(), &[], &servers);
    let second = upstream(&container.netns, "127.0.0.8");
    let third = UdpSocket::bind(format!("{host}:53")).unwrap();
    let fourth = upstream(&container.netns, "127.0.0.9");
    let (found, other) = (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2));
    std::thread::scope(|scope| {
        scope.spawn(|| serve_datagram(&second, found, RCODE::NoError));
        assert_eq!(container.ask("www.example.org"), "NoError 198.51.100.1");
    });
    // "There is no such name" is an answer.
    std::thread::scope(|scope| {
        scope.spawn(|| serve_datagram(&second, found, RCODE::NameError));
        assert_eq!(container.ask("www.example.org"), "NameError");
    });
    std::thread::scope(|scope| {
        scope.spawn(|| serve_datagram(&second, found, RCODE::Refused));
        scope.spawn(|| serve_datagram(&third, other, RCODE::NoError));
        assert_eq!(container.ask("www.example.org"), "NoError 198.51.100.2");
    });
    std::thread::scope(|scope| {
        scope.spawn(|| serve_datagram(&second, found, RCODE::ServerFailure));
        scope.spawn(|| serve_datagram(&third, other, RCODE::Refused));
        assert_eq!(container.ask("www.example.org"), "Refused");
    });
    // The second is silent.
    std::thread::scope(|scope| {
        scope.spawn(|| serve_datagram(&third, other, RCODE::NoError));
        assert_eq!(container.ask("www.example.org"), "NoError 198.51.100.2");
    });
    fourth.set_nonblocking(true).unwrap();
    assert!(fourth.recv(&mut [0; 16]).is_err());
    container.finish();
}

#[test]
fn connections_are_served_in_order() {
    let directory = tempfile::tempdir().unwrap();
    network(directory.path(), "n1", "back", &[("172.18.0.2", "web")]);
    let container = Container::start(directory.path(), &["n1"], &[("127.0.0.7", false), ("127.0.0.8", false)]);
    let server = run_in(container.netns.as_fd(), || TcpListener::bind("127.0.0.8:53").unwrap()).unwrap();
    let mut client = container.connect();
    let queries: Vec<_> =
        ["other.example.org", "web", "web"].iter().zip(1..).flat_map(|(name, id)| framed(&query(name, id))).collect();
    // In pieces, and no more to come.
    let (first, second) = queries.split_at(7);
    client.write_all(first).unwrap();
    client.write_all(second).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut asked, _) = server.accept().unwrap();
    let forwarded = read_message(&mut asked).unwrap();
    let answer = framed(&reply(&forwarded, Ipv4Addr::new(198, 51, 100, 1), RCODE::NoError));
    answer.chunks(9).for_each(|part| asked.write_all(part).unwrap());
    let answers: Vec<_> = (1..).map_while(|id| Some(describe(&read_message(&mut client)?, id))).collect();
    assert_eq!(answers, ["NoError 198.51.100.1", "NoError 172.18.0.2", "NoError 172.18.0.2"]);
    // One that asks nothing is closed.
    let mut client = container.connect();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    container.finish();
}
