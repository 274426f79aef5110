//! First, double, failed, and at the same time.

use super::*;
use futures_util::{FutureExt, poll};
use std::pin::pin;

const LONG: Duration = Duration::from_secs(3_600);

fn ticket(claim: Claim) -> Ticket {
    match claim {
        Claim::New(ticket) => ticket,
        Claim::Double => panic!("a double"),
    }
}

/// What a claim comes to that waits for nobody.
fn now(duplicates: &Duplicates, id: MessageId) -> Claim {
    duplicates.claim(id).now_or_never().expect("it waits")
}

fn sizes(duplicates: &Duplicates) -> (usize, usize) {
    let memory = duplicates.memory();
    (memory.known.len(), memory.stored.len())
}

#[test]
fn what_was_stored_is_a_double_and_what_was_not_is_new() {
    let (duplicates, id) = (Duplicates::new(LONG), MessageId::new());
    drop(ticket(now(&duplicates, id)));
    ticket(now(&duplicates, id)).stored();
    assert!(matches!(now(&duplicates, id), Claim::Double));
    assert!(matches!(now(&duplicates, id), Claim::Double));
    drop(ticket(now(&duplicates, MessageId::new())));
}

#[tokio::test]
async fn one_at_the_same_time_waits_and_is_a_double_once_the_first_is_stored() {
    let (duplicates, id) = (Duplicates::new(LONG), MessageId::new());
    let first = ticket(now(&duplicates, id));
    let mut second = pin!(duplicates.claim(id));
    assert!(poll!(&mut second).is_pending());
    first.stored();
    assert!(matches!(second.await, Claim::Double));
}

/// Two that waited for a first one, which then failed.
async fn after_a_failure(duplicates: &Duplicates, id: MessageId) -> (Ticket, Ticket) {
    let first = ticket(now(duplicates, id));
    let (mut second, mut third) = (pin!(duplicates.claim(id)), pin!(duplicates.claim(id)));
    assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    drop(first);
    (ticket(second.await), ticket(third.await))
}

#[tokio::test]
async fn where_the_first_fails_all_that_waited_are_new_and_wait_no_more() {
    let (duplicates, id) = (Duplicates::new(LONG), MessageId::new());
    let (second, third) = after_a_failure(&duplicates, id).await;
    // The third ends in vain, while the second is still underway; then that one is stored.
    drop(third);
    let mut fourth = pin!(duplicates.claim(id));
    assert!(poll!(&mut fourth).is_pending());
    second.stored();
    assert!(matches!(fourth.await, Claim::Double));
}

#[tokio::test]
async fn a_failure_beside_a_success_forgets_nothing() {
    let (duplicates, id) = (Duplicates::new(LONG), MessageId::new());
    let (second, third) = after_a_failure(&duplicates, id).await;
    third.stored();
    drop(second);
    assert!(matches!(now(&duplicates, id), Claim::Double));
}

#[test]
fn after_the_window_it_is_new_and_without_a_window_always() {
    let (short, off, id) =
        (Duplicates::new(Duration::from_millis(1)), Duplicates::new(Duration::ZERO), MessageId::new());
    ticket(now(&short, id)).stored();
    while matches!(now(&short, id), Claim::Double) {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        let (one, other) = (ticket(now(&off, id)), ticket(now(&off, id)));
        one.stored();
        other.stored();
    }
    assert_eq!(sizes(&off), (0, 0));
}

#[test]
fn the_oldest_are_forgotten_first() {
    let duplicates = Duplicates { most: 3, ..Duplicates::new(LONG) };
    let ids: Vec<_> = (0..5).map(|_| MessageId::new()).collect();
    for id in &ids {
        ticket(now(&duplicates, *id)).stored();
    }
    assert_eq!(sizes(&duplicates), (3, 3));
    let doubles = ids.iter().map(|id| matches!(now(&duplicates, *id), Claim::Double));
    assert_eq!(doubles.collect::<Vec<_>>(), [false, false, true, true, true]);
}
