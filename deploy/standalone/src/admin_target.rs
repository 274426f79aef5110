//! The options that name the admin port of a running gateway.

use clap::Args;
use postern_service::program::Exit;
use std::path::PathBuf;

/// The environment variable that holds the gateway's `admin.token`.
pub(crate) const TOKEN: &str = "POSTERN_ADMIN_TOKEN";

/// The admin port of a running gateway.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminTarget {
    /// Ask the admin port of a running gateway (http://HOST:PORT), not the broker or the configured port
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// A file that contains the gateway's admin.token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The gateway's admin.token
    #[arg(long, env = TOKEN, hide = true, hide_env_values = true)]
    token: Option<String>,
}

impl AdminTarget {
    /// The token, if one is given.
    ///
    /// # Errors
    /// [`Exit::Config`]: its file cannot be read.
    pub(crate) fn token(&self) -> Result<Option<String>, Exit> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let token = std::fs::read_to_string(path).map_err(|error| {
            Exit::Config(format!("--token-file: {} cannot be read: {error}", path.display()))
        })?;
        Ok(Some(token.trim().to_owned()))
    }
}
