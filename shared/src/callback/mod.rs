//! Delivery callbacks: a client of another gateway asks to be told what became of its message, by a request
//! to an address of its own.
//!
//! Nothing is remembered anywhere. What the client asked for, a [`Callback`], is sealed into a token
//! that goes wherever the message goes: in its context (under [`CONTEXT_KEY`]), and in the address
//! that the provider's delivery reports come to. Whoever finds an event about the message opens the
//! token and queues a [`CallbackEvent`]; the dispatcher takes that and makes the
//! request. A token can be made only with the password of the client's user ([`CallbackKeys`]): neither an
//! application that publishes messages nor anyone who calls a status address can make Postern call
//! an address of their own.
//!
//! The dispatcher opens the token when it publishes what became of an attempt. If the client wants to
//! know that the provider took the message (8) or that nobody will (16), a notice to `postern.callbacks`
//! is published with the report, in one step. `{{ status_url }}` of such a message ends in the token, so
//! a provider's report brings it along, and the ingress publishes report and notice together, before the
//! 2xx. The report of a provider whose callback address is set in its console brings none: its token is
//! looked up in the message log.
//!
//! A client's wish travels with its message although a message log holds it, too. The token works without
//! a log, while the log is away and beyond its retention; and since the row holds the same sealed token,
//! nobody who writes rows can have an address called. A row in place of the token would lose callbacks
//! with the log. The price: with a new password, reports about messages that were sent before it call
//! nobody.

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

/// Where a message's context holds the token. Only a compatibility listener sets it, and no template sees it.
pub const CONTEXT_KEY: &str = "postern:callback";
/// The longest address of a client, in bytes: with everything else in the token, a status address
/// stays below what servers and providers take.
pub const MAX_URL: usize = 1_024;

/// What a client wants told, and about which message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The message.
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
    /// The recipient, where there is only one: not every provider's report says it.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Identity>,
    /// What the request itself said, by Kannel's escape for it.
    #[serde(rename = "v", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<char, String>,
}

impl Callback {
    /// Whether the client wants to be told of `event`. As in Kannel, 16 is also told to whoever
    /// asked for 2: either way nobody gets the message.
    pub fn wants(&self, event: KannelEvent) -> bool {
        let also = if event == KannelEvent::Refused { KannelEvent::Undelivered.bit() } else { 0 };
        self.mask & (event.bit() | also) != 0
    }

    /// The notice that follows `report`, of which the provider said `reply`; `token` is the callback, sealed.
    /// `None` if the client does not want to be told of it.
    pub fn told_of(&self, token: &str, report: &Report, reply: String) -> Option<CallbackEvent> {
        let recipient = report.recipients.first()?;
        let event = KannelEvent::of_report(recipient.state).filter(|event| self.wants(*event))?;
        Some(CallbackEvent {
            message_id: self.message_id,
            backend: report.backend.clone(),
            callback: token.to_owned(),
            event: event.bit(),
            identity: recipient.identity.clone(),
            external_id: recipient.external_id.clone(),
            reply,
            at: report.at,
        })
    }
}

/// What Kannel's delivery reports tell: the user guide's "Delivery Reports".
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
    /// Its bit of the mask, which is also its number.
    pub fn bit(self) -> u8 {
        match self {
            Self::Delivered => 1,
            Self::Undelivered => 2,
            Self::Buffered => 4,
            Self::Accepted => 8,
            Self::Refused => 16,
        }
    }

    /// What a provider's delivery report tells. That it took the message is no event: the
    /// dispatcher has told so when it was sent.
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

/// The token in `context`, as it stands there.
pub fn token(context: &Context) -> Option<&str> {
    context.get(CONTEXT_KEY)?.as_str().filter(|token| might_be_token(token))
}

/// The notices that follow an attempt to send `message`, of which `events` says for each identity
/// what there is to tell: the event, the provider's id and the SMSC's reply in Kannel's words.
pub fn notices<'a>(
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

/// The notice that follows `report`, about a message in whose context `token` stood; `word` is what the provider
/// said. `None` if nobody wants one.
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
