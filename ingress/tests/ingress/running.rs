//! Starting, the ports, the drain.

use crate::{
    client,
    server::{Running, config},
};
use postern_broker::memory::MemoryBroker;
use postern_ingress::{
    Ingress,
    forms::{Cleaned, Errors, Form, Forms, Request},
};
use postern_service::{Monitoring, heartbeat::Heartbeats, metrics::Metrics};
use std::{
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEMO: &str = "[backends.demo]\ntype = \"http\"\n";

fn start_error(text: &str) -> String {
    let forms = Forms::builtin();
    let config = Arc::new(config(text, &forms));
    let monitoring = Monitoring::new(Metrics::new("test", "0").unwrap());
    Ingress::bind(config, Arc::<MemoryBroker>::default(), monitoring, &forms).unwrap_err().to_string()
}

#[tokio::test]
async fn what_cannot_start_names_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let why = start_error(&format!("[api]\nlisten = \"{address}\"\n"));
    assert!(
        why.contains(&format!("api.listen: cannot listen on {address}"))
            && why.contains("in use")
            && why.contains("set api.listen to another port"),
        "{why}"
    );
    let why = start_error(
        "[backends.a]\ntype = \"http\"\nreceive = { fields = { n = { type = \"integer\", default = \"x\" } } }\n\
         [backends.b]\ntype = \"http\"\nreceive = { reply = { status = 204, body = \"no\" } }\n\
         [backends.c]\ntype = \"http\"\nreceive = { reply = { content_type = \"a\\nb\" } }\n",
    );
    for key in [
        "backends.a.receive.fields.n.default: ",
        "backends.b.receive.reply.body: ",
        "backends.c.receive.reply.content_type: ",
    ] {
        assert!(why.contains(key), "{key} is not in {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_port_of_its_own_the_api_is_nowhere_else() {
    let server = Running::start(&format!("[api]\nlisten = \"127.0.0.1:0\"\n{DEMO}")).await;
    assert_ne!(server.address, server.api);
    for (address, path, status) in [
        (server.address, "/backends/demo?identity=1&text=a", 200),
        (server.api, "/backends/demo?identity=1&text=a", 404),
        (server.address, "/v1/backends", 404),
        (server.api, "/v1/backends", 200),
        (server.address, "/openapi.json", 200),
        (server.api, "/openapi.json", 200),
        (server.address, "/health", 200),
        (server.api, "/health", 200),
    ] {
        let answer = client::send(address, &client::written("GET", path, &[], b"")).await;
        assert_eq!(answer.status, status, "{address} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_is_in_flight_and_closes_what_is_idle() {
    let server = Running::start(DEMO).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /backends/demo?identity=1&text=a HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");

    server.broker.held.send_replace(true);
    let request = client::written("GET", "/backends/demo?identity=1&text=b", &[], b"");
    let address = server.address;
    let in_flight = tokio::spawn(async move { client::send(address, &request).await });
    server.broker.begun.subscribe().wait_for(|begun| *begun == 2).await.unwrap();
    server.trigger.drain();
    // The idle connection ends while the other still waits for the broker.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(!in_flight.is_finished() && !server.ended.is_finished());
    server.broker.held.send_replace(false);
    assert_eq!(in_flight.await.unwrap().status, 200);
    assert!(server.ended.await.unwrap().unwrap(), "everything was answered");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    assert_eq!(server.broker.take().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_learns_that_the_drain_has_begun_and_nothing_else() {
    let rate = "[ingress]\nrate_limit = { per_address = \"1/h\", burst = 2 }\n";
    let server = Running::start(&format!("{rate}{DEMO}")).await;
    assert_eq!(server.get("/nowhere").await.status, 404);
    let refused = server.method("POST", "/health").await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    let head = server.method("HEAD", "/health").await;
    assert_eq!((head.status, &*head.body), (200, ""), "some load balancers ask so");
    for _ in 0..5 {
        let answer = server.get("/health").await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok\n"),
            "no address exceeds a rate by probes"
        );
    }
    assert_eq!(server.get("/nowhere").await.status, 429);
    assert!(!server.metrics.text().contains("status=\"200\""), "a probe is no request that counts");

    server.trigger.drain();
    // Until the port is closed, every answer is this one.
    let request = client::written("GET", "/health", &[], b"");
    while let Ok(mut stream) = TcpStream::connect(server.address).await {
        let mut answer = String::new();
        let asked = async {
            stream.write_all(&request).await?;
            stream.read_to_string(&mut answer).await
        };
        if asked.await.is_ok() && !answer.is_empty() {
            assert!(
                answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n"),
                "{answer}"
            );
        }
    }
    assert!(server.ended.await.unwrap().unwrap());
}

/// A form that holds up its thread until the other end is dropped.
struct Blocking(Arc<Mutex<mpsc::Receiver<()>>>);

impl Form for Blocking {
    fn clean(&self, _: &Request<'_>) -> Result<Cleaned, Errors> {
        let _ = self.0.lock().unwrap().recv();
        Err(Errors::whole("held up"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_is_held_up_gives_no_sign_of_life() {
    let (release, held) = mpsc::sync_channel::<()>(0);
    let held = Arc::new(Mutex::new(held));
    let forms = Forms::builtin().with("blocking", move |_| Ok(Blocking(held.clone()))).unwrap();
    let heartbeats = Heartbeats::every(Duration::from_millis(5));
    let text = "[backends.demo]\ntype = \"http\"\n[backends.demo.receive]\nform = \"blocking\"\n";
    let server = Running::with(text, forms, |monitoring| monitoring.heartbeats = heartbeats.clone()).await;
    let silent = async |wanted: &[&str]| {
        let begun = Instant::now();
        while heartbeats.silent(Instant::now() - Duration::from_millis(200)) != wanted {
            assert!(begun.elapsed().as_secs() < 60, "it is not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(server.get("/health").await.status, 200);
    silent(&[]).await;
    let address = server.address;
    let request = client::written("GET", "/backends/demo?identity=1&text=a", &[], b"");
    let asked = tokio::spawn(async move { client::send(address, &request).await });
    silent(&["ingress listener"]).await;
    drop(release);
    assert_eq!(asked.await.unwrap().status, 400);
    silent(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline() {
    let server = Running::start(&format!("[shutdown]\ndeadline = \"300ms\"\n{DEMO}")).await;
    server.broker.held.send_replace(true);
    let request = client::written("GET", "/backends/demo?identity=1&text=a", &[], b"");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    server.broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    let start = Instant::now();
    server.trigger.drain();
    assert!(!server.ended.await.unwrap().unwrap(), "one was not answered");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300) && took.as_secs() < 20, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_labels_of_closed_sets_only() {
    let server = Running::start(DEMO).await;
    server.get("/nowhere/secret-path").await;
    server.method("BREW", "/backends/demo").await;
    server.get("/backends/unknown").await;
    let text = server.metrics.text();
    for line in [
        "postern_ingress_requests_total{backend=\"\",compat=\"\",method=\"GET\",status=\"404\"} 2",
        "postern_ingress_requests_total{backend=\"demo\",compat=\"\",method=\"other\",status=\"405\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("secret-path") && !text.contains("BREW") && !text.contains("unknown"));
}
