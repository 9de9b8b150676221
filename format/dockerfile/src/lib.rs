//! Dockerfiles as data, read as Docker's builder reads them.
//!
//! In reading order:
//! * [`lines`]: a text becomes lines, with continuations joined and here-documents attached
//! * [`words`]: a line becomes words and flags
//! * [`instruction`]: what the words say, as [`Instruction`]s of [`Stage`]s
//! * [`checks`]: what works, and is rarely meant
//! * [`expand`]: `$NAME` and `${NAME:-word}`, which the builder replaces when it comes to an instruction
//!
//! The sentences of errors are Docker's.
#![forbid(unsafe_code)]

pub mod checks;
pub mod expand;
mod flags;
pub mod ignore;
pub mod instruction;
mod lines;
mod mount;
mod parse;
mod pattern;
mod words;

pub use expand::Expander;
pub use instruction::{
    CommandLine, Content, Copy, Dockerfile, Instruction, Kind, Mount, MountType, Pair, Probe, Run, Stage,
};
pub use parse::{parse, parse_trigger};

/// A text that is no Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text has no such lines.
    #[error("{message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The sentence.
        message: String,
    },
    /// An instruction makes no sense.
    #[error("dockerfile parse error on line {line}: {message}")]
    Instruction {
        /// Counted from 1.
        line: usize,
        /// The sentence.
        message: String,
    },
    /// An instruction before the first `FROM`.
    #[error("no build stage in current context")]
    NoStage {
        /// Counted from 1.
        line: usize,
    },
}
