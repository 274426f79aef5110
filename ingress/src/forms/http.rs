//! The default form: cleans the parameters that a backend's configuration declares.

use super::{
    errors::Errors,
    field::{Field, INVALID, REQUIRED},
    form::{Cleaned, Form},
    request::{Found, Request, scalar_text},
};
use jiff::Timestamp;
use postern_config::{
    KeyProblem,
    backend::{field::STANDARD_FIELDS, media::MediaSource, receive::Receive},
};
use postern_shared::{clock::is_of_a_set_clock, message::Identity, text::media::MEDIA};
use serde_json::{Map, Value};

/// The form `http`, prepared from `params`, `fields` and `media` of `[backends.NAME.receive]`.
#[derive(Debug)]
pub struct HttpForm {
    identity: Field,
    text: Field,
    external_id: Field,
    received_at: Field,
    /// All other fields, in the order of the configuration.
    extra: Vec<Field>,
    /// Where requests have media.
    media: Vec<MediaSource>,
}

impl HttpForm {
    /// The form that `receive` declares.
    ///
    /// # Errors
    /// Every key below `backends.NAME` that is wrong, and why.
    pub fn new(receive: &Receive) -> Result<Self, Vec<KeyProblem>> {
        let mut wrong = Vec::new();
        let mut build = |name: &str| {
            let spec = receive.field(name)?;
            let field = Field::new(name, &spec, receive);
            field.map_err(|(key, why)| wrong.push((format!("receive.fields.{name}.{key}"), why))).ok()
        };
        let standard = STANDARD_FIELDS.map(&mut build);
        let names = receive.fields.keys().filter(|name| !STANDARD_FIELDS.contains(&name.as_str()));
        let extra: Vec<_> = names.filter_map(|name| build(name)).collect();
        if let [_, _, _, Some(received_at)] = &standard
            && !received_at.is_datetime()
        {
            let why = "received_at is a datetime: no other type is allowed".to_owned();
            wrong.push(("receive.fields.received_at.type".to_owned(), why));
        }
        match standard {
            [Some(identity), Some(text), Some(external_id), Some(received_at)] if wrong.is_empty() => {
                Ok(Self { identity, text, external_id, received_at, extra, media: receive.media.clone() })
            }
            _ => Err(wrong),
        }
    }
}

impl Form for HttpForm {
    fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors> {
        let mut errors = Errors::default();
        let identity = self.identity.take(request, &mut errors).and_then(|value| {
            let identity = Identity::try_from(text_of(value));
            identity.map_err(|_| errors.push(self.identity.named(request), INVALID)).ok()
        });
        let (asked, text) = self.text.look(request);
        let text = self.text.cleaned(asked, &without_nul(text), &mut errors).map(text_of);
        let external_id = self.external_id.take(request, &mut errors).map(text_of);
        let received_at: Option<Timestamp> =
            self.received_at.take(request, &mut errors).and_then(|value| value.as_str()?.parse().ok());
        let mut fields = Map::new();
        for field in &self.extra {
            if let Some(value) = field.take(request, &mut errors) {
                fields.insert(field.name.clone(), value);
            }
        }
        let media: Vec<_> = self.media.iter().flat_map(|source| media(source, request)).collect();
        if !media.is_empty() {
            fields.insert(MEDIA.to_owned(), media.into());
        }
        match identity {
            Some(identity) if errors.is_empty() => Ok(Cleaned {
                identity,
                text: text.unwrap_or_default(),
                fields,
                external_id: external_id.filter(|id| !id.is_empty()),
                received_at: received_at.filter(|at| is_of_a_set_clock(*at)),
            }),
            // Every message has a sender, even if the configuration does not require an identity.
            None if errors.is_empty() => Err(Errors::of(self.identity.named(request), REQUIRED)),
            _ => Err(errors),
        }
    }
}

impl Field {
    /// The field's cleaned value, else its default; `None` if there is neither, or if an error was added.
    fn take(&self, request: &Request<'_>, errors: &mut Errors) -> Option<Value> {
        let (asked, found) = self.look(request);
        self.cleaned(asked, &found, errors)
    }

    /// Like [`take`](Self::take), for a value that was found under the name `asked`.
    fn cleaned(&self, asked: &str, found: &Found<'_>, errors: &mut Errors) -> Option<Value> {
        let cleaned = match found {
            // A message is not refused for an invalid date that is not required.
            Found::NoText if self.is_datetime() && !self.required => Ok(self.default.clone()),
            Found::NoText => Err(INVALID.to_owned()),
            Found::Text(text) if !text.trim().is_empty() => match self.clean(text.trim()) {
                Err(_) if self.is_datetime() && !self.required => Ok(self.default.clone()),
                cleaned => cleaned.map(Some),
            },
            Found::Text(_) if self.blank => Ok(self.default.clone()),
            Found::Text(_) | Found::Absent => match &self.default {
                None if self.required => Err(REQUIRED.to_owned()),
                default => Ok(default.clone()),
            },
        };
        cleaned.map_err(|why| errors.push(asked, why)).ok().flatten()
    }

    /// The field's name in the request: the first of its names that is present, else the first.
    fn named(&self, request: &Request<'_>) -> &str {
        self.look(request).0
    }

    fn look<'r>(&self, request: &'r Request<'_>) -> (&str, Found<'r>) {
        let all = self.asked.iter().map(|name| (name.as_str(), request.find(name)));
        let there = all.into_iter().find(|(_, found)| *found != Found::Absent);
        there.unwrap_or((self.asked.first().map_or(&self.name, String::as_str), Found::Absent))
    }
}

/// The media that `source` finds in `request`.
fn media(source: &MediaSource, request: &Request<'_>) -> Vec<Value> {
    let text = |found: Found<'_>| match found {
        Found::Text(text) => Some(text.trim().replace('\0', "")).filter(|text| !text.is_empty()),
        Found::Absent | Found::NoText => None,
    };
    let Some(each) = &source.each else {
        return source.medium(|name| text(request.find(name))).into_iter().collect();
    };
    // A value that is not a list contains no media.
    let items = request.json.as_deref().and_then(|json| each.items(json, usize::MAX).ok().flatten());
    let items = items.unwrap_or_default();
    let of = |item: &Value| {
        let request = request.part(item);
        source.medium(|name| text(request.find(name)))
    };
    items.into_iter().filter_map(|item| of(item.value)).collect()
}

/// Removes NUL, which networks and phones write: the person who wrote the text cannot correct it.
fn without_nul(found: Found<'_>) -> Found<'_> {
    match found {
        Found::Text(text) if text.contains('\0') => Found::Text(text.replace('\0', "").into()),
        found => found,
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => scalar_text(&other).unwrap_or_default().into_owned(),
    }
}

#[cfg(test)]
mod tests;
