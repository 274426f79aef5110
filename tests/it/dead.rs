//! Dead letters: listed, shown, redriven and dropped, from the command line and over the admin port.

mod interrupted;
mod unrouted;

use postern_tests::{
    Answer, Ended, Launch, Program, Properties, Provider, Rabbit, Tap, Vhost, eventually, fetch, http_client,
};
use reqwest::Method;
use serde_json::{Value, json};

const TOKEN: &str = "a-token-for-the-admin-port";
const NUMBER: &str = "+15550001";
const TEXT: &str = "a very private text";

/// Two backends that dead-letter a message at its first failure.
fn config(broker: &str, provider: &Provider, more: &str) -> String {
    let backend = |name: &str| {
        format!(
            "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\n\
             json = {{ id = \"{{{{ id }}}}\", to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
            provider.url(&format!("/{name}"))
        )
    };
    format!("{broker}\n[retry]\ndelays = []\n{more}\n{}{}", backend("a"), backend("b"))
}

async fn cli(launch: &Launch, arguments: &[&str]) -> Ended {
    let launch = arguments.iter().fold(launch.clone().arg("dead"), |launch, argument| launch.arg(argument));
    launch.run().await
}

/// The output of the command with `--json`.
async fn told(launch: &Launch, arguments: &[&str]) -> Value {
    let ended = cli(launch, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.log);
    serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e} in {}", ended.out))
}

fn ids(listing: &Value) -> Vec<String> {
    let letters = listing["letters"].as_array().unwrap();
    letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

async fn post(postern: &Program, backend: &str, text: &str) -> String {
    let body = json!({"backend": backend, "to": NUMBER, "text": text});
    let reply = postern.post_json("/v1/messages", &body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    reply.json()["id"].as_str().unwrap().to_owned()
}

/// Posts `count` messages to `backend`, waits until each is dead-lettered because of `status`, and returns their
/// ids.
async fn die(
    postern: &Program,
    provider: &Provider,
    (backend, count): (&str, usize),
    status: u16,
    class: &str,
) -> Vec<String> {
    provider.otherwise(move |_| Answer::status(status));
    let mut ids = Vec::new();
    let labels = [("backend", backend), ("class", class)];
    for number in 1..=count {
        ids.push(post(postern, backend, TEXT).await);
        // One after the other, so that they are dead-lettered in this order.
        postern.metric_becomes("postern_dead_letters_total", &labels, number as f64).await;
    }
    ids
}

async fn every_command_and_filter(broker: &str) {
    let provider = Provider::start().await;
    let launch = Launch::gateway().config(&config(broker, &provider, ""));
    let postern = launch.start().await;
    let a = die(&postern, &provider, ("a", 3), 400, "permanent").await;
    let b = die(&postern, &provider, ("b", 2), 503, "transient").await;
    assert_eq!(postern.terminate().await.code, Some(0));

    let listing = told(&launch, &["list"]).await;
    assert_eq!((&listing["waiting"], &listing["more"]), (&json!(5), &json!(false)));
    assert_eq!(ids(&listing), [a.clone(), b.clone()].concat(), "in the order in which they died");
    let first = &listing["letters"][0];
    for (key, value) in [
        ("backend", json!("a")),
        ("queue", json!("postern.outbound.a")),
        ("class", json!("permanent")),
        ("code", json!("http_400")),
        ("attempts", json!(1)),
        ("recipients", json!(1)),
    ] {
        assert_eq!(first[key], value, "{key}: {first}");
    }
    assert!(first["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{first}");
    let table = cli(&launch, &["list"]).await;
    assert_eq!(table.out.lines().count(), 7, "a head, five letters, a sum: {}", table.out);
    for said in [table.out, table.log, listing.to_string()] {
        assert!(!said.contains(NUMBER) && !said.contains(TEXT), "{said}");
    }

    for (filter, expected) in [
        (vec!["--backend", "a"], a.clone()),
        (vec!["--backend", "b,a", "--class", "transient"], b.clone()),
        (vec!["--code", "http_503"], b.clone()),
        (vec!["--code", "poison"], vec![]),
        (vec!["--older-than", "1h"], vec![]),
        (vec!["--newer-than", "1h"], [a.clone(), b.clone()].concat()),
        (vec!["--id", &b[1]], vec![b[1].clone()]),
        (vec!["--limit", "2"], a[..2].to_vec()),
        (vec!["--backend", "b", "--limit", "9"], b.clone()),
    ] {
        let arguments = [vec!["list"], filter].concat();
        assert_eq!(ids(&told(&launch, &arguments).await), expected, "{arguments:?}");
    }
    let wrong = cli(&launch, &["list", "--class", "bad"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.log.contains("transient, throttled"), "{}", wrong.log);

    let shown = cli(&launch, &["show", &a[1]]).await;
    assert!(shown.out.contains(NUMBER) && shown.out.contains(TEXT), "{}", shown.out);
    let shown = told(&launch, &["show", &a[1]]).await;
    assert_eq!(shown["letters"][0]["body"]["identities"], json!([NUMBER]));
    assert!(shown["letters"][0]["reason"].as_str().unwrap().contains("http_400"), "{shown}");
    // The start of an id is enough if no other id begins with it; ids made one after the other have the same
    // start.
    let differ = a[1].bytes().zip(a[2].bytes()).take_while(|(one, other)| one == other).count();
    let shown = cli(&launch, &["show", &a[1][..differ]]).await;
    assert!(shown.code == Some(1) && shown.log.contains(&a[1]) && shown.log.contains(&a[2]), "{}", shown.log);
    let most = &a[1][..35];
    assert_eq!(told(&launch, &["show", most]).await["letters"][0]["id"], a[1]);
    for command in ["show", "redrive", "drop"] {
        let nobody = cli(&launch, &[command, "no-such-id"]).await;
        assert_eq!(nobody.code, Some(1), "{command}: {}", nobody.log);
        assert!(nobody.log.contains("has the id no-such-id"), "{command}: {}", nobody.log);
    }

    // A dry run changes nothing, and neither does a refused command.
    assert_eq!(told(&launch, &["redrive", "--dry-run"]).await["done"], 5);
    assert_eq!(told(&launch, &["drop", "--dry-run", "--backend", "b"]).await["done"], 2);
    for command in ["drop", "redrive"] {
        for more in [&[][..], &["--limit", "2"]] {
            let refused = cli(&launch, &[&[command], more].concat()).await;
            assert_eq!(refused.code, Some(2), "{command}: {}", refused.log);
            assert!(refused.log.contains("--yes"), "{command}: {}", refused.log);
        }
    }
    assert_eq!(ids(&told(&launch, &["list"]).await), [a.clone(), b.clone()].concat());

    assert_eq!(told(&launch, &["drop", "--code", "http_400", "--limit", "1"]).await["done"], 1);
    let redriven = cli(&launch.clone().env("USER", "ann"), &["redrive", "--backend", "b"]).await;
    assert!(redriven.out.contains("2 of 4 waiting messages redriven"), "{}", redriven.out);
    assert!(redriven.log.contains("2 messages of postern.dead redriven by ann@"), "{}", redriven.log);
    assert_eq!(told(&launch, &["redrive", &a[2]]).await["done"], 1);
    assert_eq!(ids(&told(&launch, &["list"]).await), [a[1].clone()]);

    provider.otherwise(|_| Answer::ok(""));
    let before = provider.requests().len();
    let postern = launch.start().await;
    let asked = provider.wait_for(before + 3).await;
    let mut again: Vec<_> =
        asked[before..].iter().map(|r| r.json()["id"].as_str().unwrap().to_owned()).collect();
    again.sort();
    let mut wanted = [b.clone(), vec![a[2].clone()]].concat();
    wanted.sort();
    assert_eq!(again, wanted, "under the ids that they had");
    assert!(asked[before..].iter().all(|r| r.json()["text"] == TEXT));
    for (backend, count) in [("a", 1.0), ("b", 2.0)] {
        let sent = [("backend", backend), ("outcome", "sent")];
        postern.metric_becomes("postern_dispatch_messages_total", &sent, count).await;
    }
    assert_eq!(postern.terminate().await.code, Some(0));
    assert_eq!(told(&launch, &["drop", "--yes"]).await["done"], 1);
    assert_eq!(told(&launch, &["list"]).await["waiting"], 0);
}

#[tokio::test]
async fn every_command_and_filter_embedded() {
    every_command_and_filter("").await;
}

#[tokio::test]
async fn every_command_and_filter_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    every_command_and_filter(&vhost.config("")).await;
}

/// A body that is not a message has no id, so its handle is computed from its content.
#[tokio::test]
async fn a_letter_without_an_id_is_shown_and_dropped_by_its_handle() {
    let (provider, vhost) = (Provider::obliging().await, Rabbit::shared().vhost());
    let launch = Launch::gateway().config(&config(&vhost.config(""), &provider, ""));
    let postern = launch.start_connected().await;
    let tap = vhost.tap().await;
    for body in ["{", "["] {
        tap.publish("postern.outbound", "a", body.as_bytes(), Properties::default()).await;
    }
    tap.depth_becomes("postern.dead", 2).await;
    assert_eq!(postern.terminate().await.code, Some(0));
    let handles = |listing: &Value| -> Vec<String> {
        let letters = listing["letters"].as_array().unwrap().iter();
        letters
            .map(|letter| {
                assert!(letter["id"].is_null(), "{letter}");
                letter["handle"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    let listed = handles(&told(&launch, &["list"]).await);
    assert!(listed.len() == 2 && listed.iter().all(|handle| handle.starts_with("sha256:")), "{listed:?}");
    assert_eq!(handles(&told(&launch, &["show", &listed[1]]).await), listed[1..]);
    assert_eq!(told(&launch, &["drop", &listed[0]]).await["done"], 1);
    assert_eq!(handles(&told(&launch, &["list"]).await), listed[1..]);
}

/// A request to the admin port.
async fn admin(
    postern: &Program,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{}{path}", postern.admin_port());
    let mut request = http_client().request(method, url).body(body.to_owned());
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let reply = fetch(request).await.unwrap();
    (reply.status, serde_json::from_str(&reply.text).unwrap_or_default())
}

#[tokio::test]
async fn the_admin_port_does_the_same_for_who_has_the_token() {
    let provider = Provider::start().await;
    let launch = Launch::gateway().config(&config("", &provider, "")).admin_token(TOKEN);
    let postern = launch.start().await;
    let a = die(&postern, &provider, ("a", 2), 400, "permanent").await;
    let b = die(&postern, &provider, ("b", 1), 503, "transient").await;
    for path in ["/v1/dead", &format!("/v1/dead/{}", a[0])] {
        for token in [None, Some("wrong"), Some("")] {
            assert_eq!(admin(&postern, Method::GET, path, token, "").await.0, 401, "{path} {token:?}");
        }
    }
    for path in ["/v1/dead/redrive", "/v1/dead/drop"] {
        assert_eq!(admin(&postern, Method::POST, path, None, r#"{"all":true}"#).await.0, 401);
    }
    let ask =
        async |method: Method, path: &str, body: &str| admin(&postern, method, path, Some(TOKEN), body).await;
    let (status, listing) =
        ask(Method::GET, "/v1/dead?backend=a&class=permanent,unknown&newer_than=1h", "").await;
    assert_eq!((status, ids(&listing)), (200, a.clone()));
    assert!(!listing.to_string().contains(NUMBER), "{listing}");
    let (status, shown) = ask(Method::GET, &format!("/v1/dead/{}", a[0]), "").await;
    assert_eq!((status, &shown["letters"][0]["body"]["text"]), (200, &json!(TEXT)));
    for (method, path, body, status, says) in [
        (Method::GET, "/v1/dead/no-such-id", "", 404, "no dead letter"),
        (Method::GET, "/v1/dead?bakend=a", "", 400, "bakend"),
        (Method::GET, "/v1/dead?older_than=soon", "", 400, "older_than"),
        (Method::POST, "/v1/dead/drop", "", 400, "all"),
        (Method::POST, "/v1/dead/drop", r#"{"filter":{"class":["bad"]}}"#, 400, "filter.class"),
        (Method::POST, "/v1/dead/redrive", r#"{"filtre":{}}"#, 400, "filtre"),
        (Method::POST, "/v1/dead/redrive", "no json", 400, "expected"),
    ] {
        let (got, problem) = ask(method, path, body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(got == status && detail.contains(says), "{path} {body}: {got} {problem}");
    }
    let (_, done) = ask(Method::POST, "/v1/dead/redrive", r#"{"dry_run":true}"#).await;
    assert_eq!((&done["done"], &done["dry_run"]), (&json!(3), &json!(true)));
    postern.metric_becomes("postern_dead_letters_waiting", &[], 3.0).await;
    provider.otherwise(|_| Answer::ok(""));
    let (_, done) =
        ask(Method::POST, "/v1/dead/redrive", &format!(r#"{{"filter":{{"id":["{}"]}}}}"#, b[0])).await;
    assert_eq!(done["done"], 1, "{done}");
    let asked = provider.wait_for(4).await;
    assert_eq!(asked[3].json()["id"].as_str(), Some(&*b[0]));
    let (_, done) = ask(Method::POST, "/v1/dead/drop", r#"{"filter":{"code":["http_400"]}}"#).await;
    assert_eq!(done["done"], 2, "{done}");

    // The gateway has the store open, so the command asks its admin port.
    provider.otherwise(|_| Answer::status(400));
    post(&postern, "a", TEXT).await;
    let beside = launch.clone().env("POSTERN__ADMIN__LISTEN", &format!("127.0.0.1:{}", postern.admin_port()));
    let beside = beside.env("POSTERN_ADMIN_TOKEN", TOKEN);
    eventually("it is listed", async || match told(&beside, &["list"]).await["waiting"].as_u64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(told(&beside, &["list", "--backend", "b", "--limit", "5"]).await["letters"], json!([]));
    let id = ids(&told(&beside, &["list", "--newer-than", "2d"]).await).remove(0);
    assert_eq!(told(&beside, &["show", &id]).await["letters"][0]["body"]["text"], TEXT);
    assert_eq!(told(&beside, &["redrive", &id, "--dry-run"]).await["done"], 1);
    let line = postern.log().wait_for("dry run: dead letters would be redriven\",").await;
    assert!(line.contains("\"dry_run\":true"), "{line}");
    assert_eq!(told(&beside.clone().env("USER", "ann"), &["drop", "--yes"]).await["done"], 1);
    let line = postern.log().wait_for("dead letters dropped\",\"client\":\"127.0.0.1\",\"by\":\"ann@").await;
    assert!(line.contains("\"messages\":1"), "{line}");
    let wrong = cli(&beside.env("POSTERN_ADMIN_TOKEN", "wrong"), &["list"]).await;
    assert!(wrong.code == Some(1) && wrong.log.contains("token"), "{}", wrong.log);
    postern.ends_silent(&[NUMBER, TEXT, TOKEN]).await;
}

/// A person who runs the gateway on their own machine needs no token.
#[tokio::test]
async fn without_a_token_the_admin_port_serves_programs_on_this_machine() {
    let provider = Provider::start().await;
    let launch = Launch::gateway().config(&config("", &provider, ""));
    let postern = launch.start().await;
    let id = die(&postern, &provider, ("a", 1), 400, "permanent").await.remove(0);
    let url = format!("http://127.0.0.1:{}/v1/dead", postern.admin_port());
    for (header, value) in [
        ("Origin", "http://127.0.0.1"),
        ("Host", "rebound.example.org"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Via", "1.1 proxy"),
    ] {
        for request in [http_client().get(&url), http_client().post(format!("{url}/drop"))] {
            let refused = fetch(request.header(header, value)).await.unwrap();
            assert!(refused.status == 403 && !refused.text.contains(&id), "{header}: {}", refused.text);
        }
    }
    let (status, listing) = admin(&postern, Method::GET, "/v1/dead", None, "").await;
    assert_eq!((status, ids(&listing)), (200, vec![id.clone()]));
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/dead", "GET"),
        (Method::GET, "/v1/dead/drop", "POST"),
        (Method::GET, "/v1/backends/a/pause", "POST"),
        (Method::POST, "/v1/queues", "GET"),
    ] {
        let url = format!("http://127.0.0.1:{}{path}", postern.admin_port());
        let refused = fetch(http_client().request(method, url)).await.unwrap();
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allowed)), "{path}");
    }
    // The command works the same while a gateway has the store open; if no gateway runs, it says so.
    let beside = launch.env("POSTERN__ADMIN__LISTEN", &format!("127.0.0.1:{}", postern.admin_port()));
    assert_eq!(ids(&told(&beside, &["list"]).await), vec![id.clone()]);
    assert_eq!(told(&beside, &["drop", &id]).await["done"], 1);
    let nowhere = Launch::gateway();
    let none = cli(&nowhere, &["list"]).await;
    assert!(none.code == Some(1) && none.log.contains("no store"), "{}", none.log);
    assert!(!nowhere.folder().path().join("postern-data").exists(), "it made one");
}

#[tokio::test]
async fn what_the_application_refused_goes_back_to_its_queue_alone() {
    let provider = Provider::start().await;
    let more =
        format!("[application]\ntype = \"webhook\"\nurl = \"{}\"\nformat = \"form\"\n", provider.url("/app"));
    let launch = Launch::gateway().config(&config("", &provider, &more)).admin_token(TOKEN);
    let postern = launch.start().await;
    provider.otherwise(|_| Answer::status(410));
    assert_eq!(postern.post_form("/backends/a", &[("identity", NUMBER), ("text", TEXT)]).await.status, 200);
    let refused = provider.take().await;
    postern.metric_becomes("postern_dead_letters_waiting", &[], 1.0).await;
    provider.otherwise(|_| Answer::ok(""));
    let (_, listing) = admin(&postern, Method::GET, "/v1/dead", Some(TOKEN), "").await;
    assert_eq!(listing["letters"][0]["queue"], "postern.inbound", "{listing}");
    let (_, done) = admin(&postern, Method::POST, "/v1/dead/redrive", Some(TOKEN), "").await;
    assert_eq!(done["done"], 1, "{done}");
    let taken = provider.take().await;
    assert_eq!((taken.header("webhook-id"), &taken.body), (refused.header("webhook-id"), &refused.body));
    postern.metric_becomes("postern_dead_letters_waiting", &[], 0.0).await;
}
