//! The admin port: open on loopback, otherwise protected by a token.

use postern_tests::{Launch, Program, Reply, assert_silent, eventually, fetch, http_client};

const TOKEN: &str = "hush-of-the-admin";

async fn ask(program: &Program, path: &str, authorization: Option<&str>) -> Reply {
    let request = http_client().get(format!("http://127.0.0.1:{}{path}", program.admin_port()));
    let request = authorization.into_iter().fold(request, |request, it| request.header("Authorization", it));
    fetch(request).await.unwrap()
}

#[tokio::test]
async fn with_a_token_only_health_is_open() {
    let launch = Launch::gateway().config("[admin]\ntoken = { env = \"ADMIN_TOKEN\" }\n");
    let postern = launch.env("ADMIN_TOKEN", TOKEN).start().await;
    for path in ["/livez", "/readyz"] {
        let url = format!("http://127.0.0.1:{}{path}", postern.admin_port());
        let head = fetch(http_client().head(&url)).await.unwrap();
        for (asked, answer) in [("GET", ask(&postern, path, None).await), ("HEAD", head)] {
            let text = Some("text/plain; charset=utf-8");
            assert_eq!((answer.status, answer.header("content-type")), (200, text), "{asked} {path}");
        }
        let other = fetch(http_client().delete(&url)).await.unwrap();
        assert_eq!((other.status, other.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
    let right = format!("Bearer {TOKEN}");
    let metrics = ask(&postern, "/metrics", Some(&right)).await.text;
    for shown in ["postern_build_info", "postern_log_events_total 0", "postern_log_lag_seconds 0"] {
        assert!(metrics.contains(shown), "{shown}: {metrics}");
    }
    let none = ask(&postern, "/metrics", None).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    for wrong in ["Bearer", "Bearer x", &format!("Bearer {TOKEN}x"), &format!("Basic {TOKEN}"), TOKEN] {
        let refused = ask(&postern, "/metrics", Some(wrong)).await;
        assert_eq!((refused.status, &refused.text), (401, &none.text), "{wrong}");
    }
    let counted = ask(&postern, "/metrics", Some(&right)).await.text;
    assert!(counted.contains("postern_admin_refused_total 6"), "{counted}");
    let log = postern.terminate().await.log;
    assert!(log.contains("admin.token"), "{log}");
    assert_silent(&log.lines().map(str::to_owned).collect::<Vec<_>>(), &[TOKEN]);
}

#[tokio::test]
async fn guesses_of_the_token_are_few() {
    let postern = Launch::gateway().env("POSTERN__ADMIN__TOKEN", TOKEN).start().await;
    let mut seen = Vec::new();
    for guess in 0..60 {
        seen.push(ask(&postern, "/v1/dead", Some(&format!("Bearer {guess}"))).await.status);
    }
    let told = seen.iter().filter(|status| **status == 401).count();
    let late = seen.iter().filter(|status| **status == 429).count();
    // The limit allows one more each second, and the machine may be slow.
    assert!((10..40).contains(&told) && told + late == 60, "{seen:?}");
    let right = format!("Bearer {TOKEN}");
    let unheard = ask(&postern, "/metrics", Some(&right)).await;
    if unheard.status == 429 {
        let wait: u64 = unheard.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=2).contains(&wait), "{wait}");
    }
    assert_eq!(ask(&postern, "/readyz", None).await.status, 200, "what is open stays open");
    let text = eventually("the token to be heard again", async || {
        let reply = ask(&postern, "/metrics", Some(&right)).await;
        if reply.status == 200 { Ok(reply.text) } else { Err(reply.status) }
    })
    .await;
    assert!(text.contains("postern_admin_refused_total 6"), "each is counted: {text}");
    let log = postern.terminate().await.log;
    assert!(log.contains("without a valid admin.token"), "{log}");
}

#[tokio::test]
async fn without_a_token_it_listens_on_loopback_only() {
    let everywhere = Launch::gateway().env("POSTERN__ADMIN__LISTEN", "0.0.0.0:0");
    let argument = Launch::gateway().arg("--admin-listen").arg("[::]:0");
    for (launch, key) in [(everywhere, "admin.listen: "), (argument, "--admin-listen: ")] {
        let ended = launch.own_addresses().run().await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        for word in [key, "admin.token", "127.0.0.1"] {
            assert!(ended.log.contains(word), "{word}: {}", ended.log);
        }
    }
}

#[tokio::test]
async fn with_a_token_it_listens_anywhere() {
    let launch = Launch::gateway().env("POSTERN__ADMIN__TOKEN", TOKEN);
    let port = postern_tests::free_port();
    let launch = launch.env("POSTERN__ADMIN__LISTEN", &format!("0.0.0.0:{port}"));
    let postern = launch.env("POSTERN__INGRESS__LISTEN", "127.0.0.1:0").own_addresses().spawn();
    postern.log().wait_for("\"started\"").await;
    let answer = |path: &str| fetch(http_client().get(format!("http://127.0.0.1:{port}{path}")));
    assert_eq!(answer("/livez").await.unwrap().status, 200);
    assert_eq!(answer("/metrics").await.unwrap().status, 401);
}
