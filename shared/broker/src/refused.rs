//! What is published in place of a message that the broker will never accept: the message with fewer
//! headers, then in pieces, and in the end as a dead letter.

use crate::{
    Address, Envelope,
    dead_letter::{Cause, dead_letter},
    header,
};
use postern_shared::{
    clock,
    error::Failure,
    message::{BackendName, Outbound, Recipient, Report},
};
use std::collections::VecDeque;

/// The code of a dead letter or a report about a message that the broker refused.
pub const REFUSED_BY_BROKER: &str = "refused_by_broker";
/// The routing key of a dead letter whose backend is not known.
pub const NO_BACKEND: &str = "unknown";

/// The rest of a message that the broker refused, to be published piece by piece. It comes to an end:
/// each piece that the broker refuses is made smaller, or becomes a dead letter.
#[derive(Debug)]
pub struct Remainder {
    pieces: VecDeque<(Address, Envelope)>,
    lost: Vec<(Address, Envelope)>,
}

impl Remainder {
    /// The rest of `message`, which the broker refused because of `why`.
    pub fn of(message: (Address, Envelope), why: &str) -> Self {
        let mut remainder = Self { pieces: VecDeque::new(), lost: Vec::new() };
        remainder.refuse(message, why);
        remainder
    }

    /// The next piece to publish, in order. `None` once there is none left.
    pub fn next_piece(&mut self) -> Option<(Address, Envelope)> {
        self.pieces.pop_front()
    }

    /// Takes note that the broker refused `piece` as well, because of `why`.
    pub fn refuse(&mut self, piece: (Address, Envelope), why: &str) {
        match smaller(&piece, why) {
            // Before the other pieces, so that the order stays.
            Some(smaller) => smaller.into_iter().rev().for_each(|piece| self.pieces.push_front(piece)),
            None => self.lost.push(piece),
        }
    }

    /// The dead letters that the broker refused even with nothing left around their bodies.
    pub fn into_lost(self) -> Vec<(Address, Envelope)> {
        self.lost
    }
}

/// What is published in place of a message, in order. `None` for a dead letter that has nothing left
/// around its body.
fn smaller((address, envelope): &(Address, Envelope), why: &str) -> Option<Vec<(Address, Envelope)>> {
    let alone = |envelope| Some(vec![(address.clone(), envelope)]);
    if let Some(less) = without_foreign_headers(envelope) {
        return alone(less);
    }
    let pieces = match address {
        Address::Reports(_) => pieces_of_report(envelope),
        Address::Outbound(..) | Address::Queue(_) | Address::Later { .. } | Address::Dead(_) => {
            pieces_of_outbound(envelope)
        }
        Address::Inbound(_) | Address::Callbacks(_) | Address::Log => None,
    };
    if let Some(pieces) = pieces {
        return Some(pieces.into_iter().map(|piece| (address.clone(), piece)).collect());
    }
    match address {
        Address::Dead(_) => alone(without_properties(envelope)?),
        _ => Some(given_up(address, envelope, why)),
    }
}

fn without_foreign_headers(envelope: &Envelope) -> Option<Envelope> {
    let mut less = envelope.clone();
    less.headers.retain(|name, _| name.starts_with(header::OWN) || name == header::TRACEPARENT);
    (less != *envelope).then_some(less)
}

fn without_properties(envelope: &Envelope) -> Option<Envelope> {
    let Envelope { mut headers, body, .. } = envelope.clone();
    headers.retain(|name, _| name.starts_with(header::OWN));
    let less = Envelope { headers, body, ..Envelope::default() };
    (less != *envelope).then_some(less)
}

/// `other` with the headers of `envelope`.
fn with_body(envelope: &Envelope, other: Envelope) -> Envelope {
    Envelope { headers: envelope.headers.clone(), ..other }
}

/// The report without details or, if it has none, its two halves.
fn pieces_of_report(envelope: &Envelope) -> Option<Vec<Envelope>> {
    let report = Report::from_json(&envelope.body).ok()?;
    let mut less = report.clone();
    for reason in less.recipients.iter_mut().filter_map(|recipient| recipient.reason.as_mut()) {
        reason.detail.clear();
    }
    let half = |recipients| Report { recipients, ..report.clone() };
    let pieces = if less == report { halves(&report.recipients)?.map(half).into() } else { vec![less] };
    Some(pieces.iter().map(|piece| with_body(envelope, Envelope::from(piece))).collect())
}

fn pieces_of_outbound(envelope: &Envelope) -> Option<Vec<Envelope>> {
    let message = Outbound::from_json(&envelope.body).ok()?;
    let half = |identities| with_body(envelope, Envelope::from(&Outbound { identities, ..message.clone() }));
    Some(halves(&message.identities)?.map(half).into())
}

fn halves<T: Clone>(all: &[T]) -> Option<[Vec<T>; 2]> {
    let (first, second) = all.split_at(all.len() / 2);
    (!first.is_empty()).then(|| [first.to_vec(), second.to_vec()])
}

/// The dead letter of a message, and the report if it was one to send.
fn given_up(address: &Address, envelope: &Envelope, why: &str) -> Vec<(Address, Envelope)> {
    let reason = format!("the broker will never accept this message: {why}");
    let message = match address {
        Address::Outbound(..) | Address::Queue(_) | Address::Later { .. } => {
            Outbound::from_json(&envelope.body).ok()
        }
        _ => None,
    };
    let attempts = message.as_ref().map_or(0, |message| message.attempt.saturating_sub(1));
    let failure = Failure::permanent(REFUSED_BY_BROKER, reason);
    let failure = match &message {
        Some(message) => message.given_up(failure),
        None => failure,
    };
    let cause = Cause { class: failure.class, code: REFUSED_BY_BROKER, reason: &failure.detail, attempts };
    let letter = dead_letter(envelope.clone(), &address.queue(), cause);
    let dead = backend(address).map(|backend| (Address::Dead(backend), letter));
    let report = message.map(|message| {
        let report = Envelope::from(&failed(&message, &failure));
        (Address::Reports(message.backend), report)
    });
    dead.into_iter().chain(report).collect()
}

fn backend(address: &Address) -> Option<BackendName> {
    match address {
        Address::Inbound(backend)
        | Address::Outbound(backend, _)
        | Address::Reports(backend)
        | Address::Callbacks(backend)
        | Address::Dead(backend) => Some(backend.clone()),
        // An event that the broker refuses is lost: there is no dead letter for it.
        Address::Log => None,
        Address::Queue(queue) | Address::Later { queue, .. } => {
            queue.backend().or_else(|| NO_BACKEND.parse().ok())
        }
    }
}

/// The report that `message` was given up for each of its recipients because of `failure`.
fn failed(message: &Outbound, failure: &Failure) -> Report {
    let recipient = |identity| Recipient::failed(identity, failure);
    Report {
        message_id: message.id,
        backend: message.backend.clone(),
        attempt: message.attempt,
        at: clock::now(),
        recipients: message.identities.iter().cloned().map(recipient).collect(),
    }
}

#[cfg(test)]
mod tests;
