//! Warnings about what can be run but is probably a mistake.

use crate::{
    application::ApplicationSection,
    backend::{connector::ConnectorConfig, send_auth::SendAuth},
    config::Config,
    environment::variable,
    lines::join,
    message_log::TO_SWITCH_THE_LOG_ON,
    problem::Problem,
    reader::Reader,
    sections::Right,
};
use jiff::Timestamp;
use postern_shared::{message::BackendName, value::has_variable};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Warns of doubtful values and omissions in `config`. `is_empty` says that neither the file nor the environment
/// sets any key.
pub(super) fn warn(config: &Config, is_empty: bool, reader: &mut Reader) {
    if config.backends.is_empty() {
        let file = if is_empty { "the configuration is empty: " } else { "" };
        let what = "no backend is configured, so nothing is received and nothing is sent: add a \
                    [backends.NAME] table, such as [backends.demo] with type = \"console\"";
        reader.warning("", &format!("{file}{what}"));
    }
    unserved(config, reader);
    unanswered(config, reader);
    keys(config, reader);
    compat(config, reader);
    literal(config, reader);
    empty_secrets(config, reader);
}

/// Warns of settings that are there and empty, for example because a variable was passed on that is not set, where
/// requests should be authenticated with them or go through the proxy that they name.
fn empty_secrets(config: &Config, reader: &mut Reader) {
    for (name, backend) in &config.backends {
        let settings = backend.definition.settings.expose();
        let Some(send) = backend.definition.connector.http() else { continue };
        // An empty session token means that there is none: requests are signed all the same.
        let auth =
            send.auth.iter().flat_map(SendAuth::secrets).filter(|(key, _)| *key != "aws_sigv4.session_token");
        let auth = auth.map(|(_, secret)| ("auth", secret));
        let proxy = send.proxy.iter().map(|secret| ("proxy", secret));
        for (key, secret) in auth.chain(proxy) {
            let Some(setting) = secret.setting().filter(|name| settings.get(*name) == Some(&"".into()))
            else {
                continue;
            };
            let what = format!(
                "is empty, so requests are sent without send.{key}: set it, or remove it if none is needed"
            );
            reader.warning(&format!("backends.{name}.settings.{setting}"), &what);
        }
    }
}

/// Warns of backends whose messages nobody sends.
fn unserved(config: &Config, reader: &mut Reader) {
    let chosen = &config.dispatcher.backends;
    let embedded = config.broker.is_embedded() && reader.has_read("broker.url");
    let left: Vec<_> =
        config.backends.keys().filter(|name| !chosen.contains(name)).map(BackendName::as_str).collect();
    if left.len() == config.backends.len() && !left.is_empty() {
        reader.warning(
            "dispatcher.backends",
            "names no backend, so no message is sent: [\"*\"] means all backends",
        );
    } else if embedded && !left.is_empty() {
        let what = format!(
            "leaves out {}, whose messages are never sent: with the embedded broker there is no other \
             process",
            left.join(", ")
        );
        reader.warning("dispatcher.backends", &what);
    }
}

/// Warns of backends whose messages the application `echo` cannot answer.
fn unanswered(config: &Config, reader: &mut Reader) {
    if !matches!(config.application, ApplicationSection::Echo) {
        return;
    }
    let silent = config.backends.values().filter(|backend| !backend.definition.connector.sends());
    let silent: Vec<_> = silent.map(|backend| backend.name.as_str()).collect();
    if !silent.is_empty() {
        let what = format!(
            "is \"echo\", which cannot answer what people send to {}: without a send table, nothing can be \
             sent there",
            silent.join(", ")
        );
        reader.warning("application.type", &what);
    }
}

/// Warnings about `tree`, the whole configuration: values that are not secrets and contain an environment variable
/// in the syntax of shells.
pub(super) fn variables(tree: &Map<String, Value>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, backend) in tree.get("backends").and_then(Value::as_object).into_iter().flatten() {
        let send = backend.get("send").and_then(Value::as_object);
        for (key, value) in send.into_iter().flatten().filter(|(key, _)| *key != "auth" && *key != "proxy") {
            let advice = format!(
                "put the value into backends.{name}.settings as NAME = {{ env = \"NAME\" }}, and write \
                 {{{{ settings.NAME }}}} here"
            );
            variables_in(value, join(&join(&join("backends", name), "send"), key), &advice, &mut found);
        }
    }
    for (section, key) in [("application", "url"), ("ingress", "public_url")] {
        if let Some(value) = tree.get(section).and_then(|section| section.get(key)) {
            let key = join(section, key);
            let advice = format!("set the whole value by the environment variable {}", variable(&key));
            variables_in(value, key, &advice, &mut found);
        }
    }
    found
}

fn variables_in(value: &Value, key: String, advice: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if has_variable(text) => {
            let what = format!(
                "contains $NAME or ${{NAME}}, which is sent literally and not replaced by an environment \
                 variable: {advice}"
            );
            found.push((key, what));
        }
        Value::Object(table) => {
            table.iter().for_each(|(name, value)| variables_in(value, join(&key, name), advice, found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(at, value)| variables_in(value, format!("{key}[{at}]"), advice, found));
        }
        _ => {}
    }
}

/// Warns of values that look like templates but are used literally, and of a `public_url` with too long a path.
fn literal(config: &Config, reader: &mut Reader) {
    if config.ingress.public_url.as_ref().is_some_and(|url| url.contains("/backends")) {
        let what = "contains /backends: set it to what comes before /backends/NAME, such as \
                    https://sms.example.org";
        reader.warning("ingress.public_url", what);
    }
    for (name, backend) in &config.backends {
        let status = backend.definition.status.as_ref().map(|status| ("status", &status.reply));
        for (table, reply) in [("receive", &backend.definition.receive.reply)].into_iter().chain(status) {
            if reply.body.contains("{{") {
                let what = "is not a template: the provider gets this text literally";
                reader.warning(&format!("backends.{name}.{table}.reply.body"), what);
            }
        }
    }
}

impl Config {
    /// The warning for the start if people's messages are stored where nobody can read them: in the embedded
    /// broker, which only `[application]` reads.
    pub fn unread_messages(&self) -> Option<Problem> {
        if !self.broker.is_embedded() || !matches!(self.application, ApplicationSection::None) {
            return None;
        }
        // A backend that sends over HTTP and has no `receive` table is not meant to receive.
        let receives = |connector: &ConnectorConfig, says: bool| {
            says || !matches!(connector, ConnectorConfig::Http(Some(_)))
        };
        let backends = self
            .backends
            .iter()
            .filter(|(_, backend)| receives(&backend.definition.connector, backend.definition.says_receive));
        let names: Vec<_> = backends.map(|(name, _)| name.as_str()).collect();
        let which = match names[..] {
            [] => return None,
            [first, _, _, _, ..] => format!("{first} and {} others", names.len() - 1),
            _ => names.join(", "),
        };
        let what = format!(
            "is none, so what people send to {which} is stored but nobody can read it: with the embedded \
             broker only [application] does. Set type = \"webhook\" or \"echo\", or broker.url to a RabbitMQ"
        );
        Some(self.problem("application.type", what))
    }
}

/// Warns of API keys that are useless.
fn keys(config: &Config, reader: &mut Reader) {
    for (index, key) in config.api.keys.iter().enumerate() {
        let mut chosen = config.backends.iter().filter(|(name, _)| key.backends.contains(name)).peekable();
        let path = format!("api.keys[{index}]");
        if chosen.peek().is_none() && !config.backends.is_empty() {
            reader.warning(&format!("{path}.backends"), "names no backend, so this key cannot be used");
        } else if key.may == [Right::Send]
            && chosen.peek().is_some()
            && chosen.all(|(_, backend)| !backend.definition.connector.sends())
        {
            let what = "names only backends without a send table, so this key cannot send";
            reader.warning(&format!("{path}.backends"), what);
        }
        if key.may.contains(&Right::Read) && config.message_log().is_none() {
            let what = format!(
                "contains \"read\" while the message log is off, so there is nothing to read: remove \"read\", or \
                 switch the log on: {TO_SWITCH_THE_LOG_ON}"
            );
            reader.warning(&format!("{path}.may"), &what);
        }
        if key.has_expired(Timestamp::now()) {
            reader.warning(&format!("{path}.expires"), "is in the past: this key is no longer accepted");
        }
    }
}

/// Warns of compatibility listeners that no client can reach.
fn compat(config: &Config, reader: &mut Reader) {
    let listen = config.ingress.listen;
    let behind = config.ingress.public_url.is_some() || !config.ingress.trusted_proxies.is_empty();
    if !listen.ip().to_canonical().is_loopback() || behind || !reader.has_read("ingress") {
        return;
    }
    let kannel = config.compat.kannel.iter().map(|section| ("compat.kannel", &section.users));
    let vumi = config.compat.vumi.iter().map(|section| ("compat.vumi", &section.users));
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    for (table, users) in kannel.chain(vumi) {
        let is_here =
            |allow: &postern_shared::value::Networks| loopback.iter().any(|address| allow.contains(*address));
        if !users.iter().any(|user| user.allow.as_ref().is_some_and(is_here)) {
            let what = format!(
                "is on ingress.listen, {listen}, which only programs on this machine reach: set ingress.listen to \
                 \"0.0.0.0:{}\", or, if its clients are on this machine, their allow = [\"127.0.0.1\"]",
                listen.port()
            );
            reader.warning(table, &what);
        }
    }
}
