//! How fast messages are sent: rates that several dispatchers share, lanes, and providers that are down.
#![allow(clippy::print_stderr, reason = "the figures, for whoever runs a test with --nocapture")]

use crate::reports::course;
use postern_tests::{
    Answer, Gate, Launch, Pair, Program, Provider, Rabbit, Request, Vhost, eventually, free_port,
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The time and the recipient of each request.
type Arrivals = Arc<Mutex<Vec<(Instant, String)>>>;

async fn noting() -> (Provider, Arrivals) {
    noting_for(Arc::default()).await
}

/// Like [`noting`], but each answer comes after `latency` milliseconds.
async fn noting_for(latency: Arc<AtomicU64>) -> (Provider, Arrivals) {
    let provider = Provider::start().await;
    let arrivals = Arrivals::default();
    let noted = arrivals.clone();
    provider.otherwise(move |request: &Request| {
        let to = request.form().first().map(|(_, to)| to.clone()).unwrap_or_default();
        noted.lock().unwrap().push((request.at, to));
        Answer::ok("").after(Duration::from_millis(latency.load(Ordering::Relaxed)))
    });
    (provider, arrivals)
}

fn backend(url: &str, own: &str) -> String {
    format!(
        "[retry]\ndelays = [\"1s\", \"1s\"]\n[backends.x]\ntype = \"http\"\n{own}\n[backends.x.send]\nurl = \"{url}\"\n\
         form = {{ to = \"{{{{ identity }}}}\" }}\n"
    )
}

/// How many requests came within `window` after `from`. Waits until the window is over.
async fn arrived(arrivals: &Arrivals, from: Instant, window: Duration) -> f64 {
    tokio::time::sleep((from + window).saturating_duration_since(Instant::now())).await;
    let arrivals = arrivals.lock().unwrap();
    let within = arrivals.iter().filter(|(at, _)| (from..from + window).contains(at)).count();
    f64::from(u32::try_from(within).unwrap())
}

/// Low enough that two cores can keep it while they do much else; what a process could not send in the last second,
/// because it did not get the processor, it may send later.
const LIMIT: f64 = 10.0;
const WINDOW: Duration = Duration::from_secs(6);
/// How long the requests take that were already permitted under another share.
const SETTLED: Duration = Duration::from_secs(3);

/// Waits until each of `programs` has its share of the limit. At least one of five windows must come near the limit
/// and not exceed it. A busy machine may spoil the others in both directions, since requests count when the provider
/// comes to read them; programs that did not share the limit would exceed it in each window.
async fn keep_the_limit(arrivals: &Arrivals, programs: &[&Program], who: &str) {
    let share = LIMIT / f64::from(u32::try_from(programs.len()).unwrap());
    for program in programs {
        program.metric_becomes("postern_rate_share", &[("backend", "x")], share).await;
    }
    tokio::time::sleep(SETTLED).await;
    let mut ratios = Vec::new();
    while ratios.len() < 5 {
        let ratio = arrived(arrivals, Instant::now(), WINDOW).await / (LIMIT * WINDOW.as_secs_f64());
        eprintln!("{who}: {:.1} % of the limit", ratio * 100.0);
        if (0.7..=1.2).contains(&ratio) {
            return;
        }
        ratios.push(ratio);
    }
    panic!("{who}: {ratios:?} of the limit");
}

#[tokio::test]
async fn dispatchers_that_come_and_go_keep_one_limit_together() {
    let (provider, arrivals) = noting().await;
    let vhost = Rabbit::shared().vhost();
    // One recipient a message: a message with many is sent by one process alone.
    let rate = format!("rate = {{ limit = \"{LIMIT}/s\", burst = {LIMIT} }}");
    let config = vhost.config(&(backend(&provider.url("/send"), &rate) + "batch = 1\n"));
    let ingress = Launch::ingress(&config).start().await;
    for part in 0..2 {
        let all: Vec<_> = (0..1_000).map(|n| format!("+{}", part * 1_000 + n)).collect();
        post(&ingress, &json!({"backend": "x", "identities": all, "text": "hi"})).await;
    }
    let launch = || Launch::dispatcher(&config);
    let first = launch().start().await;
    let begun = Instant::now();
    keep_the_limit(&arrivals, &[&first], "one").await;
    let second = launch().start().await;
    keep_the_limit(&arrivals, &[&first, &second], "two").await;
    let others = [launch(), launch(), launch()];
    let (third, fourth, fifth) = tokio::join!(others[0].start(), others[1].start(), others[2].start());
    keep_the_limit(&arrivals, &[&first, &second, &third, &fourth, &fifth], "five").await;
    second.kill();
    third.terminate().await;
    let left = [&first, &fourth, &fifth];
    keep_the_limit(&arrivals, &left, "three, after one was killed and one drained").await;
    let sixth = launch().start().await;
    keep_the_limit(&arrivals, &[&left[..], &[&sixth]].concat(), "four, after one was started").await;
    let whole = begun.elapsed();
    let ratio = arrived(&arrivals, begun, whole).await / (LIMIT * whole.as_secs_f64());
    eprintln!("all of it, with every change: {:.1} % of the limit", ratio * 100.0);
    assert!(ratio <= 1.1, "{ratio}");
}

async fn post(gateway: &Program, body: &Value) {
    let reply = gateway.post_json("/v1/messages", body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}

#[tokio::test]
async fn a_one_time_code_does_not_wait_behind_a_campaign_of_tens_of_thousands() {
    for batch in [1, 100] {
        let (provider, arrivals) = noting().await;
        let config = backend(&provider.url("/send"), "rate = \"50/s\"") + &format!("batch = {batch}\n");
        let gateway = Launch::gateway().config(&config).start().await;
        for part in 0..20 {
            let all: Vec<_> = (0..1_000).map(|n| format!("+{}", part * 1_000 + n)).collect();
            let body = json!({"backend": "x", "identities": all, "text": "buy", "priority": "bulk"});
            post(&gateway, &body).await;
        }
        let count = || arrivals.lock().unwrap().len();
        eventually("the campaign to go on", async || if count() > 20 { Ok(()) } else { Err(count()) }).await;
        let mut waits = Vec::new();
        for n in 0..10 {
            let (begun, to) = (Instant::now(), format!("code-{n}"));
            post(&gateway, &json!({"backend": "x", "to": to, "text": "1234"})).await;
            let find =
                || arrivals.lock().unwrap().iter().rev().find(|(_, who)| *who == to).map(|(at, _)| *at);
            let at = eventually("the code", async || find().ok_or("not yet")).await;
            waits.push(at - begun);
        }
        waits.sort();
        eprintln!("{batch} recipients a message: a code waits {:?}, at most {:?}", waits[5], waits[9]);
        assert!(waits[5] < Duration::from_secs(5), "{batch}: {waits:?}");
        // Bulk messages are still sent.
        let before = count();
        eventually(
            "more of the campaign",
            async || if count() > before + 20 { Ok(()) } else { Err(count()) },
        )
        .await;
    }
}

async fn dispatcher(vhost: &Vhost, url: &str, own: &str) -> Program {
    Launch::dispatcher(&vhost.config(&backend(url, own))).start().await
}

#[tokio::test]
async fn a_provider_that_is_down_is_waited_for_and_not_one_message_dies() {
    let port = free_port();
    let vhost = Rabbit::shared().vhost();
    let own = "concurrency = 4\nbreaker = { failures = 5, pause = \"500ms\", max_pause = \"2s\" }";
    let config = backend(&format!("http://127.0.0.1:{port}/send"), own).replace("\"1s\"", "\"200ms\"");
    let x = Launch::dispatcher(&vhost.config(&config)).start().await;
    let tap = vhost.tap().await;
    for n in 0..300 {
        tap.send(&json!({"backend": "x", "identities": [format!("+{n}")], "text": "hi"})).await;
    }
    let labels = [("backend", "x")];
    x.metric_becomes("postern_breaker_open", &labels, 1.0).await;
    let ready = eventually("the pause in /readyz", async || {
        let reply = x.ready().await.map_err(|error| error.to_string())?;
        if reply.text.contains("backend x is paused") { Ok(reply) } else { Err(reply.text) }
    })
    .await;
    assert_eq!(ready.status, 200, "the process is ready: {}", ready.text);
    assert!(ready.text.starts_with("ready\n") && ready.text.contains("connect"), "{}", ready.text);
    // No dispatcher holds waiting messages back from another one.
    eventually("the messages to be back in the queue", async || {
        match tap.depth("postern.outbound.x").await {
            Ok(depth) if depth >= 285 => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    // Without the breaker, all would be dead-lettered by now: a message has three attempts, 200 ms apart.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tap.depth_becomes("postern.dead", 0).await;
    assert_eq!(
        x.metrics().await.value("postern_breaker_opened_total", &labels),
        1.0,
        "failed probes are no news"
    );
    let provider = Provider::start_on(port).await;
    provider.otherwise(|_| Answer::ok(""));
    let sent = [("backend", "x"), ("outcome", "sent")];
    x.metric_becomes("postern_dispatch_messages_total", &sent, 300.0).await;
    x.metric_becomes("postern_breaker_open", &labels, 0.0).await;
    tap.depth_becomes("postern.dead", 0).await;
    assert_eq!(x.ready().await.unwrap().text, "ready\n");
    let log = x.terminate().await.log;
    for (line, times) in [("the provider is down", 1), ("the provider is back", 1)] {
        assert_eq!(log.matches(line).count(), times, "{line}");
    }
}

#[tokio::test]
async fn one_process_says_of_its_backend_that_it_pauses() {
    let url = format!("http://127.0.0.1:{}/", free_port());
    let own = "breaker = { failures = 1, pause = \"1m\" }";
    let gateway = Launch::gateway().config(&backend(&url, own)).start().await;
    let state = async || gateway.get("/v1/backends").await.json()["backends"][0]["state"].clone();
    eventually("ready", async || if state().await == "ready" { Ok(()) } else { Err(state().await) }).await;
    post(&gateway, &json!({"backend": "x", "to": "+1", "text": "hi"})).await;
    eventually("paused", async || if state().await == "paused" { Ok(()) } else { Err(state().await) }).await;
    let backend = gateway.get("/v1/backends").await.json()["backends"][0].clone();
    assert!(backend["reason"].as_str().is_some_and(|why| why.contains("connect")), "{backend}");
}

/// How many retries wait is known only for all backends together: for one of several it is null, not 0.
#[tokio::test]
async fn an_ingress_says_of_a_backend_that_its_dispatcher_in_another_process_pauses() {
    let (vhost, url) = (Rabbit::shared().vhost(), format!("http://127.0.0.1:{}/", free_port()));
    let own = "breaker = { failures = 1, pause = \"1m\" }";
    let config = backend(&url, own).replace("\"1s\"", "\"1h\"") + "[backends.idle]\ntype = \"console\"\n";
    let (ingress, dispatcher) = Pair::services(&vhost.config(&config)).await;
    let shows = async |state: &str| {
        eventually(state, async || {
            let shown = ingress.get("/v1/backends").await.json()["backends"][1].clone();
            if shown["state"] == state { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await
    };
    assert_eq!(shows("ready").await["retrying"], 0);
    post(&ingress, &json!({"backend": "x", "to": "+1", "text": "hi"})).await;
    let shown = shows("paused").await;
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.starts_with("is paused: ") && reason.contains("connect"), "{shown}");
    assert_eq!((&shown["queued"], &shown["retrying"]), (&json!(0), &Value::Null), "{shown}");
    // An ingress that starts later learns of it, too.
    let later = Launch::ingress(&vhost.config(&config)).start().await;
    eventually("a later ingress", async || {
        let shown = later.get("/v1/backends").await.json()["backends"][1].clone();
        if shown["state"] == "paused" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(dispatcher.terminate().await.code, Some(0));
    shows("unserved").await;
}

#[tokio::test]
async fn a_throttled_backend_goes_on_slowly_and_its_messages_keep_their_attempts() {
    let vhost = Rabbit::shared().vhost();
    let provider = Provider::start().await;
    let refused = Answer::status(429).header("Retry-After", "1");
    provider.script([refused.clone(), refused.clone(), refused]);
    let x = dispatcher(&vhost, &provider.url("/send"), "concurrency = 1").await;
    let tap = vhost.tap().await;
    provider.otherwise(|_| Answer::ok(""));
    tap.send(&json!({"backend": "x", "identities": ["+1"], "text": "hi"})).await;
    let wanted = json!([
        ["retrying", 1, "throttled"],
        ["retrying", 1, "throttled"],
        ["retrying", 1, "throttled"],
        ["sent", 1, null]
    ]);
    assert_eq!(json!(course(&tap, 4).await), wanted);
    x.metric_becomes("postern_throttled_total", &[("backend", "x")], 3.0).await;
    x.metric_becomes("postern_breaker_opened_total", &[("backend", "x")], 0.0).await;
}

const BACKENDS: usize = 100;
/// The requests a second that each backend's provider accepts.
const EACH: f64 = 0.2;

#[tokio::test]
async fn one_hanging_backend_among_a_hundred_takes_nothing_from_the_others() {
    let (provider, arrivals) = noting().await;
    let hanging = Provider::start().await;
    hanging.otherwise(|_| Answer::ok("").held(&Gate::closed()));
    let mut config = String::new();
    for n in 0..BACKENDS {
        let url = if n == 0 { hanging.url("/send") } else { provider.url("/send") };
        let own = format!("rate = {{ limit = \"{}/min\", burst = 1 }}", EACH * 60.0);
        let rate = if n == 0 { "" } else { own.as_str() };
        config += &format!(
            "[backends.b{n}]\ntype = \"http\"\n{rate}\n[backends.b{n}.send]\nurl = \"{url}\"\nbatch = 1\n\
             timeout = \"2m\"\nform = {{ to = \"{{{{ identity }}}}\" }}\n"
        );
    }
    let gateway = Launch::gateway().config(&config).start().await;
    let fill = async |backend: usize, number: usize| {
        let all: Vec<_> = (0..number).map(|n| format!("+{n}")).collect();
        post(&gateway, &json!({"backend": format!("b{backend}"), "identities": all, "text": "hi"})).await;
    };
    // Enough for five windows, which take ten messages of each backend, and for 100 seconds before them.
    for n in 1..BACKENDS {
        fill(n, 30).await;
    }
    fill(0, 1_000).await;
    hanging.wait_for(64).await;
    gateway.metric_becomes("postern_dispatch_in_flight", &[("backend", "b0")], 64.0).await;
    let window = Duration::from_secs(10);
    let permitted = window.as_secs_f64() * EACH * f64::from(u32::try_from(BACKENDS - 1).unwrap());
    let mut ratio = 0.0;
    // A machine that stands still spoils a window; a backend that takes from the others would spoil each.
    for _ in 0..5 {
        ratio = arrived(&arrivals, Instant::now(), window).await / permitted;
        eprintln!("while one backend hangs: {:.1} % of what the others may send", ratio * 100.0);
        if ratio > 0.8 {
            break;
        }
    }
    assert!(ratio > 0.8, "{ratio}");
    assert_eq!(hanging.requests().len(), 64, "its own concurrency is what it has");
}

/// Two backends whose providers answer after 200 ms and later after 600 ms. One has a fixed `concurrency`; the
/// other may go up to four times as high if that sends more. Few enough requests a second that two cores can make
/// them while they do much else: otherwise the machine is what limits both.
#[tokio::test]
async fn a_concurrency_that_follows_the_provider_beats_a_fixed_one() {
    let latency = Arc::new(AtomicU64::new(200));
    let (fixed, at_fixed) = noting_for(latency.clone()).await;
    let (following, at_following) = noting_for(latency.clone()).await;
    let mut config = String::new();
    for (name, provider, own) in [("fixed", &fixed, ""), ("following", &following, "concurrency_max = 16\n")]
    {
        config += &format!(
            "[backends.{name}]\ntype = \"http\"\nconcurrency = 4\n{own}[backends.{name}.send]\nurl = \"{}\"\n\
             batch = 1\nform = {{ to = \"{{{{ identity }}}}\" }}\n",
            provider.url("/send")
        );
    }
    let gateway = Launch::gateway().config(&config).start().await;
    for (backend, thousands) in [("fixed", 2), ("following", 4)] {
        for part in 0..thousands {
            let all: Vec<_> = (0..1_000).map(|n| format!("+{}", part * 1_000 + n)).collect();
            post(&gateway, &json!({"backend": backend, "identities": all, "text": "hi"})).await;
        }
    }
    let metric = "postern_dispatch_concurrency";
    gateway.metric_reaches(metric, &[("backend", "following")], 8.0).await;
    latency.store(600, Ordering::Relaxed);
    gateway.metric_reaches(metric, &[("backend", "following")], 12.0).await;
    let from = Instant::now() + Duration::from_secs(1);
    let window = Duration::from_secs(6);
    let (with, without) =
        tokio::join!(arrived(&at_following, from, window), arrived(&at_fixed, from, window));
    eprintln!("600 ms: {with} in 6 s following the provider, {without} with a fixed number");
    assert!(with > 1.5 * without, "{with} and {without}");
    assert_eq!(gateway.metrics().await.value(metric, &[("backend", "fixed")]), 4.0);
}

#[tokio::test]
async fn a_rate_is_checked_with_the_configuration() {
    for (rate, says) in
        [("\"50/fortnight\"", "100/min"), ("{ limit = \"50/s\", bursts = 1 }", "limit, burst, count")]
    {
        let config = backend("http://127.0.0.1:9/", &format!("rate = {rate}"));
        let ended = Launch::gateway().arg("check").config(&config).run().await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        assert!(
            ended.log.contains("postern.toml: line 5: backends.x.rate") && ended.log.contains(says),
            "{}",
            ended.log
        );
    }
}
