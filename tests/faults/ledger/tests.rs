use super::*;

/// A ledger with so many messages that were posted once and accepted.
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
    format!("id-{number}")
}

fn judge(ledger: &Ledger, begun: Instant, windows: &[Window], dead: &[String]) -> Verdict {
    ledger.verdict((begun, Instant::now()), windows, dead, false)
}

#[test]
fn what_does_not_come_out_is_lost() {
    let (ledger, begun) = accepted(3);
    assert_eq!(ledger.arrived(0, Some("id-0")), 200);
    let verdict = judge(&ledger, begun, &[], &[]);
    assert_eq!((verdict.accepted, verdict.lost, verdict.problems.len()), (3, 2, 2));
    ledger.arrived(1, None);
    ledger.arrived(2, None);
    let verdict = judge(&ledger, begun, &[], &[]);
    assert_eq!((verdict.lost, verdict.doubled, verdict.problems), (0, 0, vec![]));
    assert_eq!(ledger.verdict((begun, begun), &[], &[], true).lost, 3, "nobody reported them");
    ledger.reported("id-1");
    assert_eq!(ledger.verdict((begun, begun), &[], &[], true).lost, 2);
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
    assert_eq!(ledger.outstanding(&[], false), [refused]);
    assert_eq!(judge(&ledger, begun, &[], &[id(refused)]).problems, Vec::<String>::new());
    let window = Window { from: begun, to: Instant::now() };
    assert_eq!(judge(&ledger, begun, &[window], &[id(refused), id(refused)]).doubled, 1);
    assert_eq!(judge(&ledger, begun, &[], &[id(refused), id(0), "other".to_owned()]).problems.len(), 2);
}

#[test]
fn one_message_has_one_id_and_only_503_is_a_refusal() {
    let (ledger, begun) = accepted(2);
    ledger.arrived(0, Some("another"));
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
