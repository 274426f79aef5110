//! The users of a compatibility listener.

use crate::refusal_reason::RefusalReason;
use postern_config::CompatUser;
use postern_service::rates::{Allowance, Buckets};
use postern_shared::value::SecretDigest;
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// A listener's users.
#[derive(Debug)]
pub(super) struct Users {
    /// Each user, with the digests of its name and its password.
    users: Vec<(SecretDigest, SecretDigest, CompatUser)>,
    /// The buckets by the user's name: users of one name, each for another conversation, share a bucket.
    buckets: Buckets<String>,
}

impl Users {
    /// Takes `users`; `buckets` holds what each has left of its rate.
    pub(super) fn new<'a>(users: impl Iterator<Item = &'a CompatUser>, buckets: Buckets<String>) -> Self {
        let user = |user: &CompatUser| {
            let [name, password] = [&*user.username, user.password.expose()];
            (SecretDigest::of(name.as_bytes()), SecretDigest::of(password.as_bytes()), user.clone())
        };
        Self { users: users.map(user).collect(), buckets }
    }

    /// The users with this name and password that may call from `client`. At least one.
    ///
    /// Every user is compared, each in constant time.
    ///
    /// # Errors
    /// The reason why no user is let in.
    pub(super) fn known(
        &self,
        client: Option<IpAddr>,
        username: &[u8],
        password: &[u8],
    ) -> Result<Vec<&CompatUser>, RefusalReason> {
        let from_here = |user: &CompatUser| match (&user.allow, client) {
            (None, _) => true,
            (Some(networks), Some(client)) => networks.contains(client),
            (Some(_), None) => false,
        };
        let known =
            self.users.iter().filter(|(name, secret, _)| name.matches(username) & secret.matches(password));
        let known = known.map(|(_, _, user)| user);
        let (here, elsewhere): (Vec<_>, Vec<_>) = known.partition(|user| from_here(user));
        match (here.is_empty(), elsewhere.is_empty()) {
            (false, _) => Ok(here),
            (true, false) => Err(RefusalReason::Address),
            (true, true) => Err(RefusalReason::Password),
        }
    }

    /// Counts a request of `user`.
    ///
    /// # Errors
    /// How long to wait until the next request is accepted.
    pub(super) fn count(&self, user: &CompatUser, now: Instant) -> Result<(), Duration> {
        let Some(rate) = user.rate else { return Ok(()) };
        self.buckets.take(user.username.clone(), Allowance::from(rate), now)
    }
}
