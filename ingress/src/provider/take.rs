//! What a request to one of a backend's two endpoints brings: messages, delivery reports, both, or nothing.

use super::{
    choice::Choice,
    endpoint::{ProviderEndpoint, ReadBody, SignedOnce},
    parts::{Incoming, InvalidItems, Part},
    receiver::Receiver,
    refusal::Refusal,
    reporter::{Reported, Reporter},
};
use crate::{
    answer::Charge,
    body::{Body, Reservation},
    forms::{Errors, Forms, KeyProblem, Request},
    limits::RequestLimits,
    metrics::IngressMetrics,
};
use actix_web::{
    HttpRequest,
    dev::Payload,
    http::{Method, StatusCode},
};
use bytes::Bytes;
use postern_config::backend::{BackendConfig, challenge::Challenge, receive::Receive};
use postern_service::telemetry::LineLimit;
use postern_shared::{
    message::{Inbound, MessageId},
    value::Settings,
};
use serde_json::Value;
use std::cell::OnceCell;
use tracing::Level;

/// The most bytes of the messages of one request together: each may repeat parts of the whole body.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A backend's two endpoints, prepared from the configuration.
#[derive(Debug)]
pub(crate) struct ProviderEndpoints {
    pub(crate) receiver: Receiver,
    /// `None` for a backend without a `status` table.
    pub(crate) reporter: Option<Reporter>,
    /// Whether a request that is neither a message nor a report is accepted all the same: `receive.ignore`.
    ignores: bool,
    challenge: Option<Challenge>,
    /// The backend's settings, for `when` and for the decoding of texts.
    settings: Settings,
    /// Limits the log lines about bodies with more items than the configuration reads.
    unread_lines: LineLimit,
    /// Limits the log lines about expressions that cannot be evaluated.
    when_lines: LineLimit,
}

/// One of a backend's two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProviderPath {
    /// The endpoint for messages, `/backends/NAME`.
    Messages,
    /// The endpoint for delivery reports, `/backends/NAME/status`.
    Reports,
}

/// The result of reading a request.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The request brought messages and reports, or nothing.
    Brought(Brought),
    /// The request is the provider's handshake. Holds the body of the answer, and the charge, which depends
    /// on whether the request proved whose it is.
    Challenge(String, Charge),
}

/// What a request brought: nothing if it is to be ignored, or if its lists are empty.
#[derive(Debug)]
pub(crate) struct Brought {
    /// The messages, in the order of the body.
    pub(crate) messages: Vec<Inbound>,
    /// The delivery reports, in the order of the body.
    pub(crate) reports: Vec<Reported>,
    /// The invalid items, which are not stored.
    pub(crate) invalid: InvalidItems,
    /// How a repetition of the request is recognized. `None` if the request has no signed time.
    pub(crate) signed: Option<SignedOnce>,
    /// To be kept until the request is answered.
    pub(crate) reservation: Reservation,
}

impl Brought {
    /// How many messages and reports there are.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() + self.reports.len()
    }

    /// How many messages have U+FFFD in their text: bytes were invalid in the charset with which they were
    /// read, or the provider had already replaced them.
    pub(crate) fn replaced(&self) -> usize {
        self.messages.iter().filter(|message| message.text.contains('\u{fffd}')).count()
    }

    /// The id of the message that the request brought, or that its report is about; `None` if it brought more
    /// or less than one of both together.
    pub(crate) fn only_id(&self) -> Option<MessageId> {
        match (&self.messages[..], &self.reports[..]) {
            ([message], []) => Some(message.id),
            ([], [reported]) => Some(reported.report.message_id),
            _ => None,
        }
    }
}

impl ProviderEndpoints {
    /// Prepares both endpoints of `backend`.
    ///
    /// # Errors
    /// Every key below `backends.NAME` that is wrong.
    pub(crate) fn new(
        backend: &BackendConfig,
        public_url: Option<&str>,
        forms: &Forms,
    ) -> Result<Self, Vec<KeyProblem>> {
        let Receive { ignore, challenge, .. } = &backend.definition.receive;
        match (Receiver::new(backend, public_url, forms), Reporter::new(backend, public_url)) {
            (Ok(receiver), Ok(reporter)) => Ok(Self {
                receiver,
                reporter,
                ignores: *ignore,
                challenge: challenge.clone(),
                settings: backend.definition.settings.clone(),
                unread_lines: LineLimit::new("bodies with items that are not read", Level::WARN),
                when_lines: LineLimit::new("expressions that cannot be evaluated", Level::WARN),
            }),
            (receiver, reporter) => {
                let wrong = receiver.err().into_iter().flatten();
                Err(wrong.chain(reporter.err()).collect())
            }
        }
    }

    /// The endpoint for `request`, which came to `path`.
    ///
    /// # Errors
    /// The text of the answer 404: the backend does not have the endpoint.
    pub(crate) fn reached(
        &self,
        path: ProviderPath,
        request: &HttpRequest,
    ) -> Result<&ProviderEndpoint, &'static str> {
        let endpoint = self.endpoint(path).ok_or("this backend accepts no delivery reports")?;
        if endpoint.has_path(request) { Ok(endpoint) } else { Err("not found") }
    }

    /// The endpoint at `path`; `None` if the backend does not have it.
    fn endpoint(&self, path: ProviderPath) -> Option<&ProviderEndpoint> {
        match path {
            ProviderPath::Messages => Some(&self.receiver.endpoint),
            ProviderPath::Reports => self.reporter.as_ref().map(|reporter| &reporter.endpoint),
        }
    }

    /// Makes the backend's refusals appear in the metrics from the start.
    pub(crate) fn declare(&self, metrics: &IngressMetrics) {
        self.receiver.declare(metrics);
        if let Some(reporter) = &self.reporter {
            reporter.declare(metrics);
        }
    }

    /// Reads a request to `path`. Everything valid in it is accepted.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(crate) async fn take(
        &self,
        path: ProviderPath,
        request: &HttpRequest,
        payload: &mut Payload,
        limits: &RequestLimits,
    ) -> Result<Taken, Refusal> {
        let endpoint = self.endpoint(path).unwrap_or(&self.receiver.endpoint);
        let challenge = self.challenge.as_ref().filter(|_| path == ProviderPath::Messages);
        if let Some(challenge) = challenge.filter(|_| request.method() == Method::GET) {
            let nothing = Bytes::new();
            // A query that cannot be read is not a challenge, and the request is refused below.
            if let Ok(query) = endpoint.parse_query(request, request.query_string(), &nothing, limits)
                && let Some(reply) = self.incoming(endpoint, (&query, &query), limits).challenged(challenge)
            {
                endpoint.admit(request, limits)?;
                return Ok(Taken::Challenge(reply, Charge::Address));
            }
        }
        let ReadBody { body: Body { bytes, reservation }, signed } =
            endpoint.body(request, payload, limits).await?;
        let mut whole = endpoint.parse(request, &bytes, limits)?;
        if path == ProviderPath::Messages {
            self.receiver.decode_text(&self.settings, &mut whole);
        }
        let nothing = Bytes::new();
        let query = if self.reads_query(path) { request.query_string() } else { "" };
        let query = endpoint.parse_query(request, query, &nothing, limits)?;
        let incoming = self.incoming(endpoint, (&whole, &query), limits);
        if let Some(reply) = challenge.and_then(|challenge| incoming.challenged(challenge)) {
            return Ok(Taken::Challenge(reply, Charge::Nothing));
        }
        let brought = self.brought(path, &incoming);
        let brought = brought.map(|brought| Brought { signed, reservation, ..brought });
        if let Err(Refusal::Unread(unread, key)) = &brought
            && self.unread_lines.admits(StatusCode::BAD_REQUEST.as_u16())
        {
            tracing::warn!(
                backend = %endpoint.name,
                list = unread.list,
                items = unread.items,
                read = ?unread.read,
                "request refused: a list in the body has items that the configuration does not read; set \
                 {key}"
            );
        }
        brought.map(Taken::Brought)
    }

    fn incoming<'r>(
        &'r self,
        endpoint: &'r ProviderEndpoint,
        (whole, query): (&'r Request<'r>, &'r Request<'r>),
        limits: &RequestLimits,
    ) -> Incoming<'r> {
        Incoming {
            backend: &endpoint.name,
            settings: &self.settings,
            whole,
            query,
            max_items: limits.max_items,
            lines: &self.when_lines,
            scope: OnceCell::new(),
        }
    }

    /// Whether the query is read in addition to the body.
    fn reads_query(&self, path: ProviderPath) -> bool {
        let reports = self.reporter.as_ref().is_some_and(|reporter| reporter.choice.when.is_some());
        let Choice { when, each, .. } = &self.receiver.choice;
        let messages = when.is_some() || each.is_some();
        path == ProviderPath::Reports || reports || messages || self.challenge.is_some()
    }

    fn brought(&self, path: ProviderPath, incoming: &Incoming<'_>) -> Result<Brought, Refusal> {
        let (receiver, reporter) = (&self.receiver, self.reporter.as_ref());
        let here = reporter.filter(|it| path == ProviderPath::Reports || it.choice.when.is_some());
        let has_reports = here.is_some_and(|it| incoming.holds(&it.choice).unwrap_or(false));
        let has_messages = match (path, &receiver.choice.when) {
            (ProviderPath::Reports, _) => Ok(false),
            (ProviderPath::Messages, Some(_)) => incoming.holds(&receiver.choice),
            // A request with reports also brings messages only if `receive.each` names where.
            (ProviderPath::Messages, None) => Ok(!has_reports || receiver.choice.each.is_some()),
        };
        let mut invalid = InvalidItems::default();
        let messages = match has_messages {
            Ok(true) => incoming.part(&receiver.choice, &mut invalid)?,
            _ => Part::None,
        };
        let reports = match here.filter(|_| has_reports) {
            Some(reporter) => incoming.part(&reporter.choice, &mut invalid)?,
            None => Part::None,
        };
        if messages.is_nothing() && reports.is_nothing() {
            // If `receive.when` cannot be evaluated, the request may be a message: it must not be ignored.
            has_messages.map_err(Refusal::Invalid)?;
            if !self.ignores {
                return Err(Refusal::Invalid(Errors::whole(nothing_taken(&messages, &reports))));
            }
        }
        if messages.len() + reports.len() > incoming.max_items {
            return Err(incoming.too_many());
        }
        let mut room = MAX_BYTES;
        let messages = messages.convert(incoming, &mut invalid, |place, request| {
            let message = receiver.message(place, request)?;
            room = room.checked_sub(bytes_of(&message)).ok_or_else(too_large)?;
            Ok(message)
        })?;
        let reports = match reporter {
            Some(reporter) => reports.convert(incoming, &mut invalid, |place, request| {
                reporter.report(place, request, incoming.query)
            })?,
            None => Vec::new(),
        };
        if messages.is_empty() && reports.is_empty() && invalid.count > 0 {
            return Err(Refusal::Invalid(invalid.errors));
        }
        Ok(Brought { messages, reports, invalid, signed: None, reservation: Reservation::default() })
    }
}

/// The error about a request in which nothing is a message or a report.
fn nothing_taken(messages: &Part<'_>, reports: &Part<'_>) -> String {
    let missing: Vec<_> = [messages.missing(), reports.missing()].into_iter().flatten().collect();
    if missing.is_empty() {
        return "this is neither a message nor a delivery report, by receive.when and status.when; to accept \
                other requests, set receive.ignore"
            .to_owned();
    }
    format!("the body {}; to accept other requests, set receive.ignore", missing.join(" and "))
}

/// Roughly how many bytes `message` takes in a queue.
fn bytes_of(message: &Inbound) -> usize {
    message.text.len() + message.fields.values().map(bytes_in).sum::<usize>()
}

fn bytes_in(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_in).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + bytes_in(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

fn too_large() -> Refusal {
    Refusal::TooMuch(format!("the messages of one request may take at most {MAX_BYTES} bytes in total"))
}
