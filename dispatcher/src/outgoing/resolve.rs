//! Names that a client chose: looked up once, connected to only if their address is allowed, and only a
//! limited number at a time, so that other names can still be looked up.
//!
//! An address that a client gave is checked three times: its text when it is given (400 if it is not allowed),
//! its text again before the call, and here the addresses of its name. The resolver hands them to the
//! connection, so that none can change in between. Redirects are not followed.

use postern_shared::callback::{EgressPolicy, EgressRefused};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{error::Error, future::Future, net::SocketAddr, sync::Arc};
use tokio::{
    sync::{AcquireError, Semaphore},
    task::JoinError,
};

/// The most look-ups at a time of names that clients chose. Each blocks one of the 512 threads that the
/// runtime has for all look-ups, until the system's resolver gives up.
const ALL_LOOKUPS: usize = 32;
/// The most look-ups at a time for one client.
const LOOKUPS_OF_ONE: usize = ALL_LOOKUPS / 4;

/// The look-ups of the names that one client chose.
#[derive(Debug, Clone)]
pub(crate) struct Lookups {
    /// Shared with all other clients.
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// Why a name was not looked up.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("no more names are looked up")]
    Closed(#[from] AcquireError),
    #[error("the look-up was not finished")]
    Unfinished(#[from] JoinError),
}

impl Lookups {
    /// The look-ups of a first client.
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL_LOOKUPS)), own: Arc::new(Semaphore::new(LOOKUPS_OF_ONE)) }
    }

    /// The look-ups of another client.
    pub(crate) fn of_another(&self) -> Self {
        Self { all: self.all.clone(), own: Arc::new(Semaphore::new(LOOKUPS_OF_ONE)) }
    }

    /// Does `lookup` as soon as there are few enough. Once begun, it goes on and counts until it ends, even
    /// if its caller has given up: only then is its thread free.
    async fn when_few<T: Send + 'static>(
        &self,
        lookup: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LookupError> {
        let own = self.own.clone().acquire_owned().await?;
        let of_all = self.all.clone().acquire_owned().await?;
        let counted = async move {
            let found = lookup.await;
            drop((own, of_all));
            found
        };
        Ok(tokio::spawn(counted).await?)
    }
}

/// Resolves a name to those of its addresses that may be called. The connection is made to one of them, so
/// that a name cannot mean one thing when it is judged and another when it is used.
#[derive(Debug, Clone)]
pub(crate) struct InBounds {
    pub(crate) policy: EgressPolicy,
    pub(crate) lookups: Lookups,
}

impl Resolve for InBounds {
    #[expect(clippy::disallowed_methods, reason = "this is where names are judged")]
    fn resolve(&self, name: Name) -> Resolving {
        let Self { policy, lookups } = self.clone();
        Box::pin(async move {
            let found = lookups.when_few(async move {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                std::io::Result::Ok(found.collect::<Vec<SocketAddr>>())
            });
            let mut refused = None;
            let mut allowed = Vec::new();
            for address in found.await?? {
                match policy.address(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(why.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Why a request was not made, if an [`InBounds`] stopped it.
pub(crate) fn refusal(error: &reqwest::Error) -> Option<&EgressRefused> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };
    use tokio::{sync::oneshot, task::JoinSet, time::timeout};

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn lookups_that_never_end_take_no_more_than_their_share() {
        let first = Lookups::new();
        let second = first.of_another();
        let (begun, mut callers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..100 {
            let (lookups, begun) = (first.clone(), begun.clone());
            callers.spawn(async move {
                let hangs = async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    pending::<()>().await;
                };
                timeout(SOON, lookups.when_few(hangs)).await.is_err()
            });
        }
        // All callers give up, but the look-ups that were begun still count.
        assert!(callers.join_all().await.into_iter().all(|gave_up| gave_up));
        assert_eq!(begun.load(Ordering::Relaxed), LOOKUPS_OF_ONE);
        assert!(timeout(SOON, first.when_few(async {})).await.is_err());
        assert_eq!(second.when_few(async { 7 }).await.unwrap(), 7, "another client's");
    }

    #[tokio::test]
    async fn all_clients_together_have_their_share_and_get_it_back() {
        let all = Lookups::new();
        let (mut ends, mut callers) = (Vec::new(), JoinSet::new());
        for client in (0..ALL_LOOKUPS / LOOKUPS_OF_ONE).map(|_| all.of_another()) {
            for _ in 0..LOOKUPS_OF_ONE {
                let (end, ended) = oneshot::channel::<()>();
                let client = client.clone();
                callers.spawn(async move { timeout(SOON, client.when_few(ended)).await.is_err() });
                ends.push(end);
            }
        }
        assert!(callers.join_all().await.into_iter().all(|gave_up| gave_up));
        let late = all.of_another();
        assert!(timeout(SOON, late.when_few(async {})).await.is_err());
        drop(ends.pop());
        assert_eq!(late.when_few(async { 7 }).await.unwrap(), 7);
    }
}
