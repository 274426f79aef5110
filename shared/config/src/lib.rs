//! Reads and checks the configuration. A [`Config`] is one that can be run.
//!
//! `deploy/default.toml` is the base of every configuration and documents every key; the user's file is laid over
//! it, and the environment over both. [`backend`] has the keys of `[backends.NAME]` and of the files in
//! `shared/providers/`.

mod about;
mod application;
pub mod backend;
mod backend_check;
mod broker_url;
mod changes;
mod compat;
mod completed;
mod config;
mod connector;
mod cross_check;
mod document;
mod environment;
mod flow_check;
mod lines;
mod listen;
mod loader;
mod message_log;
mod needed_secrets;
mod parse;
mod problem;
mod provider_file;
mod provider_folder;
mod provider_registry;
mod reader;
mod secret_settings;
mod section_check;
mod section_names;
mod sections;
mod source;
mod spool;
mod syntax;
mod templates;
#[cfg(test)]
mod tests;
mod tls_files;
mod type_settings;
mod warnings;
mod weak_secrets;

pub use about::About;
pub use application::{ApplicationSection, Webhook, WebhookFormat, WebhookUrl};
pub use backend::flow::{BreakerSection, RetrySection};
pub use changes::Changes;
pub use compat::{CONVERSATION, CallbacksSection, CompatSection, CompatUser, KannelSection, VumiSection};
pub use config::Config;
pub use listen::listen_address;
pub use loader::Loader;
pub use message_log::{LogPlace, MessageLogConfig, TO_SWITCH_THE_LOG_ON};
pub use needed_secrets::NeededSecrets;
pub use parse::DEFAULT;
pub use problem::{InvalidConfig, KeyProblem, Problem, source_name};
pub use provider_registry::{NameTaken, ProviderRegistry};
pub use sections::{
    AddressLimit, AdminSection, ApiKey, ApiSection, BrokerSection, ClientHeader, DispatcherSection,
    IngressSection, LogFormat, LogSection, Right, ShutdownSection,
};
pub use spool::SpoolSection;
pub use tls_files::{FilesDigest, TlsFiles, TlsProblem};
