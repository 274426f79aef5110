//! The attacks. Each lasts until it is dropped, connects again when it is disconnected, and uses little CPU
//! itself, since the load of the programs is measured.

use crate::field::Field;
use futures_util::future::join_all;
use lapin::types::{AMQPValue, FieldTable};
use postern_tests::{Properties, Tap, Vhost, fetch, http_client};
use serde_json::json;
use std::{convert::Infallible, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// How long an attacker rests between two attempts.
const REST: Duration = Duration::from_millis(100);
/// A user who may send through Kannel's protocol.
const USER: &str = "username=app&password=a-password-of-the-campaign&text=a";
/// The attacked backend. Its provider refuses everything.
const BACKEND: &str = "hostile";

/// An attacker, and what it can reach.
pub(super) struct Attacker {
    /// The public port.
    port: SocketAddr,
    /// A connection with permission to publish.
    tap: Tap,
    /// A listener that accepts connections and never answers.
    silent: TcpListener,
}

impl Attacker {
    pub(super) async fn new(field: &Field, vhost: &Vhost) -> Self {
        let url = field.front.program().url();
        Self {
            port: url.trim_start_matches("http://").parse().expect("an address"),
            tap: vhost.tap().await,
            silent: TcpListener::bind("127.0.0.1:0").await.expect("a free port"),
        }
    }

    /// An address that never answers.
    fn silent_url(&self) -> String {
        format!("http://{}/", self.silent.local_addr().expect("a bound socket has an address"))
    }

    /// Runs `number` clients at the same time, each of which does `once` over and over.
    async fn crowd(&self, number: usize, once: impl AsyncFn(TcpStream) -> io::Result<()>) {
        let client = async || -> Infallible {
            loop {
                if let Ok(stream) = connect(self.port).await {
                    // Disconnected, it connects again.
                    let _ = once(stream).await;
                }
                sleep(REST).await;
            }
        };
        join_all((0..number).map(|_| client())).await;
    }

    /// Posts `body` over and over.
    async fn post(&self, path: &str, media_type: &str, body: String) {
        let (http, url) = (http_client(), format!("http://{}{path}", self.port));
        loop {
            let request = http.post(&url).header("content-type", media_type).body(body.clone());
            let _ = fetch(request).await;
            sleep(REST).await;
        }
    }

    /// Publishes `body` over and over.
    async fn publish(&self, body: &[u8], headers: &[(&str, AMQPValue)], rest: Duration) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        loop {
            let properties = Properties::default().with_headers(table.clone());
            self.tap.publish("postern.outbound", BACKEND, body, properties).await;
            sleep(rest).await;
        }
    }
}

async fn connect(port: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(port).await
}

/// Returns when the other side has closed `stream`. Reads nothing from it.
async fn thrown_out(stream: &TcpStream) -> io::Result<()> {
    loop {
        sleep(REST).await;
        match stream.try_write(b"G") {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

pub(super) async fn never_reading(attacker: Attacker) {
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: postern\r\n\r\n".repeat(7_500);
    let once = async |mut stream: TcpStream| {
        // The rest waits.
        let _ = timeout(Duration::from_secs(2), stream.write_all(requests.as_bytes())).await;
        thrown_out(&stream).await
    };
    attacker.crowd(50, once).await;
}

pub(super) async fn endless_heads(attacker: Attacker) {
    let once = async |mut stream: TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: postern\r\n\r\n").await?;
        if stream.read(&mut [0; 4096]).await? == 0 {
            return Ok(());
        }
        loop {
            stream.write_all(b"G").await?;
            sleep(Duration::from_secs(2)).await;
        }
    };
    attacker.crowd(300, once).await;
}

pub(super) async fn silent_connections(attacker: Attacker) {
    let once = async |mut stream: TcpStream| stream.read(&mut [0; 4096]).await.map(drop);
    attacker.crowd(500, once).await;
}

pub(super) async fn json_numbers(attacker: Attacker) {
    let body = format!("[{}1]", "1,".repeat(1_310_000));
    attacker.post("/backends/hostile", "application/json", body).await;
}

pub(super) async fn unproved(attacker: Attacker) {
    let requests = "GET /nowhere HTTP/1.1\r\nHost: postern\r\n\r\n".repeat(100);
    let once = async |mut stream: TcpStream| {
        loop {
            stream.write_all(requests.as_bytes()).await?;
            // Read all answers that have come.
            while let Ok(read) = timeout(REST, stream.read(&mut [0; 65_536])).await {
                if read? == 0 {
                    return Ok(());
                }
            }
        }
    };
    attacker.crowd(4, once).await;
}

pub(super) async fn guesses(attacker: Attacker) {
    let body = "username=app&password=a-guess&to=1&text=a";
    let head = format!(
        "POST /cgi-bin/sendsms HTTP/1.1\r\nHost: postern\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        body.len()
    );
    let (most, last) = body.split_at(body.len() - 1);
    let begun = head + most;
    let once = async |mut stream: TcpStream| {
        stream.write_all(begun.as_bytes()).await?;
        sleep(Duration::from_secs(1)).await;
        stream.write_all(last.as_bytes()).await?;
        stream.read(&mut [0; 4096]).await.map(drop)
    };
    attacker.crowd(150, once).await;
}

pub(super) async fn ten_thousand_words(attacker: Attacker) {
    let words: String = (0..9_990).map(|number| format!("w{number:x}+")).collect();
    let callback = attacker.silent_url();
    let body = format!("{USER}&to={words}%2B15550000001&dlr-mask=31&dlr-url={callback}");
    attacker.post("/cgi-bin/sendsms", "application/x-www-form-urlencoded", body).await;
}

pub(super) async fn silent_callbacks(attacker: Attacker) {
    let body = format!("{USER}&to=%2B15550000001&dlr-mask=31&dlr-url={}", attacker.silent_url());
    attacker.post("/cgi-bin/sendsms", "application/x-www-form-urlencoded", body).await;
}

pub(super) async fn large_headers(attacker: Attacker) {
    let value = AMQPValue::LongString("A".repeat(17_000).into());
    let headers = [("x-postern-a", value.clone()), ("a", value)];
    attacker.publish(b"not json", &headers, REST).await;
}

pub(super) async fn large_contexts(attacker: Attacker) {
    let numbers = "1,".repeat(7_400_000);
    let body = format!(
        "{{\"backend\":\"{BACKEND}\",\"identities\":[\"1\"],\"text\":\"a\",\"context\":{{\"c\":[{numbers}1]}}}}"
    );
    attacker.publish(body.as_bytes(), &[], Duration::from_secs(2)).await;
}

pub(super) async fn forged_counts(attacker: Attacker) {
    let counts = ["x-postern-deliveries", "x-delivery-count", "x-postern-attempts", "x-postern-crashes"];
    let headers = counts.map(|name| (name, AMQPValue::LongLongInt(1_000)));
    let body = json!({"backend": BACKEND, "identities": ["1"], "text": "a"}).to_string();
    attacker.publish(body.as_bytes(), &headers, Duration::from_millis(20)).await;
}

pub(super) async fn ten_thousand_identities(attacker: Attacker) {
    let identities: Vec<_> = (0..10_000).map(|number| format!("{number:0>256}")).collect();
    let body = json!({"backend": BACKEND, "identities": identities, "text": "a"}).to_string();
    attacker.publish(body.as_bytes(), &[], Duration::from_secs(20)).await;
}
