//! Requests that nobody sends with good intentions: each gets an answer, never a 500, and nothing of them is
//! stored.

use crate::{
    client,
    server::{Running, impatient},
};
use std::fmt::Write;
use tokio::{io::AsyncWriteExt, net::TcpStream};

const SMALL: &str = "[ingress]\nmax_body = 1000\nmax_fields = 10\nmax_key = 20\nmax_value = 100\n\
                     [backends.demo]\ntype = \"http\"\n";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_has_its_status_and_says_so() {
    let server = Running::start(SMALL).await;
    let fields = "a=1&".repeat(9);
    let long = "x".repeat(101);
    let deep = "[".repeat(300);
    for (kind, body, status, says) in [
        (FORM, "x".repeat(1001), 413, "at most 1000 bytes"),
        (FORM, format!("{fields}identity=1&text=a"), 400, "at most 10 parameters"),
        (FORM, format!("identity=1&text={long}"), 400, "text: at most 100 bytes"),
        (FORM, format!("identity=1&text=a&{}=1", &long[..21]), 400, "at most 20 bytes"),
        ("text/plain", "identity=1&text=a".to_owned(), 415, "application/json"),
        ("application/pdf", "<a/>".to_owned(), 415, "application/xml"),
        ("application/xml", "<a>".to_owned(), 400, "incomplete"),
        ("application/xml", "<!DOCTYPE a><a/>".to_owned(), 400, "document type"),
        ("application/xml", "<a>".repeat(300), 400, "at most 10 parameters"),
        ("application/xml", format!("<a><text>{long}</text></a>"), 400, "at most 100 bytes"),
        ("application/xml", format!("<a><{}/></a>", &long[..21]), 400, "at most 20 bytes"),
        ("application/xml", "<a/>".to_owned(), 400, "identity: This field is required."),
        ("\u{ff}", "a".to_owned(), 415, "application/json"),
        ("application/json", "{".to_owned(), 400, "incomplete"),
        ("application/json", deep, 400, "at most 10 parameters"),
        (
            "application/json",
            format!("{{\"text\":\"a\",\"x\":[{}0]}}", "0,".repeat(10)),
            400,
            "at most 10 parameters",
        ),
        (
            "application/json",
            format!("{{\"identity\":\"1\",\"text\":\"{long}\"}}"),
            400,
            "text: at most 100 bytes",
        ),
        ("application/json", format!("{{\"a\":{{\"{}\":1}}}}", &long[..21]), 400, "at most 20 bytes"),
        ("application/json", "\"x\"".to_owned(), 400, "identity: This field is required."),
        ("application/json", "[]".to_owned(), 400, "identity: This field is required."),
        ("multipart/form-data", "x".to_owned(), 400, "boundary"),
        ("multipart/form-data; boundary=B", "--B\r\n".to_owned(), 400, "not valid multipart"),
    ] {
        let answer = server.post("/backends/demo", kind, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{kind} {body}: {}", answer.body);
        assert!(answer.body.contains(says), "{kind} {body}: {}", answer.body);
        assert_eq!(answer.body.starts_with("form failed to validate\n"), status == 400, "{}", answer.body);
    }
    let query = format!("/backends/demo?{fields}identity=1&text=a");
    assert_eq!(server.get(&query).await.status, 400);
    assert_eq!(server.inbound(), []);
    // The limits themselves are allowed.
    let body = format!("{}identity=1&text={}", "a=1&".repeat(8), "x".repeat(100));
    assert_eq!(server.form("/backends/demo", &body).await.status, 200);
    let rest = r#""a":[1,2],"b":{"c":null,"12345678901234567890":true,"d":[]}"#;
    let body = format!("{{\"identity\":\"1\",\"text\":\"{}\",{rest}}}", "x".repeat(100));
    assert_eq!(server.post("/backends/demo", "application/json", body.as_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_content_type_is_urlencoded_and_none_needs_none() {
    let server = Running::start(SMALL).await;
    let request = client::written("POST", "/backends/demo", &[], b"identity=1&text=a");
    assert_eq!(client::send(server.address, &request).await.status, 200);
    let answer = server.method("POST", "/backends/demo").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("identity: This field is required."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_not_decoded() {
    let server = Running::start(SMALL).await;
    for (coding, status) in [
        ("gzip", 415),
        ("br, gzip", 415),
        ("identity, deflate", 415),
        ("base64", 415),
        ("identity", 200),
        ("Identity", 200),
        ("", 200),
        ("utf-8", 200),
        ("None", 200),
        ("8bit", 200),
    ] {
        let headers = [("Content-Type", FORM), ("Content-Encoding", coding)];
        let request = client::written("POST", "/backends/demo", &headers, b"identity=1&text=a");
        assert_eq!(client::send(server.address, &request).await.status, status, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_body_is_cut_at_the_limit() {
    let server = Running::start(SMALL).await;
    let head = format!(
        "POST /backends/demo HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut huge = head.clone();
    for _ in 0..2_000 {
        write!(huge, "400\r\n{}\r\n", "x".repeat(0x400)).unwrap();
    }
    // Endless too: the last chunk never comes, and the server does not wait for it.
    assert_eq!(client::send(server.address, huge.as_bytes()).await.status, 413);
    let elsewhere = huge.replacen("/backends/demo", "/backends/other", 1);
    assert_eq!(client::send(server.address, elsewhere.as_bytes()).await.status, 404);
    let pieces = format!("{head}5\r\nident\r\n8\r\nity=1&te\r\n4\r\nxt=a\r\n0\r\n\r\n");
    assert_eq!(client::send(server.address, pieces.as_bytes()).await.status, 200);
    assert_eq!(server.inbound()[0].text, "a");
    let broken = format!("{head}5\r\nident\r\nZZ\r\n");
    assert_eq!(client::send(server.address, broken.as_bytes()).await.status, 400);
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_keeps_its_memory_until_its_request_is_answered() {
    let server = Running::start(
        "[ingress]\nmax_body = 9_000_000\nmax_value = 9_000_000\n[backends.demo]\ntype = \"http\"\n",
    )
    .await;
    let body = format!("identity=1&text=a&x={}", "x".repeat(8_900_000));
    let large = client::written("POST", "/backends/demo", &[("Content-Type", FORM)], body.as_bytes());
    server.broker.held.send_replace(true);
    let (address, request) = (server.address, large.clone());
    let first = tokio::spawn(async move { client::send(address, &request).await });
    server.broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    // The server may refuse the body before all of it is written.
    let _ = second.write_all(&large).await;
    let refused =
        "postern_ingress_requests_total{backend=\"demo\",compat=\"\",method=\"POST\",status=\"503\"}";
    server.until(refused, 1.0).await;
    server.broker.held.send_replace(false);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(client::send(server.address, &large).await.status, 200);
    assert_eq!(server.inbound().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_told_and_let_go() {
    let server = Running::start(&impatient(SMALL)).await;
    let head = "POST /backends/demo HTTP/1.1\r\nHost: t\r\nContent-Length: 17\r\n";
    for (what, sent) in [("headers", head.to_owned()), ("body", format!("{head}\r\nidentity=1"))] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        // The request has no `Connection: close`: the server closes the connection by itself.
        assert_eq!(client::read(&mut stream).await.status, 408, "{what}");
    }
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_not_stored() {
    let server = Running::start(SMALL).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /backends/demo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nidentity=1&text=a";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_requests_leave_the_server_standing() {
    let server = Running::start(SMALL).await;
    let many = format!(
        "GET /backends/demo?{} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "a&".repeat(10_000)
    );
    for request in [
        b"GET /backends/demo\xff\xfe?identity=1&text=a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
            .to_vec(),
        b"GET /backends/%zz%? HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"POST /backends/demo HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /backends/demo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
        b"GET http://elsewhere/v1/messages HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".to_vec(),
        many.into_bytes(),
        format!("GET /{} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "x".repeat(200_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}Connection: close\r\n\r\n", "A: b\r\n".repeat(500)).into_bytes(),
    ] {
        let status = client::send(server.address, &request).await.status;
        assert!(
            (400..500).contains(&status),
            "{status}: {}",
            String::from_utf8_lossy(&request[..60.min(request.len())])
        );
    }
    assert_eq!(server.get("/backends/demo?identity=%&text=100%+%zz").await.status, 200);
    let messages = server.inbound();
    assert_eq!((messages[0].identity.as_str(), messages[0].text.as_str()), ("%", "100% %zz"));
}
