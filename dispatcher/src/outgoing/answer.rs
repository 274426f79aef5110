//! Reading an answer, no further than is good.

use postern_config::backend::send::AnswerBody;
use postern_shared::read::without_byte_order_mark;
use reqwest::{Response, header::HeaderMap};

/// How much of an answer's body is read, in bytes; the rest is not.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct ProviderAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What came of the body, without a byte order mark, and with U+FFFD for what is not UTF-8.
    pub(crate) body: AnswerBody,
    /// Whether the connection held until all of the body that is wanted was there.
    pub(crate) complete: bool,
}

impl ProviderAnswer {
    /// Reads `response`, at most `most` bytes of its body, within the time-out of its request.
    pub(crate) async fn read(mut response: Response, most: usize) -> Self {
        let mut body = Vec::new();
        let complete = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = most - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if chunk.len() >= room {
                        break true;
                    }
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        body.drain(..body.len() - without_byte_order_mark(&body).len());
        let body = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            .into();
        let status = response.status().as_u16();
        Self { status, headers: std::mem::take(response.headers_mut()), body, complete }
    }
}
