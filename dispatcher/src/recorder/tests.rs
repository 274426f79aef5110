//! A batch of events in, messages of the log out.

use super::*;
use postern_config::{Config, ProviderRegistry};
use postern_service::{message_log::open, metrics::Metrics};
use postern_shared::message::Identity;
use std::path::Path;

async fn recorder(folder: &Path) -> Recorder {
    let text = format!("[broker]\nurl = \"amqp://h/\"\n[log]\nurl = \"sqlite:{}\"\n", folder.display());
    let text = text + "[backends.clinic]\ntype = \"console\"\n";
    let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
    let open = open(&config, None).await.unwrap().unwrap();
    Recorder::new(open, LogMetrics::declare(&Metrics::new("test", "0").unwrap()).unwrap())
}

fn clinic() -> BackendName {
    "clinic".parse().unwrap()
}

/// An event of the message `id` that the provider calls `SM1`.
fn event(kind: EventKind, id: MessageId) -> Event {
    Event { external_id: Some("SM1".to_owned()), ..Event::new(kind, id, clinic()) }
}

/// A provider whose reports name only its own id reports `sent`, too: in the batch of the attempt, or later.
#[tokio::test]
async fn a_report_sent_finds_its_message_and_keeps_no_other_report_from_it() {
    let (id, reported) = (MessageId::new(), MessageId::reported(&clinic(), "SM1"));
    let attempt =
        || Event { attempt: Some(1), ..event(EventKind::Sent, id).about("+15551234567".parse().unwrap()) };
    let report = |kind| event(kind, reported);
    for mut batches in [
        vec![vec![attempt(), report(EventKind::Sent), report(EventKind::Delivered)]],
        vec![vec![attempt()], vec![report(EventKind::Sent), report(EventKind::Delivered)]],
        vec![vec![attempt()], vec![report(EventKind::Sent)], vec![report(EventKind::Delivered)]],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path()).await;
        for batch in &mut batches {
            assert!(recorder.write(batch).await);
        }
        let log = &recorder.open.log;
        assert_eq!(log.message(reported).await.unwrap(), None, "{batches:?}");
        let message = log.message(id).await.unwrap().unwrap();
        let kinds: Vec<_> = message.events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(kinds, ["sent", "sent", "delivered"]);
        log.close().await;
    }
}

/// The number in a provider's report has another spelling than the number in the message.
#[tokio::test]
async fn a_report_in_another_spelling_adds_no_recipient() {
    let (id, reported) = (MessageId::new(), MessageId::reported(&clinic(), "SM1"));
    let identity: Identity = "+15551234567".parse().unwrap();
    let attempt = || Event { attempt: Some(1), ..event(EventKind::Sent, id).about(identity.clone()) };
    let report = || event(EventKind::Delivered, reported).about("15551234567".parse().unwrap());
    for mut batches in [vec![vec![attempt(), report()]], vec![vec![attempt()], vec![report()]]] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(folder.path()).await;
        for batch in &mut batches {
            assert!(recorder.write(batch).await);
        }
        let log = &recorder.open.log;
        let message = log.message(id).await.unwrap().unwrap();
        let [recipient] = &message.recipients[..] else { panic!("not one recipient") };
        assert_eq!((&*recipient.identity, recipient.state.as_str()), (identity.as_str(), "delivered"));
        assert_eq!(log.forget(&identity).await.unwrap(), 1);
        assert_eq!(log.message(id).await.unwrap(), None);
        log.close().await;
    }
}
