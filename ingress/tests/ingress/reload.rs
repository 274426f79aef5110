//! A reload while requests are answered.

use crate::{
    client,
    server::{Running, config},
};
use postern_ingress::forms::Forms;
use std::sync::Arc;

const KEY: &str = "[[api.keys]]\nname = \"app\"\nkey = \"key-of-app\"\nbackends = [\"*\"]\n";
const BOTH: &str = "[backends.kept]\ntype = \"http\"\nreceive = { params = { external_id = \"id\" } }\n\
                    [backends.gone]\ntype = \"http\"\n";
const KEPT: &str = "[backends.kept]\ntype = \"http\"\nreceive = { params = { external_id = \"id\" } }\n";

fn take_over(server: &Running, text: &str) {
    let forms = Forms::builtin();
    let prepared = server.reload.prepare(Arc::new(config(text, &forms)), &forms).unwrap();
    server.reload.apply(prepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_as_it_began_and_the_next_one_sees_the_new() {
    let server = Running::start(BOTH).await;
    server.broker.held.send_replace(true);
    let request = client::written("GET", "/backends/gone?identity=1&text=a", &[], b"");
    let address = server.address;
    let in_flight = tokio::spawn(async move { client::send(address, &request).await });
    server.broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    take_over(&server, KEPT);
    assert_eq!(server.get("/backends/gone?identity=1&text=b").await.status, 404);
    server.broker.held.send_replace(false);
    assert_eq!(in_flight.await.unwrap().status, 200);
    take_over(&server, BOTH);
    assert_eq!(server.get("/backends/gone?identity=1&text=c").await.status, 200);
    assert_eq!(server.inbound().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_remembered_stays() {
    let server = Running::start(&format!("{KEY}{BOTH}")).await;
    let path = "/backends/kept?identity=1&text=a&id=7";
    assert_eq!(server.get(path).await.status, 200);
    let post = async || {
        let headers = [
            ("Authorization", "Bearer key-of-app"),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "order-1"),
        ];
        let body = br#"{"backend": "tty", "to": "1", "text": "pong"}"#;
        client::send(server.api, &client::written("POST", "/v1/messages", &headers, body)).await.status
    };
    assert_eq!((post().await, server.broker.take().len()), (404, 1));
    let tty = "[backends.tty]\ntype = \"console\"\n";
    take_over(&server, &format!("{KEY}{KEPT}{tty}"));
    assert_eq!((server.get(path).await.status, post().await), (200, 202));
    assert_eq!(server.broker.take().len(), 1, "the message was repeated");
    take_over(&server, &format!("{KEY}rate = \"2/h\"\n{KEPT}{tty}"));
    assert_eq!((post().await, server.broker.take().len()), (202, 0));
    take_over(&server, &format!("{KEY}rate = \"2/h\"\n{BOTH}{tty}"));
    assert_eq!([post().await, post().await], [202, 429]);
    take_over(&server, &format!("{}{KEPT}", KEY.replace("key-of-app", "another-key")));
    assert_eq!(post().await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_found_before_anything_is_changed() {
    let server = Running::start(BOTH).await;
    let forms = Forms::builtin();
    let wrong =
        config(&KEPT.replace("params =", "reply = { status = 204, body = \"no\" }, params ="), &forms);
    let problems = server.reload.prepare(Arc::new(wrong), &forms).unwrap_err();
    assert_eq!(problems[0].key, "backends.kept.receive.reply.body");
    assert_eq!(server.get("/backends/gone?identity=1&text=a").await.status, 200);
}
