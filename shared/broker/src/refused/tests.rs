//! The rest of messages that the broker refuses.

use super::*;
use crate::{HeaderValue, QueueName};
use postern_shared::message::{MessageId, Priority, State};
use std::time::Duration;

type Messages = Vec<(Address, Envelope)>;

fn demo() -> BackendName {
    "demo".parse().unwrap()
}

fn message(recipients: usize) -> Outbound {
    let identities: Vec<_> = (0..recipients).map(|n| format!("+{n}")).collect();
    let body = format!(
        r#"{{"id":"{}","backend":"demo","identities":{identities:?},"text":"x","attempt":2}}"#,
        MessageId::new()
    );
    Outbound::from_json(body.as_bytes()).unwrap()
}

fn report(recipients: usize) -> Envelope {
    Envelope::from(&failed(&message(recipients), &Failure::permanent("http_400", "d".repeat(200))))
}

/// Publishes the rest of `message` to a broker that accepts what `takes` allows. Returns what it
/// accepted, and what is lost.
fn left(message: (Address, Envelope), takes: impl Fn(&Address, &Envelope) -> bool) -> (Messages, Messages) {
    let (mut remainder, mut taken) = (Remainder::of(message, "too much"), Vec::new());
    let mut attempts = 0;
    while let Some((address, envelope)) = remainder.next_piece() {
        attempts += 1;
        assert!(attempts < 1000, "it never ends");
        if takes(&address, &envelope) {
            taken.push((address, envelope));
        } else {
            remainder.refuse((address, envelope), "still too much");
        }
    }
    (taken, remainder.into_lost())
}

fn identities(envelope: &Envelope) -> Vec<String> {
    let message = Outbound::from_json(&envelope.body).unwrap();
    message.identities.into_iter().map(String::from).collect()
}

fn whom(envelope: &Envelope) -> Vec<String> {
    let report = Report::from_json(&envelope.body).unwrap();
    report.recipients.into_iter().map(|recipient| recipient.identity.unwrap().into()).collect()
}

#[test]
fn foreign_headers_go_first_and_nothing_else_changes() {
    let letter =
        Envelope::from(&message(3)).with(header::TRACEPARENT, "00-a-b-01").with(header::REASON, "why");
    let laden = letter.clone().with("theirs", "7".repeat(20_000));
    let few = |_: &Address, envelope: &Envelope| !envelope.headers.contains_key("theirs");
    let later = Address::Later { queue: QueueName::inbound(), delay: Duration::from_secs(1) };
    for address in [Address::Dead(demo()), Address::Outbound(demo(), Priority::Bulk), later] {
        let (taken, lost) = left((address.clone(), laden.clone()), few);
        assert_eq!(taken, [(address, letter.clone())]);
        assert!(lost.is_empty());
    }
}

#[test]
fn a_report_goes_without_details_and_then_in_pieces() {
    let whole = report(100);
    let bytes = whole.body.len();
    let (taken, _) = left((Address::Reports(demo()), whole.clone()), |_, it| it.body.len() * 2 < bytes);
    let [(Address::Reports(_), once)] = &taken[..] else { panic!("{taken:?}") };
    let recipients = Report::from_json(&once.body).unwrap().recipients;
    assert!(
        recipients.len() == 100
            && recipients.iter().all(|one| one.reason.as_ref().unwrap().detail.is_empty())
    );

    let (taken, lost) = left((Address::Reports(demo()), whole.clone()), |_, it| it.body.len() < 1000);
    assert!(taken.len() > 10 && lost.is_empty());
    let pieces: Vec<_> = taken.iter().flat_map(|(_, piece)| whom(piece)).collect();
    assert_eq!(pieces, whom(&whole), "each once, in order");
}

#[test]
fn a_retry_goes_in_pieces_and_else_is_dead_and_reported() {
    let queue = QueueName::outbound(&demo(), Priority::Normal);
    let later = Address::Later { queue, delay: Duration::from_secs(1) };
    let whole = Envelope::from(&message(8));
    let bytes = whole.body.len();
    let (taken, _) = left((later.clone(), whole.clone()), |_, it| it.body.len() < bytes);
    assert_eq!(taken.iter().map(|(_, piece)| identities(piece).len()).collect::<Vec<_>>(), [4, 4]);
    assert!(taken.iter().all(|(address, piece)| *address == later && piece.message_id == whole.message_id));

    let (taken, lost) = left((later, whole.clone()), |address, _| !matches!(address, Address::Later { .. }));
    assert!(lost.is_empty());
    let (dead, reports): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|(address, _)| matches!(address, Address::Dead(_)));
    assert_eq!(
        dead.iter().flat_map(|(_, letter)| identities(letter)).collect::<Vec<_>>(),
        identities(&whole)
    );
    assert_eq!(reports.iter().flat_map(|(_, it)| whom(it)).collect::<Vec<_>>(), identities(&whole));
    let letter = &dead[0].1;
    assert_eq!(letter.text_header(header::CODE), Some(REFUSED_BY_BROKER));
    assert_eq!(letter.text_header(header::QUEUE), Some("postern.outbound.demo"));
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&HeaderValue::Integer(1)));
    assert!(letter.text_header(header::REASON).unwrap().ends_with("still too much"), "{letter:?}");
}

#[test]
fn the_dead_letter_of_a_retry_says_what_its_report_says() {
    let queue = QueueName::outbound(&demo(), Priority::Normal);
    let later = Address::Later { queue, delay: Duration::from_secs(1) };
    for (maybe_sent, class, state) in [(false, "permanent", State::Failed), (true, "unknown", State::Unknown)]
    {
        let retry = Envelope::from(&Outbound { maybe_sent, ..message(1) });
        let (taken, _) = left((later.clone(), retry), |address, _| !matches!(address, Address::Later { .. }));
        let [(Address::Dead(_), letter), (Address::Reports(_), report)] = &taken[..] else {
            panic!("{taken:?}")
        };
        let report = Report::from_json(&report.body).unwrap();
        let (told, reason) = (report.recipients[0].state, report.recipients[0].reason.as_ref().unwrap());
        assert_eq!((told, reason.class.as_str()), (state, class));
        assert_eq!(letter.text_header(header::CLASS), Some(class));
        assert_eq!(letter.text_header(header::REASON), Some(reason.detail.as_str()));
    }
}

#[test]
fn whatever_is_refused_comes_to_an_end() {
    let junk = Envelope { message_id: Some("7".repeat(300)), body: "junk".into(), ..Envelope::default() };
    let addresses = [
        Address::Inbound(demo()),
        Address::Outbound(demo(), Priority::Normal),
        Address::Reports(demo()),
        Address::Callbacks(demo()),
        Address::Dead(demo()),
        Address::Queue(QueueName::callbacks()),
    ];
    for address in addresses {
        for envelope in [junk.clone(), Envelope::from(&message(9)), report(9)] {
            let (taken, lost) = left((address.clone(), envelope.clone()), |_, _| false);
            assert!(taken.is_empty() && !lost.is_empty(), "{address:?}");
            assert!(lost.iter().all(|(_, letter)| letter.message_id.is_none()));
            // Only the properties are refused: the body is kept whole.
            let bare = |_: &Address, it: &Envelope| it.message_id.is_none();
            let (taken, lost) = left((address.clone(), junk.clone()), bare);
            assert!(taken.len() == 1 && taken[0].1.body == "junk" && lost.is_empty(), "{address:?}");
        }
    }
}
