//! What a backend can do according to its configuration, for its provider's page.

use super::example::PUBLIC_URL;
use indexmap::IndexMap;
use postern_config::{
    About,
    backend::{
        BackendConfig,
        auth::{
            ReceiveAuth, TokenAuth,
            signature::{Algorithm, SignatureShape},
        },
        http::{BodyFormat, Method},
        receive::{Receive, STANDARD_FIELDS},
        send::{Recipients, Send},
        send_auth::SendAuth,
        status::Status,
        template::uses,
    },
};
use postern_shared::{
    message::State,
    text::{
        media::MediaUse,
        policy::{Over, TextPolicy},
    },
};
use std::collections::BTreeSet;

/// What a backend can do.
pub(super) struct Abilities<'a> {
    backend: &'a BackendConfig,
    receive: &'a Receive,
    status: Option<&'a Status>,
    /// `None` if the backend does not send over HTTP.
    send: Option<&'a Send>,
    sends: bool,
    /// Whether the provider delivers anything.
    brings: bool,
    text: &'a TextPolicy,
}

/// The addresses of messages and of delivery reports, as the provider sees them.
pub(super) fn addresses(backend: &BackendConfig) -> (String, String) {
    let token = match &backend.definition.receive.auth {
        ReceiveAuth::Token(TokenAuth { path: true, .. }) => "/TOKEN",
        _ => "",
    };
    let messages = format!("{PUBLIC_URL}/backends/{}{token}", backend.name);
    let reports = if reports_apart(backend) { format!("{messages}/status") } else { messages.clone() };
    (messages, reports)
}

/// Whether delivery reports have an address of their own.
fn reports_apart(backend: &BackendConfig) -> bool {
    backend.definition.status.as_ref().is_none_or(|status| status.when.is_none())
}

/// Whether the configuration must have `ingress.public_url`.
pub(super) fn needs_public_url(backend: &BackendConfig) -> bool {
    backend.definition.receive.auth.needs_url() || tells_status_url(backend)
}

/// Whether each message tells the provider where its delivery reports go.
fn tells_status_url(backend: &BackendConfig) -> bool {
    let sources = backend.definition.connector.http().map(Send::sources).unwrap_or_default();
    sources.iter().flat_map(|(_, source)| uses(source)).any(|used| used.path[0] == "status_url")
}

/// The parts of a request that a signature covers.
fn signed(shape: SignatureShape<'_>) -> String {
    let (covers_address, covers_body) =
        shape.signed.map_or((false, true), |signed| (signed.covers_address(), signed.covers_body()));
    let parts =
        [(covers_address, "the address"), (shape.timestamp.is_some(), "the time"), (covers_body, "the body")];
    let parts: Vec<_> = parts.into_iter().filter(|(covered, _)| *covered).map(|(_, part)| part).collect();
    parts.join(" and ")
}

/// `number` with commas: `4,096`.
fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}

impl<'a> Abilities<'a> {
    pub(super) fn of(backend: &'a BackendConfig, about: Option<&About>) -> Self {
        let definition = &backend.definition;
        // A type that is not a provider's receives what the backend's own table says.
        let is_providers = about.is_some_and(|about| about.documentation.is_some());
        let brings = definition.says_receive || definition.status.is_some() || !is_providers;
        Self {
            backend,
            receive: &definition.receive,
            status: definition.status.as_ref(),
            send: definition.connector.http(),
            sends: definition.connector.sends(),
            brings,
            text: &definition.text,
        }
    }

    /// The abilities as rows of a table.
    pub(super) fn rows(&self) -> String {
        let rows = [
            ("receives", Some(self.receives())),
            ("passed on with a message, in `fields`", self.fields()),
            ("media of an incoming message", self.media_in()),
            ("delivery reports", self.status.map(|_| self.reports())),
            ("Postern asks for a message's state", self.polls()),
            ("requests are authenticated by", self.proof()),
            ("the provider's handshake", self.receive.challenge.as_ref().map(|_| "is answered".to_owned())),
            (
                "a request that is neither a message nor a report",
                self.receive.ignore.then(|| "is ignored".to_owned()),
            ),
            ("sends", Some(self.sending())),
            ("Postern authenticates by", self.shows()),
            ("recipients per request", self.send.map(|_| self.recipients_in_full())),
            ("media of an outgoing message, in `context.media`", self.sends.then(|| self.media_out())),
            ("longest text per request", self.sends.then(|| self.longest())),
            ("values that an application may set in `context`", self.context()),
            ("the provider's id of a message is known", self.id()),
            ("the provider's errors that are recognized", self.failures()),
        ];
        let rows = rows.into_iter().filter_map(|(what, how)| Some((what, how?)));
        rows.map(|(what, how)| format!("| {what} | {how} |\n")).collect()
    }

    /// What the backend cannot do, one sentence for each.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.brings && self.proof().is_none() {
            missing.push(
                "Nothing in a request proves that it comes from the provider. Put a token into the addresses \
                 that the provider calls (`receive.auth = { token = { secret = { env = \"…\" }, path = true \
                 } }`), or accept requests only from the provider's addresses (`receive.allow`)."
                    .to_owned(),
            );
        }
        if self.sends && self.status.is_none() && self.backend.definition.poll.is_none() {
            missing.push(
                "There are no delivery reports: the last known state of a message is `sent`.".to_owned(),
            );
        }
        let ours =
            |status: &Status| status.params.contains_key("message_id") || tells_status_url(self.backend);
        if self.status.is_some_and(|status| !ours(status)) {
            missing.push(
                "A delivery report names a message by the provider's id: Postern needs a message log \
                 (`[log]`) to find the message."
                    .to_owned(),
            );
        }
        if !self.sends {
            missing.push(
                "This provider only receives, unless the backend's own table says how to send (`send`)."
                    .to_owned(),
            );
        }
        missing
    }

    fn receives(&self) -> String {
        if !self.brings {
            return "nothing".to_owned();
        }
        let methods: Vec<_> = self.receive.methods.iter().map(|method| method.as_str()).collect();
        let batch = self.receive.batch();
        let format = if self.receive.format == Some(BodyFormat::Xml) { "XML" } else { "JSON" };
        let several = format!("{format}, any number of messages per request");
        let one = format!("{format}, one message per request");
        let how = if batch.has_items() {
            &*several
        } else if batch.has_pointers() || format == "XML" {
            &*one
        } else if self.receive.methods == [Method::Get] {
            "parameters in the query, one message per request"
        } else if self.receive.methods.contains(&Method::Get) {
            "a query, a form or JSON, one message per request"
        } else {
            "a form or JSON, one message per request"
        };
        format!("messages: {}, {how}", methods.join(" or "))
    }

    fn fields(&self) -> Option<String> {
        let own = self.receive.fields.keys().filter(|name| !STANDARD_FIELDS.contains(&name.as_str()));
        let names: Vec<_> = own.map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn reports(&self) -> String {
        let place = if reports_apart(self.backend) { "at a separate address" } else { "at the same address" };
        format!("{}, {place}", self.reports_in_short())
    }

    fn polls(&self) -> Option<String> {
        let poll = self.backend.definition.poll.as_ref()?;
        let states =
            if self.status.is_none() { format!("; {}", self.reports_in_short()) } else { String::new() };
        Some(format!("up to {} times{states}", poll.delays.len()))
    }

    /// The states that delivery reports, or the provider's answers, can report.
    pub(super) fn reports_in_short(&self) -> String {
        const ORDER: [State; 9] = [
            State::Queued,
            State::Sent,
            State::Buffered,
            State::Retrying,
            State::Delivered,
            State::Undelivered,
            State::Failed,
            State::Expired,
            State::Unknown,
        ];
        let brought = self.status.map(|status| &status.states);
        let asked = self.backend.definition.poll.as_ref().map(|poll| &poll.states);
        let told = |state: &&State| {
            [brought, asked].into_iter().flatten().flat_map(IndexMap::values).any(|it| it == *state)
        };
        let states: Vec<_> = ORDER.iter().filter(told).map(|state| state.as_str()).collect();
        if states.is_empty() { "none".to_owned() } else { states.join(", ") }
    }

    fn proof(&self) -> Option<String> {
        Some(match &self.receive.auth {
            ReceiveAuth::None => return None,
            ReceiveAuth::Basic { .. } => "a user name and a password (Basic auth)".to_owned(),
            ReceiveAuth::Token(TokenAuth { header: Some(header), .. }) => {
                format!("a token in the header `{}`", header.0)
            }
            ReceiveAuth::Token(TokenAuth { query: Some(name), .. }) => {
                format!("a token in the query, as `{name}`")
            }
            ReceiveAuth::Token(TokenAuth { body: Some(name), .. }) => {
                format!("a token in the body, at `{name}`")
            }
            ReceiveAuth::Token(_) => "a token in the address".to_owned(),
            ReceiveAuth::Hmac(auth) => {
                let hash = match auth.algorithm {
                    Algorithm::Sha1 => "SHA1",
                    Algorithm::Sha256 => "SHA256",
                    Algorithm::Sha512 => "SHA512",
                };
                format!("a signature: HMAC-{hash} of {}, in `{}`", signed(auth.shape()), auth.header.0)
            }
            ReceiveAuth::Ed25519(auth) => {
                format!("a signature: Ed25519 of {}, in `{}`", signed(auth.shape()), auth.header.0)
            }
            ReceiveAuth::Jwt(auth) => format!("a signed token: JWT (HS256), in `{}`", auth.header.0),
            ReceiveAuth::StandardWebhooks { .. } => "a signature, by Standard Webhooks".to_owned(),
            ReceiveAuth::Twilio { .. } => {
                "a signature: HMAC-SHA1 of the address and the parameters, in `X-Twilio-Signature`".to_owned()
            }
        })
    }

    /// [`Self::proof`] in a few words.
    pub(super) fn proof_in_short(&self) -> String {
        let none = if self.brings { "nothing" } else { "–" };
        let proof = self.proof().unwrap_or_else(|| none.to_owned());
        proof.split([':', ',']).next().unwrap_or_default().to_owned()
    }

    fn sending(&self) -> String {
        let Some(send) = self.send else {
            return if self.sends { "yes".to_owned() } else { "no".to_owned() };
        };
        let body = match (&send.json, &send.xml, send.form.is_empty()) {
            (Some(_), ..) => "JSON",
            (_, Some(_), _) => "XML",
            (.., false) => "a form",
            (None, None, true) => "a query",
        };
        let rate = self.backend.definition.rate.map(|rate| rate.limit);
        let rate = rate.map_or_else(String::new, |rate| format!(", at most {rate}"));
        format!("{} with {body}{rate}", send.method.as_str())
    }

    /// How a send request is authenticated, if the definition has `send.auth`.
    fn shows(&self) -> Option<String> {
        Some(match self.send?.auth.as_ref()? {
            SendAuth::Basic { .. } => "a user name and a password (Basic auth)".to_owned(),
            SendAuth::Bearer(_) => "a token that does not expire (Bearer)".to_owned(),
            SendAuth::Oauth2(_) => {
                "an access token (OAuth 2.0), which Postern requests and renews".to_owned()
            }
            SendAuth::AwsSigv4(_) => "a signature (AWS Signature Version 4)".to_owned(),
        })
    }

    fn media_in(&self) -> Option<String> {
        (!self.receive.media.is_empty()).then(|| "are in `fields.media`".to_owned())
    }

    fn media_out(&self) -> String {
        match self.text.media {
            MediaUse::Append => "their addresses are appended to the text",
            MediaUse::Refuse => "the message is refused",
            MediaUse::Send => "are sent",
        }
        .to_owned()
    }

    /// [`Self::recipients_in_short`], and whether the answer has a result for each recipient.
    fn recipients_in_full(&self) -> String {
        let apart = self.send.is_some_and(|send| send.results.is_some());
        let answers = if apart { "; the answer has a result for each" } else { "" };
        self.recipients_in_short() + answers
    }

    /// How many recipients one request has.
    pub(super) fn recipients_in_short(&self) -> String {
        match self.send.map(|send| (send.recipients, send.batch)) {
            None => "–".to_owned(),
            Some((Recipients::Each, _)) => "one".to_owned(),
            Some((Recipients::Joined | Recipients::List, most)) => format!("up to {most}"),
        }
    }

    fn longest(&self) -> String {
        let TextPolicy { limit, over, segments, .. } = self.text;
        let bounds = [(limit.characters, "characters"), (limit.segments, "segments")];
        let bounds: Vec<_> = bounds
            .into_iter()
            .filter(|(most, _)| *most > 0)
            .map(|(most, what)| format!("{} {what}", with_commas(most)))
            .collect();
        let longer = match over {
            Over::Split => "a longer one is sent in parts",
            Over::Refuse => "a longer one is refused",
            Over::Truncate => "a longer one is cut off",
        };
        let counted = if *segments { "" } else { "; segments are not counted" };
        if bounds.is_empty() {
            format!("any{counted}")
        } else {
            format!("{}; {longer}{counted}", bounds.join(", "))
        }
    }

    fn context(&self) -> Option<String> {
        let sources = self.send?.sources();
        let used = sources.iter().flat_map(|(_, source)| uses(source));
        let names: BTreeSet<String> = used
            .filter(|used| used.path[0] == "context")
            .filter_map(|used| used.path.get(1).cloned())
            .collect();
        let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn id(&self) -> Option<String> {
        self.send?.external_id.as_ref().map(|_| "yes, from the answer".to_owned())
    }

    fn failures(&self) -> Option<String> {
        let mut known: Vec<String> = Vec::new();
        for failure in &self.send?.failures {
            let class = failure.class.as_str();
            let named =
                failure.code.as_ref().map_or_else(|| class.to_owned(), |code| format!("`{code}` ({class})"));
            if !known.contains(&named) {
                known.push(named);
            }
        }
        (!known.is_empty()).then(|| known.join(", "))
    }
}
