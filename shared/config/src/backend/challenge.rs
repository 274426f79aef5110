//! `receive.challenge`: the handshake by which a provider verifies an address before it sends anything.

use super::{
    expression::{REQUEST, RequestValues, When},
    template::{RenderError, Template},
};
use minijinja::{context, value::Serde};
use serde::{Deserialize, Deserializer, de};

/// A handshake: which requests are part of it, and the answer to them.
///
/// A GET of the handshake needs no proof of its sender, since providers do not sign a GET: `when` should check the
/// token that the provider was told to send.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Which requests are a handshake.
    when: When,
    /// The body of the answer 200: a template over `body`, `query`, `headers` and `settings`.
    #[serde(deserialize_with = "template")]
    reply: Template,
}

fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
    Template::seeing(&String::deserialize(deserializer)?, &REQUEST).map_err(de::Error::custom)
}

impl Challenge {
    /// Which requests are a handshake.
    pub fn when(&self) -> &When {
        &self.when
    }

    /// The template of the answer, as it was written.
    pub(crate) fn reply_source(&self) -> &str {
        self.reply.source()
    }

    /// The answer to `request`, which must be a handshake.
    ///
    /// # Errors
    /// [`RenderError`]
    pub fn reply(&self, request: &RequestValues<'_>) -> Result<String, RenderError> {
        let RequestValues { body, query, headers, settings } = request;
        let scope = context! {
            body => Serde(body),
            query => Serde(query),
            headers => Serde(headers),
            settings => Serde(settings),
        };
        self.reply.render(&scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};
    use std::borrow::Cow;

    #[test]
    fn the_reply_is_made_of_the_request() {
        let members = |json: serde_json::Value| json.as_object().cloned().unwrap_or_else(Map::new);
        let request = RequestValues {
            body: Cow::Owned(json!({"challenge": "a&b", "n": 7})),
            query: members(json!({"hub.challenge": "1158201444", "crc": "x"})),
            headers: members(json!({"x-hook-secret": "s"})),
            settings: &members(json!({"code": "c1"})),
        };
        for (reply, wanted) in [
            ("{{ query['hub.challenge'] }}", "1158201444"),
            ("{{ query.crc }}", "x"),
            ("{{ body.challenge }}", "a&b"),
            (
                "{\"challenge\": {{ body.challenge | tojson }}, \"n\": {{ body.n }}}",
                "{\"challenge\": \"a\\u0026b\", \"n\": 7}",
            ),
            ("{{ headers['x-hook-secret'] }}", "s"),
            ("{{ query.absent }}", ""),
            ("{{ settings.code }}", "c1"),
            ("fixed", "fixed"),
        ] {
            let challenge = json!({"when": "true", "reply": reply});
            let challenge: Challenge = serde_json::from_value(challenge).unwrap();
            assert_eq!(challenge.reply(&request).unwrap(), wanted, "{reply}");
        }
    }
}
