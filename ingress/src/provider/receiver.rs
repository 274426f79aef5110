//! `/backends/<name>`: a provider brings a message.

use super::{
    Gateway,
    provider::{Entry, Replied, invalid, text, unavailable},
};
use crate::{
    duplicates::Claim,
    forms::{Cleaned, Errors, Form, Forms, KeyProblem, Request, decode_text, text_names},
    observe::Seen,
    trace_context::{self, TraceContext},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use jiff::Timestamp;
use postern_shared::{
    backend::{BackendConfig, check::Check, codec::Codec},
    broker::{Address, Envelope, header::TRACEPARENT},
    message::{BackendName, Inbound, MessageId},
    metrics::Metrics,
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A backend's receiving side, made ready.
pub(crate) struct Receiver {
    name: BackendName,
    entry: Entry,
    replied: Replied,
    form: Arc<dyn Form>,
    checks: Vec<Check>,
    /// What decodes the text, and what requests call it.
    codec: Option<(Codec, Vec<String>)>,
}

impl Receiver {
    /// # Errors
    /// Every key below `backends.NAME` that is wrong.
    pub(crate) fn new(
        backend: &BackendConfig,
        public_url: Option<&str>,
        forms: &Forms,
    ) -> Result<Self, Vec<KeyProblem>> {
        let receive = &backend.definition.receive;
        let (form, replied) = match (forms.build(backend), Replied::new(&receive.reply, "receive")) {
            (Ok(form), Ok(replied)) => (form, replied),
            (form, replied) => {
                let wrong = [form.err(), replied.err().map(|wrong| vec![wrong])];
                return Err(wrong.into_iter().flatten().flatten().collect());
            }
        };
        Ok(Self {
            name: backend.name.clone(),
            entry: Entry::new(backend, &receive.methods, public_url),
            replied,
            form,
            checks: receive.checks.clone(),
            codec: receive.codec.map(|codec| (codec, text_names(receive))),
        })
    }

    /// Its refusals, there in the metrics from the start.
    pub(super) fn declare(&self, metrics: &Metrics) {
        metrics.declare_refused(Some(&self.name), &self.entry.refusals().collect::<Vec<_>>());
    }

    /// The message that `request` is. A form that panics is a mistake of ours, not of the request's:
    /// `None`.
    fn message(&self, request: &Request<'_>) -> Option<Result<Inbound, Errors>> {
        let cleaned = catch_unwind(AssertUnwindSafe(|| {
            let cleaned = self.form.clean(request)?;
            self.check(&cleaned).map(|()| cleaned)
        }));
        Some(cleaned.ok()?.map(|cleaned| self.inbound(cleaned)))
    }

    fn check(&self, cleaned: &Cleaned) -> Result<(), Errors> {
        let mut errors = Errors::default();
        for check in &self.checks {
            if !check.passes(cleaned.identity.as_str(), &cleaned.text, &cleaned.fields) {
                errors.push_whole(check.error.as_str());
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn inbound(&self, cleaned: Cleaned) -> Inbound {
        let Cleaned { identity, text, fields, external_id, received_at } = cleaned;
        let id = external_id.as_deref().map(|external| MessageId::inbound(&self.name, external));
        let at = received_at.unwrap_or_else(Timestamp::now);
        Inbound {
            id: id.unwrap_or_default(),
            backend: self.name.clone(),
            identity,
            text,
            fields,
            external_id,
            received_at: Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at),
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The view.
pub(crate) async fn receive(
    request: HttpRequest,
    mut payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let Some(receiver) = request.match_info().get("name").and_then(|name| gateway.receivers.get(name)) else {
        return text(StatusCode::NOT_FOUND, "unknown backend");
    };
    if request.match_info().get("token").is_some() && !receiver.entry.token_in_path() {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    let trace = trace_context::of(request.headers());
    let mut seen = Seen {
        backend: Some(receiver.name.clone()),
        trace: Some(trace.trace_id().to_owned()),
        ..Seen::default()
    };
    let response = match take(receiver, &request, &mut payload, &gateway).await {
        Ok(message) => {
            seen.message = Some(message.id);
            store(receiver, &message, &trace, &gateway).await
        }
        Err(refused) => refused,
    };
    seen.note(&request);
    response
}

/// The message that the request is, else the answer that says why it is none.
async fn take(
    receiver: &Receiver,
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
) -> Result<Inbound, HttpResponse> {
    let body = receiver.entry.body(request, payload, gateway).await?;
    let mut parsed = receiver.entry.parse(request, &body, gateway).map_err(|why| why.response(request))?;
    if let Some((codec, text)) = &receiver.codec {
        let decoded = decode_text(*codec, text, &mut parsed);
        decoded.map_err(|why| invalid(&Errors::of("charset", why)))?;
    }
    match receiver.message(&parsed) {
        Some(message) => message.map_err(|errors| invalid(&errors)),
        None => {
            tracing::error!(backend = %receiver.name, "the form panicked; answered with 503");
            // Nothing was stored and the request may be right: the provider is to try again.
            Err(unavailable())
        }
    }
}

/// The answer once the broker has confirmed, and no sooner: this message, or another like it.
async fn store(
    receiver: &Receiver,
    message: &Inbound,
    trace: &TraceContext,
    gateway: &Gateway,
) -> HttpResponse {
    // Without an external id it is like no other.
    let ticket = match &message.external_id {
        Some(_) => match gateway.duplicates.claim(message.id).await {
            Claim::New(ticket) => Some(ticket),
            Claim::Double => {
                gateway.metrics.duplicate(&receiver.name);
                return receiver.replied.response();
            }
        },
        None => None,
    };
    let envelope = Envelope::from(message).with(TRACEPARENT, trace.as_str());
    let published = gateway.publisher.publish(vec![(Address::Inbound(receiver.name.clone()), envelope)]);
    match published.await {
        Ok(()) => {
            if let Some(ticket) = ticket {
                ticket.stored();
            }
            receiver.replied.response()
        }
        Err(_) => unavailable(),
    }
}
