//! The table as `nft` reads it back from the kernel, and what is left after things went wrong.

mod support;

use support::{Machine, bridge, endpoint, ip, machine, nft, open};
use tare_network::{
    BridgeSpec, Config, Error, Expected, HostLock, Network, Pools, PortMapping, Protocol, Reconciled, host_ifname,
};

fn mapping(protocol: Protocol, host_ip: &str, host_port: u16, container_ip: &str) -> PortMapping {
    PortMapping { protocol, host_ip: ip(host_ip), host_port, container_ip: ip(container_ip), container_port: 80 }
}

fn set(name: &str) -> String {
    let kind = if name.starts_with("source") { "map" } else { "set" };
    let text = nft(&["list", kind, "inet", &format!("tare-{}", support::INSTANCE), name]);
    let elements = text.split_once("elements = {").map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
    let mut elements: Vec<_> = elements.split(',').map(str::trim).filter(|element| !element.is_empty()).collect();
    elements.sort_unstable();
    elements.join(", ")
}

fn link_exists(name: &str) -> bool {
    std::process::Command::new("ip").args(["link", "show", name]).output().unwrap().status.success()
}

fn furnished(machine: &Machine) -> String {
    machine.network.ensure_bridge(&bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"])).unwrap();
    let published = [
        mapping(Protocol::Tcp, "0.0.0.0", 8080, "172.17.0.2"),
        mapping(Protocol::Udp, "192.0.2.1", 53, "172.17.0.2"),
        mapping(Protocol::Tcp, "::", 8080, "fd00:17::2"),
        mapping(Protocol::Sctp, "2001:db8::1", 9, "fd00:17::2"),
    ];
    machine.network.publish(&published).unwrap();
    machine.nft()
}

#[test]
fn sets_as_nft_shows_them() {
    machine(|machine| {
        let text = furnished(machine);
        let sets = text.split_once("\tchain").unwrap().0;
        insta::allow_duplicates! { insta::assert_snapshot!(sets, @r#"
        table inet tare-0badcafe {
        	set bridges {
        		type ifname
        		elements = { "tare0" }
        	}

        	set internal {
        		type ifname
        	}

        	set within {
        		type ifname . ifname
        		elements = { "tare0" . "tare0" }
        	}

        	set open4 {
        		type ifname
        	}

        	set open6 {
        		type ifname
        	}

        	set routed4 {
        		type ifname
        	}

        	set routed6 {
        		type ifname
        	}

        	set reached4 {
        		type ipv4_addr . inet_proto . inet_service
        	}

        	set reached6 {
        		type ipv6_addr . inet_proto . inet_service
        	}

        	set own4 {
        		type ifname . ipv4_addr
        		flags interval
        		elements = { "tare0" . 172.17.0.0/16 }
        	}

        	set own6 {
        		type ifname . ipv6_addr
        		flags interval
        		elements = { "tare0" . fd00:17::/64 }
        	}

        	set masquerade4 {
        		type ipv4_addr
        		flags interval
        		elements = { 172.17.0.0/16 }
        	}

        	set masquerade6 {
        		type ipv6_addr
        		flags interval
        		elements = { fd00:17::/64 }
        	}

        	map source4 {
        		type ipv4_addr : ipv4_addr
        		flags interval
        	}

        	map source6 {
        		type ipv6_addr : ipv6_addr
        		flags interval
        	}

        	map publish4 {
        		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        		elements = { 192.0.2.1 . udp . 53 : 172.17.0.2 . 80 }
        	}

        	map publish6 {
        		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
        		elements = { 2001:db8::1 . sctp . 9 : fd00:17::2 . 80 }
        	}

        	map anywhere4 {
        		type inet_proto . inet_service : ipv4_addr . inet_service
        		elements = { tcp . 8080 : 172.17.0.2 . 80 }
        	}

        	map anywhere6 {
        		type inet_proto . inet_service : ipv6_addr . inet_service
        		elements = { tcp . 8080 : fd00:17::2 . 80 }
        	}
        "#); }
    });
}

#[test]
fn chains_as_nft_shows_them() {
    machine(|machine| {
        let text = furnished(machine);
        let (_, chains) = text.split_once("\tchain").unwrap();
        insta::allow_duplicates! { insta::assert_snapshot!(chains, @r#"
         user {
        	}

        	chain loopback {
        		type filter hook prerouting priority raw; policy accept;
        		iifname @bridges ip daddr 127.0.0.0/8 drop comment "containers do not reach the host's loopback"
        		iifname @bridges ip saddr 127.0.0.0/8 drop comment "nor do they pretend to be it"
        	}

        	chain arriving {
        		type nat hook prerouting priority dstnat; policy accept;
        		ip daddr 127.0.0.0/8 return comment "loopback is not published to others"
        		dnat ip to ip daddr . meta l4proto . th dport map @publish4 comment "ports of one address"
        		meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @anywhere4 comment "ports of all addresses"
        		dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6 comment "ports of one address"
        		meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map @anywhere6 comment "ports of all addresses"
        	}

        	chain from_host {
        		type nat hook output priority -100; policy accept;
        		ip6 daddr ::1 return comment "::1 cannot be routed"
        		dnat ip to ip daddr . meta l4proto . th dport map @publish4 comment "ports of one address"
        		meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @anywhere4 comment "ports of all addresses"
        		dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6 comment "ports of one address"
        		meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map @anywhere6 comment "ports of all addresses"
        	}

        	chain leaving {
        		type nat hook postrouting priority srcnat; policy accept;
        		oifname . ip saddr @own4 ct status dnat masquerade comment "to itself through a published port"
        		oifname . ip saddr @own4 accept comment "within a network"
        		oifname @bridges ip saddr 127.0.0.0/8 masquerade comment "from the host's loopback"
        		ip saddr @masquerade4 masquerade comment "to the outside"
        		snat ip to ip saddr map @source4 comment "by an address of its own"
        		oifname . ip6 saddr @own6 ct status dnat masquerade comment "to itself through a published port"
        		oifname . ip6 saddr @own6 accept comment "within a network"
        		ip6 saddr @masquerade6 masquerade comment "to the outside"
        		snat ip6 to ip6 saddr map @source6 comment "by an address of its own"
        	}

        	chain forward {
        		type filter hook forward priority filter; policy accept;
        		jump user comment "the owner's rules"
        		ct state established,related accept comment "answers"
        		iifname . oifname @within accept comment "within a network"
        		iifname @internal drop comment "out of internal networks"
        		oifname @internal drop comment "into internal networks"
        		oifname @bridges ct status dnat accept comment "published ports"
        		meta nfproto ipv4 oifname @open4 accept comment "into open networks"
        		meta nfproto ipv6 oifname @open6 accept comment "into open networks"
        		ip daddr . meta l4proto . th dport @reached4 accept comment "ports of routed networks"
        		ip6 daddr . meta l4proto . th dport @reached6 accept comment "ports of routed networks"
        		meta l4proto icmp oifname @routed4 accept comment "pings into routed networks"
        		meta l4proto ipv6-icmp oifname @routed6 accept comment "pings into routed networks"
        		oifname @bridges drop comment "anything else into networks"
        	}
        }
        "#); }
    });
}

#[test]
fn bridges_come_and_go_alone() {
    machine(|machine| {
        let network = &machine.network;
        // Neighbouring subnets: where one range ends the next begins.
        let specs = [
            bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"]),
            bridge("br-a", &["172.18.0.0/16", "fd00:17:0:1::/64"]),
            BridgeSpec { internal: true, icc: false, ..bridge("br-b", &["172.19.0.0/16"]) },
        ];
        for spec in specs.iter().chain(&specs) {
            network.ensure_bridge(spec).unwrap();
        }
        assert_eq!(set("bridges"), r#""br-a", "br-b", "tare0""#);
        assert_eq!(set("internal"), r#""br-b""#);
        assert_eq!(set("within"), r#""br-a" . "br-a", "tare0" . "tare0""#);
        assert_eq!(set("masquerade4"), "172.17.0.0/16, 172.18.0.0/16");
        // Forgotten by a new process, known from the table.
        let next = open();
        next.remove_bridge("br-a").unwrap();
        next.remove_bridge("br-a").unwrap();
        network.remove_bridge("br-b").unwrap();
        assert!(!link_exists("br-a") && !link_exists("br-b"));
        for (name, left) in [
            ("bridges", r#""tare0""#),
            ("internal", ""),
            ("within", r#""tare0" . "tare0""#),
            ("own4", r#""tare0" . 172.17.0.0/16"#),
            ("own6", r#""tare0" . fd00:17::/64"#),
            ("masquerade4", "172.17.0.0/16"),
            ("masquerade6", "fd00:17::/64"),
        ] {
            assert_eq!(set(name), left, "{name}");
        }
    });
}

/// Subnets that leave by an address of their own are not masqueraded, and go with their bridge.
#[test]
fn addresses_to_leave_by() {
    machine(|machine| {
        let network = &machine.network;
        let plain = bridge("br-a", &["172.18.0.0/16", "fd00:18::/64"]);
        let (source_v4, source_v6) = ("192.0.2.7".parse().ok(), "2001:db8::7".parse().ok());
        let told = BridgeSpec { source_v4, source_v6, ..plain.clone() };
        network.ensure_bridge(&bridge("tare0", &["172.17.0.0/16"])).unwrap();
        for _ in 0..2 {
            network.ensure_bridge(&told).unwrap();
            assert_eq!(set("masquerade4"), "172.17.0.0/16");
            assert_eq!(set("source4"), "172.18.0.0/16 : 192.0.2.7");
            assert_eq!(set("source6"), "fd00:18::/64 : 2001:db8::7");
        }
        network.ensure_bridge(&plain).unwrap();
        assert_eq!((set("source4"), set("source6")), (String::new(), String::new()));
        assert_eq!(set("masquerade4"), "172.17.0.0/16, 172.18.0.0/16");
        network.ensure_bridge(&told).unwrap();
        // Forgotten by a new process, known from the table.
        open().remove_bridge("br-a").unwrap();
        assert_eq!((set("source4"), set("source6")), (String::new(), String::new()));
        assert_eq!(set("masquerade4"), "172.17.0.0/16");
    });
}

#[test]
fn a_changed_bridge_is_changed() {
    machine(|machine| {
        let before = bridge("tare0", &["172.17.0.0/16"]);
        let info = machine.network.ensure_bridge(&before).unwrap();
        assert_eq!((info.mtu, info.forwarding_enabled), (1500, true));
        let after = BridgeSpec { icc: false, mtu: Some(1400), ..bridge("tare0", &["10.1.0.0/24"]) };
        let info = machine.network.ensure_bridge(&after).unwrap();
        assert_eq!((info.mtu, info.forwarding_enabled), (1400, false));
        assert_eq!((set("within"), set("own4")), (String::new(), r#""tare0" . 10.1.0.0/24"#.to_owned()));
        let live: Vec<_> = machine.network.live_networks().unwrap().iter().map(ToString::to_string).collect();
        assert!(live.contains(&"10.1.0.0/24".to_owned()) && !live.contains(&"172.17.0.0/16".to_owned()), "{live:?}");
    });
}

/// A bridge without an address shows in no route, and its subnet is not for others all the same.
#[test]
fn other_engines_subnets_are_avoided() {
    machine(|machine| {
        let mut bare = bridge("tare0", &["172.17.0.0/16", "fd00:17::/64"]);
        bare.subnets.iter_mut().for_each(|subnet| subnet.gateway = None);
        machine.network.ensure_bridge(&bare).unwrap();
        let config = Config { instance: "00000002".into(), passages: false, ready_namespaces: 0 };
        let other = Network::open(config).unwrap();
        let live: Vec<_> = other.live_networks().unwrap().iter().map(ToString::to_string).collect();
        assert!(live.contains(&"172.17.0.0/16".to_owned()) && live.contains(&"fd00:17::/64".to_owned()), "{live:?}");
        let own: Vec<_> = machine.network.live_networks().unwrap().iter().map(ToString::to_string).collect();
        assert!(!own.contains(&"172.17.0.0/16".to_owned()), "{own:?}");
        machine.network.remove_bridge("tare0").unwrap();
        assert!(!other.live_networks().unwrap().iter().any(|network| network.to_string() == "172.17.0.0/16"));
    });
}

#[test]
fn foreign_links_are_left_alone() {
    machine(|machine| {
        let error = machine.network.ensure_bridge(&bridge("switch", &["172.17.0.0/16"])).unwrap_err();
        assert!(matches!(error, Error::NotOurs(_)), "{error}");
        assert!(!machine.network.bridge_is_free("switch").unwrap());
        assert!(machine.network.bridge_is_free("tare0").unwrap());
        machine.network.remove_bridge("switch").unwrap();
        assert!(link_exists("switch"));
        let spec = bridge("tare0", &["172.17.0.0/16"]);
        let netns = machine.network.new_netns().unwrap();
        let error = machine.network.attach(&netns, &endpoint("aaaaaaaaaa", &spec, 2)).unwrap_err();
        assert!(matches!(error, Error::NoBridge(_)), "{error}");
    });
}

#[test]
fn a_restart_removes_what_belongs_to_nothing() {
    machine(|machine| {
        let (a, b) = (bridge("tare0", &["172.17.0.0/16"]), bridge("br-b", &["172.18.0.0/16"]));
        machine.network.ensure_bridge(&a).unwrap();
        machine.network.ensure_bridge(&b).unwrap();
        let _kept = machine.container("aaaaaaaaaa", &a, 2);
        let _lost = machine.container("bbbbbbbbbb", &a, 3);
        let (known, unknown) =
            (mapping(Protocol::Tcp, "0.0.0.0", 80, "172.17.0.2"), mapping(Protocol::Tcp, "0.0.0.0", 81, "172.17.0.3"));
        let missing = mapping(Protocol::Tcp, "127.0.0.1", 82, "172.17.0.2");
        machine.network.publish(&[known, unknown]).unwrap();

        let next = open();
        next.ensure_bridge(&a).unwrap();
        let expected = Expected {
            bridges: vec!["tare0".into()],
            endpoint_ids: vec!["aaaaaaaaaa".into()],
            mappings: vec![known, missing],
        };
        let mut done = next.reconcile(&expected).unwrap();
        done.removed_links.sort_unstable();
        let removed_links = vec!["br-b".to_owned(), host_ifname("bbbbbbbbbb")];
        // Of br-b: the bridge, the pair, its subnet, both ends of the masqueraded range; and one port.
        assert_eq!(done, Reconciled { removed_links, removed_elements: 6, added_elements: 1 });
        assert!(link_exists(&host_ifname("aaaaaaaaaa")) && link_exists("switch"));
        assert_eq!(next.reconcile(&expected).unwrap(), Reconciled::default());
    });
}

#[test]
fn ports_are_replaced_and_forgotten_without_complaint() {
    machine(|machine| {
        machine.network.ensure_bridge(&bridge("tare0", &["172.17.0.0/16"])).unwrap();
        let (old, new) =
            (mapping(Protocol::Tcp, "0.0.0.0", 80, "172.17.0.2"), mapping(Protocol::Tcp, "0.0.0.0", 80, "172.17.0.3"));
        for published in [old, old, new] {
            machine.network.publish(&[published]).unwrap();
        }
        assert!(machine.nft().contains("tcp . 80 : 172.17.0.3 . 80"));
        machine.network.unpublish(&[new, mapping(Protocol::Udp, "::", 1, "fd00::1")]).unwrap();
        machine.network.unpublish(&[new]).unwrap();
        assert!(!machine.nft().contains("tcp . 80"));
    });
}

#[test]
fn thousands_of_ports() {
    machine(|machine| {
        let ports: Vec<_> = (1..=3000).map(|port| mapping(Protocol::Tcp, "0.0.0.0", port, "172.17.0.2")).collect();
        let count = |machine: &Machine| machine.nft().matches("tcp . ").count();
        machine.network.publish(&ports).unwrap();
        assert_eq!(count(machine), 3000);
        machine.network.unpublish(&ports[1..]).unwrap();
        assert_eq!(count(machine), 1);
    });
}

#[test]
fn firewalls_that_drop_are_named() {
    machine(|machine| {
        assert_eq!(machine.network.forward_conflicts().unwrap(), Vec::<String>::new());
        nft(&["add", "table", "ip", "filter"]);
        nft(&["add", "chain", "ip", "filter", "FORWARD", "{ type filter hook forward priority 0; policy drop; }"]);
        nft(&["add", "chain", "ip", "filter", "INPUT", "{ type filter hook input priority 0; policy drop; }"]);
        assert_eq!(machine.network.forward_conflicts().unwrap(), ["table ip filter chain FORWARD"]);
    });
}

#[test]
fn subnets_are_chosen_around_what_is_there() {
    machine(|machine| {
        machine.network.ensure_bridge(&bridge("tare0", &["172.17.0.0/16"])).unwrap();
        let lock = HostLock::acquire().unwrap();
        let subnet = machine.network.choose_subnet(&Pools::docker(), false, None, &[], &lock).unwrap();
        assert_eq!(subnet.to_string(), "172.18.0.0/16");
        let subnet = machine.network.choose_subnet(&Pools::docker(), false, Some(24), &[subnet], &lock).unwrap();
        assert_eq!(subnet.to_string(), "172.19.0.0/24");
        assert_eq!(machine.network.default_route_mtu().unwrap(), 1500);
    });
}

#[test]
fn removing_the_rules_removes_the_table_only() {
    machine(|machine| {
        nft(&["add", "table", "inet", "theirs"]);
        machine.network.remove_rules().unwrap();
        machine.network.remove_rules().unwrap();
        assert_eq!(nft(&["list", "tables"]).trim(), "table inet theirs");
    });
}
