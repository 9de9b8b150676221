//! The socket: commits transactions, lists what is there.

use tare_sys::netlink::attribute::{Attributes, read_be32, text};
use tare_sys::netlink::batch::DUMP;
use tare_sys::netlink::{Batch, Error, Protocol, Result, Socket};

use crate::transaction::{Transaction, message_type};
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
        let ip = [Family::Inet, Family::Ipv4, Family::Ipv6].iter().any(|family| family.number() == self.family);
        ip && self.hook == hook as u32
    }
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
