//! Against the kernel, as root, each test in a network namespace of its own.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use tare_nftables::conntrack::Connection;
use tare_nftables::expression::{Comparison, Expression, Header, Meta, Register};
use tare_nftables::transaction::{Chain, Element, Set, Value};
use tare_nftables::value::{ChainKind, DataType, Family, Hook, Key, KeyReader, Verdict};
use tare_nftables::{Netfilter, Transaction};
use tare_sys::netlink::{Batch, Protocol, Socket};
use tare_sys::netns::run_in_new;

const TABLE: &str = "test";
const PORTS: Set<'static> = Set {
    name: "ports",
    key: &[DataType::Protocol, DataType::Port],
    value: Value::Data(&[DataType::Ipv4, DataType::Port]),
    interval: false,
};
const NETWORKS: Set<'static> = Set { name: "networks", key: &[DataType::Ipv4], value: Value::Nothing, interval: true };
const JUMPS: Set<'static> =
    Set { name: "jumps", key: &[DataType::InterfaceName], value: Value::Verdict, interval: false };

fn alone(test: impl FnOnce(&mut Netfilter) + Send) {
    run_in_new(|| test(&mut Netfilter::open().unwrap())).unwrap();
}

fn transaction() -> Transaction<'static> {
    let mut transaction = Transaction::new(Family::Inet, TABLE);
    transaction.ensure_table();
    for set in [PORTS, NETWORKS, JUMPS] {
        transaction.ensure_set(&set);
    }
    transaction
}

fn port(number: u16, target: &str) -> Element<'static> {
    let value = Key::new().address(target.parse().unwrap()).port(80).into_bytes();
    Element::of_map(Key::new().protocol(6).port(number).into_bytes(), value)
}

fn listed_ports(netfilter: &mut Netfilter) -> Vec<(u16, Ipv4Addr)> {
    let elements = netfilter.elements(Family::Inet, TABLE, "ports").unwrap().unwrap();
    let mut ports: Vec<_> = elements
        .iter()
        .map(|element| {
            let mut key = KeyReader(&element.key);
            assert_eq!(key.protocol(), Some(6));
            (key.port().unwrap(), KeyReader(&element.value).ipv4().unwrap())
        })
        .collect();
    ports.sort_unstable();
    ports
}

fn change(netfilter: &mut Netfilter, fill: impl FnOnce(&mut Transaction<'static>)) -> tare_nftables::Result<()> {
    let mut transaction = Transaction::new(Family::Inet, TABLE);
    fill(&mut transaction);
    netfilter.commit(transaction)
}

fn nft(arguments: &[&str]) -> String {
    let output = std::process::Command::new("nft").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn elements_come_and_go() {
    alone(|netfilter| {
        netfilter.commit(transaction()).unwrap();
        netfilter.commit(transaction()).unwrap();
        let (one, two) = (port(8080, "10.0.0.1"), port(8081, "10.0.0.2"));
        for _ in 0..2 {
            change(netfilter, |change| change.add_elements("ports", &[one.clone(), two.clone()])).unwrap();
        }
        assert_eq!(listed_ports(netfilter), [(8080, Ipv4Addr::new(10, 0, 0, 1)), (8081, Ipv4Addr::new(10, 0, 0, 2))]);
        let other = change(netfilter, |change| change.add_elements("ports", &[port(8080, "10.0.0.9")])).unwrap_err();
        // EBUSY or EEXIST, depending on the kernel.
        assert!(matches!(other.errno(), Some(16 | 17)), "{other}");
        change(netfilter, |change| change.delete_elements("ports", std::slice::from_ref(&one))).unwrap();
        assert_eq!(listed_ports(netfilter), [(8081, Ipv4Addr::new(10, 0, 0, 2))]);
        let missing = change(netfilter, |change| change.delete_elements("ports", &[one])).unwrap_err();
        assert_eq!(missing.to_string(), "delete elements from `ports`: ENOENT");
        change(netfilter, |change| change.flush_set("ports")).unwrap();
        assert_eq!(listed_ports(netfilter), []);
        assert_eq!(netfilter.elements(Family::Inet, TABLE, "nothing").unwrap(), None);
        assert_eq!(netfilter.elements(Family::Inet, "nothing", "ports").unwrap(), None);
    });
}

#[test]
fn a_transaction_is_all_or_nothing() {
    alone(|netfilter| {
        netfilter.commit(transaction()).unwrap();
        let failed = change(netfilter, |change| {
            change.add_elements("ports", &[port(1, "10.0.0.1")]);
            change.add_elements("nowhere", &[port(2, "10.0.0.1")]);
            change.add_elements("ports", &[port(3, "10.0.0.1")]);
        });
        assert_eq!(failed.unwrap_err().to_string(), "add elements to `nowhere`: ENOENT");
        assert_eq!(listed_ports(netfilter), []);
        // The socket is not out of step afterwards.
        change(netfilter, |change| change.add_elements("ports", &[port(4, "10.0.0.1")])).unwrap();
        assert_eq!(listed_ports(netfilter).len(), 1);
        change(netfilter, Transaction::delete_table).unwrap();
        assert_eq!(netfilter.tables(Family::Inet).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn thousands_of_elements_in_one_transaction() {
    alone(|netfilter| {
        netfilter.commit(transaction()).unwrap();
        let ports: Vec<_> = (1..=1000).map(|number| port(number, "10.0.0.1")).collect();
        change(netfilter, |change| change.add_elements("ports", &ports)).unwrap();
        assert_eq!(listed_ports(netfilter).len(), 1000);
    });
}

#[test]
fn nft_reads_everything_back() {
    alone(|netfilter| {
        let mut all = transaction();
        all.ensure_chain(&Chain { name: "side", base: None });
        all.ensure_chain(&Chain { name: "in", base: Some((ChainKind::Filter, Hook::Input, -5)) });
        let (r0, r1) = (Register(0), Register(1));
        let key = |data: &str| Key::new().address(data.parse().unwrap()).into_bytes();
        let end = Element { ends_range: true, ..Element::of_set(key("10.2.0.0")) };
        all.add_elements("networks", &[Element::of_set(key("10.1.0.0")), end]);
        all.add_elements(
            "jumps",
            &[Element::of_verdicts(Key::new().interface("eth0").into_bytes(), Verdict::Jump("side"))],
        );
        let rules: [&[Expression<'_>]; 5] = [
            &[
                Expression::Meta(Meta::TransportProtocol, r0),
                Expression::Compare(r0, Comparison::NotEqual, vec![6]),
                Expression::Counter,
                Expression::Verdict(Verdict::Return),
            ],
            &[Expression::Meta(Meta::InputInterface, r0), Expression::VerdictMap { map: "jumps", from: r0 }],
            &[
                Expression::Meta(Meta::NetworkProtocol, r0),
                Expression::Compare(r0, Comparison::Equal, vec![Family::Ipv4.number()]),
                Expression::Payload { header: Header::Network, offset: 12, length: 4, to: r0 },
                Expression::Lookup { set: "networks", from: r0, absent: true },
                Expression::Verdict(Verdict::Drop),
            ],
            &[
                Expression::Meta(Meta::TransportProtocol, r0),
                Expression::Compare(r0, Comparison::Equal, vec![6]),
                Expression::Load(r1, vec![0x1f, 0x90]),
                Expression::Store { offset: 2, from: r1, checksum: 16 },
            ],
            &[
                Expression::Meta(Meta::OutputInterface, r0),
                Expression::Compare(r0, Comparison::Equal, tare_nftables::value::interface_name("lo").to_vec()),
                Expression::Verdict(Verdict::Accept),
            ],
        ];
        for rule in rules {
            all.add_rule("in", rule, "why");
        }
        all.ensure_chain(&Chain { name: "post", base: Some((ChainKind::Nat, Hook::Postrouting, 100)) });
        let nat = [
            Expression::Meta(Meta::TransportProtocol, r0),
            Expression::Compare(r0, Comparison::Equal, vec![17]),
            Expression::Load(r0, vec![10, 0, 0, 1]),
            Expression::Load(r1, vec![0, 53]),
            Expression::SourceNat { family: Family::Ipv4, address: r0, port: Some(r1) },
        ];
        all.add_rule("post", &nat, "");
        all.add_rule("post", &[Expression::Masquerade], "");
        netfilter.commit(all).unwrap();
        insta::assert_snapshot!(nft(&["list", "table", "inet", TABLE]), @r#"
        table inet test {
        	map ports {
        		type inet_proto . inet_service : ipv4_addr . inet_service
        	}

        	set networks {
        		type ipv4_addr
        		flags interval
        		elements = { 10.1.0.0/16 }
        	}

        	map jumps {
        		type ifname : verdict
        		elements = { "eth0" : jump side }
        	}

        	chain side {
        	}

        	chain in {
        		type filter hook input priority filter - 5; policy accept;
        		meta l4proto != tcp counter packets 0 bytes 0 return comment "why"
        		iifname vmap @jumps comment "why"
        		ip saddr != @networks drop comment "why"
        		tcp dport set 8080 comment "why"
        		oifname "lo" accept comment "why"
        	}

        	chain post {
        		type nat hook postrouting priority srcnat; policy accept;
        		meta l4proto udp snat ip to 10.0.0.1:53
        		masquerade
        	}
        }
        "#);
        let chains = netfilter.base_chains().unwrap();
        assert_eq!(chains.len(), 2);
        assert!(
            chains[0].is_at(Hook::Input) && !chains[0].drops && chains[0].kind == "filter" && chains[0].name == "in"
        );
        change(netfilter, |change| change.flush_chain("in")).unwrap();
        assert!(!nft(&["list", "table", "inet", TABLE]).contains("why"));
    });
}

#[test]
fn a_translated_flow_is_forgotten_alone() {
    alone(|netfilter| {
        let mut batch = Batch::new();
        // RTM_NEWLINK with the index of `lo` and IFF_UP.
        let link = [0_u32, 1, 1, 1].map(u32::to_ne_bytes).concat();
        batch.request(16, 0, "set up link", "lo", |message| message.raw(&link));
        Socket::open(Protocol::Route).unwrap().execute(batch).unwrap();
        let (first, second) = (server(), server());
        translate(netfilter, 5353, first.local_addr().unwrap().port());
        let (client, other) = (client(5353), client(second.local_addr().unwrap().port()));
        let ask = |client: &UdpSocket, server: &UdpSocket| {
            client.send(b"?").unwrap();
            server.recv(&mut [0; 8]).is_ok()
        };
        assert!(ask(&client, &first) && ask(&other, &second));
        // The flow goes on where it went, whatever the rules say now.
        translate(netfilter, 5353, second.local_addr().unwrap().port());
        assert!(ask(&client, &first));
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        let target = (localhost, first.local_addr().unwrap().port());
        let _tcp = std::net::TcpListener::bind("127.0.0.1:9999").unwrap();
        let _tcp = std::net::TcpStream::connect("127.0.0.1:9999").unwrap();
        let count = netfilter.forget_connections(false, 17, |connection| connection.target == target);
        assert_eq!(count.unwrap(), 1);
        assert!(ask(&client, &second));
        let left = std::cell::RefCell::new(Vec::new());
        let note = |connection: &Connection| {
            left.borrow_mut().push(*connection);
            false
        };
        assert_eq!(netfilter.forget_connections(false, 17, note).unwrap(), 0);
        assert_eq!(netfilter.forget_connections(true, 17, note).unwrap(), 0);
        let left = left.into_inner();
        assert!(left.len() == 2 && left.iter().all(|connection| connection.protocol == 17), "{left:?}");
        let through = left.iter().find(|connection| connection.destination == (localhost, 5353)).unwrap();
        assert_eq!(through.target.1, second.local_addr().unwrap().port());
    });
}

fn server() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Long enough for any machine; only a failing test waits for it.
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    socket
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket
}

/// Leads a UDP port of the loopback address to another one.
fn translate(netfilter: &mut Netfilter, from: u16, to: u16) {
    let (r0, r1) = (Register(0), Register(1));
    change(netfilter, |change| {
        change.ensure_table();
        change.ensure_chain(&Chain { name: "out", base: Some((ChainKind::Nat, Hook::Output, -100)) });
        change.flush_chain("out");
        let rule = [
            Expression::Meta(Meta::TransportProtocol, r0),
            Expression::Compare(r0, Comparison::Equal, vec![17]),
            Expression::Payload { header: Header::Transport, offset: 2, length: 2, to: r0 },
            Expression::Compare(r0, Comparison::Equal, from.to_be_bytes().to_vec()),
            Expression::Load(r0, vec![127, 0, 0, 1]),
            Expression::Load(r1, to.to_be_bytes().to_vec()),
            Expression::DestinationNat { family: Family::Ipv4, address: r0, port: r1 },
        ];
        change.add_rule("out", &rule, "");
    })
    .unwrap();
}
