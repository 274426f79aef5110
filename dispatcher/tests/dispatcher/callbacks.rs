//! Callbacks to hosts that answer and to hosts that do not.

use crate::{
    provider::{Answer, Provider, answer},
    setup::{Running, config, until},
};
use postern_broker::{Address, Broker, Envelope, header};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::{
    callback::Callback,
    event::{Event, EventKind},
    message::{CallbackEvent, MessageId},
};
use std::time::{Duration, Instant};

/// A dispatcher that only makes callbacks, of which one user may have two in flight.
fn gateway(timeout: &str) -> String {
    let user = |name: &str| {
        format!(
            "[[compat.kannel.users]]\nusername = \"{name}\"\npassword = \"hush-{name}\"\nbackend = \"demo\"\n"
        )
    };
    format!(
        "[dispatcher]\nbackends = []\n[retry]\ndelays = [\"1s\", \"2s\", \"3s\"]\n[backends.demo]\ntype = \"console\"\n\
         [shutdown]\ndeadline = \"300ms\"\n[compat.callbacks]\nallow = [\"127.0.0.0/8\"]\ntimeout = \"{timeout}\"\n\
         concurrency = 8\nattempts = 2\n{}{}",
        user("a"),
        user("b")
    )
}

/// A callback that `user` asked for, to `url`.
fn callback(gateway: &str, user: &str, url: &str) -> (Address, Envelope) {
    let (message_id, user, url) = (MessageId::new(), user.to_owned(), url.to_owned());
    let callback = Callback { message_id, user, url, mask: 31, to: None, values: Default::default() };
    let event = CallbackEvent {
        message_id,
        backend: "demo".parse().unwrap(),
        callback: config(gateway).compat.callback_keys().seal(&callback).unwrap(),
        event: 8,
        identity: None,
        external_id: None,
        reply: "ACK/".to_owned(),
        at: "2026-11-22T17:00:00Z".parse().unwrap(),
    };
    (Address::Callbacks(event.backend.clone()), Envelope::from(&event))
}

fn counted(running: &Running, queue: &str, outcome: &str) -> f64 {
    let series = format!("postern_application_deliveries_total{{outcome=\"{outcome}\",queue=\"{queue}\"}} ");
    let text = running.metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

#[tokio::test]
async fn a_user_whose_host_never_answers_holds_up_nobody_else() {
    let (silent, client) =
        (Provider::answering(Answer::Never).await, Provider::answering(answer(200, "")).await);
    let text = gateway("5m");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let event = callback(&text, "a", &silent.url);
    running.broker.publish(vec![event; 300]).await.unwrap();
    running.broker.publish(vec![callback(&text, "b", &client.url)]).await.unwrap();
    until("the other user's callback", || client.received().len() == 1).await;
    until("the first user's to be set aside", || {
        running.broker.waiting("postern.callbacks.bulk").len() > 290
    })
    .await;
    until("places", || silent.received().len() == 4).await;
    // Two from the first queue and two from the bulk queue are in flight, and never more.
    running
        .broker
        .publish(vec![callback(&text, "a", &silent.url), callback(&text, "b", &client.url)])
        .await
        .unwrap();
    until("one more", || client.received().len() == 2).await;
    assert_eq!((silent.received().len(), silent.most_at_a_time()), (4, 4));
    running.stop().await;
}

#[tokio::test]
async fn what_was_set_aside_is_made_in_its_turn_with_its_attempts() {
    let client = Provider::start(|_| answer(503, "")).await;
    let text = gateway("5s");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let (address, event) = callback(&text, "a", &client.url);
    // A callback after an earlier attempt.
    let second = event.with(header::ATTEMPT, 2).with("x-theirs", "kept");
    running.broker.publish(vec![(address, second); 50]).await.unwrap();
    let dead = running.dead(50).await;
    assert!(dead.iter().all(|letter| letter.integer_header(header::ATTEMPTS) == Some(2)));
    assert!(dead.iter().all(|letter| letter.text_header("x-theirs") == Some("kept")));
    let queues =
        ["postern.callbacks", "postern.callbacks.bulk"].map(|queue| counted(&running, queue, "failed"));
    assert_eq!(queues.iter().sum::<f64>(), 50.0);
    assert_eq!(client.received().len(), 50);
    running.stop().await;
}

#[tokio::test]
async fn a_host_that_did_not_answer_in_time_is_left_alone() {
    let silent = Provider::answering(Answer::Never).await;
    let text = gateway("1s");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let begun = Instant::now();
    running.broker.publish(vec![callback(&text, "a", &silent.url)]).await.unwrap();
    until("its retry", || running.broker.delayed().len() == 1).await;
    running.broker.publish(vec![callback(&text, "a", &silent.url); 100]).await.unwrap();
    until("all retries", || running.broker.delayed().len() == 101).await;
    assert_eq!(silent.received().len(), 1, "{:?} later", begun.elapsed());
    let delays: Vec<_> = running.broker.delayed().into_iter().skip(1).collect();
    for (address, envelope) in delays {
        assert_eq!(envelope.integer_header(header::ATTEMPT), Some(2));
        let Address::Later { delay, .. } = address else { panic!("{address:?}") };
        // Its timeout, and the pause after it.
        let next = begun.elapsed() + delay;
        assert!(next >= Duration::from_secs(6), "{next:?}: not before the host may be called again");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_message_log_is_told_who_was_called_back_and_not_who_was_not() {
    let client =
        Provider::start(
            |request| if request.line.contains("gone") { answer(410, "") } else { answer(204, "") },
        );
    let client = client.await;
    for (logged, events) in [("", 1), ("[log]\nmessages = false\n", 0)] {
        let text = format!("{logged}{}", gateway("5s"));
        let running = Running::start(&text, &ConnectorRegistry::builtin());
        let (address, told) = callback(&text, "a", &format!("{}/told", client.url));
        let identity = "+15550100".parse().ok();
        let told = CallbackEvent { identity, ..CallbackEvent::from_json(&told.body).unwrap() };
        let gone = callback(&text, "b", &format!("{}/gone", client.url));
        running.broker.publish(vec![(address, Envelope::from(&told)), gone]).await.unwrap();
        running.dead(1).await;
        until("the other", || counted(&running, "postern.callbacks", "sent") == 1.0).await;
        let is = running.broker.waiting("postern.log");
        let is: Vec<_> = is.iter().map(|envelope| Event::from_json(&envelope.body).unwrap()).collect();
        assert_eq!(is.len(), events, "{is:?}");
        for event in is {
            assert_eq!((event.event, event.message_id), (EventKind::CalledBack, told.message_id));
            assert_eq!((event.identity, event.backend), (told.identity.clone(), told.backend.clone()));
            assert_eq!((event.attempt, event.http_status), (Some(1), Some(204)));
            assert!(event.duration_ms.is_some() && event.content.is_none() && event.callback.is_none());
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_given_up_is_dropped_where_many_dead_letters_wait() {
    let gone = Provider::answering(answer(410, "")).await;
    let text = gateway("5s");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let letters = vec![(Address::Dead("demo".parse().unwrap()), Envelope::default()); 9_999];
    running.broker.publish(letters).await.unwrap();
    running.broker.publish(vec![callback(&text, "a", &gone.url)]).await.unwrap();
    until("a dead letter", || counted(&running, "postern.callbacks", "failed") == 1.0).await;
    running.broker.publish(vec![callback(&text, "a", &gone.url)]).await.unwrap();
    until("a drop", || counted(&running, "postern.callbacks", "dropped") == 1.0).await;
    running.idle().await;
    assert_eq!(running.broker.waiting("postern.dead").len(), 10_000);
    assert_eq!(running.dead_counted("demo", "permanent"), 1, "a callback that is dropped is none");
    running.stop().await;
}
