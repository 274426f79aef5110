//! The events that follow from what is published ([`events`]), for the message log.
//!
//! | published to | happened |
//! | --- | --- |
//! | the applications | `received` |
//! | a backend, as a first attempt | `accepted` |
//! | the reports | for each recipient, what its state says |
//! | the dead letters | `dead`, for each recipient that it still holds |
//! | the message log alone | the event that is published |
//!
//! The same message makes the same events, however often it is looked at.
//!
//! An event for which nothing else is published (a webhook took a message, a client was called back, an
//! operator redrove a dead letter) is an `Event` to `Address::Log`. On RabbitMQ, the queue `postern.log`
//! is bound to the exchanges next to the other queues, so nothing is published twice, and retries, which
//! use other exchanges, do not come again. An embedded broker writes the events with the messages
//! (`LogRoute::Store`).

use crate::{
    Address, Envelope, QueueName, header,
    queued::{has_id, read, says},
};
use postern_shared::{
    callback::{CONTEXT_KEY, token},
    error::FailureClass,
    event::{Content, Direction, Event, EventKind},
    message::{Identity, Inbound, Malformed, Outbound, Recipient, Report, State},
};

/// The events of a message in `envelope` that is published to `address`. None for retries, callbacks and
/// commands, and for a dead letter whose body is not a message.
///
/// # Errors
/// [`Malformed`] if the body is not a message of the type that belongs at `address`.
pub fn events(address: &Address, envelope: &Envelope) -> Result<Vec<Event>, Malformed> {
    Ok(match address {
        Address::Inbound(_) => received(envelope)?.into_iter().collect(),
        Address::Outbound(..) => accepted(envelope)?.into_iter().collect(),
        Address::Reports(_) => reported(envelope)?,
        Address::Dead(_) => dead(envelope),
        Address::Log => vec![Event::from_json(&envelope.body)?],
        Address::Callbacks(_) | Address::Queue(_) | Address::Later { .. } => Vec::new(),
    })
}

/// The events of a redrive: an operator called `by` put `envelope` back into `queue`.
pub fn redriven(queue: &QueueName, envelope: &Envelope, by: Option<&str>) -> Vec<Event> {
    let each = of_each(queue, envelope, EventKind::Redriven).into_iter();
    each.map(|event| Event {
        at: envelope.requeued_at().unwrap_or(event.at),
        by: by.map(str::to_owned),
        ..event
    })
    .collect()
}

fn received(envelope: &Envelope) -> Result<Option<Event>, Malformed> {
    let message = Inbound::from_json(&envelope.body)?;
    // An operator moved it: it was received before.
    if envelope.requeued_at().is_some() {
        return Ok(None);
    }
    let Inbound { id, backend, identity, text, fields, external_id, received_at } = message;
    let content = Content {
        direction: Direction::Inbound,
        identities: vec![identity.clone()],
        text: Some(text),
        segments: None,
        created_at: received_at,
        fields,
    };
    let event = Event::new(EventKind::Received, id, backend).about(identity);
    Ok(Some(Event { at: received_at, external_id, content: Some(content), ..event }))
}

/// A message without an id has another one each time that it is read. The log learns of it only from its
/// reports, which have the id that it was sent under.
fn accepted(envelope: &Envelope) -> Result<Option<Event>, Malformed> {
    let message = read(envelope)?;
    let is_first = message.attempt == 1 && message.deferred == 0 && message.parts_sent == 0;
    if !is_first || envelope.requeued_at().is_some() || !has_id(envelope, &message) {
        return Ok(None);
    }
    let made_at = (!says(&envelope.body).created_at).then(|| message.id.made_at()).flatten();
    let Outbound { id, backend, identities, text, mut context, created_at, .. } = message;
    let at = made_at.unwrap_or(created_at);
    let callback = token(&context).map(str::to_owned);
    context.shift_remove(CONTEXT_KEY);
    let segments = envelope.integer_header(header::SEGMENTS);
    let content = Content {
        direction: Direction::Outbound,
        identities,
        text: Some(text),
        segments: segments.and_then(|segments| usize::try_from(segments).ok()),
        created_at: at,
        fields: context,
    };
    let by = envelope.text_header(header::BY).map(str::to_owned);
    let event = Event::new(EventKind::Accepted, id, backend);
    Ok(Some(Event { at, by, content: Some(content), callback, ..event }))
}

fn reported(envelope: &Envelope) -> Result<Vec<Event>, Malformed> {
    let report = Report::from_json(&envelope.body)?;
    Ok(report.recipients.iter().flat_map(|recipient| of_recipient(&report, recipient)).collect())
}

/// The events for `recipient` of `report`: for a text that was sent in parts, one for each part, with
/// its provider's id.
fn of_recipient(report: &Report, recipient: &Recipient) -> Vec<Event> {
    if recipient.state == State::Queued {
        return Vec::new();
    }
    let kind = EventKind::from(recipient.state);
    let reason = recipient.reason.as_ref();
    let event = Event {
        at: report.at,
        identity: recipient.identity.clone(),
        attempt: (report.attempt > 0).then_some(report.attempt),
        class: reason.map(|reason| reason.class),
        code: reason.map(|reason| reason.code.clone()),
        detail: reason.map(|reason| reason.detail.clone()).filter(|detail| !detail.is_empty()),
        external_id: recipient.external_id.clone(),
        http_status: recipient.http_status,
        duration_ms: recipient.duration_ms,
        ..Event::new(kind, report.message_id, report.backend.clone())
    };
    match &recipient.external_ids[..] {
        [_, _, ..] if kind == EventKind::Sent => {
            let part = |id: &String| Event { external_id: Some(id.clone()), ..event.clone() };
            recipient.external_ids.iter().map(part).collect()
        }
        _ => vec![event],
    }
}

fn dead(envelope: &Envelope) -> Vec<Event> {
    let text = |name| envelope.text_header(name).map(str::to_owned);
    let queue = envelope.text_header(header::QUEUE).and_then(QueueName::known);
    let Some(queue) = queue else { return Vec::new() };
    let class = envelope.text_header(header::CLASS).and_then(FailureClass::named);
    let attempts = envelope.integer_header(header::ATTEMPTS).and_then(|number| u32::try_from(number).ok());
    let at = envelope.text_header(header::DEAD_AT).and_then(|at| at.parse().ok());
    let each = of_each(&queue, envelope, EventKind::Dead).into_iter();
    each.map(|event| Event {
        at: at.unwrap_or(event.at),
        attempt: attempts.filter(|attempts| *attempts > 0),
        class,
        code: text(header::CODE),
        detail: text(header::REASON),
        ..event
    })
    .collect()
}

/// One event for each recipient of `envelope`, a message of `queue`; for a person's message, one about
/// the whole message. None for a dead-lettered report, which is not about the message in `envelope`.
fn of_each(queue: &QueueName, envelope: &Envelope, kind: EventKind) -> Vec<Event> {
    if *queue == QueueName::inbound() {
        let message = Inbound::from_json(&envelope.body).ok();
        return message.map(|message| Event::new(kind, message.id, message.backend)).into_iter().collect();
    }
    if queue.backend().is_none() {
        return Vec::new();
    }
    let Ok(message) = read(envelope) else { return Vec::new() };
    if !has_id(envelope, &message) {
        return Vec::new();
    }
    let about = |identity: Identity| Event::new(kind, message.id, message.backend.clone()).about(identity);
    message.identities.iter().cloned().map(about).collect()
}

#[cfg(test)]
mod tests;
