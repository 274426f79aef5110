//! Rows with requests that are signed at the time of the test: `sign` says how, and the placeholders `{time}`,
//! `{time-600}` and `{signature}` in the row's headers are replaced by the results.
//!
//! ```toml
//! headers = { X-Time = "{time}", X-Signature = "v0={signature}" }
//! sign = { hmac = "sha256", key = "hush", text = "v0:{time}:{body}", encoding = "hex" }
//! sign = { ed25519 = "the secret key, 64 hexadecimal digits", text = "{time}|{body}" }
//! sign = { jwt = { iat = "{time}", payload_hash = "{sha256}" }, key = "hush" }
//! ```

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac, digest::KeyInit};
use jiff::Timestamp;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

/// The values of the placeholders `{…}` in one row.
pub(super) struct Signing {
    now: i64,
    body: String,
    signature: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn mac<M: Mac + KeyInit>(key: &str, text: &str) -> Vec<u8> {
    <M as Mac>::new_from_slice(key.as_bytes()).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

impl Signing {
    /// Signs `row`, whose body is `body`, as its `sign` says.
    pub(super) fn of(row: &Value, body: &str) -> Self {
        let mut signing =
            Self { now: Timestamp::now().as_second(), body: body.to_owned(), signature: String::new() };
        if let Some(how) = row.get("sign") {
            signing.signature = signing.signature(how);
        }
        signing
    }

    fn signature(&self, how: &Value) -> String {
        let text = |key: &str| how[key].as_str().unwrap_or_else(|| panic!("sign.{key} is missing"));
        if let Some(claims) = how.get("jwt") {
            let claims: Value = serde_json::from_str(&self.filled(&claims.to_string())).unwrap();
            let numbers = claims.as_object().unwrap().iter().map(|(name, value)| {
                let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
                (name.clone(), number.map_or(value.clone(), Value::from))
            });
            let claims = Value::Object(numbers.collect());
            let head = json!({"alg": "HS256", "typ": "JWT"});
            let [head, claims] = [head, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
            let signed = format!("{head}.{claims}");
            return format!(
                "{signed}.{}",
                BASE64_URL_SAFE_NO_PAD.encode(mac::<Hmac<Sha256>>(text("key"), &signed))
            );
        }
        let signed = self.filled(text("text"));
        let bytes = match (how["hmac"].as_str(), how["ed25519"].as_str()) {
            (Some("sha256"), None) => mac::<Hmac<Sha256>>(text("key"), &signed),
            (Some("sha512"), None) => mac::<Hmac<Sha512>>(text("key"), &signed),
            (None, Some(seed)) => {
                let key = Ed25519KeyPair::from_seed_unchecked(&from_hex(seed)).unwrap();
                key.sign(signed.as_bytes()).as_ref().to_vec()
            }
            _ => panic!("sign has hmac, ed25519 or jwt"),
        };
        if how["encoding"] == "hex" { hex(&bytes) } else { BASE64_STANDARD.encode(bytes) }
    }

    /// `text` with the values instead of the placeholders.
    pub(super) fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for away in [0, -600, 600] {
            let name = if away == 0 { "{time}".to_owned() } else { format!("{{time{away:+}}}") };
            text = text.replace(&name, &(self.now + away).to_string());
        }
        text.replace("{signature}", &self.signature)
            .replace("{sha256}", &hex(&Sha256::digest(&self.body)))
            .replace("{body}", &self.body)
    }
}
