//! First, double, failed, and at the same time.

use super::*;
use futures_util::{FutureExt, poll};
use std::pin::pin;

const LONG: Duration = Duration::from_secs(3_600);

fn claimed(claim: Claim) -> PublishClaim {
    match claim {
        Claim::New(claimed) => claimed,
        Claim::Duplicate(()) => panic!("a double"),
    }
}

/// What a claim comes to that waits for nobody.
fn now(dedup: &Dedup, id: MessageId) -> Claim {
    dedup.claim(id).now_or_never().expect("it waits")
}

fn sizes(dedup: &Dedup) -> (usize, usize) {
    let memory = dedup.memory();
    (memory.known.len(), memory.stored.len())
}

#[test]
fn what_was_stored_is_a_double_and_what_was_not_is_new() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    drop(claimed(now(&dedup, id)));
    claimed(now(&dedup, id)).stored(());
    assert!(matches!(now(&dedup, id), Claim::Duplicate(())));
    assert!(matches!(now(&dedup, id), Claim::Duplicate(())));
    drop(claimed(now(&dedup, MessageId::new())));
}

#[tokio::test]
async fn one_at_the_same_time_waits_and_is_a_double_once_the_first_is_stored() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let first = claimed(now(&dedup, id));
    let mut second = pin!(dedup.claim(id));
    assert!(poll!(&mut second).is_pending());
    first.stored(());
    assert!(matches!(second.await, Claim::Duplicate(())));
}

/// Two that waited for a first one, which then failed.
async fn after_a_failure(dedup: &Dedup, id: MessageId) -> (PublishClaim, PublishClaim) {
    let first = claimed(now(dedup, id));
    let (mut second, mut third) = (pin!(dedup.claim(id)), pin!(dedup.claim(id)));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    drop(first);
    (claimed(second.await), claimed(third.await))
}

#[tokio::test]
async fn where_the_first_fails_all_that_waited_are_new_and_wait_no_more() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let (second, third) = after_a_failure(&dedup, id).await;
    // The third ends in vain, while the second is still underway; then that one is stored.
    drop(third);
    let mut fourth = pin!(dedup.claim(id));
    assert!(poll!(&mut fourth).is_pending());
    second.stored(());
    assert!(matches!(fourth.await, Claim::Duplicate(())));
}

#[tokio::test]
async fn in_turn_only_one_of_those_that_waited_is_new() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let first = claimed(now(&dedup, id));
    let (mut second, mut third) = (pin!(dedup.claim_in_turn(id)), pin!(dedup.claim_in_turn(id)));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    drop(first);
    let second = claimed(second.await);
    assert!(poll!(&mut third).is_pending());
    second.stored(());
    assert!(matches!(third.await, Claim::Duplicate(())));
}

#[test]
fn who_repeats_a_message_gets_the_note_of_the_first() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let Claim::New(claim) = dedup.claim(id).now_or_never().unwrap() else { panic!("it is new") };
    claim.stored("first");
    let again = dedup.claim_in_turn(id).now_or_never().unwrap();
    assert!(matches!(again, Claim::Duplicate("first")));
}

#[tokio::test]
async fn a_failure_beside_a_success_forgets_nothing() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let (second, third) = after_a_failure(&dedup, id).await;
    third.stored(());
    drop(second);
    assert!(matches!(now(&dedup, id), Claim::Duplicate(())));
}

#[test]
fn after_the_window_it_is_new_and_without_a_window_always() {
    let (short, off, id) =
        (Dedup::new(Duration::from_millis(1)), Dedup::new(Duration::ZERO), MessageId::new());
    claimed(now(&short, id)).stored(());
    while matches!(now(&short, id), Claim::Duplicate(())) {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        let (one, other) = (claimed(now(&off, id)), claimed(now(&off, id)));
        one.stored(());
        other.stored(());
    }
    assert_eq!(sizes(&off), (0, 0));
}

#[test]
fn the_oldest_are_forgotten_first() {
    let dedup = Dedup { most: 3, ..Dedup::new(LONG) };
    let ids: Vec<_> = (0..5).map(|_| MessageId::new()).collect();
    for id in &ids {
        claimed(now(&dedup, *id)).stored(());
    }
    assert_eq!(sizes(&dedup), (3, 3));
    let doubles = ids.iter().map(|id| matches!(now(&dedup, *id), Claim::Duplicate(())));
    assert_eq!(doubles.collect::<Vec<_>>(), [false, false, true, true, true]);
}
