//! Texts that the log must never hold.
//!
//! A separate program: while a subscriber is set, a line that another thread writes for the first time can
//! be taken for one that nobody wants, and is then never written. Here each test sets the one subscriber
//! before anything else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "it starts the program")]
#![allow(
    clippy::disallowed_macros,
    reason = "the subscriber is global, and what each test logs is its thread's"
)]

#[path = "dispatcher/provider.rs"]
#[allow(dead_code, reason = "the tests beside this one need more of it")]
mod provider;
#[path = "dispatcher/setup.rs"]
#[allow(dead_code, reason = "the tests beside this one need more of it")]
mod setup;

use postern_broker::{Envelope, header};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_service::telemetry::{self, JsonLines};
use postern_shared::message::{MessageId, Priority};
use provider::{Provider, answer};
use serde_json::{Value, json};
use setup::{Running, message, until};
use std::{
    cell::RefCell,
    io, panic,
    sync::{Arc, Mutex, Once},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::SubscriberExt};

thread_local! {
    /// The log of this thread, which belongs to one test.
    static LINES: RefCell<Option<Written>> = const { RefCell::new(None) };
}

/// Writes to the log of the thread's test.
struct OfThread;

impl io::Write for OfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow(|lines| {
            if let Some(Written(lines)) = lines {
                lines.lock().unwrap().extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// Follows what this thread logs from now on.
    fn follow() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let lines = tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(|| OfThread);
            let ours = filter_fn(|m| m.target().starts_with("postern") || *m.level() <= tracing::Level::WARN);
            let registry = tracing_subscriber::registry().with(lines.with_filter(ours));
            tracing::subscriber::set_global_default(registry).unwrap();
        });
        let written = Self::default();
        LINES.set(Some(written.clone()));
        written
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The fields of the only line with `message`, without those that every line has.
    fn fields(&self, message: &str) -> Value {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut found = lines.filter(|line| line["message"] == message);
        let mut fields = found.next().unwrap_or_else(|| panic!("{message} is not in\n{text}"));
        assert!(found.next().is_none(), "{message} is there twice in\n{text}");
        for common in ["timestamp", "level", "target"] {
            assert!(fields.as_object_mut().unwrap().remove(common).is_some(), "no {common} in\n{text}");
        }
        fields
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_without_an_answer_is_named_with_the_reason_and_a_dead_letter_has_its_own_line() {
    let written = Written::follow();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[backends.demo]\ntype = \"http\"\nretry = {{ delays = [] }}\nbreaker = {{ failures = 1 }}\n\
         [backends.demo.send]\nurl = \"http://{gone}/?k=the-secret\""
    );
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let id = MessageId::new();
    let body = json!({"id": id, "backend": "demo", "identities": ["+15550100"], "text": "the-text"});
    running.queue("demo", Priority::Normal, body.to_string()).await;
    running.dead(1).await;
    let paused = running.health.not_ready();
    assert!(paused[0].1.to_string().contains("connect: connection refused"), "{paused:?}");
    running.stop().await;
    let attempt = written.fields("not sent, dead-lettered");
    assert_eq!(
        (&attempt["host"], &attempt["reason"]),
        (&json!(gone.to_string()), &json!("connection refused"))
    );
    let dead = written.fields("dead-lettered");
    let wanted = json!({
        "message": "dead-lettered", "message_id": id, "backend": "demo", "queue": "postern.outbound.demo",
        "class": "transient", "code": "connect", "attempts": 1,
    });
    assert_eq!(dead, wanted);
    let log = written.text();
    assert!(["15550100", "the-text", "the-secret"].iter().all(|never| !log.contains(never)), "{log}");
}

#[test]
fn a_panic_is_logged_with_its_place_and_without_its_message() {
    fn read(text: &str) {
        panic!("{text} cannot be read");
    }
    let written = Written::follow();
    let before = panic::take_hook();
    telemetry::log_panics();
    let outcome = panic::catch_unwind(|| read("the-text"));
    panic::set_hook(before);
    assert!(outcome.is_err());
    let mut fields = written.fields("panicked");
    let place = fields.as_object_mut().unwrap().remove("place").unwrap();
    assert!(place.as_str().unwrap().starts_with(&format!("{}:", file!())), "{place}");
    assert_eq!(fields, json!({"message": "panicked"}));
}

#[tokio::test(flavor = "current_thread")]
async fn the_delivery_of_a_report_is_logged_under_the_messages_id() {
    let written = Written::follow();
    let provider = Provider::answering(answer(200, "")).await;
    let text = format!(
        "[backends.demo]\ntype = \"console\"\n[application]\ntype = \"webhook\"\nurl = \"{}/\"\n\
         secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
        provider.url
    );
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let id = MessageId::new();
    let body = json!({"id": id, "backend": "demo", "identities": ["+15550100"], "text": "the-text"});
    running.queue("demo", Priority::Normal, body.to_string()).await;
    until("the delivery", || written.text().contains("\"delivered\"")).await;
    running.stop().await;
    let delivered = written.fields("delivered");
    assert_eq!((&delivered["message_id"], &delivered["queue"]), (&json!(id), &json!("postern.reports")));
    assert_ne!(provider.received()[0].header("webhook-id"), Some(&*id.to_string()));
}

/// One thread, so that everything is written to this test's log.
#[tokio::test(flavor = "current_thread")]
async fn a_line_for_each_attempt_and_in_none_a_number_a_text_a_secret_or_an_answer() {
    let written = Written::follow();
    let provider = Provider::start(|request| match request.body.contains("15550100good") {
        true => answer(200, "the-answer"),
        false => answer(400, &format!("the-answer {}", request.body)),
    })
    .await;
    let text = format!(
        "[application]\ntype = \"echo\"\n[backends.console]\ntype = \"console\"\n[backends.demo]\ntype = \"http\"\n\
         [backends.demo.send]\nurl = \"{}/\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\", k = \"the-secret\" }}\n\
         auth = {{ bearer = \"the-secret\" }}",
        provider.url
    );
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let body = message(&["+15550100good", "+15550100bad"]).replace("pong", "the-text");
    let envelope = Envelope { body: body.clone().into(), ..Envelope::default() };
    let traced =
        envelope.with(header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    running.queue_envelope("demo", Priority::Normal, traced).await;
    running.queue("console", Priority::Normal, body.replace("demo", "console")).await;
    running.queue("demo", Priority::Normal, body.replace("identities", "+15550100 the-text")).await;
    running.queue("demo", Priority::Normal, body.replace("\"the-text\"", "[\"the-text\"]")).await;
    running.reports(2).await;
    running.dead(3).await;
    running.queue("demo", Priority::Normal, body).await;
    running.broker.fail_publishes(1);
    running.reports(3).await;
    running.stop().await;

    let log = written.text();
    for never in ["15550100", "the-text", "the-secret", "the-answer"] {
        assert!(!log.contains(never), "{never} is in\n{log}");
    }
    let attempt = log.lines().find(|line| line.contains("0af7651916cd43dd8448eb211c80319c"));
    let attempt: serde_json::Value = serde_json::from_str(attempt.expect(&log)).unwrap();
    assert_eq!((&attempt["backend"], &attempt["attempt"]), (&"demo".into(), &1.into()), "{attempt}");
    assert_eq!((&attempt["sent"], &attempt["failed"]), (&1.into(), &1.into()), "{attempt}");
    assert_eq!((&attempt["class"], &attempt["code"]), (&"permanent".into(), &"http_400".into()), "{attempt}");
    assert!(
        log.contains("\"characters\":8") && log.contains("dead-lettered: its body is not a valid message"),
        "{log}"
    );
}
