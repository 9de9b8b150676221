//! Rules in chains of other firewalls. What any chain at the forward hook drops is lost, whatever this engine's own table
//! accepts; and many machines have one that drops by policy: a Docker engine ran before, or ufw is on (adr 9).
//!
//! Each bridge gets two rules that accept, at the end of such a chain: so everything that the chain's owner has decided
//! about is decided already, and only the policy is not reached. This engine's own table still drops what is not
//! published. The rules have the form that `iptables` itself writes, so that it can go on with the chain, and carry the
//! engine's mark as their comment, by which they are found and removed.

use std::collections::BTreeSet;

use tare_nftables::expression::{Comparison, Expression, Meta, Register};
use tare_nftables::netfilter::{BaseChain, ListedRule};
use tare_nftables::value::{Family, Hook, Verdict, interface_name};
use tare_nftables::{Netfilter, Transaction};

use crate::error::Result;
use crate::network::Network;

const ENOENT: i32 = 2;

/// Directions, as the comments have them.
const DIRECTIONS: [(&str, Meta); 2] = [("from", Meta::InputInterface), ("to", Meta::OutputInterface)];

/// A chain of somebody else's that forwarded packets go through, and the rules in it that are this engine's.
struct Passage {
    family: Family,
    chain: BaseChain,
    rules: Vec<ListedRule>,
}

impl Passage {
    fn has(&self, comment: &str) -> bool {
        self.rules.iter().any(|rule| rule.comment == comment)
    }
}

impl Network {
    /// Chains of others that drop containers' packets unless told otherwise (firewalls, other engines): what they drop
    /// never arrives, whatever the rules here say. Without those in which there are passages.
    pub fn forward_conflicts(&self) -> Result<Vec<String>> {
        let bridges = self.bridges();
        let passages = list(&mut self.netfilter(), &self.mark)?;
        let is_open = |passage: &Passage| {
            let mut comments = bridges.iter().flat_map(|bridge| self.comments(bridge));
            !bridges.is_empty() && comments.all(|(comment, _)| passage.has(&comment))
        };
        let closed = passages.into_iter().filter(|passage| passage.chain.drops && !is_open(passage));
        Ok(closed
            .map(|Passage { family, chain, .. }| {
                format!("table {} {} chain {}", family.name(), chain.table, chain.name)
            })
            .collect())
    }

    /// Makes passages for all bridges where they are missing now, and removes those of bridges that are gone: others
    /// come and go, and write their chains anew.
    pub fn renew_passages(&self) -> Result<()> {
        let bridges = self.bridges();
        self.settle(&bridges, |bridge| !bridges.contains(bridge))
    }

    /// Makes the passages of one bridge. Without them a network is still good for much, so a failure is only logged.
    pub(crate) fn open_passages(&self, bridge: &str) {
        if let Err(error) = self.settle(&BTreeSet::from([bridge.to_owned()]), |_| false) {
            tracing::warn!("another firewall may drop packets of {bridge}: {error}");
        }
    }

    /// Removes the passages of one bridge.
    pub(crate) fn close_passages_of(&self, bridge: &str) {
        if let Err(error) = self.settle(&BTreeSet::new(), |own| own == bridge) {
            tracing::warn!("rules for {bridge} may be left in another firewall: {error}");
        }
    }

    /// Removes all passages.
    pub(crate) fn close_passages(&self) -> Result<()> {
        self.settle(&BTreeSet::new(), |_| true)
    }

    fn bridges(&self) -> BTreeSet<String> {
        self.state().bridges.keys().cloned().collect()
    }

    /// The comments of a bridge's rules.
    fn comments(&self, bridge: &str) -> [(String, Meta); 2] {
        DIRECTIONS.map(|(direction, meta)| (format!("{} {direction} {bridge}", self.mark), meta))
    }

    /// The bridge that a rule of ours is for.
    fn bridge_of<'a>(&self, comment: &'a str) -> Option<&'a str> {
        comment.strip_prefix(&self.mark)?.strip_prefix(' ')?.split_once(' ').map(|(_, bridge)| bridge)
    }

    fn settle(&self, wanted: &BTreeSet<String>, is_stale: impl Fn(&str) -> bool) -> Result<()> {
        let mut netfilter = self.netfilter();
        for passage in list(&mut netfilter, &self.mark)? {
            let open = self.passages && passage.chain.drops;
            let mut transaction = Transaction::new(passage.family, &passage.chain.table);
            for rule in &passage.rules {
                if !open || self.bridge_of(&rule.comment).is_some_and(&is_stale) {
                    transaction.delete_rule(&passage.chain.name, rule.handle);
                }
            }
            for bridge in wanted.iter().filter(|_| open) {
                for (comment, meta) in self.comments(bridge) {
                    if !passage.has(&comment) {
                        transaction.add_rule(&passage.chain.name, &accept(meta, bridge), &comment);
                    }
                }
            }
            match netfilter.commit(transaction) {
                // Its owner was faster; the next time it is as it should be.
                Err(error) if error.errno() == Some(ENOENT) => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// Where there may be passages.
fn list(netfilter: &mut Netfilter, mark: &str) -> Result<Vec<Passage>> {
    let mut passages = Vec::new();
    for chain in netfilter.base_chains()? {
        let Some(family) = Family::of_number(chain.family) else { continue };
        if chain.kind == "filter" && chain.is_at(Hook::Forward) && chain.table != mark {
            let mut rules = netfilter.rules(family, &chain.table, &chain.name)?;
            rules.retain(|rule| rule.comment.strip_prefix(mark).is_some_and(|rest| rest.starts_with(' ')));
            passages.push(Passage { family, chain, rules });
        }
    }
    Ok(passages)
}

/// As `iptables -i` and `-o` with `-j ACCEPT` say it.
fn accept(direction: Meta, bridge: &str) -> [Expression<'static>; 3] {
    /// The register that `iptables` uses, and expects.
    const REGISTER: Register = Register(0);
    [
        Expression::Meta(direction, REGISTER),
        Expression::Compare(REGISTER, Comparison::Equal, interface_name(bridge).to_vec()),
        Expression::Verdict(Verdict::Accept),
    ]
}
