//! The socket: commits transactions, lists what is there.

use tare_sys::netlink::attribute::{Attributes, read_be32, text};
use tare_sys::netlink::batch::DUMP;
use tare_sys::netlink::{Batch, Error, Protocol, Result, Socket};

use crate::transaction::{COMMENT, Transaction, message_type};
use crate::value::{Family, Hook};

/// `NFNL_SUBSYS_NFTABLES`.
pub(crate) const NFTABLES: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;
/// Bytes of `struct nfgenmsg`.
pub(crate) const GENERIC_HEADER: usize = 4;

const GETTABLE: u8 = 1;
const NEWTABLE: u8 = 0;
const GETCHAIN: u8 = 4;
const NEWCHAIN: u8 = 3;
const GETRULE: u8 = 7;
const NEWRULE: u8 = 6;
const GETSETELEM: u8 = 13;
const NEWSETELEM: u8 = 12;
const ENOENT: i32 = 2;

/// A connection to the netfilter of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netfilter {
    pub(crate) socket: Socket,
}

/// A base chain of any table, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    /// `NFPROTO_*` of its table.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its hook's number, see [`Hook`].
    pub hook: u32,
    /// `filter`, `nat`, `route`.
    pub kind: String,
    /// Packets that it does not decide about are dropped.
    pub drops: bool,
}

impl BaseChain {
    /// True when it is called at a hook of IPv4 or IPv6.
    pub fn is_at(&self, hook: Hook) -> bool {
        Family::of_number(self.family).is_some() && self.hook == hook as u32
    }
}

/// A rule as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRule {
    /// By which it can be deleted.
    pub handle: u64,
    /// Its comment; empty without one.
    pub comment: String,
}

/// An element as listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedElement {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// The last key of a range in a set of concatenations.
    pub last: Option<Vec<u8>>,
    /// True for the element that marks the end of a range.
    pub ends_range: bool,
    /// What it maps to; empty for sets and verdicts.
    pub value: Vec<u8>,
}

impl Netfilter {
    /// Opens a connection.
    pub fn open() -> Result<Self> {
        Socket::open(Protocol::Netfilter).map(|socket| Self { socket })
    }

    /// Applies a transaction: all of it, or nothing when it fails.
    pub fn commit(&mut self, transaction: Transaction<'_>) -> Result<()> {
        self.socket.execute_transaction(transaction.batch, &frame(BATCH_BEGIN), &frame(BATCH_END))
    }

    /// The elements of a set; `None` when the table or set does not exist.
    pub fn elements(&mut self, family: Family, table: &str, set: &str) -> Result<Option<Vec<ListedElement>>> {
        let mut batch = Batch::new();
        batch.request(message_type(GETSETELEM), DUMP, "list set", set, |message| {
            message.raw(&[family.number(), 0, 0, 0]);
            message.text(1, table);
            message.text(2, set);
        });
        let lists = self
            .socket
            .query(batch, |kind, payload| (kind == message_type(NEWSETELEM)).then(|| parse_elements(payload)));
        match lists {
            Ok(lists) => Ok(Some(lists.into_iter().flatten().collect())),
            Err(Error::Refused { errno: ENOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The base chains of all tables.
    pub fn base_chains(&mut self) -> Result<Vec<BaseChain>> {
        let mut batch = Batch::new();
        batch.request(message_type(GETCHAIN), DUMP, "list", "chains", |message| message.raw(&[0; GENERIC_HEADER]));
        self.socket
            .query(batch, |kind, payload| if kind == message_type(NEWCHAIN) { parse_chain(payload) } else { None })
    }

    /// The rules of a chain in their order; none when there is no such chain.
    pub fn rules(&mut self, family: Family, table: &str, chain: &str) -> Result<Vec<ListedRule>> {
        let mut batch = Batch::new();
        batch.request(message_type(GETRULE), DUMP, "list chain", chain, |message| {
            message.raw(&[family.number(), 0, 0, 0]);
            message.text(1, table);
            message.text(2, chain);
        });
        let rules = self
            .socket
            .query(batch, |kind, payload| if kind == message_type(NEWRULE) { parse_rule(payload) } else { None });
        match rules {
            Err(Error::Refused { errno: ENOENT, .. }) => Ok(Vec::new()),
            result => result,
        }
    }

    /// The names of all tables of a family.
    pub fn tables(&mut self, family: Family) -> Result<Vec<String>> {
        let mut batch = Batch::new();
        batch.request(message_type(GETTABLE), DUMP, "list", "tables", |message| {
            message.raw(&[family.number(), 0, 0, 0])
        });
        self.socket.query(batch, |kind, payload| {
            (kind == message_type(NEWTABLE)).then(|| Attributes::after(payload, GENERIC_HEADER).get(1).map(text))?
        })
    }
}

/// A message that begins or ends a transaction: header and `struct nfgenmsg` with the subsystem.
fn frame(kind: u16) -> Vec<u8> {
    let mut batch = Batch::new();
    batch.request(kind, 0, "transaction", "", |message| message.raw(&[0, 0, 0, NFTABLES]));
    batch.bytes().to_vec()
}

/// Reads whatever the kernel may say, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub fn parse(payload: &[u8]) {
    let _ = (parse_elements(payload).len(), parse_rule(payload).is_some(), parse_chain(payload).is_some());
}

fn parse_elements(payload: &[u8]) -> Vec<ListedElement> {
    let list = Attributes::after(payload, GENERIC_HEADER).get(3).unwrap_or_default();
    Attributes::new(list).filter_map(|(_, element)| parse_element(element)).collect()
}

fn parse_element(element: &[u8]) -> Option<ListedElement> {
    let attributes = Attributes::new(element);
    let value = |kind| attributes.get(kind).and_then(|nested| Attributes::new(nested).get(1)).map(<[u8]>::to_vec);
    let flags = attributes.get(3).and_then(|bytes| read_be32(bytes, 0)).unwrap_or_default();
    let last = value(10);
    Some(ListedElement { key: value(1)?, last, ends_range: flags & 1 != 0, value: value(2).unwrap_or_default() })
}

fn parse_rule(payload: &[u8]) -> Option<ListedRule> {
    let attributes = Attributes::after(payload, GENERIC_HEADER);
    let handle = attributes.get(3)?.try_into().map(u64::from_be_bytes).ok()?;
    let comment = attributes.get(7).and_then(comment).or_else(|| attributes.get(4).and_then(iptables_comment));
    Some(ListedRule { handle, comment: comment.unwrap_or_default() })
}

/// The comment in a rule's user data, a list of type, length and value.
fn comment(mut data: &[u8]) -> Option<String> {
    loop {
        let (&[kind, length], rest) = data.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(length.into())?;
        if kind == COMMENT {
            return Some(text(value));
        }
        data = rest;
    }
}

/// The comment in a rule that `iptables-restore` has written: an expression `match` with the name `comment`, whose data
/// is the text.
fn iptables_comment(expressions: &[u8]) -> Option<String> {
    Attributes::new(expressions).find_map(|(_, expression)| {
        let expression = Attributes::new(expression);
        let data = Attributes::new(expression.get(2)?);
        let is_comment = text(expression.get(1)?) == "match" && text(data.get(1)?) == "comment";
        is_comment.then(|| data.get(3).map(text))?
    })
}

fn parse_chain(payload: &[u8]) -> Option<BaseChain> {
    let attributes = Attributes::after(payload, GENERIC_HEADER);
    let hook = Attributes::new(attributes.get(4)?);
    Some(BaseChain {
        family: *payload.first()?,
        table: text(attributes.get(1)?),
        name: text(attributes.get(3)?),
        hook: read_be32(hook.get(1)?, 0)?,
        kind: attributes.get(7).map(text).unwrap_or_default(),
        drops: attributes.get(5).and_then(|bytes| read_be32(bytes, 0)) == Some(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(fill: impl FnOnce(&mut tare_sys::netlink::Message)) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.request(0, 0, "", "", |message| {
            message.raw(&[0; GENERIC_HEADER]);
            message.be64(3, 7);
            fill(message);
        });
        batch.bytes().get(NETLINK_HEADER..).unwrap().to_vec()
    }

    /// Bytes of `struct nlmsghdr`.
    const NETLINK_HEADER: usize = 16;

    #[test]
    fn comments_of_nft_and_of_iptables() {
        let rule = |comment: &str| Some(ListedRule { handle: 7, comment: comment.into() });
        assert_eq!(parse_rule(&payload(|_| {})), rule(""));
        // Something else comes first; and a length that is too long.
        let nft = payload(|message| message.bytes(7, b"\x01\x01x\x00\x03hi\0"));
        assert_eq!(parse_rule(&nft), rule("hi"));
        assert_eq!(parse_rule(&payload(|message| message.bytes(7, b"\x00\x09hi\0"))), rule(""));
        let iptables = payload(|message| {
            message.nest(4, |list| {
                for (name, info) in [("other", "no"), ("comment", "hi")] {
                    list.nest(1, |expression| {
                        expression.text(1, "match");
                        expression.nest(2, |data| {
                            data.text(1, name);
                            data.be32(2, 0);
                            data.bytes(3, &[info.as_bytes(), &[0; 254]].concat());
                        });
                    });
                }
            });
        });
        assert_eq!(parse_rule(&iptables), rule("hi"));
    }
}
