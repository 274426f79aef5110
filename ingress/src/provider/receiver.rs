//! Turning a provider's request into a message.

use super::{
    choice::Choice,
    endpoint::{Bodies, ProviderEndpoint, Route},
    refusal::Refusal,
};
use crate::{
    forms::{Cleaned, Errors, Form, Forms, KeyProblem, Request, decode_text, text_names},
    metrics::IngressMetrics,
    refusal_reason::RefusalReason,
};
use actix_web::http::StatusCode;
use jiff::Timestamp;
use postern_config::backend::{
    BackendConfig, check::Check, codec::Codec, dedupe::Dedupe, receive::Receive, region::NumberRegion,
};
use postern_service::telemetry::LineLimit;
use postern_shared::{
    clock::to_the_millisecond,
    message::{Inbound, MessageId},
    value::Settings,
};
use serde_json::Value;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A backend's receiving side, prepared from the configuration.
pub(crate) struct Receiver {
    pub(crate) endpoint: ProviderEndpoint,
    /// Which part of a request is messages.
    pub(super) choice: Choice,
    region: Option<NumberRegion>,
    form: Arc<dyn Form>,
    checks: Vec<Check>,
    /// The decoder of the text, and the text's names in requests.
    codec: Option<(Codec, Vec<String>)>,
    /// Limits the log lines about a form that panics: anyone who knows how can make it panic again.
    panics: LineLimit,
    dedupe: Dedupe,
}

impl Receiver {
    /// Prepares the receiving side of `backend`.
    ///
    /// # Errors
    /// Every key below `backends.NAME` that is wrong.
    pub(crate) fn new(
        backend: &BackendConfig,
        public_url: Option<&str>,
        forms: &Forms,
    ) -> Result<Self, Vec<KeyProblem>> {
        let receive = &backend.definition.receive;
        let Receive { methods, reply, format, nested, .. } = receive;
        // Reports that come to the same endpoint are distinguished only after the body has been read.
        let reports = backend.definition.status.as_ref().filter(|status| status.when.is_some());
        let bodies = reports.map_or(Bodies::Any, |status| Bodies::of(&status.batch()));
        let bodies = bodies.max(Bodies::of(&receive.batch()));
        let route = Route { table: "receive", methods, reply, bodies, format: *format, nested };
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
            choice: Choice::of_messages(receive),
            region: backend.definition.region,
            form,
            checks: receive.checks.clone(),
            codec: receive.codec.map(|codec| (codec, text_names(receive))),
            panics: LineLimit::new("forms that panicked", tracing::Level::WARN),
            dedupe: receive.dedupe.clone(),
        })
    }

    /// Makes the refusals of messages appear in the metrics from the start.
    pub(super) fn declare(&self, metrics: &IngressMetrics) {
        let items = self.choice.refuses_items().then_some(RefusalReason::Items);
        let reasons: Vec<_> = self.endpoint.refusals().chain(items).collect();
        metrics.declare_refused(Some(&self.endpoint.name), &reasons);
    }

    /// Decodes the text of a form whose bytes depend on other parameters, in place.
    pub(super) fn decode_text(&self, settings: &Settings, request: &mut Request<'_>) {
        if let Some((codec, text)) = &self.codec {
            decode_text(*codec, settings, text, request);
        }
    }

    /// Makes a message of `request`. `place` is set if `request` is an item of a batch.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn message(&self, place: Option<&str>, request: &Request<'_>) -> Result<Inbound, Refusal> {
        self.choice.check(request, place)?;
        // A form that panics is our mistake, not the request's.
        let cleaned = catch_unwind(AssertUnwindSafe(|| {
            let mut cleaned = self.form.clean(request)?;
            if let Some(region) = self.region {
                cleaned.identity = region.identity(&cleaned.identity);
            }
            self.check(&cleaned).map(|()| cleaned)
        }));
        match cleaned {
            Ok(cleaned) => cleaned.map(|cleaned| self.inbound(cleaned)).map_err(Refusal::Invalid),
            Err(_) => {
                if self.panics.admits(StatusCode::SERVICE_UNAVAILABLE.as_u16()) {
                    tracing::error!(backend = %self.endpoint.name, "the form panicked; answered with 503");
                }
                Err(Refusal::Failed)
            }
        }
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

    /// The id that a repetition of the message has, too, by `receive.dedupe`. `None` if a repetition cannot
    /// be recognized.
    fn id(&self, cleaned: &Cleaned) -> Option<MessageId> {
        let Cleaned { identity, text, fields, external_id, received_at } = cleaned;
        let backend = &self.endpoint.name;
        let names = match &self.dedupe {
            Dedupe::Never => return None,
            Dedupe::ExternalId => {
                return external_id.as_deref().map(|id| MessageId::inbound(backend, id, identity, text));
            }
            Dedupe::Fields(names) => names,
        };
        let value = |name: &String| match name.as_str() {
            "identity" => Some(identity.as_str().to_owned()),
            "text" => Some(text.clone()),
            "external_id" => external_id.clone(),
            "received_at" => received_at.map(|at| at.to_string()),
            name => fields.get(name).map(Value::to_string),
        };
        let values: Option<Vec<String>> = names.iter().map(value).collect();
        values.map(|values| MessageId::inbound_of(backend, &values))
    }

    fn inbound(&self, cleaned: Cleaned) -> Inbound {
        let id = self.id(&cleaned);
        let Cleaned { identity, text, fields, external_id, received_at } = cleaned;
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
