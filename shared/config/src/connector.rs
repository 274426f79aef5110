//! Reads what a backend sends through: `connector` names the kind, and the kind decides what `send` may hold.

use crate::{
    backend::{
        connector::{CONSOLE, CallTable, ConnectorConfig, HTTP, RegisteredConnector},
        send::Send,
    },
    lines::join,
    provider_registry::ProviderRegistry,
    reader::Reader,
};
use postern_shared::{message::MAX_IDENTITIES, suggest};
use serde_json::{Map, Value};

/// Reads the `connector` and the `send` table of the backend at `path`. `None` if the kind is unknown.
pub(super) fn read(
    reader: &mut Reader,
    path: &str,
    tree: &Map<String, Value>,
    providers: &ProviderRegistry,
) -> Option<ConnectorConfig> {
    let key = join(path, "connector");
    let allowed = || format!("allowed: {}", providers.known_connectors());
    let kind = match tree.get("connector") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => {
            reader.unreadable(key, format!("must be a string; {}", allowed()));
            return None;
        }
        None => {
            reader.unreadable(key, format!("is missing; {}", allowed()));
            return None;
        }
    };
    let (send, table) = (join(path, "send"), tree.get("send"));
    match (kind, table) {
        (HTTP, None) => Some(ConnectorConfig::Http(None)),
        (HTTP, Some(table)) => {
            let read: Option<Box<Send>> = reader.read(&send, table.clone());
            for (key, why) in read.iter().flat_map(|send| send.problems()) {
                reader.problem(join(&send, &key), why);
            }
            Some(ConnectorConfig::Http(read))
        }
        (CONSOLE, None) => Some(ConnectorConfig::Console),
        (CONSOLE, Some(_)) => {
            reader.unreadable(send, "unknown key: a backend with connector = \"console\" has no send table");
            Some(ConnectorConfig::Console)
        }
        (registered, table) => {
            let Some(direction) = providers.direction(registered) else {
                let hint = suggest::hint(registered, providers.known_connectors().split(", "));
                reader.unreadable(key, format!("unknown connector; {}{hint}", allowed()));
                return None;
            };
            let calls = table.and_then(|table| reader.read::<CallTable>(&send, table.clone()));
            let calls = calls.unwrap_or_default();
            if !(1..=MAX_IDENTITIES).contains(&calls.batch) {
                reader.problem(join(&send, "batch"), format!("must be 1 to {MAX_IDENTITIES}"));
            }
            let kind = registered.to_owned();
            Some(ConnectorConfig::Registered(RegisteredConnector { kind, direction, calls }))
        }
    }
}
