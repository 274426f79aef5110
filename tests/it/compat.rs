//! The HTTP interfaces for clients of other gateways.

use postern_tests::{Answer, Launch, Message, Pair, Program, Provider, Rabbit, Reply, eventually, free_port};
use serde_json::{Value, json};

pub(crate) const NUMBER: &str = "+15557654321";
pub(crate) const PASSWORD: &str = "hush-hush-hush";
/// The key with which the application uses `/v1`, in addition to the compatible interface.
pub(crate) const KEY: &str = "hush-key-of-the-application";

/// A configuration with the user `rapidsms` in `[compat.kannel]`, who sends through the backend `x`, then
/// `more`.
pub(crate) fn kannel(more: &str) -> String {
    format!(
        "[ingress]\npublic_url = \"https://sms.example.org\"\ndedupe_window = 0\n\
         [[api.keys]]\nname = \"app\"\nkey = \"{KEY}\"\nbackends = [\"*\"]\n\
         [retry]\ndelays = [\"500ms\", \"500ms\"]\n\
         [compat.callbacks]\nallow = [\"127.0.0.0/8\"]\n[compat.kannel]\n\
         [[compat.kannel.users]]\nusername = \"rapidsms\"\npassword = \"{PASSWORD}\"\nbackend = \"x\"\n\
         backends = [\"y\"]\nsmsc = {{ \"Net.2\" = \"y\" }}\n{more}\n"
    )
}

/// The backend `name`, which makes one request for each number. Its provider calls `status_url`.
pub(crate) fn backend(name: &str, provider: &Provider) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\nexternal_id = \"/id\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\", from = \"{{{{ context.from }}}}\", \
         all = \"{{{{ context }}}}\", report = \"{{{{ status_url }}}}\", id = \"{{{{ id }}}}\" }}\n\
         [backends.{name}.status]\nparams = {{ detail = \"words\" }}\n\
         states = {{ ok = \"delivered\", no = \"undelivered\", later = \"buffered\", refused = \"failed\", sent = \"sent\" }}\n",
        provider.url(&format!("/{name}"))
    )
}

pub(crate) fn both(provider: &Provider) -> String {
    backend("x", provider) + &backend("y", provider)
}

/// A sendsms request with the user's name and password, and `more`.
pub(crate) async fn sendsms(program: &Program, more: &[(&str, &str)]) -> Reply {
    let known = [("username", "rapidsms"), ("password", PASSWORD)];
    let request = program.request(reqwest::Method::GET, "/cgi-bin/sendsms");
    program.fetch(request.query(&[&known[..], more].concat())).await
}

/// Checks that a message was stored. Either answer is right: the dispatcher may start after the ingress.
pub(crate) fn is_accepted(reply: &Reply) {
    let words = ["0: Accepted for delivery", "3: Queued for later delivery"];
    assert!(reply.status == 202 && words.contains(&&*reply.text), "{} {}", reply.status, reply.text);
}

pub(crate) fn value(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.unwrap_or_else(|| panic!("{name} is not in {pairs:?}")).1.clone()
}

#[tokio::test]
async fn sendsms_answers_as_kannel_does() {
    let provider = Provider::obliging().await;
    let vhost = Rabbit::shared().vhost();
    let elsewhere = "[[compat.kannel.users]]\nusername = \"far\"\npassword = \"away\"\nbackend = \"x\"\nallow = [\"10.0.0.0/8\"]\n\
                     [[compat.kannel.users]]\nusername = \"near\"\npassword = \"by\"\nbackend = \"x\"\nallow = [\"10.0.0.0/8\", \"127.0.0.1\"]\n";
    let config = vhost.config(&(kannel(elsewhere) + &both(&provider)));
    let ingress = Launch::ingress(&config).start().await;
    let tap = vhost.tap().await;
    let to = ("to", NUMBER);
    let words = NUMBER.to_owned() + &(0..101).map(|n| format!(" x{n}")).collect::<String>();
    let forbidden = "Authorization failed for sendsms";
    for (user, password, status, words) in [
        ("rapidsms", "wrong", 403, forbidden),
        ("nobody", PASSWORD, 403, forbidden),
        ("", "", 403, forbidden),
        ("far", "away", 403, forbidden),
        // No dispatcher serves the backend yet.
        ("near", "by", 202, "3: Queued for later delivery"),
    ] {
        let request = ingress.request(reqwest::Method::GET, "/cgi-bin/sendsms");
        let query = [("user", user), ("pass", password), to, ("text", "hi")];
        let reply = ingress.fetch(request.query(&query)).await;
        assert_eq!((reply.status, reply.text.as_str()), (status, words), "{user}");
    }
    for (more, status, words) in [
        (vec![("text", "x")], 400, "Missing receiver number, rejected"),
        (vec![("to", "")], 400, "Empty receiver number not allowed, rejected"),
        (vec![("to", &words)], 400, "More than 100 receivers that are no numbers, rejected"),
        (vec![to, ("smsc", "z")], 403, "Not routable. Do not try again."),
        (vec![to, ("smsc", "No Name")], 403, "Not routable. Do not try again."),
        (vec![to, ("mclass", "9")], 400, "MClass field misformed, rejected"),
        (
            vec![to, ("dlr-mask", "31"), ("dlr-url", "http://10.0.0.1/")],
            400,
            "DLR-URL refused: 10.0.0.1 is a private address, rejected",
        ),
        (vec![to, ("smsc", "y"), ("text", "other")], 202, "3: Queued for later delivery"),
        (vec![to, ("smsc", "Net.2"), ("text", "named")], 202, "3: Queued for later delivery"),
        (vec![to], 202, "3: Queued for later delivery"),
    ] {
        let reply = sendsms(&ingress, &more).await;
        assert_eq!((reply.status, reply.text.as_str()), (status, words), "{more:?}");
    }
    let put = ingress.fetch(ingress.request(reqwest::Method::PUT, "/cgi-bin/sendsms")).await;
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST")));
    let json = ingress.post_json("/cgi-bin/sendsms", &json!({"to": NUMBER})).await;
    assert_eq!((json.status, json.text.as_str()), (400, "Invalid content-type"));
    // A form, and then a request with the text as its body.
    let form = [("username", "rapidsms"), ("password", PASSWORD), to, ("text", "a form & é")];
    assert_eq!(ingress.post_form("/cgi-bin/sendsms", &form).await.status, 202);
    let post = ingress.request(reqwest::Method::POST, "/cgi-bin/sendsms");
    let post = post.header("X-Kannel-Username", "rapidsms").header("X-Kannel-Password", PASSWORD);
    let post = post.header("X-Kannel-To", NUMBER).header("X-Kannel-From", "1000");
    let post = post.header("Content-Type", "text/plain; charset=ISO-8859-1").body(b"caf\xe9".to_vec());
    assert_eq!(ingress.fetch(post).await.status, 202);
    let text = |message: &Value| message["text"].as_str().unwrap().to_owned();
    let queued = tap.take_all("postern.outbound.x", 4).await;
    let texts: Vec<_> = queued.iter().map(|message| text(&message.json())).collect();
    assert_eq!(texts, ["hi", "", "a form & é", "café"]);
    assert_eq!(queued[3].json()["context"], json!({"from": "1000"}));
    let other = tap.take_all("postern.outbound.y", 2).await;
    let texts: Vec<_> = other.iter().map(|message| text(&message.json())).collect();
    assert_eq!(texts, ["other", "named"]);
    // Kannel's clients name SMSCs that are not configured here.
    let request = ingress.request(reqwest::Method::GET, "/cgi-bin/sendsms");
    let query = [("username", "near"), ("password", "by"), to, ("text", "a"), ("smsc", "usb0-modem")];
    is_accepted(&ingress.fetch(request.query(&query)).await);
    assert_eq!(text(&tap.take("postern.outbound.x").await.json()), "a");
    // Once a dispatcher serves the backend, no message is reported as waiting.
    let dispatcher = Launch::dispatcher(&config).start().await;
    eventually("a message that need not wait", async || {
        let reply = sendsms(&ingress, &[to, ("text", "now")]).await;
        if reply.text == "0: Accepted for delivery" { Ok(()) } else { Err(reply.text) }
    })
    .await;
    for program in [ingress, dispatcher] {
        program.ends_silent(&[NUMBER, PASSWORD, "a form & é"]).await;
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_a_temporal_failure() {
    let config = format!(
        "[broker]\nurl = \"amqp://guest:guest@127.0.0.1:{}/\"\npublish_timeout = \"1s\"\n",
        free_port()
    );
    let provider = Provider::start().await;
    let launch = Launch::ingress(
        &(config + &kannel("").replacen("[ingress]", "[ingress]\nspool = false", 1) + &both(&provider)),
    );
    let ingress = launch.spawn();
    ingress.log().wait_for("ingress listening").await;
    let reply = sendsms(&ingress, &[("to", NUMBER), ("text", "x")]).await;
    assert_eq!((reply.status, reply.text.as_str()), (503, "Temporal failure, try again later."));
    assert!(reply.header("retry-after").is_some());
}

/// RapidSMS's broadcast: all recipients in one request, one of them with a mistyped number.
#[tokio::test]
async fn bad_numbers_of_a_broadcast_are_reported_and_the_others_are_sent() {
    let (provider, client) = (Provider::obliging().await, Provider::obliging().await);
    let pair = Pair::start(&(kannel("") + &both(&provider))).await;
    let dlr = client.url("/dlr?type=%d&to=%p&reply=%A");
    let to = ("to", "+15550001 alice +15550002 07o0 alice");
    is_accepted(&sendsms(&pair.ingress, &[to, ("text", "x"), ("dlr-mask", "31"), ("dlr-url", &dlr)]).await);
    let mut sent: Vec<_> = Vec::new();
    for _ in 0..2 {
        sent.push(value(&provider.take().await.form(), "to"));
    }
    sent.sort();
    assert_eq!(sent, ["+15550001", "+15550002"]);
    let mut reports =
        pair.tap.take_all("postern.reports", 2).await.iter().map(Message::json).collect::<Vec<_>>();
    reports.sort_by_key(|report| report["attempt"].as_u64());
    let [left_out, attempt] = &reports[..] else { panic!("{reports:?}") };
    let failed = |number: &str| {
        json!({"identity": number, "state": "failed", "reason": {"class": "permanent",
        "code": "invalid_number", "detail": "not a number: only digits, + and - are allowed"}})
    };
    assert_eq!(left_out["recipients"], json!([failed("alice"), failed("07o0")]));
    assert_eq!((&left_out["attempt"], &left_out["message_id"]), (&json!(0), &attempt["message_id"]));
    let mut called: Vec<_> = Vec::new();
    for call in client.wait_for(4).await {
        let query = call.query();
        called.push([value(&query, "type"), value(&query, "to"), value(&query, "reply")].join(" "));
    }
    called.sort();
    let bad = ["16 07o0 NACK/invalid_number", "16 alice NACK/invalid_number"];
    assert_eq!(called, [&bad[..], &["8 +15550001 ACK/", "8 +15550002 ACK/"]].concat());
    let none = sendsms(&pair.ingress, &[("to", "alice bob"), ("text", "x")]).await;
    let words = "Number(s) has/have been denied by white- and/or black-lists.";
    assert_eq!((none.status, none.text.as_str()), (400, words));
    pair.tap.depth_becomes("postern.reports", 0).await;
    pair.ends_silent(&["+15550001", "alice", "07o0", PASSWORD]).await;
}

#[tokio::test]
async fn many_recipients_become_several_messages_under_one_id() {
    let provider = Provider::obliging().await;
    let config = kannel("") + &both(&provider).replacen("external_id", "batch = 2\nexternal_id", 1);
    let vhost = Rabbit::shared().vhost();
    let ingress = Launch::ingress(&vhost.config(&config)).start().await;
    let to = ("to", "1001 1002 1003 1001 1004 1005");
    is_accepted(&sendsms(&ingress, &[to, ("text", "x"), ("priority", "0"), ("validity", "5")]).await);
    let queued = vhost.tap().await.take_all("postern.outbound.x.bulk", 3).await;
    let queued: Vec<_> = queued.iter().map(Message::json).collect();
    let identities: Vec<_> = queued.iter().map(|message| message["identities"].clone()).collect();
    assert_eq!(json!(identities), json!([["1001", "1002"], ["1003", "1004"], ["1005"]]));
    assert!(
        queued.iter().all(|message| message["id"] == queued[0]["id"] && message["expires_at"].is_string())
    );
}

const VUMI: &str = "[compat.vumi]\n[[compat.vumi.users]]\nusername = \"account\"\npassword = \"token\"\nbackend = \"v\"\n\
     conversation = \"conv-1\"\n[[compat.vumi.users]]\nusername = \"account\"\npassword = \"token\"\nbackend = \"w\"\nconversation = \"conv-2\"\n\
     [[compat.vumi.users]]\nusername = \"far\"\npassword = \"away\"\nbackend = \"v\"\nallow = [\"10.0.0.0/8\"]\n";

fn vumi(provider: &Provider) -> String {
    let backend = |name: &str| {
        format!(
            "[backends.{name}]\ntype = \"vumi\"\nsettings = {{ sendsms_url = \"{}\" }}\n",
            provider.url(&format!("/{name}"))
        )
    };
    VUMI.to_owned() + &backend("v") + &backend("w")
}

async fn put(
    program: &Program,
    method: reqwest::Method,
    conversation: &str,
    who: (&str, &str),
    body: &str,
) -> Reply {
    let path = format!("/api/v1/go/http_api_nostream/{conversation}/messages.json");
    let request = program.request(method, &path).basic_auth(who.0, Some(who.1));
    program.fetch(request.body(body.to_owned())).await
}

#[tokio::test]
async fn vumi_go_and_rapidsms_clients_are_answered_as_by_vumi() {
    use reqwest::Method;
    let provider = Provider::start().await;
    provider.otherwise(|_| Answer::json(200, &json!({"message_id": "V9"})));
    let postern = Launch::gateway().config(&vumi(&provider)).start().await;
    let known = ("account", "token");
    // The request of Vumi Go's clients: PUT, one recipient, an answer in a session.
    let body = json!({"to_addr": NUMBER, "content": "hi é", "in_reply_to": "V1", "session_event": "close",
        "from_addr": "1000", "helper_metadata": {"go": {"a": 1}}});
    let reply = put(&postern, Method::PUT, "conv-1", known, &body.to_string()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json; charset=utf-8")));
    let message = reply.json();
    let id = message["message_id"].as_str().unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok());
    assert_eq!(
        (&message["to_addr"], &message["content"], &message["in_reply_to"]),
        (&json!(NUMBER), &json!("hi é"), &json!("V1"))
    );
    let asked = provider.take().await;
    assert_eq!(asked.path, "/v");
    let wanted = json!({"content": "hi é", "to_addr": [NUMBER], "session_event": "close",
        "metadata": {"rapidsms_msg_id": id}, "helper_metadata": {"go": {"a": 1}}, "in_reply_to": "V1", "from_addr": "1000"});
    assert_eq!(asked.json(), wanted);
    // The request of RapidSMS's backend: POST, a list, its own id.
    let body = json!({"to_addr": ["+1555", "+1666"], "content": "hi", "session_event": null, "metadata": {"rapidsms_msg_id": "r7"}});
    let reply = put(&postern, Method::POST, "conv-2", known, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let asked = provider.take().await;
    assert_eq!(
        (asked.path.as_str(), asked.json()),
        (
            "/w",
            json!({"content": "hi", "to_addr": ["+1555", "+1666"], "metadata": {"rapidsms_msg_id": "r7"}})
        )
    );
    // The same to another conversation, so through another backend, is not a repetition.
    let reply = put(&postern, Method::POST, "conv-1", known, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(provider.take().await.path, "/v");
    let right = json!({"to_addr": "+1555", "content": "x"}).to_string();
    for (method, conversation, who, body, status, reason) in [
        (Method::PUT, "conv-1", ("account", "wrong"), &*right, 401, "Unauthorized"),
        (Method::PUT, "conv-1", ("far", "away"), &right, 401, "Unauthorized"),
        (Method::PUT, "conv-3", known, &right, 404, "Conversation not found"),
        (Method::PUT, "conv-1", known, "nonsense", 400, "Invalid Message"),
        (
            Method::PUT,
            "conv-1",
            known,
            "{\"content\":\"x\"}",
            400,
            "Invalid or missing value for payload key 'to_addr'",
        ),
        (Method::DELETE, "conv-1", known, &right, 405, "Method not allowed"),
    ] {
        let reply = put(&postern, method, conversation, who, body).await;
        assert_eq!((reply.status, reply.json()), (status, json!({"success": false, "reason": reason})));
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    let nobody = postern.post_json("/api/v1/go/http_api_nostream/conv-1/messages.json", &json!({})).await;
    assert_eq!(nobody.status, 401);
    let labels = [("compat", "vumi"), ("status", "200")];
    postern.metric_becomes("postern_ingress_requests_total", &labels, 3.0).await;
    postern.ends_silent(&[NUMBER, "hi é", "token\""]).await;
}

#[tokio::test]
async fn a_listener_is_off_unless_its_table_is_there() {
    let postern = Launch::gateway().config("[backends.x]\ntype = \"console\"\n").start().await;
    for path in
        ["/cgi-bin/sendsms?username=a&password=b&to=1", "/api/v1/go/http_api_nostream/c/messages.json"]
    {
        assert_eq!(postern.get(path).await.status, 404, "{path}");
    }
}
