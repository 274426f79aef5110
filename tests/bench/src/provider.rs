//! The fastest provider: it reads each request to its end, records when it came, and answers with the same few
//! bytes, at once or after a delay. It understands only the HTTP that these clients send.

use anyhow::{Result, ensure};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The only body that Kannel accepts as a success.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 25\r\n\r\n0: Accepted for delivery\n";
/// How long to wait for the next request while more are expected.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Provider {
    address: SocketAddr,
    delay: Arc<AtomicU64>,
    seen: Arc<Mutex<Arc<Seen>>>,
}

/// The requests of one run.
#[derive(Debug)]
pub(crate) struct Seen {
    start: Instant,
    count: AtomicU64,
    /// When each request came, in nanoseconds after `start`.
    times: Vec<AtomicU64>,
    news: Notify,
}

impl Provider {
    /// Starts it.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let provider = Self {
            address: listener.local_addr()?,
            delay: Arc::default(),
            seen: Arc::new(Mutex::new(Seen::new(0))),
        };
        let (delay, seen) = (provider.delay.clone(), provider.seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection ends when its client closes it, cleanly or not.
                let served = serve(stream, delay.clone(), seen.clone());
                tokio::spawn(async move { drop(served.await) });
            }
        });
        Ok(provider)
    }

    /// The address that messages are posted to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/send", self.address)
    }

    /// Starts a new run of `messages` requests, which are answered after `delay`.
    pub(crate) fn expect(&self, messages: u64, delay: Duration) -> Arc<Seen> {
        self.delay.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let seen = Seen::new(messages);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen.clone();
        seen
    }
}

impl Seen {
    fn new(messages: u64) -> Arc<Self> {
        let times = (0..messages).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { start: Instant::now(), count: AtomicU64::new(0), times, news: Notify::new() })
    }

    fn record(&self) {
        let index = self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(time) = usize::try_from(index).ok().and_then(|index| self.times.get(index)) {
            let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            time.store(now, Ordering::Relaxed);
        }
        self.news.notify_one();
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// When the request with this index, counted from 0, came.
    pub(crate) fn at(&self, index: u64) -> Instant {
        let time = usize::try_from(index).ok().and_then(|index| self.times.get(index));
        self.start + Duration::from_nanos(time.map_or(0, |time| time.load(Ordering::Relaxed)))
    }

    /// Waits until `count` requests have come.
    pub(crate) async fn reach(&self, count: u64) -> Result<()> {
        loop {
            let before = self.count();
            if before >= count {
                return Ok(());
            }
            // For many requests, polling is enough; a single one is reported at once.
            let waited = if count - before > 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(())
            } else {
                tokio::time::timeout(PATIENCE, self.news.notified()).await
            };
            let quiet = self.last_came().elapsed() > PATIENCE && self.start.elapsed() > PATIENCE;
            ensure!(waited.is_ok() && !quiet, "{before} of {count} requests came, and then none");
        }
    }

    fn last_came(&self) -> Instant {
        self.at(self.count().saturating_sub(1))
    }

    /// Requests a second between the moments when the shares `from` and `to` of `messages` had come.
    pub(crate) fn rate(&self, messages: u64, from: f64, to: f64) -> f64 {
        let index = |share: f64| ((messages - 1) as f64 * share) as u64;
        let (first, last) = (index(from), index(to));
        let took = self.at(last).duration_since(self.at(first));
        (last - first) as f64 / took.as_secs_f64()
    }
}

async fn serve(
    mut stream: TcpStream,
    delay: Arc<AtomicU64>,
    seen: Arc<Mutex<Arc<Seen>>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        while let Some(length) = complete(&buffer) {
            buffer.drain(..length);
            seen.lock().unwrap_or_else(PoisonError::into_inner).record();
            let delay = delay.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_micros(delay)).await;
            }
            stream.write_all(ANSWER).await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the first request in `buffer`, once it is complete.
fn complete(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lines = buffer[..head].split(|byte| *byte == b'\n');
    let length = lines.filter_map(|line| std::str::from_utf8(line).ok()?.trim().split_once(':'));
    let body = length
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse::<usize>().ok());
    let whole = head + body.unwrap_or(0);
    (buffer.len() >= whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::complete;

    #[test]
    fn a_request_ends_with_its_body() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\ncontent-Length: 3\r\n\r\n";
        assert_eq!(complete(head.as_bytes()), None);
        assert_eq!(complete(format!("{head}ab").as_bytes()), None);
        assert_eq!(complete(format!("{head}abcGET").as_bytes()), Some(head.len() + 3));
        assert_eq!(complete(b"GET / HTTP/1.1\r\n\r\nx"), Some(18));
        assert_eq!(complete(b"GET / HTTP/1.1\r\n"), None);
    }
}
