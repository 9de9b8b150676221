//! Container logs: what the shim writes and the daemon reads.
//!
//! [`Writer`] turns raw output into records, many per write(2), and rotates files. [`LogReader`] finds the last records
//! without reading the whole file, skips what is too old, and follows a growing log across rotations. Both work on the
//! formats of [`json_file`] (Docker's, byte for byte) and [`local`] (compact, ours); neither starts threads.
//!
//! Files: the current one is [`LogConfig::path`]; `path.1` is the one before it, `path.2` the one before that, and so
//! on up to [`LogConfig::max_file`] files, each perhaps compressed and then called `path.1.gz`.
//!
//! Read in this order: [`writer`], `lines`, [`json_file`], [`local`], `rotation`, [`reader`].
#![forbid(unsafe_code)]

mod format;
pub mod json_file;
mod lines;
pub mod local;
pub mod reader;
mod rotation;
mod time;
pub mod writer;

pub use reader::{Entry, Limit, LogReader, ReadOptions, Step};
pub use tare_shim_protocol::LogConfig;
pub use writer::Writer;

/// Longest piece of a line, in bytes, that becomes one record. Docker's number: its clients put pieces together again
/// because only the last one ends with a newline.
pub const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Largest file in bytes that Docker's `local` driver lets grow by default.
pub const LOCAL_MAX_SIZE: u64 = 20 * 1000 * 1000;
/// Files that Docker's `local` driver keeps by default.
pub const LOCAL_MAX_FILE: u32 = 5;
/// Whether Docker's `local` driver compresses rotated files by default.
pub const LOCAL_COMPRESS: bool = true;

/// Which of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

impl Stream {
    /// As Docker writes it.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}
