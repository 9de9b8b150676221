//! Macvlan: a container's interface with a hardware address of its own on an interface of the host. Packets go straight
//! there, past the firewall's tables; the host itself does not reach them, as the kernel has it.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use tare_netlink::{Batch, link};

use crate::bridge::{check_name, random_mac};
use crate::endpoint::{Interface, bring_up, vanished};
use crate::error::Result;
use crate::netns::Netns;
use crate::network::Network;

/// How long a parent may be taken: the interface of a container that has ended goes with its network namespace, which the
/// kernel takes apart when it gets to it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Wait between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Who reaches whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Each other and the outside.
    #[default]
    Bridge,
    /// Each other through the switch outside, if that sends back what comes.
    Vepa,
    /// The outside alone.
    Private,
    /// The interface is the parent, for one container alone.
    Passthru,
}

impl MacvlanMode {
    /// `MACVLAN_MODE_*`.
    fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
        }
    }
}

/// An interface for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacvlanSpec {
    /// The host's interface that it is on.
    pub parent: String,
    /// Who reaches whom.
    pub mode: MacvlanMode,
    /// What it is. Without a hardware address and with [`MacvlanMode::Passthru`] it has the parent's.
    pub interface: Interface,
}

impl Network {
    /// Whether the host has an interface of this name.
    pub fn has_interface(&self, name: &str) -> Result<bool> {
        Ok(link::find(&mut self.route(), name)?.is_some())
    }

    /// Makes an interface inside a network namespace; returns its hardware address. After a failure nothing is left.
    pub fn attach_macvlan(&self, netns: &Netns, spec: &MacvlanSpec) -> Result<[u8; 6]> {
        check_name(&spec.interface.name)?;
        let parent = link::find(&mut self.route(), &spec.parent)?.ok_or_else(|| vanished(&spec.parent))?;
        let mac = match (spec.interface.mac, spec.mode) {
            (None, MacvlanMode::Passthru) => None,
            (None, _) => Some(random_mac()?),
            (given, _) => given,
        };
        let macvlan = link::Macvlan {
            name: &spec.interface.name,
            parent: parent.index,
            mode: spec.mode.number(),
            mtu: parent.mtu,
            mac,
            netns: netns.fd(),
        };
        let start = Instant::now();
        loop {
            match self.make_macvlan(netns, &macvlan, &spec.interface) {
                Err(error) if error.errno().is_some_and(is_busy) && start.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                made => return Ok(mac.or(made?).unwrap_or_default()),
            }
        }
    }

    /// Returns the hardware address it has.
    fn make_macvlan(
        &self,
        netns: &Netns,
        macvlan: &link::Macvlan<'_>,
        interface: &Interface,
    ) -> Result<Option<[u8; 6]>> {
        netns.inside(|inside| {
            inside.default_ipv6(interface.ipv6.is_some())?;
            let mut batch = Batch::new();
            link::create_macvlan(&mut batch, macvlan);
            let made = self.route().execute(batch);
            inside.default_ipv6(true)?;
            made?;
            let own = bring_up(inside, interface).inspect_err(|_| {
                let mut batch = Batch::new();
                link::delete(&mut batch, macvlan.name);
                let _ = inside.route.execute(batch);
            })?;
            Ok(own.mac)
        })
    }

    /// Removes an interface that was made inside. One that is not there is no failure.
    pub fn detach_macvlan(&self, netns: &Netns, ifname: &str) -> Result<()> {
        netns.inside(|inside| {
            let mut batch = Batch::new();
            link::delete(&mut batch, ifname);
            Ok(inside.route.execute(batch)?)
        })
    }
}

/// Whether the parent serves one that wants to be alone, or others where this one does (`EINVAL`), or somebody has the
/// hardware address (`EBUSY`, `EADDRINUSE`).
fn is_busy(errno: i32) -> bool {
    [Errno::INVAL, Errno::BUSY, Errno::ADDRINUSE].iter().any(|busy| busy.raw_os_error() == errno)
}
