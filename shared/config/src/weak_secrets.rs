//! Warnings about valid secrets that could be guessed.

use crate::{backend::auth::ReceiveAuth, config::Config, reader::Reader};
use postern_shared::value::{Secret, Secrets, Settings};

/// The warning about a short secret.
const SHORT: &str = "is shorter than 16 characters, so it could be guessed: choose a long random one \
                     (`postern key` creates one)";

/// Warns of short secrets that callers must show or sign with. Secrets that a provider has chosen, or that Postern
/// shows to others, are not checked.
pub(super) fn warn(config: &Config, reader: &mut Reader) {
    for (index, key) in config.api.keys.iter().enumerate() {
        if key.digest().is_some_and(|digest| digest.is_short()) {
            reader.warning(&format!("api.keys[{index}].key"), SHORT);
        }
    }
    if config.admin.token.is_some_and(|token| token.is_short()) {
        reader.warning("admin.token", SHORT);
    }
    if config.log.hash_key.as_ref().is_some_and(Secret::is_short) {
        reader.warning("log.hash_key", SHORT);
    }
    let kannel = config.compat.kannel.iter().map(|section| ("kannel", &section.users));
    let vumi = config.compat.vumi.iter().map(|section| ("vumi", &section.users));
    for (listener, users) in kannel.chain(vumi) {
        for (index, _) in users.iter().enumerate().filter(|(_, user)| user.password.is_short()) {
            reader.warning(&format!("compat.{listener}.users[{index}].password"), SHORT);
        }
    }
    for (name, backend) in &config.backends {
        let (key, secrets) = match &backend.definition.receive.auth {
            ReceiveAuth::Basic { password, .. } => ("basic.password", password),
            ReceiveAuth::Token(token) => ("token.secret", &token.secret),
            ReceiveAuth::Hmac(hmac) => ("hmac.secret", &hmac.secret),
            ReceiveAuth::Jwt(jwt) => ("jwt.secret", &jwt.secret),
            // There is no secret, or its length is fixed, or it is public, or the provider has made it.
            ReceiveAuth::None
            | ReceiveAuth::Ed25519(_)
            | ReceiveAuth::StandardWebhooks { .. }
            | ReceiveAuth::Twilio { .. } => continue,
        };
        if any_short(secrets, &backend.definition.settings) {
            reader.warning(&format!("backends.{name}.receive.auth.{key}"), SHORT);
        }
    }
}

fn any_short(secrets: &Secrets, settings: &Settings) -> bool {
    secrets.resolved(settings).is_some_and(|all| all.iter().any(Secret::is_short))
}
