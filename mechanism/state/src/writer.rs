//! The thread that owns the connection.

use std::sync::mpsc::{Receiver, Sender};

use rusqlite::Connection;

use crate::reserve::{self, Reserve, is_full};
use crate::{Change, Done, Error, Kind};

/// Most write requests in one group commit: bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

pub(crate) enum Request {
    Load(Kind, Sender<Result<Vec<(String, String)>, Error>>),
    Write(Vec<Change>, Done),
}

/// Serves requests until every sender is gone.
pub(crate) fn run(connection: Connection, reserve: Reserve, requests: &Receiver<Request>) {
    let mut writer = Writer { connection, reserve };
    let mut next = requests.recv().ok();
    while let Some(request) = next.take() {
        match request {
            Request::Load(kind, reply) => {
                // A caller that has gone does not want the answer.
                let _ = reply.send(load(&writer.connection, kind));
            }
            Request::Write(changes, done) => {
                let mut group = vec![(changes, done)];
                while group.len() < GROUP_MAX {
                    match requests.try_recv() {
                        Ok(Request::Write(changes, done)) => group.push((changes, done)),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                writer.commit(group);
            }
        }
        if next.is_none() {
            next = requests.recv().ok();
        }
    }
    reserve::checkpoint(&writer.connection);
}

struct Writer {
    connection: Connection,
    reserve: Reserve,
}

impl Writer {
    fn commit(&mut self, group: Vec<(Vec<Change>, Done)>) {
        let bytes = group.iter().flat_map(|(changes, _)| changes).map(length).fold(0, i64::saturating_add);
        let plenty = match self.reserve.provide(&self.connection, bytes) {
            Ok(plenty) => plenty,
            Err(error) => return group.into_iter().for_each(|(_, done)| done(Err(failed(&error)))),
        };
        if plenty {
            match self.apply(group.iter().flat_map(|(changes, _)| changes)) {
                Ok(()) => return group.into_iter().for_each(|(_, done)| done(Ok(()))),
                Err(error) if !is_full(&error) => {
                    return group.into_iter().for_each(|(_, done)| done(Err(failed(&error))));
                }
                Err(_) => {}
            }
        }
        // On a full disk each for itself, so that one that is too much does not take the others with it.
        for (changes, done) in group {
            done(self.commit_one(&changes, plenty));
        }
    }

    fn commit_one(&mut self, changes: &[Change], plenty: bool) -> Result<(), Error> {
        if !plenty && self.adds(changes).map_err(|error| failed(&error))? {
            return Err(Error::Full);
        }
        match self.apply(changes.iter()) {
            Err(error) if is_full(&error) => {
                // The log was full, then, and is empty after this.
                reserve::checkpoint(&self.connection);
                self.apply(changes.iter()).map_err(|error| failed(&error))
            }
            other => other.map_err(|error| failed(&error)),
        }
    }

    /// Whether there is a document among the changes that is not in the database yet.
    fn adds(&self, changes: &[Change]) -> Result<bool, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM document WHERE kind = ?1 AND key = ?2")?;
        for change in changes {
            if let Change::Put(kind, key, _) = change
                && !statement.exists([kind.name(), key])?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn apply<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        for change in changes {
            match change {
                Change::Put(kind, key, body) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO document (kind, key, body) VALUES (?1, ?2, ?3)")?
                    .execute([kind.name(), key, body])?,
                Change::Delete(kind, key) => transaction
                    .prepare_cached("DELETE FROM document WHERE kind = ?1 AND key = ?2")?
                    .execute([kind.name(), key])?,
            };
        }
        transaction.commit()
    }
}

/// Bytes that a change may need.
fn length(change: &Change) -> i64 {
    match change {
        Change::Put(_, key, body) => i64::try_from(key.len() + body.len()).unwrap_or(i64::MAX / 2),
        Change::Delete(..) => 0,
    }
}

fn failed(error: &rusqlite::Error) -> Error {
    if is_full(error) { Error::Full } else { Error::Commit(error.to_string()) }
}

fn load(connection: &Connection, kind: Kind) -> Result<Vec<(String, String)>, Error> {
    let mut statement = connection.prepare_cached("SELECT key, body FROM document WHERE kind = ?1 ORDER BY key")?;
    let rows = statement.query_map([kind.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
