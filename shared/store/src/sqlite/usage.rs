//! How much of the file the messages take.

use rusqlite::Connection;

/// A row takes more than the bytes of its message: numbers, lengths and the checksum; for a delayed message
/// also its queue's name and its entry in the index.
const QUEUED: &str = "SELECT (SELECT coalesce(sum(bytes + 32 * messages), 0) FROM queue) \
    + (SELECT coalesce(sum(length(body) + coalesce(length(headers), 0) + 150), 0) FROM delayed)";

/// About how many bytes of the file the messages in the queues take. The estimate is rather too low than too high.
pub(crate) fn queued_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let bytes: i64 = connection.prepare_cached(QUEUED)?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}
