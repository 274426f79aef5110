//! Starts and stops a connector so that no other backend has to wait for it, even if it hangs or panics.

use super::{Backend, Connector, ConnectorContext};
use futures_util::FutureExt;
use postern_shared::backoff::Backoff;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// The pauses between the attempts to start.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
}
/// The least time that a connector has to stop, even after the deadline of the drain.
const LEAST: Duration = Duration::from_secs(1);

/// Starts `connector`, and retries after a pause if that fails. `None` if its backend drains before it has
/// started.
pub(crate) async fn start(
    connector: &Arc<dyn Connector>,
    context: &ConnectorContext,
) -> Option<Arc<dyn Backend>> {
    let attempts = async {
        let mut backoff = backoff().with_jitter();
        loop {
            let attempt = AssertUnwindSafe(connector.clone().start(context.clone())).catch_unwind();
            match attempt.await.unwrap_or_else(|_| Err("the connector panicked".to_owned())) {
                Ok(sender) => {
                    context.health.started();
                    return sender;
                }
                Err(why) => {
                    let pause = backoff.pause();
                    tracing::error!(
                        backend = context.backend.as_str(),
                        error = why,
                        seconds = pause.as_secs_f64(),
                        "connector not started, retrying"
                    );
                    context.health.not_started(why);
                    sleep(pause).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = context.shutdown.cancelled() => None,
        sender = attempts => Some(sender),
    }
}

/// Stops `sender`. Gives up at `deadline`, or a second from now if that is later.
pub(crate) async fn stop(sender: &dyn Backend, context: &ConnectorContext, deadline: Instant) {
    let backend = context.backend.as_str();
    let deadline = deadline.max(Instant::now() + LEAST);
    match timeout_at(deadline, AssertUnwindSafe(sender.stop()).catch_unwind()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!(backend, "the connector panicked when it was stopped"),
        Err(_) => tracing::warn!(backend, "the connector did not stop before the drain deadline"),
    }
}
