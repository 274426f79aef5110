//! The alerts in deploy/prometheus: the metrics that they use exist, and each alert is explained and tested.
//! `tests/run` lets promtool test them, and tests/it/dashboards.rs checks that RabbitMQ exports what they use.

use crate::operations::{METRICS_OF_ALL, METRICS_OF_DISPATCHER, METRICS_OF_INGRESS};
use postern_tests::Launch;
use saphyr::{LoadableYamlNode as _, Yaml};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Exported only with TLS; tests/it/access/tls.rs tests it.
const METRICS_WITH_TLS: [&str; 1] = ["tls_not_after_seconds"];

fn read(path: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn list<'a>(yaml: &'a Yaml<'a>, key: &str) -> Vec<&'a Yaml<'a>> {
    yaml.as_mapping_get(key).and_then(Yaml::as_vec).into_iter().flatten().collect()
}

fn text<'a>(yaml: &'a Yaml<'a>, key: &str) -> &'a str {
    yaml.as_mapping_get(key).and_then(Yaml::as_str).unwrap_or_else(|| panic!("no {key} in {yaml:?}"))
}

/// Passes the alerts of the file `name`, by alert name, to `look`.
fn with_alerts(name: &str, look: impl FnOnce(BTreeMap<&str, &Yaml<'_>>)) {
    let file = read(&format!("deploy/prometheus/rules/{name}.yml"));
    let documents = Yaml::load_from_str(&file).unwrap();
    let rules = list(&documents[0], "groups").into_iter().flat_map(|group| list(group, "rules"));
    let alerts: Vec<_> = rules.map(|rule| (text(rule, "alert"), rule)).collect();
    let number = alerts.len();
    let alerts: BTreeMap<_, _> = alerts.into_iter().collect();
    assert!(
        number > 3 && alerts.len() == number,
        "{name}: an alert is there twice, or next to none: {number}"
    );
    look(alerts);
}

/// The metrics in the expressions of the file `name` that begin with `prefix`, without a histogram's suffixes.
pub(crate) fn metrics_in(name: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    with_alerts(name, |alerts| {
        for rule in alerts.values() {
            let words = text(rule, "expr").split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics = words.filter(|word| word.starts_with(prefix));
            found.extend(metrics.map(|name| name.trim_end_matches("_bucket").to_owned()));
        }
    });
    assert!(!found.is_empty(), "{name} names no metric {prefix}*");
    found
}

#[tokio::test]
async fn every_metric_in_a_rule_is_one_that_postern_exports() {
    let all = METRICS_OF_ALL.iter().chain(&METRICS_OF_INGRESS).chain(&METRICS_OF_DISPATCHER);
    let exported: BTreeSet<_> = all.chain(&METRICS_WITH_TLS).map(|name| format!("postern_{name}")).collect();
    let unknown: Vec<_> =
        metrics_in("postern", "postern_").into_iter().filter(|name| !exported.contains(name)).collect();
    assert!(unknown.is_empty(), "no program exports {unknown:?}");
    let metrics = Launch::gateway().start().await.metrics().await;
    for name in metrics_in("postern", "process_") {
        assert!(metrics.has(&name), "no program exports {name}");
    }
}

#[test]
fn every_alert_is_explained_and_has_one_of_two_severities() {
    let page = read("docs/operations.md");
    let headings: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_lowercase).collect();
    let mut explained = BTreeSet::new();
    for name in ["postern", "rabbitmq"] {
        with_alerts(name, |alerts| {
            for (alert, rule) in alerts {
                let severity = text(&rule["labels"], "severity");
                assert!(["page", "ticket"].contains(&severity), "{alert}: severity {severity}");
                let annotations = &rule["annotations"];
                for key in ["summary", "description"] {
                    assert!(text(annotations, key).len() > 20, "{alert} has no {key}");
                }
                let anchor = text(annotations, "runbook_url").strip_prefix("docs/operations.md#").unwrap();
                assert_eq!(anchor, alert.to_lowercase());
                assert!(headings.contains(anchor), "docs/operations.md does not explain {alert}");
                explained.insert(anchor.to_owned());
            }
        });
    }
    let left: Vec<_> = headings.difference(&explained).collect();
    assert!(left.is_empty(), "docs/operations.md explains alerts that are not there: {left:?}");
}

#[test]
fn every_alert_is_tried_silent_and_firing() {
    for name in ["postern", "rabbitmq"] {
        let file = read(&format!("deploy/prometheus/tests/{name}.yml"));
        let documents = Yaml::load_from_str(&file).unwrap();
        let mut tried = BTreeMap::new();
        for test in list(&documents[0], "tests") {
            let alert = text(test, "name").to_owned();
            let cases = list(test, "promql_expr_test");
            let about = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"");
            assert!(cases.iter().all(|case| text(case, "expr").contains(&about)), "{alert}");
            let expected = cases.iter().map(|case| !list(case, "exp_samples").is_empty());
            tried.insert(alert, expected.collect::<BTreeSet<_>>());
        }
        with_alerts(name, |alerts| {
            for alert in alerts.keys() {
                let cases = tried.get(*alert).unwrap_or_else(|| panic!("{alert} is not tried"));
                assert_eq!(*cases, [false, true].into(), "{alert}: one silent and one firing case");
            }
            assert_eq!(alerts.len(), tried.len());
        });
    }
}
