//! Open-loop load: requests are due at a fixed rate, whether or not earlier ones are answered, and latencies
//! count from the due time. So requests that wait behind a slow answer count, too.

use super::Request;
use anyhow::{Context, Result, ensure};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// Latencies, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The latency, in milliseconds, that this share of requests does not exceed.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }
}

/// Sends `rate` requests a second over `connections` connections for `duration`.
///
/// # Errors
/// If an answer is not 2xx or a connection breaks.
pub(crate) async fn load(
    post: &Request,
    rate: f64,
    connections: usize,
    duration: Duration,
) -> Result<Latencies> {
    let (give, take) = mpsc::unbounded_channel();
    let take = Arc::new(Mutex::new(take));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (take, mut line) = (take.clone(), Line::open(post).await?);
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let next = take.lock().await.recv().await;
                let Some(due) = next else { return anyhow::Ok(times) };
                line.ask().await?;
                let due: Instant = due;
                times.push(due.elapsed());
            }
        });
    }
    // In a thread of its own, because the runtime's timer is exact to whole milliseconds only.
    let pace = std::thread::spawn(move || {
        let (start, mut sent) = (Instant::now(), 0_u64);
        loop {
            let due = start + Duration::from_secs_f64(sent as f64 / rate);
            if due.duration_since(start) > duration {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if give.send(due).is_err() {
                return;
            }
            sent += 1;
        }
    });
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    ensure!(pace.join().is_ok(), "the thread that paces ended");
    Ok(Latencies::new(times))
}

/// A connection that sends one request repeatedly.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Line {
    pub(crate) async fn open(post: &Request) -> Result<Self> {
        let host = post.base.strip_prefix("http://").context("http://")?;
        let stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
        stream.set_nodelay(true)?;
        let Request { method, path, content_type, body, .. } = post;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Vec::with_capacity(1024) })
    }

    /// Sends one request and reads its answer, which must be 2xx with a length.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        while !self.answered()? {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection was closed");
        }
        Ok(())
    }

    fn answered(&self) -> Result<bool> {
        let Some(head) = self.answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        let text = String::from_utf8_lossy(&self.answer[..head]).to_ascii_lowercase();
        ensure!(text.starts_with("http/1.1 2"), "the answer was {text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("an answer without a length")?.trim().parse()?;
        Ok(self.answer.len() >= head + 4 + length)
    }
}
