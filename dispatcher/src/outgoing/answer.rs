//! Reads an answer, up to a limit.

use postern_config::backend::send::AnswerBody;
use postern_shared::read::without_byte_order_mark;
use reqwest::{Response, header::HeaderMap};

/// How many bytes of an answer's body are read, apart from what it says about each recipient.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct ProviderAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What arrived of the body, without a byte order mark, and with U+FFFD for invalid UTF-8.
    pub(crate) body: AnswerBody,
    /// Whether everything arrived that is wanted of the body.
    pub(crate) complete: bool,
}

impl ProviderAnswer {
    /// Reads `response`, at most `most` bytes of its body, within the timeout of its request.
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
