//! A configuration that can be run.

use crate::{
    application::ApplicationSection,
    backend::{
        BackendConfig,
        flow::{BreakerSection, RetrySection},
    },
    compat::CompatSection,
    sections::{
        AdminSection, ApiSection, BrokerSection, DispatcherSection, IngressSection, LogSection,
        ShutdownSection,
    },
};
use postern_shared::message::BackendName;
use std::collections::BTreeMap;

/// A configuration that can be run.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[broker]`
    pub broker: BrokerSection,
    /// `[ingress]`
    pub ingress: IngressSection,
    /// `[admin]`
    pub admin: AdminSection,
    /// `[api]`
    pub api: ApiSection,
    /// `[application]`
    pub application: ApplicationSection,
    /// `[compat]`
    pub compat: CompatSection,
    /// `[dispatcher]`
    pub dispatcher: DispatcherSection,
    /// `[retry]`: of whatever has none of its own.
    pub retry: RetrySection,
    /// `[breaker]`: of whatever has none of its own.
    pub breaker: BreakerSection,
    /// `[log]`
    pub log: LogSection,
    /// `[shutdown]`
    pub shutdown: ShutdownSection,
    /// `[backends.*]`
    pub backends: BTreeMap<BackendName, BackendConfig>,
}
