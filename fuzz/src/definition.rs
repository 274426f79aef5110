//! A configuration, the definitions of its backends, and the requests that the backends make.

use postern_broker::Envelope;
use postern_config::{Config, ProviderRegistry};
use postern_dispatcher::{connectors::ConnectorRegistry, measure};
use postern_ingress::forms::Forms;
use postern_shared::message::{BackendName, Context, Identity, MessageId, Outbound, Priority};
use std::sync::Arc;

/// A TOML text: any text is a configuration or a list of problems, and a valid configuration makes a
/// request of a message or says why not.
pub fn definition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // A secret may be read from a file, but must not be read from an endless one.
    if text.contains("file") {
        return;
    }
    let config = match Config::parse("fuzz.toml", Some(text), [], &ProviderRegistry::builtin()) {
        Ok(config) => config,
        Err(invalid) => {
            assert!(!invalid.problems.is_empty() && !invalid.to_string().is_empty());
            return;
        }
    };
    let _ = postern_ingress::problems(&config, &Forms::builtin());
    let config = Arc::new(config);
    if postern_dispatcher::validate(config.clone(), &ConnectorRegistry::builtin()).is_err() {
        return;
    }
    for name in config.backends.keys() {
        let _ = measure::send(&config, name, &Envelope::from(&message(name)), 1);
    }
}

fn message(backend: &BackendName) -> Outbound {
    let identities = ["+15551234567", "a&b=c"].map(|identity| Identity::try_from(identity.to_owned()));
    let mut context = Context::new();
    context.insert("from".to_owned(), "+15557654321\r\nX: y".into());
    context.insert("list".to_owned(), vec!["a", "\"b\""].into());
    Outbound {
        id: MessageId::default(),
        backend: backend.clone(),
        identities: identities.into_iter().map(Result::unwrap).collect(),
        text: "100 % \u{201c}sure\u{201d} & ready? 😀".to_owned(),
        context,
        priority: Priority::Normal,
        created_at: "2026-11-22T17:00:00Z".parse().unwrap(),
        expires_at: None,
        attempt: 1,
        deferred: 0,
        parts_sent: 0,
        maybe_sent: false,
    }
}
