//! Changes to one table. Nothing is sent here; [`crate::Netfilter::commit`] does, all or nothing.

use tare_sys::netlink::batch::{APPEND, CREATE};
use tare_sys::netlink::{Batch, Message};

use crate::expression::{Expression, encode_verdict};
use crate::value::{ChainKind, DataType, Family, Hook, Verdict};

const NEWTABLE: u8 = 0;
const DELTABLE: u8 = 2;
const NEWCHAIN: u8 = 3;
const NEWRULE: u8 = 6;
const DELRULE: u8 = 8;
const NEWSET: u8 = 9;
const NEWSETELEM: u8 = 12;
const DELSETELEM: u8 = 14;

const NFTA_LIST_ELEM: u16 = 1;
/// Bits by which `nft` shifts the type number of each part of a concatenation (`TYPE_BITS`).
const TYPE_BITS: u32 = 6;
/// `NFT_DATA_VERDICT`.
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Bytes of a verdict in a set: `NFT_REG_SIZE`.
const VERDICT_LENGTH: u32 = 16;
/// Elements per message, so that the list stays below the 64 KiB of an attribute with the longest keys in use (about
/// 130 bytes each).
const ELEMENTS_PER_MESSAGE: usize = 400;
/// `NFTNL_UDATA_RULE_COMMENT`.
pub(crate) const COMMENT: u8 = 0;
/// Comments of rules are cut here; the kernel takes 256 bytes of user data.
const COMMENT_BYTES: usize = 128;

/// A chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where the kernel calls it; `None` for a chain that others jump to.
    pub base: Option<(ChainKind, Hook, i32)>,
}

/// A set, map or verdict map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// The parts of its keys.
    pub key: &'a [DataType],
    /// What keys map to.
    pub value: Value<'a>,
    /// Keys are ranges.
    pub interval: bool,
}

/// What the keys of a set map to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: a set.
    Nothing,
    /// Values of these parts.
    Data(&'a [DataType]),
    /// Verdicts.
    Verdict,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// The key, or the first one of a range.
    pub key: Vec<u8>,
    /// The last key of a range in a set of concatenations.
    pub last: Option<Vec<u8>>,
    /// Marks the first key *after* a range, in a set whose keys have one part.
    pub ends_range: bool,
    /// What it maps to.
    pub value: ElementValue<'a>,
}

/// What an element maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElementValue<'a> {
    /// Nothing.
    Nothing,
    /// Data.
    Data(Vec<u8>),
    /// A verdict.
    Verdict(Verdict<'a>),
}

impl Element<'_> {
    /// An element of a plain set.
    pub fn of_set(key: Vec<u8>) -> Self {
        Self { key, last: None, ends_range: false, value: ElementValue::Nothing }
    }

    /// An element of a map.
    pub fn of_map(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, last: None, ends_range: false, value: ElementValue::Data(value) }
    }

    /// An element of a set of concatenations with ranges; both ends belong to it.
    pub fn of_ranges(first: Vec<u8>, last: Vec<u8>) -> Self {
        Self { key: first, last: Some(last), ends_range: false, value: ElementValue::Nothing }
    }
}

impl<'a> Element<'a> {
    /// An element of a map of verdicts.
    pub fn of_verdicts(key: Vec<u8>, verdict: Verdict<'a>) -> Self {
        Self { key, last: None, ends_range: false, value: ElementValue::Verdict(verdict) }
    }
}

/// Changes to one table, in order.
#[derive(Debug)]
pub struct Transaction<'a> {
    family: Family,
    table: &'a str,
    pub(crate) batch: Batch,
}

impl<'a> Transaction<'a> {
    /// No changes to a table yet.
    pub fn new(family: Family, table: &'a str) -> Self {
        Self { family, table, batch: Batch::new() }
    }

    /// True when there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The encoded messages, for tests.
    pub fn bytes(&self) -> &[u8] {
        self.batch.bytes()
    }

    fn message(
        &mut self,
        kind: u8,
        flags: u16,
        step: &'static str,
        object: &str,
        fill: impl FnOnce(&mut Message, &str),
    ) {
        let (family, table) = (self.family, self.table);
        self.batch.request(message_type(kind), flags, step, object, |message| {
            message.raw(&[family.number(), 0, 0, 0]);
            fill(message, table);
        });
    }

    /// Makes the table unless it exists.
    pub fn ensure_table(&mut self) {
        let name = self.table;
        self.message(NEWTABLE, CREATE, "add table", name, |message, table| message.text(1, table));
    }

    /// Deletes the table with everything in it; fails with `ENOENT` when it does not exist.
    pub fn delete_table(&mut self) {
        let name = self.table;
        self.message(DELTABLE, 0, "delete table", name, |message, table| message.text(1, table));
    }

    /// Makes a chain unless it exists.
    pub fn ensure_chain(&mut self, chain: &Chain<'_>) {
        self.message(NEWCHAIN, CREATE, "add chain", chain.name, |message, table| {
            message.text(1, table);
            message.text(3, chain.name);
            if let Some((kind, hook, priority)) = chain.base {
                message.nest(4, |nested| {
                    nested.be32(1, hook as u32);
                    nested.be32(2, priority.cast_unsigned());
                });
                message.be32(5, Verdict::Accept.code());
                message.text(7, kind.name());
            }
        });
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, chain: &str) {
        self.message(DELRULE, 0, "flush chain", chain, |message, table| {
            message.text(1, table);
            message.text(2, chain);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression<'_>], comment: &str) {
        self.message(NEWRULE, CREATE | APPEND, "add rule", comment, |message, table| {
            message.text(1, table);
            message.text(2, chain);
            message.nest(4, |list| {
                for expression in expressions {
                    list.nest(NFTA_LIST_ELEM, |element| expression.encode(element));
                }
            });
            if !comment.is_empty() {
                message.bytes(7, &comment_data(comment));
            }
        });
    }

    /// Deletes a rule by its handle; fails with `ENOENT` when it is not there.
    pub fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.message(DELRULE, 0, "delete rule of chain", chain, |message, table| {
            message.text(1, table);
            message.text(2, chain);
            message.be64(3, handle);
        });
    }

    /// Makes a set unless it exists; fails with `EEXIST` when it is of another kind.
    pub fn ensure_set(&mut self, set: &Set<'_>) {
        /// Identifies a set before it has a name in the kernel; nothing refers to it, but it is obligatory.
        const ANY_ID: u32 = 1;
        self.message(NEWSET, CREATE, "add set", set.name, |message, table| {
            message.text(1, table);
            message.text(2, set.name);
            message.be32(3, set_flags(set));
            message.be32(4, type_number(set.key));
            message.be32(5, length(set.key));
            match set.value {
                Value::Nothing => {}
                Value::Data(parts) => {
                    message.be32(6, type_number(parts));
                    message.be32(7, length(parts));
                }
                Value::Verdict => {
                    message.be32(6, VERDICT_TYPE);
                    message.be32(7, VERDICT_LENGTH);
                }
            }
            if set.interval && set.key.len() > 1 {
                message.nest(9, |description| description.nest(2, |fields| describe_fields(fields, set.key)));
            }
            message.be32(10, ANY_ID);
            if set.key == [DataType::InterfaceName] {
                message.bytes(13, &host_order_data());
            }
        });
    }

    /// Adds elements to a set. Those that are there already, with the same value, are no failure.
    pub fn add_elements(&mut self, set: &str, elements: &[Element<'_>]) {
        self.elements(NEWSETELEM, CREATE, "add elements to", set, elements);
    }

    /// Deletes elements from a set; fails with `ENOENT` when one is not there.
    pub fn delete_elements(&mut self, set: &str, elements: &[Element<'_>]) {
        self.elements(DELSETELEM, 0, "delete elements from", set, elements);
    }

    /// Deletes all elements of a set.
    pub fn flush_set(&mut self, set: &str) {
        self.message(DELSETELEM, 0, "flush set", set, |message, table| {
            message.text(1, table);
            message.text(2, set);
        });
    }

    fn elements(&mut self, kind: u8, flags: u16, step: &'static str, set: &str, elements: &[Element<'_>]) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, flags, step, set, |message, table| {
                message.text(1, table);
                message.text(2, set);
                message.nest(3, |list| {
                    for element in some {
                        list.nest(NFTA_LIST_ELEM, |nested| encode_element(nested, element));
                    }
                });
            });
        }
    }
}

/// `NFNL_SUBSYS_NFTABLES` and the message's number.
pub(crate) fn message_type(kind: u8) -> u16 {
    u16::from_be_bytes([crate::netfilter::NFTABLES, kind])
}

fn encode_element(message: &mut Message, element: &Element<'_>) {
    /// `NFT_SET_ELEM_INTERVAL_END`.
    const INTERVAL_END: u32 = 1;
    message.nest(1, |key| key.bytes(1, &element.key));
    match &element.value {
        ElementValue::Nothing => {}
        ElementValue::Data(data) => message.nest(2, |value| value.bytes(1, data)),
        ElementValue::Verdict(verdict) => message.nest(2, |value| encode_verdict(value, *verdict)),
    }
    if element.ends_range {
        message.be32(3, INTERVAL_END);
    }
    if let Some(last) = &element.last {
        message.nest(10, |key| key.bytes(1, last));
    }
}

/// `NFT_SET_*`.
fn set_flags(set: &Set<'_>) -> u32 {
    const INTERVAL: u32 = 0x4;
    const MAP: u32 = 0x8;
    const CONCATENATION: u32 = 0x80;
    let interval = if set.interval { INTERVAL } else { 0 };
    let concatenation = if set.interval && set.key.len() > 1 { CONCATENATION } else { 0 };
    let map = if set.value == Value::Nothing { 0 } else { MAP };
    interval | concatenation | map
}

fn type_number(parts: &[DataType]) -> u32 {
    parts.iter().fold(0, |number, part| number << TYPE_BITS | part.number())
}

fn length(parts: &[DataType]) -> u32 {
    match parts {
        [one] => one.length(),
        several => several.iter().map(|part| part.length().next_multiple_of(4)).sum(),
    }
}

fn describe_fields(message: &mut Message, parts: &[DataType]) {
    for part in parts {
        message.nest(NFTA_LIST_ELEM, |field| field.be32(1, part.length()));
    }
}

/// User data by which `nft` knows that a key is in the machine's byte order (which it takes interface names for): type,
/// length, value.
fn host_order_data() -> Vec<u8> {
    /// `NFTNL_UDATA_SET_KEYBYTEORDER`.
    const KEY_BYTE_ORDER: u8 = 0;
    /// `BYTEORDER_HOST_ENDIAN` of libnftables.
    const HOST: u32 = 1;
    [&[KEY_BYTE_ORDER, 4][..], &HOST.to_ne_bytes()].concat()
}

/// A comment in the form that `nft` keeps in a rule's user data: type, length, text with a zero.
fn comment_data(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(COMMENT_BYTES).chain([0]).collect();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[COMMENT, length][..], &text].concat()
}
