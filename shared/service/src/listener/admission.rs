//! Decides which clients may connect: a listener has a limit of connections, and so has each address. A
//! connection above a limit is accepted and closed at once, so that nothing waits and the process never
//! runs out of descriptors.
//!
//! It is not left waiting: a client that waits in the kernel's queue takes another client's place and
//! learns nothing, but a load balancer that is refused tries another server. Loopback addresses and
//! `ingress.trusted_proxies` have no limit for each address: all clients behind a proxy have its address,
//! and a program on this machine can do more harm than hold connections.

use super::descriptors::{self, Share};
use crate::{
    metrics::{ConnectionMetrics, RefusedConnection},
    rates,
    telemetry::LineLimit,
};
use postern_shared::value::Networks;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tracing::Level;

/// How many connections a listener may have at a time.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The most connections in all. `None`: as many as the limit of open files leaves room for, at most
    /// 20,000. That room also limits a number that is set.
    pub max: Option<usize>,
    /// The listener's share of what the limit of open files leaves room for.
    pub share: Share,
    /// The most connections from one IPv4 address or one IPv6 /64. `None`: any number.
    pub per_address: Option<usize>,
    /// Addresses to which `per_address` does not apply, such as those of proxies. It never applies to
    /// loopback addresses.
    pub exempt: Networks,
}

/// Admits clients to a listener. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Admission(Arc<Listening>);

#[derive(Debug)]
struct Listening {
    name: &'static str,
    limits: ConnectionLimits,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    metrics: ConnectionMetrics,
    lines: LineLimit,
    /// Limits the lines about requests that no handler saw.
    unread_lines: LineLimit,
}

/// A place among the connections of a listener; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    listening: Arc<Listening>,
    client: IpAddr,
    /// The address that the client's connections are counted by. `None`: they are not counted.
    address: Option<IpAddr>,
}

impl Admission {
    /// Admission to the listener that metrics and log call `name`.
    pub(super) fn new(name: &'static str, limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        metrics.declare_listener(name);
        Self(Arc::new(Listening {
            name,
            limits,
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            metrics,
            lines: LineLimit::new("connections refused", Level::WARN),
            unread_lines: LineLimit::new("requests that could not be read", Level::INFO),
        }))
    }

    /// A place for `client`. `None`, and the refusal is counted and logged, if there is none.
    pub(super) fn admit(&self, client: IpAddr) -> Option<Slot> {
        let slot = self.slot(client);
        slot.inspect_err(|why| self.refuse(client, *why)).ok()
    }

    /// A place for `client`.
    ///
    /// # Errors
    /// The limit that is reached.
    fn slot(&self, client: IpAddr) -> Result<Slot, RefusedConnection> {
        let Listening { limits, open, metrics, name, .. } = &*self.0;
        let address = self.counted(client);
        if let Some(address) = address {
            self.count(address)?;
        }
        // From here on, dropping the slot takes back what was counted.
        let before = open.fetch_add(1, Ordering::Relaxed);
        metrics.opened(name);
        let slot = Slot { listening: Arc::clone(&self.0), client, address };
        if before < descriptors::most(limits.max, limits.share) {
            Ok(slot)
        } else {
            Err(RefusedConnection::Total)
        }
    }

    /// The address that the connections of `client` are counted by. `None`: they are not counted.
    fn counted(&self, client: IpAddr) -> Option<IpAddr> {
        let ConnectionLimits { per_address, exempt, .. } = &self.0.limits;
        let client = client.to_canonical();
        let exempt = client.is_loopback() || exempt.contains(client);
        (per_address.is_some() && !exempt).then(|| rates::client(client))
    }

    fn count(&self, address: IpAddr) -> Result<(), RefusedConnection> {
        let most = self.0.limits.per_address.unwrap_or(usize::MAX);
        let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.entry(address).or_insert(0);
        if *open >= most {
            return Err(RefusedConnection::Address);
        }
        *open += 1;
        Ok(())
    }

    fn refuse(&self, client: IpAddr, why: RefusedConnection) {
        let Listening { name, metrics, lines, limits, .. } = &*self.0;
        metrics.refused(name, why);
        if !lines.admits(None) {
            return;
        }
        let most = match why {
            RefusedConnection::Total => descriptors::most(limits.max, limits.share),
            RefusedConnection::Address => limits.per_address.unwrap_or_default(),
        };
        let why = why.as_str();
        tracing::warn!(listener = name, %client, limit = why, most, "client connection refused: too many connections are open");
    }
}

impl Slot {
    /// Whether at least half of the connections that the listener or the client's address may have are open.
    pub(super) fn is_crowded(&self) -> bool {
        let Listening { limits, open, by_address, .. } = &*self.listening;
        if open.load(Ordering::Relaxed) * 2 >= descriptors::most(limits.max, limits.share) {
            return true;
        }
        let (Some(address), Some(most)) = (self.address, limits.per_address) else { return false };
        let by_address = by_address.lock().unwrap_or_else(PoisonError::into_inner);
        by_address.get(&address).is_some_and(|open| *open * 2 >= most)
    }

    /// Counts and logs a request of this connection that was answered with `status` before any handler saw
    /// it; `path` is empty if it is not known.
    pub(super) fn note_unread(&self, status: u16, path: &str) {
        let Listening { name, metrics, unread_lines, .. } = &*self.listening;
        metrics.unread(name, status);
        if unread_lines.admits(status) {
            let path = Some(path).filter(|path| !path.is_empty());
            tracing::info!(listener = name, client = %self.client, status, path, "request refused before it was read");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Listening { open, by_address, metrics, name, .. } = &*self.listening;
        open.fetch_sub(1, Ordering::Relaxed);
        metrics.closed(name);
        let Some(address) = self.address else { return };
        let mut by_address = by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut open) = by_address.entry(address) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn admission(max: Option<usize>, per_address: Option<usize>) -> (Admission, Metrics) {
        let metrics = Metrics::new("postern", "0").unwrap();
        let exempt = serde_json::from_value(serde_json::json!(["10.0.0.0/8"])).unwrap();
        let limits = ConnectionLimits { max, share: Share::Whole, per_address, exempt };
        (Admission::new("ingress", limits, metrics.connections().clone()), metrics)
    }

    #[test]
    fn an_address_has_a_limit_and_proxies_and_loopback_have_none() {
        let (admission, metrics) = admission(None, Some(2));
        let slot = |address: &str| admission.slot(address.parse().unwrap());
        for (address, allowed) in [
            ("192.0.2.1", 2),
            ("::ffff:192.0.2.2", 2),
            ("2001:db8::1", 2),
            ("10.1.2.3", 9),
            ("127.0.0.1", 9),
            ("::1", 9),
        ] {
            let slots: Vec<_> = (0..9).filter_map(|_| slot(address).ok()).collect();
            assert_eq!(slots.len(), allowed, "{address}");
        }
        let held = [slot("2001:db8::1").unwrap(), slot("2001:db8::2").unwrap()];
        assert_eq!(slot("2001:db8::3").unwrap_err(), RefusedConnection::Address, "one /64");
        assert!(slot("2001:db8:0:1::1").is_ok(), "another");
        assert!(metrics.text().contains("postern_connections_open{listener=\"ingress\"} 2"));
        drop(held);
        assert!(slot("2001:db8::3").is_ok());
        assert!(admission.0.by_address.lock().unwrap().is_empty(), "nothing is remembered of who is gone");
    }

    #[test]
    fn it_is_crowded_once_half_of_the_listeners_or_the_addresss_connections_are_open() {
        let (admission, _) = admission(Some(12), Some(4));
        let slot = |address: &str| admission.slot(address.parse().unwrap()).unwrap();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(slot);
        assert!(!one.is_crowded());
        let second = slot("192.0.2.1");
        assert!(one.is_crowded() && second.is_crowded() && !other.is_crowded());
        drop(second);
        assert!(!one.is_crowded());
        let proxy: Vec<_> = (0..4).map(|_| slot("10.1.2.3")).collect();
        assert!(one.is_crowded() && proxy[0].is_crowded(), "six of twelve");
    }

    #[test]
    fn a_listener_has_a_limit() {
        let (admission, metrics) = admission(Some(3), Some(100));
        let slot = || admission.slot("192.0.2.1".parse().unwrap());
        let mut slots: Vec<_> = (0..3).map(|_| slot().unwrap()).collect();
        for _ in 0..5 {
            let refused = slot().unwrap_err();
            assert_eq!(refused, RefusedConnection::Total);
            admission.refuse("192.0.2.1".parse().unwrap(), refused);
        }
        slots.pop();
        slots.push(slot().unwrap());
        assert!(slot().is_err());
        let text = metrics.text();
        for line in [
            "postern_connections_open{listener=\"ingress\"} 3",
            "postern_connections_refused_total{limit=\"total\",listener=\"ingress\"} 5",
            "postern_connections_refused_total{limit=\"address\",listener=\"ingress\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
