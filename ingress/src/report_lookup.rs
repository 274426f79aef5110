//! Which message a delivery report is about that says only the provider's id of it: the message log knows.

use crate::provider::Reported;
use postern_service::message_log::{LogError, MessageLog};
use postern_shared::message::{MessageId, Report};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// How long the reports of one request may take to be looked up, in all.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long it is until a log that failed is asked again.
const REST: Duration = Duration::from_secs(5);
/// The pause before a message is looked up a second time. With RabbitMQ, that it was sent stands in the log
/// only a moment later, and a provider may be faster.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// Looks up the messages of reports. Without a message log, and while it cannot be used, reports stay as they
/// are.
#[derive(Debug)]
pub(crate) struct ReportLookup {
    log: Option<Arc<dyn MessageLog>>,
    /// Until when the log is not asked, since it failed.
    rests: Mutex<Option<Instant>>,
}

impl ReportLookup {
    /// Looks up in `log`.
    pub(crate) fn new(log: Option<Arc<dyn MessageLog>>) -> Self {
        Self { log, rests: Mutex::default() }
    }

    /// Gives those of `reports` their message that say only the provider's id of it, if the log knows it, and
    /// those that name no recipient the recipient.
    pub(crate) async fn resolve(&self, reports: &mut [Reported]) {
        let Some(log) = self.log.as_deref().filter(|_| !self.rests()) else { return };
        let mut reports: Vec<_> = reports
            .iter_mut()
            .map(|reported| &mut reported.report)
            .filter(|report| is_open(report))
            .collect();
        if reports.is_empty() {
            return;
        }
        let resolving = async {
            if look_up(log, &mut reports).await? {
                return Ok(());
            }
            sleep(SECOND_LOOK).await;
            look_up(log, &mut reports).await.map(drop)
        };
        let failure = match timeout(DEADLINE, resolving).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => LogError::TimedOut(DEADLINE),
        };
        tracing::warn!(error = %failure, "messages of delivery reports cannot be looked up, not asked for {REST:?}");
        *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
    }

    fn rests(&self) -> bool {
        let rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.is_some_and(|until| Instant::now() < until)
    }
}

/// Whether `report` says only the provider's id of its message.
fn is_open(report: &Report) -> bool {
    external_id(report).is_some_and(|id| report.message_id == MessageId::reported(&report.backend, id))
}

fn external_id(report: &Report) -> Option<&str> {
    report.recipients.first()?.external_id.as_deref()
}

/// Looks up those of `reports` that are still open. Whether none is left.
async fn look_up(log: &dyn MessageLog, reports: &mut [&mut Report]) -> Result<bool, LogError> {
    let mut all = true;
    for report in reports.iter_mut().filter(|report| is_open(report)) {
        let Some(external_id) = external_id(report) else { continue };
        match log.sent_as(&report.backend, external_id).await? {
            None => all = false,
            Some(found) => {
                report.message_id = found.id;
                for recipient in &mut report.recipients {
                    recipient.identity = recipient.identity.take().or_else(|| found.identity.clone());
                }
            }
        }
    }
    Ok(all)
}
