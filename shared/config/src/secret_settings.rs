//! Tells which of a backend's settings are secrets.

use crate::backend::{Definition, auth::ReceiveAuth, send_auth::SendAuth};
use postern_shared::value::Secret;

/// The endings of the names of settings that are secrets.
const ENDS: [&str; 6] = ["token", "key", "secret", "password", "pass", "passphrase"];

impl Definition {
    /// Whether the setting `name` is a secret: requests in either direction are authenticated with it, or its name
    /// ends like a secret's, such as `token` or `password`.
    pub fn is_secret_setting(&self, name: &str) -> bool {
        let is_it = |secret: &Secret| secret.setting() == Some(name);
        let received = match &self.receive.auth {
            ReceiveAuth::Basic { password, .. } => password.0.iter().any(is_it),
            auth => auth.secrets().into_iter().any(is_it),
        };
        let sent = match self.connector.http().and_then(|send| send.auth.as_ref()) {
            Some(SendAuth::Basic { password, .. }) => is_it(password),
            Some(SendAuth::Bearer(token)) => is_it(token),
            // Their secret settings have names that end like secrets.
            Some(SendAuth::Oauth2(_) | SendAuth::AwsSigv4(_)) | None => false,
        };
        let last = name.rsplit('_').next().unwrap_or(name);
        received || sent || ENDS.contains(&last)
    }
}
