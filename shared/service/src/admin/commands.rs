//! Operators' commands on the admin port: for programs, what `postern pause`, `resume`, `cancel` and
//! `queue` do; for example `POST /v1/backends/NAME/pause`.

use crate::control::{CancelCommand, CommandError, MoveCommand, Operator, PlainCommand};
use actix_web::{
    HttpRequest, HttpResponse, dev::HttpServiceFactory, http::StatusCode, middleware::from_fn, web,
};
use postern_broker::BrokerError;
use postern_shared::{read, terminal};
use serde::{Serialize, de::DeserializeOwned};

/// The routes of commands to backends.
pub(super) fn backends() -> impl HttpServiceFactory {
    web::scope("/v1/backends/{name}")
        .wrap(from_fn(super::guard::operators))
        .service(web::resource("/pause").route(web::post().to(pause)))
        .service(web::resource("/resume").route(web::post().to(resume)))
        .service(web::resource("/cancel").route(web::post().to(cancel)))
}

async fn pause(request: HttpRequest, operator: web::Data<Operator>, body: web::Bytes) -> HttpResponse {
    let command: PlainCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return super::answer::problem(400, &why),
    };
    let by = by_whom(&request, command.by.as_deref());
    answer(operator.pause(name(&request), &command, &by).await)
}

async fn resume(request: HttpRequest, operator: web::Data<Operator>, body: web::Bytes) -> HttpResponse {
    let command: PlainCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return super::answer::problem(400, &why),
    };
    let by = by_whom(&request, command.by.as_deref());
    answer(operator.resume(name(&request), &command, &by).await)
}

async fn cancel(request: HttpRequest, operator: web::Data<Operator>, body: web::Bytes) -> HttpResponse {
    let command: CancelCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return super::answer::problem(400, &why),
    };
    let by = by_whom(&request, command.by.as_deref());
    answer(operator.cancel(name(&request), &command, &by).await)
}

/// The routes of queues.
pub(super) fn queues() -> impl HttpServiceFactory {
    web::scope("/v1/queues")
        .wrap(from_fn(super::guard::operators))
        .service(web::resource("").route(web::get().to(list)))
        .service(web::resource("/{name}/move").route(web::post().to(move_messages)))
        .service(web::resource("/{name}/purge").route(web::post().to(purge)))
}

async fn list(operator: web::Data<Operator>) -> HttpResponse {
    answer(operator.queues().await)
}

async fn move_messages(
    request: HttpRequest,
    operator: web::Data<Operator>,
    body: web::Bytes,
) -> HttpResponse {
    let command: MoveCommand = match read::from_slice(&body) {
        Ok(command) => command,
        Err(error) => return super::answer::problem(400, &error.to_string()),
    };
    let by = by_whom(&request, command.by.as_deref());
    answer(operator.move_messages(name(&request), &command, &by).await)
}

async fn purge(request: HttpRequest, operator: web::Data<Operator>, body: web::Bytes) -> HttpResponse {
    let command: PlainCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return super::answer::problem(400, &why),
    };
    let by = by_whom(&request, command.by.as_deref());
    answer(operator.purge(name(&request), &command, &by).await)
}

/// The part of the path that names a backend or a queue.
fn name(request: &HttpRequest) -> &str {
    request.match_info().get("name").unwrap_or_default()
}

/// The person who gives a command: the name in the request, and the client's address.
pub(super) fn by_whom(request: &HttpRequest, said: Option<&str>) -> String {
    let address =
        request.peer_addr().map_or_else(|| "the admin port".to_owned(), |peer| peer.ip().to_string());
    match said {
        Some(said) => format!("{} (from {address})", terminal::plain(said)),
        None => address,
    }
}

/// Reads a body, which may be absent.
pub(super) fn read_body<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, String> {
    if body.is_empty() {
        return Ok(T::default());
    }
    read::from_slice(body).map_err(|error| error.to_string())
}

fn answer<T: Serialize>(outcome: Result<T, CommandError>) -> HttpResponse {
    match outcome {
        Ok(done) => HttpResponse::build(StatusCode::OK).json(done),
        Err(error) => super::answer::problem(status(&error), &error.to_string()),
    }
}

fn status(error: &CommandError) -> u16 {
    match error {
        CommandError::UnknownBackend { .. }
        | CommandError::UnknownQueue { .. }
        | CommandError::Broker(BrokerError::Refused(_)) => 404,
        CommandError::Invalid(_) => 400,
        CommandError::NoStream(_) | CommandError::Unread(_) | CommandError::Broker(_) => 503,
    }
}
