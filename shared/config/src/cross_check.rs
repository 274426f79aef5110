//! What one section's types cannot say: bounds, and what two sections say together.

use crate::{
    about::About,
    backend::{
        Definition, expression::When, provider_tls::ProviderTls, send_auth::SendAuth, template::Template,
        userinfo,
    },
    broker_url,
    config::Config,
    flow_check,
    provider_registry::ProviderRegistry,
    reader::Reader,
    sections::{
        AdminSection, ApiSection, BrokerSection, DispatcherSection, IngressSection, LogSection, Selection,
    },
    tls_files::{TlsFiles, TlsProblem},
};
use postern_shared::{
    message::BackendName,
    suggest,
    value::{MAX_CONCURRENCY, Secret, Settings},
};
use std::{collections::BTreeSet, net::SocketAddr};
use tracing_subscriber::EnvFilter;

/// The largest `rate.burst`.
const MAX_BURST: u32 = 10_000;
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
            let rule = "must be an http or https URL without query and without a / at its end";
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
    // Every program has this port. The ingress looks at the files of its own: no other needs them.
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
        let why = "is of no port: /v1 is on ingress.listen, with ingress.tls, unless api.listen is set";
        reader.problem("api.tls", why);
    }
    if let Some(most) = api.max_connections {
        if api.listen.is_none() {
            let why = "has no effect without api.listen: ingress.max_connections bounds the port of /v1";
            reader.problem("api.max_connections", why);
        }
        if most == 0 {
            reader.problem("api.max_connections", "must be at least 1");
        }
    }
    for (index, key) in api.keys.iter().enumerate() {
        if key.name.is_empty() {
            reader.problem(format!("api.keys[{index}].name"), "must be there");
        }
        if key.may.is_empty() {
            let why = "lets this key do nothing: [\"send\"], [\"read\"] or [\"send\", \"read\"]";
            reader.problem(format!("api.keys[{index}].may"), why);
        }
        let path = format!("api.keys[{index}].key");
        match key.digest() {
            None if !reader.has_read(&format!("api.keys[{index}]")) => {}
            None => reader.problem(path, "is missing, or there beside key_sha256: one of the two is needed"),
            Some(digest) if api.keys[..index].iter().any(|other| other.digest() == Some(digest)) => {
                reader.problem(path, "is another entry's too");
            }
            Some(_) => {}
        }
    }
}

pub(super) fn dispatcher(dispatcher: &DispatcherSection, reader: &mut Reader) {
    concurrency(dispatcher.concurrency, "dispatcher.concurrency", reader);
    if !(2..=100).contains(&dispatcher.max_deliveries) {
        reader.problem("dispatcher.max_deliveries", "must be 2 to 100");
    }
}

pub(super) fn log(log: &LogSection, reader: &mut Reader) {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // A word that is no level is a part of the program to the filter, and everything else is silent.
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

pub(super) fn backend(
    definition: &Definition,
    path: &str,
    providers: &ProviderRegistry,
    reader: &mut Reader,
) {
    // What stands in for a setting that was not read is no mistake of the proof that rests on it.
    let unset = Settings::default();
    let settings_are_read = reader.has_read(&format!("{path}.settings"));
    let known = if settings_are_read { &definition.settings } else { &unset };
    let auth = definition.receive.auth.problems(known);
    for (key, why) in definition.receive.problems().into_iter().chain(auth) {
        reader.problem(format!("{path}.receive.{key}"), why);
    }
    // What a built-in type leaves unsigned is its provider's doing, and on the type's page.
    if reader.is_written(&format!("{path}.receive.auth"))
        && let Some((key, what)) = definition.receive.auth.doubts(&definition.receive.methods)
    {
        reader.warning(&format!("{path}.receive.{key}"), what);
    }
    if !providers.has_form(&definition.receive.form) {
        let known = providers.known_forms();
        let hint = suggest::hint(&definition.receive.form, known.split(", "));
        reader.problem(format!("{path}.receive.form"), format!("unknown form; allowed: {known}{hint}"));
    }
    for (key, why) in definition.status.iter().flat_map(|status| status.problems()) {
        reader.problem(format!("{path}.status.{key}"), why);
    }
    let send = definition.connector.http();
    for (key, why) in definition.poll.iter().flat_map(|poll| poll.problems(send, definition.status.as_ref()))
    {
        reader.problem(format!("{path}.poll.{key}"), why);
    }
    for (key, why) in definition.text.problems() {
        reader.problem(format!("{path}.text.{key}"), why);
    }
    let tls = send.and_then(|send| send.tls.as_ref());
    reader.note_absent_files(&format!("{path}.send.tls"), tls.into_iter().flat_map(ProviderTls::files));
    batches(definition, path, reader);
    let identity = definition.connector.http().and_then(|send| send.identity.as_ref());
    if let Some(why) = definition.region.and_then(|region| region.problem(identity)) {
        reader.problem(format!("{path}.region"), why);
    }
    settings(definition, path, providers.about(&definition.kind), reader);
    if let Some(own) = &definition.retry {
        flow_check::retry(own, &format!("{path}.retry"), reader);
    }
    if let Some(own) = definition.concurrency {
        concurrency(own, &format!("{path}.concurrency"), reader);
    }
    if let Some(most) = definition.concurrency_max {
        concurrency(most, &format!("{path}.concurrency_max"), reader);
        if definition.rate.is_some() {
            reader.problem(
                format!("{path}.concurrency_max"),
                "has no use beside rate: a rate is kept whatever the provider's answers take; set concurrency",
            );
        }
    }
    let burst = definition.rate.and_then(|rate| rate.burst);
    if burst.is_some_and(|burst| !(1..=MAX_BURST).contains(&burst)) {
        reader.problem(format!("{path}.rate.burst"), format!("must be 1 to {MAX_BURST}"));
    }
}

/// The `most` that `concurrency` may grow to, of the backend at `path`.
pub(super) fn concurrency_max(most: u16, concurrency: u16, path: &str, reader: &mut Reader) {
    let known = reader.has_read(&format!("{path}.concurrency")) && reader.has_read("dispatcher.concurrency");
    if known && most / 2 < concurrency {
        let why = format!("must be at least twice concurrency, which is {concurrency}");
        reader.problem(format!("{path}.concurrency_max"), why);
    }
}

/// What a backend says of several messages or reports in one body, and should say otherwise.
fn batches(definition: &Definition, path: &str, reader: &mut Reader) {
    let (receive, status) = (&definition.receive, &definition.status);
    for (key, what) in receive.batch().fixed_indexes() {
        reader.warning(&format!("{path}.receive.{key}"), &what);
    }
    for (key, what) in status.iter().flat_map(|status| status.batch().fixed_indexes()) {
        reader.warning(&format!("{path}.status.{key}"), &what);
    }
    let chooses = receive.each.is_some() || receive.when.is_some();
    let reports_choose = status.as_ref().is_some_and(|it| it.each.is_some() || it.when.is_some());
    if receive.ignore && !chooses && !reports_choose {
        let what = "ignores nothing: without receive.when, receive.each, status.when or status.each, every \
                    request is a message or a report";
        reader.warning(&format!("{path}.receive.ignore"), what);
    }
}

/// The settings that a definition needs; `about` is what the file of its type says of each.
fn settings(definition: &Definition, path: &str, about: Option<&About>, reader: &mut Reader) {
    let empty = |name: &String| {
        let value = definition.settings.expose().get(name);
        value
            .is_none_or(|value| value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty))
    };
    let missing = definition.required_settings.iter().filter(|names| names.0.iter().all(empty));
    let mut missing: Vec<Vec<String>> = missing.map(|names| names.0.clone()).collect();
    for name in definition.receive.auth.secrets().into_iter().filter_map(Secret::setting).map(str::to_owned) {
        if empty(&name) && !missing.iter().any(|names| names.contains(&name)) {
            missing.push(vec![name]);
        }
    }
    for name in definition.conditions().flat_map(When::settings) {
        if empty(&name) && !missing.iter().any(|names| names.contains(&name)) {
            missing.push(vec![name]);
        }
    }
    for names in missing {
        let or =
            names[1..].iter().map(|name| format!(", or {path}.settings.{name} instead")).collect::<String>();
        let first = names.first().map_or("", String::as_str);
        let said = about.and_then(|about| about.settings.get(first));
        let said = said.map_or_else(String::new, |line| format!(". {line}"));
        let what = format!("is missing: backends of type {} need it{or}{said}", definition.kind);
        reader.problem(format!("{path}.settings.{first}"), what);
    }
    let send = definition.connector.http();
    let tokens = send.and_then(|send| send.auth.as_ref()).and_then(SendAuth::token_url);
    let urls = send.map(|send| send.url.source()).into_iter().chain(tokens);
    let urls: BTreeSet<&str> = urls.chain(definition.poll.iter().map(|poll| poll.url.source())).collect();
    let mut no_urls = BTreeSet::new();
    for url in urls {
        for name in userinfo::settings_with_user(url, &definition.settings) {
            reader.problem(format!("{path}.settings.{name}"), userinfo::belongs_into("send.auth"));
        }
        no_urls.extend(userinfo::setting_without_scheme(url, &definition.settings));
    }
    for name in no_urls {
        reader.problem(format!("{path}.settings.{name}"), "must begin with http:// or https://");
    }
    let defaults = send.and_then(|send| send.defaults.as_ref()).and_then(Template::setting);
    let is_table =
        |name: &str| definition.settings.expose().get(name).is_none_or(|it| it.is_object() || it.is_null());
    if let Some(name) = defaults.filter(|name| !is_table(name)) {
        reader.problem(format!("{path}.settings.{name}"), "must be a table");
    }
    for (key, why) in definition.codecs().flat_map(|codec| codec.problems(&definition.settings)) {
        reader.problem(format!("{path}.settings.{key}"), why);
    }
}

/// What several sections say together.
pub(super) fn across(config: &Config, reader: &mut Reader) {
    let listen = config.api.listen.unwrap_or(config.ingress.listen);
    if config.api.keys.is_empty() && !listen.ip().is_loopback() && reader.has_read("api") {
        let key = if config.api.listen.is_some() { "api.listen" } else { "ingress.listen" };
        reader.problem(
            key,
            "without [[api.keys]], anyone who reaches this address could send: add a key, or set \
             api.listen to a loopback address such as \"127.0.0.1:8090\"",
        );
    }
    // Whoever has set one of these has others reach this listener, and through a proxy on this machine
    // they come from a loopback address.
    let others = [
        ("ingress.public_url", config.ingress.public_url.is_some()),
        ("ingress.trusted_proxies", !config.ingress.trusted_proxies.is_empty()),
    ];
    let open = config.api.keys.is_empty() && config.api.listen.is_none() && reader.has_read("api");
    if let Some((key, _)) = others.into_iter().find(|(_, set)| *set && open && listen.ip().is_loopback()) {
        reader.problem(
            key,
            "says that others reach ingress.listen, and /v1 is there: without [[api.keys]], they could send. \
             Add a key (`postern key` makes one), or set api.listen to a loopback address such as \
             \"127.0.0.1:8090\"",
        );
    }
    for (name, backend) in &config.backends {
        if backend.definition.receive.auth.needs_url() && config.ingress.public_url.is_none() {
            let why = format!(
                "is missing: the requests of backends.{name} are signed over the address that its provider \
                 calls. Or trust every request: receive.auth = \"none\""
            );
            reader.problem("ingress.public_url", why);
        }
    }
    one_port_each(config, reader);
    compat(config, reader);
    selection(config, &config.dispatcher.backends, "dispatcher.backends", reader);
    for (index, key) in config.api.keys.iter().enumerate() {
        selection(config, &key.backends, &format!("api.keys[{index}].backends"), reader);
    }
}

/// Two listeners on one port: the second cannot start.
fn one_port_each(config: &Config, reader: &mut Reader) {
    let listeners = [
        ("ingress.listen", Some(config.ingress.listen)),
        ("api.listen", config.api.listen),
        ("admin.listen", config.admin.listen),
    ];
    for (index, (key, address)) in listeners.into_iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let meets = |other: SocketAddr| {
            let any = other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && (any || other.ip() == address.ip())
        };
        let before = listeners[..index]
            .iter()
            .find(|(other, taken)| reader.has_read(other) && taken.is_some_and(meets));
        if let Some((other, _)) = before {
            reader.problem(key, format!("is the port of {other}, too: each needs one of its own"));
        }
    }
}

/// Names in `chosen` that no backend has.
pub(super) fn selection(config: &Config, chosen: &Selection, key: &str, reader: &mut Reader) {
    let unknown = |name: &&BackendName| !config.backends.contains_key(*name);
    for name in chosen.names().iter().filter(unknown) {
        unknown_backend(config, name, key, reader);
    }
}

/// A name that no backend has; one whose backend cannot be read is known all the same.
pub(super) fn unknown_backend(config: &Config, name: &BackendName, key: &str, reader: &mut Reader) {
    if reader.has_read(&format!("backends.{name}")) {
        let known: Vec<_> = config.backends.keys().map(BackendName::as_str).collect();
        let hint = suggest::hint(name.as_str(), known.iter().copied());
        reader.problem(key, format!("unknown backend `{name}`; configured are: {}{hint}", known.join(", ")));
    }
}

fn concurrency(number: u16, key: &str, reader: &mut Reader) {
    if !(1..=MAX_CONCURRENCY).contains(&number) {
        reader.problem(key, format!("must be 1 to {MAX_CONCURRENCY}"));
    }
}

/// What `[compat]` says of backends.
fn compat(config: &Config, reader: &mut Reader) {
    let kannel = config.compat.kannel.iter().map(|section| ("compat.kannel", &section.users));
    let vumi = config.compat.vumi.iter().map(|section| ("compat.vumi", &section.users));
    for (table, users) in kannel.chain(vumi) {
        for (index, user) in users.iter().enumerate() {
            let key = format!("{table}.users[{index}]");
            if let Some(more) = &user.backends {
                selection(config, more, &format!("{key}.backends"), reader);
            }
            sends(config, &user.backend, format!("{key}.backend"), reader);
            for (name, backend) in user.smsc.iter().flatten() {
                sends(config, backend, format!("{key}.smsc.{name}"), reader);
            }
        }
    }
}

fn sends(config: &Config, name: &BackendName, key: String, reader: &mut Reader) {
    match config.backends.get(name) {
        None => unknown_backend(config, name, &key, reader),
        Some(backend)
            if !backend.definition.connector.sends() && reader.has_read(&format!("backends.{name}")) =>
        {
            reader.problem(key, format!("the backend {name} only receives: it has no send table"));
        }
        Some(_) => {}
    }
}
