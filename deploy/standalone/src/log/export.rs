//! Reads messages page by page, so that a large log is never in memory as a whole.

use super::arguments::LogFilterArguments;
use postern_service::{
    message_log::{ListOrder, LogError, LoggedMessage, MessageLog, MessageQuery},
    program::Exit,
};
use postern_shared::terminal;
use std::io::{self, BufWriter, Write};

/// How many messages are read at a time.
const PAGE: usize = 500;

/// The messages that match a query, up to a maximum.
pub(super) struct Pages<'l> {
    log: &'l dyn MessageLog,
    /// The query of the next page. `None`: the last page was read.
    query: Option<MessageQuery>,
    left: u64,
}

impl<'l> Pages<'l> {
    /// The messages of `log` that match `query`, at most `most`.
    pub(super) fn new(log: &'l dyn MessageLog, query: MessageQuery, most: u64) -> Self {
        Self { log, query: Some(query), left: most }
    }

    /// The next page. `None`: there are no more messages, or the maximum was reached.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<LoggedMessage>>, LogError> {
        let Some(query) = self.query.take() else { return Ok(None) };
        if self.left == 0 {
            self.query = Some(query);
            return Ok(None);
        }
        let limit = usize::try_from(self.left).map_or(PAGE, |left| left.min(PAGE));
        let page = self.log.messages(&MessageQuery { limit, ..query.clone() }).await?;
        if page.messages.is_empty() {
            return Ok(None);
        }
        self.left = self.left.saturating_sub(page.messages.len() as u64);
        self.query = page.next.map(|next| MessageQuery { cursor: Some(next), ..query });
        Ok(Some(page.messages))
    }

    /// Whether the log has more matching messages than were returned.
    pub(super) fn has_more(&self) -> bool {
        self.query.is_some()
    }
}

/// Writes the messages that match to stdout, one JSON object a line; with `events`, also what happened to each.
///
/// # Errors
/// The log cannot be read, or stdout cannot be written. If stdout's reader has gone, this ends without an
/// error.
pub(super) async fn run(log: &dyn MessageLog, which: LogFilterArguments, events: bool) -> Result<(), Exit> {
    let most = which.limit().unwrap_or(u64::MAX);
    let mut pages = Pages::new(log, which.query(ListOrder::Oldest), most);
    while let Some(page) = pages.next().await? {
        let mut lines = BufWriter::new(io::stdout());
        for message in page {
            let whole = if events { log.message(message.id).await? } else { Some(message) };
            // The message may have expired since the page was read.
            let Some(whole) = whole else { continue };
            let line = terminal::json(&serde_json::to_string(&whole)?);
            if !written(writeln!(lines, "{line}"))? {
                return Ok(());
            }
        }
        if !written(lines.flush())? {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether stdout still has a reader.
fn written(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
