//! What `broker.url` may be.

use amq_protocol_uri::AMQPUri;
use url::{Host, Url};

/// The kinds of broker, as errors list them.
const ALLOWED: &str = "allowed are amqp://user:pass@host:5672/vhost, amqps://… and embedded:DIR";

/// What is wrong with `url`, which is not quoted: it may hold a password. `None` if it is right.
pub(crate) fn problem(url: &str) -> Option<String> {
    let why = match url.split_once(':') {
        Some(("embedded", dir)) if !dir.is_empty() => return None,
        Some(("amqp" | "amqps", _)) => amqp_problem(url)?,
        _ => "unknown kind of broker",
    };
    Some(format!("{why}; {ALLOWED}"))
}

/// lapin reads addresses with the same parser.
fn amqp_problem(url: &str) -> Option<&'static str> {
    let malformed = "not of the form amqp://USER:PASSWORD@HOST:5672/VHOST";
    match (Url::parse(url), url.parse::<AMQPUri>()) {
        (Ok(parsed), Ok(_)) => matches!(parsed.host(), None | Some(Host::Domain(""))).then_some("no host"),
        _ => Some(malformed),
    }
}
