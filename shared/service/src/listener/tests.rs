//! Connections as their clients see them. However slow the machine is, only the clock that a test is about
//! can run out.

use super::*;
use crate::metrics::Metrics;
use futures_util::future::join_all;
use postern_shared::value::Networks;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::sleep,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A pace that no client fails to keep.
const PACE: Pace = Pace { head: HOUR, keep_alive: HOUR, keep_alive_crowded: HOUR };

/// The time of a clock that is to run out.
const SHORT: Duration = Duration::from_millis(300);

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// More than the kernel keeps for a client that does not read.
const MUCH: usize = 8 << 20;

/// A client's end of a connection, and ours.
async fn pair() -> (TcpStream, Transport) {
    pair_of(None, HOUR).await
}

/// A client's end of a connection, and ours, to a listener that may have `max` connections. The client may
/// read nothing for `stall`.
async fn pair_of(max: Option<usize>, stall: Duration) -> (TcpStream, Transport) {
    let metrics = Metrics::new("postern", "0").unwrap();
    let limits =
        ConnectionLimits { max, share: Share::Whole, per_address: None, exempt: Networks::default() };
    let admission = Admission::new("ingress", limits, metrics.connections().clone());
    let port = bind(([127, 0, 0, 1], 0).into()).unwrap();
    port.set_nonblocking(true).unwrap();
    let port = tokio::net::TcpListener::from_std(port).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let client = socket.connect(port.local_addr().unwrap()).await.unwrap();
    let (accepted, peer) = port.accept().await.unwrap();
    assert!(accepted.nodelay().unwrap(), "connections have it from the port");
    let slot = admission.admit(peer.ip()).unwrap();
    (client, Transport::Plain(ClientSocket::new(accepted, slot, stall)))
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let (mut client, mut server) = pair_of(None, SHORT).await;
    let (start, mut kept) = (Instant::now(), 0);
    let error = loop {
        match server.write(&[0; 4096]).await {
            Ok(count) => kept += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    assert!(kept < 1 << 20, "the kernel keeps {kept} bytes for it");
    drop(server);
    let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "nothing of it is kept any more");
}

#[tokio::test]
async fn a_client_that_takes_some_of_it_now_and_then_is_not() {
    const STALL: Duration = Duration::from_millis(1200);
    let much = vec![0; MUCH];
    for _ in 0..10 {
        let (mut client, mut server) = pair_of(None, STALL).await;
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let reading = async {
            for _ in 0..8 {
                sleep(STALL / 4).await;
                client.read_exact(&mut vec![0; MUCH / 8]).await?;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            io::Result::Ok(())
        };
        let Err(error) = tokio::try_join!(server.write_all(&much), reading) else { return };
        // If this process stood still, the client took nothing for too long.
        let longest = longest.max(last.elapsed());
        assert!(longest > STALL / 2, "{error}, although the client took some at least every {longest:?}");
    }
    panic!("this machine is too slow to read now and then");
}

/// What one read returns.
async fn read(stream: &mut PacedStream) -> String {
    let mut bytes = vec![0; 8192];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// Whether a read must wait.
async fn waits(stream: &mut PacedStream) -> bool {
    timeout(SHORT / 5, stream.read(&mut [0; 8192])).await.is_err()
}

/// Begins a request of the connection of `stream`, as actix-http does.
fn begin(stream: &PacedStream) -> RequestInFlight {
    stream.exchange().begin(&mut Request::new())
}

const REQUEST: &str = "GET / HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn two_heads_are_handed_over_before_an_answer_is_written() {
    let (mut client, server) = pair().await;
    let mut stream = PacedStream::new(server, PACE);
    client.write_all(REQUEST.repeat(5).as_bytes()).await.unwrap();
    for count in [2, 2, 1] {
        assert_eq!(read(&mut stream).await, REQUEST.repeat(count));
        assert!(count == 1 || waits(&mut stream).await);
        stream.flush().await.unwrap();
    }
    client.write_all(b"GET").await.unwrap();
    assert_eq!(read(&mut stream).await, "GET");
}

#[tokio::test]
async fn nothing_is_read_while_an_answer_cannot_be_written() {
    let (mut client, server) = pair().await;
    let mut stream = PacedStream::new(server, PACE);
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(timeout(SHORT, stream.write_all(&vec![0; MUCH])).await.is_err());
    assert!(waits(&mut stream).await);
}

#[tokio::test]
async fn what_comes_behind_a_request_waits_for_its_answer() {
    let (mut client, server) = pair().await;
    let mut stream = PacedStream::new(server, PACE);
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read(&mut stream).await;
    let request = begin(&stream);
    client.write_all(b"GET /a").await.unwrap();
    assert_eq!(read(&mut stream).await, "GET /a", "one read, to see whether it goes away");
    client.write_all(b"bc HTTP").await.unwrap();
    stream.flush().await.unwrap();
    assert!(waits(&mut stream).await);
    drop(request);
    stream.flush().await.unwrap();
    assert_eq!(read(&mut stream).await, "bc HTTP");
}

/// With an error, actix-http would drop the handler, which may have begun to publish.
#[tokio::test]
async fn a_reset_is_the_end_of_the_stream_while_a_request_is_in_flight() {
    for is_in_flight in [true, false] {
        let (mut client, server) = pair().await;
        let mut stream = PacedStream::new(server, PACE);
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        read(&mut stream).await;
        let request = is_in_flight.then(|| begin(&stream));
        client.set_zero_linger().unwrap();
        drop(client);
        let ended = stream.read(&mut [0; 8192]).await;
        assert_eq!(ended.ok(), is_in_flight.then_some(0));
        if request.is_some() {
            stream.client_closed().closed().await;
        }
    }
}

#[tokio::test]
async fn a_target_is_encoded_in_each_request_that_waits_for_its_turn() {
    let (mut client, server) = pair().await;
    let mut stream = PacedStream::new(server, PACE);
    for _ in 0..2 {
        client.write_all("GET /?a=é".as_bytes()).await.unwrap();
        assert!(waits(&mut stream).await);
        client.write_all(b" b HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut stream).await, "GET /?a=%C3%A9%20b HTTP/1.1\r\nHost: t\r\n\r\n");
        drop(begin(&stream));
        stream.flush().await.unwrap();
    }
    client.write_all("GET /é".as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut stream).await, "GET /é");
    assert_eq!(read(&mut stream).await, "");
}

/// How a client goes on after a request that was answered.
#[derive(Debug, Clone, Copy)]
enum After {
    Silence,
    CrowdedSilence,
    OneByte,
    Drip,
    LongWork,
}

impl After {
    /// A pace that shows which clock ended the connection: any other would end it sooner, or after an hour.
    fn pace(self) -> Pace {
        match self {
            Self::Silence | Self::LongWork => {
                Pace { head: SHORT, keep_alive: SHORT * 2, keep_alive_crowded: SHORT }
            }
            Self::CrowdedSilence => Pace { keep_alive_crowded: SHORT, ..PACE },
            Self::OneByte | Self::Drip => Pace { head: SHORT * 2, ..PACE },
        }
    }
}

/// What the client is told at the end, and how long after its first request was answered.
async fn end(after: After) -> (String, Duration) {
    let max = matches!(after, After::CrowdedSilence).then_some(2);
    let (mut client, server) = pair_of(max, HOUR).await;
    let mut stream = PacedStream::new(server, after.pace());
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read(&mut stream).await;
    // Before any clock begins that may end the connection.
    let start = Instant::now();
    drop(begin(&stream));
    stream.flush().await.unwrap();
    match after {
        After::Silence | After::CrowdedSilence => {}
        After::OneByte => client.write_all(b"G").await.unwrap(),
        // However often a byte comes, the head's time goes on.
        After::Drip => loop {
            client.write_all(b"G").await.unwrap();
            if let Ok(line) = timeout(SHORT / 5, read(&mut stream)).await {
                assert_eq!(line, "", "a request line is handed over whole");
                break;
            }
        },
        After::LongWork => {
            client.write_all(REQUEST.as_bytes()).await.unwrap();
            read(&mut stream).await;
            let request = begin(&stream);
            assert!(timeout(SHORT * 3, read(&mut stream)).await.is_err());
            drop(request);
            stream.flush().await.unwrap();
        }
    }
    while !read(&mut stream).await.is_empty() {}
    let took = start.elapsed();
    drop(stream);
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    (told, took)
}

#[tokio::test]
async fn every_head_has_its_time_and_an_idle_connection_more_unless_it_is_crowded() {
    let told = String::from_utf8(paced::TOO_SLOW.to_vec()).unwrap();
    let ends = [
        (After::Silence, "", SHORT * 2),
        (After::CrowdedSilence, "", SHORT),
        (After::OneByte, &*told, SHORT * 2),
        (After::Drip, &told, SHORT * 2),
        (After::LongWork, "", SHORT * 3 + SHORT * 2),
    ];
    join_all(ends.map(async |(after, says, from)| {
        let ended = timeout(PATIENCE, end(after)).await;
        let (said, took) = ended.unwrap_or_else(|_| panic!("{after:?}: the connection stays open"));
        assert_eq!(said, says, "{after:?}");
        assert!(took >= from, "{after:?}: {took:?}");
    }))
    .await;
    let (mut client, server) = pair().await;
    let mut stream = PacedStream::new(server, Pace { head: SHORT, ..PACE });
    let first = timeout(PATIENCE, read(&mut stream)).await.unwrap();
    assert_eq!(first, "", "the first head, of which there is nothing");
    drop(stream);
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, told);
}
