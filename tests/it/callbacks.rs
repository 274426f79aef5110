//! Callbacks to the clients of other gateways.

mod fixed_address;

use crate::{
    commands::command,
    compat::{KEY, NUMBER, PASSWORD, both, is_accepted, kannel, sendsms, value},
    reports::states,
};
use postern_tests::{
    Answer, Gate, Launch, Pair, Program, Properties, Provider, Proxy, Rabbit, Request, assert_silent,
    eventually, pairs,
};
use serde_json::json;

/// The path and query of the report address in `asked`.
fn report_path(asked: &Request) -> String {
    let url = value(&asked.form(), "report");
    url.strip_prefix("https://sms.example.org").unwrap_or_else(|| panic!("{url}")).to_owned()
}

async fn told(program: &Program, outcome: &str, number: u32) {
    let labels = [("queue", "postern.callbacks"), ("outcome", outcome)];
    program.metric_becomes("postern_application_deliveries_total", &labels, number.into()).await;
}

/// The whole way with one broker: a client's message, the provider's request, its report, the callbacks.
async fn calls_back(ingress: &Program, dispatcher: &Program, provider: &Provider, client: &Provider) {
    provider.script([Answer::json(200, &json!({"id": "P 1"}))]);
    let dlr = client
        .url("/dlr?mine=7&type=%d&to=%p&from=%P&reply=%A&smsc=%i&id=%I&theirs=%F&who=%n&at=%T&sp=a%20b");
    let message =
        [("to", NUMBER), ("text", "ping é"), ("from", "00100"), ("dlr-mask", "31"), ("dlr-url", &dlr)];
    is_accepted(&sendsms(ingress, &message).await);
    let asked = provider.take().await;
    let form = asked.form();
    assert_eq!(
        (value(&form, "to"), value(&form, "text"), value(&form, "from")),
        (NUMBER.into(), "ping é".into(), "00100".into())
    );
    assert!(!value(&form, "all").contains("postern"), "a template can use {}", value(&form, "all"));
    let call = client.take().await;
    assert_eq!((call.method.as_str(), call.path.as_str(), call.body.len()), ("GET", "/dlr", 0));
    let at = value(&call.query(), "at");
    assert!((jiff::Timestamp::now().as_second() - at.parse::<i64>().unwrap()).abs() < 60, "{at}");
    let id = value(&form, "id");
    let expected = |event: &str, reply: &str, theirs: &str, at: &str| {
        pairs(&[
            ("mine", "7"),
            ("type", event),
            ("to", NUMBER),
            ("from", "00100"),
            ("reply", reply),
            ("smsc", "x"),
            ("id", &id),
            ("theirs", theirs),
            ("who", "rapidsms"),
            ("at", at),
            ("sp", "a b"),
        ])
    };
    assert_eq!(call.query(), expected("8", "ACK/", "P 1", &at));
    for (word, words, event) in [("later", "phone is off", "4"), ("no", "", "2"), ("ok", "on & on", "1")] {
        let path = format!(
            "{}?message_id={id}&state={word}&words={}&at=2026-11-22T17:00:00Z",
            report_path(&asked),
            words.replace(' ', "+").replace('&', "%26")
        );
        let reply = ingress.get(&path).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "OK"));
        let reply = if words.is_empty() { word } else { words };
        assert_eq!(client.take().await.query(), expected(event, reply, "", "1795366800"));
    }
    told(dispatcher, "sent", 4).await;
    // The dispatcher itself has already called back that it was sent.
    assert_eq!(ingress.get(&format!("{}?message_id={id}&state=sent", report_path(&asked))).await.status, 200);
}

#[tokio::test]
async fn a_client_learns_what_became_of_its_message() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let postern = Launch::gateway().config(&(kannel("") + &both(&provider))).start().await;
    calls_back(&postern, &postern, &provider, &client).await;
    let labels = [("backend", "x"), ("compat", "kannel"), ("method", "GET"), ("status", "202")];
    postern.metric_becomes("postern_ingress_requests_total", &labels, 1.0).await;
    let ended = postern.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let lines: Vec<_> = ended.log.lines().map(str::to_owned).collect();
    assert_silent(&lines, &[NUMBER, "ping é", PASSWORD, "/dlr"]);
    assert_eq!(client.requests().len(), 0);
}

#[tokio::test]
async fn a_client_learns_it_over_rabbitmq_too() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let pair = Pair::start(&(kannel("") + &both(&provider))).await;
    calls_back(&pair.ingress, &pair.dispatcher, &provider, &client).await;
    pair.tap.depth_becomes("postern.callbacks", 0).await;
    pair.ends_silent(&[NUMBER, "ping é", PASSWORD, "/dlr"]).await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_and_what_may_yet_go_is_not() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let postern = Launch::gateway().config(&(kannel("") + &both(&provider))).start().await;
    provider.script([Answer::status(503), Answer::status(400).body("never heard of them")]);
    let dlr = client.url("/dlr?type=%d&reply=%A");
    is_accepted(&sendsms(&postern, &[("to", NUMBER), ("dlr-mask", "3"), ("dlr-url", &dlr)]).await);
    assert_eq!(client.take().await.query(), pairs(&[("type", "16"), ("reply", "NACK/http_400")]));
    assert_eq!(provider.wait_for(2).await.len(), 2);
    told(&postern, "sent", 1).await;
    assert_eq!(client.requests().len(), 0);
}

#[tokio::test]
async fn a_client_that_is_down_is_called_again_and_then_given_up() {
    let (provider, client) = (Provider::obliging().await, Provider::start().await);
    let pair = Pair::start(&(kannel("") + &both(&provider))).await;
    client.script([Answer::status(503), Answer::status(503), Answer::ok("")]);
    let dlr = client.url("/dlr?type=%d");
    is_accepted(&sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &dlr)]).await);
    let calls = client.wait_for(3).await;
    assert!(calls.iter().all(|call| call.query() == pairs(&[("type", "8")])));
    told(&pair.dispatcher, "sent", 1).await;
    client.script([Answer::status(410).body("gone")]);
    is_accepted(&sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &dlr)]).await);
    let dead = pair.tap.take("postern.dead").await;
    assert_eq!((dead.key.as_str(), dead.kind.as_deref()), ("x", Some("postern.callback.v1")));
    assert_eq!(dead.headers["x-postern-reason"], "http_410: gone");
    assert_eq!(dead.headers["x-postern-queue"], "postern.callbacks");
    told(&pair.dispatcher, "failed", 1).await;
    // Once the client is back, an operator has it called.
    client.script([Answer::status(410), Answer::ok("")]);
    is_accepted(&sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &dlr)]).await);
    pair.tap.depth_becomes("postern.dead", 1).await;
    let (status, done) = command(&pair.dispatcher, "/v1/dead/redrive", &json!({"all": true})).await;
    assert_eq!((status, &done["done"], &done["stay"]), (200, &json!(1), &json!([])), "{done}");
    told(&pair.dispatcher, "sent", 2).await;
}

#[tokio::test]
async fn a_callback_into_the_network_is_dead_and_nobody_is_connected_to() {
    let (provider, inside) = (Provider::obliging().await, Provider::start().await);
    let config = kannel("").replace("[\"127.0.0.0/8\"]", "[]");
    let pair = Pair::start(&(config + &both(&provider))).await;
    // A host name is judged by its addresses once they are resolved.
    let dlr = inside.url("/dlr").replace("127.0.0.1", "localhost");
    is_accepted(&sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &dlr)]).await);
    let dead = pair.tap.take("postern.dead").await;
    let reason = dead.headers["x-postern-reason"].as_str().unwrap();
    assert!(reason.starts_with("callback_refused: ") && reason.contains("is a loopback address"), "{reason}");
    assert!(reason.contains("compat.callbacks.allow"), "{reason}");
    assert_eq!(dead.headers["x-postern-attempts"], 1);
    // A literal address that was allowed when the message came in, and no longer is.
    let notice = dead.json();
    assert_eq!(notice["event"], 8);
    let literal =
        sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &inside.url("/dlr"))]).await;
    assert_eq!(literal.status, 400, "{}", literal.text);
    // A redirect to a private address is not followed either.
    let redirecting = Provider::start().await;
    redirecting.script([Answer::status(302).header("Location", &inside.url("/dlr"))]);
    let open = Pair::start(&(kannel("").replace("\"500ms\", \"500ms\"", "") + &both(&provider))).await;
    let asks = [("to", NUMBER), ("dlr-mask", "8"), ("dlr-url", &*redirecting.url("/r"))];
    is_accepted(&sendsms(&open.ingress, &asks).await);
    let dead = open.tap.take("postern.dead").await;
    assert_eq!(dead.headers["x-postern-reason"], "http_302");
    assert_eq!(inside.requests().len(), 0);
}

#[tokio::test]
async fn only_a_compatibility_listener_can_ask_for_a_callback() {
    let (provider, client) = (Provider::obliging().await, Provider::start().await);
    let pair = Pair::start(&(kannel("") + &both(&provider))).await;
    let context = json!({"postern:callback": "e30.AAAAAAAAAAAAAAAAAAAAAA"});
    let body = json!({"backend": "x", "to": NUMBER, "text": "x", "context": context});
    let request = pair.ingress.request(reqwest::Method::POST, "/v1/messages").bearer_auth(KEY).json(&body);
    let refused = pair.ingress.fetch(request).await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("#/context/postern:callback"))
    );
    // Neither an application that publishes to the broker nor a client that calls a status address can seal a
    // callback.
    pair.tap.send(&json!({"backend": "x", "identities": [NUMBER], "text": "x", "context": context})).await;
    provider.take().await;
    let report = pair.tap.take("postern.reports").await.json();
    assert_eq!(states(&report), [(NUMBER, "sent")]);
    let id = report["message_id"].as_str().unwrap();
    for token in ["e30.AAAAAAAAAAAAAAAAAAAAAA", "nonsense"] {
        let path = format!("/backends/x/status/{token}?message_id={id}&state=ok");
        assert_eq!(pair.ingress.get(&path).await.status, 200);
        assert_eq!(pair.tap.take("postern.reports").await.json()["recipients"][0]["state"], "delivered");
    }
    // A valid sealed callback, published with another message's id.
    let dlr = client.url("/dlr");
    is_accepted(&sendsms(&pair.ingress, &[("to", NUMBER), ("dlr-mask", "1"), ("dlr-url", &dlr)]).await);
    let token = report_path(&provider.take().await).rsplit_once('/').unwrap().1.to_owned();
    let notice = json!({"message_id": id, "backend": "x", "callback": token, "event": 1, "at": "2026-11-22T17:00:00Z"});
    pair.tap.publish("postern.callbacks", "x", notice.to_string().as_bytes(), Properties::default()).await;
    let dead = pair.tap.take("postern.dead").await;
    assert!(dead.headers["x-postern-reason"].as_str().unwrap().starts_with("callback_unknown"), "{dead:?}");
    pair.tap.publish("postern.callbacks", "x", b"[]", Properties::default()).await;
    let dead = pair.tap.take("postern.dead").await;
    assert!(dead.headers["x-postern-reason"].as_str().unwrap().contains("postern.callback.v1"), "{dead:?}");
}

#[tokio::test]
async fn a_power_cut_between_report_and_callback_loses_neither() {
    let provider = Provider::start().await;
    provider.script([Answer::json(200, &json!({"id": "P1"}))]);
    let client = Provider::start().await;
    let held = Gate::closed();
    client.otherwise(move |_| Answer::ok("").held(&held));
    let launch = Launch::gateway().config(&(kannel("") + &both(&provider)));
    let postern = launch.start().await;
    let dlr = client.url("/dlr?type=%d&to=%p");
    is_accepted(&sendsms(&postern, &[("to", NUMBER), ("dlr-mask", "1"), ("dlr-url", &dlr)]).await);
    let asked = provider.take().await;
    // A power cut before the sending is stored sends it a second time.
    provider.otherwise(|_| Answer::json(200, &json!({"id": "P1"})));
    let id = value(&asked.form(), "id");
    let reply = postern.get(&format!("{}?message_id={id}&state=ok", report_path(&asked))).await;
    assert_eq!(reply.status, 200);
    // Killed when the client has received the call and not yet answered.
    client.wait_for(1).await;
    postern.kill();
    client.otherwise(|_| Answer::ok(""));
    let postern = launch.start().await;
    let calls = client.wait_for(2).await;
    let expected = pairs(&[("type", "1"), ("to", NUMBER)]);
    assert!(calls.iter().all(|call| call.query() == expected));
    told(&postern, "sent", 1).await;
    // A report that arrives while no client answers is still called back after another power cut.
    let path = format!("{}?message_id={id}&state=ok", report_path(&asked));
    let held = Gate::closed();
    client.otherwise(move |_| Answer::ok("").held(&held));
    assert_eq!(postern.get(&path).await.status, 200);
    postern.kill();
    client.otherwise(|_| Answer::ok(""));
    let before = client.requests().len();
    let postern = launch.start().await;
    client.wait_for(before + 1).await;
    told(&postern, "sent", 1).await;
}

#[tokio::test]
async fn what_comes_while_the_broker_is_away_is_called_when_it_is_back() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    provider.otherwise(|_| Answer::json(200, &json!({"id": "P1"})));
    let config = kannel("") + &both(&provider);
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let far = format!("[broker]\nurl = \"{}\"\n{config}", vhost.url_at(proxy.port()));
    let ingress = Launch::ingress(&far).start().await;
    let dispatcher = Launch::dispatcher(&vhost.config(&config)).start().await;
    let dlr = client.url("/dlr?type=%d&to=%p");
    let asks = [("to", NUMBER), ("dlr-mask", "1"), ("dlr-url", &*dlr)];
    is_accepted(&sendsms(&ingress, &asks).await);
    let asked = provider.take().await;
    proxy.refuse(true);
    proxy.cut();
    ingress.metric_becomes("postern_broker_connected", &[], 0.0).await;
    let id = value(&asked.form(), "id");
    let report = format!("{}?message_id={id}&state=ok", report_path(&asked));
    assert_eq!(ingress.get(&report).await.status, 200);
    // The backend was served a moment ago.
    eventually("a message that has to wait", async || {
        let reply = sendsms(&ingress, &asks).await;
        if reply.text == "3: Queued for later delivery" { Ok(()) } else { Err(reply.text) }
    })
    .await;
    proxy.refuse(false);
    assert_eq!(client.take().await.query(), pairs(&[("type", "1"), ("to", NUMBER)]));
    assert_eq!(value(&provider.take().await.form(), "to"), NUMBER);
    told(&dispatcher, "sent", 1).await;
}

#[tokio::test]
async fn kannel_and_twilio_backends_hand_the_callback_to_their_provider() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let config = kannel("")
        + &format!(
            "[backends.x]\ntype = \"kannel\"\nsettings = {{ sendsms_url = \"{}\" }}\n\
             [backends.y]\ntype = \"twilio\"\nreceive = {{ auth = \"none\" }}\n\
             settings = {{ account_sid = \"AC1\", auth_token = \"t\", from = \"+1\", api_url = \"{}\" }}\n",
            provider.url("/cgi-bin/sendsms"),
            provider.url("")
        );
    let postern = Launch::gateway().config(&config).start().await;
    provider.otherwise(|_| Answer::json(201, &json!({"sid": "SM1"})));
    let dlr = client.url("/dlr?type=%d&to=%p&reply=%A");
    let asks = [
        ("to", NUMBER),
        ("text", "x"),
        ("dlr-mask", "1"),
        ("dlr-url", &*dlr),
        ("mclass", "0"),
        ("account", "a&b"),
    ];
    is_accepted(&sendsms(&postern, &asks).await);
    let asked = provider.take().await.query();
    assert_eq!((value(&asked, "mclass"), value(&asked, "account")), ("0".to_owned(), "a&b".to_owned()));
    let report = value(&asked, "dlr-url")
        .replace("%d", "1")
        .replace("%A", "stat%3ADELIVRD")
        .replace("%p", "%2B15557654321");
    let report = report.replace("%t", "2026-11-22+17:00:00").replace("%i", "s").replace("%I", "1");
    let path = report.strip_prefix("https://sms.example.org").unwrap_or_else(|| panic!("{report}"));
    assert_eq!(postern.get(path).await.status, 200);
    let expected = |reply: &str| pairs(&[("type", "1"), ("to", NUMBER), ("reply", reply)]);
    assert_eq!(client.take().await.query(), expected("stat:DELIVRD"));
    is_accepted(&sendsms(&postern, &[&asks[..], &[("smsc", "y")]].concat()).await);
    let report = value(&provider.take().await.form(), "StatusCallback");
    let path = report.strip_prefix("https://sms.example.org").unwrap_or_else(|| panic!("{report}"));
    let form = [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("To", NUMBER)];
    assert_eq!(postern.post_form(path, &form).await.status, 200);
    assert_eq!(client.take().await.query(), expected("delivered"));
}
