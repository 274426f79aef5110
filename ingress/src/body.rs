//! Reading a request's body: all of it, within its limits, before anything looks at it.
//!
//! The large bodies of all requests in progress share a limited amount of memory. A large body for which too
//! little is left is answered 503; small bodies, which are nearly all, do not count.

use crate::refusal_reason::RefusalReason;
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
use encoding_rs::Encoding;
use futures_util::{Stream, StreamExt};
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// Bytes of a body that are accepted regardless of how many requests are in progress.
const SMALL: usize = 16 * 1024;

/// Bytes that the bodies of all requests in progress may take together, beyond [`SMALL`] of each; or the
/// limit of one body, if that is larger.
const ROOM: usize = 16 * 1024 * 1024;

/// The limits on a body's size and time.
#[derive(Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes of a body.
    max: usize,
    /// The most time from the request's head to the body's last byte.
    timeout: Duration,
    /// The bytes of the bodies of all requests in progress, beyond [`SMALL`] of each.
    large: Arc<AtomicUsize>,
}

impl BodyLimits {
    /// Limits each body to `max` bytes and to the time `timeout`.
    pub(crate) fn new(max: usize, timeout: Duration) -> Self {
        Self { max, timeout, large: Arc::default() }
    }
}

/// The body of a request. The default is no body.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// To be kept until the request is answered: until then, the request holds what was made of the body.
    pub(crate) reservation: Reservation,
}

/// What a body takes of [`ROOM`], until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    /// The bytes of all bodies. `None` until this body is a large one.
    large: Option<Arc<AtomicUsize>>,
    taken: usize,
}

impl Reservation {
    /// Takes what a body of `length` bytes needs.
    ///
    /// # Errors
    /// [`BodyError::NoRoom`]
    fn grow(&mut self, length: usize, limits: &BodyLimits) -> Result<(), BodyError> {
        let more = length.saturating_sub(SMALL) - self.taken;
        if more == 0 {
            return Ok(());
        }
        let large = self.large.get_or_insert_with(|| Arc::clone(&limits.large));
        let before = large.fetch_add(more, Ordering::Relaxed);
        self.taken += more;
        if before + more > ROOM.max(limits.max) { Err(BodyError::NoRoom) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(large) = &self.large {
            large.fetch_sub(self.taken, Ordering::Relaxed);
        }
    }
}

/// The reason why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is compressed. Bodies are never decompressed, so that no small body can become a large one.
    Encoded,
    /// It is over its limit.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It broke off, or its framing is wrong.
    Broken,
    /// The large bodies of other requests in progress leave no room for it.
    NoRoom,
}

impl BodyError {
    /// The answer's status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason in the log and the metrics; `None` if the request may be valid.
    pub(crate) fn reason(self) -> Option<RefusalReason> {
        match self {
            Self::Broken => Some(RefusalReason::Body),
            Self::Encoded | Self::TooLarge | Self::TooSlow | Self::NoRoom => {
                RefusalReason::of_status(self.status())
            }
        }
    }

    /// The explanation for the sender.
    pub(crate) fn detail(self, limits: &BodyLimits) -> String {
        match self {
            Self::Encoded => {
                "a body with a Content-Encoding is not accepted: send it uncompressed".to_owned()
            }
            Self::TooLarge => format!("the body must have at most {} bytes", limits.max),
            Self::TooSlow => format!("the body must be complete within {:?}", limits.timeout),
            Self::Broken => "the body is incomplete".to_owned(),
            Self::NoRoom => "other requests with large bodies are in progress; try again later".to_owned(),
        }
    }
}

/// Reads the body of `request`.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: &BodyLimits,
) -> Result<Body, BodyError> {
    let headers = request.headers();
    if headers.get_all(CONTENT_ENCODING).any(|coding| is_coded(coding.as_bytes())) {
        return Err(BodyError::Encoded);
    }
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max as u64) {
        return Err(BodyError::TooLarge);
    }
    let whole = collect(payload, limits);
    tokio::time::timeout(limits.timeout, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Whether a `Content-Encoding` says that the body is coded. It does not if it says `none`, names a charset,
/// or has a value of mail's `Content-Transfer-Encoding`, as some clients write.
fn is_coded(codings: &[u8]) -> bool {
    const NOT_CODED: [&[u8]; 6] = [b"", b"identity", b"none", b"7bit", b"8bit", b"binary"];
    codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|coding| {
        let is_said = NOT_CODED.iter().any(|none| coding.eq_ignore_ascii_case(none));
        !is_said && Encoding::for_label(coding).is_none()
    })
}

/// Collects a body. One that came in a single chunk is not copied.
async fn collect(payload: &mut Payload, limits: &BodyLimits) -> Result<Body, BodyError> {
    let mut reservation = Reservation::default();
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
        if so_far + chunk.len() > limits.max {
            return Err(BodyError::TooLarge);
        }
        reservation.grow(so_far + chunk.len(), limits)?;
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
    Ok(Body { bytes: rest.map_or(first, BytesMut::freeze), reservation })
}

/// Keeps a chunked body from being dropped before its request is answered.
///
/// actix-http reads the unread rest of a dropped body to its end, however long that takes. If the body is
/// still held when the answer goes out, the connection is closed instead.
#[derive(Clone)]
pub(crate) struct HeldBody(Rc<RefCell<Payload>>);

impl HeldBody {
    /// Holds the body of `request` if it is chunked. The returned payload reads the same body.
    pub(crate) fn hold(request: &HttpRequest, payload: Payload) -> (Payload, Option<Self>) {
        if !request.chunked().unwrap_or(true) {
            return (payload, None);
        }
        let held = Self(Rc::new(RefCell::new(payload)));
        (Payload::Stream { payload: Box::pin(held.clone()) }, Some(held))
    }

    /// The same response, which drops the held body once the response has been written.
    pub(crate) fn until_answered(self, response: HttpResponse) -> HttpResponse {
        response.map_body(|_, response| BoxBody::new(HoldingBody { response, _held: self }))
    }
}

/// A response's body, and the request's body that is held until the response is written.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_their_room_and_small_ones_need_none() {
        let limits = BodyLimits::new(1 << 20, Duration::from_secs(1));
        let grow = |length| Reservation::default().grow(length, &limits);
        let mut bodies: Vec<_> = (0..16).map(|_| Reservation::default()).collect();
        for length in [SMALL, SMALL + 1, 1 << 19, 1 << 20] {
            assert!(bodies.iter_mut().all(|body| body.grow(length, &limits).is_ok()), "{length}");
        }
        assert_eq!(grow(1 << 20), Err(BodyError::NoRoom));
        assert_eq!(grow(SMALL), Ok(()));
        bodies.pop();
        assert_eq!(grow(1 << 20), Ok(()));
        drop(bodies);
        assert_eq!(limits.large.load(Ordering::Relaxed), 0);
        let huge = BodyLimits::new(2 * ROOM, Duration::from_secs(1));
        assert_eq!(Reservation::default().grow(2 * ROOM, &huge), Ok(()));
    }
}
