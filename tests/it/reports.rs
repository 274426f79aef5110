//! Reading `postern.reports`.

use postern_tests::Tap;
use serde_json::{Value, json};

/// The next report with an outcome; reports that say only "queued" are skipped.
pub(crate) async fn outcome(tap: &Tap) -> Value {
    loop {
        let report = tap.take("postern.reports").await.json();
        if report["recipients"].as_array().is_some_and(|all| all.iter().any(|r| r["state"] != "queued")) {
            return report;
        }
    }
}

/// The identity and state of each recipient in a report, in its order.
pub(crate) fn states(report: &Value) -> Vec<(&str, &str)> {
    let recipients = report["recipients"].as_array().expect("a report has recipients");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    assert!(recipients.iter().all(|r| text(&r["identity"]).is_some()), "{report}");
    recipients.iter().map(|r| (r["identity"].as_str().unwrap(), r["state"].as_str().unwrap())).collect()
}

/// The state, attempt and reason class in each of the next `count` reports about one identity.
pub(crate) async fn course(tap: &Tap, count: usize) -> Vec<Value> {
    let mut course = Vec::new();
    for _ in 0..count {
        let report = outcome(tap).await;
        let only = &report["recipients"][0];
        course.push(json!([only["state"], report["attempt"], only["reason"]["class"]]));
    }
    course
}
