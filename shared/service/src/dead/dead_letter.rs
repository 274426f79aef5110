//! A dead letter, of which as much is read as can be.

use super::{fields::ObjectFields, handle, queue::DeadQueue, reason};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use postern_broker::{Envelope, QueueName, header};
use postern_shared::{
    clock::{self, Written},
    message::{BackendName, Priority},
    read::with_exact_numbers,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

/// The largest body that is shown as JSON, in bytes; a larger one is shown as a text. A tree of values
/// takes up to forty times the memory of its text.
const MAX_SHOWN: usize = 1024 * 1024;

/// A message in the queue of dead letters or of unrouted messages. Its body may be anything.
#[derive(Debug)]
pub struct DeadLetter {
    envelope: Envelope,
    from: DeadQueue,
    /// The fields of the body, if it is a JSON object.
    fields: Option<ObjectFields>,
}

/// What can be shown of a dead letter without showing who wrote what to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The message's id.
    pub id: Option<String>,
    /// The name of a message without an id: a short digest, which stays the same while the message waits.
    #[serde(default)]
    pub handle: String,
    /// The backend.
    pub backend: Option<String>,
    /// The queue that it was dead-lettered from.
    pub queue: Option<String>,
    /// The failure's class.
    pub class: Option<String>,
    /// The failure's code.
    pub code: Option<String>,
    /// Why it was dead-lettered, shortened, with numbers and the message's own text left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many attempts it had.
    pub attempts: Option<i64>,
    /// When it was dead-lettered, or if that is not known, when it was created: RFC 3339, UTC.
    pub at: Option<String>,
    /// How many people it is to, or from.
    pub recipients: Option<usize>,
    /// The size of its body in bytes.
    pub bytes: usize,
    /// The size of its whole body in bytes, if only the beginning was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_from: Option<u64>,
}

impl DeadLetter {
    /// The message `envelope`, which is in the queue `from`.
    pub fn new(envelope: &Envelope, from: DeadQueue) -> Self {
        Self { envelope: envelope.clone(), from, fields: ObjectFields::of(&envelope.body) }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.as_ref()?.text(name)
    }

    /// The message's id: from the AMQP property, or else from the body.
    pub fn id(&self) -> Option<&str> {
        self.envelope.message_id.as_deref().or_else(|| self.field("id")).or_else(|| self.field("message_id"))
    }

    /// The name of a message without an id: a short digest, which stays the same while the message waits.
    pub fn handle(&self) -> String {
        handle::handle(&self.envelope)
    }

    /// Its id, or its handle if it has no id.
    pub fn name(&self) -> String {
        self.id().map_or_else(|| self.handle(), str::to_owned)
    }

    /// The backend, if the body or the queue names one.
    pub fn backend(&self) -> Option<BackendName> {
        let of_queue = || QueueName::known(self.envelope.text_header(header::QUEUE)?)?.backend();
        self.field("backend").and_then(|name| name.parse().ok()).or_else(of_queue)
    }

    /// The failure's class.
    pub fn class(&self) -> Option<&str> {
        self.envelope.text_header(header::CLASS)
    }

    /// The failure's code. In dead letters that were written before the code had a header of its own, the
    /// reason begins with it.
    pub fn code(&self) -> Option<&str> {
        let of_reason = || {
            let word = self.envelope.text_header(header::REASON)?.split([':', ' ', ';']).next()?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || b == b'-';
            (!word.is_empty() && word.bytes().all(plain)).then_some(word)
        };
        self.envelope.text_header(header::CODE).or_else(of_reason)
    }

    /// When it was dead-lettered, or if that is not known, when it was created.
    pub fn at(&self) -> Option<Timestamp> {
        let made = || ["created_at", "received_at", "at"].iter().find_map(|name| self.field(name));
        self.envelope.text_header(header::DEAD_AT).or_else(made)?.parse().ok()
    }

    /// The queue that it is redriven to: the queue that it was dead-lettered from, or if no header names
    /// that, the queue for messages of its kind. An unrouted message is only ever read as an outbound one:
    /// any client that may publish outbound messages can have written it.
    pub fn queue(&self) -> Option<QueueName> {
        if let Some(name) = self.envelope.text_header(header::QUEUE) {
            return QueueName::known(name);
        }
        let fields = self.fields.as_ref()?;
        if fields.has("identities") {
            let lane = match self.field("priority") {
                Some("bulk") => Priority::Bulk,
                _ => Priority::Normal,
            };
            return Some(QueueName::outbound(&self.backend()?, lane));
        }
        match self.from {
            DeadQueue::Unrouted => None,
            DeadQueue::Dead if fields.has("recipients") => Some(QueueName::reports()),
            DeadQueue::Dead => fields.has("identity").then(QueueName::inbound),
        }
    }

    /// The size of its whole body in bytes, if only the beginning was kept.
    pub fn cut_from(&self) -> Option<u64> {
        self.envelope.cut_from()
    }

    fn recipients(&self) -> Option<usize> {
        let fields = self.fields.as_ref()?;
        let many = fields.count("identities").or_else(|| fields.count("recipients"));
        many.or_else(|| fields.has("identity").then_some(1))
    }

    /// The message to publish for a redrive: its attempt is the first, and nothing says how it was dead-lettered.
    pub fn afresh(&self) -> Envelope {
        #[derive(Deserialize)]
        struct WithAttempt<'a> {
            #[serde(borrow)]
            attempt: Option<&'a RawValue>,
        }
        let envelope = Envelope { headers: self.envelope.own_headers(), ..self.envelope.clone() };
        let mut envelope = envelope.requeued(clock::now());
        let body = &*self.envelope.body;
        if self.fields.is_some()
            && let Ok(WithAttempt { attempt: Some(attempt) }) = serde_json::from_slice(body)
        {
            // The rest stays the same, byte for byte.
            let start = attempt.get().as_ptr() as usize - body.as_ptr() as usize;
            let end = start + attempt.get().len();
            envelope.body = [&body[..start], b"1", &body[end..]].concat().into();
        }
        envelope
    }

    /// The part of it that can be shown to anybody.
    pub fn summary(&self) -> Summary {
        let text = |name: &str| self.envelope.text_header(name).map(str::to_owned);
        Summary {
            id: self.id().map(str::to_owned),
            handle: self.handle(),
            backend: self.backend().map(String::from),
            queue: text(header::QUEUE),
            class: self.class().map(str::to_owned),
            code: self.code().map(str::to_owned),
            reason: text(header::REASON).map(|why| reason::told(&why, &self.envelope.body)),
            attempts: self.envelope.integer_header(header::ATTEMPTS),
            at: self.at().map(|at| Written(at).to_string()),
            recipients: self.recipients(),
            bytes: self.envelope.body.len(),
            cut_from: self.cut_from(),
        }
    }

    /// All of it, with people's numbers and the text.
    pub fn whole(&self) -> Value {
        let mut whole = serde_json::to_value(self.summary()).unwrap_or_default();
        whole["reason"] = json!(self.envelope.text_header(header::REASON));
        whole["type"] = json!(self.envelope.kind);
        let own: Map<String, Value> = self
            .envelope
            .own_headers()
            .into_iter()
            .map(|(name, value)| match value {
                postern_broker::HeaderValue::Text(text) => (name, text.into()),
                postern_broker::HeaderValue::Integer(number) => (name, number.into()),
            })
            .collect();
        whole["headers"] = Value::Object(own);
        let body = &self.envelope.body;
        let is_shown = self.fields.is_some() && body.len() <= MAX_SHOWN;
        let text = std::str::from_utf8(body);
        let object = text
            .ok()
            .filter(|_| is_shown)
            .and_then(|text| serde_json::from_str(&with_exact_numbers(text)).ok());
        match (object, text) {
            (Some(object), _) => whole["body"] = Value::Object(object),
            (None, Ok(text)) => whole["body"] = text.into(),
            (None, Err(_)) => whole["body_base64"] = STANDARD.encode(body).into(),
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(body: &str) -> Envelope {
        Envelope { body: body.to_owned().into(), ..Envelope::default() }
            .with(header::TRACEPARENT, "00-a-b-01")
            .with("x-own", 7)
            .with(header::QUEUE, "postern.outbound.demo.bulk")
            .with(header::REASON, "http_503: busy")
            .with(header::CLASS, "transient")
            .with(header::ATTEMPTS, 6)
    }

    #[test]
    fn it_is_tried_again_as_new_and_otherwise_as_it_was() {
        let envelope =
            dead(r#"{"id":"1","backend":"demo","identities":["+1"],"text":"x","attempt":6,"own":2}"#);
        let letter = DeadLetter::new(&envelope, DeadQueue::Dead);
        assert_eq!(letter.queue().unwrap().as_str(), "postern.outbound.demo.bulk");
        let again = letter.afresh();
        let names: Vec<_> = again.headers.keys().cloned().collect();
        assert_eq!(names, [header::TRACEPARENT, "x-own", header::REQUEUED_AT]);
        let body = r#"{"id":"1","backend":"demo","identities":["+1"],"text":"x","attempt":1,"own":2}"#;
        assert_eq!(again.body, body);
        for (was, is) in [
            (r#"{ "attempt" : 6 , "n": 1e99 }"#, r#"{ "attempt" : 1 , "n": 1e99 }"#),
            (r#"{"a":{"attempt":6},"text":"attempt"}"#, r#"{"a":{"attempt":6},"text":"attempt"}"#),
            (r#"{"attempt":{"a":"6}"}}"#, r#"{"attempt":1}"#),
            (r#"["attempt"]"#, r#"["attempt"]"#),
        ] {
            assert_eq!(DeadLetter::new(&dead(was), DeadQueue::Dead).afresh().body, is);
        }
        let envelope = dead("no json +1555");
        assert_eq!(DeadLetter::new(&envelope, DeadQueue::Dead).afresh().body, "no json +1555");
    }

    #[test]
    fn a_summary_tells_no_number_and_no_text() {
        let envelope = dead(r#"{"id":"1","backend":"demo","identities":["+1555","+1666"],"text":"hush"}"#);
        let summary = DeadLetter::new(&envelope, DeadQueue::Dead).summary();
        assert_eq!((summary.code.as_deref(), summary.recipients), (Some("http_503"), Some(2)));
        let told = serde_json::to_string(&summary).unwrap();
        assert!(!told.contains("+1") && !told.contains("hush"), "{told}");
        let whole = DeadLetter::new(&envelope, DeadQueue::Dead).whole();
        assert_eq!((&whole["body"]["text"], &whole["headers"]["x-own"]), (&json!("hush"), &json!(7)));
    }

    #[test]
    fn a_number_is_shown_with_the_digits_that_it_has() {
        let body = r#"{"identities":["1"],"text":"x","context":{"id":4831666765594842123456,"n":1.1e10}}"#;
        let whole = DeadLetter::new(&dead(body), DeadQueue::Dead).whole();
        let context = json!({"id": "4831666765594842123456", "n": 11_000_000_000_u64});
        assert_eq!(whole["body"]["context"], context);
    }

    #[test]
    fn where_nobody_noted_it_the_message_says_where_it_belongs() {
        for (body, queue) in [
            (r#"{"backend":"a","identities":["1"],"text":"x"}"#, Some("postern.outbound.a")),
            (
                r#"{"backend":"a","identities":["1"],"text":"x","priority":"bulk"}"#,
                Some("postern.outbound.a.bulk"),
            ),
            (r#"{"backend":"a","identity":"1","text":"x"}"#, Some("postern.inbound")),
            (r#"{"message_id":"1","backend":"a","recipients":[]}"#, Some("postern.reports")),
            (r#"{"backend":"a b","identities":["1"]}"#, None),
            ("[]", None),
            ("\u{0}", None),
        ] {
            let envelope = Envelope { body: body.to_owned().into(), ..Envelope::default() };
            let found = DeadLetter::new(&envelope, DeadQueue::Dead).queue();
            assert_eq!(found.as_ref().map(QueueName::as_str), queue, "{body}");
            // A client that may publish outbound messages must not be able to forge inbound messages or
            // reports.
            let found = DeadLetter::new(&envelope, DeadQueue::Unrouted).queue();
            let outbound = queue.filter(|queue| queue.starts_with("postern.outbound."));
            assert_eq!(found.as_ref().map(QueueName::as_str), outbound, "unrouted: {body}");
        }
    }

    #[test]
    fn a_large_body_is_shown_as_a_text_and_a_cut_one_says_so() {
        let envelope = dead(&format!(r#"{{"identities":["1"],"junk":"{}"}}"#, "x".repeat(MAX_SHOWN)));
        let whole = DeadLetter::new(&envelope, DeadQueue::Dead).whole();
        assert!(whole["body"].as_str().is_some_and(|body| body.starts_with("{\"identities")));
        assert!(whole.get("cut_from").is_none());
        let bytes = envelope.body.len() as u64;
        let summary = DeadLetter::new(&envelope.cut(100), DeadQueue::Dead).summary();
        assert_eq!((summary.bytes, summary.cut_from), (100, Some(bytes)));
    }
}
