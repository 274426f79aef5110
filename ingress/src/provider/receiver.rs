//! From a provider's request to the message that it is.

use super::{
    endpoint::{ProviderEndpoint, Route},
    refusal::Refusal,
};
use crate::metrics::IngressMetrics;
use crate::{
    auth::RefusalReason,
    forms::{Cleaned, Errors, Form, Forms, KeyProblem, Request, decode_text, text_names},
    limits::RequestLimits,
};
use actix_web::{HttpRequest, dev::Payload, http::StatusCode};
use jiff::Timestamp;
use postern_config::backend::{BackendConfig, check::Check, codec::Codec, receive::Receive};
use postern_service::telemetry::LineLimit;
use postern_shared::{
    clock::to_the_millisecond,
    message::{Inbound, MessageId},
};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A backend's receiving side, made ready.
pub(crate) struct Receiver {
    pub(crate) endpoint: ProviderEndpoint,
    form: Arc<dyn Form>,
    checks: Vec<Check>,
    /// What decodes the text, and what requests call it.
    codec: Option<(Codec, Vec<String>)>,
    /// Of a form that panics: whoever knows how can make it panic again.
    panics: LineLimit,
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
        let Receive { methods, params, reply, .. } = receive;
        let route = Route { table: "receive", methods, params, reply };
        let endpoint = ProviderEndpoint::new(backend, &route, public_url);
        let (form, endpoint) = match (forms.build(backend), endpoint) {
            (Ok(form), Ok(endpoint)) => (form, endpoint),
            (form, endpoint) => {
                let wrong = [form.err(), endpoint.err().map(|wrong| vec![wrong])];
                return Err(wrong.into_iter().flatten().flatten().collect());
            }
        };
        Ok(Self {
            endpoint,
            form,
            checks: receive.checks.clone(),
            codec: receive.codec.map(|codec| (codec, text_names(receive))),
            panics: LineLimit::new("forms that panicked", tracing::Level::WARN),
        })
    }

    /// Its refusals, there in the metrics from the start.
    pub(crate) fn declare(&self, metrics: &IngressMetrics) {
        metrics.declare_refused(Some(&self.endpoint.name), &self.endpoint.refusals().collect::<Vec<_>>());
    }

    /// The message that a request is.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) async fn take(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        limits: &RequestLimits,
    ) -> Result<Inbound, Refusal> {
        let body = self.endpoint.body(request, payload, limits).await?;
        let mut parsed = self.endpoint.parse(request, &body, limits)?;
        if let Some((codec, text)) = &self.codec {
            let decoded = decode_text(*codec, text, &mut parsed);
            decoded.map_err(|why| {
                Refusal::Invalid(Errors::of("charset", why).because(RefusalReason::Charset))
            })?;
        }
        match self.message(&parsed) {
            Some(message) => message.map_err(Refusal::Invalid),
            None => {
                if self.panics.admits(StatusCode::SERVICE_UNAVAILABLE.as_u16()) {
                    tracing::error!(backend = %self.endpoint.name, "the form panicked; answered with 503");
                }
                Err(Refusal::Failed)
            }
        }
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
        for (number, check) in (1..).zip(&self.checks) {
            if !check.passes(cleaned.identity.as_str(), &cleaned.text, &cleaned.fields) {
                errors.push_check(number, check.error.as_str());
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn inbound(&self, cleaned: Cleaned) -> Inbound {
        let Cleaned { identity, text, fields, external_id, received_at } = cleaned;
        let inbound = |external_id| MessageId::inbound(&self.endpoint.name, external_id, &identity, &text);
        let id = external_id.as_deref().map(inbound);
        let at = received_at.unwrap_or_else(Timestamp::now);
        Inbound {
            id: id.unwrap_or_default(),
            backend: self.endpoint.name.clone(),
            identity,
            text,
            fields,
            external_id,
            received_at: to_the_millisecond(at),
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("name", &self.endpoint.name).finish_non_exhaustive()
    }
}
