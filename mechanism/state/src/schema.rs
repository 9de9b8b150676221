//! The database file: pragmas and schema migrations.

use std::path::Path;

use rusqlite::Connection;

use crate::Error;

/// Each entry brings the schema from version `index` to `index + 1` (`PRAGMA user_version`). Append only.
const MIGRATIONS: &[&str] = &["CREATE TABLE document (
        kind TEXT NOT NULL,
        key  TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID"];

/// Opens the file and migrates it.
pub(crate) fn open(path: &Path) -> Result<Connection, Error> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit that was answered must survive power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Documents are small and kept in memory by the engine: 256 KiB of page cache suffice.
    connection.pragma_update(None, "cache_size", -256)?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}
