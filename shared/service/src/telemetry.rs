//! Log lines, on stderr.
//!
//! Lines of other crates below `warn` are never written, at any level: AMQP and HTTP libraries trace what
//! they transport, and that is people's numbers and texts.
//!
//! Code that logs never waits: the lines go into a [`LogBuffer`]. Lines that anybody can cause are limited
//! by a [`LineLimit`].

mod buffer;
mod json_lines;
mod line_limit;

use crate::metrics::Metrics;
pub use buffer::{LogBuffer, LogGuard};
use jiff::Timestamp;
pub use json_lines::JsonLines;
pub use line_limit::LineLimit;
use postern_config::{LogFormat, LogSection};
use postern_shared::clock::Written;
use std::{
    fmt,
    io::{IsTerminal, stderr},
    panic,
};
use tracing::{Level, Metadata, field::display};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::{format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// Why log lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is not a valid filter.
    #[error("log.level is not a valid filter")]
    Level,
    /// Another subscriber writes log lines already.
    #[error("log lines are written by another subscriber already")]
    Twice,
    /// The thread that writes log lines cannot be started.
    #[error("the thread that writes log lines cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The metric of log lines cannot be declared.
    #[error(transparent)]
    Metric(#[from] prometheus::Error),
}

/// Writes log lines from now on, for the whole process, until the guard is dropped; `metrics` counts the
/// lines that are dropped.
///
/// # Errors
/// [`TelemetryError`]
pub fn init(log: &LogSection, metrics: &Metrics) -> Result<LogGuard, TelemetryError> {
    let level = EnvFilter::builder().parse(&log.level).map_err(|_| TelemetryError::Level)?;
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => stderr().is_terminal(),
    };
    let buffer = LogBuffer::new(stderr(), metrics.declare(buffer::dropped_counter()?)?)?;
    let guard = buffer.guard();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || buffer.clone());
    let lines = if human {
        lines.with_ansi(stderr().is_terminal()).with_timer(Clock).boxed()
    } else {
        lines.event_format(JsonLines).boxed()
    };
    let ours = filter_fn(may_be_written);
    let subscriber = registry().with(lines.with_filter(ours)).with(level);
    subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(guard)
}

/// Logs where each panic of the process happens from now on. By default, Rust writes a panic's message to
/// stderr, and that can quote a person's text.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(display);
        tracing::error!(place, "panicked");
    }));
}

/// The time of a line for people, with three digits after the point, as everywhere.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Written(Timestamp::now()))
    }
}

fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // Our supervisor logs what happens to a connection itself; lapin adds errors to a clean close. The
    // listener logs what is wrong with a request, with the client's address; anybody can make actix-http
    // log it.
    let is_said_elsewhere = target.starts_with("lapin") || target.starts_with("actix_http::h1");
    target.starts_with("postern") || (*metadata.level() <= Level::WARN && !is_said_elsewhere)
}
