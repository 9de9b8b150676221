//! The embedded name server of user networks, without the serving: whoever holds a container's sockets (its shim) reads
//! queries, asks [`answer`], and sends the reply or forwards the query.
//!
//! - [`zone`]: names and addresses, in files that are replaced while they are served;
//! - [`message`]: as much of the wire format (RFC 1035, RFC 6891) as that takes;
//! - [`sockets`]: the server's sockets inside a container.

mod message;
pub mod sockets;
pub mod zone;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use message::{ANY, ANY_CLASS, IN, Malformed, PTR, Query, Record};
pub use message::{FORMAT_ERROR, NAME_ERROR, SERVER_FAILURE, failure};
pub use sockets::DnsSockets;
pub use zone::{Zone, ZoneFiles};

/// How a query came, which limits the size of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: replies are cut to what the client takes, and say so.
    Udp,
    /// A connection.
    Tcp,
}

/// What to do about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Someone else knows: send the query on as it is, or [`failure`] back when there is no one.
    Forward,
    /// Not a query: no answer, which could start a loop.
    Drop,
}

/// Answers a query from a zone. A known name is never forwarded, whatever is asked about it: what is not there (an IPv6
/// address, mail) is answered with nothing.
pub fn answer(query: &[u8], zone: &Zone, transport: Transport) -> Answer {
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(Malformed::NotAQuery) => return Answer::Drop,
        Err(Malformed::Question) => return failure(query, FORMAT_ERROR).map_or(Answer::Drop, Answer::Reply),
    };
    if !query.is_standard || ![IN, ANY_CLASS].contains(&query.class) {
        return Answer::Forward;
    }
    if query.kind == PTR
        && let Some(address) = reverse(&query.name)
    {
        return match zone.name_of(address) {
            Some(name) => Answer::Reply(query.reply(&[Record::Pointer(name)], transport)),
            None => Answer::Forward,
        };
    }
    let Some(mut addresses) = zone.addresses_of(&query.name) else { return Answer::Forward };
    let wanted = |address: &IpAddr| match query.kind {
        message::A => address.is_ipv4(),
        message::AAAA => address.is_ipv6(),
        kind => kind == ANY,
    };
    addresses.retain(wanted);
    // Clients take the first one: the load is spread by the query's ID, which is random.
    let count = addresses.len().max(1);
    addresses.rotate_left(usize::from(query.id) % count);
    let records: Vec<_> = addresses.into_iter().map(Record::Address).collect();
    Answer::Reply(query.reply(&records, transport))
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = labels.rsplit('.');
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let mut bits = 0_u128;
    let mut count = 0;
    for label in name.strip_suffix(".ip6.arpa")?.rsplit('.') {
        let digit = u8::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        bits = bits << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use simple_dns::rdata::RData;
    use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

    use super::*;

    const NET: &str =
        "network back\n172.18.0.2 web www 0123456789ab\nfd00::2 web www\n172.18.0.3 db www\n172.18.0.4 v4only\n";
    const OTHER: &str = "network front\n172.19.0.2 web\n172.19.0.3 proxy\n";

    fn zone() -> Zone {
        Zone::new(
            [NET, OTHER].map(zone::Network::parse).into(),
            vec![zone::Link { alias: "cache".into(), target: "db".into(), network: None }],
        )
    }

    fn query(name: &str, kind: QTYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(Name::new(name).unwrap(), kind, QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    /// The reply as text: code, flags, records.
    fn ask(name: &str, kind: TYPE) -> String {
        match answer(&query(name, QTYPE::TYPE(kind)), &zone(), Transport::Udp) {
            Answer::Forward => "forward".into(),
            Answer::Drop => "drop".into(),
            Answer::Reply(reply) => describe(&reply),
        }
    }

    fn describe(reply: &[u8]) -> String {
        let packet = Packet::parse(reply).unwrap();
        assert_eq!(packet.id(), 7);
        assert!(
            packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE)
        );
        let records = packet.answers.iter().map(|record| {
            assert_eq!((record.ttl, record.class), (600, CLASS::IN));
            match &record.rdata {
                RData::A(a) => Ipv4Addr::from(a.address).to_string(),
                RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).to_string(),
                RData::PTR(ptr) => ptr.0.to_string(),
                other => format!("{other:?}"),
            }
        });
        let records: BTreeSet<_> = records.collect();
        let cut = if packet.has_flags(PacketFlag::TRUNCATION) { " cut" } else { "" };
        format!("{:?}{cut} {}", packet.rcode(), records.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names() {
        for (name, kind, expected) in [
            // The first network that knows a name decides, unless the name says which.
            ("web", TYPE::A, "NoError 172.18.0.2"),
            ("WeB", TYPE::A, "NoError 172.18.0.2"),
            ("web.front", TYPE::A, "NoError 172.19.0.2"),
            ("web.back", TYPE::AAAA, "NoError fd00::2"),
            ("0123456789ab", TYPE::A, "NoError 172.18.0.2"),
            ("proxy", TYPE::A, "NoError 172.19.0.3"),
            // An alias of several.
            ("www", TYPE::A, "NoError 172.18.0.2 172.18.0.3"),
            // A link.
            ("cache", TYPE::A, "NoError 172.18.0.3"),
            // Known, but not like this.
            ("v4only", TYPE::AAAA, "NoError "),
            ("web", TYPE::MX, "NoError "),
            ("web", TYPE::TXT, "NoError "),
            // Unknown.
            ("nobody", TYPE::A, "forward"),
            ("web.nowhere", TYPE::A, "forward"),
            ("web.example.org", TYPE::A, "forward"),
            ("back", TYPE::A, "forward"),
        ] {
            assert_eq!(ask(name, kind), expected, "{name} {kind:?}");
        }
    }

    #[test]
    fn addresses() {
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        for (name, expected) in [
            ("2.0.18.172.in-addr.arpa", "NoError web.back"),
            ("3.0.19.172.in-addr.arpa", "NoError proxy.front"),
            (v6, "NoError web.back"),
            ("9.0.18.172.in-addr.arpa", "forward"),
            ("0.18.172.in-addr.arpa", "forward"),
            ("1.2.0.18.172.in-addr.arpa", "forward"),
            ("x.0.18.172.in-addr.arpa", "forward"),
            ("2.0.ip6.arpa", "forward"),
        ] {
            assert_eq!(ask(name, TYPE::PTR), expected, "{name}");
        }
    }

    #[test]
    fn every_address_comes_first_for_someone() {
        let mut firsts = BTreeSet::new();
        for id in 0..4 {
            let mut bytes = query("www", QTYPE::TYPE(TYPE::A));
            bytes[1] = id;
            let Answer::Reply(reply) = answer(&bytes, &zone(), Transport::Udp) else { panic!() };
            let packet = Packet::parse(&reply).unwrap();
            let RData::A(first) = &packet.answers[0].rdata else { panic!() };
            firsts.insert(first.address);
        }
        assert_eq!(firsts.len(), 2);
    }

    #[test]
    fn long_answers_are_cut_for_datagrams_only() {
        let mut text = String::from("network n\n");
        (0..200).for_each(|host| text.push_str(&format!("10.0.0.{host} many\n")));
        let zone = Zone::new(vec![zone::Network::parse(&text)], Vec::new());
        let bytes = query("many", QTYPE::TYPE(TYPE::A));
        let count = |bytes: &[u8], transport| {
            let Answer::Reply(reply) = answer(bytes, &zone, transport) else { panic!() };
            let packet = Packet::parse(&reply).unwrap();
            (reply.len(), packet.has_flags(PacketFlag::TRUNCATION), packet.answers.len(), packet.opt().is_some())
        };
        let (length, cut, _, edns) = count(&bytes, Transport::Udp);
        assert!(length <= 512 && cut && !edns);
        let (_, cut, answers, _) = count(&bytes, Transport::Tcp);
        assert!(!cut && answers == 200);
        let mut packet = Packet::parse(&bytes).unwrap();
        *packet.opt_mut() = Some(simple_dns::rdata::OPT { opt_codes: vec![], udp_packet_size: 4096, version: 0 });
        let (length, cut, answers, edns) = count(&packet.build_bytes_vec().unwrap(), Transport::Udp);
        assert!(length > 512 && !cut && answers == 200 && edns);
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let good = query("web", QTYPE::TYPE(TYPE::A));
        assert_eq!(answer(&good[..11], &zone(), Transport::Udp), Answer::Drop);
        let mut reply = good.clone();
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, &zone(), Transport::Udp), Answer::Drop);
        // A question that ends early, and one that points back at itself.
        for question in [&[3, b'w'][..], &[0xc0, 12, 0, 1, 0, 1]] {
            let bytes = [&good[..12], question].concat();
            let Answer::Reply(reply) = answer(&bytes, &zone(), Transport::Udp) else { panic!() };
            assert_eq!(Packet::parse(&reply).unwrap().rcode(), RCODE::FormatError);
        }
        let Some(reply) = failure(&good, SERVER_FAILURE) else { panic!() };
        assert_eq!(describe(&reply), "ServerFailure ");
        assert_eq!(failure(b"short", SERVER_FAILURE), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&bytes, &zone(), Transport::Udp);
            let _ = failure(&bytes, SERVER_FAILURE);
        }

        #[test]
        fn damaged_queries_get_readable_replies(place in 0..40_usize, value: u8, tcp: bool) {
            let mut bytes = query("web.back", QTYPE::TYPE(TYPE::A));
            let place = place % bytes.len();
            bytes[place] = value;
            let transport = if tcp { Transport::Tcp } else { Transport::Udp };
            if let Answer::Reply(reply) = answer(&bytes, &zone(), transport) {
                // Labels may have become anything; the other parser need not like them, but the header must hold.
                prop_assert!(reply.len() >= 12 && reply[..2] == bytes[..2] && reply[2] & 0x80 != 0);
            }
        }
    }
}
