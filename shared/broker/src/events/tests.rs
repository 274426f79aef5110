use super::{events as read_events, *};
use crate::dead_letter::{Cause, dead_letter};
use jiff::Timestamp;
use postern_shared::message::{BackendName, MessageId, Priority, Reason};
use serde_json::json;
use std::time::Duration;

const ID: &str = "019b2a4c-0000-7000-8000-000000000000";
const AT: &str = "2026-11-27T10:00:00.123Z";

/// The events of a message that can be read.
fn events(address: &Address, envelope: &Envelope) -> Vec<Event> {
    read_events(address, envelope).unwrap()
}

fn clinic() -> BackendName {
    "clinic".parse().unwrap()
}

fn id() -> MessageId {
    ID.parse().unwrap()
}

fn at() -> Timestamp {
    AT.parse().unwrap()
}

fn outbound() -> Outbound {
    let body = json!({
        "id": ID, "backend": "clinic", "identities": ["+1", "+2"], "text": "pong", "created_at": AT,
        "context": {"order": 17, "postern:callback": "sealed.token"},
    });
    Outbound::from_json(body.to_string().as_bytes()).unwrap()
}

fn to_send() -> Address {
    Address::Outbound(clinic(), Priority::Normal)
}

fn queue() -> QueueName {
    QueueName::outbound(&clinic(), Priority::Normal)
}

fn bare(body: &str) -> Envelope {
    Envelope { body: body.to_owned().into(), ..Envelope::default() }
}

fn kinds(events: &[Event]) -> Vec<(&'static str, Option<&str>)> {
    events.iter().map(|event| (event.event.as_str(), event.identity.as_ref().map(Identity::as_str))).collect()
}

#[test]
fn a_persons_message_was_received_with_what_it_says() {
    let mut message = Inbound::new(clinic(), "+1".parse().unwrap(), "ping").with_external_id("abc");
    message.fields.insert("shortcode".to_owned(), "5000".into());
    let made = events(&Address::Inbound(clinic()), &Envelope::from(&message));
    let [event] = &made[..] else { panic!("{made:?}") };
    assert_eq!(
        (event.message_id, event.at, event.event),
        (message.id, message.received_at, EventKind::Received)
    );
    assert_eq!(
        (event.external_id.as_deref(), event.identity.as_ref()),
        (Some("abc"), Some(&message.identity))
    );
    let content = event.content.as_ref().unwrap();
    assert_eq!((content.direction, content.text.as_deref()), (Direction::Inbound, Some("ping")));
    assert_eq!((&content.fields, content.created_at), (&message.fields, message.received_at));
    let moved = Envelope::from(&message).requeued(at());
    assert_eq!(events(&Address::Inbound(clinic()), &moved), []);
}

#[test]
fn an_applications_message_was_accepted_with_what_it_says_and_without_what_is_ours() {
    let envelope = Envelope::from(&outbound()).with(header::BY, "clinic-app").with(header::SEGMENTS, 1);
    let made = events(&to_send(), &envelope);
    let [event] = &made[..] else { panic!("{made:?}") };
    assert_eq!((event.message_id, event.at, event.event), (id(), at(), EventKind::Accepted));
    assert_eq!((event.by.as_deref(), &event.identity), (Some("clinic-app"), &None));
    let content = event.content.as_ref().unwrap();
    assert_eq!((content.direction, content.segments), (Direction::Outbound, Some(1)));
    assert_eq!((&content.identities, content.text.as_deref()), (&outbound().identities, Some("pong")));
    assert_eq!(serde_json::to_value(&content.fields).unwrap(), json!({"order": 17}));
    assert_eq!(event.callback.as_deref(), Some("sealed.token"));
    assert_eq!(events(&to_send(), &envelope), made, "the same again");
}

#[test]
fn only_the_first_attempt_of_a_message_with_an_id_was_accepted() {
    let undated = r#"{"backend":"clinic","identities":["+1"],"text":"x"}"#;
    let with_outer = Envelope { message_id: Some(ID.to_owned()), ..bare(undated) };
    let in_body = bare(&format!(r#"{{"id":"{ID}",{}"#, &undated[1..]));
    for (envelope, accepted) in [
        (Envelope::from(&outbound()), true),
        (with_outer.clone(), true),
        (in_body, true),
        (bare(undated), false),
        (Envelope { message_id: Some("order-17".to_owned()), ..bare(undated) }, false),
        (Envelope::from(&Outbound { attempt: 2, ..outbound() }), false),
        (Envelope::from(&Outbound { deferred: 1, ..outbound() }), false),
        (Envelope::from(&Outbound { parts_sent: 1, ..outbound() }), false),
        (Envelope::from(&outbound()).requeued(at()), false),
    ] {
        let made = events(&to_send(), &envelope);
        assert_eq!(made.len(), usize::from(accepted), "{}", String::from_utf8_lossy(&envelope.body));
        assert!(made.iter().all(|event| event.message_id == id()));
    }
    // If a message has no date, that of its id is used, so that it is the same each time.
    assert_eq!(events(&to_send(), &with_outer)[0].at, id().made_at().unwrap());
}

#[test]
fn what_only_goes_its_way_is_no_event() {
    let (queue, delay) = (queue(), Duration::from_secs(5));
    let envelope = Envelope::from(&outbound());
    for address in [
        Address::Callbacks(clinic()),
        Address::Queue(queue.clone()),
        Address::Queue(QueueName::control()),
        Address::Later { queue, delay },
    ] {
        assert_eq!(events(&address, &envelope), [], "{address:?}");
    }
}

fn report(attempt: u32, recipients: Vec<Recipient>) -> Envelope {
    Envelope::from(&Report { message_id: id(), backend: clinic(), attempt, at: at(), recipients })
}

fn recipient(state: State) -> Recipient {
    Recipient {
        identity: Some("+1".parse().unwrap()),
        state,
        external_id: Some("SM1".to_owned()),
        external_ids: Vec::new(),
        segments: None,
        reason: None,
        http_status: Some(201),
        duration_ms: Some(84),
    }
}

#[test]
fn each_state_is_an_event() {
    for (state, kind) in [
        (State::Queued, None),
        (State::Sent, Some(EventKind::Sent)),
        (State::Buffered, Some(EventKind::Buffered)),
        (State::Delivered, Some(EventKind::Delivered)),
        (State::Retrying, Some(EventKind::Deferred)),
        (State::Failed, Some(EventKind::Failed)),
        (State::Undelivered, Some(EventKind::Undelivered)),
        (State::Expired, Some(EventKind::Expired)),
        (State::Unknown, Some(EventKind::Unknown)),
    ] {
        let made = events(&Address::Reports(clinic()), &report(2, vec![recipient(state)]));
        assert_eq!(made.iter().map(|event| event.event).next(), kind, "{state:?}");
        if let [event] = &made[..] {
            assert_eq!((event.message_id, event.at, event.attempt), (id(), at(), Some(2)));
            assert_eq!((event.http_status, event.duration_ms), (Some(201), Some(84)));
            assert_eq!(event.external_id.as_deref(), Some("SM1"));
        }
    }
}

#[test]
fn a_report_has_an_event_for_each_recipient_and_says_why() {
    let reason =
        Reason { class: FailureClass::Permanent, code: "http_400".to_owned(), detail: "no".to_owned() };
    let nobody = Recipient { identity: None, ..recipient(State::Delivered) };
    let failed = Recipient { reason: Some(reason), external_id: None, ..recipient(State::Failed) };
    let made = events(&Address::Reports(clinic()), &report(0, vec![nobody, failed]));
    assert_eq!(kinds(&made), [("delivered", None), ("failed", Some("+1"))]);
    assert_eq!((made[0].attempt, made[0].class), (None, None), "a delivery report is no attempt");
    let why = (made[1].class, made[1].code.as_deref(), made[1].detail.as_deref());
    assert_eq!(why, (Some(FailureClass::Permanent), Some("http_400"), Some("no")));
}

#[test]
fn each_part_that_was_sent_has_its_providers_id() {
    let ids = ["SM1", "SM2"].map(str::to_owned);
    let sent = Recipient { external_ids: ids.to_vec(), ..recipient(State::Sent) };
    let retrying = Recipient { state: State::Retrying, external_id: None, ..sent.clone() };
    let made = events(&Address::Reports(clinic()), &report(1, vec![sent, retrying]));
    let told: Vec<_> = made.iter().map(|event| (event.event, event.external_id.as_deref())).collect();
    assert_eq!(
        told,
        [(EventKind::Sent, Some("SM1")), (EventKind::Sent, Some("SM2")), (EventKind::Deferred, None)]
    );
}

fn letter(original: Envelope, queue: &QueueName) -> Envelope {
    let class = FailureClass::Permanent;
    dead_letter(original, queue, Cause { class, code: "http_400", reason: "http_400: no", attempts: 3 })
}

#[test]
fn a_dead_letter_is_dead_for_each_recipient_that_it_holds() {
    let made = events(&Address::Dead(clinic()), &letter(Envelope::from(&outbound()), &queue()));
    assert_eq!(kinds(&made), [("dead", Some("+1")), ("dead", Some("+2"))]);
    let told = (made[0].class, made[0].code.as_deref(), made[0].attempt, made[0].detail.as_deref());
    assert_eq!(told, (Some(FailureClass::Permanent), Some("http_400"), Some(3), Some("http_400: no")));
    let person = Inbound::new(clinic(), "+1".parse().unwrap(), "ping");
    let made = events(&Address::Dead(clinic()), &letter(Envelope::from(&person), &QueueName::inbound()));
    assert_eq!((kinds(&made), made[0].message_id), (vec![("dead", None)], person.id));
    for (body, queue) in [
        (bare("no message"), queue()),
        (report(1, vec![recipient(State::Sent)]), QueueName::reports()),
        (Envelope::from(&outbound()), QueueName::callbacks()),
    ] {
        assert_eq!(events(&Address::Dead(clinic()), &letter(body, &queue)), [], "{queue}");
    }
    assert_eq!(
        events(&Address::Dead(clinic()), &Envelope::from(&outbound())),
        [],
        "it does not say its queue"
    );
}

#[test]
fn what_an_operator_put_back_says_when_and_by_whom() {
    let envelope = Envelope::from(&outbound()).requeued(at());
    let made = redriven(&queue(), &envelope, Some("ops@desk"));
    assert_eq!(kinds(&made), [("redriven", Some("+1")), ("redriven", Some("+2"))]);
    assert_eq!((made[1].at, made[1].by.as_deref()), (at(), Some("ops@desk")));
    // The event is published on its own, and read unchanged.
    let alone = events(&Address::Log, &Envelope::from(&made[0]));
    assert_eq!(alone, made[..1]);
}

#[test]
fn a_body_that_does_not_belong_there_is_told() {
    for address in [Address::Inbound(clinic()), to_send(), Address::Reports(clinic()), Address::Log] {
        assert!(read_events(&address, &bare("no message")).is_err(), "{address:?}");
    }
}
