//! Docker's option values: text in, API values out, with Docker's sentences for what is wrong.
//!
//! In reading order: [`flags`] (every flag of `run` and `create` in one table) and
//! [`plan`] (the create request they add up to). Below those, one module per kind of value: [`ports`], [`volume`],
//! [`mount`], [`network`], [`device`], [`env`](mod@env), [`ulimit`], [`security`], [`text`] (labels, links, addresses…),
//! [`number`], [`size`], [`csv`], [`platform`], [`detach_keys`]. [`surroundings`] is what the parsers may ask of the machine.
//!
//! Everything is pure except files named by a value (`--env-file`, `--security-opt seccomp=FILE`).

use std::fmt;

pub mod csv;
pub mod detach_keys;
pub mod device;
pub mod env;
pub mod flags;
pub mod mount;
pub mod network;
pub mod number;
pub mod plan;
pub mod platform;
pub mod ports;
pub mod security;
pub mod size;
pub mod surroundings;
pub mod text;
pub mod ulimit;
pub mod volume;

/// A value that cannot be used: the sentence Docker's client prints about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// What parsing an option gives.
pub type Parsed<T> = Result<T, Invalid>;

/// Shorthand for a failed parse.
pub fn invalid<T>(message: impl fmt::Display) -> Parsed<T> {
    Err(Invalid(message.to_string()))
}

impl From<Invalid> for String {
    fn from(error: Invalid) -> String {
        error.0
    }
}
