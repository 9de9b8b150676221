//! Room for what must be recorded when the disk is full: the end of a container, and its removal.
//!
//! Space that is given back to a full file system belongs to whoever asks first, and containers that write do nothing
//! but ask. So nothing is given back and taken again: the space is in the database's own files beforehand, where SQLite
//! writes without asking for any.
//!
//! A commit writes the pages that it changes to the write-ahead log, which is [`WAL_BYTES`] long from the beginning and
//! used over and over: a checkpoint every [`CHECKPOINT_FRAMES`] keeps the rest free for the next commit. A checkpoint
//! writes pages to where they are in the database file. New ones come from a stock of unused pages, whose blocks are
//! allocated; the file never grows for a commit (`max_page_count`), only for the stock. When the stock is low and the
//! disk gives nothing, new documents are refused; changes of old ones and deletions go on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Bytes of the write-ahead log: as many as SQLite's own would have after a while with its usual checkpoints, halved.
const WAL_BYTES: u64 = 2 * 1024 * 1024;
/// Pages in the log at which they are written back: three quarters, the last one is for a commit that comes before that.
pub(crate) const CHECKPOINT_FRAMES: i64 = 384;
/// Unused pages that are kept: two thousand records of ends, which change a page or two each, and as a rule its own.
const STOCK: i64 = 128;
/// With fewer, more are taken from the disk; when it has none, new documents are refused.
const LOW: i64 = STOCK / 2;
/// Bytes of a long document that fit into one page, a little less.
const PAGE_TEXT_BYTES: i64 = 4000;
/// Pages that may be used beside those of the stock, while it is made: the tree's, and what is lost at ends.
const TREE_PAGES: i64 = 8;

/// The database file and its log, to allocate their blocks.
#[derive(Debug)]
pub(crate) struct Reserve {
    /// Open for as long as the connection is: closing any descriptor of the file drops SQLite's locks on it.
    database: File,
    log: PathBuf,
}

impl Reserve {
    /// For a database whose file was opened before SQLite did.
    pub(crate) fn new(database: File, path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { database, log: log.into() }
    }

    /// Allocates the log and the stock, as far as the disk allows.
    pub(crate) fn prepare(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        // A disk that is full now leaves us what is there; it is tried again whenever the stock is low.
        let _ = self.allocate_log();
        self.provide(connection, 0).map(|_| ())
    }

    /// Makes sure of pages for `bytes` of new text; whether there are enough for new documents.
    pub(crate) fn provide(&self, connection: &Connection, bytes: i64) -> Result<bool, rusqlite::Error> {
        let free = number(connection, "freelist_count")?;
        let need = bytes / PAGE_TEXT_BYTES;
        if free >= LOW + need {
            return Ok(true);
        }
        let _ = self.allocate_log();
        Ok(match self.grow(connection, free, STOCK + need) {
            Ok(()) => true,
            Err(error) if is_full(&error) => false,
            Err(error) => return Err(error),
        })
    }

    /// Makes the unused pages of the database as many as `wanted`: those of a document that is deleted before anybody
    /// sees it.
    fn grow(&self, connection: &Connection, free: i64, wanted: i64) -> Result<(), rusqlite::Error> {
        let page_bytes = number(connection, "page_size")?;
        let after = number(connection, "page_count")? + wanted - free.min(wanted) + TREE_PAGES;
        match fallocate(&self.database, FallocateFlags::empty(), 0, u64::try_from(after * page_bytes).unwrap_or(0)) {
            // Where blocks cannot be had beforehand, a full disk is found out later.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(_) => return Err(full()),
        }
        connection.pragma_update(None, "max_page_count", after)?;
        let grown = fill(connection, wanted * page_bytes);
        // Whatever came of it, commits do not make the file longer.
        let now = number(connection, "page_count")?;
        connection.pragma_update(None, "max_page_count", now)?;
        grown
    }

    fn allocate_log(&self) -> io::Result<()> {
        let log = File::options().write(true).open(&self.log)?;
        if log.metadata()?.len() < WAL_BYTES {
            // SQLite takes the zeros for the rest of an older log.
            fallocate(&log, FallocateFlags::empty(), 0, WAL_BYTES)?;
        }
        Ok(())
    }
}

fn fill(connection: &Connection, bytes: i64) -> Result<(), rusqlite::Error> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("INSERT INTO document (kind, key, body) VALUES ('', '', zeroblob(?1))", params![bytes])?;
    transaction.execute("DELETE FROM document WHERE kind = '' AND key = ''", [])?;
    transaction.commit()
}

/// Writes what is in the log to its place, so that the next commit begins the log anew.
pub(crate) fn checkpoint(connection: &Connection) {
    // What could not be written back stays in the log.
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}

fn number(connection: &Connection, pragma: &str) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Whether it was for want of space.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}
