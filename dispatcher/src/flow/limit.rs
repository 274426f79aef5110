//! The number of requests that a backend may have in flight: a semaphore that can shrink.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of permits, which can change. The request that has waited longest gets the next one.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    free: Arc<Semaphore>,
    size: Mutex<u32>,
    /// How many permits are removed when they are returned.
    surplus: Arc<AtomicU32>,
}

/// The right to have one request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConcurrencyPermit {
    permit: Option<OwnedSemaphorePermit>,
    surplus: Arc<AtomicU32>,
}

impl ConcurrencyLimit {
    /// A limit of `size`, at least 1.
    pub(super) fn new(size: u32) -> Self {
        let size = size.max(1);
        let free = Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS));
        Self { free: Arc::new(free), size: Mutex::new(size), surplus: Arc::default() }
    }

    /// Changes the limit to `size`, at least 1. If more permits are taken, the next ones to be returned are
    /// removed.
    pub(super) fn resize(&self, size: u32) {
        let size = size.max(1);
        let mut current = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in size..*current {
            if self.free.forget_permits(1) == 0 {
                self.surplus.fetch_add(1, Ordering::AcqRel);
            }
        }
        for _ in *current..size {
            if !takes_one(&self.surplus) {
                self.free.add_permits(1);
            }
        }
        *current = size;
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self) -> ConcurrencyPermit {
        // The semaphore is never closed.
        let permit = self.free.clone().acquire_owned().await.ok();
        ConcurrencyPermit { permit, surplus: self.surplus.clone() }
    }

    /// Whether a permit is free.
    pub(super) fn has_room(&self) -> bool {
        self.free.available_permits() > 0
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        if takes_one(&self.surplus)
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

fn takes_one(number: &AtomicU32) -> bool {
    let less = |number: u32| number.checked_sub(1);
    number.load(Ordering::Acquire) > 0
        && number.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn takes(limit: &ConcurrencyLimit) -> Vec<ConcurrencyPermit> {
        std::iter::from_fn(|| limit.acquire().now_or_never()).collect()
    }

    #[test]
    fn permits_are_given_back_and_the_number_of_them_grows_and_shrinks() {
        let limit = ConcurrencyLimit::new(3);
        let mut taken = takes(&limit);
        assert_eq!((taken.len(), limit.has_room()), (3, false));
        limit.resize(1);
        taken.truncate(1);
        assert!(takes(&limit).is_empty(), "two went as they were given back");
        limit.resize(4);
        assert_eq!(takes(&limit).len(), 3);
        drop(taken);
        limit.resize(0);
        assert_eq!(takes(&limit).len(), 1, "there is always one");
    }

    #[test]
    fn a_limit_that_grows_again_keeps_the_permits_that_were_to_go() {
        let limit = ConcurrencyLimit::new(4);
        let taken = takes(&limit);
        limit.resize(2);
        limit.resize(3);
        drop(taken);
        assert_eq!(takes(&limit).len(), 3);
    }

    #[test]
    fn whoever_has_waited_longest_is_first() {
        let limit = ConcurrencyLimit::new(1);
        let taken = takes(&limit);
        let (mut first, mut second) = (Box::pin(limit.acquire()), Box::pin(limit.acquire()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(taken);
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }
}
