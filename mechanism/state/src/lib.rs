//! The daemon's durable state: JSON documents in one SQLite file.
//!
//! The daemon's memory is authoritative while it runs; this store is what it recovers from. It is a map from
//! ([`Kind`], key) to a JSON text. One thread owns the connection and is the only writer; writes that arrive while it
//! commits are committed together (group commit), so that many containers created at once cost one fsync. What a full disk
//! must not prevent, [`reserve`] has room for.
#![forbid(unsafe_code)]

mod reserve;
mod schema;
mod writer;

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Failures of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite's own error.
    #[error("state database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be made, or not be made private.
    #[error("state database: {0}")]
    File(#[source] std::io::Error),
    /// The file was written by a newer version of the engine.
    #[error("state database has schema version {found}, this engine knows up to {known}")]
    TooNew {
        /// `user_version` of the file.
        found: i64,
        /// Newest version this code knows.
        known: i64,
    },
    /// The disk is full, and this is not what the reserve is for.
    #[error("state database: no space left on device")]
    Full,
    /// The writer thread could not be started.
    #[error("state database: cannot start the writer: {0}")]
    Thread(#[source] std::io::Error),
    /// The writer is gone (it has panicked or the store was closed).
    #[error("state database is closed")]
    Closed,
    /// A group commit failed; every write in it reports the same text.
    #[error("state database: {0}")]
    Commit(String),
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Containers, by full ID.
    Container,
    /// Networks, by full ID.
    Network,
    /// Volumes, by name.
    Volume,
    /// Settings of the engine itself, by name.
    Setting,
    /// Alerts, by name.
    Alert,
    /// Messages of alerts that wait for delivery, by alert and order.
    AlertMessage,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Network => "network",
            Kind::Volume => "volume",
            Kind::Setting => "setting",
            Kind::Alert => "alert",
            Kind::AlertMessage => "alert-message",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Insert or replace a document.
    Put(Kind, String, String),
    /// Delete a document; absent is fine.
    Delete(Kind, String),
}

/// Called once with what came of a write, on the writer's thread.
pub type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The open store.
#[derive(Debug)]
pub struct Store {
    sender: Option<mpsc::Sender<writer::Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens or creates the database file and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (connection, reserve) = schema::open(path)?;
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || writer::run(connection, reserve, &receiver))
            .map_err(Error::Thread)?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Every document of a kind as (key, JSON text), ordered by key.
    pub fn load(&self, kind: Kind) -> Result<Vec<(String, String)>, Error> {
        let (reply, answer) = mpsc::channel();
        self.send(writer::Request::Load(kind, reply))?;
        answer.recv().map_err(|_| Error::Closed)?
    }

    /// Queues changes; `done` is called when they are on disk, all or none.
    pub fn write(&self, changes: Vec<Change>, done: Done) {
        if let Err(mpsc::SendError(request)) = match &self.sender {
            Some(sender) => sender.send(writer::Request::Write(changes, done)),
            None => Err(mpsc::SendError(writer::Request::Write(changes, done))),
        } && let writer::Request::Write(_, done) = request
        {
            done(Err(Error::Closed));
        }
    }

    /// Writes changes and waits until they are on disk.
    pub fn write_sync(&self, changes: Vec<Change>) -> Result<(), Error> {
        let (reply, answer) = mpsc::channel();
        self.write(
            changes,
            Box::new(move |result| {
                // A caller that has gone does not want the answer.
                let _ = reply.send(result);
            }),
        );
        answer.recv().map_err(|_| Error::Closed)?
    }

    fn send(&self, request: writer::Request) -> Result<(), Error> {
        self.sender.as_ref().ok_or(Error::Closed)?.send(request).map_err(|_| Error::Closed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // The writer ends when the channel closes; a panic there has been reported already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = Store::open(&path).unwrap();
        store
            .write_sync(vec![
                Change::Put(Kind::Container, "b".into(), "{\"n\":1}".into()),
                Change::Put(Kind::Container, "a".into(), "{}".into()),
                Change::Put(Kind::Volume, "a".into(), "{}".into()),
            ])
            .unwrap();
        store.write_sync(vec![Change::Put(Kind::Container, "b".into(), "{\"n\":2}".into())]).unwrap();
        store.write_sync(vec![Change::Delete(Kind::Container, "a".into())]).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.load(Kind::Container).unwrap(), [("b".to_string(), "{\"n\":2}".to_string())]);
        assert_eq!(store.load(Kind::Volume).unwrap().len(), 1);
    }

    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, "").unwrap();
        let store = Store::open(&path).unwrap();
        store.write_sync(vec![Change::Put(Kind::Volume, "a".into(), "{}".into())]).unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["state.db", "state.db-wal"]);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        drop(Store::open(&path).unwrap());
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::TooNew { found: 999, .. })));
    }

    #[test]
    fn concurrent_writers_all_land() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..20 {
                        let key = format!("{thread}-{n}");
                        store.write_sync(vec![Change::Put(Kind::Network, key, "{}".into())]).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.load(Kind::Network).unwrap().len(), 160);
    }
}
