//! `GET /v1/messages` and `GET /v1/messages/{id}`: what became of messages, and what people wrote.

use super::{
    authenticate::authenticated,
    query::{self, ListRequest, PARAMETERS},
};
use crate::{answer::Answer, log_reader::NotRead, problem::ProblemDocument, state::IngressState};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, HeaderValue},
    },
};
use jiff::Timestamp;
use postern_config::{Right, TO_SWITCH_THE_LOG_ON};
use postern_service::{
    listener::ClientClosed,
    message_log::{LoggedMessage, MessageQuery, Page},
};
use postern_shared::message::MessageId;
use serde::Serialize;
use std::time::Instant;

/// One page of the list.
#[derive(Serialize)]
struct ShownPage {
    messages: Vec<LoggedMessage>,
    /// The `cursor` of the next page. `None`: this is the last one.
    next: Option<String>,
}

impl From<Page> for ShownPage {
    fn from(page: Page) -> Self {
        Self { messages: page.messages, next: page.next.map(|next| next.to_string()) }
    }
}

/// Answers with one message, its recipients and its events.
pub(crate) async fn message(request: &HttpRequest, _: &mut Payload, state: &IngressState) -> Answer {
    let answer = authenticated(request, state, Right::Read, async |principal| {
        let id = request.match_info().get("id").and_then(|id| id.parse::<MessageId>().ok());
        let found = match id {
            Some(id) => state.log.message(id).await.map_err(not_read)?,
            None => None,
        };
        // A client that may not use the backend does not learn that the message exists.
        match found.filter(|message| principal.may_use(&message.backend)) {
            Some(message) => Ok(HttpResponse::Ok().json(message).into()),
            None => {
                let detail = "no message has this id, or the message log no longer contains it";
                Err(ProblemDocument::new(StatusCode::NOT_FOUND, detail))
            }
        }
    });
    not_stored(answer.await)
}

/// Lists messages. If there are none yet, it waits for them if the client asks for that.
pub(crate) async fn list(request: &HttpRequest, _: &mut Payload, state: &IngressState) -> Answer {
    let mut waited = None;
    let answer = authenticated(request, state, Right::Read, async |principal| {
        let wanted = query::read(request.query_string(), Timestamp::now());
        let ListRequest { query, wait } =
            wanted.map_err(|wrong| ProblemDocument::invalid(wrong).naming(&PARAMETERS))?;
        let query = MessageQuery { allowed: principal.allowed(), ..query };
        let page = if wait.is_zero() {
            state.log.messages(&query).await
        } else {
            let start = Instant::now();
            let page = state.log.wait(query, wait, client_gone(request)).await;
            waited = Some(start.elapsed());
            page
        };
        Ok(HttpResponse::Ok().json(ShownPage::from(page.map_err(not_read)?)).into())
    });
    let mut answer = not_stored(answer.await);
    answer.log.waited = waited.unwrap_or_default();
    answer
}

/// Resolves when the client of `request` has closed its side of the connection and no longer waits.
async fn client_gone(request: &HttpRequest) {
    match request.conn_data::<ClientClosed>() {
        Some(client) => client.closed().await,
        None => std::future::pending().await,
    }
}

/// Forbids caches to store the answer, which contains numbers and texts.
fn not_stored(mut answer: Answer) -> Answer {
    answer.response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn not_read(why: NotRead) -> ProblemDocument {
    let unavailable = |detail: &str| ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match why {
        NotRead::Off => {
            let why = "the message log is off, so nothing is recorded about messages";
            unavailable(&format!("{why}: {TO_SWITCH_THE_LOG_ON}")).lasting()
        }
        NotRead::Unavailable => unavailable("the message log cannot be read now; try again later"),
        NotRead::TooManyWait => {
            unavailable("too many requests are already waiting; try again later, or leave out `wait`")
        }
    }
}
