//! The names of the sections.

/// All sections.
pub(super) const SECTIONS: [&str; 13] = [
    "providers",
    "broker",
    "ingress",
    "admin",
    "api",
    "application",
    "compat",
    "dispatcher",
    "retry",
    "breaker",
    "backends",
    "log",
    "shutdown",
];
