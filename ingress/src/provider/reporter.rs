//! `/backends/<name>/status`: a provider says what became of a message.

use super::{
    Gateway,
    provider::{Entry, Replied, invalid, text, unavailable, unreadable},
};
use crate::{
    forms::{Errors, Found, KeyProblem, Request, clean_datetime},
    observe::Seen,
    trace_context,
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use bytes::Bytes;
use jiff::Timestamp;
use postern_shared::{
    backend::{
        BackendConfig,
        receive::MAX_EXTERNAL_ID_CHARS,
        status::{STATUS_FIELDS, Status},
    },
    broker::{Address, Envelope, header::TRACEPARENT},
    callback::Event,
    error::FailureClass,
    message::{BackendName, Identity, MessageId, Notice, Reason, Recipient, Report, State},
};
use std::fmt;

/// The most characters of a provider's `code` and of its `detail`.
const MAX_CODE: usize = 64;
const MAX_DETAIL: usize = 200;
const REQUIRED: &str = "This field is required.";

/// A backend's delivery reports, made ready.
pub(crate) struct Reporter {
    name: BackendName,
    entry: Entry,
    table: Status,
    replied: Replied,
}

impl Reporter {
    /// `None` for a backend without a `status` table.
    ///
    /// # Errors
    /// The key below `backends.NAME` that is wrong.
    pub(crate) fn new(backend: &BackendConfig, public_url: Option<&str>) -> Result<Option<Self>, KeyProblem> {
        let Some(table) = &backend.definition.status else { return Ok(None) };
        Ok(Some(Self {
            name: backend.name.clone(),
            entry: Entry::new(backend, &table.methods, public_url),
            replied: Replied::new(&table.reply, "status")?,
            table: table.clone(),
        }))
    }

    /// The report that a request is: its parameters stand in the body, else in the query.
    fn report(&self, body: &Request<'_>, query: &Request<'_>) -> Result<Report, Errors> {
        let said = Said { table: &self.table, body, query };
        let mut errors = Errors::default();
        let state = self.state(&said, &mut errors);
        let external_id = said.value("external_id").filter(|id| {
            let fits = id.chars().count() <= MAX_EXTERNAL_ID_CHARS;
            if !fits {
                let why = format!("at most {MAX_EXTERNAL_ID_CHARS} characters are taken");
                errors.push(said.name("external_id"), why);
            }
            fits
        });
        let message_id = self.message_id(&said, external_id.as_deref(), &mut errors);
        let identity = said.value("identity").and_then(|identity| {
            let identity = Identity::try_from(identity);
            identity.map_err(|rule| errors.push(said.name("identity"), rule.to_string())).ok()
        });
        match (state, message_id) {
            (Some((word, state)), Some(message_id)) if errors.is_empty() => Ok(Report {
                message_id,
                backend: self.name.clone(),
                attempt: 0,
                at: said.at().unwrap_or_else(now),
                recipients: vec![Recipient {
                    identity,
                    state,
                    external_id,
                    external_ids: Vec::new(),
                    segments: None,
                    reason: said.reason(&word, state),
                }],
            }),
            _ => Err(errors),
        }
    }

    /// The provider's word and what it means.
    fn state(&self, said: &Said<'_>, errors: &mut Errors) -> Option<(String, State)> {
        let Some(word) = said.value("state") else {
            errors.push(said.name("state"), REQUIRED);
            return None;
        };
        if let Some(state) = self.table.states.get(&word) {
            return Some((word, *state));
        }
        let known: Vec<_> = self.table.states.keys().map(String::as_str).collect();
        errors.push(said.name("state"), format!("unknown state; known are {}", known.join(", ")));
        None
    }

    /// Ours where the request carries it, else the one that stands for the provider's.
    fn message_id(&self, said: &Said<'_>, external: Option<&str>, errors: &mut Errors) -> Option<MessageId> {
        match (said.value("message_id"), external) {
            (Some(id), _) => {
                let id = id.parse();
                id.map_err(|_| errors.push(said.name("message_id"), "Enter a valid UUID.")).ok()
            }
            (None, Some(external)) => Some(MessageId::reported(&self.name, external)),
            (None, None) => {
                let names = format!("{}, {}", said.name("message_id"), said.name("external_id"));
                errors.push(&names, "One of these fields is required.");
                None
            }
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a request says, by our names.
struct Said<'a> {
    table: &'a Status,
    body: &'a Request<'a>,
    query: &'a Request<'a>,
}

impl Said<'_> {
    /// The value of our `name`; `None` where it is absent, blank or no text.
    fn value(&self, name: &str) -> Option<String> {
        debug_assert!(STATUS_FIELDS.contains(&name));
        [self.body, self.query].into_iter().find_map(|request| {
            self.table.param(name).find_map(|theirs| match request.find(theirs) {
                Found::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            })
        })
    }

    /// What the request calls it.
    fn name<'s>(&'s self, name: &'s str) -> &'s str {
        self.table.param(name).next().unwrap_or(name)
    }

    /// A clock that was never set says 1970.
    fn at(&self) -> Option<Timestamp> {
        const DAY: i64 = 24 * 3600;
        clean_datetime(&self.value("at")?).ok().filter(|at| at.as_second() > DAY)
    }

    /// Why it was not delivered, in the provider's words.
    fn reason(&self, word: &str, state: State) -> Option<Reason> {
        if !matches!(state, State::Failed | State::Undelivered | State::Expired) {
            return None;
        }
        let code = self.value("code").unwrap_or_else(|| word.to_owned());
        let detail = self.value("detail").unwrap_or_default();
        let class = FailureClass::Permanent;
        Some(Reason { class, code: line(&code, MAX_CODE), detail: line(&detail, MAX_DETAIL) })
    }
}

/// The beginning of `text`, on one line.
fn line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// The view.
pub(crate) async fn status(
    request: HttpRequest,
    mut payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let name = request.match_info().get("name").unwrap_or_default();
    let Some(reporter) = gateway.reporters.get(name) else {
        let known = gateway.receivers.contains_key(name);
        let why = if known { "this backend has no delivery reports" } else { "unknown backend" };
        return text(StatusCode::NOT_FOUND, why);
    };
    if request.match_info().get("token").is_some() && !reporter.entry.token_in_path() {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    let trace = trace_context::of(request.headers());
    let mut seen = Seen {
        backend: Some(reporter.name.clone()),
        trace: Some(trace.trace_id().to_owned()),
        ..Seen::default()
    };
    let response = match take(reporter, &request, &mut payload, &gateway).await {
        Ok((report, reply)) => {
            seen.message = Some(report.message_id);
            let envelope = Envelope::from(&report).with(TRACEPARENT, trace.as_str());
            let mut messages = vec![(Address::Reports(reporter.name.clone()), envelope)];
            if let Some(notice) = notice(&request, &gateway, &report, reply) {
                let envelope = Envelope::from(&notice).with(TRACEPARENT, trace.as_str());
                messages.push((Address::Callbacks(reporter.name.clone()), envelope));
            }
            match gateway.publisher.publish(messages).await {
                Ok(()) => reporter.replied.response(),
                Err(_) => unavailable(),
            }
        }
        Err(refused) => refused,
    };
    seen.note(&request);
    response
}

async fn take(
    reporter: &Reporter,
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
) -> Result<(Report, String), HttpResponse> {
    let entry = &reporter.entry;
    let body = entry.body(request, payload, gateway).await?;
    let parsed = entry.parse(request, &body, gateway).map_err(|why| why.response(request))?;
    let nothing = Bytes::new();
    let query = entry.parse_query(request, &nothing, gateway).map_err(unreadable)?;
    let report = reporter.report(&parsed, &query).map_err(|errors| invalid(&errors))?;
    let said = Said { table: &reporter.table, body: &parsed, query: &query };
    let reply = said.value("detail").or_else(|| said.value("state")).unwrap_or_default();
    Ok((report, line(&reply, MAX_DETAIL)))
}

/// What the message's client is to be told of `report`, where the address that the report came to
/// carries its wish. `reply` is the provider's word.
fn notice(request: &HttpRequest, gateway: &Gateway, report: &Report, reply: String) -> Option<Notice> {
    let token = request.match_info().get("callback")?;
    let Some(callback) = gateway.doors.keys.open(token) else {
        tracing::warn!(
            message_id = %report.message_id,
            "its address carries a callback that nobody now has asked for: not called"
        );
        return None;
    };
    let recipient = report.recipients.first()?;
    let event = Event::of_report(recipient.state).filter(|event| callback.wants(*event))?;
    Some(Notice {
        message_id: callback.message_id,
        backend: report.backend.clone(),
        callback: token.to_owned(),
        event: event.bit(),
        identity: recipient.identity.clone(),
        external_id: recipient.external_id.clone(),
        reply,
        at: report.at,
    })
}
