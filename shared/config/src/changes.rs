//! What differs between two configurations, and what of it a running process can take over.

/// What a running process can take over: these keys, and all below them.
const RELOADABLE: [&str; 17] = [
    "backends",
    "api.keys",
    "application",
    "compat",
    "retry",
    "breaker",
    "dispatcher.backends",
    "dispatcher.concurrency",
    "ingress.public_url",
    "ingress.client_header",
    "ingress.max_body",
    "ingress.max_fields",
    "ingress.max_items",
    "ingress.max_key",
    "ingress.max_value",
    "ingress.rate_limit",
    "ingress.dedupe_window",
];
/// What it cannot take over, of those: routes are made when a listener begins.
const PATHS: [&str; 2] = ["compat.kannel.path", "compat.vumi.path"];

/// What differs between two configurations: keys, of backends only the whole (`backends.clinic`), and of
/// API keys and users only their names (`api.keys.clinic-app`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What was not there before.
    pub added: Vec<String>,
    /// What was there and is otherwise now.
    pub changed: Vec<String>,
    /// What is no longer there.
    pub removed: Vec<String>,
    /// How many backends, API keys and users are as they were.
    pub unchanged: usize,
}

impl Changes {
    /// Whether both configurations come to the same.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The keys that a running process cannot take over, in order.
    pub fn needing_restart(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.all().filter(|key| !is_reloadable(key)).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        [&self.added, &self.changed, &self.removed].into_iter().flatten().map(String::as_str)
    }
}

fn is_reloadable(key: &str) -> bool {
    RELOADABLE.iter().any(|whole| crate::reader::is_in(key, whole)) && !PATHS.contains(&key)
}
