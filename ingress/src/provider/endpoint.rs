//! What every request of a provider passes through, whether it brings messages or delivery reports: the
//! checks of its method, its address and its proof, its body, its parameters, and the answer once it is
//! stored.

use super::refusal::Refusal;
use crate::{
    answer::Charge,
    auth::{Presented, RequestAuth, RequestFingerprint},
    body::{self, Body},
    forms::{KeyProblem, RawRequest, Request, is_json},
    limits::RequestLimits,
    refusal_reason::RefusalReason,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use encoding_rs::Encoding;
use jiff::Timestamp;
use postern_config::backend::{
    BackendConfig,
    batch::Batch,
    http::{BodyFormat, Method as Allowed},
    nested::Nested,
    receive::Reply,
};
use postern_shared::{
    message::{BackendName, MessageId},
    read::{looks_like_json, looks_like_xml},
    trace_context::TraceContext,
    value::Networks,
};
use std::time::Duration;

/// One of a backend's two endpoints, for messages or for delivery reports: what every request has to pass,
/// and the answer once it is stored.
pub(crate) struct ProviderEndpoint {
    /// The backend.
    pub(crate) name: BackendName,
    methods: Vec<Method>,
    allow: HeaderValue,
    /// `receive.charset`.
    charset: Option<&'static Encoding>,
    auth: RequestAuth,
    /// `receive.allow`; empty: all addresses.
    allow_addresses: Networks,
    reply: ReadyReply,
    bodies: Bodies,
    /// The format of a body, regardless of its `Content-Type`. `None`: what that says.
    format: Option<BodyFormat>,
    nested: Nested,
}

/// A request's body, once the request has proved as much as it can before the body is read.
pub(super) struct ReadBody {
    /// None for a GET.
    pub(super) body: Body,
    /// How a repetition is recognized. `None` if the request has no signed time.
    pub(super) signed: Option<SignedOnce>,
}

/// How an exact repetition of a request with a signed time is recognized.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedOnce {
    /// The id that a repetition has, too.
    pub(super) id: MessageId,
    /// How much longer a repetition would be accepted.
    pub(super) accepted_for: Duration,
}

/// What the configuration says about an endpoint.
pub(super) struct Route<'c> {
    /// The endpoint's table below the backend.
    pub(super) table: &'static str,
    pub(super) methods: &'c [Allowed],
    pub(super) reply: &'c Reply,
    pub(super) bodies: Bodies,
    pub(super) format: Option<BodyFormat>,
    pub(super) nested: &'c Nested,
}

/// Which bodies an endpoint expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bodies {
    /// Bodies of any format.
    Any,
    /// JSON: the name of a parameter is a JSON pointer.
    Json,
    /// JSON, with several messages or reports in one body.
    Batches,
}

impl Bodies {
    /// The bodies that `batch` expects.
    pub(super) fn of(batch: &Batch<'_>) -> Self {
        match (batch.has_items(), batch.has_pointers()) {
            (true, _) => Self::Batches,
            (false, true) => Self::Json,
            (false, false) => Self::Any,
        }
    }
}

impl ProviderEndpoint {
    /// Prepares the endpoint of `backend` that `route` describes.
    ///
    /// # Errors
    /// The key below `backends.NAME` that is wrong.
    pub(super) fn new(
        backend: &BackendConfig,
        route: &Route<'_>,
        public_url: Option<&str>,
    ) -> Result<Self, KeyProblem> {
        let names: Vec<_> = route.methods.iter().map(|method| method.as_str()).collect();
        Ok(Self {
            name: backend.name.clone(),
            // Method names in the configuration are a closed set, and each is a valid header value.
            allow: HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("")),
            methods: names.iter().filter_map(|name| name.parse().ok()).collect(),
            charset: backend.definition.receive.charset.map(|charset| charset.0),
            auth: RequestAuth::new(backend, public_url),
            allow_addresses: backend.definition.receive.allow.clone(),
            reply: ReadyReply::new(route.reply, route.table)?,
            bodies: route.bodies,
            format: route.format,
            nested: route.nested.clone(),
        })
    }

    /// The reasons for which the endpoint may refuse a request.
    pub(super) fn refusals(&self) -> impl Iterator<Item = RefusalReason> {
        let address = (!self.allow_addresses.is_empty()).then_some(RefusalReason::Address);
        self.auth.refusals().iter().copied().chain(address)
    }

    /// Whether the path of `request` is this endpoint's: only a provider whose token is in the path has one
    /// more segment.
    pub(crate) fn has_path(&self, request: &HttpRequest) -> bool {
        request.match_info().get("token").is_none() || self.auth.in_path()
    }

    /// The trace that an accepted `request` belongs to, and the trace that it is only linked to. `sent_in` is
    /// the trace in which its message was sent, if the request's URL names one. A request that had to prove
    /// whose it is belongs to `sent_in`, else to the trace in its headers; any other is only linked to
    /// `sent_in`.
    pub(crate) fn traces(
        &self,
        request: &HttpRequest,
        sent_in: Option<TraceContext>,
    ) -> (Option<TraceContext>, Option<TraceContext>) {
        if self.must_prove() {
            (sent_in.or_else(|| trace_context::in_headers(request.headers())), None)
        } else {
            (None, sent_in)
        }
    }

    /// The answer to a request that is stored.
    pub(crate) fn reply(&self) -> HttpResponse {
        self.reply.response()
    }

    /// Checks the method, the address and every proof that does not need the parameters, and reads the body.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) async fn body(
        &self,
        request: &HttpRequest,
        payload: &mut Payload,
        limits: &RequestLimits,
    ) -> Result<ReadBody, Refusal> {
        if !self.methods.contains(request.method()) {
            return Err(Refusal::Method(self.allow.clone()));
        }
        if !self.must_prove()
            && let Some(account) = limits.account(request)
        {
            account.take().map_err(Refusal::Rate)?;
        }
        self.address(request, limits).map_err(Refusal::NotProved)?;
        self.auth.check_head(request).map_err(Refusal::NotProved)?;
        let body = if request.method() == Method::GET {
            Body::default()
        } else {
            let body = body::read(request, payload, &limits.body).await;
            body.map_err(|error| Refusal::Body(error, self.unproved()))?
        };
        if self.auth.is_by_body() {
            limits.may_prove(request).map_err(Refusal::Rate)?;
        }
        let now =
            Duration::try_from(Timestamp::now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let presented = Presented { headers: request.headers(), target, body: &body.bytes, now };
        let proved = self.auth.check_signature(&presented).map_err(Refusal::NotProved)?;
        let signed = proved.map(|RequestFingerprint { digest, accepted_for }| SignedOnce {
            id: MessageId::of_request(&self.name, &digest),
            accepted_for,
        });
        Ok(ReadBody { body, signed })
    }

    /// Checks that a GET that is a challenge may be answered: it proves nothing, but must come from an
    /// allowed address.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn admit(&self, request: &HttpRequest, limits: &RequestLimits) -> Result<(), Refusal> {
        self.address(request, limits).map_err(Refusal::NotProved)
    }

    /// Whether a request must prove whose it is, by `receive.auth` or its address.
    fn must_prove(&self) -> bool {
        self.auth.is_required() || !self.allow_addresses.is_empty()
    }

    /// Whether a request that has not proved anything counts against its address's rate. One that has nothing
    /// to prove was counted at the start.
    fn unproved(&self) -> Charge {
        if self.must_prove() { Charge::Address } else { Charge::Nothing }
    }

    fn address(&self, request: &HttpRequest, limits: &RequestLimits) -> Result<(), RefusalReason> {
        if self.allow_addresses.is_empty() {
            return Ok(());
        }
        let allowed = limits.client(request).is_some_and(|client| self.allow_addresses.contains(client));
        if allowed { Ok(()) } else { Err(RefusalReason::Address) }
    }

    /// Parses the parameters and checks the proof in them. From here on, the request is the provider's own
    /// and does not count against its address's rate.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn parse<'a>(
        &self,
        request: &'a HttpRequest,
        body: &'a Bytes,
        limits: &RequestLimits,
    ) -> Result<Request<'a>, Refusal> {
        let limits = match self.bodies {
            Bodies::Any | Bodies::Json => &limits.parameters,
            Bodies::Batches => &limits.batch_parameters,
        };
        let format = self.format.or_else(|| self.undeclared_format(request, body));
        let parsed = Request::parse(RawRequest::of(request, body), format, self.charset, limits);
        self.auth.check_parameters(request, body, parsed.as_ref().ok()).map_err(Refusal::NotProved)?;
        let mut parsed = parsed.map_err(Refusal::Unreadable)?;
        parsed.open(&self.nested, limits).map_err(Refusal::Invalid)?;
        Ok(parsed)
    }

    /// The format of a body that is declared as text or not at all, as some providers do with JSON and XML,
    /// although the configuration reads it with JSON pointers. A body that begins like JSON is JSON even
    /// under another `Content-Type`, such as curl's `application/x-www-form-urlencoded`.
    fn undeclared_format(&self, request: &HttpRequest, body: &[u8]) -> Option<BodyFormat> {
        if self.bodies == Bodies::Any || body.is_empty() {
            return None;
        }
        let declared = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let undeclared = essence.is_empty() || essence.eq_ignore_ascii_case("text/plain");
        match looks_like_xml(body) {
            true => undeclared.then_some(BodyFormat::Xml),
            // A body that is declared as JSON may declare its charset, too, so it is read by its declaration.
            false => (undeclared || (!is_json(&essence.to_ascii_lowercase()) && looks_like_json(body)))
                .then_some(BodyFormat::Json),
        }
    }

    /// Parses the parameters of `query` alone, for any method.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`]
    pub(super) fn parse_query<'a>(
        &self,
        request: &'a HttpRequest,
        query: &'a str,
        nothing: &'a Bytes,
        limits: &RequestLimits,
    ) -> Result<Request<'a>, Refusal> {
        let raw = RawRequest { method: &Method::GET, headers: request.headers(), query, body: nothing };
        let parsed = Request::parse(raw, None, self.charset, &limits.parameters);
        parsed.map_err(Refusal::Unreadable)
    }
}

/// The `reply` of an endpoint, prepared from the configuration.
struct ReadyReply(StatusCode, HeaderValue, Bytes);

impl ReadyReply {
    /// Prepares `reply`. `table` is its place below the backend, for errors.
    fn new(reply: &Reply, table: &str) -> Result<Self, KeyProblem> {
        let wrong = |key: &str, why: &str| (format!("{table}.reply.{key}"), why.to_owned());
        let status = StatusCode::from_u16(reply.status).map_err(|_| wrong("status", "must be 200 to 299"))?;
        if matches!(reply.status, 204 | 205) && !reply.body.is_empty() {
            return Err(wrong("body", "an answer with status 204 or 205 has no body: set body = \"\""));
        }
        let content_type = HeaderValue::from_str(&reply.content_type);
        let content_type = content_type.map_err(|_| wrong("content_type", "must be a media type"))?;
        Ok(Self(status, content_type, Bytes::from(reply.body.clone())))
    }

    fn response(&self) -> HttpResponse {
        let Self(status, content_type, body) = self;
        HttpResponse::build(*status).insert_header((header::CONTENT_TYPE, content_type)).body(body.clone())
    }
}
