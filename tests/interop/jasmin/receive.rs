//! Messages from a telephone through Jasmin to the queue.

use super::{Jasmin, around_jasmin};
use postern_tests::{Launch, Rabbit, free_port};

/// A data coding, the octets that the SMSC delivers, and the text that they mean.
const TYPED: [(u8, &[u8], &str); 6] = [
    (0, b"hello there", "hello there"),
    (0, b"caf\x05 \x1b\x65 100% of 1+1 \x00 a=b?", "café € 100% of 1+1 @ a=b?"),
    (3, b"caf\xe9", "café"),
    (8, b"\x04\x1f\x04\x40\x04\x38\x04\x32\x04\x35\x04\x42", "Привет"),
    (8, b"\xd8\x3d\xde\x00\x00!", "😀!"),
    // Octets have no charset; none may be lost.
    (4, b"caf\xe9 \x80", "café \u{80}"),
];

#[tokio::test]
async fn what_is_typed_at_a_telephone_arrives_in_the_queue_exactly() {
    let (pair, mut jasmin) = around_jasmin().await;
    let mut ids = Vec::new();
    for (coding, octets, text) in TYPED {
        jasmin.types("15551234567", coding, octets);
        let message = pair.tap.take("postern.inbound").await.json();
        assert_eq!(message["text"], text, "{coding} {octets:?}");
        assert_eq!((&message["identity"], &message["backend"]), (&"15551234567".into(), &"jasmin".into()));
        assert_eq!(
            (&message["fields"]["to"], &message["fields"]["origin_connector"]),
            (&"1000".into(), &"smsc".into())
        );
        ids.push(message["external_id"].as_str().unwrap_or_default().to_owned());
    }
    // The ids are Jasmin's own UUIDs.
    ids.dedup();
    assert!(ids.len() == TYPED.len() && ids.iter().all(|id| id.len() == 36), "{ids:?}");
    jasmin.was_acknowledged();
    pair.tap.depth_becomes("postern.inbound", 0).await;
    pair.ends_silent(&["15551234567", "hello there", "Привет"]).await;
}

#[tokio::test]
async fn what_is_typed_while_postern_is_away_arrives_when_it_is_back() {
    let vhost = Rabbit::shared().vhost();
    let port = free_port();
    let mut jasmin = Jasmin::start(&format!("http://127.0.0.1:{port}")).await;
    jasmin.types("123", 0, b"is anybody there?");
    jasmin.jasmind.log().wait_for("Throwing message").await;
    let config = "[ingress]\ndedupe_window = 0\n[backends.jasmin]\ntype = \"jasmin\"\n\
                  [backends.jasmin.settings]\nusername = \"postern\"\npassword = \"hush\"\n";
    let launch = Launch::ingress(&vhost.config(config));
    let ingress = launch.env("POSTERN__INGRESS__LISTEN", &format!("127.0.0.1:{port}")).start().await;
    let tap = vhost.tap().await;
    let message = tap.take("postern.inbound").await.json();
    assert_eq!((&message["identity"], &message["text"]), (&"123".into(), &"is anybody there?".into()));
    jasmin.types("123", 0, b"hello");
    assert_eq!(tap.take("postern.inbound").await.json()["text"], "hello", "each came once");
    drop(ingress);
}
