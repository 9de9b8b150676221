//! The database file: pragmas and schema migrations.

use std::fs::{File, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use crate::Error;
use crate::reserve::{CHECKPOINT_FRAMES, Reserve};

/// Each entry brings the schema from version `index` to `index + 1` (`PRAGMA user_version`). Append only.
const MIGRATIONS: &[&str] = &["CREATE TABLE document (
        kind TEXT NOT NULL,
        key  TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID"];

/// The owner's alone.
const MODE: u32 = 0o600;

/// How long the file may be somebody else's: a daemon's that is just being killed, or a copy's.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Wait between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Opens the file and migrates it.
pub(crate) fn open(path: &Path) -> Result<(Connection, Reserve), Error> {
    let reserve = Reserve::new(restrict(path)?, path);
    let start = Instant::now();
    loop {
        match connect(path, &reserve) {
            Err(Error::Sqlite(error))
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(LOCK_PAUSE);
            }
            other => return other.map(|connection| (connection, reserve)),
        }
    }
}

fn connect(path: &Path, reserve: &Reserve) -> Result<Connection, Error> {
    let mut connection = Connection::open(path)?;
    // Nobody else is at it: the index of the log is in memory, not in a file that a full disk has no room for.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
    // A log that is checkpointed at the end would be deleted, too, and its space be anybody's.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A commit that was answered must survive power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Documents are small and kept in memory by the engine: 256 KiB of page cache suffice.
    connection.pragma_update(None, "cache_size", -256)?;
    migrate(&mut connection)?;
    reserve.prepare(&connection)?;
    Ok(connection)
}

/// Nobody else reads what containers were given in their environment. The files beside it get the mode of this one.
fn restrict(path: &Path) -> Result<File, Error> {
    let file = File::options().create(true).truncate(false).write(true).mode(MODE).open(path).map_err(Error::File)?;
    file.set_permissions(Permissions::from_mode(MODE)).map_err(Error::File)?;
    Ok(file)
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
