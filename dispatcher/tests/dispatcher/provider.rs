//! A provider on loopback that gives the bad answers that a test asks for.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// The provider's reaction to a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Writes this, and keeps the connection.
    Raw(String),
    /// Writes this, and closes the connection.
    Last(String),
    /// Closes the connection without reading the request.
    CloseUnread,
    /// Never answers.
    Never,
    /// Writes this a byte at a time, so slowly that every client gives up first.
    Drip(String),
    /// Writes this when the gate opens.
    Gated(Arc<Semaphore>, String),
}

/// An answer with `status` and `body`.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    Answer::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

type Script = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// Listens until it is dropped.
pub(crate) struct Provider {
    pub(crate) url: String,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    in_hand: Arc<Mutex<(usize, usize)>>,
    task: JoinHandle<()>,
}

impl Provider {
    pub(crate) async fn start(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let in_hand = Arc::new(Mutex::new((0, 0)));
        let script: Script = Arc::new(script);
        let (log, count, hand) = (received.clone(), connections.clone(), in_hand.clone());
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (script, log, hand) = (script.clone(), log.clone(), hand.clone());
                open.spawn(async move { serve(stream, script, log, hand).await });
            }
        });
        Self { url, received, connections, in_hand, task }
    }

    pub(crate) async fn answering(answer: Answer) -> Self {
        Self::start(move |_| answer.clone()).await
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were unanswered at the same time.
    pub(crate) fn most_at_a_time(&self) -> usize {
        self.in_hand.lock().unwrap().1
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Script,
    log: Arc<Mutex<Vec<Received>>>,
    in_hand: Arc<Mutex<(usize, usize)>>,
) {
    let nothing = Received { line: String::new(), headers: Vec::new(), body: String::new() };
    if let Answer::CloseUnread = script(&nothing) {
        log.lock().unwrap().push(nothing);
        return;
    }
    while let Some(request) = read(&mut stream).await {
        let answer = script(&request);
        log.lock().unwrap().push(request);
        {
            let mut hand = in_hand.lock().unwrap();
            hand.0 += 1;
            hand.1 = hand.1.max(hand.0);
        }
        let keep = reply(&mut stream, answer).await;
        in_hand.lock().unwrap().0 -= 1;
        if !keep {
            return;
        }
    }
}

async fn reply(stream: &mut TcpStream, answer: Answer) -> bool {
    match answer {
        Answer::Raw(text) => stream.write_all(text.as_bytes()).await.is_ok(),
        Answer::Last(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            false
        }
        Answer::CloseUnread => false,
        Answer::Never => std::future::pending().await,
        Answer::Drip(text) => {
            for byte in text.as_bytes() {
                let _ = stream.write_all(&[*byte]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending().await
        }
        Answer::Gated(gate, text) => {
            gate.acquire().await.unwrap().forget();
            stream.write_all(text.as_bytes()).await.is_ok()
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[end..end + length].to_vec()).unwrap();
    Some(Received { line, headers, body })
}
