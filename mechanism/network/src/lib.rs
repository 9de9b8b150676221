//! Container networks as a mechanism: bridges, endpoints, published ports, address pools, name files, embedded DNS.
//! Nothing here knows Docker's API; everything is synchronous, works in the network namespace of the calling thread
//! (a test calls `unshare(CLONE_NEWNET)` on its own thread and has a machine for itself) and is safe to call from
//! several threads at once (`&self`).
//!
//! Everything made on the host carries the instance ID: the nf_tables table is `tare-<instance>`, links have the alias
//! `tare-<instance>`; [`Network::reconcile`] and removal touch nothing else.
//!
//! # Signatures
//! ```ignore
//! // Addresses: `cidr::Cidr { addr: IpAddr, prefix: u8 }`, FromStr "172.17.0.0/16", Display, serde as a string.
//! impl Network {
//!     pub fn open(config: Config) -> Result<Network>;     // Config { instance: String (8 hex), ready_namespaces: usize }
//!     pub fn ensure_bridge(&self, spec: &BridgeSpec) -> Result<BridgeInfo>;      // idempotent; daemon start, network create
//!     pub fn remove_bridge(&self, bridge: &str) -> Result<()>;                   // idempotent
//!     pub fn bridge_is_free(&self, bridge: &str) -> Result<bool>;                // no such link, or it is ours
//!     pub fn choose_subnet(&self, pools: &Pools, taken: &[Cidr]) -> Result<(Cidr, SubnetLock)>; // drop the lock after ensure_bridge
//!     pub fn new_netns(&self) -> Result<Netns>;                                  // from the pool; lo up, sysctls set
//!     pub fn attach(&self, netns: &Netns, spec: &EndpointSpec) -> Result<EndpointInfo>;
//!     pub fn detach(&self, endpoint_id: &str) -> Result<()>;                     // ~16 ms in the kernel; never on the start path; idempotent
//!     pub fn publish(&self, mappings: &[PortMapping]) -> Result<()>;             // one transaction; idempotent
//!     pub fn unpublish(&self, mappings: &[PortMapping]) -> Result<()>;           // elements, then UDP conntrack entries; idempotent
//!     pub fn reconcile(&self, expected: &Expected) -> Result<Reconciled>;        // Expected { bridges, endpoint_ids, mappings }
//!     pub fn forward_conflicts(&self) -> Result<Vec<String>>;                    // foreign forward chains with policy drop
//! }
//! impl Netns { pub fn fd(&self) -> BorrowedFd; pub fn adopt(fd: OwnedFd) -> Netns; }   // adopt: a running container's /proc/PID/ns/net
//! pub struct BridgeSpec { bridge: String, subnets: Vec<BridgeSubnet { subnet: Cidr, gateway: IpAddr }>, mtu: Option<u32>,
//!                         icc: bool, internal: bool, masquerade: bool }
//! pub struct EndpointSpec { endpoint_id: String, bridge: String, ifname: String, mac: Option<[u8; 6]>,
//!                           ipv4: Option<Cidr>, ipv6: Option<Cidr>, gateway_v4: Option<Ipv4Addr>, gateway_v6: Option<Ipv6Addr>,
//!                           mtu: Option<u32>, sysctls.. }      // gateways None: no default route through this endpoint
//! pub struct EndpointInfo { host_ifname: String, mac: [u8; 6], mtu: u32 }
//! pub fn bridge_name(network_id: &str) -> String;             // br-<12>
//! pub fn host_ifname(endpoint_id: &str) -> String;            // veth<7>
//!
//! // Ports: one registry for the daemon.
//! impl Ports {
//!     pub fn new() -> Ports;
//!     pub fn bind(&self, owner: &str, target: &Target, requests: &[PortRequest]) -> Result<Vec<BoundPort>, PortError>;
//!     pub fn reserve(&self, owner: &str, mappings: &[PortMapping]);   // adopted containers: their shim holds the sockets
//!     pub fn release(&self, owner: &str);
//! }
//! pub struct Target { bridge: String, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr> }
//! pub struct PortRequest { protocol: Protocol, host_ip: Option<IpAddr>, host_port: HostPort, container_port: u16 }
//! pub enum HostPort { Any, Range(u16, u16) }                  // Range(8080, 8080) for one port
//! pub struct BoundPort { mapping: PortMapping, socket: Option<OwnedFd> /* None: SCTP without kernel support */,
//!                        relay: Option<SocketAddr> /* the shim relays what arrives on the socket to this address */ }
//! pub struct PortMapping { protocol, host_ip: IpAddr, host_port: u16, container_ip: IpAddr, container_port: u16 }
//!     // host_ip and container_ip of different families: relayed only, publish() skips it
//! pub enum PortError { Allocated { host_ip, host_port, owner }, InUse { .. }, NotAvailable { .. }, Exhausted, Bind { .., errno } }
//!
//! // Addresses: `Pools` (which subnet), `Ipam` (which address in it).
//! impl Pools { pub fn docker() -> Pools; pub fn new(pools: &[(Cidr, u8)]) -> Pools; pub fn choose(&self, taken: &[Cidr], live: &[Cidr]) -> Option<Cidr> }
//! impl Ipam {
//!     pub fn new(subnet: Cidr, range: Option<Cidr>, gateway: Option<IpAddr>, aux: &[IpAddr]) -> Result<Ipam, IpamError>;
//!     pub fn gateway(&self) -> IpAddr;
//!     pub fn allocate(&mut self) -> Result<IpAddr, IpamError>;              // lowest free
//!     pub fn allocate_exact(&mut self, address: IpAddr) -> Result<(), IpamError>;
//!     pub fn release(&mut self, address: IpAddr);
//! }
//! pub enum IpamError { InUse(addr), OutOfSubnet(addr, subnet), Exhausted(subnet), .. }
//!
//! // Files: module `resolv` and `hosts`, pure text, plus the in-place rewrite of a link's line.
//! resolv::render(host_text: &str, spec: &resolv::Spec { embedded: bool, ipv6: bool, nameservers, search, options }) -> Rendered { text, upstream }
//! hosts::render(&hosts::Spec { ipv6, extra: &[(name, ip)], own: &[(ip, names)], links }) -> String
//! hosts::update_alias_in_place(path, alias, new_ip) -> io::Result<bool>
//! pub fn default_route_mtu() -> u32
//!
//! // Embedded DNS: module `dns`.
//! dns::answer(query: &[u8], zone: &dns::Zone, transport) -> dns::Answer { Reply(Vec<u8>) | Forward | Drop }
//! impl Network { pub fn dns_sockets(&self, netns: &Netns) -> Result<DnsSockets { udp: OwnedFd, tcp: OwnedFd }> }
//! ```
