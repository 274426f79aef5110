//! What the message log adds to a delivery report: the message and its recipient, if the report has only the
//! provider's id of it, and the callback that the message's client asked for, if the report's URL contains none.

use super::reporter::Reported;
use crate::{log_lookup::LogLookup, metrics::Lookup};
use postern_service::message_log::{LogError, LoggedCallback, MessageLog};
use postern_shared::{
    callback::KannelEvent,
    message::{Identity, MessageId, Report},
};
use std::time::Duration;
use tokio::time::sleep;

/// The pause before a message is looked up a second time. With RabbitMQ, a published message is in the log
/// only a moment later, and a provider may be faster.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// Which callbacks are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callbacks {
    /// The callbacks of reports whose state is an event for callbacks.
    Wanted,
    /// None: the reports' URL contains one, or no client can ask for any.
    NotWanted,
}

/// What is to be looked up for one report.
enum Open<'r> {
    /// The report's message, and with it the callback.
    Message(&'r mut Reported, Callbacks),
    /// Only the callback.
    Callback(&'r mut Reported),
}

/// Completes `reports` from the log of `lookup`: the message and the recipient of a report that has only the
/// provider's id of the message, and the callback. Without a message log, or if it does not answer, reports
/// stay unchanged.
pub(super) async fn resolve(lookup: &LogLookup, reports: &mut [Reported], callbacks: Callbacks) {
    if !lookup.has_log() {
        return;
    }
    let open: Vec<Open<'_>> =
        reports.iter_mut().filter_map(|reported| Open::of(reported, callbacks)).collect();
    if open.is_empty() {
        return;
    }
    let twice = async |log: &dyn MessageLog| {
        let open = look_up(log, open).await?;
        if !open.is_empty() {
            sleep(SECOND_LOOK).await;
            look_up(log, open).await?;
        }
        Ok(())
    };
    lookup.ask(Lookup::Report, twice).await;
}

impl<'r> Open<'r> {
    /// What to look up for `reported`; `None` if there is nothing.
    fn of(reported: &'r mut Reported, callbacks: Callbacks) -> Option<Self> {
        let event = reported.report.recipients.first().map(|recipient| recipient.state);
        let tells = event.and_then(KannelEvent::of_report).is_some();
        let callbacks = if tells { callbacks } else { Callbacks::NotWanted };
        match (is_open(&reported.report), callbacks) {
            (true, callbacks) => Some(Self::Message(reported, callbacks)),
            (false, Callbacks::Wanted) => Some(Self::Callback(reported)),
            (false, Callbacks::NotWanted) => None,
        }
    }
}

/// Whether `report` has only the provider's id of its message.
fn is_open(report: &Report) -> bool {
    external_id(report).is_some_and(|id| report.message_id == MessageId::reported(&report.backend, id))
}

fn external_id(report: &Report) -> Option<&str> {
    report.recipients.first()?.external_id.as_deref()
}

/// Looks up what is `open`. Returns the reports whose message the log does not know.
async fn look_up<'r>(log: &dyn MessageLog, open: Vec<Open<'r>>) -> Result<Vec<Open<'r>>, LogError> {
    let mut unknown = Vec::new();
    for one in open {
        match one {
            Open::Message(reported, callbacks) => {
                let report = &mut reported.report;
                let Some(external_id) = external_id(report) else { continue };
                let Some(found) = log.sent_as(&report.backend, external_id).await? else {
                    unknown.push(Open::Message(reported, callbacks));
                    continue;
                };
                report.message_id = found.id;
                for recipient in &mut report.recipients {
                    recipient.identity = spelled(recipient.identity.take(), found.identity.clone());
                }
                reported.callback = found.callback.filter(|_| callbacks == Callbacks::Wanted);
            }
            Open::Callback(reported) => match log.callback(reported.report.message_id).await? {
                LoggedCallback::UnknownMessage => unknown.push(Open::Callback(reported)),
                LoggedCallback::NotWanted => {}
                LoggedCallback::Wanted(token) => reported.callback = Some(token),
            },
        }
    }
    Ok(unknown)
}

/// The identity of a report's recipient: `reported` by the provider, but as the message to `sent_to` spells it if that
/// is the same number. The provider may mean another recipient of the message, so another number stays.
fn spelled(reported: Option<Identity>, sent_to: Option<Identity>) -> Option<Identity> {
    match (reported, sent_to) {
        (Some(reported), Some(sent_to)) if !sent_to.is_same_number(&reported) => Some(reported),
        (reported, sent_to) => sent_to.or(reported),
    }
}
