//! One request to the webhook, signed, and what its answer means.

use super::sign::signature;
use crate::{
    http_delivery::DeliveryContext,
    outcome::Outcome,
    outgoing::{
        answer::{MAX_BODY, ProviderAnswer},
        authorization::authorization,
        classify::Classifier,
        client::{ClientTls, client},
        redact::{Redactor, credentials, of_header, of_url},
        trace::trace_headers,
    },
};
use bytes::Bytes;
use jiff::Timestamp;
use postern_config::{KeyProblem, Webhook, WebhookUrl, backend::send_auth::Auth};
use postern_service::traces::{Scope, TraceSpan};
use postern_shared::{
    error::Failure,
    message::MessageId,
    value::{NOT_A_HEADER_VALUE, SigningKeys},
};
use reqwest::{
    Client, Method, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::time::Duration;

/// The id of the delivery, the same in every attempt (Standard Webhooks).
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// When this attempt was made, in seconds since 1970 (Standard Webhooks).
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One signature for each secret (Standard Webhooks).
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// The type of the message in the body.
const TYPE: HeaderName = HeaderName::from_static("x-postern-type");

/// A message as the webhook gets it.
pub(super) struct WebhookRequest {
    pub(super) context: DeliveryContext,
    /// The id by which the receiver recognizes repetitions: the message's id. A report has none; its id is
    /// made from its body.
    pub(super) id: MessageId,
    /// The message's type.
    pub(super) kind: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// Calls the webhook.
#[derive(Debug)]
pub(crate) struct WebhookCaller {
    address: WebhookUrl,
    /// The headers that every request has.
    headers: HeaderMap,
    keys: SigningKeys,
    timeout: Duration,
    client: Client,
    classifier: Classifier,
}

impl WebhookCaller {
    /// A caller for `webhook`.
    ///
    /// # Errors
    /// The key below `application` that is wrong, and why.
    pub(crate) fn new(webhook: &Webhook) -> Result<Self, KeyProblem> {
        let address = webhook.address().map_err(|why| ("url".to_owned(), why))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &webhook.headers {
            let wrong = |why: &str| (format!("headers.{}", name.0), why.to_owned());
            let value = HeaderValue::from_bytes(value.expose().as_bytes());
            let mut value = value.map_err(|_| wrong(NOT_A_HEADER_VALUE))?;
            value.set_sensitive(true);
            let parsed = HeaderName::from_bytes(name.0.as_bytes());
            headers.insert(parsed.map_err(|_| wrong("is not a header name"))?, value);
        }
        if let Some(auth) = &webhook.auth {
            headers.insert(AUTHORIZATION, authorization(auth)?);
        }
        let fixed = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let mut hidden = credentials(webhook.auth.iter().flat_map(Auth::secrets), fixed);
        hidden.extend(webhook.headers.values().flat_map(|value| of_header(value.expose())));
        let url = webhook.url.expose();
        hidden.extend(of_url(url));
        let tls = url.starts_with("https").then(ClientTls::default);
        Ok(Self {
            address,
            headers,
            keys: webhook.secrets.clone(),
            timeout: webhook.timeout.0,
            client: client(webhook.timeout.0, tls.as_ref()).map_err(|why| ("url".to_owned(), why))?,
            classifier: Classifier::by_status(Redactor::hiding(&hidden)),
        })
    }

    /// POSTs `message` and reads the answer, in a span below `scope`.
    pub(super) async fn call(&self, message: &WebhookRequest, scope: &Scope) -> Outcome {
        let mut span = scope.client(Method::POST.as_str());
        let outcome = self.post(message, &mut span).await;
        span.note_answer(outcome.as_ref().map(|sent| sent.http_status));
        outcome
    }

    async fn post(&self, message: &WebhookRequest, span: &mut TraceSpan) -> Outcome {
        let mut request = self.request(message, Timestamp::now())?;
        span.note_server(request.url());
        // If there are no spans, the trace that came with the message.
        let trace = if span.is_none() { message.context.trace.as_ref() } else { span.propagated() };
        if let Some(trace) = trace {
            trace_headers(trace, request.headers_mut());
        }
        match self.client.execute(request).await {
            Ok(response) => {
                self.classifier.classify(&ProviderAnswer::read(response, MAX_BODY).await, Timestamp::now())
            }
            Err(error) => Err(self.classifier.no_answer(&error)),
        }
    }

    /// The signed request for `message`, as made at `now`.
    ///
    /// # Errors
    /// The template of the URL gives none for this backend.
    fn request(&self, message: &WebhookRequest, now: Timestamp) -> Result<Request, Failure> {
        let url = self.address.of(&message.context.backend);
        let url = url.map_err(|why| Failure::config("url", format!("application.url: {why}")))?;
        let (id, seconds) = (message.id.to_string(), now.as_second());
        let mut request = Request::new(Method::POST, url);
        *request.timeout_mut() = Some(self.timeout);
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(message.content_type));
        headers.insert(TYPE, HeaderValue::from_static(message.kind));
        headers.insert(WEBHOOK_TIMESTAMP, seconds.into());
        let signatures = signature(&self.keys.0, &id, seconds, &message.body);
        for (name, value) in [(WEBHOOK_ID, &id), (WEBHOOK_SIGNATURE, &signatures)] {
            let value = Some(value).filter(|value| !value.is_empty());
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        *request.body_mut() = Some(message.body.clone().into());
        Ok(request)
    }
}
