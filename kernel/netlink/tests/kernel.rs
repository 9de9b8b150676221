//! Against the kernel, as root, each test in network namespaces of its own: nothing of the machine is touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use tare_netlink::netns::{current, run_in, run_in_new};
use tare_netlink::{Batch, Protocol, Socket};
use tare_netlink::{address, address::Address, link, path};

fn alone<T: Send>(test: impl FnOnce(&mut Socket) -> T + Send) -> T {
    run_in_new(|| test(&mut Socket::open(Protocol::Route).unwrap())).unwrap()
}

fn new_netns() -> OwnedFd {
    run_in_new(|| current().unwrap()).unwrap()
}

fn with_bridge(socket: &mut Socket) -> link::Link {
    let mut batch = Batch::new();
    link::create_bridge(&mut batch, &link::Bridge { name: "br", mac: [2, 0, 0, 0, 0, 1], mtu: 1400 });
    link::set_alias(&mut batch, "br", "mine");
    socket.execute(batch).unwrap();
    link::find(socket, "br").unwrap().unwrap()
}

fn create_port(socket: &mut Socket, bridge: u32, netns: &OwnedFd) {
    let mut batch = Batch::new();
    let veth = link::Veth {
        name: "veth0",
        bridge,
        mtu: 1400,
        peer_name: "eth0",
        peer_mac: [2, 0, 0, 0, 0, 2],
        peer_netns: netns.as_fd(),
    };
    link::create_veth(&mut batch, &veth);
    link::set_port(&mut batch, &link::Port { name: "veth0", alias: "port", hairpin: true, isolated: true });
    socket.execute(batch).unwrap();
}

#[test]
fn a_bridge_with_addresses() {
    alone(|socket| {
        let bridge = with_bridge(socket);
        assert_eq!(
            (bridge.kind.as_str(), bridge.alias.as_str(), bridge.mtu, bridge.up, bridge.mac),
            ("bridge", "mine", 1400, true, Some([2, 0, 0, 0, 0, 1]))
        );
        let v4 = Address { index: bridge.index, address: Ipv4Addr::new(10, 9, 0, 1).into(), prefix: 16 };
        let v6 = Address { index: bridge.index, address: "fd00::1".parse().unwrap(), prefix: 64 };
        for _ in 0..2 {
            let mut batch = Batch::new();
            address::add(&mut batch, &v4);
            address::add(&mut batch, &v6);
            socket.execute(batch).unwrap();
        }
        let found = address::list(socket).unwrap();
        assert!(found.contains(&v4) && found.contains(&v6), "{found:?}");
        let networks = path::list(socket).unwrap();
        assert!(networks.iter().any(|route| route.destination == Some((Ipv4Addr::new(10, 9, 0, 0).into(), 16))));
        for _ in 0..2 {
            let mut batch = Batch::new();
            address::remove(&mut batch, &v4);
            socket.execute(batch).unwrap();
        }
        assert!(!address::list(socket).unwrap().contains(&v4));
    });
}

#[test]
fn a_veth_pair_across_namespaces() {
    alone(|socket| {
        let bridge = with_bridge(socket);
        let netns = new_netns();
        create_port(socket, bridge.index, &netns);
        let port = link::find(socket, "veth0").unwrap().unwrap();
        assert_eq!((port.master, port.alias.as_str(), port.up), (Some(bridge.index), "port", true));
        let read = |what| std::fs::read_to_string(format!("/sys/class/net/veth0/brport/{what}")).unwrap_or_default();
        // /sys shows the links of the mounting namespace; only where this is visible it says what was asked for.
        assert!(["1\n", ""].contains(&read("hairpin_mode").as_str()));

        run_in(netns.as_fd(), || {
            let mut inside = Socket::open(Protocol::Route).unwrap();
            let eth0 = link::find(&mut inside, "eth0").unwrap().unwrap();
            assert_eq!((eth0.mtu, eth0.mac, eth0.up), (1400, Some([2, 0, 0, 0, 0, 2]), false));
            let gateway: IpAddr = Ipv4Addr::new(10, 9, 0, 1).into();
            let mut batch = Batch::new();
            link::set_loopback_up(&mut batch);
            let own = Address { index: eth0.index, address: Ipv4Addr::new(10, 9, 0, 2).into(), prefix: 16 };
            address::add(&mut batch, &own);
            link::set_up(&mut batch, "eth0");
            link::set_mac(&mut batch, eth0.index, "eth0", [2, 0, 0, 0, 0, 3]);
            path::set_default(&mut batch, eth0.index, gateway);
            inside.execute(batch).unwrap();
            let default =
                path::list(&mut inside).unwrap().into_iter().find(|route| route.destination.is_none() && !route.ipv6);
            assert_eq!(default.and_then(|route| route.gateway), Some(gateway));
            for _ in 0..2 {
                let mut batch = Batch::new();
                path::remove_default(&mut batch, false);
                inside.execute(batch).unwrap();
            }
            assert!(link::find(&mut inside, "lo").unwrap().unwrap().up);
        })
        .unwrap();

        for name in ["veth0", "br"] {
            assert!(link::find(socket, name).unwrap().unwrap().operational, "{name}");
        }
        for _ in 0..2 {
            let mut batch = Batch::new();
            link::delete(&mut batch, "veth0");
            socket.execute(batch).unwrap();
        }
        assert_eq!(link::find(socket, "veth0").unwrap(), None);
    });
}

#[test]
fn refusals_name_step_object_and_errno() {
    alone(|socket| {
        with_bridge(socket);
        let mut batch = Batch::new();
        link::create_bridge(&mut batch, &link::Bridge { name: "br", mac: [2, 0, 0, 0, 0, 1], mtu: 1400 });
        link::set_up(&mut batch, "nowhere");
        link::set_mtu(&mut batch, "br", 1300);
        assert_eq!(socket.execute(batch).unwrap_err().to_string(), "create bridge `br`: EEXIST");
        // The requests after the refused ones were executed all the same.
        assert_eq!(link::find(socket, "br").unwrap().unwrap().mtu, 1300);
        let mut batch = Batch::new();
        path::set_default(&mut batch, 1, Ipv6Addr::LOCALHOST.into());
        let error = socket.execute(batch).unwrap_err();
        assert!(error.to_string().starts_with("set default route `::1`: E"), "{error}");
        // And the socket is not confused by what went wrong before.
        assert_eq!(link::find(socket, "nowhere").unwrap(), None);
    });
}

#[test]
fn more_requests_than_fit_in_one_call() {
    alone(|socket| {
        let bridge = with_bridge(socket);
        let mut batch = Batch::new();
        for host in 0..600_u16 {
            let [high, low] = host.to_be_bytes();
            let own = Address { index: bridge.index, address: Ipv4Addr::new(10, 9, high, low).into(), prefix: 32 };
            address::add(&mut batch, &own);
        }
        socket.execute(batch).unwrap();
        assert_eq!(address::list(socket).unwrap().iter().filter(|own| own.address.is_ipv4()).count(), 600);
    });
}
