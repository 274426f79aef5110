//! Checks `broker.url`.

use amq_protocol_uri::AMQPUri;
use url::{Host, Url};

/// The allowed kinds of URL, as errors list them.
const ALLOWED: &str = "allowed: amqp://user:pass@host:5672/vhost, amqps://… and embedded:DIR";

/// What is wrong with `url`. `None` if nothing is. The text does not quote the URL, which may hold a password.
pub(crate) fn problem(url: &str) -> Option<String> {
    let why = match url.split_once(':') {
        Some(("embedded", dir)) if !dir.is_empty() => return None,
        Some(("amqp" | "amqps", _)) => amqp_problem(url)?,
        _ => "unknown kind of broker",
    };
    Some(format!("{why}; {ALLOWED}"))
}

/// What is wrong with an AMQP URL, by lapin's own parser.
fn amqp_problem(url: &str) -> Option<&'static str> {
    let malformed = "not of the form amqp://USER:PASSWORD@HOST:5672/VHOST";
    match (Url::parse(url), url.parse::<AMQPUri>()) {
        (Ok(parsed), Ok(_)) => matches!(parsed.host(), None | Some(Host::Domain(""))).then_some("no host"),
        _ => Some(malformed),
    }
}
