//! A text in parts: what is sent again, to whom, and what is reported.
#![expect(clippy::disallowed_types, reason = "one configuration for all cases of the property tests")]

use super::*;
use crate::settle::settlement;
use postern_broker::{Address, Envelope, QueueName};
use postern_config::{Config, ProviderRegistry};
use postern_shared::{
    message::{Recipient, Report, State},
    text::policy::TextPolicy,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// A text of three parts.
const TEXT: &str = "one two three four five six seven";

fn policy() -> TextPolicy {
    serde_json::from_value(serde_json::json!({"limit": {"characters": 14}})).unwrap()
}

static SCHEDULE: LazyLock<Schedule> = LazyLock::new(|| {
    let text = "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"http://h/\"\n";
    let config = Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap();
    Schedule::new(config.backends.values().next().unwrap(), Arc::new(postern_service::topology(&config)))
});

fn message(identities: usize) -> Outbound {
    let identities: Vec<String> = (0..identities).map(|n| format!("+{n}")).collect();
    let body = serde_json::json!({"backend": "demo", "identities": identities, "text": TEXT});
    Outbound::from_json(body.to_string().as_bytes()).unwrap()
}

fn sent(part: usize) -> Sent {
    Sent::with_id(format!("SM{part}"))
}

/// The progress of a recipient who got `parts` parts, and then `failure`.
fn progress(parts: usize, failure: Option<Failure>) -> PartsProgress {
    PartsProgress { sent: (0..parts).map(sent).collect(), failure }
}

/// What follows from `progress`: the report, and each retry and dead letter.
fn after(message: &Outbound, progress: Vec<PartsProgress>) -> (Report, Vec<(Address, Outbound)>) {
    let prepared = policy().prepare(&message.text, message.parts_sent as usize).unwrap();
    let results = results(&SCHEDULE, message, progress, Timestamp::now());
    let attempt = Attempt { message, prepared: Some(prepared), results };
    let queue = QueueName::outbound(&message.backend, message.priority);
    let mut messages = settlement(&Envelope::from(message), &queue, &attempt, Timestamp::now());
    let report = Report::from_json(&messages.remove(0).1.body).unwrap();
    let read = |(to, envelope): (Address, Envelope)| (to, Outbound::from_json(&envelope.body).unwrap());
    (report, messages.into_iter().map(read).collect())
}

#[test]
fn each_recipient_goes_on_where_they_are() {
    let message = message(4);
    let busy = || Some(Failure::transient("http_503", ""));
    let progress = vec![
        progress(3, None),
        progress(1, busy()),
        progress(0, busy()),
        progress(2, Some(Failure::permanent("http_400", ""))),
    ];
    let (report, messages) = after(&message, progress);
    let told = |Recipient { state, external_id, external_ids, segments, .. }: &Recipient| {
        (*state, external_id.clone(), external_ids.join(" "), *segments)
    };
    let told: Vec<_> = report.recipients.iter().map(told).collect();
    assert_eq!(
        told,
        [
            (State::Sent, Some("SM2".to_owned()), "SM0 SM1 SM2".to_owned(), Some(3)),
            (State::Retrying, None, "SM0".to_owned(), Some(1)),
            (State::Retrying, None, String::new(), None),
            (State::Failed, None, "SM0 SM1".to_owned(), Some(2)),
        ]
    );
    let left: Vec<_> = messages
        .iter()
        .map(|(to, m)| {
            let dead = matches!(to, Address::Dead(_));
            (dead, m.identities[0].as_str(), m.parts_sent, m.text.as_str(), m.attempt)
        })
        .collect();
    assert_eq!(
        left,
        [(true, "+3", 2, "seven", 1), (false, "+2", 0, TEXT, 2), (false, "+1", 1, "four five six seven", 2)]
    );
    assert!(messages.iter().all(|(_, m)| m.id == message.id && m.identities.len() == 1));
}

#[test]
fn the_last_part_alone_is_still_one_of_several() {
    let rest = Outbound { text: "seven".to_owned(), parts_sent: 2, ..message(1) };
    let (report, messages) = after(&rest, vec![progress(1, None)]);
    assert!(messages.is_empty());
    assert_eq!(report.recipients[0].external_ids, ["SM0"]);
    let whole = Outbound { text: "short".to_owned(), ..message(1) };
    let (report, _) = after(&whole, vec![progress(1, None)]);
    assert!(report.recipients[0].external_ids.is_empty(), "external_id says it");
    assert_eq!(report.recipients[0].external_id.as_deref(), Some("SM0"));
}

#[test]
fn an_accepted_part_leaves_no_doubt_about_the_parts_after_it() {
    let message = Outbound { maybe_sent: true, ..message(4) };
    let refused = || Some(Failure::permanent("http_400", ""));
    let busy = || Some(Failure::transient("http_503", ""));
    let progress =
        vec![progress(1, refused()), progress(0, refused()), progress(1, busy()), progress(0, busy())];
    let (report, messages) = after(&message, progress);
    let states: Vec<_> = report.recipients.iter().map(|recipient| recipient.state).collect();
    assert_eq!(states, [State::Failed, State::Unknown, State::Retrying, State::Retrying]);
    let left: Vec<_> = messages
        .iter()
        .map(|(to, m)| (matches!(to, Address::Dead(_)), m.identities[0].as_str(), m.parts_sent, m.maybe_sent))
        .collect();
    assert_eq!(
        left,
        [(true, "+1", 0, true), (true, "+0", 1, false), (false, "+3", 0, true), (false, "+2", 1, false)]
    );
}

fn any_progress() -> impl Strategy<Value = Vec<(usize, Option<usize>)>> {
    proptest::collection::vec((0..4_usize, proptest::option::of(0..5_usize)), 1..12)
}

proptest! {
    /// Over any number of attempts, nobody gets a part twice or out of order, and dead letters hold exactly
    /// what their recipients did not get.
    #[test]
    fn what_was_sent_and_what_is_left_are_the_text(rounds in proptest::collection::vec(any_progress(), 8)) {
        let parts = policy().prepare(TEXT, 0).unwrap().len();
        let mut got: BTreeMap<String, String> = BTreeMap::new();
        let mut given_up: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting = vec![message(rounds[0].len())];
        let everyone: Vec<String> = waiting[0].identities.iter().map(|i| i.as_str().to_owned()).collect();
        for round in rounds.iter().cycle() {
            let Some(message) = waiting.pop() else { break };
            let prepared = policy().prepare(&message.text, message.parts_sent as usize).unwrap();
            prop_assert_eq!(message.parts_sent as usize + prepared.len(), parts, "the parts stay what they were");
            let progress: Vec<PartsProgress> = message.identities.iter().zip(round.iter().cycle()).map(|(_, (sent, class))| {
                let failure = class.map(|class| Failure::new(postern_shared::error::FailureClass::ALL[class], "c", ""));
                let sent = if failure.is_some() { (*sent).min(prepared.len() - 1) } else { prepared.len() };
                progress(sent, failure)
            }).collect();
            for (identity, course) in message.identities.iter().zip(&progress) {
                let text = got.entry(identity.as_str().to_owned()).or_default();
                (0..course.sent.len()).for_each(|part| text.push_str(&prepared.part(part)));
            }
            for (to, message) in after(&message, progress).1 {
                match to {
                    Address::Dead(_) => for identity in &message.identities {
                        given_up.insert(identity.as_str().to_owned(), message.text.clone());
                    },
                    _ => waiting.push(message),
                }
            }
        }
        for name in everyone {
            let left = given_up.remove(&name).unwrap_or_default();
            prop_assert_eq!(got[&name].clone() + &left, TEXT);
        }
    }
}
