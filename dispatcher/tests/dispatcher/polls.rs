//! A provider that sends no reports is asked: by one process, until the message has ended, and again after
//! a restart.

use crate::{
    provider::{Answer, Provider, Received, answer},
    setup::{Running, message, until},
};
use postern_broker::{Address, Envelope};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::{Poll, Priority, State};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

fn config(url: &str) -> String {
    format!(
        "[backends.demo]\ntype = \"http\"\n[backends.demo.settings]\nkey = \"hush\"\n[backends.demo.send]\n\
         url = \"{url}/send\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n\
         external_id = \"/id\"\ntimeout = \"1m\"\nauth = {{ bearer = \"{{{{ settings.key }}}}\" }}\n[backends.demo.poll]\n\
         url = \"{url}/messages/{{{{ external_id }}}}\"\nquery = {{ to = \"{{{{ identity }}}}\" }}\n\
         params = {{ state = \"/status\", detail = \"/why\" }}\n\
         states = {{ Pending = \"sent\", Held = \"buffered\", Delivered = \"delivered\", Lost = \"undelivered\" }}\n\
         delays = [\"1m\", \"5m\", \"1h\"]\n"
    )
}

fn is_poll(request: &Received) -> bool {
    request.line.starts_with("GET /messages/")
}

/// A provider that gives ids, and answers each poll with the next of `answers`.
async fn provider(answers: Vec<Answer>) -> Provider {
    let (ids, answers) = (AtomicUsize::new(0), Mutex::new(answers.into_iter()));
    Provider::start(move |request| {
        if is_poll(request) {
            return answers.lock().unwrap().next().unwrap_or_else(|| answer(500, "asked too often"));
        }
        answer(200, &format!("{{\"id\":\"P{}\"}}", ids.fetch_add(1, Ordering::SeqCst) + 1))
    })
    .await
}

/// The polls that wait, each with its delay in seconds.
fn waiting(running: &Running) -> Vec<(Poll, u64)> {
    let read = |(address, envelope): (Address, Envelope)| {
        let Address::Later { queue, delay } = address else { panic!("{address:?}") };
        assert_eq!(queue.as_str(), "postern.polls.demo");
        (Poll::from_json(&envelope.body).unwrap(), delay.as_secs())
    };
    running.broker.delayed().into_iter().map(read).collect()
}

fn polled(running: &Running, outcome: &str) -> u64 {
    let line = format!("postern_polls_total{{backend=\"demo\",outcome=\"{outcome}\"}} ");
    let text = running.metrics.text();
    let value = text.lines().find_map(|found| found.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("no {line}: {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_provider_is_asked_until_it_tells_how_the_message_ended() {
    let answers = [
        answer(200, "{\"status\":\"Pending\"}"),
        answer(200, "{\"status\":\"held\",\"why\":\"off\"}"),
        answer(200, "{\"status\":\"Lost\",\"why\":\"no such number\"}"),
    ];
    let provider = provider(answers.into()).await;
    let running = Running::start(&config(&provider.url), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["+1555"])).await;
    let sent = running.reports(1).await.remove(0);
    let id = sent.recipients[0].external_id.clone().unwrap();
    running.idle().await;
    for (asked, outcome, reports, wait) in
        [(1, "unchanged", 1, Some(300)), (2, "changed", 2, Some(3600)), (3, "ended", 3, None)]
    {
        running.broker.pass_delays();
        until("poll", || polled(&running, outcome) == 1).await;
        running.idle().await;
        assert_eq!(running.reports(reports).await.len(), reports, "{outcome}");
        assert_eq!(waiting(&running).first().map(|(_, wait)| *wait), wait, "{outcome}");
        let polls: Vec<_> = provider.received().into_iter().filter(is_poll).collect();
        assert_eq!(polls.len(), asked);
        assert_eq!(polls[0].line, format!("GET /messages/{id}?to=%2B1555 HTTP/1.1"));
        assert_eq!(polls[0].header("authorization"), Some("Bearer hush"));
    }
    let last = running.reports(3).await.remove(2);
    assert_eq!((last.message_id, last.attempt), (sent.message_id, 0));
    let recipient = &last.recipients[0];
    assert_eq!((recipient.state, recipient.external_id.as_ref()), (State::Undelivered, Some(&id)));
    let reason = recipient.reason.clone().unwrap();
    assert_eq!((reason.code.as_str(), reason.detail.as_str()), ("Lost", "no such number"));
    running.stop().await;
}

/// The retry is published last: if the broker refused what comes after it, it would be stored twice, and sent twice.
#[tokio::test]
async fn a_poll_is_published_before_a_retry_of_the_same_message() {
    let provider = Provider::start(|request| match request.body.contains("1666") {
        true => answer(503, "later"),
        false => answer(200, "{\"id\":\"P1\"}"),
    })
    .await;
    let running = Running::start(&config(&provider.url), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["+1555", "+1666"])).await;
    running.reports(1).await;
    running.idle().await;
    let queue = |(address, _): (Address, Envelope)| match address {
        Address::Later { queue, .. } => queue.to_string(),
        other => panic!("{other:?}"),
    };
    let queues: Vec<_> = running.broker.delayed().into_iter().map(queue).collect();
    assert_eq!(queues, ["postern.polls.demo", "postern.outbound.demo"]);
    running.stop().await;
}

#[tokio::test]
async fn what_waits_is_asked_by_the_next_process_and_once() {
    let provider = provider(vec![answer(200, "{\"status\":\"Delivered\"}"); 2]).await;
    let running = Running::start(&config(&provider.url), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["+1555", "+1666"])).await;
    running.reports(1).await;
    running.idle().await;
    assert_eq!(waiting(&running).len(), 2);
    let broker = running.stop().await;
    // Two dispatchers share the broker.
    let [first, second] =
        [(); 2].map(|()| Running::on(broker.clone(), &config(&provider.url), &ConnectorRegistry::builtin()));
    broker.pass_delays();
    until("polls", || polled(&first, "ended") + polled(&second, "ended") == 2).await;
    first.idle().await;
    assert_eq!(first.reports(3).await.len(), 3);
    assert_eq!(provider.received().iter().filter(|request| is_poll(request)).count(), 2);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_poll_that_fails_is_made_again_and_reports_nothing() {
    let answers = [
        answer(404, "not yet"),
        Answer::Raw("HTTP/1.1 429 X\r\nRetry-After: 900\r\nContent-Length: 0\r\n\r\n".to_owned()),
        answer(200, "{}"),
    ];
    let provider = provider(answers.into()).await;
    let running = Running::start(&config(&provider.url), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["+1555"])).await;
    running.reports(1).await;
    running.idle().await;
    for (failed, wait) in [(1, 300), (2, 3600)] {
        running.broker.pass_delays();
        until("failed poll", || polled(&running, "failed") == failed).await;
        running.idle().await;
        assert_eq!(waiting(&running)[0].1, wait);
    }
    running.broker.pass_delays();
    until("last poll", || polled(&running, "given_up") == 1).await;
    running.idle().await;
    assert_eq!((waiting(&running).len(), running.reports(1).await.len()), (0, 1));
    let broken = Envelope { body: "{}".into(), ..Envelope::default() };
    let queue = postern_broker::QueueName::polls(&"demo".parse().unwrap());
    postern_broker::Broker::publish(&running.broker, vec![(Address::Queue(queue), broken)]).await.unwrap();
    assert_eq!(running.dead(1).await[0].text_header("x-postern-code"), Some("malformed"));
    running.stop().await;
}

#[tokio::test]
async fn a_drain_waits_for_the_polls_under_way_and_hands_back_the_rest() {
    let gate = Arc::new(Semaphore::new(0));
    let body = "{\"status\":\"Delivered\"}";
    let held = Answer::Gated(
        gate.clone(),
        format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
    );
    let provider = provider(vec![held; 9]).await;
    let running = Running::start(&config(&provider.url), &ConnectorRegistry::builtin());
    let many: Vec<String> = (0..6).map(|number| format!("+155{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    running.queue("demo", Priority::Normal, message(&many)).await;
    running.reports(1).await;
    running.idle().await;
    running.broker.pass_delays();
    let asked = || provider.received().iter().filter(|request| is_poll(request)).count();
    until("polls under way", || asked() == 4).await;
    running.drain();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    gate.add_permits(100);
    let broker = running.ended().await;
    assert_eq!(
        (asked(), broker.waiting("postern.reports").len(), broker.waiting("postern.polls.demo").len()),
        (4, 5, 2)
    );
}
