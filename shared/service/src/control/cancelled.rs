//! What is published for a message that an operator cancelled.

use jiff::Timestamp;
use postern_broker::{Address, Envelope, queued::Queued};
use postern_shared::{
    callback::{self, CallbackKeys, KannelEvent},
    error::{Failure, FailureClass},
    message::{Identity, Recipient, Report},
};

/// The code of a cancelled recipient in its report.
pub const CANCELLED: &str = "cancelled";

/// Whether the client of `queued` wants callbacks that cannot be made with `keys`, for example because this process was
/// not given the client's password.
pub(super) fn lacks_key(queued: Queued<'_>, keys: &CallbackKeys) -> bool {
    callback::token(&queued.message.context).is_some_and(|token| keys.open(token).is_none())
}

/// The report that each recipient of `queued` was cancelled at `now`, and the callbacks to the client if it
/// asked for them. There is no dead letter: nobody is to send the message again.
pub fn cancelled(queued: Queued<'_>, keys: &CallbackKeys, now: Timestamp) -> Vec<(Address, Envelope)> {
    let Queued { envelope, message, .. } = queued;
    let failure =
        message.given_up(Failure::permanent(CANCELLED, "cancelled by an operator before it was sent"));
    let recipient = |identity: &Identity| Recipient::failed(identity.clone(), &failure);
    let report = Report {
        message_id: message.id,
        backend: message.backend.clone(),
        attempt: message.attempt,
        at: now,
        recipients: message.identities.iter().map(recipient).collect(),
    };
    // What the provider may have was not refused.
    let is_refused = failure.class != FailureClass::Unknown;
    let refused = || (KannelEvent::Refused, None, format!("NACK/{CANCELLED}"));
    let events = message.identities.iter().map(|_| is_refused.then(refused));
    let callback_events = callback::callback_events(keys, message, events, now);
    let told = callback_events.iter().map(|callback_event| {
        (Address::Callbacks(callback_event.backend.clone()), Envelope::from(callback_event))
    });
    let reported = (Address::Reports(message.backend.clone()), Envelope::from(&report));
    std::iter::once(reported).chain(told).map(|(address, out)| (address, out.in_trace_of(envelope))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::{Config, ProviderRegistry};
    use postern_shared::{
        callback::{CONTEXT_KEY, Callback},
        message::{MessageId, Outbound},
    };
    use serde_json::json;
    use std::collections::BTreeMap;

    const CONFIG: &str = "[backends.a]\ntype = \"console\"\n[[compat.kannel.users]]\nusername = \"u\"\n\
                          password = \"hush\"\nbackend = \"a\"\n";

    #[test]
    fn a_client_is_told_that_its_message_was_refused_unless_the_provider_may_have_it() {
        let config = Config::parse("test", Some(CONFIG), [], &ProviderRegistry::builtin()).unwrap();
        let (keys, message_id) = (config.compat.callback_keys(), MessageId::new());
        let callback = Callback {
            message_id,
            user: "u".to_owned(),
            url: "https://example.org/".to_owned(),
            mask: 31,
            to: None,
            values: BTreeMap::new(),
        };
        let body = json!({
            "id": message_id, "backend": "a", "identities": ["+1"], "text": "x",
            "context": { CONTEXT_KEY: keys.seal(&callback).unwrap() },
        });
        let message = Outbound::from_json(body.to_string().as_bytes()).unwrap();
        for (maybe_sent, told) in [(false, 1), (true, 0)] {
            let message = Outbound { maybe_sent, ..message.clone() };
            let envelope = Envelope::from(&message);
            let queued = Queued { envelope: &envelope, message: &message, lane: message.priority };
            let published = cancelled(queued, &keys, Timestamp::now());
            let callbacks = published.iter().filter(|(to, _)| matches!(to, Address::Callbacks(_)));
            assert_eq!((published.len(), callbacks.count()), (1 + told, told), "{maybe_sent}");
        }
    }
}
