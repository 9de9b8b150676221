//! Macvlan networks: containers straight on an interface of the host.

use std::process::Command;

use tare_testkit::{Console, with_both_clients};

with_both_clients!(containers_on_an_interface, modes_and_mistakes);

const SLEEP: &str = "busybox:1.29 sleep 1000";

/// An interface of the host with nothing behind it, gone at the end.
struct Parent(String);

impl Parent {
    fn new(c: &Console, number: u32) -> Self {
        let name = format!("mv{}{}{number}", &c.program()[..1], std::process::id() % 1_000_000);
        let parent = Self(name.clone());
        ip(&["link", "add", &name, "type", "veth", "peer", "name", &format!("{name}p")]);
        for end in [name.clone(), format!("{name}p")] {
            ip(&["link", "set", &end, "up"]);
        }
        parent
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        ip(&["link", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments:?}");
}

fn containers_on_an_interface(c: &Console) {
    let parent = Parent::new(c, 0);
    c.ok(&format!("network create -d macvlan -o parent={} --subnet 10.216.0.0/24 wire", parent.0));
    assert_eq!(
        c.ok("network inspect --format '{{.Driver}} {{.Options.parent}}' wire"),
        format!("macvlan {}", parent.0)
    );
    assert_eq!(c.ok("network ls --quiet --filter driver=macvlan").lines().count(), 1);
    c.ok(&format!("run -d --name one --network wire -p 80 {SLEEP}"));
    c.ok(&format!("run -d --name two --network name=wire,ip=10.216.0.77,mac-address=02:42:00:00:00:07 {SLEEP}"));
    assert_eq!(c.ok("port one"), "");
    let shown = "{{.NetworkSettings.Networks.wire.IPAddress}} {{.NetworkSettings.Networks.wire.Gateway}}";
    assert_eq!(c.ok(&format!("inspect --format '{shown}' one")), "10.216.0.2 10.216.0.1");
    assert!(c.ok("exec one ip route").contains("default via 10.216.0.1 dev eth0"));
    assert_eq!(c.ok("exec two cat /sys/class/net/eth0/address"), "02:42:00:00:00:07");
    assert!(c.ok("exec one ping -c 1 -w 20 two").contains("PING two (10.216.0.77)"));
    // And while it runs; its addresses can be had again.
    c.ok(&format!("run -d --name three {SLEEP}"));
    c.ok("network connect --ip 10.216.0.9 wire three");
    assert!(c.ok("exec three ping -c 1 -w 20 two").contains("1 packets received"));
    assert_eq!(c.ok("exec three ls /sys/class/net"), "eth0\neth1\nlo");
    c.ok("network disconnect wire three");
    assert_eq!(c.ok("exec three ls /sys/class/net"), "eth0\nlo");
    c.ok(&format!("run -d --name four --network wire --ip 10.216.0.9 {SLEEP}"));
    let refused = c.fails("network rm wire", 1);
    assert!(refused.contains("has active endpoints"), "{refused}");
    c.remove_all();
}

fn modes_and_mistakes(c: &Console) {
    let parent = Parent::new(c, 1);
    let create = |options: &str| format!("network create -d macvlan {options}");
    for (options, reason) in [
        ("-o parent=lo wrong", "loopback interface is not a valid macvlan parent link"),
        ("-o parent=nosuch wrong", "invalid subinterface vlan name nosuch, example formatting is eth0.10"),
        ("-o parent=lo -o macvlan_mode=bogus wrong", "requested macvlan mode 'bogus' is not valid"),
        ("-o parent=lo.7 wrong", "making VLAN interfaces is not supported yet"),
        ("wrong", "macvlan networks without a parent interface are not supported yet"),
    ] {
        let refused = c.fails(&create(options), 1);
        assert!(refused.contains(reason), "{refused}");
    }
    c.ok(&create(&format!("-o parent={} -o macvlan_mode=private --ipv6 apart", parent.0)));
    c.ok(&format!("run -d --name one --network apart {SLEEP}"));
    c.ok(&format!("run -d --name two --network apart {SLEEP}"));
    c.fails("exec one ping -c 1 -w 1 two", 1);
    assert!(c.ok("exec one ip -6 route").contains("default via fd"));
    c.ok("rm -f one two");
    c.ok(&create(&format!("-o parent={} -o macvlan_mode=passthru whole", parent.0)));
    let own = c.ok("run --rm --network whole busybox:1.29 cat /sys/class/net/eth0/address");
    let parents = std::fs::read_to_string(format!("/sys/class/net/{}/address", parent.0)).expect("an address");
    assert_eq!(own, parents.trim_end());
    c.ok("network prune --force");
    assert_eq!(c.ok("network ls --quiet --filter driver=macvlan"), "");
    c.remove_all();
}
