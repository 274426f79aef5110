//! What a gate says to whom, and when.

use super::*;
use crate::backends::Sent;
use postern_config::backend::flow::Counted;
use postern_shared::value::{Rate, Span};

fn after(from: Instant, milliseconds: u64) -> Instant {
    from + Duration::from_millis(milliseconds)
}

fn state(failures: u32, rate: Option<u32>, now: Instant) -> State {
    let breaker = BreakerSection {
        failures,
        pause: Span(Duration::from_secs(5)),
        max_pause: Span(Duration::from_secs(60)),
    };
    let rate = rate.map(|count| RateLimit {
        limit: Rate { count, per: Duration::from_secs(1) },
        burst: Some(1),
        count: Counted::Messages,
    });
    let mut state = State::new(breaker, rate, Duration::from_secs(1), Width::new(64, 64, now), now);
    if let Some(pace) = &mut state.pace {
        pace.share.counted(1, now);
    }
    state
}

fn sent() -> Outcome {
    Ok(Sent::without_id())
}

fn down() -> Outcome {
    Err(Failure::transient("http_503", ""))
}

fn throttled(seconds: u64) -> Outcome {
    Err(Failure::throttled("http_429", "", Some(Duration::from_secs(seconds))))
}

#[test]
fn the_token_goes_to_the_normal_lane_first_and_bulk_has_one_in_nine() {
    let now = Instant::now();
    let mut state = state(0, Some(50), now);
    let mut clock = now;
    let mut order = String::new();
    state.waits(Priority::Bulk, clock);
    for _ in 0..3 {
        assert_eq!(state.step(Priority::Bulk, 1, false, clock), Step::Go);
        clock = after(clock, 20);
    }
    // Bulk waits already when the first normal one comes.
    state.waits(Priority::Normal, clock);
    for _ in 0..18 {
        let lane = match state.step(Priority::Normal, 1, false, clock) {
            Step::Go => Priority::Normal,
            other => {
                assert_eq!(other, Step::Later);
                assert_eq!(state.step(Priority::Bulk, 1, false, clock), Step::Go);
                Priority::Bulk
            }
        };
        order.push(if lane == Priority::Normal { 'n' } else { 'b' });
        assert!(matches!(state.step(lane, 1, false, clock), Step::At(_) | Step::Later));
        clock = after(clock, 20);
    }
    assert_eq!(order, "nnnnnnnnbnnnnnnnnb");
    state.leaves(Priority::Normal, clock);
    assert_eq!(state.step(Priority::Bulk, 1, false, clock), Step::Go);
}

#[test]
fn nothing_goes_before_the_others_have_counted_this_process() {
    let now = Instant::now();
    let mut state = state(0, Some(50), now);
    let share = |state: &mut State, consumers: Option<u32>, now| {
        let share = &mut state.pace.as_mut().unwrap().share;
        match consumers {
            Some(consumers) => share.counted(consumers, now),
            None => share.forget(),
        }
    };
    state.waits(Priority::Normal, now);
    share(&mut state, None, now);
    assert_eq!(state.step(Priority::Normal, 1, false, now), Step::Later);
    share(&mut state, Some(2), now);
    assert_eq!(state.step(Priority::Normal, 1, false, now), Step::At(after(now, 1_000)));
    assert_eq!(state.step(Priority::Normal, 1, false, after(now, 1_000)), Step::Go);
    let Step::At(next) = state.step(Priority::Normal, 1, false, after(now, 1_000)) else { panic!() };
    assert!(next <= after(now, 1_040), "25 a second");
}

#[test]
fn a_provider_that_is_down_shuts_it_until_one_message_has_gone_through() {
    let now = Instant::now();
    let mut state = state(3, None, now);
    let mut other = vec![Err(Failure::permanent("http_400", ""))];
    for mut outcomes in [vec![down()], vec![down()], vec![down(), sent()], vec![down()], vec![down()]] {
        assert_eq!(state.note(&mut outcomes, false, now), Noted::default());
    }
    assert_eq!(state.note(&mut other, false, now), Noted::default(), "a message's own failure");
    assert_eq!(state.note(&mut [down()], false, now), Noted::default());
    assert_eq!(state.note(&mut [down()], false, now), Noted::default());
    let Some(Change::Opened(pause)) = state.note(&mut [down(), down()], false, now).breaker else { panic!() };
    assert_eq!(
        (state.mode(now), state.step(Priority::Normal, 1, false, now)),
        (Mode::Shut(now + pause), Step::Shut)
    );
    let over = now + pause;
    assert_eq!((state.mode(over), state.held(over)), (Mode::One, None));
    assert!(state.taken(over));
    state.trying = true;
    assert_eq!(state.held(over), Some(Step::Later), "one at a time");
    assert_eq!(state.step(Priority::Normal, 1, false, over), Step::Shut, "one that was taken before");
    assert_eq!(state.step(Priority::Normal, 1, true, over), Step::Go);
    let mut failed = [down(), Err(Failure::unknown("timeout", ""))];
    let Some(Change::StaysOpen(pause)) = state.note(&mut failed, true, over).breaker else { panic!() };
    let waits: Vec<_> = failed.iter().map(|outcome| outcome.as_ref().unwrap_err().retry_after).collect();
    assert_eq!(waits, [Some(pause), None], "what may have been sent counts as an attempt");
    let over = over + pause;
    assert_eq!(state.note(&mut [sent()], true, over).breaker, Some(Change::Closed));
    assert_eq!(state.mode(over), Mode::Full);
}

#[test]
fn a_429_pauses_the_backend_and_says_how_long_the_message_waits() {
    let now = Instant::now();
    let mut state = state(1, Some(50), now);
    let mut outcomes = [throttled(3), sent(), Err(Failure::throttled("slow", "", None))];
    let noted = state.note(&mut outcomes, false, now);
    assert_eq!((noted.throttled, noted.breaker), (Some((Duration::from_secs(3), true)), None));
    for place in [0, 2] {
        assert_eq!(outcomes[place].as_ref().unwrap_err().retry_after, Some(Duration::from_secs(3)));
    }
    assert_eq!((state.mode(now), state.held(now)), (Mode::Full, Some(Step::At(after(now, 3_000)))));
    state.waits(Priority::Normal, now);
    assert_eq!(state.step(Priority::Normal, 1, false, now), Step::At(after(now, 3_000)));
    let over = after(now, 3_000);
    assert_eq!(state.step(Priority::Normal, 1, false, over), Step::Go);
    let Step::At(next) = state.step(Priority::Normal, 1, false, over) else { panic!() };
    assert!((after(over, 39)..after(over, 42)).contains(&next), "half of 50 a second");
    // A long pause: nothing is kept in hand.
    let mut asked = Failure::transient("http_503", "");
    asked.retry_after = Some(Duration::from_secs(60));
    assert_eq!(state.note(&mut [Err(asked)], false, over).breaker, None, "it answered");
    assert_eq!(state.mode(over), Mode::Shut(after(over, 55_000)));
    assert_eq!(state.step(Priority::Normal, 1, false, over), Step::Shut);
}

#[test]
fn without_a_rate_messages_take_more_places_until_the_speed_is_back() {
    let now = Instant::now();
    let mut state = state(0, None, now);
    assert_eq!(state.places(now), 1);
    state.note(&mut [throttled(1)], false, now);
    assert_eq!(state.places(after(now, 1_000)), 2);
    state.note(&mut [throttled(1)], false, after(now, 1_000));
    assert_eq!((state.places(after(now, 2_000)), state.places(after(now, 62_000))), (4, 1));
}
