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

/// The structure of a file of at most this many bytes is checked whenever it is opened, which takes about 50 ms.
const CHECKED: u64 = 32 * 1024 * 1024;

/// How many statements stay prepared.
const STATEMENTS: usize = 32;

/// Few pages are cached: messages are read once, in order, so a large cache would hold only what nobody reads
/// again. The write-ahead log is not checkpointed automatically: the writer does that.
const PRAGMAS: &str = "
    PRAGMA cache_size = -2048;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 16777216;
";

/// The file, open for writing by this process only. Dropping it closes the file and moves the write-ahead log
/// into it.
#[derive(Debug)]
pub(crate) struct Database {
    // Dropped before the connection: when that is closed, the write-ahead log may be gone.
    _open: OpenNote,
    connection: Connection,
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Opens the file of `folder` for writing, or creates it, and updates it to the newest schema.
///
/// # Errors
/// The file cannot be read or written, is damaged, belongs to another program or a later version, or has vanished.
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
    // A store that cannot be written is not opened: this is the first write.
    connection
        .execute("UPDATE store SET opened = opened + 1", [])
        .map_err(|error| StoreError::sqlite("cannot be written", &error))?;
    let note = folder.note_open()?;
    Ok(Database { _open: note, connection })
}

/// Opens the file of the folder `dir` for reading, even while another process writes it.
///
/// # Errors
/// There is no file, it cannot be read, is damaged, or belongs to another program or a later version.
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

/// The size of the file at `path`, in bytes. The file is created if there never was one.
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
                "cannot be used: its file {FILE} is {state}, and held messages before; restore it from a backup, or move the folder away to start empty"
            )))
        }
        (Some(size), _) => Ok(size),
        (None, LastUse::None) => match missing(folder.path()) {
            Some(earlier) => Err(earlier),
            None => {
                make(folder, path).map(|()| 0).map_err(|error| StoreError::io("cannot be created", &error))
            }
        },
    }
}

/// The error for a missing file if an unreleased version was used here.
fn missing(dir: &Path) -> Option<StoreError> {
    folder::has_an_unreleased_store(dir).then(|| {
        StoreError::Broken(
            "contains the store of an unreleased version of Postern (the folder store/), which this version cannot read: run that version until its queues are empty, then move store/ away"
                .to_owned(),
        )
    })
}

/// Creates an empty file, for this user only. SQLite gives its write-ahead log the same mode.
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
            // This must be set before there are tables.
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

/// Logs that the end of the write-ahead log is lost, and keeps a copy of it: SQLite deletes a log that it
/// cannot use.
fn tell_of_the_log(folder: &Folder, log: &Path, transactions: usize) {
    let mut copy = log.as_os_str().to_owned();
    copy.push(".damaged");
    let kept = fs::copy(log, &copy).is_ok().then(|| Path::new(&copy).display().to_string());
    tracing::error!(
        path = %folder.path().display(),
        transactions,
        copy = kept,
        "the end of the store's write-ahead log postern.db-wal is missing or damaged: the last confirmed messages may be lost, others may be delivered again; check the disk, then run `postern store check`"
    );
}

/// Writes the bytes of the write-ahead log to the disk once more. If the disk has failed before, lost bytes may
/// still be in the system's memory and be read from there: anything appended to them would later be lost, too.
fn write_again(connection: &Connection, log: &Path) -> Result<(), StoreError> {
    if bytes(log)? == 0 {
        return Ok(());
    }
    // The transaction keeps others from appending.
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

/// How many finished transactions of the write-ahead log SQLite ignored.
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
