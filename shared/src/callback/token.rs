//! Tokens: each holds a [`Callback`] that only the listener of its user can have written.

use super::Callback;
use crate::value::Secret;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The longest token, in bytes.
const MAX_TOKEN: usize = 6_000;
/// The purpose of the keys. It is mixed into each key, so that nothing else is signed with the same one.
const PURPOSE: &[u8] = b"postern callback v1\0";

/// The keys that seal tokens: one for each user of a compatibility listener with callbacks, made from
/// the user's password. A new password makes a new key, and reports about earlier messages make no
/// callbacks.
///
/// A token is `payload.seal`, both Base64 for URLs: the callback as JSON, and the first 16 bytes of
/// its HMAC-SHA256.
#[derive(Clone, Default)]
pub struct CallbackKeys(Arc<BTreeMap<String, [u8; 32]>>);

impl CallbackKeys {
    /// The keys of `users`, each a name and a password.
    pub fn new<'a>(users: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let keys = users.into_iter().filter_map(|(name, password)| {
            let mut mac = mac(password.expose().as_bytes())?;
            mac.update(PURPOSE);
            mac.update(name.as_bytes());
            Some((name.to_owned(), mac.finalize().into_bytes().into()))
        });
        Self(Arc::new(keys.collect()))
    }

    /// The token for `callback`. `None` if its user is not known.
    pub fn seal(&self, callback: &Callback) -> Option<String> {
        let payload = BASE64.encode(serde_json::to_vec(callback).ok()?);
        let mut mac = mac(self.0.get(&callback.user)?)?;
        mac.update(payload.as_bytes());
        let seal = mac.finalize().into_bytes();
        Some(format!("{payload}.{}", BASE64.encode(&seal[..16])))
    }

    /// The callback in `token`. `None` if it is not a token, or was not sealed with the current password
    /// of its user.
    pub fn open(&self, token: &str) -> Option<Callback> {
        if !might_be_token(token) {
            return None;
        }
        let (payload, seal) = token.split_once('.')?;
        let callback: Callback = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
        let mut mac = mac(self.0.get(&callback.user)?)?;
        mac.update(payload.as_bytes());
        let seal = BASE64.decode(seal).ok().filter(|seal| seal.len() == 16)?;
        mac.verify_truncated_left(&seal).ok().map(|()| callback)
    }
}

fn mac(key: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length (RFC 2104, 3).
    Hmac::new_from_slice(key).ok()
}

/// Whether `text` has the form of a token, genuine or forged.
pub fn might_be_token(text: &str) -> bool {
    let written = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_TOKEN).contains(&text.len()) && text.contains('.') && text.bytes().all(written)
}

impl fmt::Debug for CallbackKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackKeys({} users)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageId;

    fn keys(password: &str) -> CallbackKeys {
        CallbackKeys::new([("u", &password.to_owned().into())])
    }

    fn callback() -> Callback {
        Callback {
            message_id: MessageId::new(),
            user: "u".to_owned(),
            url: "https://client.example.org/dlr?s=%d".to_owned(),
            mask: 31,
            to: Some("+1555".parse().unwrap()),
            values: [('P', "1000".to_owned())].into(),
        }
    }

    #[test]
    fn a_token_opens_with_the_key_that_sealed_it_and_no_other() {
        let (keys, other) = (keys("hush"), keys("other"));
        let token = keys.seal(&callback()).unwrap();
        assert_eq!(keys.open(&token).map(|c| (c.url, c.values)), Some((callback().url, callback().values)));
        assert_eq!(other.open(&token), None);
        assert_eq!(CallbackKeys::default().open(&token), None);
        assert_eq!(CallbackKeys::default().seal(&callback()), None);
        assert!(!format!("{keys:?}").contains("hush"));
    }

    #[test]
    fn whatever_is_changed_in_a_token_breaks_it() {
        let keys = keys("hush");
        let token = keys.seal(&callback()).unwrap();
        for place in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            // The last character of each part has bits that stand for nothing: they must be zero.
            assert_eq!(keys.open(&String::from_utf8(forged).unwrap()), None, "{place}");
        }
        let (payload, seal) = token.split_once('.').unwrap();
        for forged in [
            String::new(),
            ".".to_owned(),
            payload.to_owned(),
            format!("{payload}."),
            format!("{payload}.{}", &seal[..11]),
            format!("{token}="),
            format!("{token}.x"),
            format!("{}.x", "a".repeat(MAX_TOKEN)),
        ] {
            assert_eq!(keys.open(&forged), None, "{forged}");
        }
    }
}
