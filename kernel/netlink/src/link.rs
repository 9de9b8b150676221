//! Links: bridges, veth pairs, their properties.

use std::os::fd::{AsRawFd, BorrowedFd};

use tare_sys::netlink::attribute::{Attributes, read_u32, text};
use tare_sys::netlink::batch::{Batch, CREATE, DUMP, EXCLUSIVE, Message};
use tare_sys::netlink::{Result, Socket};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

/// `IF_OPER_UNKNOWN` (the loopback link).
const IF_OPER_UNKNOWN: u8 = 0;
/// `IF_OPER_UP`.
const IF_OPER_UP: u8 = 6;
/// `IFF_UP`.
const UP: u32 = 1;
/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
const ENODEV: i32 = 19;

/// A bridge to make.
#[derive(Debug, Clone)]
pub struct Bridge<'a> {
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Its hardware address. Given explicitly, or it would change with every port that comes and goes.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// A veth pair to make: one end here, as a port of a bridge, the other in another network namespace.
#[derive(Debug, Clone)]
pub struct Veth<'a> {
    /// Name of the end that stays.
    pub name: &'a str,
    /// Interface index of the bridge it becomes a port of.
    pub bridge: u32,
    /// MTU of both ends in bytes.
    pub mtu: u32,
    /// Name of the end that goes.
    pub peer_name: &'a str,
    /// Hardware address of the end that goes.
    pub peer_mac: [u8; 6],
    /// Where it goes.
    pub peer_netns: BorrowedFd<'a>,
}

/// A link with a hardware address of its own on another one, to make in another network namespace.
#[derive(Debug, Clone)]
pub struct Macvlan<'a> {
    /// Its name there.
    pub name: &'a str,
    /// Interface index, here, of the link it is on.
    pub parent: u32,
    /// `MACVLAN_MODE_*`.
    pub mode: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Hardware address; `None` leaves it to the kernel.
    pub mac: Option<[u8; 6]>,
    /// Where it goes.
    pub netns: BorrowedFd<'a>,
}

/// What a bridge does with one of its ports, and the link's alias.
#[derive(Debug, Clone)]
pub struct Port<'a> {
    /// The link's name.
    pub name: &'a str,
    /// Text shown by `ip link`, at most 255 bytes.
    pub alias: &'a str,
    /// A frame may leave through the port it came from.
    pub hairpin: bool,
    /// No frames between this port and other isolated ones.
    pub isolated: bool,
}

/// A link as the kernel lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `bridge`, `veth`…, empty for hardware.
    pub kind: String,
    /// Alias, empty without one.
    pub alias: String,
    /// Interface index of the bridge (or bond…) it belongs to.
    pub master: Option<u32>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Hardware address, for Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Administratively up.
    pub up: bool,
    /// Ready to pass packets (`IF_OPER_UP`), or of a kind that does not say.
    pub operational: bool,
}

/// Makes a bridge, up. Fails with `EEXIST` when the name is taken.
pub fn create_bridge(batch: &mut Batch, bridge: &Bridge<'_>) {
    batch.request(NEWLINK, CREATE | EXCLUSIVE, "create bridge", bridge.name, |message| {
        message.raw(&header(0, UP));
        message.text(IFLA_IFNAME, bridge.name);
        message.u32(IFLA_MTU, bridge.mtu);
        message.bytes(IFLA_ADDRESS, &bridge.mac);
        message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    });
}

/// Makes a veth pair, the near end up and in its bridge, the far end down in its namespace (the kernel refuses to make
/// it up: its other end does not exist yet).
///
/// When the far end is set up, look both ends and the bridge up with [`find`]: before that, or some later moment of the
/// kernel's choosing, they may drop what they should send.
pub fn create_veth(batch: &mut Batch, veth: &Veth<'_>) {
    batch.request(NEWLINK, CREATE | EXCLUSIVE, "create veth", veth.name, |message| {
        message.raw(&header(0, UP));
        message.text(IFLA_IFNAME, veth.name);
        message.u32(IFLA_MTU, veth.mtu);
        single_queue(message);
        message.u32(IFLA_MASTER, veth.bridge);
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| data.nest(VETH_INFO_PEER, |peer| peer_attributes(peer, veth)));
        });
    });
}

/// One queue each way instead of one per possible CPU: packets take the per-CPU backlog anyway, and each queue costs a
/// kernel object and time (a fifth of the whole with two CPUs).
fn single_queue(message: &mut Message) {
    message.u32(IFLA_NUM_TX_QUEUES, 1);
    message.u32(IFLA_NUM_RX_QUEUES, 1);
}

fn peer_attributes(peer: &mut Message, veth: &Veth<'_>) {
    peer.raw(&header(0, 0));
    peer.text(IFLA_IFNAME, veth.peer_name);
    peer.u32(IFLA_MTU, veth.mtu);
    peer.bytes(IFLA_ADDRESS, &veth.peer_mac);
    single_queue(peer);
    peer.u32(IFLA_NET_NS_FD, veth.peer_netns.as_raw_fd().cast_unsigned());
}

/// Makes a macvlan link, down.
pub fn create_macvlan(batch: &mut Batch, macvlan: &Macvlan<'_>) {
    batch.request(NEWLINK, CREATE | EXCLUSIVE, "create macvlan", macvlan.name, |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, macvlan.name);
        message.u32(IFLA_LINK, macvlan.parent);
        message.u32(IFLA_MTU, macvlan.mtu);
        if let Some(mac) = &macvlan.mac {
            message.bytes(IFLA_ADDRESS, mac);
        }
        message.u32(IFLA_NET_NS_FD, macvlan.netns.as_raw_fd().cast_unsigned());
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "macvlan");
            info.nest(IFLA_INFO_DATA, |data| data.u32(IFLA_MACVLAN_MODE, macvlan.mode));
        });
    });
}

/// Sets what a link that is a bridge port is for its bridge, and its alias.
pub fn set_port(batch: &mut Batch, port: &Port<'_>) {
    batch.request(NEWLINK, 0, "set bridge port", port.name, |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, port.name);
        message.bytes(IFLA_IFALIAS, port.alias.as_bytes());
        message.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge");
            info.nest(IFLA_INFO_SLAVE_DATA, |data| {
                data.u8(IFLA_BRPORT_MODE, port.hairpin.into());
                data.u8(IFLA_BRPORT_ISOLATED, port.isolated.into());
            });
        });
    });
}

/// Sets a link's alias.
pub fn set_alias(batch: &mut Batch, name: &str, alias: &str) {
    batch.request(NEWLINK, 0, "set alias of link", name, |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, name);
        message.bytes(IFLA_IFALIAS, alias.as_bytes());
    });
}

/// Sets a link's MTU (bytes).
pub fn set_mtu(batch: &mut Batch, name: &str, mtu: u32) {
    batch.request(NEWLINK, 0, "set MTU of link", name, |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, name);
        message.u32(IFLA_MTU, mtu);
    });
}

/// Sets a link's hardware address. With `arp_notify` on, that announces its addresses to the neighbours.
pub fn set_mac(batch: &mut Batch, index: u32, name: &str, mac: [u8; 6]) {
    batch.request(NEWLINK, 0, "set hardware address of link", name, |message| {
        message.raw(&header(index, 0));
        message.bytes(IFLA_ADDRESS, &mac);
    });
}

/// Sets a link up, by name.
pub fn set_up(batch: &mut Batch, name: &str) {
    batch.request(NEWLINK, 0, "set up link", name, |message| {
        message.raw(&header(0, UP));
        message.text(IFLA_IFNAME, name);
    });
}

/// Sets a link down.
pub fn set_down(batch: &mut Batch, link: &Link) {
    batch.request(NEWLINK, 0, "set down link", &link.name, |message| {
        let mut header = header(link.index, UP);
        // Of the flags and the mask of those that change, only the mask stays.
        header[8..12].fill(0);
        message.raw(&header);
    });
}

/// Moves a link to another network namespace, under a name that is free there, in one step. It loses its addresses.
pub fn move_to(batch: &mut Batch, link: &Link, netns: BorrowedFd<'_>, name: &str) {
    batch.request(NEWLINK, 0, "move to network namespace link", &link.name, |message| {
        message.raw(&header(link.index, 0));
        message.text(IFLA_IFNAME, name);
        message.u32(IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
    });
}

/// Sets the loopback link of a fresh network namespace up.
pub fn set_loopback_up(batch: &mut Batch) {
    /// The index of `lo` in every network namespace.
    const LOOPBACK: u32 = 1;
    batch.request(NEWLINK, 0, "set up link", "lo", |message| message.raw(&header(LOOPBACK, UP)));
}

/// Deletes a link (both ends of a veth pair). One that is not there is no failure.
pub fn delete(batch: &mut Batch, name: &str) {
    batch.tolerant_request(DELLINK, 0, "delete link", name, &[ENODEV], |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, name);
    });
}

/// All links.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut batch = Batch::new();
    batch.request(GETLINK, DUMP, "list", "links", |message| message.raw(&header(0, 0)));
    socket.query(batch, parse)
}

/// One link by name, `None` when there is none.
///
/// Since Linux 6.8 this also brings the link's queue and its bridge port to the state that its carrier has (the kernel
/// otherwise does that in the background, and drops what is sent meanwhile: an ARP request lost that way costs a second).
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut batch = Batch::new();
    batch.tolerant_request(GETLINK, 0, "look up link", name, &[ENODEV], |message| {
        message.raw(&header(0, 0));
        message.text(IFLA_IFNAME, name);
    });
    Ok(socket.query(batch, parse)?.pop())
}

/// `struct ifinfomsg`: family and type unspecified, index, flags and the mask of flags that change.
fn header(index: u32, flags: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Reads a message of the kernel; `None` if it is not about a link.
pub fn parse(kind: u16, payload: &[u8]) -> Option<Link> {
    if kind != NEWLINK {
        return None;
    }
    let up = read_u32(payload, 8)? & UP != 0;
    let mut link = Link { index: read_u32(payload, 4)?, up, operational: true, ..Link::default() };
    for (kind, value) in Attributes::after(payload, LINK_HEADER) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = read_u32(value, 0)?,
            IFLA_MASTER => link.master = read_u32(value, 0),
            IFLA_OPERSTATE => link.operational = matches!(value, [IF_OPER_UNKNOWN | IF_OPER_UP]),
            IFLA_IFALIAS => link.alias = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok(),
            IFLA_LINKINFO => link.kind = Attributes::new(value).get(IFLA_INFO_KIND).map(text).unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}
