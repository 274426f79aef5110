//! The names and values that a request's templates see.

use minijinja::{
    Value,
    value::{Enumerator, Object, ObjectRepr, Serde},
};
use postern_config::backend::{
    BackendConfig,
    codec::{Codec, Encoded},
    send::Recipients,
};
use postern_shared::{
    callback,
    message::{Context, Identity, MessageId},
    text::media::urls,
    trace_context::TraceContext,
    value::{Secret, Settings},
};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// The values that the templates of one request see, under the names of
/// [`template::NAMES`](postern_config::backend::template::NAMES).
///
/// | `recipients` | `identity` | `identities` |
/// | --- | --- | --- |
/// | `each` | the recipient | a list of the one recipient |
/// | `joined` | all recipients, as one text | the same; it can also be looped over |
/// | `list` | the recipient if there is just one, else undefined | a list |
#[derive(Debug, Clone)]
pub(super) struct RequestScope {
    id: Value,
    backend: Value,
    identity: Value,
    identities: Value,
    text: Value,
    context: Value,
    media: Value,
    settings: Value,
    status_url: Value,
    status_path: Value,
    encoded: Value,
}

/// The values that are the same for every message of a backend.
#[derive(Debug)]
pub(super) struct Constants {
    pub(super) backend: Value,
    pub(super) settings: Value,
    /// `None` without `ingress.public_url`.
    status_url: Option<Secret>,
    status_path: Secret,
    /// The codec of the text, and the settings that it reads.
    codec: Option<(Codec, Settings)>,
}

impl Constants {
    pub(super) fn new(backend: &BackendConfig) -> Self {
        let codec = backend.definition.connector.http().and_then(|send| send.codec);
        Self {
            backend: backend.name.as_str().into(),
            settings: Value::from(Serde(backend.definition.settings.expose())),
            codec: codec.map(|codec| (codec, backend.definition.settings.clone())),
            status_url: backend.status_url.clone(),
            status_path: backend.status_path().into(),
        }
    }

    /// The scope of a message, still without recipients. The addresses for its delivery reports hold
    /// `trace`, so that the reports join that trace.
    pub(super) fn message(
        &self,
        id: MessageId,
        text: &str,
        context: &Context,
        trace: Option<&TraceContext>,
    ) -> RequestScope {
        let callback = callback::token(context);
        let below = |address: &str| below(address, callback, trace);
        RequestScope {
            id: id.to_string().into(),
            backend: self.backend.clone(),
            identity: Value::UNDEFINED,
            identities: Value::UNDEFINED,
            text: text.into(),
            context: Value::from(Serde(visible(context))),
            media: media(context),
            settings: self.settings.clone(),
            status_url: self.status_url.as_ref().map_or(Value::UNDEFINED, |url| below(url.expose())),
            status_path: below(self.status_path.expose()),
            encoded: self.codec.as_ref().map_or(Value::UNDEFINED, |codec| encoded(text, codec)),
        }
    }
}

/// `context` without Postern's own entry.
fn visible(context: &Context) -> Cow<'_, Context> {
    if !context.contains_key(callback::CONTEXT_KEY) {
        return Cow::Borrowed(context);
    }
    let mut visible = context.clone();
    visible.shift_remove(callback::CONTEXT_KEY);
    Cow::Owned(visible)
}

/// The URLs of the media in `context`.
fn media(context: &Context) -> Value {
    let urls = urls(context).unwrap_or_default();
    if urls.is_empty() { Value::UNDEFINED } else { urls.into_iter().map(Value::from).collect() }
}

/// The address for delivery reports about a message. It holds the callback that the message's client asked
/// for, and the trace in which the message is sent.
fn below(address: &str, callback: Option<&str>, trace: Option<&TraceContext>) -> Value {
    match (callback, trace) {
        (None, None) => address.into(),
        (callback, None) => format!("{address}/{}", callback.unwrap_or_default()).into(),
        (callback, Some(trace)) => {
            format!("{address}/{}{}", callback.unwrap_or_default(), trace.in_path()).into()
        }
    }
}

/// `text`, `coding` and, if there is one, `charset`.
fn encoded(text: &str, (codec, settings): &(Codec, Settings)) -> Value {
    let Encoded { text, coding, charset } = codec.encode(text, settings);
    let charset = charset.map(|charset| ("charset", Value::from(charset)));
    let names = [("text", Value::from_bytes(text)), ("coding", coding.into())].into_iter().chain(charset);
    Value::from_object(names.collect::<BTreeMap<&'static str, Value>>())
}

impl RequestScope {
    /// The scope of a request to `identities`.
    pub(super) fn to(&self, identities: &[Identity], recipients: Recipients, separator: &str) -> Value {
        let list: Vec<Value> = identities.iter().map(|identity| identity.as_str().into()).collect();
        let (one, all) = match (recipients, &list[..]) {
            (Recipients::Joined, _) => {
                let texts: Vec<&str> = identities.iter().map(Identity::as_str).collect();
                let joined = Value::from_object(Joined { text: texts.join(separator), list });
                (joined.clone(), joined)
            }
            (_, [one]) => (one.clone(), Value::from(list)),
            _ => (Value::UNDEFINED, Value::from(list)),
        };
        Value::from_object(Self { identity: one, identities: all, ..self.clone() })
    }

    fn get(&self, name: &str) -> Option<Value> {
        let value = match name {
            "id" => &self.id,
            "backend" => &self.backend,
            "identity" => &self.identity,
            "identities" => &self.identities,
            "text" => &self.text,
            "context" => &self.context,
            "media" => &self.media,
            "settings" => &self.settings,
            "status_url" => &self.status_url,
            "status_path" => &self.status_path,
            "encoded" => &self.encoded,
            _ => return None,
        };
        Some(value.clone())
    }
}

impl Object for RequestScope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.get(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&postern_config::backend::template::NAMES)
    }
}

/// Several identities that print as one text and can be looped over.
#[derive(Debug)]
pub(super) struct Joined {
    text: String,
    list: Vec<Value>,
}

impl Joined {
    /// The text of `value`, if `value` is a [`Joined`].
    pub(super) fn text_of(value: &Value) -> Option<&str> {
        value.downcast_object_ref::<Self>().map(|joined| joined.text.as_str())
    }
}

impl Object for Joined {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.list.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.list.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
