//! What is encoded here, decoded by another implementation of rtnetlink.

use std::os::fd::AsFd;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use tare_netlink::Batch;
use tare_netlink::{address, address::Address, link, path};

fn decode(batch: &Batch) -> String {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(batch.bytes()).unwrap();
    assert_eq!(message.header.length as usize, batch.size());
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => format!("{:#06x} {inner:?}", message.header.flags),
        other => panic!("{other:?}"),
    }
}

#[test]
fn links() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut batch = Batch::new();
    let veth = link::Veth {
        name: "veth1",
        bridge: 7,
        mtu: 1450,
        peer_name: "eth0",
        peer_mac: [2, 1, 2, 3, 4, 5],
        peer_netns: file.as_fd(),
    };
    link::create_veth(&mut batch, &veth);
    let text = decode(&batch);
    for part in [
        "0x0601 NewLink",
        r#"IfName("veth1")"#,
        "Mtu(1450)",
        "Controller(7)",
        r#"IfName("eth0")"#,
        "Address([2, 1, 2, 3, 4, 5])",
        "NetNsFd(",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn ports() {
    let mut batch = Batch::new();
    link::set_port(&mut batch, &link::Port { name: "veth1", alias: "a", hairpin: true, isolated: false });
    let text = decode(&batch);
    for part in [r#"IfAlias("a")"#, "HairpinMode(true)", "Isolated(false)", "Bridge"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn addresses_and_routes() {
    let mut batch = Batch::new();
    address::add(&mut batch, &Address { index: 3, address: "172.17.0.1".parse().unwrap(), prefix: 16 });
    let text = decode(&batch);
    for part in ["0x0601 NewAddress", "prefix_len: 16", "index: 3", "Local(172.17.0.1)", "Broadcast(172.17.255.255)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let mut batch = Batch::new();
    path::set_default(&mut batch, 3, "fd00::1".parse().unwrap());
    let text = decode(&batch);
    for part in ["0x0501 NewRoute", "Gateway(Inet6(fd00::1))", "Oif(3)", "destination_prefix_length: 0"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
