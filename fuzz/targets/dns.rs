//! Queries to the name server of a network, and the files it answers from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_network::dns::zone::{Container, Network};
use tare_network::dns::{Transport, Zone, answer, failure};

fuzz_target!(|data: &[u8]| {
    let (file, query) = data.split_at(data.len() / 2);
    let text = String::from_utf8_lossy(file);
    let _ = Container::parse(&text).render();
    let network = Network::parse(&text);
    assert_eq!(Network::parse(&network.render()).render(), network.render());
    let own = Network::parse("network net\n172.18.0.2 web web.net\nfd00::2 web\n");
    let zone = Zone::new(vec![own, network], vec![("db".to_owned(), "web".to_owned())]);
    for query in [query, data] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let _ = answer(query, &zone, transport);
        }
        let _ = failure(query, 2);
    }
});
