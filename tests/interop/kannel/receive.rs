//! Messages from a telephone through Kannel to the queue.

use super::{Kannel, around_kannel};
use postern_tests::{Launch, Rabbit, free_port};

/// How fakesmsc encodes a text, the encoded text, and the text that it means.
const TYPED: [(&str, &str, &str); 9] = [
    ("text", "hello there", "hello there"),
    ("text", "100% of 1+1 & a=b?", "100% of 1+1 & a=b?"),
    ("text", "café", "café"),
    ("text", "Привет", "Привет"),
    ("text", "all well 😀", "all well 😀"),
    ("ucs2", "%00c%00a%00f%00%E9", "café"),
    ("ucs2", "%04%1F%04%40%048%042%045%04B", "Привет"),
    ("ucs2", "%D8%3D%DE%00%00%21", "😀!"),
    // Eight-bit data has no charset; no byte may be lost.
    ("data", "caf%E9+%80", "café \u{80}"),
];

#[tokio::test]
async fn what_is_typed_at_a_telephone_arrives_in_the_queue_exactly() {
    let (pair, mut kannel) = around_kannel("").await;
    kannel.connect().await;
    let mut ids = Vec::new();
    // Through get-url, and through post-url.
    for number in ["+15551234567", "+16661234567"] {
        for (kind, typed, text) in TYPED {
            kannel.types(number, kind, typed);
            let message = pair.tap.take("postern.inbound").await.json();
            assert_eq!(message["text"], text, "{number} {kind} {typed}");
            assert_eq!((&message["identity"], &message["backend"]), (&number.into(), &"kannel".into()));
            ids.push(message["external_id"].as_str().unwrap_or_default().to_owned());
        }
    }
    // The ids are Kannel's own UUIDs.
    ids.dedup();
    assert!(ids.len() == 2 * TYPED.len() && ids.iter().all(|id| id.len() == 36), "{ids:?}");
    // None of Postern's answers was sent back to the telephone.
    kannel.delivered_no_more().await;
    pair.tap.depth_becomes("postern.inbound", 0).await;
    pair.ends_silent(&["+15551234567", "+16661234567", "hello there", "Привет"]).await;
}

#[tokio::test]
async fn what_is_typed_while_postern_is_away_arrives_when_it_is_back() {
    let vhost = Rabbit::shared().vhost();
    let port = free_port();
    let mut kannel = Kannel::start(&format!("http://127.0.0.1:{port}"), "").await;
    kannel.connect().await;
    kannel.types("123", "text", "is anybody there?");
    kannel.smsbox.log().wait_for("Couldn't fetch").await;
    let launch = Launch::ingress(&vhost.config("[backends.kannel]\ntype = \"kannel\"\n"));
    let ingress = launch.env("POSTERN__INGRESS__LISTEN", &format!("127.0.0.1:{port}")).start().await;
    let tap = vhost.tap().await;
    let message = tap.take("postern.inbound").await.json();
    assert_eq!((&message["identity"], &message["text"]), (&"123".into(), &"is anybody there?".into()));
    kannel.types("123", "text", "hello");
    assert_eq!(tap.take("postern.inbound").await.json()["text"], "hello", "each came once");
    drop(ingress);
}
