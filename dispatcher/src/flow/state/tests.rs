//! What the flow control of a backend allows, to which request, and when.

use super::*;
use crate::outcome::Sent;
use postern_config::backend::flow::{Counted, RateLimit};
use postern_shared::value::{Rate, Span};

fn after(from: Instant, milliseconds: u64) -> Instant {
    from + Duration::from_millis(milliseconds)
}

/// A request of `lane` that counts one for the rate.
fn of(lane: Priority, ticket: u64) -> SendRequest {
    SendRequest { lane, cost: 1, probe: false, ticket }
}

const UNRATED: SendRequest = SendRequest { lane: Priority::Normal, cost: 1, probe: false, ticket: 0 };

fn state(failures: u32, rate: Option<u32>, now: Instant) -> FlowState {
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
    let rate = rate.map(|rate| Pacing::new(rate, Duration::from_secs(1), now));
    let mut state = FlowState { rate, ..FlowState::of(breaker, Concurrency::new(64, 64, now)) };
    if let Some(rate) = &mut state.rate {
        rate.share.counted(1, now);
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
fn a_run_that_nobody_accepts_opens_the_breaker_and_one_success_or_refusal_ends_the_run() {
    let not_accepted = || Err(Failure::transient("not_accepted", ""));
    let wrong_status = || Err(Failure::transient("http_202", ""));
    let refused = || Err(Failure::permanent("http_400", ""));
    let nothing_said = || Err(Failure::unknown("no_outcome", ""));
    type Run = Vec<Vec<Outcome>>;
    let runs: [(Run, bool); 9] = [
        (vec![vec![not_accepted()], vec![not_accepted()], vec![not_accepted()]], true),
        (vec![vec![not_accepted()], vec![wrong_status()], vec![down()]], true),
        (vec![vec![not_accepted()], vec![sent()], vec![not_accepted()], vec![not_accepted()]], false),
        (vec![vec![not_accepted()], vec![refused()], vec![not_accepted()], vec![not_accepted()]], false),
        // One of several recipients is refused each time.
        (
            vec![vec![not_accepted(), sent()], vec![not_accepted(), sent()], vec![sent(), not_accepted()]],
            false,
        ),
        (vec![vec![not_accepted()], vec![not_accepted()]], false),
        // Each answer says nothing about any recipient, or only about some.
        (vec![vec![nothing_said(), nothing_said()], vec![nothing_said()], vec![nothing_said()]], true),
        (vec![vec![nothing_said()], vec![not_accepted()], vec![down()]], true),
        (
            vec![vec![nothing_said(), sent()], vec![nothing_said(), refused()], vec![nothing_said(), sent()]],
            false,
        ),
    ];
    for (run, opens) in runs {
        let (now, said) = (Instant::now(), format!("{run:?}"));
        let mut state = state(3, None, now);
        let changes: Vec<_> = run
            .into_iter()
            .filter_map(|mut outcomes| state.note(&mut outcomes, false, now).breaker)
            .collect();
        assert_eq!(!changes.is_empty(), opens, "{said}");
    }
}

#[test]
fn a_message_that_shows_that_nothing_is_accepted_uses_up_its_attempt() {
    let now = Instant::now();
    let mut state = state(1, None, now);
    state.note(&mut [down()], false, now);
    let mut then = now;
    for (failure, counts) in [
        (Failure::transient("http_503", ""), false),
        (Failure::transient("not_accepted", ""), true),
        (Failure::unknown("no_outcome", ""), true),
    ] {
        let Intake::Closed(until) = state.intake(then) else { panic!() };
        then = until;
        let mut tried = [Err(failure)];
        assert!(matches!(state.note(&mut tried, true, then).breaker, Some(BreakerChange::StaysOpen(_))));
        let failure = tried[0].as_ref().unwrap_err();
        assert_eq!(failure.retry_after.is_none(), counts, "{failure:?}");
    }
}

#[test]
fn the_turn_goes_to_the_normal_lane_first_and_bulk_has_one_in_nine() {
    let now = Instant::now();
    let mut state = state(0, Some(50), now);
    let mut clock = now;
    let mut order = String::new();
    let bulk = of(Priority::Bulk, state.waits(Priority::Bulk, clock));
    for _ in 0..3 {
        assert_eq!(state.release(bulk, clock), Release::Now);
        clock = after(clock, 20);
    }
    // Bulk waits already when the first normal one comes.
    let normal = of(Priority::Normal, state.waits(Priority::Normal, clock));
    for _ in 0..18 {
        let went = match state.release(normal, clock) {
            Release::Now => normal,
            other => {
                assert_eq!(other, Release::OnChange);
                assert_eq!(state.release(bulk, clock), Release::Now);
                bulk
            }
        };
        order.push(if went.lane == Priority::Normal { 'n' } else { 'b' });
        assert!(matches!(state.release(went, clock), Release::At(_) | Release::OnChange));
        clock = after(clock, 20);
    }
    assert_eq!(order, "nnnnnnnnbnnnnnnnnb");
    state.leaves(Priority::Normal, normal.ticket, clock);
    assert_eq!(state.release(bulk, clock), Release::Now);
}

#[test]
fn requests_of_one_lane_go_in_the_order_in_which_they_came() {
    let now = Instant::now();
    let mut state = state(0, Some(50), now);
    let [first, second, third] = [(); 3].map(|()| of(Priority::Bulk, state.waits(Priority::Bulk, now)));
    assert_eq!(state.release(second, now), Release::OnChange);
    assert_eq!(state.release(first, now), Release::Now);
    state.leaves(Priority::Bulk, first.ticket, now);
    // A request that is given up makes way for the next.
    state.leaves(Priority::Bulk, second.ticket, now);
    assert_eq!(state.release(third, after(now, 20)), Release::Now);
}

#[test]
fn with_a_rate_a_lane_has_one_message_with_requests_to_be_made() {
    let now = Instant::now();
    let mut rated = state(0, Some(50), now);
    assert!(!rated.taken(Priority::Bulk, now));
    assert_eq!((rated.admits_of(Priority::Bulk), rated.admits_of(Priority::Normal)), (false, true));
    rated.begun(Priority::Bulk);
    assert!(rated.admits_of(Priority::Bulk));
    let mut unrated = state(0, None, now);
    unrated.taken(Priority::Normal, now);
    assert!(unrated.admits_of(Priority::Normal));
}

#[test]
fn nothing_goes_before_the_others_have_counted_this_process() {
    let now = Instant::now();
    let mut state = state(0, Some(50), now);
    let share = |state: &mut FlowState, consumers: Option<u32>, now| {
        let share = &mut state.rate.as_mut().unwrap().share;
        match consumers {
            Some(consumers) => share.counted(consumers, now),
            None => share.forget(),
        }
    };
    let request = of(Priority::Normal, state.waits(Priority::Normal, now));
    share(&mut state, None, now);
    assert_eq!(state.release(request, now), Release::OnChange);
    share(&mut state, Some(2), now);
    assert_eq!(state.release(request, now), Release::At(after(now, 1_000)));
    assert_eq!(state.release(request, after(now, 1_000)), Release::Now);
    let Release::At(next) = state.release(request, after(now, 1_000)) else { panic!() };
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
    let Some(BreakerChange::Opened(pause)) = state.note(&mut [down(), down()], false, now).breaker else {
        panic!()
    };
    assert_eq!(
        (state.intake(now), state.release(UNRATED, now)),
        (Intake::Closed(now + pause), Release::Paused)
    );
    let over = now + pause;
    assert_eq!((state.intake(over), state.admits(over)), (Intake::Probe, Release::Now));
    assert!(state.taken(Priority::Normal, over));
    assert!(!state.taken(Priority::Normal, over));
    assert_eq!(state.admits(over), Release::OnChange, "one at a time");
    assert_eq!(state.release(UNRATED, over), Release::Paused, "one that was taken before");
    assert_eq!(state.release(SendRequest { probe: true, ..UNRATED }, over), Release::Now);
    let mut failed = [down(), Err(Failure::unknown("timeout", ""))];
    let Some(BreakerChange::StaysOpen(pause)) = state.note(&mut failed, true, over).breaker else { panic!() };
    let waits: Vec<_> = failed.iter().map(|outcome| outcome.as_ref().unwrap_err().retry_after).collect();
    assert_eq!(waits, [Some(pause), None], "what may have been sent counts as an attempt");
    let over = over + pause;
    assert_eq!(state.note(&mut [sent()], true, over).breaker, Some(BreakerChange::Closed));
    assert_eq!(state.intake(over), Intake::Open);
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
    assert_eq!((state.intake(now), state.admits(now)), (Intake::Open, Release::At(after(now, 3_000))));
    let request = of(Priority::Normal, state.waits(Priority::Normal, now));
    assert_eq!(state.release(request, now), Release::At(after(now, 3_000)));
    let over = after(now, 3_000);
    assert_eq!(state.release(request, over), Release::Now);
    let Release::At(next) = state.release(request, over) else { panic!() };
    assert!((after(over, 39)..after(over, 42)).contains(&next), "half of 50 a second");
    // A long pause: no message is kept in hand.
    let mut asked = Failure::transient("http_503", "");
    asked.retry_after = Some(Duration::from_secs(60));
    assert_eq!(state.note(&mut [Err(asked)], false, over).breaker, None, "it answered");
    assert_eq!(state.intake(over), Intake::Closed(after(over, 55_000)));
    assert_eq!(state.release(request, over), Release::Paused);
}

#[test]
fn without_a_rate_fewer_requests_are_in_flight_until_the_speed_is_back() {
    let now = Instant::now();
    let mut unrated = state(0, None, now);
    assert_eq!(unrated.limit(now), 64);
    unrated.note(&mut [throttled(1)], false, now);
    assert_eq!(unrated.limit(after(now, 1_000)), 32);
    unrated.note(&mut [throttled(1)], false, after(now, 1_000));
    assert_eq!((unrated.limit(after(now, 2_000)), unrated.limit(after(now, 62_000))), (16, 64));
    let mut rated = state(0, Some(50), now);
    rated.note(&mut [throttled(1)], false, now);
    assert_eq!(rated.limit(after(now, 1_000)), 64, "the rate is halved");
}

#[test]
fn an_operators_pause_holds_whatever_the_provider_does_and_then_all_is_as_before() {
    let now = Instant::now();
    let mut state = state(1, None, now);
    state.hold();
    assert_eq!((state.intake(now), state.release(UNRATED, now)), (Intake::Held, Release::Paused));
    assert!(!state.taken(Priority::Normal, now), "it shows nothing about the provider");
    // The answers of requests that were in flight count.
    let opened = state.note(&mut [down()], false, now).breaker;
    assert!(matches!(opened, Some(BreakerChange::Opened(_))), "{opened:?}");
    let later = after(now, 60_000);
    assert_eq!(state.intake(later), Intake::Held);
    state.unhold();
    assert_eq!(state.intake(later), Intake::Probe);
}
