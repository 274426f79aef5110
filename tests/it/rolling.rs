//! A rolling restart under load as docs/operations.md describes it: nothing is lost, duplicated or refused.

use postern_tests::{Answer, Launch, Program, Provider, Rabbit, Vhost, eventually, fetch};
use reqwest::Method;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The most messages under way.
const UNDER_WAY: usize = 100;

/// The address of an ingress, and the number of its unanswered requests.
type InService = (String, Arc<AtomicUsize>);

/// The ingresses that the load balancer sends requests to.
#[derive(Clone)]
struct Balancer(Arc<Mutex<Vec<InService>>>);

impl Balancer {
    fn new(ingresses: &[Program]) -> Self {
        let balancer = Self(Arc::default());
        ingresses.iter().for_each(|ingress| balancer.add(ingress));
        balancer
    }

    fn add(&self, ingress: &Program) {
        self.0.lock().unwrap().push((ingress.url(), Arc::default()));
    }

    /// The ingress for the `number`th request. The caller lowers its counter when the request is answered.
    fn choose(&self, number: usize) -> InService {
        let ingresses = self.0.lock().unwrap();
        let (url, open) = &ingresses[number % ingresses.len()];
        open.fetch_add(1, Ordering::SeqCst);
        (url.clone(), Arc::clone(open))
    }

    /// Stops sending to `ingress`, and waits until all its requests are answered.
    async fn take_out(&self, ingress: &Program) {
        let url = ingress.url();
        let open = {
            let mut ingresses = self.0.lock().unwrap();
            let place = ingresses.iter().position(|(known, _)| *known == url).unwrap();
            ingresses.remove(place).1
        };
        eventually("what was sent to an ingress is answered", async || match open.load(Ordering::SeqCst) {
            0 => Ok(()),
            open => Err(open),
        })
        .await;
    }
}

/// Restarts `program`, which `launch` started: the new one starts once the old one has drained.
async fn restarted(launch: &Launch, program: Program) -> Program {
    assert_eq!(program.terminate().await.code, Some(0));
    launch.start().await
}

#[tokio::test]
async fn a_rolling_restart_loses_doubles_and_refuses_nothing() {
    let vhost: Vhost = Rabbit::shared().vhost();
    let provider = Provider::start().await;
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    provider.otherwise(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Answer::ok("")
    });
    let config = vhost.config(&format!(
        "[api]\nkeys = []\n[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{}\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send")
    ));
    let launches = [Launch::ingress(&config), Launch::ingress(&config)];
    let hands = [Launch::dispatcher(&config), Launch::dispatcher(&config)];
    let mut ingresses = vec![launches[0].start().await, launches[1].start().await];
    let mut dispatchers = vec![hands[0].start().await, hands[1].start().await];
    let balancer = Balancer::new(&ingresses);

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients = (0..8).map(|client| {
        let (balancer, stop, asked) = (balancer.clone(), Arc::clone(&stop), Arc::clone(&asked));
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let http = postern_tests::http_client();
            let mut accepted = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // More messages would only wait.
                if asked.load(Ordering::Relaxed) > done.load(Ordering::Relaxed) + UNDER_WAY {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let text = format!("{client}-{number}");
                let (url, open) = balancer.choose(number);
                let request = http
                    .request(Method::POST, url + "/v1/messages")
                    .json(&json!({"backend": "x", "to": "+15550100", "text": text}));
                let reply = fetch(request).await.unwrap_or_else(|error| panic!("refused: {error:?}"));
                open.fetch_sub(1, Ordering::SeqCst);
                assert_eq!(reply.status, 202, "{}", reply.text);
                accepted.push(text);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            accepted
        })
    });
    let clients: Vec<_> = clients.collect();
    let sent = || provider.requests().len();
    let more = async |what: &str| {
        let before = sent();
        eventually(what, async || if sent() > before + 50 { Ok(()) } else { Err(sent() - before) }).await;
    };

    more("messages are sent").await;
    for (place, launch) in hands.iter().enumerate() {
        let old = dispatchers.remove(place);
        dispatchers.insert(place, restarted(launch, old).await);
        more("messages are sent after a dispatcher was restarted").await;
    }
    for (place, launch) in launches.iter().enumerate() {
        let old = ingresses.remove(place);
        balancer.take_out(&old).await;
        let new = restarted(launch, old).await;
        balancer.add(&new);
        ingresses.insert(place, new);
        more("messages are sent after an ingress was restarted").await;
    }

    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for client in clients {
        accepted.extend(client.await.unwrap());
    }
    accepted.sort();
    let mut sends = BTreeMap::new();
    eventually("every message is sent", async || {
        sends = BTreeMap::new();
        for request in provider.requests() {
            *sends.entry(request.json()["text"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        if sends.len() >= accepted.len() { Ok(()) } else { Err(accepted.len() - sends.len()) }
    })
    .await;
    assert_eq!(sends.keys().cloned().collect::<Vec<_>>(), accepted);
    let doubled: Vec<_> = sends.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}
