//! Requests whose query is not percent-encoded as it should be: the text is accepted all the same.

use crate::{client, server::Running};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONFIG: &str = "[backends.demo]\ntype = \"http\"\n[backends.latin]\ntype = \"http\"\n\
                      receive = { charset = \"iso-8859-1\" }\n";

fn request(target: &[u8], headers: &str) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: t\r\n", headers.as_bytes(), b"\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_text_in_the_query_arrives_as_it_was_written() {
    let server = Running::start(CONFIG).await;
    for (target, text) in [
        (&b"/backends/demo?identity=1&text=caf\xc3\xa9"[..], "café"),
        (b"/backends/latin?identity=1&text=caf\xe9", "café"),
        (b"/backends/demo?identity=1&text=caf\xe9", "caf\u{fffd}"),
        (b"/backends/demo?identity=1&text=hi there, you", "hi there, you"),
        (b"/backends/demo?identity=1&text=\"a\" <b> `c` {d} | \\ ^ #1", "\"a\" <b> `c` {d} | \\ ^ #1"),
        (b"/backends/demo?identity=1&text=100%25+%C3%A9 \xc3\xa9", "100% é é"),
        ("/backends/demo?identity=1&text=😀".as_bytes(), "😀"),
    ] {
        let answer = client::send(server.address, &request(target, "Connection: close\r\n")).await;
        assert_eq!(answer.status, 200, "{text}: {}", answer.body);
        let texts: Vec<_> = server.inbound().into_iter().map(|message| message.text).collect();
        assert_eq!(texts, [text]);
    }
    for (target, status) in [
        (&b"/backends/d\xc3\xa9mo?identity=1&text=a"[..], 404),
        (b"/backends/demo x?identity=1&text=a", 400),
        (b"/backends/demo?identity=1&text=a\tb", 400),
        (b"/backends/demo?identity=1&text=a\x00b", 400),
    ] {
        let answer = client::send(server.address, &request(target, "Connection: close\r\n")).await;
        assert_eq!((answer.status, server.inbound()), (status, vec![]), "{target:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_handler_saw_is_counted() {
    let server = Running::start(CONFIG).await;
    let close = "Connection: close\r\n";
    let expects =
        "Expect: 100-continue\r\nContent-Length: 17\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let post = format!("POST /backends/demo HTTP/1.1\r\nHost: t\r\n{close}{expects}\r\nidentity=1&text=a");
    for (request, status) in [
        (request(b"/backends/demo?identity=1&text=a", close), 200),
        (request(b"/backends/demo?identity=1", close), 400),
        (post.into_bytes(), 100),
        (request(b"/backends/demo?identity=1&text=a\tb", close), 400),
        (request(b"/backends/demo?identity=1&text=a", "Content-Length: x\r\n"), 400),
        (b"hello\r\n\r\n".to_vec(), 400),
    ] {
        assert_eq!(client::send(server.address, &request).await.status, status);
    }
    let metrics = server.metrics.text();
    for (status, count) in [(400, 3), (408, 0), (431, 0)] {
        let line =
            format!("postern_requests_unread_total{{listener=\"ingress\",status=\"{status}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_in_every_request_of_a_connection_and_no_body_is_changed() {
    let server = Running::start(CONFIG).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let raw = request("/backends/demo?identity=1&text=é é".as_bytes(), "");
    for _ in 0..3 {
        stream.write_all(&raw).await.unwrap();
        let mut answer = vec![0; 4096];
        let count = stream.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    }
    // A body whose first line looks like a request line: its length is still what its head says.
    let body = [b"GET /?a=\xc3\xa9 HTTP/1.1\r\n", &raw[..]].concat();
    let head = "POST /backends/demo?identity=2&text=x HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\n";
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let last = request(b"/backends/demo?identity=3&text=last", "Connection: close\r\n");
    stream.write_all(&last).await.unwrap();
    let mut answers = String::new();
    let _ = stream.read_to_string(&mut answers).await;
    assert!(answers.starts_with("HTTP/1.1 415"), "{answers}");
    let texts: Vec<_> = server.inbound().into_iter().map(|message| message.text).collect();
    assert_eq!(texts[..3], ["é é", "é é", "é é"]);
    assert!(texts[3..].iter().all(|text| text == "last"), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_the_url_is_verified_over_what_was_sent() {
    let config = "[ingress]\npublic_url = \"https://sms.example.org\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
                  [backends.signed]\ntype = \"http\"\nreceive = { auth = { twilio = { token = \"hush\" } } }\n";
    let server = Running::start(config).await;
    let target = "/backends/signed?identity=1&text=é é";
    let encoded = "/backends/signed?identity=1&text=%C3%A9%20%C3%A9";
    for (sent, signed, status) in [
        (target, target, 200),
        (encoded, encoded, 200),
        (target, encoded, 200),
        (target, "/backends/signed?identity=1&text=e", 403),
    ] {
        let mut mac = Hmac::<Sha1>::new_from_slice(b"hush").unwrap();
        mac.update(format!("https://sms.example.org{signed}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let headers = format!("X-Twilio-Signature: {signature}\r\nConnection: close\r\n");
        let answer = client::send(server.address, &request(sent.as_bytes(), &headers)).await;
        assert_eq!(answer.status, status, "{sent} {signed}: {}", answer.body);
    }
}
