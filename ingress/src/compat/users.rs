//! Who may come in by a door.

use crate::{auth::Clients, limit};
use actix_web::{HttpMessage, HttpRequest};
use postern_shared::{
    config::{DoorUser, SecretDigest},
    metrics::Refused,
};

/// A door's users, each with what its name and its password are recognised by.
#[derive(Debug)]
pub(super) struct Users(Vec<(SecretDigest, SecretDigest, DoorUser)>);

impl Users {
    pub(super) fn new<'a>(users: impl Iterator<Item = &'a DoorUser>) -> Self {
        let user = |user: &DoorUser| {
            let [name, password] = [&*user.username, user.password.expose()];
            (SecretDigest::of(name.as_bytes()), SecretDigest::of(password.as_bytes()), user.clone())
        };
        Self(users.map(user).collect())
    }

    /// Those whose name and password these are, and who may come from where `request` comes from.
    ///
    /// Every user is compared, each in a time that does not depend on where the two differ.
    pub(super) fn known(
        &self,
        request: &HttpRequest,
        clients: &Clients,
        username: &[u8],
        password: &[u8],
    ) -> Vec<&DoorUser> {
        let peer = request.peer_addr().map(|peer| peer.ip());
        let client = clients.address(peer, request.headers());
        let from_here = |user: &DoorUser| match (&user.allow, client) {
            (None, _) => true,
            (Some(networks), Some(client)) => networks.contains(client),
            (Some(_), None) => false,
        };
        let known =
            self.0.iter().filter(|(name, secret, _)| name.matches(username) & secret.matches(password));
        let known = known.map(|(_, _, user)| user);
        let (here, elsewhere): (Vec<_>, Vec<_>) = known.partition(|user| from_here(user));
        match (here.is_empty(), elsewhere.is_empty()) {
            (false, _) => limit::proved(request),
            (true, false) => refused(request, Refused::Address),
            (true, true) => refused(request, Refused::Password),
        }
        here
    }
}

/// Notes why nobody is let in.
pub(super) fn refused(request: &HttpRequest, why: Refused) {
    request.extensions_mut().insert(why);
}
