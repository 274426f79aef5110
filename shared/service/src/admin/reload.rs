//! `POST /v1/reload`, which reloads the configuration.

use super::commands::{by_whom, read_body};
use crate::{
    control::PlainCommand,
    reload::{ReloadClient, ReloadError},
};
use actix_web::{
    HttpRequest, HttpResponse, Resource, dev::HttpServiceFactory, http::StatusCode, middleware::from_fn, web,
};
use postern_config::Problem;
use serde_json::{Value, json};

/// The route of `/v1/reload`.
pub(super) fn route() -> impl HttpServiceFactory {
    let resource: Resource = web::resource("/v1/reload");
    resource.wrap(from_fn(super::guard::operators)).route(web::post().to(reload))
}

async fn reload(request: HttpRequest, client: web::Data<ReloadClient>, body: web::Bytes) -> HttpResponse {
    let PlainCommand { dry_run, by } = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return super::answer::problem(400, &why),
    };
    match client.reload(dry_run, by_whom(&request, by.as_deref())).await {
        Ok(done) => HttpResponse::Ok().json(done),
        Err(error) => refusal(&error),
    }
}

/// A problem document: with every mistake, or with the keys that need a restart.
fn refusal(error: &ReloadError) -> HttpResponse {
    let (status, more) = match error {
        ReloadError::Invalid(problems) => {
            (StatusCode::UNPROCESSABLE_ENTITY, ("problems", problems.iter().map(mistake).collect()))
        }
        ReloadError::NeedsRestart(keys) => (StatusCode::CONFLICT, ("needs_restart", json!(keys))),
        ReloadError::Draining | ReloadError::Starting | ReloadError::Failed(_) => {
            return super::answer::problem(503, &error.to_string());
        }
    };
    super::answer::problem_with(status.as_u16(), &error.to_string(), Some(more))
}

fn mistake(Problem { key, line, what }: &Problem) -> Value {
    json!({"key": key, "line": line, "what": what})
}
