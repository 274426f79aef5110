//! Faulty behaviour of providers, and how it is classified.

use crate::{
    provider::{Answer, Provider, answer},
    setup::demo,
};
use postern_dispatcher::connectors::{
    Backend, Outcome,
    http::{ClientTls, Http},
};
use postern_shared::message::{Context, Identity, MessageId};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"id\":\"abcdefghijkl\"}";

async fn send(send: &str) -> Outcome {
    send_with(&Http::new(&demo(send), &ClientTls::default()).unwrap()).await
}

async fn send_with(http: &Http) -> Outcome {
    let identities: Vec<Identity> = vec!["+15551234567".parse().unwrap()];
    let outcomes = http.send(MessageId::new(), "pong", &identities, &Context::new()).await;
    outcomes.into_each(1).remove(0)
}

/// The outcome of a send to `url`, to which no connection is made in time. An attempt does not count if the
/// time of the whole request ran out as well, because this process stood still.
async fn connecting(url: &str) -> Outcome {
    const WHOLE: Duration = Duration::from_millis(600);
    let table = format!("url = \"{url}/\"\ntimeout = \"{}ms\"", WHOLE.as_millis());
    let http = Http::new(&demo(&table), &ClientTls::default()).unwrap();
    for _ in 0..10 {
        let begun = Instant::now();
        let outcome = send_with(&http).await;
        if begun.elapsed() < WHOLE {
            return outcome;
        }
    }
    panic!("no attempt ended before its whole time ran out")
}

/// The outcome as `sent ID`, or class and code.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(sent) => format!("sent {}", sent.external_id.as_deref().unwrap_or("-")),
        Err(failure) => format!("{} {}", failure.class.as_str(), failure.code),
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_unknown_and_one_that_is_enough_is_sent() {
    let body = "success = { status = [\"2xx\"], body = \"abcdefghijkl\" }";
    let half = &OK[..OK.len() - 8];
    let mut asked = JoinSet::new();
    for (does, more, expected) in [
        (Answer::Raw(OK.to_owned()), "", "sent abcdefghijkl"),
        (Answer::CloseUnread, "", "unknown no_answer"),
        (Answer::Last(String::new()), "", "unknown no_answer"),
        (Answer::Last("HTTP/1.1 200".to_owned()), "", "unknown no_answer"),
        (Answer::Last("SSH-2.0-OpenSSH\r\n".to_owned()), "", "unknown no_answer"),
        (Answer::Never, "", "unknown timeout"),
        (Answer::Drip(OK[..12].to_owned()), "", "unknown timeout"),
        // The status says that the message was accepted; only the rest of the id is missing.
        (Answer::Last(half.to_owned()), "", "sent -"),
        (Answer::Raw(half.to_owned()), "", "sent -"),
        (Answer::Last(half.to_owned()), body, "unknown answer_cut"),
        (Answer::Raw(half.to_owned()), body, "unknown answer_cut"),
        (answer(200, ""), body, "transient not_accepted"),
        // Sloppy, but an answer, which curl reads, too.
        (Answer::Raw(OK.replace("OK\r\n", "OK\r\nServer : Old/1.0\r\n")), body, "sent abcdefghijkl"),
        (Answer::Raw(OK.replace("OK\r\n", "OK\r\nX-Long: a\r\n  b\r\n")), body, "sent abcdefghijkl"),
        (Answer::Raw(OK.replace("OK\r\n", "OK\r\nno colon\r\n")), body, "sent abcdefghijkl"),
        (answer(200, "\u{feff}{\"id\":\"abcdefghijkl\"}"), "success.body = '^\\{\"id'", "sent abcdefghijkl"),
    ] {
        asked.spawn(async move {
            let provider = Provider::answering(does.clone()).await;
            let never_ends =
                expected == "unknown timeout" || matches!(&does, Answer::Raw(text) if *text == half);
            let timeout = if never_ends { "5s" } else { "1m" };
            let table = format!("external_id = \"/id\"\ntimeout = \"{timeout}\"\n{more}");
            let outcome = send(&format!("url = \"{}/send\"\n{table}", provider.url)).await;
            assert_eq!(told(&outcome), expected, "{does:?} {more}");
            assert_eq!(provider.received().len(), 1, "{does:?}: never sent twice by itself");
        });
    }
    asked.join_all().await;
}

#[tokio::test]
async fn without_a_connection_nothing_was_written() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, detail, reason) in [
        (format!("http://{free}/"), "refused", "connection refused"),
        ("http://no-such-host.invalid/".to_owned(), "", "unknown host"),
    ] {
        let outcome = send(&format!("url = \"{url}\"\ntimeout = \"5s\"")).await;
        assert_eq!(told(&outcome), "transient connect", "{url}");
        let failure = outcome.unwrap_err();
        assert!(failure.detail.contains(detail), "{failure:?}");
        let unreached = failure.unreached.unwrap();
        assert!(unreached.reason.starts_with(reason), "{unreached:?}");
        assert!(unreached.host.is_some_and(|host| url.contains(&host)), "{url}");
    }
    // The provider speaks no TLS: the handshake fails.
    let provider = Provider::answering(Answer::Last(OK.to_owned())).await;
    let outcome = connecting(&provider.url.replace("http:", "https:")).await;
    assert_eq!(told(&outcome), "transient connect");
    assert_eq!(outcome.unwrap_err().unreached.unwrap().reason, "connection timed out");
    assert!(provider.received().is_empty());
}

#[tokio::test]
async fn a_connection_that_takes_too_long_wrote_nothing() {
    // A listener whose queue is full takes no more connections.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        held.push(stream);
        assert!(held.len() < 100, "the system takes any number of connections");
    }
    assert_eq!(told(&connecting(&format!("http://{address}")).await), "transient connect");
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_meanwhile_or_soon_may_be_is_replaced() {
    let provider = Provider::answering(Answer::Last(OK.to_owned())).await;
    let http = Http::new(&demo(&format!("url = \"{}/\"", provider.url)), &ClientTls::default()).unwrap();
    for _ in 0..20 {
        let outcome = send_with(&http).await;
        assert!(
            ["sent -", "unknown no_answer"].contains(&told(&outcome).as_str()),
            "the close may overtake the next request, and then nobody knows: {outcome:?}"
        );
        // Time for the client to see that the connection was closed.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(provider.connections() >= 20);
    let kept = Provider::answering(Answer::Raw(OK.to_owned())).await;
    let http = Http::new(&demo(&format!("url = \"{}/\"", kept.url)), &ClientTls::default()).unwrap();
    for _ in 0..5 {
        assert_eq!(told(&send_with(&http).await), "sent -");
    }
    let before = kept.connections();
    assert!(before < 5, "a connection is used again at once");
    // As long as Gunicorn keeps it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told(&send_with(&http).await), "sent -");
    assert_eq!(kept.connections(), before + 1, "an unused one is not");
}

#[tokio::test]
async fn a_flood_is_not_read_to_its_end() {
    let flood = "x".repeat(70_000_000);
    let text = format!("HTTP/1.1 400 X\r\nContent-Length: {}\r\n\r\n{flood}", flood.len());
    let provider = Provider::answering(Answer::Raw(text)).await;
    let outcome = send(&format!("url = \"{}/\"", provider.url)).await;
    assert_eq!(told(&outcome), "permanent http_400");
    assert_eq!(outcome.unwrap_err().detail.chars().count(), 201);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Provider::answering(answer(200, "")).await;
    let location = elsewhere.url.clone();
    let moved = format!("HTTP/1.1 307 X\r\nLocation: {location}/\r\nContent-Length: 0\r\n\r\n");
    let provider = Provider::answering(Answer::Raw(moved)).await;
    let outcome = send(&format!("url = \"{}/\"", provider.url)).await;
    assert_eq!(told(&outcome), "config http_307");
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn what_the_provider_echoes_holds_none_of_our_secrets() {
    let provider =
        Provider::start(|request| answer(400, &format!("{}\n{:?}", request.line, request.headers))).await;
    let outcome = send(&format!(
        "url = \"{}/bot-of-ours/send?token=t0ken\"\nquery = {{ key = \"sesame street\", pin = \"{{{{ settings.pin }}}}\" }}\n\
         auth = {{ basic = {{ username = \"user-of-ours\", password = \"hush-hush\" }} }}\n\
         [backends.demo.settings]\npin = \"p&q=r/s\"",
        provider.url
    ))
    .await;
    let detail = outcome.unwrap_err().detail;
    let request = &provider.received()[0];
    let token = request.header("authorization").unwrap().strip_prefix("Basic ").unwrap().to_owned();
    assert!(request.line.contains("sesame+street") && request.line.contains("p%26q%3Dr%2Fs"), "{request:?}");
    for secret in ["sesame", "p%26q", "hush", "bot-of-ours", "t0ken", &token] {
        assert!(!detail.contains(secret), "{secret} in {detail}");
    }
    assert!(detail.contains("[REDACTED]") && !detail.contains('\n'), "{detail}");
}
