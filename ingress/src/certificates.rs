//! The certificates of the listeners.

use postern_config::{Config, Problem, TlsFiles};
use postern_service::tls::Tls;

/// Reads the certificate that `section` names.
///
/// # Errors
/// What is wrong with its files.
pub(crate) fn load(section: &'static str, files: Option<&TlsFiles>) -> Result<Option<Tls>, Problem> {
    let loaded = files.map(|files| Tls::load(section, files)).transpose();
    loaded.map_err(|wrong| Problem { key: format!("{section}.{}", wrong.key), line: None, what: wrong.what })
}

/// What is wrong with the certificates of the listeners.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let tls = [("ingress.tls", &config.ingress.tls), ("api.tls", &config.api.tls)];
    tls.into_iter().filter_map(|(section, files)| load(section, files.as_ref()).err()).collect()
}
