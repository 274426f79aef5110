//! Failure in, disposition out.

use super::*;
use postern_config::{Config, ProviderRegistry};

fn schedule(more: &str) -> Schedule {
    let text = format!(
        "[retry]\ndelays = [\"3s\", \"30s\", \"7m\"]\n[backends.demo]\ntype = \"http\"\n\
         [backends.demo.send]\nurl = \"http://h/\"\n{more}"
    );
    let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
    Schedule::new(config.backends.values().next().unwrap(), Arc::new(postern_service::topology(&config)))
}

fn attempt(attempt: u32, expires_at: Option<&str>) -> Outbound {
    let mut message = Outbound::from_json(br#"{"backend":"demo","identities":["1"],"text":"x"}"#).unwrap();
    message.attempt = attempt;
    message.expires_at = expires_at.map(|at| at.parse().unwrap());
    message
}

fn told(disposition: &Disposition) -> String {
    match disposition {
        Disposition::Sent(_) => "sent".to_owned(),
        Disposition::Retry { delay, .. } => format!("retry in {}", delay.as_secs()),
        Disposition::Deferred { delay, times, .. } => format!("deferred for {}, {times}", delay.as_secs()),
        Disposition::Dead(_) => "dead".to_owned(),
        Disposition::Expired(_) => "expired".to_owned(),
    }
}

fn disposition(schedule: &Schedule, message: &Outbound, outcome: Outcome) -> String {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    told(&schedule.dispositions(message, vec![outcome], now)[0])
}

#[test]
fn the_class_and_the_attempt_decide() {
    use FailureClass::{Config, Permanent, Throttled, Transient, Unknown};
    let schedule = schedule("");
    for (class, number, expected) in [
        (Transient, 1, "retry in 3"),
        (Transient, 2, "retry in 30"),
        (Transient, 3, "retry in 420"),
        (Transient, 4, "dead"),
        (Transient, u32::MAX, "dead"),
        (Throttled, 1, "retry in 3"),
        (Config, 1, "retry in 3"),
        (Config, 4, "dead"),
        (Unknown, 1, "retry in 3"),
        (Permanent, 1, "dead"),
    ] {
        let outcome = Err(Failure::new(class, "x", ""));
        assert_eq!(disposition(&schedule, &attempt(number, None), outcome), expected, "{class:?} {number}");
    }
    assert_eq!(disposition(&schedule, &attempt(9, None), Ok(Sent::without_id())), "sent");
}

#[test]
fn the_providers_wish_costs_no_attempt_and_meets_a_wait_queue() {
    for (asked, number, expected) in [
        (0, 1, "deferred for 1, 1"),
        (4, 1, "deferred for 5, 1"),
        (31, 2, "deferred for 60, 1"),
        (400, 1, "deferred for 420, 1"),
        (86_400, 1, "deferred for 3600, 1"),
        (u64::MAX, 1, "deferred for 3600, 1"),
        (60, 4, "deferred for 60, 1"),
    ] {
        let wish = Some(Duration::from_secs(asked));
        let outcome = Err(Failure::throttled("x", "", wish));
        assert_eq!(disposition(&schedule(""), &attempt(number, None), outcome), expected, "{asked}");
        let outcome = Err(Failure { retry_after: wish, ..Failure::transient("http_503", "") });
        assert_eq!(disposition(&schedule(""), &attempt(number, None), outcome), expected, "{asked}");
    }
    let sent_perhaps = Failure { retry_after: Some(Duration::from_secs(60)), ..Failure::unknown("x", "") };
    assert_eq!(disposition(&schedule(""), &attempt(1, None), Err(sent_perhaps)), "retry in 60");
}

#[test]
fn what_was_deferred_too_often_counts_and_waits_as_long_as_the_provider_wishes() {
    for (before, asked, number, expected) in [
        (49, 60, 1, "deferred for 60, 50"),
        (50, 2, 1, "retry in 3"),
        (50, 25, 2, "retry in 30"),
        (50, 31, 2, "retry in 60"),
        (50, 60, 4, "dead"),
    ] {
        let message = Outbound { deferred: before, ..attempt(number, None) };
        let outcome = Err(Failure::throttled("x", "", Some(Duration::from_secs(asked))));
        assert_eq!(disposition(&schedule(""), &message, outcome), expected, "{before} {asked}");
    }
}

#[test]
fn what_was_not_begun_costs_nothing_at_all() {
    let message = Outbound { deferred: 50, ..attempt(4, None) };
    let not_begun = || Err(Failure::transient(NOT_BEGUN, ""));
    assert_eq!(disposition(&schedule(""), &message, not_begun()), "deferred for 1, 50");
}

#[test]
fn at_most_once_gives_up_what_may_have_been_sent_and_nothing_else() {
    let schedule = schedule("unanswered = \"fail\"");
    assert_eq!(disposition(&schedule, &attempt(1, None), Err(Failure::unknown("timeout", ""))), "dead");
    assert_eq!(
        disposition(&schedule, &attempt(1, None), Err(Failure::transient("connect", ""))),
        "retry in 3"
    );
}

#[test]
fn an_answer_that_is_no_success_is_tried_again_or_given_up_and_never_deferred() {
    for (code, asked, choice, expected) in [
        ("not_accepted", None, "", "retry in 3"),
        ("http_202", None, "", "retry in 3"),
        ("not_accepted", Some(20), "not_accepted = \"retry\"", "retry in 30"),
        ("not_accepted", None, "not_accepted = \"fail\"", "dead"),
        ("not_accepted", Some(20), "not_accepted = \"fail\"", "dead"),
        ("http_202", None, "not_accepted = \"fail\"", "dead"),
        ("http_503", None, "not_accepted = \"fail\"", "retry in 3"),
        ("not_accepted", None, "unanswered = \"fail\"", "retry in 3"),
        ("http_504", Some(20), "", "retry in 30"),
        ("http_504", None, "unanswered = \"fail\"", "dead"),
        ("http_504", Some(20), "unanswered = \"fail\"", "dead"),
    ] {
        let failure = Failure { retry_after: asked.map(Duration::from_secs), ..Failure::transient(code, "") };
        let got = disposition(&schedule(choice), &attempt(1, None), Err(failure));
        assert_eq!(got, expected, "{code} {asked:?} {choice}");
    }
    let given_up = schedule("not_accepted = \"fail\"");
    assert_eq!(disposition(&given_up, &attempt(1, None), Err(Failure::unknown("timeout", ""))), "retry in 3");
}

#[test]
fn a_retry_that_would_come_too_late_is_not_waited_for() {
    for (expires_at, expected) in [
        ("2026-01-01T00:00:02Z", "expired"),
        ("2026-01-01T00:00:03Z", "expired"),
        ("2026-01-01T00:00:03.001Z", "retry in 3"),
    ] {
        let outcome = Err(Failure::transient("x", ""));
        assert_eq!(
            disposition(&schedule(""), &attempt(1, Some(expires_at)), outcome),
            expected,
            "{expires_at}"
        );
    }
    let soon = attempt(1, Some("2026-01-01T00:00:01Z"));
    assert_eq!(disposition(&schedule(""), &soon, Err(Failure::permanent("x", ""))), "dead");
    let unanswered = || Err(Failure::unknown("timeout", ""));
    assert_eq!(disposition(&schedule(""), &soon, unanswered()), "dead", "the provider may have it");
    assert_eq!(disposition(&schedule(""), &attempt(1, None), unanswered()), "retry in 3");
    assert_eq!(disposition(&schedule(""), &soon, Err(Failure::transient(NOT_BEGUN, ""))), "expired");
}

#[test]
fn only_what_expired_before_any_request_was_not_tried() {
    let theirs = || Failure { duration_ms: Some(20), ..Failure::permanent(EXPIRED.0, "the provider's code") };
    for (disposition, expected) in [
        (Disposition::Expired(None), true),
        (Disposition::Expired(None).in_doubt(), true),
        (Disposition::Expired(Some(theirs())), false),
        (Disposition::Dead(theirs()), false),
        (Disposition::Dead(theirs()).in_doubt(), false),
    ] {
        assert_eq!(disposition.was_not_tried(), expected, "{disposition:?}");
    }
}

#[test]
fn without_delays_nothing_is_tried_again() {
    let schedule = schedule("[backends.demo.retry]\ndelays = []");
    assert_eq!(disposition(&schedule, &attempt(1, None), Err(Failure::transient("x", ""))), "dead");
}
