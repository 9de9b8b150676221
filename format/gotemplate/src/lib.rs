//! Go's text/template, as docker's `--format` needs it.
#![forbid(unsafe_code)]

mod quote;

pub use quote::quote;
