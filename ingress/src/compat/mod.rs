//! `[doors]`: ways in for clients that speak another gateway's protocol. `kannel` and `vumi` are the
//! views, `sendsms` and `vumi_message` read what each is told, `users` lets in who may, `served`
//! knows whether a message will wait.

pub(crate) mod kannel;
mod sendsms;
mod served;
mod users;
pub(crate) mod vumi;
mod vumi_message;

use super::{Gateway, submission::Submission};
use crate::{problem::RETRY_AFTER, trace_context::TraceContext};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use jiff::Timestamp;
use postern_shared::{
    backend::BackendConfig,
    broker::{Address, Envelope},
    callback::{Keys, Reach},
    config::DoorsSection,
    message::MessageId,
};
use served::Served;
use users::Users;

/// The doors, made ready.
#[derive(Debug)]
pub(crate) struct Doors {
    kannel: Users,
    vumi: Users,
    /// What callbacks are sealed with.
    pub(super) keys: Keys,
    reach: Reach,
    served: Served,
}

impl Doors {
    pub(super) fn new(doors: &DoorsSection) -> Self {
        Self {
            kannel: Users::new(doors.kannel.iter().flat_map(|door| &door.users)),
            vumi: Users::new(doors.vumi.iter().flat_map(|door| &door.users)),
            keys: Keys::new(doors),
            reach: Reach::new(&doors.callbacks.allow),
            served: Served::default(),
        }
    }
}

/// The beginning of an answer, with the headers that its status needs; `allow` are the door's methods.
fn answer(status: StatusCode, allow: &'static str) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            answer.insert_header((header::ALLOW, allow));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            answer.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        }
        StatusCode::REQUEST_TIMEOUT => {
            answer.force_close();
        }
        _ => {}
    }
    answer
}

/// Queues a client's message, and what is `also` to be told of it; `false` where it is not stored.
async fn queue(
    gateway: &Gateway,
    id: MessageId,
    backend: &BackendConfig,
    submission: Submission,
    also: Vec<(Address, Envelope)>,
    trace: &TraceContext,
) -> bool {
    let mut messages: Vec<(Address, Envelope)> = submission.messages(id, backend, Timestamp::now(), trace);
    messages.extend(also);
    gateway.publisher.publish(messages).await.is_ok()
}
