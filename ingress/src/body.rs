//! Reading a request's body: all of it, within its limits, before anything looks at it.

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    error::PayloadError,
    http::{
        StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// How large a body may be and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Bytes.
    pub(crate) max: usize,
    /// From the request's head to the body's last byte.
    pub(crate) timeout: Duration,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is compressed: never decoded, so that no small body can be a large one.
    Encoded,
    /// It is over its limit.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It broke off, or its framing is wrong.
    Broken,
}

impl BodyError {
    /// The answer's status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    /// What the sender should know.
    pub(crate) fn detail(self, limits: &BodyLimits) -> String {
        match self {
            Self::Encoded => "a body with a Content-Encoding is not taken: send it as it is".to_owned(),
            Self::TooLarge => format!("at most {} bytes of body are taken", limits.max),
            Self::TooSlow => format!("the body must be complete within {:?}", limits.timeout),
            Self::Broken => "the body is incomplete".to_owned(),
        }
    }
}

/// Reads the body of `request`.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: &BodyLimits,
) -> Result<Bytes, BodyError> {
    let headers = request.headers();
    if headers.get_all(CONTENT_ENCODING).any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(BodyError::Encoded);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max as u64) {
        return Err(BodyError::TooLarge);
    }
    let whole = collect(payload, limits.max);
    tokio::time::timeout(limits.timeout, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

/// A body that came in one piece is not copied.
async fn collect(payload: &mut Payload, max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
        if so_far + chunk.len() > max {
            return Err(BodyError::TooLarge);
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&chunk),
            None if first.is_empty() => first = chunk,
            None => {
                let mut both = BytesMut::with_capacity(2 * (first.len() + chunk.len()));
                both.extend_from_slice(&first);
                both.extend_from_slice(&chunk);
                rest = Some(both);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

/// Keeps a chunked body from being dropped before its request is answered.
///
/// actix-http reads the unread rest of such a body to its end, however long that takes. If the body
/// is still there when the answer goes out, the connection is closed instead.
#[derive(Clone)]
pub(crate) struct HeldBody(Rc<RefCell<Payload>>);

impl HeldBody {
    /// Holds the body of `request` if it is chunked. The payload that is given back reads the same
    /// body.
    pub(crate) fn hold(request: &HttpRequest, payload: Payload) -> (Payload, Option<Self>) {
        if !request.chunked().unwrap_or(true) {
            return (payload, None);
        }
        let held = Self(Rc::new(RefCell::new(payload)));
        (Payload::Stream { payload: Box::pin(held.clone()) }, Some(held))
    }

    /// The same response, which lets go of the body when it has been written.
    pub(crate) fn until_answered(self, response: HttpResponse) -> HttpResponse {
        response.map_body(|_, response| BoxBody::new(HoldingBody { response, _held: self }))
    }
}

/// A response's body, and the request's body that is held for as long.
struct HoldingBody {
    response: BoxBody,
    _held: HeldBody,
}

impl MessageBody for HoldingBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.response.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.response).poll_next(context)
    }
}

impl Stream for HeldBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}
