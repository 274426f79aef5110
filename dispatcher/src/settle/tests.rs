//! Dispositions in, messages out.

use super::*;
use crate::{
    outcome::{Outcome, Sent},
    retry::Schedule,
};
use postern_broker::{HeaderValue, dead_letter::MAX_REASON, header};
use postern_config::{Config, ProviderRegistry};
use postern_shared::message::{Recipient, Report, State};
use proptest::prelude::*;
use std::sync::Arc;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn schedule() -> Schedule {
    let text = "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"http://h/\"\n";
    let config = Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap();
    Schedule::new(config.backends.values().next().unwrap(), Arc::new(postern_service::topology(&config)))
}

fn original(identities: &[String], attempt: u32) -> Envelope {
    let body = serde_json::json!({
        "backend": "demo", "identities": identities, "text": "pong", "attempt": attempt,
        "context": {"from": "x"}, "priority": "bulk", "more": "than we know",
    });
    Envelope { body: body.to_string().into(), ..Envelope::default() }
        .with(header::TRACEPARENT, TRACE)
        .with("x-own", 7)
        .with(header::REASON, "an earlier death")
        .with("x-delivery-count", 3)
}

/// What follows from `outcomes`, one for each identity.
fn after(outcomes: &[Outcome], attempt: u32) -> (Envelope, Outbound, Vec<(Address, Envelope)>) {
    let identities: Vec<String> = (0..outcomes.len()).map(|n| format!("+{n}")).collect();
    let original = original(&identities, attempt);
    let message = Outbound::from_json(&original.body).unwrap();
    let now = Timestamp::now();
    let dispositions = schedule().dispositions(&message, outcomes.to_vec(), now);
    let queue = QueueName::outbound(&message.backend, message.priority);
    let messages = settlement(&original, &queue, &Attempt::of(&message, None, dispositions), now);
    (original, message, messages)
}

/// What follows from `dispositions`, one for each identity of `message`.
fn settled(message: &Outbound, dispositions: Vec<Disposition>, now: Timestamp) -> Vec<(Address, Envelope)> {
    let queue = QueueName::outbound(&message.backend, message.priority);
    settlement(&Envelope::from(message), &queue, &Attempt::of(message, None, dispositions), now)
}

fn report_of(messages: &[(Address, Envelope)]) -> Report {
    let reports: Vec<_> = messages.iter().filter(|(to, _)| matches!(to, Address::Reports(_))).collect();
    assert_eq!(reports.len(), 1);
    Report::from_json(&reports[0].1.body).unwrap()
}

#[test]
fn each_identity_goes_its_way() {
    let sent = || Ok(Sent::with_id("SM1"));
    let outcomes = [
        sent(),
        Err(Failure::transient("connect", "")),
        Err(Failure::permanent("http_400", "bad number")),
        Err(Failure::throttled("http_429", "", Some(Duration::from_secs(300)))),
        sent(),
        Err(Failure::transient("http_500", "")),
    ];
    let (_, message, messages) = after(&outcomes, 1);
    let states: Vec<State> = report_of(&messages).recipients.iter().map(|r: &Recipient| r.state).collect();
    use State::{Failed, Retrying, Sent as S};
    assert_eq!(states, [S, Retrying, Failed, Retrying, S, Retrying]);
    let [_, (_, dead), (soon, first), (late, second)] = &messages[..] else { panic!("{messages:?}") };
    for (address, delay) in [(soon, 5), (late, 300)] {
        let queue = QueueName::outbound(&message.backend, postern_shared::message::Priority::Bulk);
        assert_eq!(*address, Address::Later { queue, delay: Duration::from_secs(delay) });
    }
    for (envelope, identities, attempt) in
        [(first, vec!["+1", "+5"], 2), (second, vec!["+3"], 1), (dead, vec!["+2"], 1)]
    {
        let again = Outbound::from_json(&envelope.body).unwrap();
        assert_eq!(again.identities.iter().map(Identity::as_str).collect::<Vec<_>>(), identities);
        let identities = message.identities.clone();
        assert_eq!(Outbound { identities, attempt: 1, deferred: 0, ..again.clone() }, message);
        assert_eq!(again.deferred, u32::from(std::ptr::eq(envelope, second)));
        assert_eq!(again.attempt, attempt);
        assert_eq!(envelope.text_header(header::TRACEPARENT), Some(TRACE));
        assert_eq!(envelope.headers.get("x-own"), Some(&HeaderValue::Integer(7)));
        assert_eq!(envelope.message_id.as_deref(), Some(message.id.to_string().as_str()));
    }
    assert!(!first.headers.contains_key(header::REASON) && !first.headers.contains_key("x-delivery-count"));
    assert_eq!(messages[0].1.text_header(header::TRACEPARENT), Some(TRACE));
    assert_eq!(dead.text_header(header::REASON), Some("http_400: bad number"));
}

#[test]
fn a_message_that_dies_whole_stays_as_it_was() {
    let outcomes = [
        Err(Failure::transient("connect", "refused")),
        Err(Failure::permanent("http_400", "bad")),
        Err(Failure::transient("connect", "refused")),
    ];
    let (original, message, messages) = after(&outcomes, 6);
    let [_, (address, dead)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(*address, Address::Dead(message.backend));
    assert_eq!(dead.body, original.body);
    assert_eq!(
        dead.text_header(header::REASON),
        Some("connect: refused (2 recipients); http_400: bad (1 recipients)")
    );
    assert_eq!(dead.text_header(header::CLASS), Some("transient"));
    assert_eq!(dead.headers.get(header::ATTEMPTS), Some(&HeaderValue::Integer(6)));
    assert_eq!(dead.text_header(header::QUEUE), Some("postern.outbound.demo.bulk"));
    assert_eq!(dead.headers.get("x-own"), Some(&HeaderValue::Integer(7)));
}

#[test]
fn what_the_provider_may_have_is_not_called_expired() {
    let (now, body) = (Timestamp::now(), original(&["+1".to_owned()], 1).body);
    let message = Outbound { expires_at: Some(now), ..Outbound::from_json(&body).unwrap() };
    for (maybe_sent, failure, state, class, code) in [
        (false, Failure::unknown("no_answer", ""), State::Unknown, "unknown", "no_answer"),
        (false, Failure::transient("http_504", ""), State::Unknown, "unknown", "http_504"),
        (false, Failure::transient("connect", ""), State::Expired, "permanent", "expired"),
        (true, Failure::transient("connect", ""), State::Unknown, "unknown", "connect"),
        (true, Failure::permanent("http_400", "a double"), State::Unknown, "unknown", "http_400"),
        (false, Failure::permanent("http_400", "a double"), State::Failed, "permanent", "http_400"),
    ] {
        let message = Outbound { maybe_sent, ..message.clone() };
        let dispositions = schedule().dispositions(&message, vec![Err(failure)], now);
        let messages = settled(&message, dispositions, now);
        assert_eq!(report_of(&messages).recipients[0].state, state);
        let [_, (_, dead)] = &messages[..] else { panic!("{messages:?}") };
        let cause = [header::CLASS, header::CODE].map(|name| dead.text_header(name));
        assert_eq!(cause, [Some(class), Some(code)]);
        let redriven = Outbound::from_json(&dead.body).unwrap();
        assert_eq!(redriven.maybe_sent, state == State::Unknown, "{code}");
        assert_eq!(dead.headers.get(header::ATTEMPTS), Some(&HeaderValue::Integer(1)));
    }
}

#[test]
fn a_dead_letter_stays_as_it_was_if_that_is_right_about_an_unanswered_attempt() {
    let (refused, unanswered) = (Failure::permanent("http_400", ""), Failure::unknown("timeout", ""));
    for (written, failures, expected) in [
        (false, [&refused, &refused], vec![None]),
        (true, [&refused, &unanswered], vec![None]),
        (false, [&unanswered, &unanswered], vec![Some(true)]),
        (false, [&refused, &unanswered], vec![Some(false), Some(true)]),
    ] {
        let mut original = original(&["+1".to_owned(), "+2".to_owned()], 1);
        let mut body: serde_json::Value = serde_json::from_slice(&original.body).unwrap();
        body["maybe_sent"] = written.into();
        original.body = body.to_string().into();
        let message = Outbound::from_json(&original.body).unwrap();
        let dispositions = failures.map(|failure| Disposition::Dead(failure.clone())).into();
        let attempt = Attempt::of(&message, None, dispositions);
        let queue = QueueName::outbound(&message.backend, message.priority);
        let messages = settlement(&original, &queue, &attempt, Timestamp::now());
        let changed = |(_, letter): &(Address, Envelope)| {
            let is_new = letter.body != original.body;
            is_new.then(|| Outbound::from_json(&letter.body).unwrap().maybe_sent)
        };
        let changed: Vec<_> = messages[1..].iter().map(changed).collect();
        assert_eq!(changed, expected, "{written} {failures:?}");
    }
}

#[test]
fn a_message_that_expires_after_an_unanswered_attempt_may_have_been_sent() {
    let body = original(&["+1".to_owned()], 3).body;
    let message = Outbound { maybe_sent: true, ..Outbound::from_json(&body).unwrap() };
    let messages = settled(&message, vec![Disposition::Expired(None)], Timestamp::now());
    assert_eq!(report_of(&messages).recipients[0].state, State::Unknown);
    let [_, (_, dead)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(dead.text_header(header::CODE), Some("expired"));
    assert_eq!(dead.headers.get(header::ATTEMPTS), Some(&HeaderValue::Integer(2)), "the third was not made");
}

#[test]
fn a_retry_says_whether_an_attempt_was_not_answered() {
    let outcomes = [
        Err(Failure::unknown("timeout", "")),
        Err(Failure::transient("http_504", "")),
        Err(Failure::transient("connect", "")),
    ];
    let (_, _, messages) = after(&outcomes, 1);
    let retry = |place: usize| Outbound::from_json(&messages[place].1.body).unwrap();
    let identities =
        |message: &Outbound| message.identities.iter().map(|to| to.as_str().to_owned()).collect();
    let [answered, unanswered]: [(bool, Vec<String>); 2] =
        [retry(1), retry(2)].map(|message| (message.maybe_sent, identities(&message)));
    assert_eq!(answered, (false, vec!["+2".to_owned()]));
    assert_eq!(unanswered, (true, vec!["+0".to_owned(), "+1".to_owned()]));

    // The next attempt, which did not reach the provider, does not change that.
    let again = retry(2);
    let failed = || Err(Failure::transient("connect", ""));
    let now = Timestamp::now();
    let messages = settled(&again, schedule().dispositions(&again, vec![failed(), failed()], now), now);
    assert!(Outbound::from_json(&messages[1].1.body).unwrap().maybe_sent);
}

#[test]
fn a_reason_is_not_longer_than_a_header_should_be() {
    let (_, _, messages) = after(&[Err(Failure::permanent("x", "é".repeat(5_000)))], 1);
    assert_eq!(messages[1].1.text_header(header::REASON).unwrap().chars().count(), MAX_REASON + 1);
}

fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
    let outcome = prop_oneof![
        Just(Ok(Sent::with_id("SM1"))),
        Just(Ok(Sent::without_id())),
        (0..5_usize, proptest::option::of(0..10_000_u64)).prop_map(|(class, asked)| {
            let mut failure = Failure::new(FailureClass::ALL[class], "code", "detail");
            failure.retry_after = asked.map(Duration::from_secs);
            Err(failure)
        }),
    ];
    proptest::collection::vec(outcome, 1..40)
}

proptest! {
    #[test]
    fn nobody_vanishes_and_nobody_is_sent_to_twice(outcomes in outcomes(), attempt in 1..8_u32) {
        let (_, message, messages) = after(&outcomes, attempt);
        let report = report_of(&messages);
        let mut reported: BTreeMap<Told, Vec<&str>> = BTreeMap::new();
        for recipient in &report.recipients {
            reported.entry(Told::of(recipient.state)).or_default().push(recipient.identity.as_ref().unwrap().as_str());
        }
        let mut again = Vec::new();
        let mut dead = Vec::new();
        for (address, envelope) in &messages {
            let to = match address {
                Address::Later { delay, .. } => {
                    prop_assert!(*delay >= Duration::from_secs(1));
                    &mut again
                }
                Address::Dead(_) => &mut dead,
                _ => continue,
            };
            to.extend(Outbound::from_json(&envelope.body).unwrap().identities);
        }
        let sorted = |mut names: Vec<String>| { names.sort(); names };
        let names = |list: &[Identity]| sorted(list.iter().map(|i| i.as_str().to_owned()).collect());
        let of = |state| sorted(reported.get(&state).into_iter().flatten().map(|s| (*s).to_owned()).collect());
        prop_assert_eq!(names(&again), of(Told::Retrying));
        prop_assert_eq!(names(&dead), of(Told::Dead));
        let sent: Vec<String> = message.identities.iter().zip(&outcomes).filter(|(_, o)| o.is_ok())
            .map(|(i, _)| i.as_str().to_owned()).collect();
        prop_assert_eq!(sorted(sent), of(Told::Sent));
        prop_assert_eq!(report.recipients.len(), message.identities.len());
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Sent,
    Retrying,
    Dead,
}

impl Told {
    fn of(state: State) -> Self {
        match state {
            State::Sent => Self::Sent,
            State::Retrying => Self::Retrying,
            _ => Self::Dead,
        }
    }
}
