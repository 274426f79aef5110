//! Far more of everything than a friendly client sends, to the real process: its answers, and how much memory it
//! takes.

mod connections;

use postern_tests::{Launch, Program, Reply, eventually, usage::memory};
use std::{
    process::Command,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MIB: u64 = 1024 * 1024;
/// The time within which requests are answered under any load, on a machine that may be busy. Shorter than
/// `read_timeout`: an answer must not wait until other connections are closed.
const SOON: Duration = Duration::from_secs(12);
const CONFIG: &str = "[ingress]\nread_timeout = \"15s\"\n[backends.demo]\ntype = \"http\"\n";

async fn gateway(config: &str) -> Program {
    Launch::gateway().config(config).start().await
}

async fn connect(program: &Program) -> TcpStream {
    TcpStream::connect(program.url().strip_prefix("http://").unwrap()).await.unwrap()
}

async fn message(program: &Program) -> (Reply, Duration) {
    let start = Instant::now();
    let reply = program.post_form("/backends/demo", &[("identity", "1"), ("text", "a")]).await;
    (reply, start.elapsed())
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many files this process may open, after its limit is raised to the hard limit.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let hard = files.split_whitespace().nth(1).unwrap();
    limit_files(std::process::id(), hard);
    hard.parse().unwrap_or(usize::MAX)
}

fn limit_files(process: u32, limit: &str) {
    let process = process.to_string();
    let limit = format!("--nofile={limit}:{limit}");
    assert!(Command::new("prlimit").args(["--pid", &process, &limit]).status().unwrap().success());
}

/// Connections with no request, half a head or half a body delay nobody, cost little, and are closed.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_hold_up_nobody() {
    let wanted = 10_000.min(open_files().saturating_sub(1_000));
    assert!(wanted > 1_000, "ulimit -Hn is too low for this test: 11000 is enough");
    let program = gateway(CONFIG).await;
    let before = memory(program.id()).now;
    let mut idle = Vec::with_capacity(wanted);
    for n in 0..wanted {
        let mut stream = connect(&program).await;
        let head = "POST /backends/demo HTTP/1.1\r\nHost: t\r\nContent-Length: 17\r\n";
        match n % 3 {
            0 => {}
            1 => stream.write_all(head.as_bytes()).await.unwrap(),
            _ => stream.write_all(format!("{head}\r\nidentity=1").as_bytes()).await.unwrap(),
        }
        idle.push(stream);
    }
    let (reply, took) = message(&program).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(took < SOON, "{took:?}");
    let grown = memory(program.id()).now.saturating_sub(before);
    println!("{wanted} idle connections: {} KiB each, a message took {took:?}", grown / 1024 / wanted as u64);
    assert!(grown < 400 * MIB, "{} MiB", grown / MIB);
    // Each is answered 408, or just closed, when its time is over.
    for (n, stream) in idle.iter_mut().enumerate() {
        let answer = tokio::time::timeout(Duration::from_secs(60), answer(stream)).await;
        let answer = answer.unwrap_or_else(|_| panic!("connection {n} is not closed"));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{n}: {answer}");
    }
    assert_eq!(message(&program).await.0.status, 200);
}

/// Of a body of any size, no more is held than the limit allows.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_hundred_megabytes_take_no_memory() {
    let program = gateway(CONFIG).await;
    assert_eq!(message(&program).await.0.status, 200);
    let before = memory(program.id()).peak;
    let piece = vec![b'x'; 1 << 20];
    let declared = "Content-Length: 104857600\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    // A body that claims to be compressed.
    let bomb = "Content-Encoding: gzip\r\nContent-Length: 104857600\r\n";
    for path in ["/backends/demo", "/backends/demo/status", "/backends/nobody", "/v1/messages", "/nowhere"] {
        for framing in [declared, chunked, bomb] {
            let mut stream = connect(&program).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut sent = 0;
            while sent < 100 {
                if framing == chunked && stream.write_all(b"100000\r\n").await.is_err() {
                    break;
                }
                // The server has refused the body and closes.
                if stream.write_all(&piece).await.is_err() {
                    break;
                }
                if framing == chunked && stream.write_all(b"\r\n").await.is_err() {
                    break;
                }
                sent += 1;
            }
            let _ = stream.shutdown().await;
            let answer = answer(&mut stream).await;
            // If the connection was reset while we wrote, the answer may be lost.
            let status = answer.get(9..12).unwrap_or("reset");
            assert!(["404", "413", "415", "reset"].contains(&status), "{path} {framing}: {answer}");
        }
    }
    let grown = memory(program.id()).peak - before;
    println!("at most {} KiB more", grown / 1024);
    assert!(grown < 32 * MIB, "{} MiB", grown / MIB);
    assert_eq!(message(&program).await.0.status, 200);
}

/// A JSON body is counted while it is read: what exceeds a limit is never built.
#[tokio::test(flavor = "multi_thread")]
async fn json_of_a_million_values_takes_little_memory() {
    let vumi = "[compat.vumi]\n[[compat.vumi.users]]\nusername = \"u\"\npassword = \"hush-hush-hush-hush\"\nbackend = \"out\"\n\
                [backends.out]\ntype = \"console\"\n";
    let program = gateway(&format!("{CONFIG}{vumi}")).await;
    assert_eq!(message(&program).await.0.status, 200);
    let before = memory(program.id()).peak;
    for value in ["1,", "[],", "{},", "{\"\":0},"] {
        // 2.6 MB, the largest body that is accepted.
        let body = format!("[{}0]", value.repeat(2_600_000 / value.len()));
        let json =
            [("Content-Type", "application/json"), ("Authorization", "Basic dTpodXNoLWh1c2gtaHVzaC1odXNo")];
        for (path, status) in [
            ("/backends/demo", 400),
            ("/v1/messages", 422),
            ("/api/v1/go/http_api_nostream/c/messages.json", 400),
        ] {
            let request = program.request(reqwest::Method::POST, path).body(body.clone());
            let request = json.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let reply = program.fetch(request).await;
            assert_eq!(reply.status, status, "{path} {value}: {}", reply.text);
        }
    }
    let grown = memory(program.id()).peak - before;
    println!("at most {} KiB more", grown / 1024);
    // The bodies alone take 38 to 68 MiB, as the threads that read them happen to be. Their values would take as much
    // again.
    assert!(grown < 96 * MIB, "{} MiB", grown / MIB);
}

/// Text and context are stored once for each `send.batch` recipients. The total size is limited, and computed
/// before any of it is built.
#[tokio::test(flavor = "multi_thread")]
async fn one_submission_has_no_more_stored_than_is_taken() {
    let one_each = "[backends.one]\ntype = \"http\"\nsend = { url = \"http://127.0.0.1:9/\", batch = 1 }\n";
    // 32 MB are stored in one step.
    let patient = "[broker]\npublish_timeout = \"1m\"\n[dispatcher]\nbackends = []\n";
    let program = gateway(&format!("{patient}{CONFIG}{one_each}")).await;
    let submit = async |recipients: usize| {
        let identities: Vec<String> = (0..recipients).map(|n| format!("+1555{n:07}")).collect();
        let body = serde_json::json!({"backend": "one", "identities": identities,
            "text": "x".repeat(16_384), "context": {"a": "y".repeat(65_000)}});
        program.post_json("/v1/messages", &body).await
    };
    assert_eq!(submit(1).await.status, 202);
    let before = memory(program.id()).peak;
    let refused = submit(10_000).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &"#/identities".into()));
    let refusing = memory(program.id()).peak - before;
    let taken = submit(400).await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    let grown = memory(program.id()).peak - before;
    println!("refused: {} KiB more, 32 MB taken: {} KiB more", refusing / 1024, grown / 1024);
    assert!(refusing < 16 * MIB && grown < 192 * MIB, "{} {} MiB", refusing / MIB, grown / MIB);
}

/// Large bodies that arrive slowly share a limited amount of memory; small bodies are not affected.
#[tokio::test(flavor = "multi_thread")]
async fn slow_large_bodies_take_a_bounded_part_of_the_memory() {
    let program = gateway(CONFIG).await;
    assert_eq!(message(&program).await.0.status, 200);
    let before = memory(program.id()).peak;
    let body = vec![b'x'; 2_600_000];
    let head = format!(
        "POST /backends/demo HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len() + 1
    );
    let clients = (0..100).map(async |_| {
        let mut stream = connect(&program).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may refuse the body meanwhile.
        let _ = stream.write_all(&body).await;
        stream
    });
    let streams = futures_util::future::join_all(clients).await;
    eventually("all but those that there is room for to be refused", async || {
        let metrics = program.metrics().await;
        let refused = metrics.value("postern_ingress_requests_total", &[("status", "503")]);
        if (85.0..100.0).contains(&refused) { Ok(()) } else { Err(refused) }
    })
    .await;
    let grown = memory(program.id()).peak.saturating_sub(before);
    println!("{} slow bodies of 2.6 MB: at most {} KiB more", streams.len(), grown / 1024);
    assert!(grown < 90 * MIB, "{} MiB", grown / MIB);
    let (reply, took) = message(&program).await;
    assert!(reply.status == 200 && took < SOON, "{} {took:?}", reply.status);
    drop(streams);
    eventually("room for a large body", async || {
        let text = "x".repeat(60_000);
        let form = [("identity", "1"), ("text", "a"), ("b", &*text), ("c", &*text)];
        match program.post_form("/backends/demo", &form).await.status {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
}
