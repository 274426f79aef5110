//! What is there from the start.

use super::*;
use postern_store::spool::SpoolUsage;

#[test]
fn every_metric_of_the_contract_is_there_before_the_first_message() {
    let metrics = Metrics::new("postern", "0").unwrap();
    metrics.sending(&"demo".parse().unwrap()).declare_segments();
    metrics.declare_queue(&QueueName::inbound());
    metrics.declare_duplicates(&"demo".parse().unwrap());
    drop(metrics.application(&[&QueueName::reports()]).begun(&QueueName::reports()));
    metrics.request(None, "", "GET", 404, 0.1);
    metrics.broker(&Status::Blocked(String::new()));
    metrics.declare_refused(None, &Refused::ALL);
    metrics.refused(Some(&"demo".parse().unwrap()), Refused::Token);
    let usage = SpoolUsage { messages: 3, bytes: 700, full: false };
    let oldest = Some(std::time::Duration::from_millis(1500));
    for forwarded in [1, 4] {
        metrics.spool(&Figures { usage, oldest, stored: 7, forwarded, refused: 2, dead: 1 });
    }
    let own = prometheus::IntCounter::new("modem_resets_total", "Resets of the modem").unwrap();
    metrics.register(own.clone()).unwrap();
    assert!(metrics.register(own.clone()).is_err());
    own.inc();
    let text = metrics.text();
    for name in [
        "postern_ingress_requests_total{backend=\"\",compat=\"\",method=\"GET\",status=\"404\"} 1",
        "postern_ingress_request_duration_seconds_bucket",
        "postern_publish_duration_seconds_count{queue=\"postern.inbound\"} 0",
        "postern_publish_failures_total",
        "postern_dispatch_messages_total{backend=\"demo\",outcome=\"sent\"} 0",
        "postern_dispatch_recipients_total",
        "postern_send_duration_seconds_sum{backend=\"demo\"} 0",
        "postern_dispatch_in_flight{backend=\"demo\"} 0",
        "postern_retries_total{backend=\"demo\",class=\"transient\"} 0",
        "postern_dead_letters_total{backend=\"demo\",class=\"permanent\"} 0",
        "postern_message_age_seconds_count{backend=\"demo\"} 0",
        "postern_ingress_duplicates_total{backend=\"demo\"} 0",
        "postern_application_deliveries_total{outcome=\"sent\",queue=\"postern.reports\"} 0",
        "postern_application_duration_seconds_count{queue=\"postern.reports\"} 0",
        "postern_application_in_flight{queue=\"postern.reports\"} 0",
        "postern_admin_refused_total 0",
        "postern_dead_letters_waiting 0",
        "postern_ingress_refused_total{backend=\"demo\",reason=\"token\"} 1",
        "postern_ingress_refused_total{backend=\"\",reason=\"rate\"} 0",
        "postern_broker_connected 1",
        "postern_broker_blocked 1",
        "postern_spool_messages 3",
        "postern_spool_bytes 700",
        "postern_spool_oldest_seconds 1.5",
        "postern_spool_stored_total 7",
        "postern_spool_forwarded_total 4",
        "postern_spool_refused_total 2",
        "postern_spool_dead_letters_total 1",
        "postern_build_info{program=\"postern\",version=\"0\"} 1",
        "postern_modem_resets_total 1",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}
