//! Go's text/template, as docker's `--format` needs it: [`Template`] on [`Value`]s.
//!
//! The whole language with Go's own functions and docker's (`json`, `split`, `join`, `title`, `lower`, `upper`, `pad`,
//! `truncate`), Go's way of printing values and Go's texts of errors. Not there: complex numbers and functions as values.
//!
//! * [`value`]: what templates work on; rows of tables implement [`Object`]
//! * `lex`, `parse`, `ast`: from text to nodes; `exec`: running them; `funcs`, `format`, `json`, `quote`: what they use
//!
//! A template is its user's own, but it must not crash or hang the program: nesting, steps and output are bounded.
#![forbid(unsafe_code)]

mod ast;
mod exec;
mod format;
mod funcs;
mod json;
mod lex;
mod parse;
mod quote;
pub mod value;

pub use exec::Options;
pub use json::Json;
pub use quote::quote;
pub use value::{List, Map, Named, Object, Struct, Type, Value};

/// Why a template cannot be parsed or run; the text is Go's, from `template: ` on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// A parsed template.
pub struct Template {
    text: String,
    set: parse::Set,
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Template, Error> {
        let set = parse::parse(text, &|name| funcs::find(name, false).is_some()).map_err(Error)?;
        Ok(Template { text: text.to_owned(), set })
    }

    /// Runs it on a value.
    pub fn execute(&self, data: &Value) -> Result<String, Error> {
        self.execute_with(data, Options::default())
    }

    /// Runs it on a value, in a way of one's own.
    pub fn execute_with(&self, data: &Value, options: Options) -> Result<String, Error> {
        exec::execute(&self.text, &self.set, data, options).map_err(Error)
    }
}
