//! Clients that hold connections: they do not read, do not finish their requests, or open very many.

use super::{MIB, SOON, message};
use crate::access::tls::{Made, make_for, put};
use futures_util::future::join_all;
use postern_tests::{
    Launch, Program, eventually, free_port,
    usage::{cpu, memory},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A gateway whose `/v1` has its own port, with TLS.
struct Gateway {
    program: Program,
    api: u16,
    tls: TlsConnector,
}

/// A port of the gateway, by its name in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Ingress,
    Api,
    Admin,
}

const LISTENERS: [Listener; 3] = [Listener::Ingress, Listener::Api, Listener::Admin];

impl Listener {
    fn label(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Api => "api",
            Self::Admin => "admin",
        }
    }

    /// Requests of every kind, which a client may send in numbers before it reads: with a long answer, with a
    /// short one, the shortest possible, and with bodies of both framings, read and unread. None of them stores
    /// anything.
    fn requests(self) -> [String; 6] {
        let (longest, taken) = match self {
            Self::Ingress => ("/openapi.json", "/backends/demo"),
            Self::Api => ("/openapi.json", "/v1/messages"),
            Self::Admin => ("/metrics", "/livez"),
        };
        let post = |path: &str, framing: &str, body: &str| {
            let form = "Content-Type: application/x-www-form-urlencoded";
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{form}\r\n{framing}\r\n\r\n{body}")
        };
        [
            get(longest),
            get("/"),
            "GET / HTTP/1.0\nConnection: keep-alive\n\n".to_owned(),
            post(taken, "Content-Length: 10", "identity=1"),
            post(taken, "Transfer-Encoding: chunked", "a\r\nidentity=1\r\n0\r\n\r\n"),
            post("/", "Transfer-Encoding: chunked", "2\r\n\n\n\r\n0\r\n\r\n"),
        ]
    }
}

impl Gateway {
    async fn start(read_timeout: &str) -> Self {
        Self::launch(Launch::gateway(), read_timeout).await
    }

    async fn launch(launch: Launch, read_timeout: &str) -> Self {
        let api = free_port();
        let config = format!(
            "[ingress]\nread_timeout = \"{read_timeout}\"\n\
             [api]\nlisten = \"127.0.0.1:{api}\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
             [backends.demo]\ntype = \"http\"\n"
        );
        let made = make_for("localhost", "hostile");
        let launch = launch.config(&config);
        put(&launch, &made);
        Self { program: launch.start().await, api, tls: trusting(&made) }
    }

    /// A new connection of a client that reads little at a time.
    async fn connect(&self, listener: Listener) -> Box<dyn Stream> {
        let port = match listener {
            Listener::Ingress => self.program.url().rsplit(':').next().unwrap().parse().unwrap(),
            Listener::Api => self.api,
            Listener::Admin => self.program.admin_port(),
        };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        match listener {
            Listener::Api => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(self.tls.connect(name, stream).await.unwrap())
            }
            _ => Box::new(stream),
        }
    }

    async fn open(&self, listener: Listener) -> f64 {
        let labels = [("listener", listener.label())];
        self.program.metrics().await.value("postern_connections_open", &labels)
    }
}

fn trusting(made: &Made) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(made.cert.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Sends far more requests than the client reads answers, until the server accepts no more.
async fn pipeline(stream: &mut Box<dyn Stream>, request: &str) {
    let requests = request.repeat(300_000 / request.len());
    let _ = timeout(Duration::from_secs(1), stream.write_all(requests.as_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_take_no_processor_and_little_memory() {
    const EACH: usize = 8;
    // A client that reads nothing for this long is disconnected.
    const STALL: Duration = Duration::from_secs(20);
    // Long enough that no connection is closed for sending nothing.
    let gateway = Gateway::start("2m").await;
    assert_eq!(message(&gateway.program).await.0.status, 200);
    let (before, begun) = (memory(gateway.program.id()).now, Instant::now());
    let rows = LISTENERS.iter().flat_map(|listener| listener.requests().map(|request| (*listener, request)));
    let clients = rows.flat_map(|row| std::iter::repeat_n(row, EACH)).map(|(listener, request)| {
        let gateway = &gateway;
        async move {
            let mut stream = gateway.connect(listener).await;
            pipeline(&mut stream, &request).await;
            stream
        }
    });
    let streams = join_all(clients).await;

    // At first the server works: it answers as much as the buffers take.
    let cores = eventually("nothing more to be done for them", async || {
        let (start, used) = (Instant::now(), cpu(gateway.program.id()));
        sleep(Duration::from_secs(2)).await;
        let cores = (cpu(gateway.program.id()) - used).as_secs_f64() / start.elapsed().as_secs_f64();
        if cores < 0.2 { Ok(cores) } else { Err(cores) }
    })
    .await;
    let grown = memory(gateway.program.id()).now.saturating_sub(before);
    println!("{} clients that do not read: {cores:.2} cores, {} KiB", streams.len(), grown / 1024);
    assert!(grown < 90 * MIB, "{} MiB", grown / MIB);
    for listener in LISTENERS {
        let open = gateway.open(listener).await;
        assert!(open >= EACH as f64 || begun.elapsed() > STALL, "{listener:?}: {open}");
    }
    let (reply, took) = message(&gateway.program).await;
    assert!(reply.status == 200 && took < SOON, "{} {took:?}", reply.status);

    // A client that reads late still gets what it asked for.
    let mut late = gateway.connect(Listener::Ingress).await;
    pipeline(&mut late, &Listener::Ingress.requests()[0]).await;
    let mut answer = vec![0; 40_000];
    timeout(SOON, late.read_exact(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).matches("HTTP/1.1 200 OK").count() >= 2);
    drop((streams, late));
    for listener in LISTENERS {
        eventually("the connections to be gone", async || {
            let open = gateway.open(listener).await;
            // This question's own connection counts.
            if open <= 2.0 { Ok(()) } else { Err(open) }
        })
        .await;
    }
}

/// What a client sends after a request that was answered.
#[derive(Debug, Clone, Copy)]
enum After {
    /// The first byte of another head.
    OneByte,
    /// Single bytes now and then.
    Drip,
}

/// How the connection ends, and how long after its request.
async fn ending(gateway: &Gateway, listener: Listener, after: After) -> (String, Duration) {
    let mut stream = gateway.connect(listener).await;
    let start = Instant::now();
    ask(&mut stream, listener).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    // A packet of its own for what follows.
    sleep(Duration::from_millis(300)).await;
    let dripping = async {
        let bytes = match after {
            After::OneByte => &b"G"[..],
            After::Drip => &[b"GET /", [b'a'; 300].as_slice()].concat(),
        };
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        std::future::pending().await
    };
    let mut rest = Vec::new();
    let read = async {
        // A connection that is reset has ended, too.
        let _ = reader.read_to_end(&mut rest).await;
    };
    tokio::select! {
        ended = timeout(Duration::from_secs(20), read) => ended.unwrap_or_else(|_| panic!("{listener:?} {after:?}")),
        () = dripping => {}
    }
    (String::from_utf8_lossy(&rest).into_owned(), start.elapsed())
}

/// Asks for what is not there, over a connection that may have been used before.
async fn ask(stream: &mut Box<dyn Stream>, listener: Listener) {
    stream.write_all(get("/nowhere").as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 404"), "{listener:?}");
}

/// A connection that is unused for longer than any head may take here.
async fn unused(gateway: &Gateway, listener: Listener) {
    let mut stream = gateway.connect(listener).await;
    ask(&mut stream, listener).await;
    sleep(Duration::from_secs(7)).await;
    ask(&mut stream, listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_head_must_end_in_time_not_only_the_first_and_what_is_unused_stays_open() {
    let gateway = Gateway::start("2s").await;
    let rows = LISTENERS.iter().flat_map(|listener| [(*listener, After::OneByte), (*listener, After::Drip)]);
    let ends = join_all(rows.map(async |(listener, after)| {
        let (said, took) = ending(&gateway, listener, after).await;
        (listener, after, said, took)
    }));
    let unused = join_all(LISTENERS.map(|listener| unused(&gateway, listener)));
    for (listener, after, said, took) in tokio::join!(ends, unused).0 {
        // The admin port has its own time limits.
        let limit = if matches!(listener, Listener::Admin) { 5.0 } else { 2.0 };
        let took = took.as_secs_f64();
        // What drips would take half a minute.
        assert!((limit..limit + 10.0).contains(&took), "{listener:?} {after:?}: {took}");
        assert!(said.starts_with("HTTP/1.1 408"), "{listener:?} {after:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_limit_a_port_refuses_at_once_and_everything_else_goes_on() {
    let gateway = Gateway::launch(Launch::gateway().open_files(400), "15s").await;
    let program = &gateway.program;
    let mut known = gateway.connect(Listener::Ingress).await;
    let mut held = Vec::new();
    for _ in 0..600 {
        let mut stream = gateway.connect(Listener::Ingress).await;
        let _ = stream.write_all(b"G").await;
        held.push(stream);
    }
    let (start, asked) = (Instant::now(), "/backends/demo?identity=1&text=a");
    known.write_all(get(asked).as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = timeout(SOON, known.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(program.ready().await.unwrap().status, 200);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let refused = [("listener", "ingress"), ("limit", "total")];
    program.metric_reaches("postern_connections_refused_total", &refused, 400.0).await;
    let mut api = gateway.connect(Listener::Api).await;
    api.write_all(get("/v1/backends").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(SOON, api.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // The connections that were let in are closed when their time is over, without their clients' doing.
    eventually("a message of a new client", async || {
        let stream = TcpStream::connect(program.url().trim_start_matches("http://")).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let _ = stream.write_all(get(asked).as_bytes()).await;
        let mut answer = vec![0; 4096];
        match stream.read(&mut answer).await {
            Ok(count) if answer[..count].starts_with(b"HTTP/1.1 200") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    drop((held, known, api));
    let log = gateway.program.terminate().await.log;
    assert!(!log.contains("Error accepting"), "{log}");
    let lines = log.matches("connection refused: too many connections are open").count();
    assert!((1..200).contains(&lines), "{lines} lines: {log}");
}

/// actix-http has no limits for HTTP/2, so it is not offered.
#[tokio::test]
async fn a_client_that_would_speak_http_2_is_answered_in_http_1() {
    let gateway = Gateway::start("10s").await;
    let stream = TcpStream::connect(("127.0.0.1", gateway.api)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = gateway.tls.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}
