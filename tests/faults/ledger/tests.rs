use super::{verdict::longest_pause, *};

/// A ledger with `count` messages that were posted once and accepted.
fn accepted(count: usize) -> (Ledger, Instant) {
    let (ledger, begun) = (Ledger::default(), Instant::now());
    for number in 0..count {
        assert_eq!(ledger.begin(Way::Submitted, 1), [number]);
        ledger.tries(number);
        ledger.answered(number, Some(202), Some(&id(number)));
    }
    (ledger, begun)
}

fn id(number: usize) -> String {
    Uuid::from_u128(number as u128 + 1).to_string()
}

fn letters(ids: &[String]) -> Dead {
    let mut dead = Dead::new();
    ids.iter().for_each(|id| *dead.entry(id.parse().unwrap()).or_default() += 1);
    dead
}

fn judge(ledger: &Ledger, begun: Instant, windows: &[Window], dead: &[String]) -> Verdict {
    ledger.verdict((begun, Instant::now()), windows, &letters(dead), false)
}

#[test]
fn what_does_not_come_out_is_lost() {
    let (ledger, begun) = accepted(3);
    assert_eq!(ledger.arrived(0, Some(&id(0))), 200);
    assert_eq!(ledger.counts().waiting, [0, 2]);
    let verdict = judge(&ledger, begun, &[], &[]);
    assert_eq!((verdict.accepted, verdict.lost, verdict.problems.len()), (3, 2, 2));
    ledger.arrived(1, None);
    ledger.arrived(2, None);
    let verdict = judge(&ledger, begun, &[], &[]);
    assert_eq!((verdict.lost, verdict.doubled, verdict.problems), (0, 0, vec![]));
    assert_eq!(ledger.verdict((begun, begun), &[], &Dead::new(), true).lost, 3, "nobody reported them");
    ledger.reported(&id(1));
    ledger.reported(&id(1));
    assert_eq!(ledger.verdict((begun, begun), &[], &Dead::new(), true).lost, 2);
    assert_eq!(ledger.counts().unreported, 2);
}

#[test]
fn doubles_need_a_fault_beside_them_and_repetitions_are_their_senders() {
    let (ledger, begun) = accepted(1);
    ledger.arrived(0, None);
    let quiet = judge(&ledger, begun, &[], &[]);
    ledger.arrived(0, None);
    let far = judge(&ledger, begun, &[], &[]);
    assert_eq!((quiet.problems.len(), far.problems.len(), far.doubled), (0, 1, 1));
    let near = judge(&ledger, begun, &[Window { from: begun, to: Instant::now() }], &[]);
    assert_eq!((near.problems.len(), near.doubled, near.repeated, near.at_once), (0, 1, 0, [1, 0]));
    ledger.tries(0);
    let again = judge(&ledger, begun, &[Window { from: begun, to: Instant::now() }], &[]);
    assert_eq!((again.doubled, again.repeated, again.at_once), (0, 1, [0, 1]));
}

#[test]
fn the_refused_are_to_be_dead_and_nobody_else() {
    let refused = (0..).find(|number| Fate::of(*number) == Fate::Refused).unwrap();
    let put_off = (0..).find(|number| Fate::of(*number) == Fate::PutOff).unwrap();
    let (ledger, begun) = accepted(refused.max(put_off) + 1);
    for number in 0..=refused.max(put_off) {
        let status = ledger.arrived(number, None);
        let expected = match Fate::of(number) {
            Fate::Taken => 200,
            Fate::PutOff => 503,
            Fate::Refused => 400,
        };
        assert_eq!(status, expected);
    }
    assert_eq!(ledger.arrived(put_off, None), 200);
    assert_eq!(ledger.outstanding(&Dead::new(), false), [refused]);
    assert_eq!(judge(&ledger, begun, &[], &[id(refused)]).problems, Vec::<String>::new());
    let window = Window { from: begun, to: Instant::now() };
    assert_eq!(judge(&ledger, begun, &[window], &[id(refused), id(refused)]).doubled, 1);
    assert_eq!(judge(&ledger, begun, &[], &[id(refused), id(0), id(9999)]).problems.len(), 2);
}

#[test]
fn one_message_has_one_id_and_only_503_is_a_refusal() {
    let (ledger, begun) = accepted(2);
    ledger.arrived(0, Some(&id(7)));
    ledger.arrived(1, None);
    ledger.arrived(9, None);
    ledger.answered(1, Some(503), None);
    ledger.answered(1, Some(500), None);
    ledger.answered(1, None, None);
    let counts = ledger.counts();
    assert_eq!((counts.refusals, counts.unanswered, counts.accepted), (1, 1, [0, 2]));
    assert_eq!(judge(&ledger, begun, &[], &[]).problems.len(), 3);
}

#[test]
fn a_pause_is_counted_from_the_beginning_to_the_end() {
    let now = Instant::now();
    let at = |ms| now + Duration::from_millis(ms);
    let (begun, stopped) = (at(0), at(1000));
    let pause = |moments: &[Instant]| longest_pause(moments, begun, stopped).as_millis() / 100;
    assert_eq!(pause(&[at(300), at(400)]), 6);
    assert_eq!(pause(&[at(500), at(900), at(5000)]), 5);
    assert_eq!(pause(&[]), 10);
}

#[test]
fn a_request_comes_out_whole_or_is_torn() {
    let ledger = Ledger::default();
    for numbers in [[0, 1, 2], [3, 4, 5], [6, 7, 8]] {
        assert_eq!(ledger.begin(Way::Received, 3), numbers);
    }
    // All of the first, some of the second, none of the third.
    for number in [0, 1, 2, 4, 4] {
        ledger.arrived(number, None);
    }
    assert_eq!(ledger.torn_requests(), ["1 of 3 messages of one request came out, from 3 on"]);
    ledger.arrived(3, None);
    ledger.arrived(5, None);
    assert_eq!(ledger.torn_requests(), Vec::<String>::new());
}

/// A message with these events, as the log exports it.
fn logged(number: usize, direction: &str, state: &str, events: &[&str]) -> Logged {
    let events: Vec<_> = events.iter().map(|event| serde_json::json!({ "event": event })).collect();
    let message = serde_json::json!({
        "id": id(number), "direction": direction, "recipients": [{ "state": state }], "events": events,
    });
    serde_json::from_value(message).unwrap()
}

#[test]
fn the_log_has_to_say_of_every_message_what_its_end_saw() {
    let (ledger, _) = accepted(3);
    for number in 0..3 {
        assert_eq!(ledger.arrived(number, Some(&id(number))), 200);
    }
    let audit = |log: &[Logged]| {
        let mut auditor = ledger.auditor(false);
        log.iter().for_each(|logged| auditor.compare(logged));
        let audit = auditor.finish();
        (audit.messages, audit.differing)
    };
    let sent = |number| logged(number, "outbound", "sent", &["accepted", "sent"]);
    assert_eq!(audit(&[sent(0), sent(1), sent(2)]), (3, 0));
    for (wrong, differing) in [
        (vec![sent(0), sent(1)], 1),
        (vec![sent(0), sent(1), sent(2), sent(2)], 1),
        (vec![sent(0), sent(1), sent(2), sent(9)], 1),
        (vec![sent(0), sent(1), logged(2, "outbound", "queued", &["accepted"])], 1),
        (vec![sent(0), sent(1), logged(2, "outbound", "sent", &["sent"])], 1),
        (vec![sent(0), sent(1), logged(2, "outbound", "sent", &["accepted", "sent", "sent"])], 1),
        // Logged as a received message, it is missing among the sent ones.
        (vec![sent(0), sent(1), logged(2, "inbound", "forwarded", &["received", "forwarded"])], 1),
    ] {
        assert_eq!(audit(&wrong), (wrong.len(), differing), "{wrong:?}");
    }
}

#[test]
fn what_was_refused_is_dead_in_the_log_and_what_was_not_confirmed_is_counted() {
    let refused = (0..).find(|number| Fate::of(*number) == Fate::Refused).unwrap();
    let (ledger, _) = accepted(refused + 1);
    ledger.begin(Way::Submitted, 1);
    for number in 0..=refused {
        assert_eq!(ledger.arrived(number, Some(&id(number))) == 400, number == refused);
    }
    let compared = |log: Logged| {
        let mut auditor = ledger.auditor(false);
        auditor.compare(&log);
        let audit = auditor.finish();
        // All except this one are missing.
        (audit.differing - refused, audit.unconfirmed)
    };
    assert_eq!(compared(logged(refused, "outbound", "failed", &["accepted", "failed", "dead"])), (0, 0));
    assert_eq!(compared(logged(refused, "outbound", "unknown", &["accepted", "unknown", "dead"])), (0, 0));
    assert_eq!(compared(logged(refused, "outbound", "failed", &["accepted", "failed"])), (1, 0));
    let text = format!("{} {}", crate::load::TEXT, refused + 1);
    let mut unconfirmed = serde_json::json!({
        "id": id(refused + 1), "direction": "outbound", "text": text, "recipients": [{ "state": "queued" }],
        "events": [{ "event": "accepted" }],
    });
    assert_eq!(compared(serde_json::from_value(unconfirmed.clone()).unwrap()), (1, 1));
    unconfirmed["events"] = serde_json::json!([{ "event": "failed", "code": "cancelled" }]);
    assert_eq!(compared(serde_json::from_value(unconfirmed).unwrap()), (1, 0));
}

#[test]
fn what_is_lost_or_doubled_belongs_to_the_strike_beside_it() {
    let (ledger, begun) = accepted(1);
    let first = Window { from: begun, to: Instant::now() };
    std::thread::sleep(Duration::from_millis(2));
    let between = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    ledger.arrived(0, None);
    ledger.arrived(0, None);
    ledger.begin(Way::Submitted, 1);
    ledger.tries(1);
    ledger.answered(1, Some(202), Some(&id(1)));
    let second = Window { from: between, to: Instant::now() };
    let verdict = judge(&ledger, begun, &[first, second], &[]);
    let told = verdict.strikes.iter().map(|strike| [strike.accepted, strike.lost, strike.doubled]);
    assert_eq!(told.collect::<Vec<_>>(), [[1, 0, 1], [1, 1, 0]]);
}
