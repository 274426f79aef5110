//! Which of a backend's settings are secrets.

use crate::backend::{Definition, auth::ReceiveAuth, send_auth::SendAuth};
use postern_shared::value::Secret;

/// What the names of settings end in that are secrets.
const ENDS: [&str; 6] = ["token", "key", "secret", "password", "pass", "passphrase"];

impl Definition {
    /// Whether the setting `name` is a secret: a proof rests on it, of a request either way, or its name says
    /// so.
    pub fn is_secret_setting(&self, name: &str) -> bool {
        let is_it = |secret: &Secret| secret.setting() == Some(name);
        let received = match &self.receive.auth {
            ReceiveAuth::Basic { password, .. } => password.0.iter().any(is_it),
            auth => auth.secrets().into_iter().any(is_it),
        };
        let sent = match self.connector.http().and_then(|send| send.auth.as_ref()) {
            Some(SendAuth::Basic { password, .. }) => is_it(password),
            Some(SendAuth::Bearer(token)) => is_it(token),
            // Their keys have names that say it.
            Some(SendAuth::Oauth2(_) | SendAuth::AwsSigv4(_)) | None => false,
        };
        let last = name.rsplit('_').next().unwrap_or(name);
        received || sent || ENDS.contains(&last)
    }
}
