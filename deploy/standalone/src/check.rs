//! `postern check`, which says whether a configuration is valid.

use crate::{Gateway, greeting};
use clap::Args;
use postern_config::{Config, Loader, NeededSecrets, Problem, source_name};
use postern_service::{
    folders,
    program::{self, Arguments, Exit},
    traces::Traces,
};
use std::{io::Write as _, sync::Arc};

/// The options of `postern check`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CheckArguments {
    /// Count warnings as mistakes: exit 2 if there are any
    #[arg(long)]
    strict: bool,
    /// Do not require the secrets, certificates, folders and `OTEL_*` variables of the gateway's machine, and print
    /// how many secrets were not read: for a check on another machine
    #[arg(long)]
    without_secrets: bool,
}

impl CheckArguments {
    /// Checks the configuration of `gateway`. Writes to stdout that it is valid, and its warnings to stderr.
    ///
    /// # Errors
    /// [`Exit::Config`] with every problem; with `--strict` also for warnings.
    pub(crate) fn run(self, gateway: &Gateway, arguments: &Arguments) -> Result<(), Exit> {
        let secrets = if self.without_secrets { NeededSecrets::Of(&[]) } else { NeededSecrets::All };
        let providers = gateway.providers()?;
        let config = program::configuration_by(Loader::new(&providers).needing(secrets), arguments)?;
        let config = Arc::new(config);
        let mut problems = gateway.problems(&config);
        let mut warnings = config.warnings.clone();
        if !self.without_secrets {
            let folders = folders::check(&config);
            problems.extend(folders.unusable);
            warnings.extend(folders.done_without);
            let of_variables = |what| Problem { key: String::new(), line: None, what };
            match Traces::check() {
                Ok(remarks) => warnings.extend(remarks.into_iter().map(of_variables)),
                Err(wrong) => problems.push(of_variables(wrong)),
            }
        }
        problems.retain(|problem| !config.lacks_secret(&problem.key));
        if !problems.is_empty() {
            return Err(Exit::problems(arguments, problems));
        }
        self.tell(arguments, &config, &warnings)
    }

    fn tell(self, arguments: &Arguments, config: &Config, warnings: &[Problem]) -> Result<(), Exit> {
        let mut said: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        if self.strict && !warnings.is_empty() {
            let source = source_name(arguments.config.as_deref());
            said += &format!(
                "{source}: {}, which --strict counts as mistakes",
                greeting::count(warnings.len(), "warning")
            );
            return Err(Exit::Config(said));
        }
        greeting::print(&greeting::valid(arguments, config, warnings.len()))?;
        // If stderr is closed, there is nobody to tell.
        let _ = std::io::stderr().write_all(said.as_bytes());
        Ok(())
    }
}
