//! Postern's programs, which are killed and started again with what they left on their disks.

use crate::load::{NUMBER, TEXT, Target};
use postern_tests::{Launch, Log, Metrics, Program, assert_silent};

/// A program that runs or has stopped.
#[derive(Debug)]
pub(crate) struct Service {
    launch: Launch,
    program: Option<Program>,
    logs: Vec<Log>,
    /// Gets the program's address after each start.
    target: Option<Target>,
}

impl Service {
    pub(crate) async fn start(launch: Launch, target: Option<Target>) -> Self {
        let mut service = Self { launch, program: None, logs: Vec::new(), target };
        service.restart().await;
        service
    }

    /// Starts it again, and waits until it is ready. Fails if it is running.
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

    /// Ends it with SIGKILL. Fails if it had ended by itself.
    pub(crate) fn kill(&mut self) {
        self.logs.push(self.program.take().expect("the program runs").kill());
    }

    /// Ends it with SIGTERM. Fails if its exit code is not 0.
    pub(crate) async fn drain(&mut self) {
        let program = self.program.take().expect("the program runs");
        self.logs.push(program.log().clone());
        let ended = program.terminate().await;
        assert_eq!(ended.code, Some(0), "after SIGTERM: {}", ended.log);
    }

    /// Fails if it has logged a number or a text since its first start.
    pub(crate) fn assert_silent(&self) {
        for log in &self.logs {
            assert_silent(&log.lines(), &[NUMBER, TEXT]);
        }
    }

    /// The present value of the metric `name`.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, String> {
        Ok(self.metrics().await?.value(name, &[]))
    }

    /// All present metrics.
    pub(crate) async fn metrics(&self) -> Result<Metrics, String> {
        let told = self.program().admin("/metrics").await.map_err(|error| error.to_string())?;
        Ok(Metrics::parse(&told.text))
    }
}
