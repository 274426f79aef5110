//! Postern's programs, which are killed and started again, each with what it left on its disk.

use crate::load::{NUMBER, TEXT, Target};
use postern_tests::{Launch, Log, Metrics, Program, assert_silent};

/// A program, or the place where it ran.
#[derive(Debug)]
pub(crate) struct Service {
    launch: Launch,
    program: Option<Program>,
    logs: Vec<Log>,
    /// Told where it listens.
    target: Option<Target>,
}

impl Service {
    pub(crate) async fn start(launch: Launch, target: Option<Target>) -> Self {
        let mut service = Self { launch, program: None, logs: Vec::new(), target };
        service.restart().await;
        service
    }

    /// Starts it where it does not run, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        assert!(self.program.is_none(), "it runs");
        let program = self.launch.start().await;
        if let Some(target) = &self.target {
            target.set(program.url());
        }
        self.program = Some(program);
    }

    pub(crate) fn program(&self) -> &Program {
        self.program.as_ref().expect("the program runs")
    }

    /// `kill -9`; fails where it had ended by itself.
    pub(crate) fn kill(&mut self) {
        self.logs.push(self.program.take().expect("the program runs").kill());
    }

    /// SIGTERM; fails where it does not end with 0.
    pub(crate) async fn drain(&mut self) {
        let program = self.program.take().expect("the program runs");
        self.logs.push(program.log().clone());
        let ended = program.terminate().await;
        assert_eq!(ended.code, Some(0), "after SIGTERM: {}", ended.log);
    }

    /// Fails where any of its lives has logged a number or a text.
    pub(crate) fn assert_silent(&self) {
        for log in &self.logs {
            assert_silent(&log.lines(), &[NUMBER, TEXT]);
        }
    }

    /// What `/metrics` says of `name` now. An error is no problem of the program's: a connection that
    /// was idle for some seconds may end as it is used again.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, String> {
        Ok(self.metrics().await?.value(name, &[]))
    }

    /// All that `/metrics` says now.
    pub(crate) async fn metrics(&self) -> Result<Metrics, String> {
        let told = self.program().admin("/metrics").await.map_err(|error| error.to_string())?;
        Ok(Metrics::parse(&told.text))
    }
}
