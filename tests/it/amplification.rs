//! What one request can cause: callbacks, log lines, an unlimited number of requests.

use crate::compat::{PASSWORD, is_accepted};
use futures_util::{StreamExt, stream};
use postern_tests::{Answer, Gate, Launch, Program, Provider, Reply, eventually, free_port};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Users `first` and `second` of Kannel's listener, each with `more` in its table, and a backend that accepts
/// everything immediately.
fn two_users(more: &str) -> String {
    let user = |name: &str| {
        format!(
            "[[compat.kannel.users]]\nusername = \"{name}\"\npassword = \"{PASSWORD}\"\nbackend = \"x\"\n{more}\n"
        )
    };
    let users = user("first") + &user("second");
    let callbacks = "[compat.callbacks]\nallow = [\"127.0.0.0/8\"]\n";
    format!("{callbacks}{users}{}[backends.x]\ntype = \"console\"\n", users.replace("kannel", "vumi"))
}

async fn sendsms(program: &Program, user: &str, more: &[(&str, &str)]) -> Reply {
    let form = [&[("username", user), ("password", PASSWORD), ("text", "hi")], more].concat();
    program.post_form("/cgi-bin/sendsms", &form).await
}

async fn vumi(program: &Program, user: &str) -> Reply {
    let request = program.request(Method::PUT, "/api/v1/go/http_api_nostream/c/messages.json");
    let message = json!({"to_addr": "+1555", "content": "hi"});
    program.fetch(request.basic_auth(user, Some(PASSWORD)).json(&message)).await
}

#[tokio::test]
async fn a_user_whose_callbacks_are_never_answered_holds_up_no_other_user() {
    let (silent, client) = (Provider::start().await, Provider::obliging().await);
    let held = Gate::closed();
    silent.otherwise(move |_| Answer::ok("").held(&held));
    let postern = Launch::gateway().config(&two_users("")).start().await;
    let numbers = (0..500).map(|n| format!("+1555{n} ")).collect::<String>();
    let dlr = silent.url("/dlr?to=%p");
    let asks = [("to", &*numbers), ("dlr-mask", "31"), ("dlr-url", &dlr)];
    for _ in 0..4 {
        is_accepted(&sendsms(&postern, "first", &asks).await);
    }
    silent.wait_for(16).await;
    let (begun, dlr) = (Instant::now(), client.url("/dlr?to=%p"));
    for n in 0..5 {
        let to = format!("+1666{n}");
        is_accepted(&sendsms(&postern, "second", &[("to", &to), ("dlr-mask", "8"), ("dlr-url", &dlr)]).await);
        assert!(client.take().await.raw_query.ends_with(&to[1..]));
    }
    eprintln!("five callbacks, one after the other, took {:?}", begun.elapsed());
    // Behind the 2,000 others it would take five minutes: 64 at a time, each waiting for ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // A silent host gets a quarter of the 64 places, and as many again for `postern.callbacks.bulk`.
    assert!(silent.requests().len() <= 32, "{}", silent.requests().len());
    postern.kill();
}

#[tokio::test]
async fn a_user_may_ask_so_much() {
    let postern = Launch::gateway().config(&two_users("rate = \"2/h\"")).start().await;
    let to = [("to", "+1555")];
    for _ in 0..2 {
        is_accepted(&sendsms(&postern, "first", &to).await);
        assert_eq!(vumi(&postern, "first").await.status, 200);
    }
    // A request over the limit gets 429 even if something else is wrong with it.
    for late in [sendsms(&postern, "first", &[]).await, vumi(&postern, "first").await] {
        assert_eq!(late.status, 429, "{}", late.text);
        let wait: u64 = late.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1_800).contains(&wait), "{wait}");
    }
    is_accepted(&sendsms(&postern, "second", &to).await);
    let counted = postern.metrics().await.value("postern_ingress_refused_total", &[("reason", "rate")]);
    assert!((counted - 2.0).abs() < f64::EPSILON, "{counted}");
}

/// Makes `number` requests, 32 at a time, and returns their statuses.
async fn flood(number: usize, ask: impl AsyncFn(usize) -> Reply) -> Vec<u16> {
    stream::iter(0..number).map(|n| ask(n)).buffer_unordered(32).map(|reply| reply.status).collect().await
}

/// The access lines with `status`, and the number of lines that the log says were left out.
fn lines(log: &str, status: u16) -> (usize, u64) {
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let about: Vec<_> = all.filter(|line| line["status"] == status).collect();
    let written = about.iter().filter(|line| line["message"] == "request").count();
    let left_out = about.iter().filter(|line| line["about"] == "requests");
    (written, left_out.filter_map(|line| line["left_out"].as_u64()).sum())
}

#[tokio::test]
async fn lines_about_what_proves_nothing_are_limited_and_counted_and_no_others() {
    let config = "[backends.open]\ntype = \"http\"\n";
    let postern = Launch::gateway().config(config).start().await;
    let begun = Instant::now();
    let wrong = flood(1_000, async |_| postern.get("/nowhere").await).await;
    assert!(wrong.iter().all(|status| *status == 404));
    let malformed = flood(1_000, async |_| postern.get("/backends/open?text=a").await).await;
    assert!(malformed.iter().all(|status| *status == 400));
    let stored = flood(300, async |_| postern.get("/backends/open?identity=1&text=a").await).await;
    assert!(stored.iter().all(|status| *status == 200));
    let seconds = begun.elapsed().as_secs() as usize + 1;
    eventually("the number of lines that were left out", async || {
        let log = postern.log().text();
        let all = [404, 400].map(|status| lines(&log, status)).map(|(written, out)| written as u64 + out);
        if all == [1_000; 2] { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    let log = postern.terminate().await.log;
    for status in [404, 400] {
        let (written, _) = lines(&log, status);
        assert!((20..=20 * (seconds + 1)).contains(&written), "{written} lines in {seconds} s");
    }
    assert_eq!(lines(&log, 200), (300, 0), "every message has its line");
}

#[tokio::test]
async fn while_nothing_can_be_stored_a_request_does_not_write_two_lines() {
    let config = format!(
        "[broker]\nurl = \"amqp://guest:guest@127.0.0.1:{}/\"\npublish_timeout = \"1s\"\n[ingress]\nspool = false\n\
         [backends.open]\ntype = \"http\"\n",
        free_port()
    );
    let ingress = Launch::ingress(&config).spawn();
    ingress.log().wait_for("ingress listening").await;
    let begun = Instant::now();
    let refused = flood(500, async |_| ingress.get("/backends/open?identity=1&text=a").await).await;
    assert!(refused.iter().all(|status| *status == 503));
    let most = 20 * (begun.elapsed().as_secs() as usize + 2);
    let log = ingress.terminate().await.log;
    for line in ["publish not confirmed; answered with 503", "\"message\":\"request\""] {
        let written = log.lines().filter(|written| written.contains(line)).count();
        assert!((20..=most).contains(&written), "{written} times {line}");
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_no_end() {
    let config = "[backends.open]\ntype = \"http\"\n";
    let postern = Launch::gateway().config(config).stalled_log().start().await;
    // Each request logs some 250 bytes, so a pipe is full after 300.
    let stored = flood(2_000, async |_| postern.get("/backends/open?identity=1&text=a").await).await;
    assert!(stored.iter().all(|status| *status == 200));
    assert_eq!(postern.ready().await.unwrap().status, 200);
    assert!(postern.metrics().await.has("postern_log_lines_dropped_total"));
    assert_eq!(postern.terminate().await.code, Some(0));
}
