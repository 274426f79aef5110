//! What every request of a provider goes through, a message as well as a delivery report: its
//! method, its body, its parameters; and the answers that both have.

use super::Gateway;
use crate::{
    auth::Proof,
    body::{self, BodyError},
    forms::{Errors, KeyProblem, Request, Unreadable},
    limit,
    problem::RETRY_AFTER,
    rates::retry_after,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use encoding_rs::Encoding;
use jiff::Timestamp;
use postern_shared::{
    backend::{
        BackendConfig,
        receive::{Method as Allowed, Reply},
    },
    config::Networks,
    metrics::Refused,
};
use std::time::Duration;

/// The way in of one route, made ready.
pub(super) struct Entry {
    methods: Vec<Method>,
    allow: HeaderValue,
    charset: &'static Encoding,
    proof: Proof,
    /// `receive.allow`; none: all.
    allow_addresses: Networks,
}

impl Entry {
    pub(super) fn new(backend: &BackendConfig, methods: &[Allowed], public_url: Option<&str>) -> Self {
        let names: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        Self {
            // Names of methods in the configuration are a closed set; each of them is a header's value.
            allow: HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("")),
            methods: names.iter().filter_map(|name| name.parse().ok()).collect(),
            charset: backend.definition.receive.charset.0,
            proof: Proof::new(backend, public_url),
            allow_addresses: backend.definition.receive.allow.clone(),
        }
    }

    /// What it may refuse a request for.
    pub(super) fn refusals(&self) -> impl Iterator<Item = Refused> {
        let address = (!self.allow_addresses.is_empty()).then_some(Refused::Address);
        self.proof.refusals().iter().copied().chain(address)
    }

    /// Whether the provider's token stands in the path.
    pub(super) fn token_in_path(&self) -> bool {
        self.proof.in_path()
    }

    /// The body of a request whose method is taken and which is the provider's own, as far as can
    /// be said before its parameters are known; empty for a GET. Else the answer.
    pub(super) async fn body(
        &self,
        request: &HttpRequest,
        payload: &mut web::Payload,
        gateway: &Gateway,
    ) -> Result<Bytes, HttpResponse> {
        if !self.methods.contains(request.method()) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            refused.headers_mut().insert(header::ALLOW, self.allow.clone());
            return Err(refused);
        }
        if !self.asks() {
            limit::count(request, gateway).map_err(|wait| {
                request.extensions_mut().insert(Refused::Rate);
                too_many(wait)
            })?;
        }
        self.address(request, gateway).map_err(|why| refusal(request, why))?;
        self.proof.of_head(request).map_err(|why| refusal(request, why))?;
        let body = if request.method() == Method::GET {
            Bytes::new()
        } else {
            body::read(request, payload, &gateway.body).await.map_err(|error| unread(error, gateway))?
        };
        let now =
            Duration::try_from(Timestamp::now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
        self.proof.of_body(request.headers(), &body, now).map_err(|why| refusal(request, why))?;
        Ok(body)
    }

    fn asks(&self) -> bool {
        self.proof.asks() || !self.allow_addresses.is_empty()
    }

    fn address(&self, request: &HttpRequest, gateway: &Gateway) -> Result<(), Refused> {
        if self.allow_addresses.is_empty() {
            return Ok(());
        }
        let peer = request.peer_addr().map(|peer| peer.ip());
        let client = gateway.clients.address(peer, request.headers());
        let allowed = client.is_some_and(|client| self.allow_addresses.contains(client));
        if allowed { Ok(()) } else { Err(Refused::Address) }
    }

    /// The request with its parameters, the provider's own beyond doubt.
    pub(super) fn parse<'a>(
        &self,
        request: &'a HttpRequest,
        body: &'a Bytes,
        gateway: &Gateway,
    ) -> Result<Request<'a>, Unparsed> {
        let (method, headers, query) = (request.method(), request.headers(), request.query_string());
        let parsed = Request::parse(method, headers, query, body, self.charset, &gateway.limits);
        let proved = self.proof.of_parameters(request, body, parsed.as_ref().ok());
        proved.map_err(Unparsed::Refused)?;
        if self.asks() {
            limit::proved(request);
        }
        parsed.map_err(Unparsed::Unreadable)
    }

    /// The parameters of the query alone, whatever the method.
    pub(super) fn parse_query<'a>(
        &self,
        request: &'a HttpRequest,
        nothing: &'a Bytes,
        gateway: &Gateway,
    ) -> Result<Request<'a>, Unreadable> {
        let (headers, query) = (request.headers(), request.query_string());
        Request::parse(&Method::GET, headers, query, nothing, self.charset, &gateway.limits)
    }
}

/// Why a request has no parameters.
pub(super) enum Unparsed {
    /// It is not the provider's own.
    Refused(Refused),
    /// It cannot be read.
    Unreadable(Unreadable),
}

impl Unparsed {
    /// The answer.
    pub(super) fn response(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Refused(why) => refusal(request, why),
            Self::Unreadable(why) => unreadable(why),
        }
    }
}

/// The answer to what was taken over, made ready.
pub(super) struct Replied(StatusCode, HeaderValue, Bytes);

impl Replied {
    /// `table` is where the reply stands below the backend, for the error.
    pub(super) fn new(reply: &Reply, table: &str) -> Result<Self, KeyProblem> {
        let wrong = |key: &str, why: &str| (format!("{table}.reply.{key}"), why.to_owned());
        let status = StatusCode::from_u16(reply.status).map_err(|_| wrong("status", "must be 200 to 299"))?;
        if matches!(reply.status, 204 | 205) && !reply.body.is_empty() {
            return Err(wrong("body", "an answer 204 or 205 has none: set body = \"\""));
        }
        let content_type = HeaderValue::from_str(&reply.content_type);
        let content_type = content_type.map_err(|_| wrong("content_type", "must be a media type"))?;
        Ok(Self(status, content_type, Bytes::from(reply.body.clone())))
    }

    pub(super) fn response(&self) -> HttpResponse {
        let Self(status, content_type, body) = self;
        HttpResponse::build(*status).insert_header((header::CONTENT_TYPE, content_type)).body(body.clone())
    }
}

/// The answer to a request that is not the provider's own: the same whatever it showed.
fn refusal(request: &HttpRequest, why: Refused) -> HttpResponse {
    request.extensions_mut().insert(why);
    match why {
        Refused::Password => {
            let mut refused = text(StatusCode::UNAUTHORIZED, "a known user name and password are needed");
            let challenge = HeaderValue::from_static("Basic realm=\"postern\", charset=\"UTF-8\"");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            refused
        }
        Refused::Address => text(StatusCode::FORBIDDEN, "this address is not let in here"),
        Refused::Token => text(StatusCode::FORBIDDEN, "the token is missing or wrong"),
        _ => text(StatusCode::FORBIDDEN, "the signature is missing or wrong"),
    }
}

/// The answer to an address that asks too much.
pub(crate) fn too_many(wait: Duration) -> HttpResponse {
    let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "too many requests; try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after(wait).into());
    answer
}

/// The answer to a request whose parameters cannot be read.
pub(super) fn unreadable(unreadable: Unreadable) -> HttpResponse {
    match unreadable {
        Unreadable::MediaType(why) => text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why),
        Unreadable::Malformed(errors) => invalid(&errors),
    }
}

fn unread(error: BodyError, gateway: &Gateway) -> HttpResponse {
    let detail = error.detail(&gateway.body);
    let mut refused = match error.status() {
        StatusCode::BAD_REQUEST => invalid(&Errors::whole(detail)),
        status => text(status, &detail),
    };
    if error == BodyError::TooSlow {
        refused.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
    refused
}

/// The answer to a request that says something wrong.
pub(super) fn invalid(errors: &Errors) -> HttpResponse {
    text(StatusCode::BAD_REQUEST, &errors.to_string())
}

/// The answer to a request that may be right and was not stored.
pub(super) fn unavailable() -> HttpResponse {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "not stored; try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    answer
}

/// A line or more for a person; never taken for a page by a browser.
pub(super) fn text(status: StatusCode, body: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(format!("{body}\n"))
}
