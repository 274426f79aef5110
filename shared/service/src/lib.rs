//! What every program of Postern has, in the order of its life: [`program`] reads the arguments and starts
//! the rest, [`folders`] says whether anything can be stored, [`telemetry`] writes log lines, [`broker`]
//! and [`message_log`] open what the configuration names, [`control`] follows operators' commands,
//! [`admin`] serves health, metrics, dead letters ([`dead`]) and commands, [`listener`] serves HTTP on a
//! port, which [`tls`], [`bearer`], [`direct`] and [`rates`] guard, [`moment`] reads times that people
//! write, [`retries`] counts the messages that wait for a retry, [`metrics`] counts, [`depths`] asks how
//! many messages wait and [`waiting`] for how long, [`health`] says which backends send, and tells other
//! processes, [`health_check`] asks a running program whether it is ready, [`heartbeat`] says whether its
//! loops are alive, `systemd` tells systemd so, [`traces`] makes OpenTelemetry spans, [`reload`] applies a
//! changed configuration, whose values for all parts are in [`Configured`], a [`current`] value, and
//! [`shutdown`] ends the program.

pub mod admin;
pub mod bearer;
pub mod broker;
mod configured;
pub mod control;
pub mod current;
pub mod dead;
pub mod depths;
pub mod direct;
pub mod folders;
pub mod health;
pub mod health_check;
mod health_log;
pub mod heartbeat;
pub mod listener;
pub mod message_log;
pub mod metrics;
pub mod moment;
mod monitoring;
pub mod program;
pub mod rates;
pub mod reload;
pub mod retries;
mod scan;
pub mod shutdown;
mod systemd;
pub mod telemetry;
pub mod tls;
mod topology;
pub mod traces;
pub mod waiting;

pub use configured::Configured;
pub use monitoring::Monitoring;
pub use topology::topology;
