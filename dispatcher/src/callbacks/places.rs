//! Limits the callbacks in flight for each user and for each host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts the callbacks in flight for each user and for each host.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<HashMap<PlaceOf, usize>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PlaceOf {
    User(String),
    Host(String),
}

/// The right to have one callback in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct CallbackPermit {
    places: Arc<Places>,
    of: [PlaceOf; 2],
}

impl Places {
    /// Allows at most `most` callbacks in flight for each user and for each host.
    pub(super) fn new(most: u16) -> Arc<Self> {
        Arc::new(Self { most: most.into(), taken: Mutex::default() })
    }

    /// A permit for a callback of `user` to `host`. `None` if the user or the host has none left.
    pub(super) fn take(self: &Arc<Self>, user: &str, host: &str) -> Option<CallbackPermit> {
        let of = [PlaceOf::User(user.to_owned()), PlaceOf::Host(host.to_owned())];
        let mut taken = self.taken();
        if of.iter().any(|of| taken.get(of).is_some_and(|taken| *taken >= self.most)) {
            return None;
        }
        for of in &of {
            *taken.entry(of.clone()).or_default() += 1;
        }
        Some(CallbackPermit { places: self.clone(), of })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<PlaceOf, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallbackPermit {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        for of in &self.of {
            if let Some(number) = taken.get_mut(of) {
                *number -= 1;
                if *number == 0 {
                    taken.remove(of);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_user_nor_a_host_has_more_than_its_places() {
        let places = Places::new(2);
        let held = [places.take("a", "x").unwrap(), places.take("a", "y").unwrap()];
        assert!(places.take("a", "z").is_none(), "a user with many hosts");
        let other = places.take("b", "x").unwrap();
        assert!(places.take("c", "x").is_none(), "a host of many users");
        assert!(places.take("c", "z").is_some());
        drop(held);
        assert!(places.take("a", "x").is_some());
        drop(other);
        assert!(places.taken().is_empty(), "what is not under way takes no memory");
    }
}
