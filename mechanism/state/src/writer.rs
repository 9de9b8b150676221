//! The thread that owns the connection.

use std::sync::mpsc::{Receiver, Sender};

use rusqlite::Connection;

use crate::{Change, Done, Error, Kind};

/// Most write requests in one group commit: bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

pub(crate) enum Request {
    Load(Kind, Sender<Result<Vec<(String, String)>, Error>>),
    Write(Vec<Change>, Done),
}

/// Serves requests until every sender is gone.
pub(crate) fn run(mut connection: Connection, requests: &Receiver<Request>) {
    let mut next = requests.recv().ok();
    while let Some(request) = next.take() {
        match request {
            Request::Load(kind, reply) => {
                // A caller that has gone does not want the answer.
                let _ = reply.send(load(&connection, kind));
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
                commit(&mut connection, group);
            }
        }
        if next.is_none() {
            next = requests.recv().ok();
        }
    }
}

fn load(connection: &Connection, kind: Kind) -> Result<Vec<(String, String)>, Error> {
    let mut statement = connection.prepare_cached("SELECT key, body FROM document WHERE kind = ?1 ORDER BY key")?;
    let rows = statement.query_map([kind.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn commit(connection: &mut Connection, group: Vec<(Vec<Change>, Done)>) {
    let result = apply(connection, group.iter().flat_map(|(changes, _)| changes));
    for (_, done) in group {
        done(match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::Commit(error.to_string())),
        });
    }
}

fn apply<'a>(connection: &mut Connection, changes: impl Iterator<Item = &'a Change>) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
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
