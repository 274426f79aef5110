//! What holds messages back: the rate, the circuit breaker, a provider that asks for less.

use crate::{
    provider::{Answer, Provider, answer},
    setup::{Custom, Running, message, retries, states, until},
};
use jiff::{SignedDuration, Timestamp};
use postern_broker::{Address, Broker, Envelope, header, memory::MemoryBroker};
use postern_dispatcher::connectors::{ConnectorRegistry, Outcomes, Sent};
use postern_shared::{
    error::Failure,
    message::{Outbound, Priority, State},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

fn to(provider: &Provider, backend: &str, send: &str) -> String {
    format!(
        "[backends.demo]\ntype = \"http\"\n{backend}\n[backends.demo.send]\nurl = \"{}/send\"\n\
         form = {{ to = \"{{{{ identity }}}}\" }}\n{send}",
        provider.url
    )
}

async fn queued(messages: impl IntoIterator<Item = (Priority, String)>) -> MemoryBroker {
    let broker = MemoryBroker::default();
    let address = |lane| Address::Outbound("demo".parse().unwrap(), lane);
    let envelope = |body: String| Envelope { body: body.into(), ..Envelope::default() };
    let messages = messages.into_iter().map(|(lane, body)| (address(lane), envelope(body)));
    broker.publish(messages.collect()).await.unwrap();
    broker
}

fn value(running: &Running, line: &str) -> f64 {
    let text = running.metrics.text();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{line} is not in\n{text}"))
}

#[tokio::test]
async fn a_provider_that_is_down_costs_a_few_attempts_and_not_one_of_each_message() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let provider =
        Provider::start(move |_| answer(if is_up.load(Ordering::SeqCst) { 200 } else { 503 }, "")).await;
    let broker = queued((0..200).map(|n| (Priority::Normal, message(&[&n.to_string()])))).await;
    let own = "concurrency = 4\nbreaker = { failures = 6, pause = \"300ms\", max_pause = \"300ms\" }";
    let running = Running::on(broker, &to(&provider, own, ""), &ConnectorRegistry::builtin());
    until("open", || value(&running, "postern_breaker_open{backend=\"demo\"}") > 0.0).await;
    // Prefetched messages are in the queue again, where other processes could take them.
    until("hand-back", || running.broker.waiting("postern.outbound.demo").len() >= 185).await;
    let paused = running.health.not_ready();
    assert!(paused[0].1.to_string().contains("http_503"), "{paused:?}");
    until("probes", || provider.received().len() >= 13).await;
    let burnt = running.broker.delayed().len();
    let sent_again = retries(&running.broker);
    let counted = sent_again.iter().filter(|(_, message)| message.attempt == 2).count();
    assert!((6..=9).contains(&counted), "{counted} attempts were burnt");
    assert!(
        sent_again.iter().any(|(_, message)| (message.attempt, message.deferred) == (1, 1)),
        "one that was only tried"
    );
    assert_eq!(value(&running, "postern_breaker_opened_total{backend=\"demo\"}"), 1.0);
    up.store(true, Ordering::SeqCst);
    until("closed", || value(&running, "postern_breaker_open{backend=\"demo\"}") == 0.0).await;
    until("all sent", || {
        running.broker.pass_delays();
        let sent = "postern_dispatch_messages_total{backend=\"demo\",outcome=\"sent\"}";
        value(&running, sent) == 200.0
    })
    .await;
    assert!(running.health.not_ready().is_empty() && burnt < 30);
    let broker = running.stop().await;
    assert!(broker.waiting("postern.dead").is_empty());
}

#[tokio::test]
async fn a_success_that_never_comes_pauses_the_backend_instead_of_sending_to_everybody_again() {
    for (send, key, code) in [
        ("success = { body = \"nonsense\" }", "send.success", "not_accepted"),
        ("results = { each = \"/nonsense\", identity = \"/to\" }", "send.results", "no_outcome"),
    ] {
        let provider = Provider::answering(answer(200, "OK")).await;
        let broker = queued((0..200).map(|n| (Priority::Normal, message(&[&n.to_string()])))).await;
        let own = "concurrency = 4\nbreaker = { failures = 6, pause = \"1m\" }";
        let running = Running::on(broker, &to(&provider, own, send), &ConnectorRegistry::builtin());
        until("open", || value(&running, "postern_breaker_open{backend=\"demo\"}") > 0.0).await;
        let says = running.health.of(&"demo".parse().unwrap()).to_string();
        assert!(says.contains(key) && says.contains(code), "{says}");
        until("hand-back", || running.broker.waiting("postern.outbound.demo").len() >= 190).await;
        running.idle().await;
        assert!((6..=9).contains(&provider.received().len()), "{} were sent", provider.received().len());
        running.stop().await;
    }
}

#[tokio::test]
async fn failures_of_a_messages_own_never_stop_the_others() {
    let provider = Provider::start(|request| match request.body.as_str() {
        "to=bad" => answer(400, ""),
        "to=config" => answer(401, ""),
        _ => answer(200, ""),
    })
    .await;
    let running =
        Running::start(&to(&provider, "breaker = { failures = 1 }", ""), &ConnectorRegistry::builtin());
    for _ in 0..20 {
        running.queue("demo", Priority::Normal, message(&["bad"])).await;
        running.queue("demo", Priority::Normal, message(&["config"])).await;
    }
    running.queue("demo", Priority::Normal, message(&["good"])).await;
    running.reports(41).await;
    assert_eq!(value(&running, "postern_breaker_opened_total{backend=\"demo\"}"), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_breaker_can_be_switched_off() {
    let provider = Provider::answering(answer(503, "")).await;
    let own = "breaker = { failures = 0 }\n[backends.demo.retry]\ndelays = []";
    let running = Running::start(&to(&provider, own, ""), &ConnectorRegistry::builtin());
    for n in 0..50 {
        running.queue("demo", Priority::Normal, message(&[&n.to_string()])).await;
    }
    running.dead(50).await;
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_its_provider_puts_off_keeps_its_attempt_and_only_those_wait_who_must() {
    let asked = Arc::new(AtomicUsize::new(0));
    let first = asked.clone();
    let provider = Provider::start(move |request| match request.body.as_str() {
        "to=late" if first.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::Raw("HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned())
        }
        _ => answer(200, ""),
    })
    .await;
    let running = Running::start(
        &to(&provider, "[backends.demo.retry]\ndelays = []", ""),
        &ConnectorRegistry::builtin(),
    );
    let begun = Instant::now();
    running.queue("demo", Priority::Normal, message(&["soon", "late"])).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("soon", State::Sent), ("late", State::Retrying)]);
    until("retry", || running.broker.delayed().len() == 1).await;
    let (address, retry) = retries(&running.broker).remove(0);
    assert!(matches!(address, Address::Later { delay, .. } if delay == Duration::from_secs(1)));
    assert_eq!((retry.attempt, retry.deferred, retry.identities.len()), (1, 1, 1));
    // Meanwhile nothing is sent to anyone.
    running.queue("demo", Priority::Normal, message(&["other"])).await;
    running.reports(2).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    running.broker.pass_delays();
    let report = running.reports(3).await.remove(2);
    assert_eq!((states(&report), report.attempt), (vec![("late", State::Sent)], 1));
    assert_eq!(value(&running, "postern_throttled_total{backend=\"demo\"}"), 1.0);
    running.stop().await;
}

/// The identities that were sent to, and when.
type Order = Arc<Mutex<Vec<(Instant, String)>>>;

/// A kind of connector that notes the identities to which it sends, and when.
fn noting() -> (ConnectorRegistry, Order) {
    let order = Order::default();
    let noted = order.clone();
    let connectors = ConnectorRegistry::builtin().with("custom", move |_| {
        let noted = noted.clone();
        Ok(Custom(move |identities: Vec<String>| {
            let now = Instant::now();
            noted.lock().unwrap().extend(identities.into_iter().map(|identity| (now, identity)));
            async { Outcomes::every(Ok(Sent::without_id())) }
        }))
    });
    (connectors.unwrap(), order)
}

#[tokio::test]
async fn a_code_does_not_wait_behind_a_campaign_whose_messages_have_many_recipients() {
    let (connectors, order) = noting();
    let campaign = message(&["bulk"; 500]);
    let broker = queued((0..10).map(|_| (Priority::Bulk, campaign.clone()))).await;
    let text = "[backends.demo]\ntype = \"custom\"\nconcurrency = 2\nrate = \"100/s\"";
    let running = Running::on(broker, text, &connectors);
    until("the campaign", || order.lock().unwrap().len() > 20).await;
    for n in 1..=3 {
        let before = order.lock().unwrap().len();
        running.queue("demo", Priority::Normal, message(&["code"])).await;
        until("code", || order.lock().unwrap().iter().filter(|(_, to)| to == "code").count() == n).await;
        let order = order.lock().unwrap();
        let place = order.iter().rposition(|(_, to)| to == "code").unwrap();
        assert!(place - before < 50, "{} of the campaign went before it", place - before);
    }
    // The campaign is not finished: the drain must leave the rest of it unsent.
    let sent = order.lock().unwrap().len();
    assert!(sent < 1_000, "{sent} at 100/s");
    running.drain();
    drop(running);
}

#[tokio::test]
async fn waiting_for_the_rate_is_not_counted_as_sending_and_keeps_little_in_hand() {
    let (connectors, order) = noting();
    let broker = queued((0..400).map(|n| (Priority::Normal, message(&[&n.to_string()])))).await;
    let text = "[backends.demo]\ntype = \"custom\"\nrate = \"4/s\"\nconcurrency = 64";
    let running = Running::on(broker, text, &connectors);
    until("six", || order.lock().unwrap().len() >= 6).await;
    assert!(running.broker.leased() <= 41, "what goes out in ten seconds: {}", running.broker.leased());
    assert_eq!(value(&running, "postern_dispatch_in_flight{backend=\"demo\"}"), 0.0);
    let sending = value(&running, "postern_send_duration_seconds_sum{backend=\"demo\"}");
    assert!(sending < 1.0, "{sending} s of sending, the rest was waiting");
    assert!(value(&running, "postern_rate_wait_seconds_sum{backend=\"demo\"}") > 0.5);
    assert_eq!(value(&running, "postern_rate_share{backend=\"demo\"}"), 4.0);
    let order = order.lock().unwrap().clone();
    let took = order[5].0 - order[0].0;
    assert!(took >= Duration::from_millis(1_100), "six at 4/s: {took:?}");
    running.stop().await;
}

#[tokio::test]
async fn segments_and_requests_are_counted_where_the_provider_counts_them() {
    let provider = Provider::answering(answer(200, "")).await;
    let long = serde_json::json!({"backend": "demo", "identities": ["1"], "text": "x".repeat(400)});
    for (rate, least) in [("segments", 1_100), ("messages", 300)] {
        let broker = queued((0..5).map(|_| (Priority::Normal, long.to_string()))).await;
        let own = format!("rate = {{ limit = \"10/s\", burst = 1, count = \"{rate}\" }}");
        let begun = Instant::now();
        let running = Running::on(broker, &to(&provider, &own, ""), &ConnectorRegistry::builtin());
        running.reports(5).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(least), "{rate}: {took:?}");
        running.stop().await;
    }
    // Three requests for 25 recipients, although each recipient is counted.
    let list = "recipients = \"joined\"\nbatch = 10";
    let running = Running::start(&to(&provider, "rate = \"500/s\"", list), &ConnectorRegistry::builtin());
    let before = provider.received().len();
    running.queue("demo", Priority::Normal, message(&["1"; 25])).await;
    running.reports(1).await;
    assert_eq!(provider.received().len() - before, 3);
    running.stop().await;
}

#[tokio::test]
async fn a_sender_of_ones_own_can_say_that_its_provider_is_down() {
    let connectors = ConnectorRegistry::builtin()
        .with("custom", |_| {
            Ok(Custom(async |_| Outcomes::every(Err(Failure::transient("down", "the line is dead")))))
        })
        .unwrap();
    let text = "[backends.demo]\ntype = \"custom\"\nbreaker = { failures = 2, pause = \"1m\" }";
    let running = Running::start(text, &connectors);
    for _ in 0..2 {
        running.queue("demo", Priority::Normal, message(&["1"])).await;
    }
    until("open", || value(&running, "postern_breaker_open{backend=\"demo\"}") > 0.0).await;
    running.stop().await;
}

/// A provider that answers when the semaphore allows it.
async fn held() -> (Provider, Arc<Semaphore>) {
    let release = Arc::new(Semaphore::new(0));
    let ok = "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n".to_owned();
    (Provider::answering(Answer::Gated(release.clone(), ok)).await, release)
}

#[tokio::test]
async fn a_message_to_many_has_as_many_requests_in_flight_as_its_backend_may() {
    for concurrency in [1, 8] {
        let (provider, release) = held().await;
        let own = format!("concurrency = {concurrency}");
        let running = Running::start(&to(&provider, &own, "timeout = \"1m\""), &ConnectorRegistry::builtin());
        let identities: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let identities: Vec<&str> = identities.iter().map(String::as_str).collect();
        running.queue("demo", Priority::Normal, message(&identities)).await;
        // One permit is kept for the next message, unless it is the only one.
        let most = if concurrency == 1 { 1 } else { concurrency - 1 };
        until("requests in flight", || provider.received().len() == most).await;
        release.add_permits(1_000);
        let report = running.reports(1).await.remove(0);
        let sent: Vec<_> = identities.iter().map(|identity| (*identity, State::Sent)).collect();
        assert_eq!(states(&report), sent);
        assert_eq!(provider.received().len(), 100);
        assert!(provider.most_at_a_time() <= concurrency, "{}", provider.most_at_a_time());
        running.stop().await;
    }
}

/// A message to `identities` that expires at `expires_at`.
fn expiring(identities: &[&str], expires_at: Timestamp) -> String {
    let message = serde_json::json!({
        "backend": "demo", "identities": identities, "text": "pong", "expires_at": expires_at.to_string(),
    });
    message.to_string()
}

#[tokio::test]
async fn a_recipient_whose_turn_comes_after_the_expiry_is_not_sent_to() {
    let (provider, release) = held().await;
    let text = to(&provider, "concurrency = 1", "timeout = \"1m\"");
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let begun = Instant::now();
    // If this process stands still, the message may expire before its first request is made.
    let expires_at = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "each message expired before its first request");
        let expires_at = Timestamp::now() + SignedDuration::from_secs(2);
        running.queue("demo", Priority::Normal, expiring(&["1", "2", "3"], expires_at)).await;
        let expired = || !running.broker.waiting("postern.reports").is_empty();
        until("the first request", || provider.received().len() == 1 || expired()).await;
        if !expired() {
            break expires_at;
        }
        running.dead(1).await;
        running.idle().await;
        running.broker.clear("postern.reports");
        running.broker.clear("postern.dead");
    };
    until("the expiry", || Timestamp::now() > expires_at).await;
    release.add_permits(10);
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("1", State::Sent), ("2", State::Expired), ("3", State::Expired)]);
    let letter = running.dead(1).await.remove(0);
    assert_eq!(letter.text_header(header::CODE), Some("expired"));
    assert_eq!(Outbound::from_json(&letter.body).unwrap().identities.len(), 2);
    running.idle().await;
    assert!(running.broker.delayed().is_empty());
    assert_eq!(provider.received().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_expires_while_it_waits_for_the_rate_is_not_sent() {
    let (connectors, order) = noting();
    let text = "[backends.demo]\ntype = \"custom\"\nrate = { limit = \"30/min\", burst = 1 }";
    let running = Running::start(text, &connectors);
    running.queue("demo", Priority::Normal, message(&["first"])).await;
    until("the first", || order.lock().unwrap().len() == 1).await;
    let soon = Timestamp::now() + SignedDuration::from_millis(500);
    running.queue("demo", Priority::Normal, expiring(&["late"], soon)).await;
    let report = running.reports(2).await.remove(1);
    assert_eq!(states(&report), [("late", State::Expired)]);
    running.dead(1).await;
    assert_eq!(order.lock().unwrap().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_message_to_more_than_fit_one_request_is_split() {
    let provider = Provider::answering(answer(200, "")).await;
    let list = "recipients = \"joined\"\nbatch = 10";
    let running = Running::start(&to(&provider, "", list), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"; 25])).await;
    let report = running.reports(1).await.remove(0);
    assert_eq!(states(&report), [("1", State::Sent); 25]);
    assert_eq!(provider.received().len(), 3);
    running.stop().await;
}

#[tokio::test]
async fn a_message_to_many_leaves_room_for_others() {
    let (provider, release) = held().await;
    let running =
        Running::start(&to(&provider, "concurrency = 4", "timeout = \"1m\""), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["many"; 1_000])).await;
    until("it to have all that is left", || provider.received().len() == 3).await;
    let asked = |who: &str| provider.received().iter().filter(|request| request.body == who).count();
    running.queue("demo", Priority::Normal, message(&["code-1"])).await;
    until("the first code", || asked("to=code-1") == 1).await;
    running.queue("demo", Priority::Normal, message(&["code-2"])).await;
    for n in 1..=50 {
        release.add_permits(1);
        until("an answer", || provider.received().len() >= 4 + n || asked("to=code-2") == 1).await;
        if asked("to=code-2") == 1 {
            assert!(n <= 10, "{n} of many went before it");
            release.add_permits(2_000);
            running.reports(3).await;
            running.stop().await;
            return;
        }
    }
    panic!("the second code was not sent");
}
