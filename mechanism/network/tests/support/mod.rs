//! A machine for each test: a network namespace with a loopback and one interface towards an "outside" namespace.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tare_netlink::netns::{current, run_in, run_in_new};
use tare_netlink::{Batch, Protocol, Socket};
use tare_netlink::{address, address::Address, link, path};
use tare_network::{BridgeSpec, BridgeSubnet, Cidr, Config, EndpointSpec, Interface, Netns, Network};

/// How long an answer may take that comes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(400);

pub const INSTANCE: &str = "0badcafe";
pub const HOST_4: &str = "192.0.2.1";
pub const HOST_6: &str = "2001:db8::1";
pub const OUTSIDE_4: &str = "192.0.2.2";
pub const OUTSIDE_6: &str = "2001:db8::2";

pub struct Machine {
    pub network: Network,
    pub outside: OwnedFd,
}

/// Runs a test on a machine of its own, and then on another on which bridged packets do not (or do) pass through
/// netfilter: other programs switch that on, and everything must work either way.
pub fn machine(test: impl Fn(&Machine) + Sync) {
    for through_netfilter in ["0", "1"] {
        run_in_new(|| {
            let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if std::fs::exists(switch).unwrap() {
                std::fs::write(switch, through_netfilter).unwrap();
            }
            // Inherited from the real machine otherwise.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            let outside = cable();
            let network = open();
            test(&Machine { network, outside });
        })
        .unwrap();
    }
}

pub fn open() -> Network {
    Network::open(Config { instance: INSTANCE.into(), passages: true, ready_namespaces: 0 }).unwrap()
}

fn cable() -> OwnedFd {
    let mut host = Socket::open(Protocol::Route).unwrap();
    let outside = run_in_new(|| current().unwrap()).unwrap();
    let mut batch = Batch::new();
    link::set_loopback_up(&mut batch);
    link::create_bridge(&mut batch, &link::Bridge { name: "switch", mac: [2, 0, 0, 0, 1, 1], mtu: 1500 });
    host.execute(batch).unwrap();
    let switch = link::find(&mut host, "switch").unwrap().unwrap().index;
    let mut batch = Batch::new();
    let veth = link::Veth {
        name: "cable",
        bridge: switch,
        mtu: 1500,
        peer_name: "eth0",
        peer_mac: [2, 0, 0, 0, 1, 2],
        peer_netns: outside.as_fd(),
    };
    link::create_veth(&mut batch, &veth);
    add_addresses(&mut batch, switch, [HOST_4, HOST_6]);
    host.execute(batch).unwrap();
    run_in(outside.as_fd(), || {
        let mut inside = Socket::open(Protocol::Route).unwrap();
        let index = link::find(&mut inside, "eth0").unwrap().unwrap().index;
        let mut batch = Batch::new();
        add_addresses(&mut batch, index, [OUTSIDE_4, OUTSIDE_6]);
        link::set_up(&mut batch, "eth0");
        link::set_loopback_up(&mut batch);
        // The outside knows a way to container addresses: being unreachable must not depend on its ignorance.
        path::set_default(&mut batch, index, ip(HOST_4));
        path::set_default(&mut batch, index, ip(HOST_6));
        inside.execute(batch).unwrap();
    })
    .unwrap();
    for name in ["cable", "switch"] {
        assert!(link::find(&mut host, name).unwrap().unwrap().operational);
    }
    outside
}

fn add_addresses(batch: &mut Batch, index: u32, [v4, v6]: [&str; 2]) {
    address::add(batch, &Address { index, address: ip(v4), prefix: 24 });
    address::add(batch, &Address { index, address: ip(v6), prefix: 64 });
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// A bridge with subnets whose gateway is the first address.
pub fn bridge(name: &str, subnets: &[&str]) -> BridgeSpec {
    let subnet = |text: &&str| {
        let subnet = cidr(text);
        BridgeSubnet { subnet, gateway: subnet.nth(1) }
    };
    BridgeSpec {
        bridge: name.into(),
        foreign: false,
        subnets: subnets.iter().map(subnet).collect(),
        mtu: None,
        icc: true,
        internal: false,
        masquerade: true,
        source_v4: None,
        source_v6: None,
        open_v4: false,
        open_v6: false,
        routed_v4: false,
        routed_v6: false,
        trusted: Vec::new(),
    }
}

/// An endpoint with the `host`-th address of each subnet of a bridge.
pub fn endpoint(id: &str, spec: &BridgeSpec, host: u128) -> EndpointSpec {
    let family = |ipv6| spec.subnets.iter().find(move |subnet| subnet.subnet.is_ipv6() == ipv6);
    let own = |ipv6| {
        let subnet = family(ipv6)?.subnet;
        Cidr::new(subnet.nth(host)?, subnet.prefix())
    };
    let gateway = |ipv6| family(ipv6).and_then(|subnet| subnet.gateway);
    EndpointSpec {
        endpoint_id: id.into(),
        bridge: spec.bridge.clone(),
        interface: Interface {
            name: "eth0".into(),
            mac: None,
            ipv4: own(false),
            ipv6: own(true),
            further: Vec::new(),
            gateway_v4: gateway(false).and_then(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None }),
            gateway_v6: gateway(true).and_then(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None }),
        },
        mtu: None,
    }
}

impl Machine {
    /// A container with the `host`-th address of each subnet of a bridge.
    pub fn container(&self, id: &str, spec: &BridgeSpec, host: u128) -> Netns {
        let netns = self.network.new_netns().unwrap();
        self.network.attach(&netns, &endpoint(id, spec, host)).unwrap();
        netns
    }

    /// What `nft` makes of this engine's table.
    pub fn nft(&self) -> String {
        nft(&["list", "table", "inet", &format!("tare-{INSTANCE}")])
    }
}

/// Runs `nft` in this thread's network namespace.
pub fn nft(arguments: &[&str]) -> String {
    let output = std::process::Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Answers each connection with the client's address.
pub fn tcp_server(netns: BorrowedFd<'_>, address: &str, port: u16) {
    let address = SocketAddr::new(ip(address), port);
    let listener = run_in(netns, || TcpListener::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, client)) = listener.accept() {
            let _ = stream.write_all(client.ip().to_string().as_bytes());
        }
    });
}

/// What a server tells a client in this namespace.
pub fn tcp(netns: BorrowedFd<'_>, address: &str, port: u16) -> io::Result<String> {
    run_in(netns, || tcp_here(address, port, PATIENCE)).unwrap()
}

fn tcp_here(address: &str, port: u16, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip(address), port), patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Asserts that packets to an address vanish.
pub fn assert_silent(netns: BorrowedFd<'_>, address: &str, port: u16) {
    let error = run_in(netns, || tcp_here(address, port, SILENCE)).unwrap().unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{address}:{port}: {error:?}");
}

/// Answers datagrams with `label` and the sender's address.
pub fn udp_server(netns: BorrowedFd<'_>, address: &str, port: u16, label: &'static str) {
    let address = SocketAddr::new(ip(address), port);
    let socket = run_in(netns, || UdpSocket::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{label} {}", client.ip()).as_bytes(), client);
        }
    });
}

/// A UDP client with one socket, hence one flow.
pub struct UdpClient(UdpSocket);

impl UdpClient {
    pub fn new(netns: BorrowedFd<'_>, address: &str, port: u16) -> Self {
        let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = run_in(netns, || UdpSocket::bind(any).unwrap()).unwrap();
        socket.connect(SocketAddr::new(ip(address), port)).unwrap();
        Self(socket)
    }

    pub fn ask(&self) -> io::Result<String> {
        self.ask_for(PATIENCE)
    }

    pub fn is_answered(&self) -> bool {
        self.ask_for(SILENCE).is_ok()
    }

    fn ask_for(&self, patience: Duration) -> io::Result<String> {
        self.0.set_read_timeout(Some(patience))?;
        self.0.send(b"?")?;
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

/// This thread's network namespace.
pub fn here() -> OwnedFd {
    current().unwrap()
}
