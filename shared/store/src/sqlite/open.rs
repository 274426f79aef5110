//! Opening `postern.db`.

use super::{
    FILE, Folder, StoreError, connect,
    folder::{self, LastUse, OpenNote},
    log_end, schema, use_wal,
};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::Deref,
    os::unix::fs::{FileExt as _, OpenOptionsExt},
    path::Path,
};

/// Up to this many bytes, a file's structure is checked whenever it is opened: some 50 ms.
const CHECKED: u64 = 32 * 1024 * 1024;

/// How many statements stay prepared.
const STATEMENTS: usize = 32;

/// The pages in memory are few: messages are read once, in order, and a large cache would only hold the
/// past. Who writes moves the log's pages into the file itself.
const PRAGMAS: &str = "
    PRAGMA cache_size = -2048;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 16777216;
";

/// The file, open to be written by this process alone. Dropped, it is closed, and with that what is in its
/// write-ahead log moves into it.
#[derive(Debug)]
pub(crate) struct Database {
    // Before the connection: once that is closed, the log may be gone.
    _open: OpenNote,
    connection: Connection,
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Opens the file of `folder` to write it, making it where there is none, and brings it to the newest
/// schema.
///
/// # Errors
/// It cannot be read or written, is damaged, another program's or of a later version, or it is gone.
pub(crate) fn open(folder: &Folder) -> Result<Database, StoreError> {
    let path = folder.file();
    let last_use = folder.last_use()?;
    let size = find_or_make(folder, &path, last_use)?;
    let log = wal(&path);
    let log_is_missing = last_use == LastUse::Open && bytes(&log)? == 0;
    let connection = open_file(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let new = schema::is_new(&connection)?;
    let left_out = left_out(&connection, &log)?;
    if log_is_missing || left_out > 0 {
        tell_of_the_log(folder, &log, left_out);
    }
    let version = match (new, last_use) {
        (true, LastUse::None) => 0,
        (true, _) => return Err(StoreError::damaged("cannot be used", "its tables are missing")),
        (false, _) => schema::version(&connection)?,
    };
    write_through_wal(&connection, new)?;
    write_again(&connection, &log)?;
    check(&connection, size)?;
    schema::bring_forward(&connection, version)?;
    // The first write: what cannot be written is not opened.
    connection
        .execute("UPDATE store SET opened = opened + 1", [])
        .map_err(|error| StoreError::sqlite("cannot be written", &error))?;
    let note = folder.note_open()?;
    Ok(Database { _open: note, connection })
}

/// Opens the file of the folder `dir` to read it, also while another process writes it.
///
/// # Errors
/// There is none, it cannot be read, or it is damaged, another program's or of a later version.
pub(crate) fn read_beside(dir: &Path) -> Result<Connection, StoreError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Err(
            missing(dir).unwrap_or_else(|| StoreError::Broken(format!("holds no store: there is no {FILE}")))
        );
    }
    let connection = open_file(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    schema::version(&connection)?;
    Ok(connection)
}

/// The bytes of the file at `path`, which is made where there never was one.
fn find_or_make(folder: &Folder, path: &Path, last_use: LastUse) -> Result<u64, StoreError> {
    let size = match fs::metadata(path) {
        Ok(file) => Some(file.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::io("cannot be read", &error)),
    };
    match (size, last_use) {
        (Some(0) | None, LastUse::Open | LastUse::Closed) => {
            let state = if size.is_none() { "missing" } else { "empty" };
            Err(StoreError::Broken(format!(
                "cannot be used: its file {FILE} is {state}, and held messages before; restore it from a copy, or move the folder away to start empty"
            )))
        }
        (Some(size), _) => Ok(size),
        (None, LastUse::None) => match missing(folder.path()) {
            Some(earlier) => Err(earlier),
            None => make(folder, path).map(|()| 0).map_err(|error| StoreError::io("cannot be made", &error)),
        },
    }
}

/// Why there is no file, if an unreleased version was used here.
fn missing(dir: &Path) -> Option<StoreError> {
    folder::has_an_unreleased_store(dir).then(|| {
        StoreError::Broken(
            "holds a store of a version of Postern that was never released (the folder store/), which this one cannot read; let that version send what is in it, then move store/ away"
                .to_owned(),
        )
    })
}

/// An empty file, for this user only. SQLite gives its log the same mode.
fn make(folder: &Folder, path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    File::open(folder.path())?.sync_all()
}

fn open_file(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let connection = connect(path, access, STATEMENTS)?;
        connection.execute_batch(PRAGMAS)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be opened", &error))
}

fn write_through_wal(connection: &Connection, new: bool) -> Result<(), StoreError> {
    let switch = || {
        if new {
            // Has to be said before there are tables.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        use_wal(connection)
    };
    match switch().map_err(|error| StoreError::sqlite("cannot be written", &error))?.as_str() {
        "wal" => Ok(()),
        other => Err(StoreError::Broken(format!(
            "cannot be used: the file system does not allow a write-ahead log next to {FILE} (journal mode \
             {other}); use a local disk"
        ))),
    }
}

/// Says that the end of the log is lost, and keeps what there is of it: SQLite removes a log of which it
/// can use nothing more.
fn tell_of_the_log(folder: &Folder, log: &Path, transactions: usize) {
    let mut copy = log.as_os_str().to_owned();
    copy.push(".damaged");
    let kept = fs::copy(log, &copy).is_ok().then(|| Path::new(&copy).display().to_string());
    tracing::error!(
        path = %folder.path().display(),
        transactions,
        kept,
        "the end of the store's write-ahead log postern.db-wal is missing or damaged: messages that were confirmed last may be lost, others may come again; check the disk"
    );
}

/// Writes the log's bytes to the disk once more. What of it a disk that failed has lost may still be in the
/// system's memory, and be read from there: what is appended behind it would be lost with it.
fn write_again(connection: &Connection, log: &Path) -> Result<(), StoreError> {
    if bytes(log)? == 0 {
        return Ok(());
    }
    // Nobody appends meanwhile.
    let alone = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
        .map_err(|error| StoreError::sqlite("cannot be written", &error))?;
    let copy = || {
        let file = OpenOptions::new().read(true).write(true).open(log)?;
        let (mut at, mut part) = (0, vec![0; 1024 * 1024]);
        loop {
            match file.read_at(&mut part, at)? {
                0 => return file.sync_all(),
                read => {
                    file.write_all_at(&part[..read], at)?;
                    at += read as u64;
                }
            }
        }
    };
    copy().map_err(|error| match StoreError::io("cannot be written", &error) {
        StoreError::Broken(_) => StoreError::Unwritable(error.to_string()),
        known => known,
    })?;
    alone.rollback().map_err(|error| StoreError::sqlite("cannot be written", &error))
}

/// How many finished transactions of the log SQLite did not take.
fn left_out(connection: &Connection, log: &Path) -> Result<usize, StoreError> {
    let number = |sql, column| connection.query_row(sql, [], |row| row.get::<_, i64>(column));
    let state = || Ok((number("PRAGMA wal_checkpoint(NOOP)", 1)?, number("PRAGMA page_size", 0)?));
    let (taken, page) =
        state().map_err(|error: rusqlite::Error| StoreError::sqlite("cannot be read", &error))?;
    let unsigned = |number| u64::try_from(number).unwrap_or_default();
    log_end::transactions_left_out(log, unsigned(taken), unsigned(page))
        .map_err(|error| StoreError::io("cannot be read", &error))
}

fn check(connection: &Connection, size: u64) -> Result<(), StoreError> {
    if size > CHECKED {
        return Ok(());
    }
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::sqlite("cannot be read", &error))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::damaged("cannot be used", &found)) }
}

fn wal(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn bytes(path: &Path) -> Result<u64, StoreError> {
    match fs::metadata(path) {
        Ok(file) => Ok(file.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::io("cannot be read", &error)),
    }
}
