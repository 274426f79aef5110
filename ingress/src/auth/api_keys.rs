//! The API keys of `/v1`.

use super::principal::Principal;
use crate::refusal_reason::RefusalReason;
use actix_web::http::header::HeaderMap;
use jiff::Timestamp;
use postern_config::ApiKey;
use postern_service::bearer::bearer;
use postern_service::rates::{Allowance, Buckets};
use std::time::{Duration, Instant};

/// The keys of `[[api.keys]]`. If there are none, every client on this machine is let in: see
/// [`is_local`](super::is_local).
#[derive(Debug)]
pub(crate) struct ApiKeys {
    keys: Vec<ApiKey>,
    /// The buckets by the key's name: a key that replaces another of the same name continues with its bucket.
    buckets: Buckets<String>,
}

impl ApiKeys {
    /// Takes `keys`; `buckets` holds what each has left of its rate.
    pub(crate) fn new(keys: &[ApiKey], buckets: Buckets<String>) -> Self {
        Self { keys: keys.to_vec(), buckets }
    }

    /// The keys that have expired.
    pub(crate) fn expired(&self, now: Timestamp) -> impl Iterator<Item = &ApiKey> {
        self.keys.iter().filter(move |key| key.has_expired(now))
    }

    /// The holder of the key in `Authorization: Bearer …`; [`Principal::Anyone`] if no keys are configured.
    ///
    /// Every key is compared, each in constant time.
    ///
    /// # Errors
    /// The reason why the key is refused.
    pub(crate) fn principal(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Principal<'_>, RefusalReason> {
        if self.keys.is_empty() {
            return Ok(Principal::Anyone);
        }
        let token = bearer(headers).ok_or(RefusalReason::Key)?;
        let mut holder = Err(RefusalReason::Key);
        for key in &self.keys {
            if key.digest().is_some_and(|digest| digest.matches(token)) {
                holder = if key.has_expired(now) {
                    Err(RefusalReason::Expired)
                } else {
                    Ok(Principal::ApiKey(key))
                };
            }
        }
        holder
    }

    /// Counts a request of `principal`.
    ///
    /// # Errors
    /// How long to wait until the next request is accepted.
    pub(crate) fn count(&self, principal: Principal<'_>, now: Instant) -> Result<(), Duration> {
        match principal {
            Principal::ApiKey(ApiKey { rate: Some(rate), name, .. }) => {
                self.buckets.take(name.clone(), Allowance::from(*rate), now)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};
    use serde_json::{Value, json};

    fn key(change: &Value) -> ApiKey {
        let mut key = json!({"name": "a", "key": "key-a", "backends": ["demo"]});
        for (name, value) in change.as_object().unwrap() {
            key[name] = value.clone();
        }
        serde_json::from_value(key).unwrap()
    }

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        headers
    }

    #[test]
    fn a_caller_is_known_by_the_whole_key_only() {
        // printf key-hashed | sha256sum
        let hash = "be35011b541f98c9f5bd192c4994bc8bc45d55f6295d27032976826b64703d3e";
        let hashed = json!({"name": "c", "key": null, "key_sha256": hash});
        let keys = ApiKeys::new(
            &[key(&json!({})), key(&json!({"name": "b", "key": "key-bb"})), key(&hashed)],
            Buckets::default(),
        );
        let now = Timestamp::now();
        for (header, name) in [
            ("Bearer key-a", Some("a")),
            ("bearer  key-bb ", Some("b")),
            ("Bearer key-hashed", Some("c")),
            (&format!("Bearer {hash}"), None),
            ("Bearer key-", None),
            ("Bearer key-b", None),
            ("Bearer key-aa", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic key-a", None),
            ("", None),
        ] {
            match keys.principal(&headers(header), now) {
                Ok(principal) => {
                    assert_eq!(Some(principal.name()), name, "{header}");
                    assert!(principal.may_use(&"demo".parse().unwrap()));
                    assert!(!principal.may_use(&"other".parse().unwrap()));
                }
                Err(why) => assert_eq!((why, name), (RefusalReason::Key, None), "{header}"),
            }
        }
        assert!(keys.principal(&HeaderMap::new(), now).is_err());
        assert!(matches!(
            ApiKeys::new(&[], Buckets::default()).principal(&HeaderMap::new(), now),
            Ok(Principal::Anyone)
        ));
        assert!(!format!("{keys:?}").contains("key-a"));
    }

    #[test]
    fn a_key_ends_when_it_says() {
        let end: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let old = key(&json!({"expires": "2026-12-01T00:00:00Z"}));
        let keys = ApiKeys::new(&[old, key(&json!({"key": "key-new"}))], Buckets::default());
        let second = jiff::Span::new().seconds(1);
        for (header, now, wanted) in [
            ("Bearer key-a", end - second, Ok("a")),
            ("Bearer key-a", end, Err(RefusalReason::Expired)),
            ("Bearer key-new", end, Ok("a")),
            ("Bearer key-old", end, Err(RefusalReason::Key)),
        ] {
            assert_eq!(
                keys.principal(&headers(header), now).as_ref().map(Principal::name).map_err(|e| *e),
                wanted
            );
        }
        assert_eq!(keys.expired(end).count(), 1);
        assert_eq!(keys.expired(end - second).count(), 0);
    }

    #[test]
    fn keys_of_one_name_share_a_bucket() {
        let rated = |secret: &str| key(&json!({"key": secret, "rate": "2/min"}));
        let keys = ApiKeys::new(
            &[rated("key-a"), rated("key-new"), key(&json!({"name": "b", "key": "key-b"}))],
            Buckets::default(),
        );
        let start = Instant::now();
        for (secret, wanted) in [
            ("key-a", Ok(())),
            ("key-new", Ok(())),
            ("key-a", Err(Duration::from_secs(30))),
            ("key-new", Err(Duration::from_secs(30))),
            ("key-b", Ok(())),
        ] {
            let headers = headers(&format!("Bearer {secret}"));
            let principal = keys.principal(&headers, Timestamp::now()).unwrap();
            assert_eq!(keys.count(principal, start), wanted, "{secret}");
        }
    }
}
