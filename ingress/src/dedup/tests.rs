//! Messages that come first, again, after a failure, and at the same time.

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

async fn claim(dedup: &Dedup, id: MessageId) -> Claim {
    dedup.claim(&[id]).await.pop().expect("a claim for each id")
}

/// The result of a claim that does not wait.
fn now(dedup: &Dedup, id: MessageId) -> Claim {
    claim(dedup, id).now_or_never().expect("it waits")
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
    let mut second = pin!(claim(&dedup, id));
    assert!(poll!(&mut second).is_pending());
    first.stored(());
    assert!(matches!(second.await, Claim::Duplicate(())));
}

/// Two claims that waited for a first one, which then failed.
async fn after_a_failure(dedup: &Dedup, id: MessageId) -> (PublishClaim, PublishClaim) {
    let first = claimed(now(dedup, id));
    let (mut second, mut third) = (pin!(claim(dedup, id)), pin!(claim(dedup, id)));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    drop(first);
    (claimed(second.await), claimed(third.await))
}

#[tokio::test]
async fn where_the_first_fails_all_that_waited_are_new_and_wait_no_more() {
    let (dedup, id) = (Dedup::new(LONG), MessageId::new());
    let (second, third) = after_a_failure(&dedup, id).await;
    // The third fails while the second is still being published; then the second is stored.
    drop(third);
    let mut fourth = pin!(claim(&dedup, id));
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
    let Claim::New(claim) = dedup.claim_in_turn(id).now_or_never().unwrap() else { panic!("it is new") };
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
fn each_is_remembered_for_the_window_with_which_it_was_stored() {
    let short = Dedup::new(Duration::from_millis(1));
    let [kept, forgotten] = [(); 2].map(|()| MessageId::new());
    claimed(now(&short.within(LONG), kept)).stored(());
    claimed(now(&short, forgotten)).stored(());
    while matches!(now(&short, forgotten), Claim::Duplicate(())) {
        std::thread::yield_now();
    }
    assert!(matches!(now(&short, kept), Claim::Duplicate(())));
    // What is stored later forgets only what is over.
    claimed(now(&short, MessageId::new())).stored(());
    assert!(matches!(now(&short, kept), Claim::Duplicate(())));
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

/// Whether each claim is a duplicate.
fn duplicates(claims: &[Claim]) -> Vec<bool> {
    claims.iter().map(|claim| matches!(claim, Claim::Duplicate(()))).collect()
}

#[tokio::test]
async fn of_a_batch_only_what_is_known_is_a_double() {
    let (dedup, ids) = (Dedup::new(LONG), [(); 3].map(|()| MessageId::new()));
    claimed(now(&dedup, ids[1])).stored(());
    let claims = dedup.claim(&[ids[0], ids[1], ids[2], ids[0]]).await;
    assert_eq!(duplicates(&claims), [false, true, false, true]);
    // The publish of the batch fails: its new ids are new again, and the others stay known.
    drop(claims);
    assert_eq!(duplicates(&dedup.claim(&ids).await), [false, true, false]);
    let off = Dedup::new(Duration::ZERO);
    assert_eq!(duplicates(&off.claim(&[ids[0], ids[0]]).await), [false, false]);
}

#[tokio::test]
async fn batches_that_share_ids_wait_for_each_other_and_never_in_a_circle() {
    let (dedup, [a, b, c]) = (Dedup::new(LONG), [(); 3].map(|()| MessageId::new()));
    let first = dedup.claim(&[a, b]).await;
    let (in_order, reversed) = ([b, c], [c, b]);
    let (mut second, mut third) = (pin!(dedup.claim(&in_order)), pin!(dedup.claim(&reversed)));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    // Neither holds c while it waits.
    drop(claimed(now(&dedup, c)));
    first.into_iter().for_each(|claim| claimed(claim).stored(()));
    let second = second.await;
    assert_eq!(duplicates(&second), [true, false]);
    assert!(poll!(&mut third).is_pending(), "c is being published");
    second
        .into_iter()
        .filter(|claim| !matches!(claim, Claim::Duplicate(())))
        .for_each(|one| claimed(one).stored(()));
    assert_eq!(duplicates(&third.await), [true, true]);
}
