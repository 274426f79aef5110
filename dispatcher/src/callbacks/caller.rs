//! Makes one callback: where it goes, the request, and what its answer means.

use super::silent_hosts::SilentHosts;
use crate::{
    outcome::Outcome,
    outgoing::{
        answer::{MAX_BODY, ProviderAnswer},
        classify::Classifier,
        client::{ClientTls, client_in_bounds},
        redact::Redactor,
        resolve::{self, InBounds, Lookups},
    },
};
use jiff::Timestamp;
use postern_config::{CompatSection, KeyProblem};
use postern_shared::{
    callback::{self, CallbackKeys, EgressPolicy, EgressRefused},
    error::{Failure, Unreached},
    message::CallbackEvent,
};
use reqwest::{Client, Method, Request, Url};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The HTTP client for each user's callbacks, by the user's name. Hosts of one user cannot hold up the
/// connections or the name look-ups of another.
pub(crate) type CallbackClients = BTreeMap<String, Client>;

/// Makes callbacks.
#[derive(Debug)]
pub(super) struct CallbackCaller {
    keys: CallbackKeys,
    reach: EgressPolicy,
    timeout: Duration,
    clients: CallbackClients,
    silent_hosts: SilentHosts,
    classifier: Classifier,
}

/// Where a callback goes, and the user who asked for it.
#[derive(Debug)]
pub(super) struct CallbackTarget {
    pub(super) user: String,
    /// The host and the port of `url`.
    pub(super) host: String,
    url: Url,
}

/// The HTTP clients that make callbacks.
///
/// # Errors
/// The key below `compat.callbacks` that is wrong, and why.
pub(crate) fn clients(compat: &CompatSection) -> Result<CallbackClients, KeyProblem> {
    let section = &compat.callbacks;
    let (tls, lookups) = (ClientTls::default(), Lookups::new());
    let users = compat.kannel.iter().flat_map(|kannel| &kannel.users);
    let client = |username: &String| {
        let reach = InBounds { policy: EgressPolicy::new(&section.allow), lookups: lookups.of_another() };
        let client = client_in_bounds(section.timeout.0, &tls, reach);
        Ok((username.clone(), client.map_err(|why| ("timeout".to_owned(), why))?))
    };
    users.map(|user| client(&user.username)).collect()
}

impl CallbackCaller {
    /// A caller that uses `clients` and the settings of `compat`.
    pub(super) fn new(compat: &CompatSection, clients: CallbackClients) -> Self {
        Self {
            keys: compat.callback_keys(),
            reach: EgressPolicy::new(&compat.callbacks.allow),
            timeout: compat.callbacks.timeout.0,
            clients,
            silent_hosts: SilentHosts::default(),
            classifier: Classifier::by_status(Redactor::hiding(&[])),
        }
    }

    /// Where the callback for `callback_event` goes.
    ///
    /// # Errors
    /// No configured user requested it, its address is not allowed, or its host is not called for now.
    pub(super) fn target(&self, callback_event: &CallbackEvent) -> Result<CallbackTarget, Failure> {
        let callback = self.keys.open(&callback_event.callback);
        let Some(callback) = callback.filter(|callback| callback.message_id == callback_event.message_id)
        else {
            let why = "the callback was not requested by a currently configured user";
            return Err(Failure::permanent("callback_unknown", why));
        };
        let url =
            self.reach.url(&callback::fill(&callback, callback_event)).map_err(|why| out_of_bounds(&why))?;
        let asked = Url::parse(&callback.url).ok();
        if asked.is_none_or(|asked| asked.origin() != url.origin()) {
            let why = "the host in dlr-url contains an escape such as %p: the client must write the host out";
            return Err(Failure::permanent("callback_refused", why));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let host = format!("{}:{port}", url.host_str().unwrap_or_default());
        match self.silent_hosts.pause(&host, Instant::now()) {
            Some(pause) => {
                let silent = Failure::transient("host_silent", "its host recently did not answer in time");
                Err(Failure { retry_after: Some(pause), ..silent })
            }
            None => Ok(CallbackTarget { user: callback.user, host, url }),
        }
    }

    /// Calls `target`.
    pub(super) async fn call(&self, target: &CallbackTarget) -> Outcome {
        let Some(client) = self.clients.get(&target.user) else {
            return Err(Failure::permanent(
                "callback_unknown",
                "the user who requested the callback is not configured",
            ));
        };
        let mut request = Request::new(Method::GET, target.url.clone());
        *request.timeout_mut() = Some(self.timeout);
        let begun = Instant::now();
        let (outcome, timed_out) = match client.execute(request).await {
            Ok(response) => {
                let answer = ProviderAnswer::read(response, MAX_BODY).await;
                let outcome = self.classifier.classify(&answer, Timestamp::now());
                (outcome, begun.elapsed() >= self.timeout)
            }
            Err(error) => {
                let failure = match resolve::refusal(&error) {
                    Some(refused) => out_of_bounds(refused),
                    None => without_host(self.classifier.no_answer(&error)),
                };
                (Err(failure), error.is_timeout())
            }
        };
        if timed_out {
            self.silent_hosts.timed_out(&target.host, Instant::now());
        } else {
            self.silent_hosts.answered(&target.host);
        }
        outcome
    }
}

/// `failure` without the host: a client chose it, and it must not be logged.
fn without_host(failure: Failure) -> Failure {
    let unreached = failure.unreached.map(|unreached| Unreached { host: None, ..unreached });
    Failure { unreached, ..failure }
}

fn out_of_bounds(refused: &EgressRefused) -> Failure {
    let why = match refused {
        EgressRefused::Url(why) => (*why).to_owned(),
        EgressRefused::Address { .. } => {
            format!("{refused}: not called unless compat.callbacks.allow contains it")
        }
    };
    Failure::permanent("callback_refused", why)
}
