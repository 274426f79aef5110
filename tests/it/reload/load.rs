//! Many reloads while messages flow: nothing is lost, duplicated or refused.

use super::reload;
use postern_tests::{Answer, Launch, Program, Provider, Rabbit};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

const RELOADS: usize = 50;
/// The number of clients. Each sends and receives.
const CLIENTS: usize = 3;

/// The most messages under way: more would only wait.
const UNDER_WAY: usize = 100;

/// How often each text reached the provider or the webhook.
type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// A provider that takes a moment for each request, and counts the texts that it gets.
async fn counting(counts: &Counts) -> Provider {
    let provider = Provider::start().await;
    let counts = counts.clone();
    provider.otherwise(move |request| {
        let text = request.form().into_iter().find(|(name, _)| name == "text").map(|(_, text)| text);
        *counts.lock().unwrap().entry(text.unwrap_or_default()).or_default() += 1;
        Answer::ok("OK").after(Duration::from_millis(5))
    });
    provider.forget();
    provider
}

/// The configuration after reload `number`: addresses and limits change each time, the webhook and one backend
/// every other time.
fn config(provider: &Provider, number: usize) -> String {
    let odd = number % 2;
    let more = if odd == 1 { "[backends.more]\ntype = \"console\"\n" } else { "" };
    format!(
        "[ingress]\nmax_items = {items}\n[application]\ntype = \"webhook\"\nformat = \"form\"\nurl = \"{hook}\"\n\
         {more}[backends.still]\ntype = \"http\"\n[backends.still.send]\nurl = \"{still}\"\nform = {form}\n\
         [backends.clinic]\ntype = \"http\"\nconcurrency = {concurrency}\n[backends.clinic.send]\nurl = \"{send}\"\nform = {form}\n",
        items = 100 + number,
        hook = provider.url(&format!("/hook/{odd}")),
        still = provider.url("/still"),
        send = provider.url(&format!("/send/{number}")),
        concurrency = 4 + odd,
        form = "{ to = \"{{ identity }}\", text = \"{{ text }}\" }",
    )
}

/// The state that all clients share.
#[derive(Clone)]
struct Load {
    ends: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    counts: Counts,
}

impl Load {
    fn under_way(&self) -> usize {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.counts.lock().unwrap().len())
    }
}

/// Sends and receives through `ingress` until the load ends. Returns the accepted texts.
async fn client(address: String, name: String, load: Load) -> Vec<String> {
    let (http, mut accepted) = (postern_tests::http_client(), Vec::new());
    for number in 0.. {
        while load.under_way() >= UNDER_WAY && !load.ends.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if load.ends.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{name} {number}");
        let request = if name.starts_with("out") {
            let backend = if number % 2 == 0 { "clinic" } else { "still" };
            let body = json!({"backend": backend, "to": "+15550000001", "text": text});
            http.post(format!("{address}/v1/messages")).json(&body)
        } else {
            let form = [("identity", "+15550000002"), ("text", &text)];
            http.post(format!("{address}/backends/clinic")).form(&form)
        };
        let status = request.send().await.unwrap().status().as_u16();
        assert!(matches!(status, 200 | 202), "{text}: {status}");
        accepted.push(text);
        load.accepted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    accepted
}

/// Reloads all of `programs`, every third time by SIGHUP, while clients send and receive through the first.
async fn survives(programs: &[(&Launch, &Program)], config: impl Fn(usize) -> String, counts: &Counts) {
    let load = Load { ends: Arc::default(), accepted: Arc::default(), counts: counts.clone() };
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        for direction in ["out", "in"] {
            clients.spawn(client(programs[0].1.url(), format!("{direction} {number}"), load.clone()));
        }
    }
    for number in 1..=RELOADS {
        let config = config(number);
        for (launch, program) in programs {
            if number % 3 == 0 {
                launch.folder().write("postern.toml", &config);
                program.signal("HUP");
            } else {
                let (status, done) = reload(launch, program, &config).await;
                assert_eq!((status, done["unchanged"].as_u64()), (200, Some(1)), "{done}");
            }
            let changed = [("outcome", "changed")];
            program.metric_becomes("postern_config_reloads_total", &changed, number as f64).await;
        }
    }
    load.ends.store(true, Ordering::Relaxed);
    let accepted: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    println!("{RELOADS} reloads, {} messages", accepted.len());
    assert!(accepted.len() > RELOADS, "{} messages are no load", accepted.len());
    postern_tests::eventually("each text once", async || {
        let counts = counts.lock().unwrap();
        let missing: Vec<_> = accepted.iter().filter(|text| !counts.contains_key(*text)).take(5).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    let counts = counts.lock().unwrap();
    let doubled: Vec<_> = counts.iter().filter(|(_, times)| **times > 1).take(5).collect();
    assert!(doubled.is_empty() && counts.len() == accepted.len(), "{doubled:?}, {}", counts.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_under_load_on_the_embedded_broker() {
    let counts = Counts::default();
    let provider = counting(&counts).await;
    let launch = Launch::gateway().config(&config(&provider, 0));
    let gateway = launch.start().await;
    survives(&[(&launch, &gateway)], |number| config(&provider, number), &counts).await;
    gateway.ends_silent(&["+1555000"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_of_both_halves_under_load() {
    let counts = Counts::default();
    let provider = counting(&counts).await;
    let vhost = Rabbit::shared().vhost();
    let config = |number| vhost.config(&config(&provider, number));
    let (ingress, dispatcher) = (Launch::ingress(&config(0)), Launch::dispatcher(&config(0)));
    let (receiving, sending) = tokio::join!(ingress.start(), dispatcher.start());
    survives(&[(&ingress, &receiving), (&dispatcher, &sending)], config, &counts).await;
    tokio::join!(receiving.ends_silent(&["+1555000"]), sending.ends_silent(&["+1555000"]));
}
