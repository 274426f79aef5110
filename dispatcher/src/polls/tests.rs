//! What follows the answer to a poll.

use super::*;
use postern_shared::{error::FailureClass, message::Reason};

fn schedule() -> PollSchedule {
    let delays = [1, 60, 3_600].map(Duration::from_secs).into();
    PollSchedule { queue: QueueName::polls(&"demo".parse().unwrap()), delays }
}

fn poll(polls: u32, state: State) -> Poll {
    Poll {
        message_id: "0199b2a5-0000-7000-8000-000000000001".parse().unwrap(),
        backend: "demo".parse().unwrap(),
        identity: "+1555".parse().unwrap(),
        external_id: "P1".to_owned(),
        sent_at: Timestamp::UNIX_EPOCH,
        state,
        polls,
        callback: None,
    }
}

fn answer(state: State) -> Result<Polled, Failure> {
    Ok(Polled { state, reason: Reason::reported(state, "word", None, None), word: "word".to_owned() })
}

#[test]
fn a_provider_is_asked_until_a_message_has_ended_or_no_delay_is_left() {
    let throttled = || Err(Failure::throttled("http_429", "", Some(Duration::from_secs(90))));
    let down = || Err(Failure::transient("connect", ""));
    for (polls, before, answered, outcome, reported, wait) in [
        (0, State::Sent, answer(State::Delivered), PollOutcome::Ended, Some(State::Delivered), None),
        (0, State::Sent, answer(State::Undelivered), PollOutcome::Ended, Some(State::Undelivered), None),
        (0, State::Sent, answer(State::Sent), PollOutcome::Unchanged, None, Some(60)),
        (0, State::Sent, answer(State::Buffered), PollOutcome::Changed, Some(State::Buffered), Some(60)),
        (1, State::Buffered, answer(State::Buffered), PollOutcome::Unchanged, None, Some(3_600)),
        (2, State::Buffered, answer(State::Sent), PollOutcome::GivenUp, Some(State::Sent), None),
        (2, State::Sent, answer(State::Failed), PollOutcome::Ended, Some(State::Failed), None),
        (0, State::Sent, down(), PollOutcome::Failed, None, Some(60)),
        (0, State::Sent, throttled(), PollOutcome::Failed, None, Some(3_600)),
        (2, State::Sent, down(), PollOutcome::GivenUp, None, None),
        (u32::MAX, State::Sent, down(), PollOutcome::GivenUp, None, None),
    ] {
        let poll = poll(polls, before);
        let said = format!("{polls} {before:?} {answered:?}");
        let next = schedule().next(&poll, answered, Timestamp::UNIX_EPOCH);
        assert_eq!(next.outcome, outcome, "{said}");
        let report = next.report.map(|(report, _)| report);
        assert_eq!(report.as_ref().map(|report| report.recipients[0].state), reported, "{said}");
        if let Some(report) = report {
            assert_eq!((report.message_id, report.attempt), (poll.message_id, 0));
            let recipient = &report.recipients[0];
            assert_eq!(
                (recipient.external_id.as_deref(), &recipient.identity),
                (Some("P1"), &Some(poll.identity))
            );
            let class = recipient.reason.as_ref().map(|reason| reason.class);
            let expected = matches!(reported, Some(State::Undelivered | State::Failed));
            assert_eq!(class, expected.then_some(FailureClass::Permanent), "{said}");
        }
        let due = next.due.map(|(address, envelope)| {
            let Address::Later { queue, delay } = address else { panic!("{said}: {address:?}") };
            assert_eq!(queue.as_str(), "postern.polls.demo");
            let again = Poll::from_json(&envelope.body).unwrap();
            assert_eq!((again.polls, again.state), (polls + 1, reported.unwrap_or(before)), "{said}");
            delay.as_secs()
        });
        assert_eq!(due, wait, "{said}");
    }
}

#[test]
fn a_client_that_wants_to_know_is_told_what_a_poll_found() {
    let password = "hush-password".to_owned().into();
    let keys = CallbackKeys::new([("kannel", &password)]);
    let wish = |mask| callback::Callback {
        message_id: poll(0, State::Sent).message_id,
        user: "kannel".to_owned(),
        url: "http://h/?d=%d".to_owned(),
        mask,
        to: None,
        values: std::collections::BTreeMap::new(),
    };
    let told = |mask, state| {
        let token = keys.seal(&wish(mask)).unwrap();
        let polled = answer(state).unwrap();
        let report = report(&poll(0, State::Sent), &polled, Timestamp::UNIX_EPOCH);
        callback::reported(&keys, Some(&token), &report, &polled.word)
            .map(|callback_event| (callback_event.event, callback_event.reply))
    };
    assert_eq!(told(3, State::Delivered), Some((1, "word".to_owned())));
    assert_eq!(told(3, State::Undelivered), Some((2, "word".to_owned())));
    assert_eq!(told(8, State::Delivered), None);
    let report = report(&poll(0, State::Sent), &answer(State::Delivered).unwrap(), Timestamp::UNIX_EPOCH);
    let other = callback::Callback { message_id: postern_shared::message::MessageId::new(), ..wish(3) };
    for token in [None, Some("no token".to_owned()), keys.seal(&other)] {
        assert_eq!(callback::reported(&keys, token.as_deref(), &report, "word"), None);
    }
}
