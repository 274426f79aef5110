//! Which identities are one recipient of a backend: `send.identity` and `send.separator`.

use super::send::{Recipients, Send};
use postern_shared::message::Identity;

/// Why an identity is not one recipient of a backend. The error text does not quote the identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARecipient {
    /// It does not match `send.identity`, which is this pattern.
    #[error("is not a valid recipient of this backend: it must match {0} (send.identity)")]
    Unlike(String),
    /// It contains `send.separator`, which is this text.
    #[error(
        "is more than one recipient: it must not contain {0:?}, which separates recipients \
         (send.separator)"
    )]
    Several(String),
}

impl Send {
    /// Checks that `identity` is one recipient, so that a request to it goes to nobody else. Senders of inbound
    /// messages are not checked.
    ///
    /// # Errors
    /// Why the identity is not one recipient.
    pub fn check_identity(&self, identity: &Identity) -> Result<(), NotARecipient> {
        let text = identity.as_str();
        if let Some(pattern) = self.identity.as_ref().filter(|pattern| !pattern.matches_whole(text)) {
            return Err(NotARecipient::Unlike(pattern.0.as_str().to_owned()));
        }
        let separates = self.separator.is_some() || self.recipients == Recipients::Joined;
        if separates && text.contains(self.separator()) {
            return Err(NotARecipient::Several(self.separator().to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, ProviderRegistry};

    /// Whether the backend in `table` accepts `identity`, else why not.
    fn check(table: &str, identity: &str) -> Result<(), String> {
        let text = format!("[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n{table}");
        let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
        let backend = config.backends.values().next().unwrap();
        let checked = backend.definition.connector.check_identity(&identity.parse().unwrap());
        checked.map_err(|why| why.to_string())
    }

    #[test]
    fn each_providers_own_recipients_are_taken_and_no_lists_of_them() {
        let kannel = "[backends.x]\ntype = \"kannel\"\n";
        let africa =
            "[backends.x]\ntype = \"africastalking\"\nsettings = { username = \"u\", api_key = \"k\" }\n";
        let twilio = "[backends.x]\ntype = \"twilio\"\nsettings = { account_sid = \"a\", auth_token = \"t\", from = \"1\" }\n";
        let vumi = "[backends.x]\ntype = \"vumi\"\nsettings = { sendsms_url = \"http://h/\" }\n";
        for (backend, taken, refused) in [
            (
                kannel,
                &["+254712000000", "254712000000", "0712-000-000", "22384"][..],
                &[
                    "+254712000000 +254712000001",
                    "+1,+2",
                    "+1;+2",
                    "+1\u{a0}+2",
                    "+1 ",
                    "alice",
                    "+",
                    "+1+2",
                    "１",
                ][..],
            ),
            (
                africa,
                &["+254711000001", "254711000001", "22384"],
                &["+1,+2", "+1, +2", "+1 +2", "+1\u{ff0c}+2", "CLINIC"],
            ),
            (
                twilio,
                &[
                    "+15551234567",
                    "15551",
                    "whatsapp:+15551234567",
                    "messenger:1234567",
                    "rcs:brand_agent",
                    "whatsapp:US.13491208655302741918",
                ],
                &["+1,+2", "+1 +2", "whatsapp:+1,whatsapp:+2", "whatsapp:", "alice", "+1\u{2028}+2"],
            ),
            (
                vumi,
                &["+15551234567", "alice@example.org", "@handle", "*120*1#"],
                &["+1,+2", "+1 +2", "+1;+2", "+1\u{a0}+2"],
            ),
        ] {
            for identity in taken {
                assert_eq!(check(backend, identity), Ok(()), "{backend} {identity}");
            }
            for identity in refused {
                let why = check(backend, identity).unwrap_err();
                assert!(
                    why.contains("send.") && !why.contains(&format!("`{identity}`")),
                    "{identity}: {why}"
                );
            }
        }
    }

    #[test]
    fn an_identity_that_contains_the_separator_is_several() {
        let http =
            |more: &str| format!("[backends.x]\ntype = \"http\"\nsend = {{ url = \"http://h/\"{more} }}\n");
        for (more, identity, taken) in [
            ("", "+1,+2", true),
            (", recipients = \"list\"", "+1,+2", true),
            (", recipients = \"joined\"", "+1,+2", false),
            (", recipients = \"joined\"", "+1 +2", true),
            (", recipients = \"joined\", separator = \" \"", "+1 +2", false),
            (", recipients = \"joined\", separator = \" \"", "+1,+2", true),
            (", separator = \";\"", "+1;+2", false),
            (", recipients = \"list\", separator = \";\"", "+1;+2", false),
            (", identity = '\\+[0-9]+'", "+1", true),
            (", identity = '\\+[0-9]+'", "x+1", false),
            (", identity = 'a|ab'", "ab", true),
        ] {
            assert_eq!(check(&http(more), identity).is_ok(), taken, "{more} {identity}");
        }
        assert_eq!(check("[backends.x]\ntype = \"console\"\n", "+1,+2 +3"), Ok(()));
    }
}
