//! nf_tables without `nft`: transactions encoded here and sent over one netlink socket.
//!
//! Starting a process for each change costs milliseconds; one element added to a map this way costs microseconds.
//! In reading order:
//! - [`value`]: families, hooks, data types, keys, verdicts;
//! - [`expression`]: what rules are made of;
//! - [`transaction`]: changes to one table, applied all or not at all;
//! - [`netfilter`]: the socket: commits transactions, lists elements and chains;
//! - [`conntrack`]: forgets tracked connections.
//!
//! Wire format: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`. Numbers are in network order there,
//! except inside values that packets are compared with.
#![forbid(unsafe_code)]

pub mod conntrack;
pub mod expression;
pub mod netfilter;
pub mod transaction;
pub mod value;

pub use expression::Expression;
pub use netfilter::Netfilter;
pub use tare_sys::netlink::{Error, Result};
pub use transaction::Transaction;
