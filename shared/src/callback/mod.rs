//! Delivery callbacks: a client of another gateway asks to be told what became of its message, by a request
//! to an address of its own.
//!
//! What the client asked for, a [`Callback`], is sealed into a token that travels with the message: in
//! its context (under [`CONTEXT_KEY`]), and in the address to which the provider sends delivery reports.
//! The message log, if there is one, holds the token, too. The service that learns of an event opens the
//! token and publishes a [`CallbackEvent`], and the dispatcher makes the request for it. A token can be
//! made only with the password of the client's user ([`CallbackKeys`]), so neither an application that
//! publishes messages nor anyone who calls a status address can make Postern call an address of their
//! own.
//!
//! The dispatcher opens the token when it publishes what became of an attempt. If the client wants to
//! know that the provider took the message (8) or that nobody will (16), the dispatcher publishes a
//! callback event to `postern.callbacks` in one step with the report. If nobody knows whether the provider
//! has a message that was given up, the client is told nothing: Kannel has no event for that, and a client
//! may send again what it is told was refused. If a message has a token, its `{{ status_url }}` ends in the
//! token, so the provider's delivery report brings it along, and the ingress publishes report and callback
//! event together, before the 2xx. If the callback address is set in the provider's console, the report
//! brings no token, and the ingress looks it up in the message log.
//!
//! The token travels with its message although a message log holds it, too. The token works without a
//! log, while the log cannot be reached, and after its retention. Since a row of the log holds the same
//! sealed token, nobody who writes rows can have an address called. The price: after a password change,
//! reports about messages that were sent before it make no callbacks.

mod egress_policy;
mod escapes;
mod token;

pub use egress_policy::{EgressPolicy, EgressRefused};
pub use escapes::fill;
pub use token::{CallbackKeys, might_be_token};

use crate::message::{
    CallbackEvent, Context, Identity, MAX_DETAIL, MessageId, Outbound, Report, State, line,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The key of the token in a message's context. Only a compatibility listener sets it; no template sees it.
pub const CONTEXT_KEY: &str = "postern:callback";
/// The longest address of a client, in bytes. With the rest of the token, a status address stays short
/// enough for servers and providers.
pub const MAX_URL: usize = 1_024;

/// What a client wants to be told, and about which message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The message's id.
    #[serde(rename = "i")]
    pub message_id: MessageId,
    /// The name of the user who sent it.
    #[serde(rename = "n")]
    pub user: String,
    /// The address to call, with Kannel's escapes in it.
    #[serde(rename = "u")]
    pub url: String,
    /// Kannel's `dlr-mask`: the events to be told, as the sum of [`KannelEvent::bit`]s.
    #[serde(rename = "m")]
    pub mask: u8,
    /// The recipient, if there is only one: not every provider's report names it.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Identity>,
    /// Parameters of the client's request, by Kannel's escapes for them.
    #[serde(rename = "v", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<char, String>,
}

impl Callback {
    /// Whether the client wants to be told of `event`. As in Kannel, a client that asked for 2 is also
    /// told of 16: in both cases nobody gets the message.
    pub fn wants(&self, event: KannelEvent) -> bool {
        let also = if event == KannelEvent::Refused { KannelEvent::Undelivered.bit() } else { 0 };
        self.mask & (event.bit() | also) != 0
    }

    /// The callback event of `report`, for which the provider's words are `reply`; `token` is this callback,
    /// sealed. `None` if the client does not want to be told of it.
    pub fn told_of(&self, token: &str, report: &Report, reply: String) -> Option<CallbackEvent> {
        let recipient = report.recipients.first()?;
        let event = KannelEvent::of_report(recipient.state).filter(|event| self.wants(*event))?;
        Some(CallbackEvent {
            message_id: self.message_id,
            backend: report.backend.clone(),
            callback: token.to_owned(),
            event: event.bit(),
            // As the message spells it, if it is known.
            identity: self.to.clone().or_else(|| recipient.identity.clone()),
            external_id: recipient.external_id.clone(),
            reply,
            at: report.at,
        })
    }
}

/// An event of Kannel's delivery reports: see "Delivery Reports" in its user guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KannelEvent {
    /// 1: delivered to the phone.
    Delivered,
    /// 2: not delivered to the phone.
    Undelivered,
    /// 4: queued at the SMSC.
    Buffered,
    /// 8: delivered to the SMSC, which here is the provider.
    Accepted,
    /// 16: not delivered to the SMSC.
    Refused,
}

impl KannelEvent {
    /// The event's bit in the mask, which is also its number.
    pub fn bit(self) -> u8 {
        match self {
            Self::Delivered => 1,
            Self::Undelivered => 2,
            Self::Buffered => 4,
            Self::Accepted => 8,
            Self::Refused => 16,
        }
    }

    /// The event of a delivery report with `state`. [`State::Sent`] makes none: the dispatcher told the
    /// client when it sent the message.
    pub fn of_report(state: State) -> Option<Self> {
        match state {
            State::Delivered => Some(Self::Delivered),
            State::Undelivered | State::Expired => Some(Self::Undelivered),
            State::Buffered => Some(Self::Buffered),
            State::Failed => Some(Self::Refused),
            State::Queued | State::Sent | State::Retrying | State::Unknown => None,
        }
    }
}

/// The token in `context`, still sealed.
pub fn token(context: &Context) -> Option<&str> {
    context.get(CONTEXT_KEY)?.as_str().filter(|token| might_be_token(token))
}

/// The callback events after an attempt to send `message`. `events` has one item for each identity, in order:
/// the event, the provider's id and the SMSC's reply in Kannel's words, or `None` if there is nothing to
/// tell.
pub fn callback_events<'a>(
    keys: &CallbackKeys,
    message: &'a Outbound,
    events: impl Iterator<Item = Option<(KannelEvent, Option<String>, String)>> + 'a,
    at: jiff::Timestamp,
) -> Vec<CallbackEvent> {
    let Some(token) = token(&message.context) else { return Vec::new() };
    let Some(callback) = keys.open(token).filter(|callback| callback.message_id == message.id) else {
        return Vec::new();
    };
    let due = message.identities.iter().zip(events).filter_map(|(identity, event)| {
        let (event, external_id, reply) = event.filter(|(event, ..)| callback.wants(*event))?;
        Some(CallbackEvent {
            message_id: message.id,
            backend: message.backend.clone(),
            callback: token.to_owned(),
            event: event.bit(),
            identity: Some(identity.clone()),
            external_id,
            reply,
            at,
        })
    });
    due.collect()
}

/// The callback event of `report`, about a message whose context holds `token`; `word` is the provider's word.
/// `None` if the client does not want to be told of it, or the token cannot be opened.
pub fn reported(
    keys: &CallbackKeys,
    token: Option<&str>,
    report: &Report,
    word: &str,
) -> Option<CallbackEvent> {
    let token = token?;
    let callback = keys.open(token).filter(|callback| callback.message_id == report.message_id)?;
    callback.told_of(token, report, line(word, MAX_DETAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_asks_for_events() {
        let callback = |mask| Callback {
            message_id: MessageId::new(),
            user: "u".to_owned(),
            url: "http://h/".to_owned(),
            mask,
            to: None,
            values: BTreeMap::new(),
        };
        let all = [
            KannelEvent::Delivered,
            KannelEvent::Undelivered,
            KannelEvent::Buffered,
            KannelEvent::Accepted,
            KannelEvent::Refused,
        ];
        for (mask, told) in
            [(0, vec![]), (31, vec![1, 2, 4, 8, 16]), (1, vec![1]), (2, vec![2, 16]), (24, vec![8, 16])]
        {
            let wanted: Vec<_> =
                all.into_iter().filter(|event| callback(mask).wants(*event)).map(KannelEvent::bit).collect();
            assert_eq!(wanted, told, "{mask}");
        }
        assert_eq!(KannelEvent::of_report(State::Sent), None);
        assert_eq!(KannelEvent::of_report(State::Expired).map(KannelEvent::bit), Some(2));
    }
}
