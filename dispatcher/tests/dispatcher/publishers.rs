//! Messages that no well-meaning application publishes.

use crate::{
    provider::{Provider, answer},
    setup::{Running, message, states},
};
use postern_broker::header;
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::{Priority, State};

/// The backend `demo`, whose requests hold what its templates call `to`.
fn to(provider: &Provider, to: &str, more: &str) -> String {
    format!(
        "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"{}/send\"\n\
         form = {{ to = \"{{{{ {to} }}}}\" }}\n{more}",
        provider.url
    )
}

#[tokio::test]
async fn a_time_that_cannot_be_is_not_measured() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&to(&provider, "identity", ""), &ConnectorRegistry::builtin());
    for made in ["0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z"] {
        let body = message(&["+1"]).replacen('{', &format!("{{\"created_at\":\"{made}\","), 1);
        running.queue("demo", Priority::Normal, body).await;
    }
    running.reports(2).await;
    running.idle().await;
    let year = "postern_message_age_seconds_sum{backend=\"demo\"} 31622400";
    assert!(running.metrics.text().contains(year), "{}", running.metrics.text());
}

#[tokio::test]
async fn an_identity_that_is_several_recipients_is_refused_and_the_others_are_sent_to() {
    let provider = Provider::answering(answer(200, "")).await;
    let more = "recipients = \"joined\"\nbatch = 10\n";
    let running = Running::start(&to(&provider, "identities", more), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["+1", "+2,+3", "+4"])).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("+1", State::Sent), ("+2,+3", State::Failed), ("+4", State::Sent)]);
    let reason = report.recipients[1].reason.as_ref().unwrap();
    assert_eq!((reason.class.as_str(), &*reason.code), ("permanent", "invalid_number"));
    assert!(!reason.detail.contains("+2"), "{}", reason.detail);
    let asked = provider.received();
    assert_eq!(asked.iter().map(|request| request.body.as_str()).collect::<Vec<_>>(), ["to=%2B1%2C%2B4"]);
    // With no other recipient, the provider is not asked, and nothing waits for an answer.
    running.queue("demo", Priority::Normal, message(&["+2,+3"])).await;
    let dead = running.dead(2).await;
    assert_eq!(dead[1].text_header(header::CODE), Some("invalid_number"));
    running.idle().await;
    assert_eq!(provider.received().len(), 1);
}
