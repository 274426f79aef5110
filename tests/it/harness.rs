//! The test harness itself, where a fault in it would be hard to notice.

use postern_tests::{
    Answer, Direction, Folder, Gate, Properties, Provider, Proxy, Rabbit, Reply, eventually, fetch,
    http_client, pairs,
};
use serde_json::json;
use std::{process::Command, time::Duration};

#[tokio::test]
async fn a_broker_survives_being_killed_and_virtual_hosts_are_apart() {
    let rabbit = Rabbit::to_harm().await;
    let (one, other) = (rabbit.vhost(), rabbit.vhost());
    let declared = rabbit.eval(&format!(
        "element(1, rabbit_amqqueue:declare(rabbit_misc:r(<<\"{}\">>, queue, <<\"q\">>), true, false, \
         [{{<<\"x-queue-type\">>, longstr, <<\"quorum\">>}}], none, <<\"tests\">>))",
        one.url().rsplit_once('/').unwrap().1
    ));
    assert_eq!(declared, "new");
    assert_eq!(
        one.queues().iter().map(|q| (q.kind.as_str(), q.durable)).collect::<Vec<_>>(),
        [("rabbit_quorum_queue", true)]
    );
    assert_eq!(other.queues(), []);
    let body = json!({"a": 1});
    let tap = one.tap().await;
    let headers = [("x-n".into(), lapin::types::AMQPValue::LongLongInt(3))];
    let headers = std::collections::BTreeMap::from(headers);
    let properties = Properties::default().with_type("t".into()).with_headers(headers.into());
    tap.publish("", "q", body.to_string().as_bytes(), properties).await;
    tap.depth_becomes("q", 1).await;
    assert!(tap.depth("none").await.is_err());
    rabbit.kill();
    assert!(!rabbit.running());
    rabbit.start().await;
    let message = one.tap().await.take("q").await;
    assert_eq!((message.json(), message.kind.as_deref()), (body, Some("t")));
    assert_eq!(message.headers["x-n"], 3);
    rabbit.block(true);
    assert!(rabbit.eval("rabbit_alarm:get_alarms()").contains("memory"));
    rabbit.block(false);
    assert_eq!(rabbit.eval("rabbit_alarm:get_alarms()"), "[]");
}

#[tokio::test]
async fn a_provider_answers_as_told_and_remembers() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.script([
        Answer::status(503).header("Retry-After", "7"),
        Answer::unanswered(),
        Answer::ok("late").held(&gate),
        Answer::endless(Duration::from_millis(1)),
    ]);
    let client = http_client();
    let post = || client.post(provider.url("/send?a=1&b=%2B")).form(&[("to", "é&")]);
    let Reply { status, .. } = fetch(post()).await.unwrap();
    assert_eq!(status, 503);
    assert!(fetch(post()).await.is_err());
    let (late, ()) = tokio::join!(fetch(post()), async {
        provider.wait_for(3).await;
        gate.open();
    });
    assert_eq!(late.unwrap().text, "late");
    let mut endless = client.get(provider.url("/")).send().await.unwrap();
    for _ in 0..5 {
        assert!(endless.chunk().await.unwrap().is_some());
    }
    let asked = provider.take().await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/send"));
    assert_eq!((asked.query(), asked.form()), (pairs(&[("a", "1"), ("b", "+")]), pairs(&[("to", "é&")])));
    assert_eq!(provider.requests().len(), 3);
}

#[tokio::test]
#[should_panic(expected = "nobody expected these requests: GET /x")]
async fn an_unexpected_request_fails_the_test() {
    let provider = Provider::start().await;
    let _ = fetch(http_client().get(provider.url("/x"))).await;
}

#[tokio::test]
#[should_panic(expected = "1 scripted answers were never asked for")]
async fn an_unused_answer_fails_the_test() {
    Provider::start().await.script([Answer::ok("")]);
}

/// Set for the child process that the next test starts and kills.
const VICTIM: &str = "POSTERN_TEST_VICTIM";

#[test]
fn nothing_is_left_of_tests_that_are_killed() {
    if let Ok(told) = std::env::var(VICTIM) {
        let folder = Folder::new();
        let gateway = postern_tests::Launch::gateway();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let program = runtime.block_on(async { gateway.spawn() });
        let folders = [folder.path(), gateway.folder().path()].map(|path| path.display().to_string());
        // Renamed into place, so that the reader never sees half of it.
        let draft = format!("{told}.draft");
        std::fs::write(&draft, format!("{}\n{}", program.id(), folders.join("\n"))).unwrap();
        std::fs::rename(draft, told).unwrap();
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let told = Folder::new();
    let path = told.path().join("told");
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim.args(["--exact", "harness::nothing_is_left_of_tests_that_are_killed"]);
    let mut victim = victim.env(VICTIM, &path).stdout(std::process::Stdio::null()).spawn().unwrap();
    let start = std::time::Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < postern_tests::LIMIT);
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = std::fs::read_to_string(path).unwrap();
    let (program, folders) = left.split_once('\n').unwrap();
    // A process that has ended and was not waited for has no command line.
    let runs = || std::fs::read(format!("/proc/{program}/cmdline")).is_ok_and(|line| !line.is_empty());
    assert!(runs());
    victim.kill().unwrap();
    victim.wait().unwrap();
    while runs() {
        assert!(start.elapsed() < postern_tests::LIMIT, "process {program} is left");
        std::thread::sleep(Duration::from_millis(20));
    }
    for folder in folders.lines().map(std::path::Path::new) {
        while folder.exists() {
            assert!(start.elapsed() < postern_tests::LIMIT, "{} is left", folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test]
async fn a_proxy_does_what_networks_do() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::{Instant, timeout},
    };
    let soon = Duration::from_secs(20);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port()).await;
    let pair = async || {
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    };
    let mut byte = [0];
    let (mut client, mut server) = pair().await;
    client.write_all(b"a").await.unwrap();
    timeout(soon, server.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!((byte, proxy.connections()), ([b'a'], 1));

    proxy.freeze();
    client.write_all(b"b").await.unwrap();
    let silent = timeout(Duration::from_millis(300), server.read_exact(&mut byte)).await;
    assert!(silent.is_err(), "neither data nor an end: {silent:?}");
    proxy.thaw();
    timeout(soon, server.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(byte, *b"b");

    proxy.delay(Duration::from_millis(300));
    let start = Instant::now();
    server.write_all(b"c").await.unwrap();
    timeout(soon, client.read_exact(&mut byte)).await.unwrap().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(300) && byte == *b"c");
    proxy.delay(Duration::ZERO);

    proxy.half_close(Direction::Up);
    assert_eq!(timeout(soon, server.read(&mut byte)).await.unwrap().unwrap(), 0, "the end of data");
    client.write_all(b"lost").await.unwrap();
    server.write_all(b"d").await.unwrap();
    timeout(soon, client.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(byte, *b"d", "the other direction goes on");

    let (mut other, _other) = pair().await;
    proxy.cut();
    for client in [&mut client, &mut other] {
        // The end of data or a reset.
        assert!(matches!(timeout(soon, client.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
    }
    eventually("no connection is left", async || match proxy.connections() {
        0 => Ok(()),
        open => Err(open),
    })
    .await;
    proxy.refuse(true);
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert!(matches!(timeout(soon, refused.read(&mut byte)).await.unwrap(), Ok(0) | Err(_)));
    proxy.refuse(false);
    drop(pair().await);
}
