//! Checks that concern several sections.

use crate::{config::Config, reader::Reader};
use postern_shared::{message::BackendName, suggest, value::BackendSelection};
use std::net::SocketAddr;

/// Notes the mistakes between sections.
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
    // If one of the keys is set, other people reach this listener, and through a proxy on this machine they
    // come from a loopback address.
    let others = [
        ("ingress.public_url", config.ingress.public_url.is_some()),
        ("ingress.trusted_proxies", !config.ingress.trusted_proxies.is_empty()),
    ];
    let open = config.api.keys.is_empty() && config.api.listen.is_none() && reader.has_read("api");
    if let Some((key, _)) = others.into_iter().find(|(_, set)| *set && open && listen.ip().is_loopback()) {
        reader.problem(
            key,
            "means that others can reach ingress.listen, and /v1 is there: without [[api.keys]], they could \
             send. Add a key (`postern key` creates one), or set api.listen to a loopback address such as \
             \"127.0.0.1:8090\"",
        );
    }
    for (name, backend) in &config.backends {
        if backend.definition.receive.auth.needs_url() && config.ingress.public_url.is_none() {
            let why = format!(
                "is missing: requests to backends.{name} are signed over the address that the provider \
                 calls: set it to what comes before /backends/{name} there, such as \
                 \"https://sms.example.org\". (With receive.auth = \"none\", anybody could forge requests.)"
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

/// Notes two listeners on one port: the second could not start.
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
            reader.problem(key, format!("is also the port of {other}: each needs its own port"));
        }
    }
}

/// Notes the names in `chosen` that no backend has.
fn selection(config: &Config, chosen: &BackendSelection, key: &str, reader: &mut Reader) {
    let unknown = |name: &&BackendName| !config.backends.contains_key(*name);
    for name in chosen.mentioned().iter().filter(unknown) {
        unknown_backend(config, name, key, reader);
    }
}

/// Notes `name` if no backend has it. The name of a backend that could not be read is known, too.
fn unknown_backend(config: &Config, name: &BackendName, key: &str, reader: &mut Reader) {
    if reader.has_read(&format!("backends.{name}")) {
        let known: Vec<_> = config.backends.keys().map(BackendName::as_str).collect();
        let hint = suggest::hint(name.as_str(), known.iter().copied());
        reader.problem(key, format!("unknown backend `{name}`; configured: {}{hint}", known.join(", ")));
    }
}

/// Checks the backends that `[compat]` names.
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
