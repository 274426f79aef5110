//! What a text costs, and texts that are too long for their provider.

use crate::reports::outcome;
use postern_tests::{Answer, Gate, Launch, Pair, Program, Provider, Request};
use serde_json::{Value, json};

const NUMBERS: [&str; 2] = ["+15550000001", "+15550000002"];

/// The gateway in one process with the embedded broker; its reports go to `application`. The backend `x` sends
/// to `provider`, and `text` is its `[backends.x.text]`.
fn config(provider: &Provider, application: &Provider, text: &str) -> String {
    format!(
        "[retry]\ndelays = [\"500ms\", \"500ms\"]\n[application]\ntype = \"webhook\"\nurl = \"{}\"\n\
         secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"\n\
         [backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{}\"\nexternal_id = \"/id\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\", id = \"{{{{ id }}}}\" }}\n\
         [backends.x.text]\n{text}\n",
        application.url("/reports"),
        provider.url("/send")
    )
}

fn taken(id: &str) -> Answer {
    Answer::json(200, &json!({ "id": id }))
}

async fn submit(program: &Program, to: &[&str], text: &str) -> Value {
    let reply = program.post_json("/v1/messages", &json!({"backend": "x", "to": to, "text": text})).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    reply.json()
}

/// The next report that the application gets.
async fn report(application: &Provider) -> Value {
    application.take().await.json()
}

/// The recipient and the text of each request.
fn asked(requests: &[Request]) -> Vec<(String, String)> {
    let part = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    requests.iter().map(Request::json).map(|body| (part(&body, "to"), part(&body, "text"))).collect()
}

fn to(number: &str, texts: &[&str]) -> Vec<(String, String)> {
    texts.iter().map(|text| (number.to_owned(), (*text).to_owned())).collect()
}

/// Splits [`TEXT`] into three parts of at most 20 characters.
const THREE: &str = "limit = { characters = 20 }";
const TEXT: &str = "The first part ends the second part here and this is it";
const PARTS: [&str; 3] = ["The first part ends ", "the second part here", " and this is it"];

#[tokio::test]
async fn the_answer_the_report_and_the_metrics_say_what_a_text_costs() {
    let (provider, application) = (Provider::obliging().await, Provider::obliging().await);
    let chat =
        "[backends.chat]\ntype = \"console\"\ntext = { segments = false, limit = { characters = 100 } }\n";
    let postern = config(&provider, &application, "limit = { segments = 2 }\ntransliterate = true") + chat;
    let postern = Launch::gateway().config(&postern).start().await;
    let mut segments = 0;
    for (text, cost, parts) in [
        ("hi".to_owned(), json!([1, "gsm7"]), Value::Null),
        ("é".repeat(161), json!([2, "gsm7"]), Value::Null),
        ("я".repeat(70), json!([1, "ucs2"]), Value::Null),
        ("🙂".repeat(36), json!([2, "ucs2"]), Value::Null),
        // With plain punctuation, it fits into one segment.
        (format!("“{}”", "a".repeat(158)), json!([1, "gsm7"]), Value::Null),
        // Three segments are two messages, one of two segments and one of one.
        ("a".repeat(400), json!([3, "gsm7"]), json!(2)),
    ] {
        let answer = submit(&postern, &NUMBERS[..1], &text).await;
        assert_eq!(json!([answer["segments"], answer["encoding"]]), cost, "{answer}");
        assert_eq!(answer["parts"], parts, "{answer}");
        let told = report(&application).await;
        assert_eq!(told["recipients"][0]["segments"], cost[0], "{told}");
        segments += cost[0].as_u64().unwrap();
    }
    let counted = [("backend", "x"), ("outcome", "sent")];
    let expected = f64::from(u32::try_from(segments).unwrap());
    postern.metric_becomes("postern_dispatch_segments_total", &counted, expected).await;

    // Chats do not count segments; the answer still says that a text is sent in parts.
    let long = "wörter ".repeat(20);
    let reply = postern.post_json("/v1/messages", &json!({"backend": "chat", "to": "1", "text": long})).await;
    let answer = reply.json();
    assert_eq!(
        json!([answer.get("segments"), answer.get("encoding"), answer["parts"]]),
        json!([null, null, 2])
    );
    let told = report(&application).await;
    assert_eq!(told["recipients"][0].get("segments"), None, "{told}");
    let metrics = postern.metrics().await;
    assert!(
        !metrics.labels().any(|label| label == ("backend", "chat")) || {
            metrics.value("postern_dispatch_segments_total", &[("backend", "chat")]) == 0.0
        }
    );
    postern.ends_silent(&[NUMBERS[0], "wörter"]).await;
}

#[tokio::test]
async fn a_long_text_goes_out_in_numbered_parts_in_order() {
    let (provider, application) = (Provider::start().await, Provider::obliging().await);
    provider.script([taken("A"), taken("B"), taken("C")]);
    let text = "limit = { characters = 40 }\nnumbered = true";
    let postern = Launch::gateway().config(&config(&provider, &application, text)).start().await;
    let text = "Take one pill in the morning, two at noon, and none in the evening. Come back on Monday.";
    let answer = submit(&postern, &NUMBERS[..1], text).await;
    assert_eq!(answer["parts"], 3, "{answer}");
    let told = report(&application).await;
    let parts = [
        "1/3 Take one pill in the morning, ",
        "2/3 two at noon, and none in the ",
        "3/3 evening. Come back on Monday.",
    ];
    assert_eq!(asked(&provider.requests()), to(NUMBERS[0], &parts));
    let only = &told["recipients"][0];
    let wanted = json!(["sent", "C", ["A", "B", "C"], 3]);
    assert_eq!(json!([only["state"], only["external_id"], only["external_ids"], only["segments"]]), wanted);
}

#[tokio::test]
async fn a_retry_goes_on_behind_the_parts_that_were_sent_each_recipient_for_themselves() {
    let (provider, application) = (Provider::start().await, Provider::obliging().await);
    let mut failed = false;
    let failed = std::sync::Mutex::new(move |request: &Request| {
        let (body, first) = (request.json(), !failed);
        let fails = body["to"] == NUMBERS[0] && body["text"] == PARTS[1];
        failed |= fails;
        fails && first
    });
    provider.otherwise(move |request| match failed.lock().unwrap()(request) {
        true => Answer::status(503),
        false => taken("P"),
    });
    let postern = Launch::gateway().config(&config(&provider, &application, THREE)).start().await;
    submit(&postern, &NUMBERS, TEXT).await;
    let first = report(&application).await;
    let states: Vec<_> =
        first["recipients"].as_array().unwrap().iter().map(|r| json!([r["state"], r["segments"]])).collect();
    assert_eq!(states, [json!(["retrying", 1]), json!(["sent", 3])]);
    let second = report(&application).await;
    assert_eq!(second["attempt"], 2);
    let told = &second["recipients"];
    assert_eq!(
        json!([told[0]["identity"], told[0]["state"], told[0]["segments"]]),
        json!([NUMBERS[0], "sent", 2])
    );
    assert_eq!(told.as_array().unwrap().len(), 1, "{second}");
    let all = asked(&provider.requests());
    let of = |number: &str| all.iter().filter(|(to, _)| to == number).cloned().collect::<Vec<_>>();
    assert_eq!(of(NUMBERS[0]), to(NUMBERS[0], &[PARTS[0], PARTS[1], PARTS[1], PARTS[2]]));
    assert_eq!(of(NUMBERS[1]), to(NUMBERS[1], &PARTS));
    postern.ends_silent(&[NUMBERS[0], NUMBERS[1], "second part", "this is it"]).await;
}

/// After a crash the attempt starts again at its first part, or, if an earlier attempt has sent some parts,
/// after those.
#[tokio::test]
async fn a_power_cut_in_the_middle_of_the_parts_loses_none_of_them() {
    let (provider, application) = (Provider::start().await, Provider::obliging().await);
    provider.script([taken("1"), taken("2").held(&Gate::closed())]);
    let launch = Launch::gateway().config(&config(&provider, &application, THREE));
    let postern = launch.start().await;
    let id = submit(&postern, &NUMBERS[..1], TEXT).await["id"].clone();
    provider.wait_for(2).await;
    postern.kill();
    // From the first part again. The second one fails then, and the third attempt is cut off at it.
    provider.script([taken("1"), Answer::status(503), taken("2").held(&Gate::closed())]);
    let postern = launch.start().await;
    provider.wait_for(5).await;
    postern.kill();
    provider.script([taken("2"), taken("3")]);
    let _postern = launch.start().await;
    let requests = provider.wait_for(7).await;
    let [one, two, three] = PARTS;
    assert_eq!(asked(&requests), to(NUMBERS[0], &[one, two, one, two, two, two, three]));
    assert!(requests.iter().all(|request| request.json()["id"] == id), "under the id that was told");
    let (mut told, mut ids) = (Vec::new(), Vec::new());
    while told.last() != Some(&json!("sent")) {
        let report = report(&application).await;
        told.push(report["recipients"][0]["state"].clone());
        ids.push(report["recipients"][0]["external_ids"].clone());
    }
    assert_eq!((told, ids), (vec![json!("retrying"), json!("sent")], vec![json!(["1"]), json!(["2", "3"])]));
}

#[tokio::test]
async fn a_text_that_is_refused_is_named_with_its_limit_wherever_it_comes_in() {
    let provider = Provider::start().await;
    let user = "username = \"u\"\npassword = \"p\"\nbackend = \"x\"";
    let config = format!(
        "[[compat.kannel.users]]\n{user}\n[[compat.vumi.users]]\n{user}\n[backends.x]\ntype = \"http\"\ntext = {{ limit = {{ segments = 1 }}, over = \"refuse\" }}\n\
         [backends.x.send]\nurl = \"{}\"\nform = {{ t = \"x\" }}\n",
        provider.url("/send")
    );
    let pair = Pair::start(&config).await;
    let message = json!({"backend": "x", "identities": [NUMBERS[0]], "text": "secret я".repeat(20)});
    let refused = pair.ingress.post_json("/v1/messages", &message).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    let why = "it has 3 segments, but the limit is 1";
    let error = &refused.json()["errors"][0];
    assert_eq!(error["pointer"], "#/text");
    assert!(error["detail"].as_str().unwrap().contains(why), "{error}");
    assert!(!refused.text.contains("secret"), "{}", refused.text);
    let request = pair.ingress.request(reqwest::Method::GET, "/cgi-bin/sendsms");
    let text = message["text"].as_str().unwrap();
    let query =
        [("username", "u"), ("password", "p"), ("to", NUMBERS[0]), ("charset", "utf-8"), ("text", text)];
    let kannel = pair.ingress.fetch(request.query(&query)).await;
    assert_eq!((kannel.status, kannel.text.as_str()), (400, "Message too long, rejected"));
    let go = "/api/v1/go/http_api_nostream/line/messages.json";
    let body = json!({"content": text, "to_addr": NUMBERS[0]});
    let request = pair.ingress.request(reqwest::Method::PUT, go).basic_auth("u", Some("p")).json(&body);
    let vumi = pair.ingress.fetch(request).await;
    assert_eq!(vumi.status, 400, "{}", vumi.text);
    assert!(vumi.text.contains(why) && !vumi.text.contains("secret"), "{}", vumi.text);
    pair.tap.send(&message).await;
    let report = outcome(&pair.tap).await;
    let wanted = json!({"class": "permanent", "code": "text_too_long", "detail": format!("backends.x.text.limit: {why}")});
    assert_eq!(report["recipients"], json!([{"identity": NUMBERS[0], "state": "failed", "reason": wanted}]));
    let dead = pair.tap.take("postern.dead").await;
    assert_eq!(dead.json(), message, "as it was");
    assert!(dead.headers["x-postern-reason"].as_str().unwrap().starts_with("text_too_long: "));
    pair.ends_silent(&[NUMBERS[0], "secret"]).await;
}

#[tokio::test]
async fn a_text_that_is_cut_off_keeps_its_beginning_and_each_provider_has_its_limit() {
    let (provider, application) = (Provider::start().await, Provider::obliging().await);
    provider.otherwise(|_| taken("P"));
    let twilio = format!(
        "[backends.t]\ntype = \"twilio\"\nreceive = {{ auth = \"none\" }}\nsettings = {{ account_sid = \"AC1\", \
         auth_token = \"t\", from = \"+1\", api_url = \"{}\" }}\n",
        provider.url("")
    );
    let kannel = format!(
        "[backends.k]\ntype = \"kannel\"\nsettings = {{ sendsms_url = \"{}\" }}\n\
         [backends.l]\ntype = \"kannel\"\nsettings = {{ sendsms_url = \"{}\" }}\ntext = {{ limit = {{ segments = 0 }} }}\n",
        provider.url("/k"),
        provider.url("/l")
    );
    let cut = "limit = { characters = 5 }\nover = \"truncate\"";
    let postern = config(&provider, &application, cut) + &twilio + &kannel;
    let postern = Launch::gateway().config(&postern).start().await;
    submit(&postern, &NUMBERS[..1], "abc👩‍👧d").await;
    assert_eq!(asked(&[provider.take().await]), to(NUMBERS[0], &["abc"]), "a family is not torn");
    // The number of requests, and the length of each request's text.
    for (backend, text, lengths) in [
        ("t", "a".repeat(1600), vec![1600]),
        ("t", "я".repeat(1601), vec![1600, 1]),
        ("k", "a".repeat(1530), vec![1530]),
        ("k", "a".repeat(1531), vec![1530, 1]),
        ("k", "я".repeat(671), vec![670, 1]),
        ("l", "a".repeat(3000), vec![3000]),
    ] {
        let message = json!({"backend": backend, "to": NUMBERS[0], "text": text});
        assert_eq!(postern.post_json("/v1/messages", &message).await.status, 202);
        for length in lengths {
            let request = provider.take().await;
            let parameters = if request.body.is_empty() { request.query() } else { request.form() };
            let coding =
                parameters.iter().find(|(name, _)| name == "coding").map(|(_, value)| value.as_str());
            let text = parameters.iter().find(|(name, _)| name == "Body" || name == "text").unwrap();
            // UTF-16, which is not text as a parameter: `%04O` for each character.
            let seen = match coding {
                Some("2") => request.raw_query.matches("%04O").count(),
                _ => text.1.chars().count(),
            };
            assert_eq!(seen, length, "{backend}");
        }
    }
    assert!(provider.requests().is_empty());
}
