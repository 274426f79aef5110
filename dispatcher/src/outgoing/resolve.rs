//! Names whose addresses a client chose: resolved once, and connected to only where they may be.

use postern_shared::callback::{EgressPolicy, EgressRefused};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{error::Error, net::SocketAddr};

/// Resolves a name to those of its addresses that may be called; the connection is made to one of
/// these, so that a name cannot mean one thing when it is judged and another when it is used.
#[derive(Debug, Clone)]
pub(crate) struct InBounds(pub(crate) EgressPolicy);

impl Resolve for InBounds {
    #[expect(clippy::disallowed_methods, reason = "this is where names are judged")]
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refused = None;
            let mut allowed = Vec::new();
            for address in found {
                match reach.address(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(why) => refused = Some(why),
                }
            }
            match refused {
                Some(why) if allowed.is_empty() => Err(why.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Why a request was not made, where an [`InBounds`] stopped it.
pub(crate) fn refusal(error: &reqwest::Error) -> Option<&EgressRefused> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        source = error.source();
    }
    None
}
