//! The application behind a webhook: one more place to deliver to.

use super::call::{Caller, Parcel};
use crate::{
    consume::Slot,
    courier::{Courier, Label},
    publish::Publisher,
};
use postern_broker::{Delivery, Envelope, QueueName, Topology, header};
use postern_config::{Config, Webhook, WebhookFormat};
use postern_service::metrics::Metrics;
use postern_shared::message::{INBOUND_V1, Inbound, Malformed, MessageId, Priority, REPORT_V1, Report};
use serde_json::Value;
use std::sync::Arc;
use url::form_urlencoded;

/// Delivers inbound messages and reports to a webhook. A delivery that is doubled has the same
/// `webhook-id`.
#[derive(Debug)]
pub(crate) struct Hook {
    caller: Caller,
    format: WebhookFormat,
    courier: Courier,
    inbound: QueueName,
    reports: QueueName,
}

/// What would keep the webhook from being called: a key below `application`, and why it cannot be.
pub(crate) fn problem(webhook: &Webhook) -> Option<String> {
    Caller::new(webhook).err()
}

impl Hook {
    /// # Errors
    /// A key below `application`, and why it cannot be.
    pub(crate) fn new(
        config: &Config,
        webhook: &Webhook,
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        let (inbound, reports) = (QueueName::inbound(), QueueName::reports());
        let mut queues = vec![&inbound];
        queues.extend(webhook.wants_reports().then_some(&reports));
        Ok(Self {
            caller: Caller::new(webhook)?,
            format: webhook.format,
            courier: Courier::new("application", &queues, config, topology, publisher, metrics),
            inbound,
            reports,
        })
    }

    /// Takes `delivery`, an inbound message (the normal lane) or a report (the other), to its end.
    pub(crate) async fn deliver(&self, lane: Priority, delivery: Delivery, slot: Slot) {
        let queue = self.queue(lane);
        match self.pack(lane, &delivery.envelope) {
            Ok(parcel) => {
                let call = self.caller.call(&parcel);
                self.courier.deliver(queue, delivery, slot, &parcel.label, call).await;
            }
            Err(malformed) => self.courier.bury(queue, delivery, &malformed).await,
        }
    }

    /// Where the messages of `lane` come from.
    pub(crate) fn queue(&self, lane: Priority) -> &QueueName {
        match lane {
            Priority::Normal => &self.inbound,
            Priority::Bulk => &self.reports,
        }
    }

    /// Counts a message from `queue` that was given up undelivered.
    pub(crate) fn count_given_up(&self, queue: &QueueName) {
        self.courier.count_given_up(queue);
    }

    fn pack(&self, lane: Priority, envelope: &Envelope) -> Result<Parcel, Malformed> {
        let trace = envelope.text_header(header::TRACEPARENT).map(str::to_owned);
        let (content_type, body) = ("application/json", envelope.body.clone());
        if lane == Priority::Bulk {
            let report = Report::from_json(&body)?;
            // The bytes of an attempt are those of the first: a retry carries them on as they are.
            let id = MessageId::of_report(&String::from_utf8_lossy(&body));
            let label = Label { id, backend: report.backend, trace };
            return Ok(Parcel { label, kind: REPORT_V1, content_type, body });
        }
        let message = Inbound::from_json(&body)?;
        let (content_type, body) = match self.format {
            WebhookFormat::Json => (content_type, body),
            WebhookFormat::Form => ("application/x-www-form-urlencoded", form(&message).into()),
        };
        let label = Label { id: message.id, backend: message.backend, trace };
        Ok(Parcel { label, kind: INBOUND_V1, content_type, body })
    }
}

/// `identity`, `text` and the fields, urlencoded. A field that is null is left out, a list is its
/// parameter repeated, and what is no text is written as JSON.
fn form(message: &Inbound) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("identity", message.identity.as_str()).append_pair("text", &message.text);
    for (name, value) in &message.fields {
        if name == "identity" || name == "text" {
            continue;
        }
        let items = match value {
            Value::Array(items) => &items[..],
            one => std::slice::from_ref(one),
        };
        for item in items {
            match item {
                Value::Null => {}
                Value::String(text) => {
                    form.append_pair(name, text);
                }
                other => {
                    form.append_pair(name, &other.to_string());
                }
            }
        }
    }
    form.finish()
}

#[cfg(test)]
mod tests;
