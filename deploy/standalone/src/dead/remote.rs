//! The dead letters of a running gateway, through `/v1/dead` of its admin port.

use super::arguments::DeadTarget;
use crate::admin_client::AdminClient;
use postern_service::{
    admin::dead::{BY, DeadLetterCommand},
    dead::{DeadQueue, Done, Filter, Listing, Summary},
    program::Exit,
};
use reqwest::{StatusCode, header::HeaderValue};
use serde_json::Value;

/// A gateway's dead letters.
pub(super) struct Remote {
    admin: AdminClient,
    /// The name of the person who gives the command.
    by: String,
}

impl Remote {
    /// The dead letters of the gateway at `url`.
    ///
    /// # Errors
    /// [`Exit::Config`] for a URL or a token that cannot be used.
    pub(super) fn new(url: &str, target: &DeadTarget) -> Result<Self, Exit> {
        let admin = AdminClient::new(url, &target.admin)?;
        Ok(Self { admin, by: target.given_by.name() })
    }

    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing<Summary>, Exit> {
        let mut url = self.admin.path(&["dead"])?;
        if let Value::Object(conditions) = serde_json::to_value(filter)? {
            let mut query = url.query_pairs_mut();
            for (name, value) in conditions {
                let values = match value {
                    Value::Array(values) => values,
                    one => vec![one],
                };
                for value in values {
                    query
                        .append_pair(&name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                }
            }
        }
        self.admin.ask(self.admin.get(url)).await
    }

    pub(super) async fn show(&self, id: &str, queue: DeadQueue) -> Result<Listing<Value>, Exit> {
        let mut url = self.admin.path(&["dead", id])?;
        if queue == DeadQueue::Unrouted {
            url.set_query(Some("queue=unrouted"));
        }
        match self.admin.send(self.admin.get(url)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(Listing::default()),
            (status, body) => self.admin.read(status, &body),
        }
    }

    pub(super) async fn command(&self, what: &str, filter: &Filter, dry_run: bool) -> Result<Done, Exit> {
        let command = DeadLetterCommand { filter: filter.clone(), dry_run, all: true };
        let request = self.admin.post(self.admin.path(&["dead", what])?).json(&command);
        // A name that no header can hold is left out: the gateway logs the client's address in any case.
        let request = match HeaderValue::from_str(&self.by) {
            Ok(by) => request.header(BY, by),
            Err(_) => request,
        };
        self.admin.ask(request).await
    }
}
