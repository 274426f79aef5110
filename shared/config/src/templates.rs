//! Compares what a backend's templates use with what there is: a missing setting, an unknown address, a request
//! that holds nothing of its message.

use crate::{
    backend::{
        BackendConfig,
        auth::ReceiveAuth,
        challenge::Challenge,
        connector::ConnectorConfig,
        expression::When,
        send::{Recipients, Send},
        template::{Use, uses},
    },
    config::Config,
    lines::join,
    provider_registry::ProviderRegistry,
    reader::Reader,
};
use postern_shared::{suggest, text::media::MediaUse, value::Secret};
use serde_json::Value;
use std::collections::BTreeSet;

/// The warning about a template in a place where none is rendered.
const NO_TEMPLATE: &str = "is not a template: {{ … }} in it is not replaced";

/// Notes the mistakes in the templates and settings of each backend.
pub(super) fn check(config: &Config, providers: &ProviderRegistry, reader: &mut Reader) {
    for (name, backend) in &config.backends {
        let path = join("backends", name.as_str());
        auth(backend, &path, reader);
        let of_type = providers.settings_of(&backend.definition.kind);
        match &backend.definition.connector {
            ConnectorConfig::Http(Some(send)) => {
                let all = Templates { send, backend, path: &path, of_type: &of_type }.check(reader);
                settings(backend, &path, (&of_type, &all), reader);
            }
            ConnectorConfig::Http(None) | ConnectorConfig::Console => {
                settings(backend, &path, (&of_type, &[]), reader);
            }
            // The program that registered it checks its settings.
            ConnectorConfig::Registered(_) => {}
        }
    }
}

/// The templates of one backend's `send` table.
struct Templates<'a> {
    send: &'a Send,
    backend: &'a BackendConfig,
    /// `backends.NAME`
    path: &'a str,
    /// The settings that the type knows.
    of_type: &'a BTreeSet<String>,
}

impl Templates<'_> {
    /// Checks the templates, and returns everything that they use.
    fn check(&self, reader: &mut Reader) -> Vec<Use> {
        let (mut all, mut polls) = (Vec::new(), Vec::new());
        for (key, source) in self.send.sources() {
            let key = format!("{}.send.{key}", self.path);
            for used in uses(source) {
                self.setting(&key, &used, reader);
                self.address(&key, source, &used, reader);
                if used.path == ["encoded"] || used.path.starts_with(&["encoded".to_owned()]) {
                    self.encoded(&key, &used, reader);
                }
                all.push(used);
            }
        }
        // A poll has the same tables, and names of its own.
        for (key, source) in self.backend.definition.poll.iter().flat_map(|poll| poll.sources()) {
            let key = format!("{}.poll.{key}", self.path);
            for used in uses(source) {
                self.setting(&key, &used, reader);
                polls.push(used);
            }
        }
        for (key, secret) in self.send.secrets() {
            self.secret(&format!("{}.send.{key}", self.path), secret, &mut all, reader);
        }
        self.message(&all, reader);
        self.media(&all, reader);
        // Polls use settings, but hold nothing of a message.
        all.extend(polls);
        all
    }

    /// Notes a setting that neither the backend nor its type has.
    fn setting(&self, key: &str, used: &Use, reader: &mut Reader) {
        let [settings, name, rest @ ..] = &used.path[..] else { return };
        let table = join(self.path, "settings");
        if settings != "settings" || !reader.has_read(&table) {
            return;
        }
        let here = self.backend.definition.settings.expose();
        let is_there = match here.get(name) {
            Some(Value::Object(inner)) => rest.first().is_none_or(|part| inner.contains_key(part)),
            Some(_) => rest.is_empty(),
            None => self.of_type.contains(name),
        };
        if is_there {
            return;
        }
        let known = here.keys().map(String::as_str).chain(self.of_type.iter().map(String::as_str));
        let named =
            [name.as_str()].into_iter().chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(".");
        let hint = suggest::hint(name, known);
        let what = format!("the backend has no setting {named}: set it in [{table}]{hint}");
        if used.guarded { reader.warning(key, &what) } else { reader.problem(key, what) }
    }

    /// Notes a use of the address for delivery reports if there is none.
    fn address(&self, key: &str, source: &str, used: &Use, reader: &mut Reader) {
        let [name, ..] = &used.path[..] else { return };
        let no_status = self.backend.definition.status.is_none();
        let is_missing = match name.as_str() {
            "status_url" => self.backend.status_url.is_none(),
            "status_path" => no_status,
            _ => false,
        };
        let sections = [join(self.path, "status"), "ingress".to_owned()];
        if !is_missing || used.guarded || !sections.iter().all(|section| reader.has_read(section)) {
            return;
        }
        let missing = if no_status {
            format!("without [{}.status], delivery reports are answered 404", self.path)
        } else {
            "there is no status_url without ingress.public_url".to_owned()
        };
        let is_alone = source.trim().starts_with("{{")
            && source.matches("{{").count() == 1
            && source.trim().ends_with("}}");
        if name == "status_path" || no_status && self.backend.status_url.is_some() {
            reader.warning(key, &missing);
        } else if is_alone && !source.contains(['~', '|']) {
            reader.warning(key, &format!("is left out: {missing}, so no delivery report arrives"));
        } else {
            reader.problem(key, format!("would be an incomplete URL: {missing}"));
        }
    }

    fn encoded(&self, key: &str, used: &Use, reader: &mut Reader) {
        if self.send.codec.is_none() && !used.guarded && reader.has_read(&format!("{}.send.codec", self.path))
        {
            let why =
                format!("there is no encoded text without {}.send.codec: use {{{{ text }}}}", self.path);
            reader.problem(key, why);
        }
    }

    fn secret(&self, key: &str, secret: &Secret, all: &mut Vec<Use>, reader: &mut Reader) {
        match secret.setting() {
            Some(name) => {
                let used = Use { path: vec!["settings".to_owned(), name.to_owned()], guarded: false };
                self.setting(key, &used, reader);
                all.push(used);
            }
            None if secret.expose().contains("{{") => {
                reader.problem(key, format!("{NO_TEMPLATE}, except for \"{{{{ settings.NAME }}}}\" alone"));
            }
            None => {}
        }
    }

    /// Checks that a request holds the text and the recipient, or what the application sends in their place.
    fn message(&self, all: &[Use], reader: &mut Reader) {
        let send = join(self.path, "send");
        if !reader.has_read(&send) {
            return;
        }
        let names = |wanted: &[&str]| all.iter().any(|used| wanted.contains(&used.path[0].as_str()));
        let (text, identity) = (names(&["text", "encoded"]), names(&["identity", "identities"]));
        let several = self.send.recipients == Recipients::List && self.send.batch > 1;
        if several && identity && !names(&["identities"]) {
            let why = "with recipients = \"list\" a request may have several recipients, but {{ identity }} \
                       exists only for a single one: use {{ identities }}";
            reader.problem(send, why);
        } else if !names(&["context"]) {
            let what = match (text, identity) {
                (true, true) => return,
                (false, false) => "{{ text }} nor {{ identity }}: every request is the same",
                (false, true) => "{{ text }}: people do not get the message's text",
                (true, false) => "{{ identity }}: the provider is not told who the recipient is",
            };
            let neither =
                if text || identity { "no template in it uses" } else { "its templates use neither" };
            reader.warning(&send, &format!("{neither} {what}"));
        }
    }

    /// Notes media that should be sent, but that no template uses.
    fn media(&self, all: &[Use], reader: &mut Reader) {
        let (send, key) = (join(self.path, "send"), join(self.path, "text.media"));
        if !reader.has_read(&send) || !reader.has_read(&key) {
            return;
        }
        let names = |name: &str| all.iter().any(|used| used.path[0] == name);
        if self.backend.definition.text.media == MediaUse::Send && !names("media") && !names("context") {
            let why = "puts the media into the requests, but no template of send uses {{ media }}: use it, \
                       or set \"append\" or \"refuse\"";
            reader.problem(key, why);
        }
    }
}

/// Notes settings that neither the type (`of_type`) nor the templates (`sent`) use, and settings that look like
/// templates.
fn settings(
    backend: &BackendConfig,
    path: &str,
    (of_type, sent): (&BTreeSet<String>, &[Use]),
    reader: &mut Reader,
) {
    let (table, definition) = (join(path, "settings"), &backend.definition);
    let received = definition.receive.auth.secrets();
    let challenge = definition.receive.challenge.as_ref().map(Challenge::reply_source);
    let templates: Vec<Use> = challenge.into_iter().flat_map(uses).collect();
    let mut used: BTreeSet<String> =
        received.into_iter().filter_map(Secret::setting).map(str::to_owned).collect();
    used.extend(definition.conditions().flat_map(When::all_settings));
    used.extend(definition.codecs().flat_map(|codec| codec.settings()).map(|name| (*name).to_owned()));
    let mut whole = !reader.has_read(&join(path, "send")) || !reader.has_read(&join(path, "receive"));
    for used_here in sent.iter().chain(&templates).filter(|used| used.path[0] == "settings") {
        match used_here.path.get(1) {
            Some(name) => drop(used.insert(name.clone())),
            None => whole = true,
        }
    }
    for (name, value) in definition.settings.expose() {
        let key = join(&table, name);
        if !(whole || used.contains(name) || of_type.contains(name)) {
            let hint = suggest::hint(name, of_type.iter().chain(&used).map(String::as_str));
            reader.warning(&key, &format!("is not used by any template{hint}"));
        }
        if holds_template(value) {
            reader.warning(&key, NO_TEMPLATE);
        }
    }
}

fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") && text.contains("}}"),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(table) => table.values().any(holds_template),
        _ => false,
    }
}

/// Notes templates in `receive.auth`, where none is rendered.
fn auth(backend: &BackendConfig, path: &str, reader: &mut Reader) {
    let auth = &backend.definition.receive.auth;
    if !matches!(auth, ReceiveAuth::None)
        && auth
            .secrets()
            .into_iter()
            .any(|secret| secret.setting().is_none() && secret.expose().contains("{{"))
    {
        let why = format!("{NO_TEMPLATE}, except for \"{{{{ settings.NAME }}}}\" alone");
        reader.problem(format!("{path}.receive.auth"), why);
    }
}
