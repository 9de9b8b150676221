//! The rules. Each is a list of phrases: conditions, then what happens.

use std::net::Ipv6Addr;

use tare_nftables::Transaction;
use tare_nftables::expression::{
    Comparison, Connection, DESTINATION_CHANGED, ESTABLISHED, Expression, Header, LOCAL_ADDRESS, Meta, RELATED,
    Register,
};
use tare_nftables::value::{Family, Verdict};

use super::{
    ANYWHERE_4, ANYWHERE_6, ARRIVING, BRIDGES, CHAINS, FORWARD, FROM_HOST, INTERNAL, LEAVING, LOOPBACK, MASQUERADED_4,
    MASQUERADED_6, OPEN_4, OPEN_6, OWN_4, OWN_6, PUBLISHED_4, PUBLISHED_6, REACHED_4, REACHED_6, ROUTED_4, ROUTED_6,
    SETS, SOURCES_4, SOURCES_6, USER, WITHIN,
};

/// `IPPROTO_ICMP` and `IPPROTO_ICMPV6`.
const ICMP: u8 = 1;
const ICMP_6: u8 = 58;

type Phrase = Vec<Expression<'static>>;

/// A rule: where, why, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: &'static str,
    /// Shown by `nft`.
    pub comment: &'static str,
    /// What it does.
    pub expressions: Phrase,
}

/// Makes or renews the whole table: rules are replaced in one step, so that no packet meets half of them; the contents
/// of sets and the owner's chain stay.
pub fn table(table: &str) -> Transaction<'_> {
    let mut transaction = Transaction::new(super::FAMILY, table);
    transaction.ensure_table();
    for set in SETS {
        transaction.ensure_set(set);
    }
    for chain in CHAINS {
        transaction.ensure_chain(chain);
        if chain.name != USER {
            transaction.flush_chain(chain.name);
        }
    }
    for rule in rules() {
        transaction.add_rule(rule.chain, &rule.expressions, rule.comment);
    }
    transaction
}

/// All rules in order.
pub fn rules() -> Vec<Rule> {
    [loopback(), arriving(), from_host(), leaving(), forward()].concat()
}

/// Before anything else: bridges have `route_localnet`, and without this a container could reach what listens on the
/// host's loopback address only (CVE-2020-8558).
fn loopback() -> Vec<Rule> {
    let from_bridges = |address: Phrase| [in_set(Meta::InputInterface, BRIDGES), ipv4(), address, vec![drop()]];
    vec![
        rule(LOOPBACK, "containers do not reach the host's loopback", &from_bridges(destination_is_loopback_4())),
        rule(LOOPBACK, "nor do they pretend to be it", &from_bridges(source_is_loopback_4())),
    ]
}

/// Published ports, for packets from outside and from containers. Loopback addresses are for processes of the host
/// alone, even where an interface has `route_localnet`.
fn arriving() -> Vec<Rule> {
    let skip = [ipv4(), destination_is_loopback_4(), vec![Expression::Verdict(Verdict::Return)]];
    [vec![rule(ARRIVING, "loopback is not published to others", &skip)], published(ARRIVING)].concat()
}

/// Published ports, for processes of the host. IPv6 cannot route its loopback address; the port's socket relays that.
fn from_host() -> Vec<Rule> {
    let skip = [ipv6(), destination_is_loopback_6(), vec![Expression::Verdict(Verdict::Return)]];
    [vec![rule(FROM_HOST, "::1 cannot be routed", &skip)], published(FROM_HOST)].concat()
}

fn published(chain: &'static str) -> Vec<Rule> {
    let one = |version: Phrase, key: Phrase, map, family| [version, key, translate(map, family)];
    let any =
        |version: Phrase, map, family| [version, destination_is_local(), protocol_and_port(0), translate(map, family)];
    vec![
        rule(chain, "ports of one address", &one(ipv4(), address_protocol_port_4(), PUBLISHED_4, Family::Ipv4)),
        rule(chain, "ports of all addresses", &any(ipv4(), ANYWHERE_4, Family::Ipv4)),
        rule(chain, "ports of one address", &one(ipv6(), address_protocol_port_6(), PUBLISHED_6, Family::Ipv6)),
        rule(chain, "ports of all addresses", &any(ipv6(), ANYWHERE_6, Family::Ipv6)),
    ]
}

/// Source addresses. Never by input interface: it is unknown here when bridged packets pass through netfilter.
fn leaving() -> Vec<Rule> {
    let own_4 = || vec![output_interface(0), source_4(4), lookup(OWN_4)];
    let own_6 = || vec![output_interface(0), source_6(4), lookup(OWN_6)];
    let accept = || vec![Expression::Verdict(Verdict::Accept)];
    let masquerade = || vec![Expression::Masquerade];
    let as_told = |map, family| {
        let address = Expression::Map { map, from: Register(0), to: Register(0) };
        vec![address, Expression::SourceNat { family, address: Register(0), port: None }]
    };
    let loopback = [in_set(Meta::OutputInterface, BRIDGES), ipv4(), source_is_loopback_4(), masquerade()];
    vec![
        rule(LEAVING, "to itself through a published port", &[ipv4(), own_4(), translated(), masquerade()]),
        rule(LEAVING, "within a network", &[ipv4(), own_4(), accept()]),
        rule(LEAVING, "from the host's loopback", &loopback),
        rule(LEAVING, "to the outside", &[ipv4(), vec![source_4(0), lookup(MASQUERADED_4)], masquerade()]),
        rule(LEAVING, "by an address of its own", &[ipv4(), vec![source_4(0)], as_told(SOURCES_4, Family::Ipv4)]),
        rule(LEAVING, "to itself through a published port", &[ipv6(), own_6(), translated(), masquerade()]),
        rule(LEAVING, "within a network", &[ipv6(), own_6(), accept()]),
        rule(LEAVING, "to the outside", &[ipv6(), vec![source_6(0), lookup(MASQUERADED_6)], masquerade()]),
        rule(LEAVING, "by an address of its own", &[ipv6(), vec![source_6(0)], as_told(SOURCES_6, Family::Ipv6)]),
    ]
}

/// Who may talk to whom. What reaches a container from outside its network is an answer or came through a published
/// port; knowing a container's address and having a route to it is not enough.
fn forward() -> Vec<Rule> {
    let accept = || vec![Expression::Verdict(Verdict::Accept)];
    let within = vec![meta(Meta::InputInterface, 0), output_interface(4), lookup(WITHIN)];
    let drop = || vec![drop()];
    let to_bridges = || in_set(Meta::OutputInterface, BRIDGES);
    vec![
        rule(FORWARD, "the owner's rules", &[vec![Expression::Verdict(Verdict::Jump(USER))]]),
        rule(FORWARD, "answers", &[answers(), accept()]),
        rule(FORWARD, "within a network", &[within, accept()]),
        rule(FORWARD, "out of internal networks", &[in_set(Meta::InputInterface, INTERNAL), drop()]),
        rule(FORWARD, "into internal networks", &[in_set(Meta::OutputInterface, INTERNAL), drop()]),
        rule(FORWARD, "published ports", &[to_bridges(), translated(), accept()]),
        rule(FORWARD, "into open networks", &[ipv4(), in_set(Meta::OutputInterface, OPEN_4), accept()]),
        rule(FORWARD, "into open networks", &[ipv6(), in_set(Meta::OutputInterface, OPEN_6), accept()]),
        rule(
            FORWARD,
            "ports of routed networks",
            &[ipv4(), address_protocol_port_4(), vec![lookup(REACHED_4)], accept()],
        ),
        rule(
            FORWARD,
            "ports of routed networks",
            &[ipv6(), address_protocol_port_6(), vec![lookup(REACHED_6)], accept()],
        ),
        rule(
            FORWARD,
            "pings into routed networks",
            &[ipv4(), pings(ICMP), in_set(Meta::OutputInterface, ROUTED_4), accept()],
        ),
        rule(
            FORWARD,
            "pings into routed networks",
            &[ipv6(), pings(ICMP_6), in_set(Meta::OutputInterface, ROUTED_6), accept()],
        ),
        rule(FORWARD, "anything else into networks", &[to_bridges(), drop()]),
    ]
}

fn pings(protocol: u8) -> Phrase {
    vec![meta(Meta::TransportProtocol, 0), equal(0, &[protocol])]
}

fn rule(chain: &'static str, comment: &'static str, phrases: &[Phrase]) -> Rule {
    Rule { chain, comment, expressions: phrases.concat() }
}

fn drop() -> Expression<'static> {
    Expression::Verdict(Verdict::Drop)
}

fn meta(key: Meta, register: u8) -> Expression<'static> {
    Expression::Meta(key, Register(register))
}

fn equal(register: u8, value: &[u8]) -> Expression<'static> {
    Expression::Compare(Register(register), Comparison::Equal, value.to_vec())
}

fn lookup(set: &'static str) -> Expression<'static> {
    Expression::Lookup { set, from: Register(0), absent: false }
}

fn in_set(key: Meta, set: &'static str) -> Phrase {
    vec![meta(key, 0), lookup(set)]
}

fn output_interface(register: u8) -> Expression<'static> {
    meta(Meta::OutputInterface, register)
}

fn ipv4() -> Phrase {
    vec![meta(Meta::NetworkProtocol, 0), equal(0, &[Family::Ipv4.number()])]
}

fn ipv6() -> Phrase {
    vec![meta(Meta::NetworkProtocol, 0), equal(0, &[Family::Ipv6.number()])]
}

fn network_header(offset: u32, length: u32, register: u8) -> Expression<'static> {
    Expression::Payload { header: Header::Network, offset, length, to: Register(register) }
}

fn source_4(register: u8) -> Expression<'static> {
    network_header(12, 4, register)
}

fn source_6(register: u8) -> Expression<'static> {
    network_header(8, 16, register)
}

/// The first byte of the source is 127.
fn source_is_loopback_4() -> Phrase {
    vec![network_header(12, 1, 0), equal(0, &[127])]
}

fn destination_is_loopback_4() -> Phrase {
    vec![network_header(16, 1, 0), equal(0, &[127])]
}

fn destination_is_loopback_6() -> Phrase {
    vec![network_header(24, 16, 0), equal(0, &Ipv6Addr::LOCALHOST.octets())]
}

fn destination_is_local() -> Phrase {
    vec![Expression::DestinationKind(Register(0)), equal(0, &LOCAL_ADDRESS)]
}

/// Protocol and destination port, one register each; the key of [`ANYWHERE_4`].
fn protocol_and_port(register: u8) -> Phrase {
    let port = Expression::Payload { header: Header::Transport, offset: 2, length: 2, to: Register(register + 1) };
    vec![meta(Meta::TransportProtocol, register), port]
}

fn address_protocol_port_4() -> Phrase {
    [vec![network_header(16, 4, 0)], protocol_and_port(1)].concat()
}

fn address_protocol_port_6() -> Phrase {
    [vec![network_header(24, 16, 0)], protocol_and_port(4)].concat()
}

/// Sends the connection to the address and port that a map has.
fn translate(map: &'static str, family: Family) -> Phrase {
    let port = Register(if family == Family::Ipv4 { 1 } else { 4 });
    vec![
        Expression::Map { map, from: Register(0), to: Register(0) },
        Expression::DestinationNat { family, address: Register(0), port },
    ]
}

fn any_bit(key: Connection, bits: u32) -> Phrase {
    vec![
        Expression::Connection(key, Register(0)),
        Expression::Mask(Register(0), bits.to_ne_bytes().to_vec()),
        Expression::Compare(Register(0), Comparison::NotEqual, vec![0; 4]),
    ]
}

fn answers() -> Phrase {
    any_bit(Connection::State, ESTABLISHED | RELATED)
}

/// The connection's destination was translated.
fn translated() -> Phrase {
    any_bit(Connection::Status, DESTINATION_CHANGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(chain: &str) -> String {
        let line = |rule: Rule| {
            let steps: Vec<_> = rule.expressions.iter().map(ToString::to_string).collect();
            format!("{}  # {}", steps.join("; "), rule.comment)
        };
        let rules: Vec<_> = rules().into_iter().filter(|rule| rule.chain == chain).map(line).collect();
        rules.join("\n")
    }

    #[test]
    fn the_plan_of_forwarding() {
        insta::assert_snapshot!(plan(FORWARD), @"
        jump user  # the owner's rules
        r0 = ConnectionState; r0 &= 0x06000000; r0 != 0x00000000; accept  # answers
        r0 = InputInterface; r4 = OutputInterface; r0 in @within; accept  # within a network
        r0 = InputInterface; r0 in @internal; drop  # out of internal networks
        r0 = OutputInterface; r0 in @internal; drop  # into internal networks
        r0 = OutputInterface; r0 in @bridges; r0 = ConnectionStatus; r0 &= 0x20000000; r0 != 0x00000000; accept  # published ports
        r0 = NetworkProtocol; r0 == 0x02; r0 = OutputInterface; r0 in @open4; accept  # into open networks
        r0 = NetworkProtocol; r0 == 0x0a; r0 = OutputInterface; r0 in @open6; accept  # into open networks
        r0 = NetworkProtocol; r0 == 0x02; r0 = Network[16;4]; r1 = TransportProtocol; r2 = Transport[2;2]; r0 in @reached4; accept  # ports of routed networks
        r0 = NetworkProtocol; r0 == 0x0a; r0 = Network[24;16]; r4 = TransportProtocol; r5 = Transport[2;2]; r0 in @reached6; accept  # ports of routed networks
        r0 = NetworkProtocol; r0 == 0x02; r0 = TransportProtocol; r0 == 0x01; r0 = OutputInterface; r0 in @routed4; accept  # pings into routed networks
        r0 = NetworkProtocol; r0 == 0x0a; r0 = TransportProtocol; r0 == 0x3a; r0 = OutputInterface; r0 in @routed6; accept  # pings into routed networks
        r0 = OutputInterface; r0 in @bridges; drop  # anything else into networks
        ");
    }

    #[test]
    fn the_plan_of_arrivals() {
        insta::assert_snapshot!(plan(ARRIVING), @"
        r0 = NetworkProtocol; r0 == 0x02; r0 = Network[16;1]; r0 == 0x7f; return  # loopback is not published to others
        r0 = NetworkProtocol; r0 == 0x02; r0 = Network[16;4]; r1 = TransportProtocol; r2 = Transport[2;2]; r0 = @publish4[r0]; dnat Ipv4 r0:r1  # ports of one address
        r0 = NetworkProtocol; r0 == 0x02; r0 = DestinationKind; r0 == 0x02000000; r0 = TransportProtocol; r1 = Transport[2;2]; r0 = @anywhere4[r0]; dnat Ipv4 r0:r1  # ports of all addresses
        r0 = NetworkProtocol; r0 == 0x0a; r0 = Network[24;16]; r4 = TransportProtocol; r5 = Transport[2;2]; r0 = @publish6[r0]; dnat Ipv6 r0:r4  # ports of one address
        r0 = NetworkProtocol; r0 == 0x0a; r0 = DestinationKind; r0 == 0x02000000; r0 = TransportProtocol; r1 = Transport[2;2]; r0 = @anywhere6[r0]; dnat Ipv6 r0:r4  # ports of all addresses
        ");
    }

    #[test]
    fn the_owners_chain_is_never_touched() {
        assert!(rules().iter().all(|rule| rule.chain != USER));
        let transaction = table("t");
        let flush = |name: &str| {
            let mut other = Transaction::new(super::super::FAMILY, "t");
            other.flush_chain(name);
            other.bytes().to_vec()
        };
        let contains = |part: &[u8]| transaction.bytes().windows(part.len()).any(|window| window == part);
        assert!(contains(&flush(FORWARD)) && !contains(&flush(USER)));
    }
}
