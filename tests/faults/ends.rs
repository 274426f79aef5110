//! The fake provider and the application's webhook, where messages come out. Both record in the ledger what they
//! get.

use crate::{ledger::Ledger, load::number_in};
use postern_tests::{Answer, Provider, Request};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// How long both take to answer, unless a scenario sets another time: what is sent meanwhile is in flight when a
/// fault strikes.
pub(crate) const THINKING: Duration = Duration::from_millis(20);

/// The provider behind the backend `x`, and the application.
#[derive(Debug)]
pub(crate) struct Ends {
    provider: Provider,
    application: Provider,
}

impl Ends {
    /// Starts both, which take `thinking` to answer.
    pub(crate) async fn start(ledger: &Arc<Ledger>, thinking: Duration) -> Self {
        let (provider, application) = (Provider::start().await, Provider::start().await);
        for end in [&provider, &application] {
            end.forget();
            let ledger = Arc::clone(ledger);
            end.otherwise(move |request| Answer::status(take(&ledger, request)).after(thinking));
        }
        Self { provider, application }
    }

    pub(crate) fn provider(&self) -> String {
        self.provider.url("/send")
    }

    pub(crate) fn application(&self) -> String {
        self.application.url("/hook")
    }
}

/// Records `request`, and returns the status to answer with.
fn take(ledger: &Ledger, request: &Request) -> u16 {
    let body: Value = request.json();
    if request.header("x-postern-type") == Some("postern.report.v1") {
        // A report that announces another attempt is not the outcome.
        let state = body["recipients"][0]["state"].as_str().unwrap_or_default();
        // Reports on an attacker's messages are not recorded.
        let id = body["message_id"].as_str().unwrap_or_default();
        // A message that is refused or cancelled is `unknown` if an attempt was not answered. Any other message
        // that ends as `unknown` is a dead letter, which the verdict names.
        if body["backend"] != "hostile" && matches!(state, "sent" | "failed" | "unknown") {
            match body["recipients"][0]["reason"]["code"].as_str() {
                Some("cancelled") => ledger.cancelled(id),
                _ => ledger.reported(id),
            }
        }
        return 200;
    }
    match body["text"].as_str().and_then(number_in) {
        Some(number) => ledger.arrived(number, body["id"].as_str()),
        None => 400,
    }
}
