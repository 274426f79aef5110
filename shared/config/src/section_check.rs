//! Checks of the sections beyond the types: bounds, files, and which keys of a section go together.

use crate::{
    broker_url, flow_check,
    reader::Reader,
    sections::{AdminSection, ApiSection, BrokerSection, DispatcherSection, IngressSection, LogSection},
    tls_files::{TlsFiles, TlsProblem},
};
use postern_shared::suggest;
use tracing_subscriber::EnvFilter;

/// The largest `ingress.max_items`.
const MAX_ITEMS: usize = 10_000;

pub(super) fn broker(broker: &BrokerSection, reader: &mut Reader) {
    if let Some(why) = broker_url::problem(broker.url.expose()) {
        reader.problem("broker.url", why);
    }
    if broker.publish_timeout.0.is_zero() {
        reader.problem("broker.publish_timeout", "must be longer than 0");
    }
    for (key, value) in [
        ("broker.max_reports", Some(broker.max_reports)),
        ("broker.max_callbacks", Some(broker.max_callbacks)),
        ("broker.max_messages", broker.max_messages),
    ] {
        if value == Some(0) {
            reader.problem(key, "must be at least 1");
        }
    }
}

pub(super) fn ingress(ingress: &IngressSection, reader: &mut Reader) {
    reader.note_absent_files("ingress.tls", ingress.tls.iter().flat_map(TlsFiles::files));
    if let Some(public) = &ingress.public_url {
        let right = url::Url::parse(public).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        if !right || public.ends_with('/') {
            let rule = "must be an http or https URL without a query and without a / at the end";
            reader.problem("ingress.public_url", rule);
        }
    }
    for (key, value) in [
        ("ingress.max_body", ingress.max_body),
        ("ingress.max_fields", ingress.max_fields),
        ("ingress.max_key", ingress.max_key),
        ("ingress.max_value", ingress.max_value),
        ("ingress.max_connections", ingress.max_connections.unwrap_or(1)),
        ("ingress.max_connections_per_address", ingress.max_connections_per_address),
    ] {
        if value == 0 {
            reader.problem(key, "must be at least 1");
        }
    }
    if !(1..=MAX_ITEMS).contains(&ingress.max_items) {
        reader.problem("ingress.max_items", format!("must be 1 to {MAX_ITEMS}"));
    }
    if ingress.rate_limit.is_some_and(|limit| limit.burst == Some(0)) {
        reader.problem("ingress.rate_limit.burst", "must be at least 1");
    }
    for (key, value) in [
        ("ingress.spool.max_messages", ingress.spool.max_messages),
        ("ingress.spool.max_bytes", ingress.spool.max_bytes),
    ] {
        if value == 0 {
            reader.problem(key, "must be at least 1; to have no spool, set ingress.spool = false");
        }
    }
    if ingress.read_timeout.0.is_zero() {
        reader.problem("ingress.read_timeout", "must be longer than 0");
    }
}

pub(super) fn admin(admin: &AdminSection, reader: &mut Reader) {
    reader.note_absent_files("admin.tls", admin.tls.iter().flat_map(TlsFiles::files));
    // Every program has this port, so its files are checked here. The ingress checks those of its own ports.
    if let Some(Err(TlsProblem { key, what })) = admin.tls.as_ref().map(|files| files.read().1) {
        reader.problem(format!("admin.tls.{key}"), what);
    }
    if let Some(why) = admin.listen.and_then(|address| admin.exposes(address)) {
        reader.problem("admin.listen", why);
    }
}

pub(super) fn api(api: &ApiSection, reader: &mut Reader) {
    reader.note_absent_files("api.tls", api.tls.iter().flat_map(TlsFiles::files));
    if api.tls.is_some() && api.listen.is_none() {
        let why = "has no effect without api.listen: /v1 is on ingress.listen, with ingress.tls";
        reader.problem("api.tls", why);
    }
    if let Some(most) = api.max_connections {
        if api.listen.is_none() {
            let why = "has no effect without api.listen: ingress.max_connections limits the connections of /v1, too";
            reader.problem("api.max_connections", why);
        }
        if most == 0 {
            reader.problem("api.max_connections", "must be at least 1");
        }
    }
    for (index, key) in api.keys.iter().enumerate() {
        if key.name.is_empty() {
            reader.problem(format!("api.keys[{index}].name"), "must not be empty");
        }
        if key.may.is_empty() {
            let why = "lets this key do nothing: [\"send\"], [\"read\"] or [\"send\", \"read\"]";
            reader.problem(format!("api.keys[{index}].may"), why);
        }
        let path = format!("api.keys[{index}].key");
        match key.digest() {
            None if !reader.has_read(&format!("api.keys[{index}]")) => {}
            None => {
                reader.problem(path, "is missing or set together with key_sha256: set exactly one of the two")
            }
            Some(digest) if api.keys[..index].iter().any(|other| other.digest() == Some(digest)) => {
                reader.problem(path, "is also in another entry");
            }
            Some(_) => {}
        }
    }
}

pub(super) fn dispatcher(dispatcher: &DispatcherSection, reader: &mut Reader) {
    flow_check::concurrency(dispatcher.concurrency, "dispatcher.concurrency", reader);
    if !(2..=100).contains(&dispatcher.max_deliveries) {
        reader.problem("dispatcher.max_deliveries", "must be 2 to 100");
    }
}

pub(super) fn log(log: &LogSection, reader: &mut Reader) {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // The filter takes a word that is not a level for a part of the program, and silences everything else.
    let is_level =
        |word: &str| LEVELS.contains(&&*word.to_lowercase()) || word.parse::<u8>().is_ok_and(|n| n <= 5);
    let mut words =
        log.level.split(',').map(str::trim).filter(|word| !word.contains('=') && !word.contains(':'));
    let unknown = words.find(|word| !is_level(word));
    if EnvFilter::builder().parse(&log.level).is_err() || unknown.is_some() {
        let levels = "must be error, warn, info, debug, trace, or directives such as \"info,postern_dispatcher=debug\"";
        let hint = suggest::hint(unknown.unwrap_or_default(), LEVELS);
        reader.problem("log.level", format!("{levels}{hint}"));
    }
}
