//! `postern ingress` and `postern dispatcher` do what `postern-ingress` and `postern-dispatcher` do.

use crate::reports::{outcome, states};
use postern_tests::{Answer, Ended, Gate, Launch, Provider, Rabbit, assert_silent, eventually, http_client};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Each half in its two forms, with this configuration.
fn forms(config: &str) -> [(Launch, Launch); 2] {
    let command = |name| Launch::gateway().arg(name).config(config);
    [(Launch::ingress(config), command("ingress")), (Launch::dispatcher(config), command("dispatcher"))]
}

fn line<'a>(lines: &'a [String], message: &str) -> &'a str {
    let found = lines.iter().find(|line| line.contains(&format!("\"message\":\"{message}\"")));
    found.unwrap_or_else(|| panic!("no line \"{message}\": {lines:#?}"))
}

#[tokio::test]
async fn they_carry_a_message_each_way_and_drain() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.script([Answer::json(200, &json!({"id": "SM1"})).held(&gate)]);
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&format!(
        "[backends.clinic]\ntype = \"http\"\n[backends.clinic.send]\nurl = \"{}\"\nexternal_id = \"/id\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send")
    ));
    let [(_, ingress), (_, dispatcher)] = forms(&config);
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    let tap = vhost.tap().await;
    for (half, name) in [(&ingress, "postern-ingress"), (&dispatcher, "postern-dispatcher")] {
        let starting: Value = serde_json::from_str(&half.log().wait_for("\"starting\"").await).unwrap();
        assert_eq!(starting["program"], name, "{starting}");
        let labels = [("program", name), ("version", env!("CARGO_PKG_VERSION"))];
        assert!((half.metrics().await.value("postern_build_info", &labels) - 1.0).abs() < f64::EPSILON);
    }
    assert!(ingress.get("/v1/backends").await.text.contains("clinic"));

    let form = [("identity", "+15550001111"), ("text", "ping")];
    assert_eq!(ingress.post_form("/backends/clinic", &form).await.status, 200);
    assert_eq!(tap.take("postern.inbound").await.json()["text"], "ping");
    let body = json!({"backend": "clinic", "to": "+15550002222", "text": "pong"});
    assert_eq!(ingress.post_json("/v1/messages", &body).await.status, 202);
    provider.wait_for(1).await;

    // Each half drains: requests in flight are completed, and new messages are left for another dispatcher.
    dispatcher.signal("TERM");
    eventually("it is no longer ready", async || match dispatcher.ready().await {
        Ok(reply) if reply.status == 503 => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    assert_eq!(ingress.post_json("/v1/messages", &body).await.status, 202);
    gate.open();
    assert_eq!(states(&outcome(&tap).await), [("+15550002222", "sent")]);
    // A second signal would end the dispatcher at once.
    for Ended { code, log, out } in [dispatcher.wait().await, ingress.terminate().await] {
        assert_eq!((code, out.as_str()), (Some(0), ""), "{log}");
        let lines: Vec<_> = log.lines().map(str::to_owned).collect();
        line(&lines, "drained");
        assert_silent(&lines, &["+15550001111", "+15550002222", "ping", "pong"]);
    }
    tap.depth_becomes("postern.outbound.clinic", 1).await;
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn a_new_ingress_listens_before_the_old_one_is_gone() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config("[backends.clinic]\ntype = \"http\"\n");
    let old = Launch::ingress(&config).start().await;
    let port = old.url().rsplit_once(':').unwrap().1.to_owned();
    let listen = format!("127.0.0.1:{port}");
    let new = Launch::ingress(&config).env("POSTERN__INGRESS__LISTEN", &listen).start().await;

    let (stop, stopped) = tokio::sync::watch::channel(());
    let clients = (0..4).map(|client| {
        let (url, mut stopped) = (old.url(), stopped.clone());
        tokio::spawn(async move {
            let mut stored = 0_u32;
            while !stopped.has_changed().unwrap() {
                // A new connection for each request.
                let form = [("identity", format!("+1555000{client}")), ("text", format!("ping {stored}"))];
                let reply = http_client().post(format!("{url}/backends/clinic")).form(&form).send().await;
                match reply {
                    Ok(reply) => assert_eq!(reply.status(), 200),
                    // No ingress had accepted the request when the old one closed its port: the provider repeats
                    // it.
                    Err(error) => assert!(!error.is_connect(), "{error:?}"),
                }
                stored += 1;
            }
            stopped.mark_unchanged();
            stored
        })
    });
    let clients: Vec<_> = clients.collect();
    let metric = [("backend", "clinic"), ("method", "POST"), ("status", "200")];
    for ingress in [&old, &new] {
        ingress.metric_reaches("postern_ingress_requests_total", &metric, 20.0).await;
    }
    assert_eq!(old.terminate().await.code, Some(0));
    let before = new.metrics().await.value("postern_ingress_requests_total", &metric);
    new.metric_reaches("postern_ingress_requests_total", &metric, before + 50.0).await;
    stop.send(()).unwrap();
    for client in clients {
        assert!(client.await.unwrap() > 10);
    }
}

#[tokio::test]
async fn they_refuse_what_the_programs_refuse_in_the_same_words() {
    let amqp = "[broker]\nurl = \"amqp://127.0.0.1:9/\"\n";
    let demo = "[backends.demo]\ntype = \"console\"\n";
    let field = "[backends.demo.receive.fields]\nn = { type = \"integer\", default = \"x\" }\n";
    let header = "[backends.demo.send]\nurl = \"http://h/\"\nheaders = { Upgrade = \"x\" }\n";
    let http = demo.replace("console", "http");
    for (config, [ingress, dispatcher]) in [
        (format!("[broker]\nurl = \"embedded:here\"\n{demo}"), ["embedded", "embedded"]),
        (format!("{amqp}[ingress]\nlisten = 7\n[brokr]\n"), ["line 4: ingress.listen", "line 5: brokr"]),
        // A mistake in a part that only one half builds stops only that half; the other gets as far as its admin
        // port.
        (format!("{amqp}{http}{field}{TAKEN}"), ["fields.n.default", "192.0.2.1"]),
        (format!("{amqp}{http}{header}{TAKEN}"), ["192.0.2.1", "send.headers.upgrade"]),
    ] {
        for ((program, command), word) in forms(&config).into_iter().zip([ingress, dispatcher]) {
            let (program, command) = (refused(program).await, refused(command).await);
            assert!(program.1.contains(word), "{word}: {}", program.1);
            assert_eq!(command, program);
        }
    }
}

/// The exit code with its own addresses, and the error without the path of its configuration's folder.
async fn refused(launch: Launch) -> (Option<i32>, String) {
    let ended = launch.clone().own_addresses().run().await;
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    let folder = launch.folder().path().to_str().unwrap();
    let lines = ended.log.lines().filter(|line| !line.starts_with('{'));
    (ended.code, lines.map(|line| line.replace(folder, "")).collect::<Vec<_>>().join("\n"))
}

/// An admin port that cannot be bound, since no machine has this address (RFC 5737).
const TAKEN: &str = "[admin]\nlisten = \"192.0.2.1:9\"\ntoken = \"a-token-of-a-test-0123456789\"\n";

/// The options in the output of `--help`; `text` itself if there are none.
fn options(text: &str) -> BTreeSet<&str> {
    text.split_once("Options:").unwrap_or(("", text)).1.lines().collect()
}

#[tokio::test]
async fn they_take_the_programs_arguments() {
    for (n, (program, command)) in forms("").into_iter().enumerate() {
        for argument in ["--version", "--help"] {
            let program = program.clone().arg(argument).run().await;
            let command = command.clone().arg(argument).run().await;
            assert_eq!((program.code, command.code), (Some(0), Some(0)));
            assert_eq!(options(&program.out), options(&command.out));
            assert_eq!(argument == "--help" && n == 1, command.out.contains("--backends"), "{}", command.out);
        }
    }
    let config = "[broker]\nurl = \"amqp://127.0.0.1:9/\"\n[backends.demo]\ntype = \"console\"\n";
    let [ingress, dispatcher] = forms(config);
    for (program, command, arguments, word) in [
        (&ingress.0, &ingress.1, "--backends=demo", "--backends"),
        (&dispatcher.0, &dispatcher.1, "--backends=demo,demi", "`demi`"),
        (&dispatcher.0, &dispatcher.1, "--backends=De mi", "a-z"),
        (&dispatcher.0, &dispatcher.1, "--admin-listen=192.0.2.1:9", "--admin-listen"),
    ] {
        let program = program.clone().arg(arguments).run().await;
        let command = command.clone().arg(arguments).run().await;
        assert_eq!((program.code, command.code), (Some(2), Some(2)));
        assert!(program.log.contains(word) && command.log.contains(word), "{}", command.log);
    }
}
