//! Which messages are accepted from which principals, and what is published for them.

use super::*;
use crate::metrics::IngressMetrics;
use postern_broker::{BrokerError, header::TRACEPARENT, memory::MemoryBroker};
use postern_config::ProviderRegistry;
use postern_service::{message_log::MessageLog, metrics::Metrics};
use postern_shared::{
    event::{Event, EventKind},
    message::BackendName,
};
use postern_store::message_log::{Keeping, SqliteLog};
use serde_json::{Value, json};

const CONFIG: &str = r#"
[[api.keys]]
name = "clinic"
key = "hush"
backends = ["x", "short", "deaf", "numbers", "hundred"]

[[compat.kannel.users]]
username = "u"
password = "hush"
backend = "x"
smsc = { modem = "short" }

[backends.x]
type = "http"
send = { url = "http://127.0.0.1:1/", batch = 2 }

[backends.short]
type = "http"
send = { url = "http://127.0.0.1:1/" }
text = { limit = { characters = 3 }, over = "refuse" }

[backends.deaf]
type = "http"

[backends.hundred]
type = "http"
send = { url = "http://127.0.0.1:1/" }

[backends.numbers]
type = "http"
send = { url = "http://127.0.0.1:1/", identity = '\+[0-9]+', batch = 1 }

[backends.secret]
type = "console"
"#;

struct Fixture {
    config: Arc<Config>,
    broker: MemoryBroker,
    keys: CallbackKeys,
    acceptor: Acceptor,
}

impl Fixture {
    fn new() -> Self {
        Self::with(CONFIG, None)
    }

    fn with(config: &str, log: Option<Arc<dyn MessageLog>>) -> Self {
        let config = Arc::new(Config::parse("test", Some(config), [], &ProviderRegistry::builtin()).unwrap());
        let broker = MemoryBroker::default();
        let metrics = IngressMetrics::declare(&Metrics::new("test", "0").unwrap()).unwrap();
        let publisher = MeteredPublisher::new(Arc::new(broker.clone()), metrics.publish);
        let keys = config.compat.callback_keys();
        let lookup = Arc::new(LogLookup::new(log, metrics.lookups));
        let submissions = Submissions::new(config.ingress.dedupe_window.0, Arc::clone(&lookup));
        let acceptor = Acceptor::new(Arc::clone(&config), publisher, keys.clone(), &lookup, &submissions);
        Self { config, broker, keys, acceptor }
    }

    fn api_key(&self) -> Principal<'_> {
        Principal::ApiKey(&self.config.api.keys[0])
    }

    fn user(&self) -> Principal<'_> {
        Principal::CompatUser(&self.config.compat.kannel.as_ref().unwrap().users[0])
    }

    /// The outcome, and what was published as `(queue, body)`, at most in one publish.
    async fn accept(
        &self,
        principal: Principal<'_>,
        submission: Submission,
    ) -> (Result<Accepted, Rejected>, Vec<(String, Value)>) {
        let trace = RequestSpan::without_span(None);
        let outcome = self.acceptor.accept(principal, submission, &trace).await;
        let mut publishes = self.broker.take_calls();
        assert_eq!(publishes.len(), usize::from(outcome.is_ok()), "one confirmed publish, or none");
        let published = publishes.pop().unwrap_or_default().into_iter().map(|(address, envelope)| {
            assert_eq!(envelope.text_header(TRACEPARENT), Some(trace.context().as_str()));
            (address.queue().to_string(), serde_json::from_slice(&envelope.body).unwrap())
        });
        (outcome, published.collect())
    }
}

fn submission(destination: Option<&str>) -> Submission {
    Submission {
        destination: destination.map(str::to_owned),
        identities: vec!["+1".parse().unwrap()],
        left_out: Vec::new(),
        text: "ping".to_owned(),
        context: Context::new(),
        priority: Priority::Normal,
        expires_at: None,
        claim: None,
        callback: None,
    }
}

#[tokio::test]
async fn recipients_are_split_by_the_backends_batch_under_one_id() {
    let fixture = Fixture::new();
    let identities: Vec<Identity> = ["+1", "+2", "+3"].map(|number| number.parse().unwrap()).into();
    let bulk = Submission { identities, priority: Priority::Bulk, ..submission(Some("x")) };
    let (accepted, published) = fixture.accept(fixture.api_key(), bulk).await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.backend.as_str(), accepted.identities, accepted.parts), ("x", 3, 1));
    let seen: Vec<_> =
        published.iter().map(|(queue, body)| (queue.as_str(), &body["id"], &body["identities"])).collect();
    let id = json!(accepted.id);
    let (first, second) = (json!(["+1", "+2"]), json!(["+3"]));
    assert_eq!(seen, [("postern.outbound.x.bulk", &id, &first), ("postern.outbound.x.bulk", &id, &second)]);
}

/// A claim to the key `k` for a message with the content `said`.
async fn claim(fixture: &Fixture, principal: Principal<'_>, said: &str) -> Result<SubmissionClaim, KeyTaken> {
    fixture.acceptor.claim(principal, "k", Fingerprint::of(json!(said))).await
}

#[tokio::test]
async fn a_submission_is_accepted_once_under_its_key_and_a_principal() {
    let fixture = Fixture::new();
    let (key, anyone) = (fixture.api_key(), Principal::Anyone);
    let keyed = |claim| Submission { claim: Some(claim), ..submission(Some("x")) };
    let first = claim(&fixture, key, "a").await.unwrap();
    let accepted = fixture.accept(key, keyed(first)).await.0.unwrap();
    assert_eq!(accepted.id, MessageId::outbound("clinic", "k"));
    let again = claim(&fixture, key, "a").await.unwrap_err();
    assert!(matches!(again, KeyTaken::Repeated(first) if *first == accepted));
    assert!(matches!(claim(&fixture, key, "b").await, Err(KeyTaken::Another)));
    let other = claim(&fixture, anyone, "a").await.unwrap();
    assert_ne!(fixture.accept(anyone, keyed(other)).await.0.unwrap().id, accepted.id);
    assert_ne!(fixture.accept(key, submission(Some("x"))).await.0.unwrap().id, accepted.id);
}

/// On RabbitMQ, a part of a publish may be missing: a repetition must not be told that the message was
/// accepted.
#[tokio::test]
async fn an_answer_is_told_the_log_when_no_part_of_its_message_can_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path(), Keeping::full()).await.unwrap();
    let log: Arc<dyn MessageLog> = Arc::new(log);
    let (out, answer) = ("postern.outbound.x", "postern.log");
    for (url, publishes) in
        [("embedded:data", vec![vec![out, out, answer]]), ("amqp://h", vec![vec![out, out], vec![answer]])]
    {
        let config = format!("[broker]\nurl = \"{url}\"\n[log]\nmessages = true\n{CONFIG}");
        let fixture = Fixture::with(&config, Some(Arc::clone(&log)));
        let claim = Some(claim(&fixture, fixture.api_key(), "a").await.unwrap());
        let identities = ["+1", "+2", "+3"].map(|number| number.parse().unwrap()).into();
        let wanted = Submission { claim, identities, ..submission(Some("x")) };
        let trace = RequestSpan::without_span(None);
        let accepted = fixture.acceptor.accept(fixture.api_key(), wanted, &trace).await.unwrap();
        let published = fixture.broker.take_calls();
        let queues = published.iter().map(|one| one.iter().map(|(address, _)| address.queue().to_string()));
        assert_eq!(queues.map(Iterator::collect::<Vec<_>>).collect::<Vec<_>>(), publishes, "{url}");
        let (_, told) = published.last().and_then(|last| last.last()).unwrap();
        let event = Event::from_json(&told.body).unwrap();
        assert_eq!(
            (event.event, event.message_id, event.at),
            (EventKind::Accepted, accepted.id, accepted.at)
        );
        assert_eq!(event.by.as_deref(), Some("clinic"));
        assert_eq!(event.first_answer.unwrap().answer["identities"], 3);
    }
}

#[tokio::test]
async fn what_was_not_accepted_does_not_use_up_its_key() {
    let fixture = Fixture::new();
    fixture.broker.answer(|_| Err(BrokerError::Closed));
    for (said, destination) in [("a", "x"), ("b", "deaf"), ("c", "x")] {
        let claim = Some(claim(&fixture, fixture.api_key(), said).await.unwrap());
        let refused = Submission { claim, ..submission(Some(destination)) };
        fixture.accept(fixture.api_key(), refused).await.0.unwrap_err();
    }
}

#[tokio::test]
async fn a_rejection_names_the_field_and_whether_a_backend_was_found() {
    let fixture = Fixture::new();
    let name = |name: &str| name.parse::<BackendName>().unwrap();
    let (key, user) = (fixture.api_key(), fixture.user());
    let large = |submission: Submission| {
        let context = json!({"a": "x".repeat(MAX_CONTEXT_BYTES)}).as_object().unwrap().clone();
        Submission { context, ..submission }
    };
    for (principal, submission, field, backend, reason) in [
        (
            key,
            submission(Some("secret")),
            SubmissionField::Destination,
            None,
            "this key may not use the backend secret",
        ),
        (
            key,
            submission(Some("nowhere")),
            SubmissionField::Destination,
            None,
            "this key may not use the backend nowhere",
        ),
        (key, submission(None), SubmissionField::Destination, None, "no backend is configured"),
        (key, submission(Some("deaf")), SubmissionField::Destination, None, "only receives"),
        (
            Principal::Anyone,
            submission(Some("gone")),
            SubmissionField::Destination,
            None,
            "there is no backend gone",
        ),
        (user, submission(Some("other")), SubmissionField::Destination, None, "no backend is configured"),
        (
            user,
            submission(Some("modem")),
            SubmissionField::Text,
            Some("short"),
            "too long for the backend short: ",
        ),
        (user, large(submission(None)), SubmissionField::Context, Some("x"), "context must have at most"),
    ] {
        let (outcome, _) = fixture.accept(principal, submission).await;
        let rejected = outcome.unwrap_err();
        assert!(rejected.to_string().contains(reason), "{rejected}");
        assert_eq!(rejected.reason.field(), Some(field), "{reason}");
        assert_eq!(rejected.backend, backend.map(name), "{reason}");
    }
    let failures: [(fn() -> BrokerError, Rejection); 2] = [
        (|| BrokerError::Closed, Rejection::Unavailable),
        // A retry would fail, too.
        (|| BrokerError::Refused("a body of 7 bytes".to_owned()), Rejection::TooLarge),
    ];
    for (error, reason) in failures {
        let down = Fixture::new();
        down.broker.answer(move |_| Err(error()));
        let (outcome, _) = down.accept(down.user(), submission(None)).await;
        let rejected = outcome.unwrap_err();
        assert_eq!((rejected.reason.field(), rejected.backend), (None, Some(name("x"))));
        assert_eq!(rejected.reason, reason);
    }
}

#[tokio::test]
async fn an_identity_that_is_no_recipient_of_the_backend_is_named_and_nothing_is_published() {
    let fixture = Fixture::new();
    let identities: Vec<Identity> = ["+1", "+1 +2", "+3", "alice"].map(|it| it.parse().unwrap()).into();
    let wanted = Submission { identities: identities.clone(), ..submission(Some("numbers")) };
    let (outcome, _) = fixture.accept(fixture.api_key(), wanted).await;
    let rejected = outcome.unwrap_err();
    assert_eq!(rejected.reason.field(), Some(SubmissionField::Recipients));
    assert_eq!(rejected.backend.as_ref().map(BackendName::as_str), Some("numbers"));
    let Rejection::NotRecipients(wrong) = rejected.reason else { panic!("{rejected}") };
    assert_eq!(wrong.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [1, 3]);
    assert!(wrong[0].1.to_string().contains(r"must match \+[0-9]+ (send.identity)"), "{wrong:?}");
    let many = identities.iter().cycle().take(200).cloned().collect();
    let many = Submission { identities: many, ..submission(Some("numbers")) };
    let Rejection::NotRecipients(wrong) = fixture.accept(fixture.api_key(), many).await.0.unwrap_err().reason
    else {
        panic!("taken")
    };
    assert_eq!(wrong.len(), 20);
    // Any other backend accepts them.
    let wanted = Submission { identities, ..submission(Some("x")) };
    assert!(fixture.accept(fixture.api_key(), wanted).await.0.is_ok());
}

#[tokio::test]
async fn what_one_submission_has_stored_is_bounded() {
    let fixture = Fixture::new();
    let wanted = |backend: &str, recipients: usize| {
        let context = json!({"a": "x".repeat(MAX_CONTEXT_BYTES - 100)}).as_object().unwrap().clone();
        let identities = (0..recipients).map(|n| format!("+{n}").parse().unwrap()).collect();
        Submission { context, text: "é".repeat(16_384), identities, ..submission(Some(backend)) }
    };
    // 98 kB for each recipient.
    let (outcome, _) = fixture.accept(fixture.api_key(), wanted("numbers", 400)).await;
    let rejected = outcome.unwrap_err();
    assert_eq!(rejected.reason, Rejection::TooMuchToStore(1));
    assert_eq!(rejected.reason.field(), Some(SubmissionField::Recipients));
    let (outcome, published) = fixture.accept(fixture.api_key(), wanted("numbers", 300)).await;
    assert!(outcome.is_ok() && published.len() == 300);
    // With the default of `send.batch`, it is stored once for a hundred recipients.
    let (outcome, published) = fixture.accept(fixture.api_key(), wanted("hundred", 10_000)).await;
    assert!(outcome.is_ok() && published.len() == 100);
}

#[tokio::test]
async fn recipients_that_are_left_out_are_told_in_the_same_publish() {
    let fixture = Fixture::new();
    let callback = |mask| CallbackRequest { url: "http://h/".to_owned(), mask, values: BTreeMap::new() };
    for (mask, queues) in [
        (31, vec!["postern.outbound.x", "postern.callbacks", "postern.reports"]),
        (1, vec!["postern.outbound.x", "postern.reports"]),
    ] {
        let left_out = vec!["alice".parse().unwrap()];
        let wanted = Submission { left_out, callback: Some(callback(mask)), ..submission(None) };
        let (accepted, published) = fixture.accept(fixture.user(), wanted).await;
        let accepted = accepted.unwrap();
        assert_eq!(published.iter().map(|(queue, _)| queue.as_str()).collect::<Vec<_>>(), queues);
        let token = published[0].1["context"][CONTEXT_KEY].as_str().unwrap();
        let sealed = fixture.keys.open(token).unwrap();
        assert_eq!((sealed.message_id, sealed.user.as_str(), sealed.mask), (accepted.id, "u", mask));
        assert_eq!(sealed.to.as_ref().map(Identity::as_str), Some("+1"));
        let (_, report) = published.last().unwrap();
        assert_eq!(report["recipients"][0]["identity"], "alice");
        assert_eq!(report["recipients"][0]["reason"]["code"], "invalid_number");
        assert_eq!(report["message_id"], json!(accepted.id));
    }
}
