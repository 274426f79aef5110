//! `postern`: the whole gateway in one process with the embedded broker.

use postern_tests::{Answer, Gate, Launch, Provider, assert_silent, free_port};
use serde_json::json;

const NUMBER: &str = "+15557654321";

fn http_backend(url: &str) -> String {
    // A minute of attempts: no test is without its provider for that long.
    let delays = ["\"1s\""; 60].join(", ");
    format!(
        "[application]\ntype = \"echo\"\n[retry]\ndelays = [{delays}]\n\
         [backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{url}\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\", id = \"{{{{ id }}}}\" }}\n"
    )
}

#[tokio::test]
async fn an_empty_folder_is_enough() {
    let launch = Launch::gateway();
    let postern = launch.start().await;
    let form = [("identity", NUMBER), ("text", "ping to the demo")];
    let reply = postern.post_form("/backends/demo", &form).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "OK"));
    let sent = [("backend", "demo"), ("outcome", "sent")];
    postern.metric_becomes("postern_dispatch_messages_total", &sent, 1.0).await;
    postern.metric_becomes("postern_dispatch_recipients_total", &sent, 1.0).await;
    assert!(launch.folder().path().join("postern-data").is_dir(), "the store is where the default says");
    postern.out().wait_for(&format!("message to {NUMBER} through demo: ping to the demo")).await;
    let ended = postern.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("demo"), "sending by console is a log line: {}", ended.log);
    let lines: Vec<_> = ended.log.lines().map(str::to_owned).collect();
    assert_silent(&lines, &[NUMBER, "ping to the demo"]);
}

#[tokio::test]
async fn what_was_accepted_is_sent_after_a_power_cut() {
    let provider = Provider::start().await;
    let held = Gate::closed();
    provider.otherwise(move |_| Answer::ok("").held(&held));
    let launch = Launch::gateway().config(&http_backend(&provider.url("/send")));
    let postern = launch.start().await;
    let mut accepted = Vec::new();
    for n in 0..5 {
        let body = json!({"backend": "x", "to": NUMBER, "text": format!("number {n}")});
        let reply = postern.post_json("/v1/messages", &body).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        accepted.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    // Wait for all requests: one that is still on its way would be counted after the kill.
    let before = provider.wait_for(accepted.len()).await.len();
    postern.kill();
    provider.otherwise(|_| Answer::ok(""));
    let postern = launch.start().await;
    let asked = provider.wait_for(before + accepted.len()).await;
    let mut again: Vec<_> =
        asked[before..].iter().map(|r| r.json()["id"].as_str().unwrap().to_owned()).collect();
    again.sort();
    accepted.sort();
    assert_eq!(again, accepted, "all that were accepted, under the ids that were told");
    postern
        .metric_becomes("postern_dispatch_messages_total", &[("backend", "x"), ("outcome", "sent")], 5.0)
        .await;
    postern.ends_silent(&[NUMBER]).await;
}

#[tokio::test]
async fn a_provider_that_is_down_gets_its_messages_when_it_is_up_even_after_a_power_cut() {
    let port = free_port();
    let launch = Launch::gateway().config(&http_backend(&format!("http://127.0.0.1:{port}/send")));
    let postern = launch.start().await;
    let reply = postern.post_form("/backends/x", &[("identity", NUMBER), ("text", "still there?")]).await;
    assert_eq!(reply.status, 200);
    postern.kill();
    let postern = launch.start().await;
    let retrying = [("backend", "x"), ("outcome", "retrying")];
    postern.metric_reaches("postern_dispatch_messages_total", &retrying, 1.0).await;
    postern.kill();
    let provider = Provider::start_on(port).await;
    provider.otherwise(|_| Answer::ok(""));
    let postern = launch.start().await;
    let sent = [("backend", "x"), ("outcome", "sent")];
    postern.metric_reaches("postern_dispatch_messages_total", &sent, 1.0).await;
    let asked = provider.requests();
    let first = asked[0].json();
    assert_eq!((first["to"].as_str(), first["text"].as_str()), (Some(NUMBER), Some("still there?")));
    // A power cut may send it twice, under the same id.
    assert!(asked.iter().all(|request| request.json()["id"] == first["id"]), "{asked:?}");
}

#[tokio::test]
async fn two_processes_do_not_share_one_store() {
    let launch = Launch::gateway();
    let first = launch.start().await;
    let second = launch.run().await;
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains("postern-data"), "which store: {}", second.log);
    assert_eq!(first.get("/v1/backends").await.status, 200, "the first goes on");
}

#[tokio::test]
async fn the_halves_refuse_the_embedded_broker_and_say_why() {
    let config = "[broker]\nurl = \"embedded:here\"\n[backends.demo]\ntype = \"console\"\n";
    for launch in [Launch::ingress(config), Launch::dispatcher(config)] {
        let ended = launch.run().await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        for word in ["broker.url", "embedded", "amqp://"] {
            assert!(ended.log.contains(word), "{word}: {}", ended.log);
        }
        assert!(!launch.folder().path().join("here").exists(), "it touched the store");
    }
}

#[tokio::test]
async fn programs_say_what_they_are() {
    for (name, launch) in [
        ("postern", Launch::gateway()),
        ("postern-ingress", Launch::ingress("")),
        ("postern-dispatcher", Launch::dispatcher("")),
    ] {
        let version = launch.clone().arg("--version").run().await;
        assert_eq!(version.code, Some(0));
        assert_eq!(version.out.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
        let help = launch.arg("--help").run().await;
        assert_eq!(help.code, Some(0));
        for word in ["Usage:", "--config", "POSTERN_CONFIG"] {
            assert!(help.out.contains(word), "{name} --help does not name {word}: {}", help.out);
        }
    }
    let wrong = Launch::gateway().arg("--nonsense").run().await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.log);
    assert!(wrong.log.contains("--nonsense"));
}

#[tokio::test]
async fn a_signal_ends_it_in_order() {
    for signal in ["TERM", "INT"] {
        let postern = Launch::gateway().start().await;
        postern.signal(signal);
        let ended = postern.wait().await;
        assert_eq!(ended.code, Some(0), "SIG{signal}: {}", ended.log);
        let said = ["draining; a second", "no more requests are accepted", "no more messages are consumed"];
        let places = said.map(|line| ended.log.find(line).unwrap_or_else(|| panic!("{line}: {}", ended.log)));
        assert!(places.is_sorted(), "readiness ends, then accepting, then consuming: {}", ended.log);
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = Launch::gateway().start().await;
    let address = first.url().replace("http://", "");
    let second = Launch::gateway().env("POSTERN__INGRESS__LISTEN", &address).run().await;
    assert_eq!(second.code, Some(1), "{}", second.log);
    assert!(second.log.contains(&address), "{}", second.log);
}
