//! What the log must never hold, whatever happens.

use crate::{
    provider::{Provider, answer},
    setup::{Running, message},
};
use postern_broker::{Envelope, header};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::Priority;
use std::{
    io,
    sync::{Arc, Mutex},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::SubscriberExt};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One thread, so that everything is written to this test's log.
#[tokio::test(flavor = "current_thread")]
async fn a_line_for_each_attempt_and_in_none_a_number_a_text_a_secret_or_an_answer() {
    let written = Written::default();
    let writer = written.clone();
    let lines = tracing_subscriber::fmt::layer().json().with_writer(move || writer.clone());
    let ours = filter_fn(|m| m.target().starts_with("postern") || *m.level() <= tracing::Level::WARN);
    let _guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.with_filter(ours)));

    let provider = Provider::start(|request| match request.body.contains("1555good") {
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
    let body = message(&["+1555good", "+1555bad"]).replace("pong", "the-text");
    let envelope = Envelope { body: body.clone().into(), ..Envelope::default() };
    let traced =
        envelope.with(header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    running.queue_envelope("demo", Priority::Normal, traced).await;
    running.queue("console", Priority::Normal, body.replace("demo", "console")).await;
    running.queue("demo", Priority::Normal, body.replace("identities", "+1555 the-text")).await;
    running.queue("demo", Priority::Normal, body.replace("\"the-text\"", "[\"the-text\"]")).await;
    running.reports(2).await;
    running.dead(3).await;
    running.queue("demo", Priority::Normal, body).await;
    running.broker.fail_publishes(1);
    running.reports(3).await;
    running.stop().await;

    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    for never in ["1555", "the-text", "the-secret", "the-answer"] {
        assert!(!log.contains(never), "{never} is in\n{log}");
    }
    let attempt = log.lines().find(|line| line.contains("0af7651916cd43dd8448eb211c80319c"));
    let attempt: serde_json::Value = serde_json::from_str(attempt.expect(&log)).unwrap();
    let fields = &attempt["fields"];
    assert_eq!((&fields["backend"], &fields["attempt"]), (&"demo".into(), &1.into()), "{attempt}");
    assert_eq!((&fields["sent"], &fields["failed"]), (&1.into(), &1.into()), "{attempt}");
    assert_eq!((&fields["class"], &fields["code"]), (&"permanent".into(), &"http_400".into()), "{attempt}");
    assert!(log.contains("\"characters\":8") && log.contains("dead-lettered unread"), "{log}");
}
