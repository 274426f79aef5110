//! The rules for every URL that requests go to, even if it comes from settings: it begins with `http://` or
//! `https://`, and holds no user and no password, which have their own keys. The HTTP client would drop them
//! silently.

use postern_shared::value::Settings;
use serde_json::Value;
use url::Url;

/// The error for a URL that holds a user or a password; `auth` is the key for them.
pub(crate) fn belongs_into(auth: &str) -> String {
    format!("must not contain a user name or password: set {auth}")
}

/// Whether `url`, or the beginning of one, holds a user or a password.
pub(crate) fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let parsed = || Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    authority.contains('@') || parsed()
}

/// The settings in the scheme, host and port of the URL's template `source` that hold a user or a password, as
/// paths below `settings`.
pub(crate) fn settings_with_user(source: &str, settings: &Settings) -> Vec<String> {
    let named = settings_in_host(source);
    named.into_iter().filter(|path| value_at(settings, path).is_some_and(has_user)).collect()
}

/// The setting at the beginning of the URL's template `source`, if its value makes no URL of the template: its
/// path below `settings`.
pub(crate) fn setting_without_scheme<'s>(source: &'s str, settings: &Settings) -> Option<&'s str> {
    let (expression, rest) = source.strip_prefix("{{")?.split_once("}}")?;
    let first = expression.split(" or ").next().unwrap_or_default().trim();
    // Anything but a name that is the whole of scheme and host can be judged only when it is rendered.
    let path = first.strip_prefix("settings.").filter(|path| is_path(path))?;
    let value = at(settings, path).filter(|value| !value.is_null() && *value != "")?;
    let begins = |url: &str| {
        ["http", "https"]
            .iter()
            .any(|it| url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(it)))
    };
    let is_url = value.as_str().is_some_and(begins);
    (!is_url && (rest.is_empty() || rest.starts_with(['/', '?', '#']))).then_some(path)
}

fn is_path(path: &str) -> bool {
    path.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

fn value_at<'s>(settings: &'s Settings, path: &str) -> Option<&'s str> {
    at(settings, path)?.as_str()
}

fn at<'s>(settings: &'s Settings, path: &str) -> Option<&'s Value> {
    let mut parts = path.split('.');
    let first = settings.expose().get(parts.next()?)?;
    parts.try_fold(first, |value: &Value, part| value.get(part))
}

/// The settings in the template `source` before the URL's path. No other value is allowed there.
fn settings_in_host(source: &str) -> Vec<String> {
    let after_scheme = source.split_once("://").filter(|(scheme, _)| !scheme.contains("{{"));
    let mut rest = after_scheme.map_or(source, |(_, rest)| rest);
    let mut named = Vec::new();
    // A `/` within braces is an operator, one after them begins the path.
    while let Some((before, tail)) = rest.split_once("{{") {
        let Some((expression, tail)) = tail.split_once("}}").filter(|_| !before.contains(['/', '?', '#']))
        else {
            break;
        };
        named.extend(expression.split("settings.").skip(1).map(|name| {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            name[..end.unwrap_or(name.len())].to_owned()
        }));
        rest = tail;
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_wherever_a_url_can_hold_one() {
        for (url, expected) in [
            ("http://h/send", false),
            ("http://h/a@b?c=d@e#f@g", false),
            ("http://h?user@x", false),
            ("http://u:p@h/", true),
            ("http://u@h", true),
            ("https://:p@h:8080/", true),
            ("http:u:p@h/", true),
            ("http:///u:p@h/", true),
            // A setting may hold only a piece of a URL.
            ("u:p@h", true),
            ("h:8080", false),
        ] {
            assert_eq!(has_user(url), expected, "{url}");
        }
    }

    #[test]
    fn a_setting_that_a_url_begins_with_makes_a_url() {
        let settings: Settings = serde_json::from_value(serde_json::json!({
            "good": "HTTPS://h", "bad": "h:8080", "number": 17, "scheme": "http", "zone": "z", "none": null
        }))
        .unwrap();
        for (source, expected) in [
            ("{{ settings.good }}/v1", None),
            ("{{ settings.bad }}", Some("bad")),
            ("{{settings.bad}}/v1?to={{ identity }}", Some("bad")),
            ("{{ settings.number }}", Some("number")),
            ("{{ settings.bad or 'https://h' }}/", Some("bad")),
            ("{{ settings.none or 'https://h' }}/", None),
            ("{{ settings.absent }}/", None),
            ("{{ settings.scheme }}://{{ settings.zone }}/", None),
            ("{{ settings.zone | upper }}/", None),
            ("https://{{ settings.zone }}.example.org/", None),
        ] {
            assert_eq!(setting_without_scheme(source, &settings), expected, "{source}");
        }
    }

    #[test]
    fn the_settings_that_make_the_host_are_found() {
        for (source, expected) in [
            ("{{ settings.sendsms_url }}", &["sendsms_url"][..]),
            ("{{ settings.api_url }}/v1/{{ settings.account }}", &["api_url"]),
            ("{{ settings.api_url or settings.other }}/v1", &["api_url", "other"]),
            ("https://{{ settings.zone }}.{{ settings.domain }}/{{ settings.path }}", &["zone", "domain"]),
            ("{{ settings.server.url | trim }}/x", &["server.url"]),
            ("https://h/?to={{ settings.path }}", &[]),
            ("http://h/", &[]),
        ] {
            assert_eq!(settings_in_host(source), expected, "{source}");
        }
    }
}
