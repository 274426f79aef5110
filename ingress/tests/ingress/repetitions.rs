//! How a message that its provider repeats is recognized: `receive.dedupe`.

use crate::server::Running;
use std::collections::BTreeSet;

const CONFIG: &str = r#"
    [backends.by-id]
    type = "http"
    [backends.never]
    type = "http"
    receive = { dedupe = false }
    [backends.by-fields]
    type = "http"
    receive = { dedupe = ["identity", "text", "received_at", "ref"], fields = { ref = {} } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_known_as_the_configuration_says() {
    let server = Running::start(CONFIG).await;
    let first = "identity=1&text=yes&external_id=a&received_at=2026-11-22T17:00:00Z&ref=7";
    let other_id = "identity=1&text=yes&external_id=b&received_at=2026-11-22T17:00:00Z&ref=7";
    let other_time = "identity=1&text=yes&external_id=a&received_at=2026-11-22T17:00:01Z&ref=7";
    let only_fields = "identity=1&text=yes&received_at=2026-11-22T17:00:02Z&ref=7";
    let no_time = "identity=1&text=yes&external_id=a&ref=7";
    let no_id = "identity=1&text=yes";
    // For two requests: how many messages are queued, and how many ids they have.
    for (backend, requests, queued, ids) in [
        ("by-id", [first, first], 1, 1),
        ("by-id", [other_id, first], 1, 1),
        ("by-id", [other_time, other_time], 0, 0),
        ("by-id", [no_id, no_id], 2, 2),
        ("never", [first, first], 2, 2),
        ("by-fields", [first, first], 1, 1),
        ("by-fields", [other_id, other_time], 1, 1),
        ("by-fields", [only_fields, only_fields], 1, 1),
        // A message that lacks one of the fields is never a repetition.
        ("by-fields", [no_time, no_time], 2, 2),
        ("by-fields", [no_id, no_id], 2, 2),
    ] {
        for request in requests {
            let answer = server.form(&format!("/backends/{backend}"), request).await;
            assert_eq!((answer.status, &*answer.body), (200, "OK"), "{backend} {request}");
        }
        let messages = server.inbound();
        let different: BTreeSet<_> = messages.iter().map(|message| message.id).collect();
        assert_eq!((messages.len(), different.len()), (queued, ids), "{backend} {requests:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_window_a_repetition_has_the_same_id() {
    let server = Running::start(&format!("ingress.dedupe_window = 0\n{CONFIG}")).await;
    let request = "identity=1&text=yes&external_id=a&received_at=2026-11-22T17:00:00Z&ref=7";
    for (backend, ids) in [("by-id", 1), ("by-fields", 1), ("never", 2)] {
        for _ in 0..2 {
            server.form(&format!("/backends/{backend}"), request).await;
        }
        let messages = server.inbound();
        let different: BTreeSet<_> = messages.iter().map(|message| message.id).collect();
        assert_eq!((messages.len(), different.len()), (2, ids), "{backend}");
    }
}
