//! An application that may publish only to `postern.outbound`: the size of what it writes into its messages is
//! limited, affects only its own message, and holds up nothing.

use crate::reports::{outcome, states};
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldArray, FieldTable},
};
use postern_tests::{
    Answer, Launch, Program, Properties, Provider, Rabbit, Vhost, eventually, usage::memory,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const MIB: usize = 1024 * 1024;

/// The backends `open` and `other`, which make one request without numbers to `provider` for any number of
/// recipients.
fn config(vhost: &Vhost, provider: &Provider) -> String {
    let backend = |name: &str| {
        format!(
            "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nrecipients = \"joined\"\nbatch = 10000\n\
             url = \"{}\"\nform = {{ text = \"{{{{ text }}}}\" }}\n",
            provider.url("/send")
        )
    };
    let backends = backend("open") + &backend("other");
    vhost.config(&format!("[ingress]\nspool = false\n[retry]\ndelays = [\"200ms\"]\n{backends}"))
}

/// Lets a new user publish to `postern.outbound` only, and connects as that user.
async fn publisher(vhost: &Vhost, user: &str) -> postern_tests::Tap {
    vhost.add_user(user, "secret");
    vhost.permit(user, "^postern[.]outbound$");
    postern_tests::Tap::connect(&vhost.url_for(user, "secret")).await
}

fn headers<const N: usize>(headers: [(&str, AMQPValue); N]) -> Properties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(name.into(), value);
    }
    BasicProperties::default().with_headers(table)
}

fn long(bytes: usize) -> AMQPValue {
    AMQPValue::LongString(vec![b'A'; bytes].into())
}

/// RabbitMQ's answer to a message for `exchange`; `Ok` if it accepts the message.
async fn publishes(url: &str, exchange: &str, key: &str) -> Result<(), String> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm =
        channel.basic_publish(exchange.into(), key.into(), options, b"x", properties).await.unwrap();
    confirm.await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_an_application_forges_counts_for_nothing() {
    let (vhost, provider) = (Rabbit::shared().vhost(), Provider::start().await);
    let launch = Launch::gateway().config(&config(&vhost, &provider));
    let postern = launch.start_connected().await;
    let application = publisher(&vhost, "forger").await;
    // It may not publish to the exchanges whose messages are trusted.
    let url = vhost.url_for("forger", "secret");
    assert_eq!(publishes(&url, "postern.outbound", "open").await, Ok(()));
    for exchange in ["", "postern.return", "postern.dead", "postern.wait.200ms", "postern.inbound"] {
        let refused = publishes(&url, exchange, "postern.outbound.open").await.unwrap_err();
        assert!(refused.contains("ACCESS_REFUSED"), "{exchange}: {refused}");
    }
    let tap = vhost.tap().await;
    assert_eq!(tap.take("postern.dead").await.headers["x-postern-code"], "malformed");

    // With these headers it is not given up, delayed, or lost on its way through the wait queue.
    let mut death = FieldTable::default();
    for (name, value) in
        [("queue", "postern.wait.200ms"), ("reason", "expired"), ("exchange", "postern.wait.200ms")]
    {
        death.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    let mut deaths = FieldArray::default();
    deaths.push(AMQPValue::FieldTable(death));
    let number = AMQPValue::LongLongInt;
    let forged = headers([
        ("x-postern-crashes", number(9)),
        ("x-postern-deliveries", number(1000)),
        ("x-postern-attempt", number(9)),
        ("x-postern-cut-from", number(5)),
        ("x-postern-a", long(17_000)),
        ("x-delivery-count", number(1000)),
        ("x-death", AMQPValue::FieldArray(deaths)),
    ]);
    provider.script([Answer::status(503)]);
    provider.otherwise(|_| Answer::ok(""));
    let message = json!({"backend": "open", "identities": ["+1"], "text": "forged"}).to_string();
    application.publish("postern.outbound", "open", message.as_bytes(), forged).await;
    for state in ["retrying", "sent"] {
        assert_eq!(states(&outcome(&tap).await), [("+1", state)]);
    }

    // A body that is not a message is dead-lettered with any headers, and nothing waits for it.
    for name in ["x-postern-a", "traceparent", "theirs"] {
        application.publish("postern.outbound", "open", b"not json", headers([(name, long(17_000))])).await;
        let letter = tap.take("postern.dead").await;
        assert_eq!(letter.headers["x-postern-code"], "malformed", "{name}");
        let kept = letter.headers.get(name).and_then(Value::as_str).map_or(0, str::len);
        assert!(kept < 256, "{name}: {kept}");
    }
    let begun = Instant::now();
    assert_eq!(postern.terminate().await.code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "the drain took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_message_of_any_size_takes_little_memory_and_ends() {
    let (vhost, provider) = (Rabbit::shared().vhost(), Provider::obliging().await);
    let launch = Launch::gateway().config(&config(&vhost, &provider)).admin_token("token");
    let postern = launch.start_connected().await;
    let application = publisher(&vhost, "glutton").await;
    let (before, tap) = (memory(postern.id()).peak, vhost.tap().await);
    let message = |more: &str| format!(r#"{{"backend":"open","identities":["1"],"text":"x",{more}}}"#);
    let ones = |bytes: usize| format!(r#""context":{{"c":[{}1]}}"#, "1,".repeat(bytes / 2));
    let many = "\"1\",".repeat(2_500_000);
    for (body, code, cut_from) in [
        (" ".repeat(17 * MIB), "too_large", Some(17 * MIB)),
        (message(&ones(14_800_000)), "too_large", Some(message(&ones(14_800_000)).len())),
        (message(&ones(10_900_000)), "malformed", None),
        (format!(r#"{{"backend":"open","identities":[{many}"1"],"text":"x"}}"#), "malformed", None),
    ] {
        application.publish("postern.outbound", "open", body.as_bytes(), Properties::default()).await;
        // It stays among the dead letters, and is read there.
        eventually("its dead letter", async || {
            let letters = dead_letters(&postern, "").await;
            let found = letters.last().map(|letter| (letter["code"].clone(), letter["cut_from"].clone()));
            if found == Some((json!(code), json!(cut_from))) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    let more = memory(postern.id()).peak.saturating_sub(before) / MIB as u64;
    println!("{more} MiB more for bodies of 10 to 17 MiB");
    assert!(more < 150, "{more} MiB more");
    // A shortened message cannot be redriven, and the answer says so.
    let asked = postern_tests::http_client()
        .post(format!("http://127.0.0.1:{}/v1/dead/redrive", postern.admin_port()))
        .bearer_auth("token")
        .body(r#"{"filter":{"code":["too_large"]}}"#);
    let done = postern_tests::fetch(asked).await.unwrap().json();
    assert_eq!((&done["done"], done["stay"].as_array().unwrap().len()), (&json!(0), 2), "{done}");
    assert!(done["stay"][0]["why"].as_str().unwrap().contains("17825792 bytes"), "{done}");
    let letter = tap.take("postern.dead").await;
    assert_eq!((letter.body.len(), &letter.headers["x-postern-cut-from"]), (65_536, &json!(17 * MIB)));
    assert!(provider.requests().is_empty());
    assert_eq!(postern.terminate().await.code, Some(0));
}

async fn dead_letters(postern: &Program, query: &str) -> Vec<Value> {
    let url = format!("http://127.0.0.1:{}/v1/dead{query}", postern.admin_port());
    let reply =
        postern_tests::fetch(postern_tests::http_client().get(url).bearer_auth("token")).await.unwrap();
    reply.json()["letters"].as_array().unwrap().clone()
}

/// Ten thousand recipients of the greatest length, each refused with a long reason: their report is larger than
/// any broker accepts.
#[tokio::test]
async fn an_outcome_that_is_too_large_is_stored_without_its_details_and_sent_once() {
    let (vhost, provider) = (Rabbit::shared().vhost(), Provider::start().await);
    let refusal = "\u{1f4a1}".repeat(200);
    provider.otherwise(move |request| match request.form()[0].1.as_str() {
        "large" => Answer::status(400).body(&refusal),
        _ => Answer::ok(""),
    });
    let launch = Launch::gateway().config(&config(&vhost, &provider));
    let postern = launch.start_connected().await;
    let application = publisher(&vhost, "bulk-sender").await;
    let identities = vec!["\u{1f4a1}".repeat(256); 10_000];
    let message = json!({"backend": "open", "identities": identities, "text": "large"});
    application.send(&message).await;
    let tap = vhost.tap().await;
    let report = outcome(&tap).await;
    let recipients = report["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), 10_000);
    assert!(recipients.iter().all(|one| one["state"] == "failed" && one["reason"]["code"] == "http_400"));
    assert!(recipients.iter().all(|one| one["reason"].get("detail").is_none()));
    let letter = tap.take("postern.dead").await;
    assert_eq!(letter.json(), message, "as it was");
    postern.metric_becomes("postern_outcomes_refused_total", &[("stored", "smaller")], 1.0).await;
    let ready = postern.ready().await.unwrap();
    assert!(ready.status == 200 && ready.text.contains("the broker refused outcomes"), "{}", ready.text);
    // Other messages are still sent, and this one does not come again.
    application.send(&json!({"backend": "open", "identities": ["+1"], "text": "small"})).await;
    assert_eq!(states(&outcome(&tap).await), [("+1", "sent")]);
    let begun = Instant::now();
    assert_eq!(postern.terminate().await.code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "the drain took {:?}", begun.elapsed());
    let postern = launch.start().await;
    application.send(&json!({"backend": "other", "identities": ["+2"], "text": "small"})).await;
    assert_eq!(states(&outcome(&tap).await), [("+2", "sent")]);
    assert_eq!(provider.requests().len(), 3);
    assert_eq!(postern.terminate().await.code, Some(0));
}

/// A broker that accepts less than the outcome of a message that it accepted: its operator has lowered the
/// limit.
#[tokio::test]
async fn an_outcome_beyond_the_brokers_own_limit_is_stored_in_pieces() {
    let (rabbit, provider) = (Rabbit::to_harm().await, Provider::start().await);
    rabbit.set("max_message_size", 2_000);
    provider.otherwise(|_| Answer::status(400));
    let vhost = rabbit.vhost();
    let postern = Launch::gateway().config(&config(&vhost, &provider)).start_connected().await;
    let tap = vhost.tap().await;
    let identities: Vec<String> = (0..100).map(|n| format!("+1555000{n:03}")).collect();
    tap.send(&json!({"backend": "open", "identities": identities, "text": "large"})).await;
    let mut told = BTreeSet::new();
    while told.len() < identities.len() {
        let report = outcome(&tap).await;
        told.extend(states(&report).into_iter().map(|(whom, state)| (whom.to_owned(), state.to_owned())));
    }
    let failed: BTreeSet<_> = identities.iter().map(|whom| (whom.clone(), "failed".to_owned())).collect();
    assert_eq!(told, failed);
    let mut dead = BTreeSet::new();
    while dead.len() < identities.len() {
        let letter = tap.take("postern.dead").await.json();
        dead.extend(
            letter["identities"].as_array().unwrap().iter().map(|whom| whom.as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(dead.into_iter().collect::<Vec<_>>(), identities);
    assert_eq!(provider.requests().len(), 1);
    assert_eq!(postern.terminate().await.code, Some(0));
}
