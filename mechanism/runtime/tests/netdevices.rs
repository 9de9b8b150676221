//! Network interfaces of the host that move into a container.

mod common;

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::Command;

use common::{Bundle, run, script, try_run, with};
use serde_json::json;
use tare_netlink::address::{self, Address};
use tare_netlink::{Batch, Protocol, Socket, link, netns};

/// Both ends of a veth pair in the calling thread's network namespace: `port0` in a bridge, and `dev0` with addresses.
fn make_device() {
    let mut socket = Socket::open(Protocol::Route).unwrap();
    let mut batch = Batch::new();
    link::create_bridge(&mut batch, &link::Bridge { name: "br", mac: [2, 0, 0, 0, 0, 1], mtu: 1400 });
    socket.execute(batch).unwrap();
    let bridge = link::find(&mut socket, "br").unwrap().unwrap().index;
    let here = netns::current().unwrap();
    let veth = link::Veth {
        name: "port0",
        bridge,
        mtu: 1333,
        peer_name: "dev0",
        peer_mac: [2, 0, 0, 0, 0, 2],
        peer_netns: here.as_fd(),
    };
    let mut batch = Batch::new();
    link::create_veth(&mut batch, &veth);
    socket.execute(batch).unwrap();
    let index = link::find(&mut socket, "dev0").unwrap().unwrap().index;
    let mut batch = Batch::new();
    address::add(&mut batch, &Address { index, address: Ipv4Addr::new(10, 9, 8, 7).into(), prefix: 24 });
    link::set_up(&mut batch, "dev0");
    socket.execute(batch).unwrap();
    let of_host = ["ip", "addr", "add", "127.0.0.33/32", "dev", "dev0", "scope", "host"];
    assert!(Command::new("/bin/busybox").args(of_host).status().unwrap().success());
}

#[test]
fn a_device_moves_with_what_is_its_own() {
    netns::run_in_new(|| {
        make_device();
        let bundle = Bundle::new();
        let devices = json!({"linux": {"netDevices": {"dev0": {"name": "eth7"}}}});
        // What is set for it is set when it is there.
        let sysctl = json!({"linux": {"sysctl": {"net.ipv4.conf.eth7.log_martians": "1"}}});
        let text = "ip addr show dev eth7; cat /proc/sys/net/ipv4/conf/eth7/log_martians";
        let output = run(&bundle, &with(with(script(text), devices), sysctl));
        for part in ["mtu 1333", "02:00:00:00:00:02", "inet 10.9.8.7/24", ",UP"] {
            assert!(output.contains(part), "{part} in {output}");
        }
        assert!(output.trim_end().ends_with("\n1"), "{output}");
        let mut socket = Socket::open(Protocol::Route).unwrap();
        assert_eq!(link::find(&mut socket, "dev0").unwrap(), None);
    })
    .unwrap();
}

#[test]
fn a_device_in_a_namespace_that_was_there_stays_there() {
    netns::run_in_new(|| {
        make_device();
        let other = netns::run_in_new(|| netns::current().unwrap()).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&other));
        let mut spec = script("ip addr show dev dev0");
        let linux = spec.linux.as_mut().unwrap();
        let network = linux.namespaces.iter_mut().find(|own| own.kind == tare_oci_runtime::NamespaceKind::Network);
        network.unwrap().path = path.into();
        let bundle = Bundle::new();
        let output = run(&bundle, &with(spec, json!({"linux": {"netDevices": {"dev0": {}}}})));
        assert!(output.contains("inet 10.9.8.7/24"), "{output}");
        let left = netns::run_in(other.as_fd(), || {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let index = link::find(&mut socket, "dev0").unwrap().unwrap().index;
            let all = address::list(&mut socket).unwrap();
            all.iter().filter(|own| own.index == index && own.address.is_ipv4()).count()
        });
        // The one that is valid on one machine only did not come along.
        assert_eq!(left.unwrap(), 1);
    })
    .unwrap();
}

#[test]
fn a_namespace_of_its_own_begins_with_its_loopback() {
    let bundle = Bundle::new();
    let text = "ip addr show dev lo";
    let output = run(&bundle, &script(text));
    assert!(output.contains("LOOPBACK,UP") && output.contains("inet 127.0.0.1/8"), "{output}");
    // One that was there is left as it is.
    let other = netns::run_in_new(|| netns::current().unwrap()).unwrap();
    let mut spec = script(text);
    let namespaces = &mut spec.linux.as_mut().unwrap().namespaces;
    let network = namespaces.iter_mut().find(|own| own.kind == tare_oci_runtime::NamespaceKind::Network).unwrap();
    network.path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&other)).into();
    assert!(!run(&bundle, &spec).contains("inet "));
}

#[test]
fn what_cannot_move_is_named() {
    let bundle = Bundle::new();
    let error = |devices: serde_json::Value| {
        let spec = with(script("true"), json!({"linux": {"netDevices": devices}}));
        try_run(&bundle, &spec).unwrap_err().to_string()
    };
    assert_eq!(error(json!({"missing0": {}})), "network device `missing0`: not found on the host");
    assert_eq!(error(json!({"a/b": {}})), "linux.netDevices: invalid network device name \"a/b\"");
    assert_eq!(error(json!({"a": {"name": ".."}})), "linux.netDevices: invalid network device name \"..\"");
    let mut spec = with(script("true"), json!({"linux": {"netDevices": {"a": {}}}}));
    let namespaces = &mut spec.linux.as_mut().unwrap().namespaces;
    namespaces.retain(|own| own.kind != tare_oci_runtime::NamespaceKind::Network);
    let error = try_run(&bundle, &spec).unwrap_err().to_string();
    assert_eq!(error, "linux.netDevices: only with a network namespace of its own");
}
