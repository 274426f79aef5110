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
    /// The HTTP methods that are accepted; any other is answered 405.
    pub methods: Vec<Method>,
    /// Our name of a parameter → the request's name, or several names, of which the first that is there counts.
    /// A name that begins with `/` is a JSON pointer (RFC 6901). Absent: the same name. With `each`, pointers
    /// are relative to the item, and those that begin with `^/` to the whole body; any other name is a member
    /// of the item or, if the item has none of that name, a query parameter.
    pub params: IndexMap<String, OneOrMany>,
    /// The lists in a JSON or XML body whose items are one message each. The valid messages of a body
    /// are stored together, or none of them; invalid items are left out and logged. `None`: a request is one
    /// message.
    pub each: Option<Each>,
    /// Which requests to `/backends/NAME` bring messages. `None`: all; but if `status.when` is true of a
    /// request, only if it has what `each` names.
    pub when: Option<When>,
    /// Whether a request is answered with `reply`, and not with 400, if it brings neither messages nor delivery
    /// reports by `when` and `each` of this table and of `status`.
    pub ignore: bool,
    /// The handshake that the provider makes first. A request that is part of it only gets the handshake's
    /// answer, and brings no message. `None`: there is no handshake.
    pub challenge: Option<Challenge>,
    /// The format that the body is read as, regardless of its `Content-Type`. `None`: by its `Content-Type`.
    pub format: Option<BodyFormat>,
    /// The texts within the body that are bodies of their own. With this key a form is read as a JSON object of
    /// its parameters: their names stay the same, and pointers can lead into the texts.
    pub nested: Nested,
    /// How a repetition by the provider is told from a new message.
    pub dedupe: Dedupe,
    /// How the provider writes dates.
    pub dates: Dates,
    /// The answer to a valid request.
    pub reply: Reply,
    /// Further parameters, and other rules for those that Postern knows itself.
    pub fields: IndexMap<String, FieldSpec>,
    /// Where a request holds media. They become the field `media`, a list of objects with those of `url`, `id`,
    /// `type` and `name` that the request has.
    pub media: Vec<MediaSource>,
    /// Custom validation, which runs in this order.
    pub checks: Vec<Check>,
    /// The form that cleans a request: `http`, or a name that a custom program registered.
    pub form: String,
    /// The charset, as a WHATWG label, of urlencoded, query and multipart values and of XML, regardless of what
    /// the request declares, and of JSON that is not UTF-8. Absent: the declared charset, else UTF-8. Bytes
    /// that are not valid in the charset become U+FFFD.
    pub charset: Option<Charset>,
    /// What decodes the text if its encoding depends on other parameters. Absent: `charset` does.
    pub codec: Option<Codec>,
    /// What a request must prove, whether it brings messages or delivery reports.
    pub auth: ReceiveAuth,
    /// The addresses that a request may come from; any other is answered 403. Empty: all.
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

/// The mistake of a `when` about items without an `each` that names them: its key, and what to write.
pub(super) fn items_problem(when: Option<&When>, each: Option<&Each>) -> Option<(String, String)> {
    let lacks = when.is_some_and(When::chooses_items) && each.is_none();
    let why = "uses item, which exists only with each: set each to the list, or use body";
    lacks.then(|| ("when".to_owned(), why.to_owned()))
}

impl Receive {
    /// The request's names of the parameter that we call `name`.
    pub fn param<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        renamed(&self.params, name)
    }

    /// The declaration of the parameter `name`; the standard fields have built-in ones. With `each`, a text is not
    /// required: one person's picture must not make the messages of others in the same body fail.
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

    /// The mistakes that the types do not rule out: a key below `receive`, and what is wrong.
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
        // A custom form may make fields that are not declared.
        if self.form == "http" {
            wrong.extend(
                self.dedupe.problem(&STANDARD_FIELDS, &declared).map(|why| ("dedupe".to_owned(), why)),
            );
            wrong.extend(self.undeclared());
        }
        wrong
    }

    /// How one body holds several messages.
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

    /// The checks that use fields which no message has: each would refuse every message.
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

/// The request's names, by `params`, of the parameter that we call `name`.
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
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The body, which is sent unchanged.
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
                "unknown charset; allowed: WHATWG labels such as utf-8, iso-8859-1, utf-16be",
            )
        })
    }
}
