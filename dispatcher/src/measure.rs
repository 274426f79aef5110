//! Takes messages through the dispatcher without a socket, to measure what that costs.

use crate::{
    attempt::Attempt,
    connectors::http,
    retry::Schedule,
    settle::{log, note, settlement},
};
use jiff::Timestamp;
use postern_broker::queued::read;
use postern_broker::{Envelope, QueueName};
use postern_config::Config;
use postern_service::traces::Traces;
use postern_shared::message::{BackendName, Priority};
use std::sync::Arc;

/// Takes the same queued message `times` times from its body to what is published of it: it is read, its
/// request is built, the answer `OK` is classified, and the report and the log line are made. Returns how
/// many bytes would have been published.
///
/// # Errors
/// What is wrong with the configuration or the message.
pub fn send(
    config: &Config,
    backend: &BackendName,
    original: &Envelope,
    times: usize,
) -> Result<usize, String> {
    let configured = config.backends.get(backend).ok_or("unknown backend")?;
    let http = http::Http::new(configured, &http::ClientTls::default());
    let http = http.map_err(|problems| format!("{problems:?}"))?;
    let schedule = Schedule::new(configured, Arc::new(postern_service::topology(config)));
    let queue = QueueName::outbound(backend, Priority::Normal);
    let mut published = 0;
    let traces = Traces::off();
    for _ in 0..times {
        let mut span = traces.process(&queue, original);
        let message = read(original).map_err(|malformed| malformed.to_string())?;
        span.note_attempt(message.id, message.attempt);
        let outcome = http.rehearse(&message, &span.scope()).ok_or("the backend has no send table")?;
        let outcomes = vec![outcome; message.identities.len()];
        let now = Timestamp::now();
        let dispositions = schedule.dispositions(&message, outcomes, now);
        let prepared = configured.definition.text.prepare(&message.text, 0).ok();
        let attempt = Attempt::of(&message, prepared, dispositions);
        let mut messages = settlement(original, &queue, &attempt, now);
        note(&attempt, &mut span);
        span.scope().sends(&mut messages).end(Ok(()));
        log(original, &attempt);
        span.scope().acknowledged(&queue);
        published += messages.iter().map(|(_, envelope)| envelope.body.len()).sum::<usize>();
    }
    Ok(published)
}
