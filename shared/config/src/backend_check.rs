//! Checks of `[backends.NAME]` beyond the types: bounds, and which keys of a backend go together.

use crate::{
    about::About,
    backend::{
        Definition, expression::When, provider_tls::ProviderTls, send_auth::SendAuth, template::Template,
        userinfo,
    },
    flow_check,
    provider_registry::ProviderRegistry,
    reader::Reader,
};
use postern_shared::{
    suggest,
    text::policy::{Bounds, Over, TextPolicy},
    value::{Secret, Settings},
};
use std::collections::BTreeSet;

/// The largest `rate.burst`.
const MAX_BURST: u32 = 10_000;
/// The fewest characters that a numbered part of a text may be limited to.
const LEAST_NUMBERED: usize = 40;

pub(super) fn backend(
    definition: &Definition,
    path: &str,
    providers: &ProviderRegistry,
    reader: &mut Reader,
) {
    // The stand-in for a setting that could not be read must not count as a mistake in the proof that uses it.
    let unset = Settings::default();
    let settings_are_read = reader.has_read(&format!("{path}.settings"));
    let known = if settings_are_read { &definition.settings } else { &unset };
    let auth = definition.receive.auth.problems(known);
    for (key, why) in definition.receive.problems().into_iter().chain(auth) {
        reader.problem(format!("{path}.receive.{key}"), why);
    }
    // What a built-in type leaves unsigned was the provider's decision, and its page says so.
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
    text(&definition.text, path, reader);
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
        flow_check::concurrency(own, &format!("{path}.concurrency"), reader);
    }
    if let Some(most) = definition.concurrency_max {
        flow_check::concurrency(most, &format!("{path}.concurrency_max"), reader);
        if definition.rate.is_some() {
            reader.problem(
                format!("{path}.concurrency_max"),
                "has no effect with rate: a rate is kept however long the provider takes to answer; set \
                 concurrency",
            );
        }
    }
    let burst = definition.rate.and_then(|rate| rate.burst);
    if burst.is_some_and(|burst| !(1..=MAX_BURST).contains(&burst)) {
        reader.problem(format!("{path}.rate.burst"), format!("must be 1 to {MAX_BURST}"));
    }
}

/// Checks how texts are prepared.
fn text(policy: &TextPolicy, path: &str, reader: &mut Reader) {
    let mut check = |key: &str, is_wrong: bool, why: &str| {
        if is_wrong {
            reader.problem(format!("{path}.text.{key}"), why);
        }
    };
    let Bounds { characters, segments } = policy.limit;
    let why = "this backend does not count segments (text.segments = false): use characters";
    check("limit.segments", segments > 0 && !policy.segments, why);
    let why = "numbers the parts of a split text: it needs over = \"split\" and a limit";
    let splits = policy.over == Over::Split && (characters > 0 || segments > 0);
    check("numbered", policy.numbered && !splits, why);
    let short = policy.numbered && (1..LEAST_NUMBERED).contains(&characters);
    check("limit.characters", short, &format!("must be at least {LEAST_NUMBERED} with numbered parts"));
}

/// Checks `most`, which `concurrency` may grow to, of the backend at `path`.
pub(super) fn concurrency_max(most: u16, concurrency: u16, path: &str, reader: &mut Reader) {
    let known = reader.has_read(&format!("{path}.concurrency")) && reader.has_read("dispatcher.concurrency");
    if known && most / 2 < concurrency {
        let why = format!("must be at least twice concurrency, which is {concurrency}");
        reader.problem(format!("{path}.concurrency_max"), why);
    }
}

/// Warns of doubtful settings for several messages or reports in one body.
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

/// Checks that the required settings are there. `about` is the description of each by the file of the type.
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
