//! An HTTP server on loopback that answers as the test says and remembers what it was asked: the
//! provider behind a backend, or an application's webhook.

use crate::{wait::eventually, wire::Request};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// An answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    gate: Option<Gate>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Complete,
    Unanswered,
    Endless(Duration),
}

impl Answer {
    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { status, headers, body, delay: Duration::ZERO, gate: None, form: Form::Complete }
    }

    /// An answer with status 200 and this body.
    pub fn ok(body: &str) -> Self {
        Self::status(200).body(body)
    }

    /// An answer with this status and a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::status(status).header("Content-Type", "application/json").body(&body.to_string())
    }

    /// Reads the request and closes the connection without an answer.
    pub fn unanswered() -> Self {
        Self { form: Form::Unanswered, ..Self::status(0) }
    }

    /// Status 200 and a body that never ends: one kilobyte after each `pause`.
    pub fn endless(pause: Duration) -> Self {
        Self { form: Form::Endless(pause), ..Self::status(200) }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Answers only after `delay`.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers only once `gate` is open.
    #[must_use]
    pub fn held(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

/// Holds answers back until the test opens it.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// Makes a closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }

    /// Releases every answer that it holds, and holds none from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn passed(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

type Reaction = Box<dyn Fn(&Request) -> Answer + Send>;

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    aside: Vec<(String, Answer, Vec<Request>)>,
    otherwise: Option<Reaction>,
    requests: Vec<Request>,
    forgetful: bool,
    unexpected: Vec<String>,
}

/// The server. Dropping it stops it, and fails the test if a scripted answer was not used or a request came that
/// the script did not foresee.
pub struct Provider {
    port: u16,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Provider {
    /// Starts one on a free port, without a script: every request is unexpected and answered with 500.
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Starts one that answers 200 `OK` to everything.
    pub async fn obliging() -> Self {
        let provider = Self::start().await;
        provider.otherwise(|_| Answer::ok("OK"));
        provider
    }

    /// Starts one on this port of 127.0.0.1, as a provider that was down and comes up.
    pub async fn start_on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("bind the provider's port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(Mutex::new(State::default()));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, state.clone()));
        Self { port, state, _serving: serving }
    }

    /// Its address followed by `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers the next requests with `answers`, one each, in this order.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().script.extend(answers);
    }

    /// Sets how requests are answered that the script does not cover.
    pub fn otherwise(&self, reaction: impl Fn(&Request) -> Answer + Send + 'static) {
        self.state().otherwise = Some(Box::new(reaction));
    }

    /// Answers every request for `path` with `answer`. These requests use up no answer of the script and are
    /// recorded separately.
    pub fn aside(&self, path: &str, answer: Answer) {
        self.state().aside.push((path.to_owned(), answer, Vec::new()));
    }

    /// The requests for a `path` that [`Self::aside`] answers.
    pub fn asked_aside(&self, path: &str) -> Vec<Request> {
        let state = self.state();
        let asked = state.aside.iter().filter(|(known, ..)| known == path);
        asked.flat_map(|(.., requests)| requests.clone()).collect()
    }

    /// Records no requests from now on: a test that makes thousands counts them in its reaction.
    pub fn forget(&self) {
        self.state().forgetful = true;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Waits until `count` requests have arrived, and returns all that have.
    pub async fn wait_for(&self, count: usize) -> Vec<Request> {
        eventually(&format!("{count} requests at the provider"), async || {
            let requests = self.requests();
            if requests.len() >= count { Ok(requests) } else { Err(requests.len()) }
        })
        .await
    }

    /// Waits for the next request that was not taken yet, and takes it.
    pub async fn take(&self) -> Request {
        self.wait_for(1).await;
        self.state().requests.remove(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for request in self.requests() {
                eprintln!("--- asked: {} {}?{}", request.method, request.path, request.raw_query);
            }
            return;
        }
        let state = self.state();
        let (unused, unexpected) = (state.script.len(), state.unexpected.join(", "));
        drop(state);
        assert!(unused == 0, "{unused} scripted answers were never asked for");
        assert!(unexpected.is_empty(), "nobody expected these requests: {unexpected}");
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Ok(Some(request)) = read(&mut stream).await {
                let answer = choose(&state, request);
                if !matches!(give(stream.get_mut(), answer).await, Ok(true)) {
                    break;
                }
            }
        });
    }
}

fn choose(state: &Mutex<State>, request: Request) -> Answer {
    let mut state = lock(state);
    if let Some((_, answer, requests)) = state.aside.iter_mut().find(|(path, ..)| *path == request.path) {
        requests.push(request);
        return answer.clone();
    }
    let answer = match (state.script.pop_front(), &state.otherwise) {
        (Some(answer), _) => answer,
        (None, Some(reaction)) => reaction(&request),
        (None, None) => {
            let named = format!("{} {}", request.method, request.path);
            state.unexpected.push(named);
            Answer::status(500)
        }
    };
    if !state.forgetful {
        state.requests.push(request);
    }
    answer
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        read_chunks(stream, &mut body).await?;
    } else if let Some(length) = header("content-length") {
        body = vec![0; length.parse().map_err(std::io::Error::other)?];
        stream.read_exact(&mut body).await?;
    }
    let (path, raw_query) = (path.to_owned(), query.to_owned());
    Ok(Some(Request { method, path, raw_query, headers, body, at: Instant::now() }))
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        (&mut *stream).take(length).read_to_end(body).await?;
        stream.read_line(&mut line).await?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// Writes the answer; says whether the connection may be used again.
async fn give(stream: &mut TcpStream, answer: Answer) -> std::io::Result<bool> {
    tokio::time::sleep(answer.delay).await;
    if let Some(gate) = &answer.gate {
        gate.passed().await;
    }
    if answer.form == Form::Unanswered {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Form::Endless(pause) = answer.form {
        stream.write_all((head + "\r\n").as_bytes()).await?;
        loop {
            stream.write_all(&[b'x'; 1024]).await?;
            tokio::time::sleep(pause).await;
        }
    }
    head += &format!("Content-Length: {}\r\n\r\n", answer.body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    Ok(true)
}
