//! `/v1/dead` on the admin port: what `postern dead` does, for programs.

use super::{answer::problem, commands::read_body};
use crate::dead::{DeadLetter, DeadLetterError, DeadLetters, Done, Filter};
use actix_web::{HttpRequest, HttpResponse, middleware::from_fn, web};
use postern_shared::{read, terminal, text::shortened};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

/// How many dead letters are listed if the query has no `limit`.
pub const LISTED: u64 = 100;

/// The header in which `postern dead` names its user: `user@host`. It is for the log, and proves nothing.
pub const BY: &str = "x-postern-by";

/// The most characters of [`BY`] that are logged.
const MAX_BY: usize = 100;

/// The body of `POST /v1/dead/redrive` and `POST /v1/dead/drop`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterCommand {
    /// Which dead letters are meant.
    pub filter: Filter,
    /// Whether to report only what would be done.
    pub dry_run: bool,
    /// Confirms that an empty filter means every dead letter: `drop` requires it.
    pub all: bool,
}

/// The routes of `/v1/dead`.
pub(super) fn scope() -> impl actix_web::dev::HttpServiceFactory {
    web::scope("/v1/dead")
        .wrap(from_fn(super::guard::operators))
        .service(web::resource("").route(web::get().to(list)))
        .service(web::resource("/redrive").route(web::post().to(redrive)))
        .service(web::resource("/drop").route(web::post().to(drop_letters)))
        .service(web::resource("/{id}").route(web::get().to(show)))
}

async fn list(dead: web::Data<DeadLetters>, request: HttpRequest) -> HttpResponse {
    let filter = match from_query(request.query_string()) {
        Ok(filter) => filter,
        Err(why) => return problem(400, &why),
    };
    let filter = Filter { limit: filter.limit.or(Some(LISTED)), ..filter };
    answer(dead.list(&filter, DeadLetter::summary).await)
}

async fn show(dead: web::Data<DeadLetters>, request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let filter = match from_query(request.query_string()) {
        Ok(filter) => Filter { id: vec![id.into_inner()], ..filter },
        Err(why) => return problem(400, &why),
    };
    match dead.list(&filter, DeadLetter::whole).await {
        Ok(listing) if listing.letters.is_empty() => problem(404, "no dead letter has this id"),
        listing => answer(listing),
    }
}

async fn redrive(dead: web::Data<DeadLetters>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let command: DeadLetterCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return problem(400, &why),
    };
    let done = dead.redrive(&command.filter, command.dry_run, by(&request).as_deref()).await;
    if let Ok(done) = &done {
        log(["dead letters redriven", "dry run: dead letters would be redriven"], &request, &command, done);
    }
    answer(done)
}

async fn drop_letters(dead: web::Data<DeadLetters>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let command: DeadLetterCommand = match read_body(&body) {
        Ok(command) => command,
        Err(why) => return problem(400, &why),
    };
    if command.filter.is_everything() && !command.all && !command.dry_run {
        return problem(400, "filter: every dead letter would be dropped; set a condition, or \"all\": true");
    }
    let done = dead.discard(&command.filter, command.dry_run).await;
    if let Ok(done) = &done {
        log(["dead letters dropped", "dry run: dead letters would be dropped"], &request, &command, done);
    }
    answer(done)
}

/// The name that the client gives in [`BY`].
fn by(request: &HttpRequest) -> Option<String> {
    let by = request.headers().get(BY).and_then(|value| value.to_str().ok());
    by.map(|by| shortened(by, MAX_BY))
}

/// Logs what was done, or in a dry run would be done, and who asked for it.
fn log([what, would]: [&str; 2], request: &HttpRequest, command: &DeadLetterCommand, done: &Done) {
    let client = request.peer_addr().map(|peer| tracing::field::display(peer.ip()));
    let by = by(request);
    let (messages, stay, dry_run) = (done.done, done.stay.len(), done.dry_run);
    let queue = command.filter.queue.queue();
    let what = if dry_run { would } else { what };
    tracing::info!(client, by, messages, stay, dry_run, queue = queue.as_str(), "{what}");
}

/// Reads a filter from a query: `?backend=a,b&class=transient&older_than=2h`.
fn from_query(query: &str) -> Result<Filter, String> {
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "id" | "backend" | "class" | "code" => {
                let list = fields.entry(&*name).or_insert_with(|| json!([]));
                let values = value.split(',').map(Value::from);
                list.as_array_mut().into_iter().for_each(|list| list.extend(values.clone()));
            }
            "limit" => {
                let limit: u64 = value.parse().map_err(|_| "limit: must be a whole number".to_owned())?;
                fields.insert(name.into_owned(), limit.into());
            }
            _ => drop(fields.insert(name.into_owned(), value.into_owned().into())),
        }
    }
    read::from_value(&Value::Object(fields)).map_err(|mistake| mistake.to_string())
}

fn answer<T: Serialize>(outcome: Result<T, DeadLetterError>) -> HttpResponse {
    match outcome {
        // With curl, people's texts appear on a terminal.
        Ok(done) => match serde_json::to_string(&done) {
            Ok(json) => HttpResponse::Ok().content_type("application/json").body(terminal::json(&json)),
            Err(error) => problem(500, &error.to_string()),
        },
        Err(DeadLetterError::Ambiguous(why)) => problem(400, &why.to_string()),
        Err(DeadLetterError::Broker(error)) => problem(503, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_the_filter_of_a_body_says() {
        let query = "backend=a,b&class=transient&class=unknown&older_than=2h&limit=3&queue=unrouted";
        let body = r#"{"backend":["a","b"],"class":["transient","unknown"],"older_than":"2h","limit":3,"queue":"unrouted"}"#;
        assert_eq!(from_query(query), Ok(serde_json::from_str(body).unwrap()));
        for (query, says) in [
            ("bakend=a", "bakend: unknown key; allowed here: id, backend, class"),
            ("limit=x", "limit"),
            ("class=bad", "class"),
            ("newer_than=x", "\"2h\""),
        ] {
            let why = from_query(query).unwrap_err();
            assert!(why.contains(says), "{query}: {why}");
        }
    }
}
