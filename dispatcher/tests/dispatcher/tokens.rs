//! Access tokens by OAuth 2.0: fetched once for all requests that wait, used, renewed, and what is reported
//! if there is none.

use crate::{
    provider::{Answer, Provider, Received, answer},
    setup::demo,
};
use postern_dispatcher::connectors::{
    Backend,
    http::{ClientTls, Http},
};
use postern_shared::{
    error::{Failure, FailureClass},
    message::{Context, Identity},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

const ID: &str = "0199b2a5-0000-7000-8000-000000000001";

/// A backend at `provider` that uses access tokens.
fn backend(provider: &Provider) -> Http {
    with_timeout(provider, "10s")
}

fn with_timeout(provider: &Provider, timeout: &str) -> Http {
    let url = &provider.url;
    let table = format!(
        "url = \"{url}/send\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\ntimeout = \"{timeout}\"\n\
         auth = {{ oauth2 = {{ token_url = \"{url}/token\", client_id = \"id-7\", client_secret = \"hush-secret\" }} }}\n"
    );
    Http::new(&demo(&table), &ClientTls::default()).unwrap()
}

async fn send(http: &Http) -> Result<(), Failure> {
    let identity: Identity = "+1555".parse().unwrap();
    let outcomes = http.send(ID.parse().unwrap(), "hi", &[identity], &Context::default()).await;
    outcomes.into_each(1).remove(0).map(|_| ())
}

fn asks_for_token(request: &Received) -> bool {
    request.line.starts_with("POST /token ")
}

/// The number of requests for tokens, and the `Authorization` of each other request.
fn seen(provider: &Provider) -> (usize, Vec<String>) {
    let (tokens, sends): (Vec<_>, Vec<_>) = provider.received().into_iter().partition(asks_for_token);
    for request in &tokens {
        assert_eq!(request.header("authorization"), Some("Basic aWQtNzpodXNoLXNlY3JldA=="));
        assert_eq!(request.body, "grant_type=client_credentials");
    }
    let shown = |request: &Received| request.header("authorization").unwrap_or_default().to_owned();
    (tokens.len(), sends.iter().map(shown).collect())
}

/// A provider whose tokens are `token-1`, `token-2` …, each valid for `seconds`. It answers every message
/// with what `judge` makes of its `Authorization`.
async fn provider(seconds: &'static str, judge: fn(&str) -> Answer) -> Provider {
    let tokens = AtomicUsize::new(0);
    Provider::start(move |request| {
        if asks_for_token(request) {
            let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(200, &format!("{{\"access_token\":\"token-{number}\",\"expires_in\":{seconds}}}"));
        }
        judge(request.header("authorization").unwrap_or_default())
    })
    .await
}

#[tokio::test]
async fn one_token_is_fetched_for_all_who_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let (held, tokens) = (gate.clone(), AtomicUsize::new(0));
    let provider = Provider::start(move |request| {
        if !asks_for_token(request) {
            return answer(200, "");
        }
        let number = tokens.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{{\"access_token\":\"token-{number}\",\"expires_in\":3600}}");
        let whole = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Answer::Gated(held.clone(), whole)
    })
    .await;
    let http = Arc::new(backend(&provider));
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let http = http.clone();
        sends.spawn(async move { send(&http).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.add_permits(100);
    while let Some(sent) = sends.join_next().await {
        sent.unwrap().unwrap();
    }
    assert_eq!(seen(&provider), (1, vec!["Bearer token-1".to_owned(); 20]));
}

#[tokio::test]
async fn a_token_in_the_last_quarter_of_its_life_is_renewed() {
    let provider = provider("1", |_| answer(200, "")).await;
    let http = backend(&provider);
    send(&http).await.unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    send(&http).await.unwrap();
    let shown = ["1", "2"].map(|number| format!("Bearer token-{number}"));
    assert_eq!(seen(&provider), (2, shown.to_vec()));
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_request_made_once_more() {
    let judge = |shown: &str| answer(if shown.ends_with("-1") { 401 } else { 200 }, "");
    let provider = provider("3600", judge).await;
    let http = backend(&provider);
    send(&http).await.unwrap();
    send(&http).await.unwrap();
    let shown = ["1", "2", "2"].map(|number| format!("Bearer token-{number}"));
    assert_eq!(seen(&provider), (2, shown.to_vec()));
}

#[tokio::test]
async fn a_refusal_of_every_token_is_told_without_the_token() {
    let provider = provider("3600", |shown| answer(401, &format!("what is {shown}?"))).await;
    let failure = send(&backend(&provider)).await.unwrap_err();
    let told = (failure.class, &*failure.code, failure.detail.as_str());
    assert_eq!(told, (FailureClass::Config, "http_401", "what is Bearer [REDACTED]?"));
    assert_eq!(seen(&provider).0, 2);
    assert_eq!(seen(&provider).1, ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_class_says_why() {
    for (given, class, code, detail) in [
        (answer(503, "later"), FailureClass::Transient, "token_http_503", "the token endpoint: later"),
        (answer(429, ""), FailureClass::Throttled, "token_http_429", "the token endpoint"),
        (
            answer(400, "{\"error\":\"invalid_client\",\"for\":\"hush-secret\"}"),
            FailureClass::Config,
            "token_refused",
            "the token endpoint refused send.auth.oauth2 (http_400): \
             {\"error\":\"invalid_client\",\"for\":\"[REDACTED]\"}",
        ),
        (
            answer(401, ""),
            FailureClass::Config,
            "token_refused",
            "the token endpoint refused send.auth.oauth2 (http_401)",
        ),
        (
            answer(200, "<html>"),
            FailureClass::Config,
            "token_missing",
            "the token endpoint answered without an access_token",
        ),
        (
            Answer::Never,
            FailureClass::Transient,
            "token_timeout",
            "the token endpoint: no answer within the timeout",
        ),
    ] {
        let timeout = if matches!(given, Answer::Never) { "1s" } else { "10s" };
        let provider = Provider::answering(given).await;
        let http = Arc::new(with_timeout(&provider, timeout));
        // Requests that wait for one fetch do not repeat it.
        let (first, second) = tokio::join!(send(&http), send(&http));
        for failure in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!((failure.class, &*failure.code), (class, code));
            let timed_out = code == "token_timeout";
            assert!(timed_out || failure.detail == detail, "{code}: {}", failure.detail);
            assert!(failure.says_down() == (class == FailureClass::Transient), "{code}");
        }
        assert_eq!(seen(&provider), (1, Vec::new()), "{code}");
    }
    let nobody = Provider::answering(Answer::Never).await;
    let http = backend(&nobody);
    drop(nobody);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let failure = send(&http).await.unwrap_err();
    assert_eq!((failure.class, &*failure.code), (FailureClass::Transient, "token_connect"));
    assert_eq!(failure.unreached.unwrap().reason, "connection refused");
}
