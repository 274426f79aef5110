//! Requests whose end two servers may see at different places (RFC 9112, 11.2): what a proxy in
//! front may take for a body is never answered as a request of its own.

use crate::{
    client,
    server::{Running, impatient},
};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream};

const DEMO: &str = "[ingress]\n[backends.demo]\ntype = \"http\"\n";
const HIDDEN: &str =
    "GET /backends/demo?identity=hidden&text=x HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!("POST /backends/demo?n=1 HTTP/1.1\r\nHost: t\r\n{headers}\r\n{body}")
}

/// The statuses of all answers until the server closes.
async fn statuses(server: &Running, request: &str) -> Vec<u16> {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.match_indices("HTTP/1.").filter_map(|(at, _)| text[at..].get(9..12)?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ambiguous_is_refused_and_nothing_behind_it_is_read() {
    let server = Running::start(DEMO).await;
    let form = "identity=1&text=a";
    let chunked = format!("11\r\n{form}\r\n0\r\n\r\n{HIDDEN}");
    let hidden = HIDDEN.len();
    for (what, request) in [
        ("length and chunks", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("chunks and length", post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", &chunked)),
        (
            "two lengths",
            post(
                &format!("Content-Length: 17\r\nContent-Length: {}\r\n", 17 + hidden),
                &format!("{form}{HIDDEN}"),
            ),
        ),
        ("a list of lengths", post("Content-Length: 17, 17\r\n", &format!("{form}{HIDDEN}"))),
        ("a length with a sign", post("Content-Length: +17\r\n", &format!("{form}{HIDDEN}"))),
        ("a length in hex", post("Content-Length: 0x11\r\n", &format!("{form}{HIDDEN}"))),
        (
            "a length beyond all",
            post("Content-Length: 99999999999999999999999\r\n", &format!("{form}{HIDDEN}")),
        ),
        ("chunks twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &chunked)),
        ("another coding", post("Transfer-Encoding: xchunked\r\n", &chunked)),
        ("chunks not last", post("Transfer-Encoding: chunked, identity\r\n", &chunked)),
        ("a space before the colon", post("Transfer-Encoding : chunked\r\n", &chunked)),
        ("a folded header", post("Transfer-Encoding:\r\n chunked\r\n", &chunked)),
        (
            "a folded length",
            post("X: y\r\n Content-Length: 6\r\nContent-Length: 17\r\n", &format!("{form}{HIDDEN}")),
        ),
        ("a NUL", post("Content-Length: 17\0\r\n", &format!("{form}{HIDDEN}"))),
        ("a bare CR", post("X: y\rContent-Length: 6\r\nContent-Length: 17\r\n", &format!("{form}{HIDDEN}"))),
        (
            "a chunk that overflows",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("10000000000000011\r\n{form}\r\n0\r\n\r\n{HIDDEN}"),
            ),
        ),
        (
            "a negative chunk",
            post("Transfer-Encoding: chunked\r\n", &format!("-1\r\n{form}\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (
            "a chunk's end missing",
            post("Transfer-Encoding: chunked\r\n", &format!("11\r\n{form}0\r\n\r\n{HIDDEN}")),
        ),
    ] {
        let statuses = statuses(&server, &request).await;
        assert_eq!(statuses, [400], "{what}");
        assert_eq!(server.inbound(), [], "{what}");
    }
    assert_eq!(client::send(server.address, HIDDEN.as_bytes()).await.status, 200, "it still answers");
    assert_eq!(server.inbound().len(), 1);
}

/// What follows the chunk's size counts as the chunk's beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_chunk_is_waited_for_in_vain() {
    let server = Running::start(&impatient(DEMO)).await;
    let body = format!("FFFFFFFFFFFFFFFF\r\nidentity=1&text=a{HIDDEN}");
    assert_eq!(statuses(&server, &post("Transfer-Encoding: chunked\r\n", &body)).await, [408]);
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_odd_is_read_once() {
    let server = Running::start(DEMO).await;
    let kind = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
    for (what, request) in [
        (
            "extensions",
            post(
                &format!("{kind}Transfer-Encoding: chunked\r\n"),
                "11;a=b;c=\"d\"\r\nidentity=1&text=a\r\n0\r\n\r\n",
            ),
        ),
        (
            "leading zeros",
            post(
                &format!("{kind}Transfer-Encoding: chunked\r\n"),
                "000011\r\nidentity=1&text=a\r\n0\r\n\r\n",
            ),
        ),
        (
            "lines that end in LF",
            post(&format!("{kind}Content-Length: 17\r\n"), "identity=1&text=a").replace("\r\n", "\n"),
        ),
    ] {
        let statuses = statuses(&server, &request).await;
        let taken: Vec<_> = server.inbound().into_iter().map(|message| message.text).collect();
        assert_eq!((statuses, taken), (vec![200], vec!["a".to_owned()]), "{what}");
    }
}
