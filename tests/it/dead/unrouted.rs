//! `postern.unrouted`: messages to backends that nobody has configured.

use super::*;

async fn unrouted(tap: &Tap, vhost: &Vhost, provider: &Provider) {
    // The queues exist, and no configuration has a backend `b`.
    let message = json!({"id": uuid::Uuid::now_v7(), "backend": "b", "identities": [NUMBER], "text": TEXT});
    tap.publish("postern.outbound", "b", message.to_string().as_bytes(), Properties::default()).await;
    tap.depth_becomes("postern.unrouted", 1).await;
    let launch = Launch::gateway().config(&config(&vhost.config(""), provider, ""));
    let postern = launch.start().await;
    let listing = told(&launch, &["list", "--queue", "unrouted"]).await;
    assert_eq!(listing["letters"][0]["backend"], "b", "{listing}");
    assert_eq!(told(&launch, &["redrive", "--queue", "unrouted", "--yes"]).await["done"], 1);
    assert_eq!(provider.take().await.json()["id"], message["id"]);
    tap.depth_becomes("postern.unrouted", 0).await;
    assert_eq!(postern.terminate().await.code, Some(0));
}

#[tokio::test]
async fn the_unrouted_are_put_back_once_their_backend_is_there_and_stay_until_then() {
    let provider = Provider::obliging().await;
    let vhost = Rabbit::shared().vhost();
    let without = vhost.config("[backends.a]\ntype = \"console\"\n");
    let launch = Launch::gateway().config(&without);
    let postern = launch.start_connected().await;
    assert_eq!(postern.terminate().await.code, Some(0));
    let tap = vhost.tap().await;
    tap.publish(
        "postern.outbound",
        "c",
        br#"{"backend":"c","identities":["1"],"text":"x"}"#,
        Properties::default(),
    )
    .await;
    tap.depth_becomes("postern.unrouted", 1).await;
    let done = told(&launch, &["redrive", "--queue", "unrouted", "--yes"]).await;
    assert_eq!(done["done"], 0, "{done}");
    assert!(done["stay"][0]["why"].as_str().unwrap().contains("postern.outbound.c"), "{done}");
    assert_eq!(told(&launch, &["drop", "--queue", "unrouted", "--backend", "c"]).await["done"], 1);
    unrouted(&tap, &vhost, &provider).await;
}

/// An application with permission to publish outbound messages can print nothing on an operator's terminal and
/// move no operator's cursor.
#[tokio::test]
async fn an_unrouted_message_is_taken_for_one_to_send_and_for_nothing_else() {
    const OBEYED: &str = "YES\u{9b}2J\u{202e}\u{2066}\u{7f}";
    let vhost = Rabbit::shared().vhost();
    let launch = Launch::gateway().config(&vhost.config("[backends.a]\ntype = \"console\"\n"));
    let postern = launch.start_connected().await;
    assert_eq!(postern.terminate().await.code, Some(0));
    let tap = vhost.tap().await;
    let inbound = json!({"id": "forged", "backend": "a", "identity": NUMBER, "text": OBEYED,
        "received_at": "2026-01-01T00:00:00Z"});
    let mut table = lapin::types::FieldTable::default();
    table.insert("x-postern-queue".into(), lapin::types::AMQPValue::LongString("postern.inbound".into()));
    let named = Properties::default().with_message_id(OBEYED.into());
    for properties in [Properties::default().with_headers(table), named] {
        tap.publish("postern.outbound", "c", inbound.to_string().as_bytes(), properties).await;
    }
    tap.depth_becomes("postern.unrouted", 2).await;
    let done = told(&launch, &["redrive", "--queue", "unrouted", "--yes"]).await;
    assert_eq!((&done["done"], done["stay"].as_array().unwrap().len()), (&json!(0), 2), "{done}");
    assert_eq!(tap.depth("postern.inbound").await, Ok(0));

    for arguments in [&["list"][..], &["list", "--json"], &["show", "forged"], &["show", OBEYED, "--json"]] {
        let shown = cli(&launch, &[arguments, &["--queue", "unrouted"]].concat()).await;
        assert_eq!(shown.code, Some(0), "{arguments:?}: {}", shown.log);
        let obeyed = |c: &char| *c != '\n' && (c.is_control() || OBEYED[3..].contains(*c) && !c.is_ascii());
        assert_eq!(shown.out.chars().find(obeyed), None, "{arguments:?}: {:?}", shown.out);
    }
    let shown = told(&launch, &["show", "forged", "--queue", "unrouted"]).await;
    assert_eq!(shown["letters"][0]["body"], inbound, "to a program it is what it was");

    // The backend of a message that was returned to a missing queue comes from its routing key, which Postern
    // wrote.
    tap.purge("postern.unrouted").await;
    tap.publish("postern.return", "postern.outbound.c", b"{}", Properties::default()).await;
    tap.depth_becomes("postern.unrouted", 1).await;
    let listed = told(&launch, &["list", "--queue", "unrouted"]).await;
    assert_eq!(listed["letters"][0]["queue"], "postern.outbound.c", "{listed}");
}
