//! The application behind a webhook: `call` makes the requests, which `sign` signs.
//!
//! Messages come from `postern.inbound` and reports from `postern.reports`. The answer is handled like a
//! provider's: the same classes, delays and dead letters, and the acknowledgement last. These messages have
//! no field `attempt`, so the attempt is counted in the header `x-postern-attempt`. The webhook is one
//! receiver with its own circuit breaker: while it is down, messages stay in their queues, and the attempt
//! that shows it does not count.

mod call;
mod sign;

use crate::metrics::DispatcherMetrics;
use crate::{
    http_delivery::{DeliveryContext, HttpDelivery, ReceiverCount},
    publish::Publisher,
    retry::Schedule,
    worker::{Job, Worker},
};
use async_trait::async_trait;
pub(crate) use call::WebhookCaller;
use call::WebhookRequest;
use postern_broker::{Envelope, QueueName, Topology};
use postern_config::{Config, Webhook, WebhookFormat};
use postern_shared::event::EventKind;
use postern_shared::message::{INBOUND_V1, Inbound, Malformed, MessageId, Priority, REPORT_V1, Report};
use serde_json::Value;
use std::sync::Arc;
use url::form_urlencoded;

/// Delivers inbound messages and reports to a webhook. A duplicate of a delivery has the same `webhook-id`.
#[derive(Debug)]
pub(crate) struct WebhookWorker {
    caller: WebhookCaller,
    format: WebhookFormat,
    delivery: HttpDelivery,
    inbound: QueueName,
    reports: QueueName,
}

impl WebhookWorker {
    /// A worker that calls through `caller`, with the settings of `webhook`.
    pub(crate) fn new(
        config: &Config,
        (webhook, caller): (&Webhook, WebhookCaller),
        topology: Arc<Topology>,
        publisher: Publisher,
        metrics: &DispatcherMetrics,
    ) -> Self {
        let (inbound, reports) = (QueueName::inbound(), QueueName::reports());
        let mut queues = vec![&inbound];
        queues.extend(webhook.wants_reports().then_some(&reports));
        let retry = webhook.retry.as_ref().unwrap_or(&config.retry);
        Self {
            caller,
            format: webhook.format,
            delivery: HttpDelivery {
                to: "application",
                log: topology.log,
                schedule: Schedule::general(&retry.delays, topology),
                publisher,
                metrics: metrics.delivery(&queues),
                receiver: ReceiverCount::One,
                most_dead: None,
            },
            inbound,
            reports,
        }
    }

    fn queue(&self, lane: Priority) -> &QueueName {
        match lane {
            Priority::Normal => &self.inbound,
            Priority::Bulk => &self.reports,
        }
    }

    fn request(&self, lane: Priority, envelope: &Envelope) -> Result<WebhookRequest, Malformed> {
        let trace = envelope.trace();
        let (content_type, body) = ("application/json", envelope.body.clone());
        if lane == Priority::Bulk {
            let report = Report::from_json(&body)?;
            // A retry carries the same bytes, so every attempt has the same id.
            let id = MessageId::of_report(&String::from_utf8_lossy(&body));
            let (message_id, backend) = (report.message_id, report.backend);
            let context = DeliveryContext { message_id, backend, trace, event: None };
            return Ok(WebhookRequest { context, id, kind: REPORT_V1, content_type, body });
        }
        let message = Inbound::from_json(&body)?;
        let (content_type, body) = match self.format {
            WebhookFormat::Json => (content_type, body),
            WebhookFormat::Form => ("application/x-www-form-urlencoded", form(&message).into()),
        };
        let id = message.id;
        let event = Some((EventKind::Forwarded, Some(message.identity)));
        let context = DeliveryContext { message_id: id, backend: message.backend, trace, event };
        Ok(WebhookRequest { context, id, kind: INBOUND_V1, content_type, body })
    }
}

/// Inbound messages are the normal lane, reports the bulk lane.
#[async_trait]
impl Worker for WebhookWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        [Priority::Normal, Priority::Bulk].map(|lane| (lane, self.queue(lane).clone())).into()
    }

    async fn work(self: Arc<Self>, job: Job) {
        let queue = self.queue(job.lane);
        match self.request(job.lane, &job.delivery.envelope) {
            Ok(request) => {
                let scope = job.span.scope();
                let call = self.caller.call(&request, &scope);
                self.delivery.deliver(queue, job, &request.context, call).await;
            }
            Err(malformed) => self.delivery.refuse(queue, job, &malformed.to_string()).await,
        }
    }
}

/// `identity`, `text` and the fields, urlencoded. A null field is left out, a list repeats its parameter,
/// and any value that is not text is written as JSON.
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
