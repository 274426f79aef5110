//! Secrets: written in the configuration, or stored in an environment variable, a file or a credential.

use super::{reference, secret_source::SecretSource};
use indexmap::IndexMap;
use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{
        self,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};
use serde_json::{Map, Value};
use std::{fmt, marker::PhantomData};

/// A secret: in TOML a string, `{ env = "NAME" }`, `{ file = "PATH" }` or `{ credential = "NAME" }`,
/// resolved when it is read. It prints as `[REDACTED]` and is wiped from memory when dropped.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

/// The fewest characters of a secret that cannot be guessed, if they are chosen at random.
pub(super) const LONG_SECRET: usize = 16;

impl Secret {
    /// Whether it has fewer than 16 characters, so that it could be guessed.
    pub fn is_short(&self) -> bool {
        self.expose().chars().count() < LONG_SECRET
    }

    /// The secret itself, for the one place that needs it.
    #[expect(clippy::disallowed_methods, reason = "this is that place")]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The name of the setting that the secret refers to, if its text is nothing but `{{ settings.NAME }}`.
    pub fn setting(&self) -> Option<&str> {
        let name = self.expose().strip_prefix("{{")?.strip_suffix("}}")?.trim().strip_prefix("settings.")?;
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(name)
    }

    /// The secret, or the setting that it refers to. `None` if that setting is absent or empty.
    pub fn resolved(&self, settings: &Settings) -> Option<Self> {
        match self.setting() {
            None => Some(self.clone()),
            Some(name) => of_setting(settings.0.get(name)?),
        }
    }
}

/// The secret in the value of a setting, which may be written as a number.
fn of_setting(value: &Value) -> Option<Secret> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone().into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// One secret or several, each of which is accepted, so that a new one can replace an old one: in TOML
/// one, or a list.
#[derive(Debug, Clone)]
pub struct Secrets(pub Vec<Secret>);

impl Secrets {
    /// The secrets, or the settings that they refer to, each of which may be a list. `None` if one of
    /// the settings is missing or empty.
    pub fn resolved(&self, settings: &Settings) -> Option<Vec<Secret>> {
        let mut all = Vec::new();
        for secret in &self.0 {
            match secret.setting().and_then(|name| settings.0.get(name)) {
                Some(Value::Array(items)) if !items.is_empty() => {
                    for item in items {
                        all.push(of_setting(item)?);
                    }
                }
                _ => all.push(secret.resolved(settings)?),
            }
        }
        Some(all)
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match one_or_several(deserializer)? {
            none if none.is_empty() => Err(de::Error::custom("the list of secrets is empty")),
            all => Ok(Self(all)),
        }
    }
}

/// Reads one secret, or a list of secrets.
///
/// # Errors
/// The first mistake in one of them.
pub fn one_or_several<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(OneOrSeveral(PhantomData))
}

struct OneOrSeveral<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OneOrSeveral<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a string, { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }, or a list of \
             them",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        T::deserialize(StrDeserializer::new(text)).map(|secret| vec![secret])
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|secret| vec![secret])
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut secrets = Vec::new();
        while let Some(secret) = items.next_element()? {
            secrets.push(secret);
        }
        Ok(secrets)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// The secret to which `value` refers. `None` if `value` does not refer to one.
///
/// # Errors
/// The secret cannot be read. The error names the variable, the file or the credential.
fn resolve(value: &Value) -> Option<Result<String, String>> {
    SecretSource::of(value).map(SecretSource::read)
}

/// The secret to which `value` refers (`{ env = "NAME" }` and the like), for comparison only. `None` if
/// it does not refer to one, `Some(None)` if the secret cannot be read.
pub fn referenced_secret(value: &Value) -> Option<Option<String>> {
    resolve(value).map(Result::ok)
}

/// Why the variable, the file or the credential to which `value` refers holds no secret. `None` if it
/// holds one, if `value` does not refer to any, or if no credential can have this name.
pub fn absent_secret(value: &Value) -> Option<String> {
    SecretSource::of(value).filter(|source| source.is_possible()).and_then(unusable)
}

/// Why there is no secret in `source`. `None` if there is one.
fn unusable(source: SecretSource<'_>) -> Option<String> {
    match source.read() {
        Ok(text) if text.is_empty() => Some(empty(Some(source))),
        Ok(_) => None,
        Err(why) => Some(why),
    }
}

/// Why `value` cannot be a secret. `None` if it can.
pub fn secret_problem(value: &Value) -> Option<String> {
    match (value, SecretSource::of(value)) {
        (Value::String(text), _) if text.is_empty() => Some(empty(None)),
        (Value::String(text), _) => reference::problem(text),
        (_, Some(source)) => unusable(source),
        _ => Some(RULE.to_owned()),
    }
}

/// The rule for what a secret may be.
const RULE: &str = "must be a string, { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";

/// The error about an empty secret, which is in `source` or, without one, in the configuration itself.
fn empty(source: Option<SecretSource<'_>>) -> String {
    match source {
        Some(source) => format!("the secret is empty: {source} is empty"),
        None => "the secret is empty".to_owned(),
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = match &value {
            Value::String(text) => reference::problem(text).map_or_else(|| Ok(text.clone()), Err),
            table => resolve(table).unwrap_or_else(|| Err(RULE.to_owned())),
        };
        match text {
            Ok(text) if text.is_empty() => Err(de::Error::custom(empty(SecretSource::of(&value)))),
            Ok(text) => Ok(text.into()),
            Err(why) => Err(de::Error::custom(why)),
        }
    }
}

/// A backend's own settings, with secrets resolved. Any of them may be a secret, so none is printed.
#[derive(Clone, Default, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// All settings, for the templates.
    pub fn expose(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// One setting, so that an error names it.
        struct Setting(Value);

        impl<'de> Deserialize<'de> for Setting {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut value = Value::deserialize(deserializer)?;
                resolve_within(&mut value).map_err(de::Error::custom)?;
                Ok(Self(value))
            }
        }

        let settings = IndexMap::<String, Setting>::deserialize(deserializer)?;
        Ok(Self(settings.into_iter().map(|(name, setting)| (name, setting.0)).collect()))
    }
}

fn resolve_within(value: &mut Value) -> Result<(), String> {
    if let Some(secret) = resolve(value) {
        *value = Value::String(secret?);
        return Ok(());
    }
    match value {
        Value::Object(table) => table.values_mut().try_for_each(resolve_within),
        Value::Array(items) => items.iter_mut().try_for_each(resolve_within),
        Value::String(text) => reference::problem(text).map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "what a variable holds is compared")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_comes_from_several_places_and_prints_as_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        for source in [json!("hush"), json!({"file": file.path()})] {
            let secret: Secret = serde_json::from_value(source).unwrap();
            assert_eq!(secret.expose(), "hush");
            assert!(!format!("{secret:?}").contains("hush"));
        }
        let home: Secret = serde_json::from_value(json!({"env": "PATH"})).unwrap();
        assert_eq!(home.expose(), std::env::var("PATH").unwrap());
        let why = serde_json::from_value::<Secret>(json!({"env": "POSTERN_NO_SUCH"})).unwrap_err();
        assert!(why.to_string().contains("POSTERN_NO_SUCH"), "{why}");
        let why = serde_json::from_value::<Secret>(json!({"hush": 1})).unwrap_err();
        assert!(!why.to_string().contains("hush"), "{why}");
    }

    #[test]
    fn there_may_be_several_and_a_setting_may_hold_them() {
        let settings: Settings =
            serde_json::from_value(json!({"one": "a", "two": ["b", {"env": "PATH"}], "none": [], "no": ""}))
                .unwrap();
        let path = std::env::var("PATH").unwrap();
        for (secrets, wanted) in [
            (json!("x"), Some(vec!["x"])),
            (json!(["x", {"env": "PATH"}]), Some(vec!["x", &path])),
            (json!("{{ settings.one }}"), Some(vec!["a"])),
            (json!(["{{ settings.two }}", "x"]), Some(vec!["b", &path, "x"])),
            (json!("{{ settings.none }}"), None),
            (json!(["x", "{{ settings.no }}"]), None),
            (json!("{{ settings.absent }}"), None),
        ] {
            let read: Secrets = serde_json::from_value(secrets.clone()).unwrap();
            let resolved = read.resolved(&settings);
            let texts = resolved.as_ref().map(|all| all.iter().map(Secret::expose).collect::<Vec<_>>());
            assert_eq!(texts, wanted, "{secrets}");
        }
        for wrong in [json!([]), json!(7), json!([""]), json!({"x": 1})] {
            assert!(serde_json::from_value::<Secrets>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_hold_secrets_at_any_depth_and_print_their_names_only() {
        let settings: Settings =
            serde_json::from_value(json!({"a": {"b": {"env": "PATH"}}, "c": "hush", "n": 1})).unwrap();
        assert_eq!(settings.expose()["a"]["b"], std::env::var("PATH").unwrap());
        assert_eq!(format!("{settings:?}"), r#"{"a", "c", "n"}"#);
    }
}
