//! How a backend's requests are received: `[backends.NAME.receive]`.

pub use super::field::STANDARD_FIELDS;
use super::{
    auth::ReceiveAuth,
    batch::{Batch, name_problem},
    challenge::Challenge,
    check::Check,
    codec::Codec,
    dates::Dates,
    dedupe::Dedupe,
    each::Each,
    expression::When,
    field::FieldSpec,
    http::{BodyFormat, Method, method_problem},
    media::MediaSource,
    nested::Nested,
};
use indexmap::IndexMap;
use postern_shared::{
    message::{Identity, MAX_TEXT_CHARS},
    suggest,
    text::media::MEDIA,
    value::{Networks, OneOrMany},
};
use serde::Deserialize;

/// The longest `external_id`, in characters.
pub const MAX_EXTERNAL_ID_CHARS: usize = 512;

/// How a backend's requests are received.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receive {
    /// The HTTP methods taken; any other is answered 405.
    pub methods: Vec<Method>,
    /// Our name of a parameter → the request's, or several of which the first that is there
    /// counts. One that begins with `/` is a JSON pointer (RFC 6901). Absent: the same name. With `each`,
    /// pointers are relative to the item, those that begin with `^/` to the whole body, and a name that
    /// is no pointer is a member of the item or, if it has none of that name, a parameter of the query.
    pub params: IndexMap<String, OneOrMany>,
    /// The lists in a JSON or XML body of which every item is one message. All messages of one body are
    /// stored, or none. `None`: a request is one message.
    pub each: Option<Each>,
    /// Which requests to `/backends/NAME` bring messages. `None`: all; if `status.when` is true of a
    /// request, only those that have what `each` names.
    pub when: Option<When>,
    /// Whether a request that brings neither messages nor delivery reports, as `when` and `each` of this
    /// table and of `status` say, gets the answer `reply`, and not 400.
    pub ignore: bool,
    /// The handshake that the provider makes first; any of its requests is answered so, whatever else is
    /// said here. `None`: it makes none.
    pub challenge: Option<Challenge>,
    /// What the body is, whatever its `Content-Type` says. `None`: what that says.
    pub format: Option<BodyFormat>,
    /// The texts within the body that are bodies of their own. Then a form is read as a JSON object of its
    /// parameters, so that names of parameters are as they were, and pointers lead into these texts.
    pub nested: Nested,
    /// By what a message that the provider repeats is told from another one.
    pub dedupe: Dedupe,
    /// How the provider writes dates.
    pub dates: Dates,
    /// The answer to a valid request.
    pub reply: Reply,
    /// Extra parameters, and changes to those that Postern knows itself.
    pub fields: IndexMap<String, FieldSpec>,
    /// Where a request holds media, which become the field `media`: a list of objects with `url`, `id`, `type` and
    /// `name`, as far as they are there.
    pub media: Vec<MediaSource>,
    /// Custom validation, in order.
    pub checks: Vec<Check>,
    /// The form that cleans a request: `http`, or a name registered by a program of one's own.
    pub form: String,
    /// The charset of urlencoded, query and multipart values and of XML, whatever the request declares, and of
    /// JSON that is not UTF-8: a WHATWG label. Absent: the declared one, else UTF-8. Bytes that it cannot decode
    /// become U+FFFD.
    pub charset: Option<Charset>,
    /// What decodes the text, where its bytes depend on other parameters. Absent: `charset` does.
    pub codec: Option<Codec>,
    /// What a request must prove, a message as well as a delivery report.
    pub auth: ReceiveAuth,
    /// The addresses that a request may come from; any other is answered 403. None: all.
    pub allow: Networks,
}

impl Default for Receive {
    fn default() -> Self {
        Self {
            methods: vec![Method::Get, Method::Post],
            params: IndexMap::new(),
            each: None,
            when: None,
            ignore: false,
            challenge: None,
            format: None,
            nested: Nested::default(),
            dedupe: Dedupe::default(),
            dates: Dates::default(),
            reply: Reply::default(),
            fields: IndexMap::new(),
            media: Vec::new(),
            checks: Vec::new(),
            form: "http".to_owned(),
            charset: None,
            codec: None,
            auth: ReceiveAuth::None,
            allow: Networks::default(),
        }
    }
}

/// Why a `when` that is about items has none to look at: its key, and what to write.
pub(super) fn items_problem(when: Option<&When>, each: Option<&Each>) -> Option<(String, String)> {
    let lacks = when.is_some_and(When::chooses_items) && each.is_none();
    let why = "uses item, which exists only with each: set each to the list, or use body";
    lacks.then(|| ("when".to_owned(), why.to_owned()))
}

impl Receive {
    /// What the request calls the parameter that we call `name`.
    pub fn param<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        renamed(&self.params, name)
    }

    /// The declaration of `name`; the standard fields have one of their own. With `each`, a text need not be
    /// there: one person's picture must not keep the messages of the others in the same body out.
    pub fn field(&self, name: &str) -> Option<FieldSpec> {
        self.fields.get(name).cloned().or_else(|| match name {
            "identity" => Some(FieldSpec::text(true, Identity::MAX_CHARS)),
            "text" => Some(FieldSpec::text(self.each.is_none(), MAX_TEXT_CHARS)),
            "external_id" => Some(FieldSpec::text(false, MAX_EXTERNAL_ID_CHARS)),
            "received_at" => Some(FieldSpec {
                kind: super::field::FieldType::Datetime,
                max_length: None,
                ..FieldSpec::text(false, 0)
            }),
            _ => None,
        })
    }

    /// What is wrong beyond the types: a key below `receive`, and why.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut wrong: Vec<_> =
            method_problem(&self.methods).into_iter().chain(reply_problem(&self.reply)).collect();
        for (name, theirs) in &self.params {
            if self.field(name).is_none() {
                let known = STANDARD_FIELDS.join(", ");
                let why =
                    format!("is not a known field: use one of {known}, or declare it in receive.fields");
                wrong.push((format!("params.{name}"), why));
            }
            wrong.extend(
                name_problem(theirs, self.each.is_some())
                    .map(|why| (format!("params.{name}"), why.to_owned())),
            );
        }
        for (name, spec) in &self.fields {
            let keys = spec.problems().into_iter();
            wrong.extend(keys.map(|(key, why)| (format!("fields.{name}.{key}"), why)));
        }
        for (number, source) in self.media.iter().enumerate() {
            let keys = source.problems(self.each.is_some()).into_iter();
            wrong.extend(keys.map(|(key, why)| (format!("media[{number}].{key}"), why)));
        }
        if !self.media.is_empty() && self.fields.contains_key(MEDIA) {
            let why = "receive.media sets this field: choose another name";
            wrong.push((format!("fields.{MEDIA}"), why.to_owned()));
        }
        wrong.extend(self.batch().problems());
        wrong.extend(items_problem(self.when.as_ref(), self.each.as_ref()));
        if self.challenge.as_ref().is_some_and(|challenge| challenge.when().chooses_items()) {
            let why = "uses item, but a handshake has no items: use body, query, headers or settings";
            wrong.push(("challenge.when".to_owned(), why.to_owned()));
        }
        if self.each.is_some() && self.codec.is_some() {
            let why =
                "decodes the parameters of a form, but each reads a JSON or XML body: remove one of them";
            wrong.push(("codec".to_owned(), why.to_owned()));
        }
        if self.codec.is_some() && !self.nested.is_empty() {
            let why = "decodes the parameters of a form, but nested reads them as JSON: remove one of them";
            wrong.push(("codec".to_owned(), why.to_owned()));
        }
        let declared: Vec<&str> = self.fields.keys().map(String::as_str).collect();
        // A form of one's own may make fields that nothing declares.
        if self.form == "http" {
            wrong.extend(
                self.dedupe.problem(&STANDARD_FIELDS, &declared).map(|why| ("dedupe".to_owned(), why)),
            );
            wrong.extend(self.undeclared());
        }
        wrong
    }

    /// How several messages stand in one body.
    pub fn batch(&self) -> Batch<'_> {
        let Self { methods, params, each, format, nested, .. } = self;
        Batch {
            each: each.as_ref(),
            methods,
            params,
            format: *format,
            nested,
            example: "{ identity = \"/from\", text = \"/text\" }",
        }
    }

    /// The checks of fields that no message has: each would refuse every message.
    fn undeclared(&self) -> Vec<(String, String)> {
        let media = (!self.media.is_empty()).then_some(MEDIA);
        let declared: Vec<_> = self
            .fields
            .keys()
            .map(String::as_str)
            .filter(|name| !STANDARD_FIELDS.contains(name))
            .chain(media)
            .collect();
        let used = self
            .checks
            .iter()
            .enumerate()
            .flat_map(|(at, check)| check.fields().into_iter().map(move |it| (at, it)));
        used.filter(|(_, name)| !declared.contains(&name.as_str()))
            .map(|(at, name)| {
                let what = match name.as_str() {
                    "identity" | "text" => format!("{name} is not in fields: write {name}"),
                    "external_id" | "received_at" => format!("an expression cannot use {name}"),
                    _ => {
                        let hint = suggest::hint(&name, declared.iter().copied());
                        format!("messages have no fields.{name}: declare {name} in receive.fields{hint}")
                    }
                };
                (format!("checks[{at}].expr"), what)
            })
            .collect()
    }
}

/// What a request calls the parameter that we call `name`.
pub(super) fn renamed<'a>(
    params: &'a IndexMap<String, OneOrMany>,
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    let renamed = params.get(name).map(|names| names.0.iter().map(String::as_str));
    let own = renamed.is_none().then_some(name);
    renamed.into_iter().flatten().chain(own)
}

pub(super) fn reply_problem(reply: &Reply) -> Option<(String, String)> {
    let why = "must be 200 to 299: the message was accepted";
    (!(200..=299).contains(&reply.status)).then(|| ("reply.status".to_owned(), why.to_owned()))
}

/// The answer to a valid request, in the provider's own dialect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reply {
    /// 200 to 299.
    pub status: u16,
    /// The body, as it is.
    pub body: String,
    /// The body's media type.
    pub content_type: String,
}

impl Default for Reply {
    fn default() -> Self {
        Self { status: 200, body: "OK".to_owned(), content_type: "text/plain; charset=utf-8".to_owned() }
    }
}

/// A charset by its WHATWG label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(pub &'static encoding_rs::Encoding);

impl<'de> Deserialize<'de> for Charset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let label = String::deserialize(deserializer)?;
        let found = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes()).map(Self);
        found.ok_or_else(|| {
            serde::de::Error::custom(
                "unknown charset; allowed are WHATWG labels such as utf-8, iso-8859-1, utf-16be",
            )
        })
    }
}
