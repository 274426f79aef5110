//! The status of the spool and the broker behind it, combined.

use super::{Core, SpoolUsage};
use postern_broker::{Broker as _, BrokerStatus};
use std::sync::Arc;

/// Keeps the combined status up to date until the spool is closed.
pub(super) async fn watch(core: Arc<Core>) {
    let (mut broker, mut store) = (core.broker.status(), core.store.status());
    let mut usage = core.usage.watch();
    let mut empty = usage.borrow_and_update().messages == 0;
    if !empty {
        tracing::info!(
            dir = core.dir,
            messages = usage.borrow().messages,
            "the spool contains undelivered messages from an earlier run"
        );
    }
    // For changes before this task began to watch.
    core.tell();
    loop {
        let changed = tokio::select! {
            changed = broker.changed() => changed,
            changed = store.changed() => changed,
            changed = usage.changed() => changed,
            () = core.closed() => return,
        };
        // If the broker or the store is gone, the process is about to end.
        if changed.is_err() {
            return core.closed().await;
        }
        core.tell();
        let now = usage.borrow_and_update().messages == 0;
        match (std::mem::replace(&mut empty, now), now) {
            (true, false) => {
                let error = core.broker.status().borrow().problem();
                tracing::warn!(dir = core.dir, error, "messages are stored in the spool");
            }
            (false, true) => {
                tracing::info!(dir = core.dir, "the spool is empty: all messages were forwarded")
            }
            _ => {}
        }
    }
}

impl Core {
    /// Sets the combined status to the present state.
    pub(super) fn tell(&self) {
        let (broker, store) = (self.broker.status().borrow().clone(), self.store.status().borrow().clone());
        let now = combined(broker, &store, self.usage.usage(), &self.dir);
        self.status.send_if_modified(|status| {
            let changed = *status != now && *status != BrokerStatus::Closed;
            if changed {
                *status = now;
            }
            changed
        });
    }
}

/// The combined status.
fn combined(broker: BrokerStatus, store: &BrokerStatus, usage: SpoolUsage, dir: &str) -> BrokerStatus {
    let unwritable = match store {
        BrokerStatus::Starting(why)
        | BrokerStatus::Connecting(why)
        | BrokerStatus::Blocked(why)
        | BrokerStatus::Spooling(why) => Some(why.clone()),
        BrokerStatus::Ready | BrokerStatus::Closed => None,
    };
    let full = usage.full.then(|| format!("the spool in {dir} is full"));
    match (unwritable.or(full), broker) {
        (_, BrokerStatus::Closed) => BrokerStatus::Closed,
        (None, broker @ (BrokerStatus::Ready | BrokerStatus::Spooling(_))) => broker,
        (None, broker) => BrokerStatus::Spooling(format!(
            "broker {}; messages are stored in {dir} and forwarded when it is back",
            broker.problem().unwrap_or_default()
        )),
        (Some(why), BrokerStatus::Starting(broker) | BrokerStatus::Connecting(broker)) => {
            BrokerStatus::Connecting(format!("{broker}; {why}"))
        }
        (Some(why), BrokerStatus::Blocked(broker)) => BrokerStatus::Blocked(format!("{broker}; {why}")),
        // Messages that must go behind spooled ones cannot be stored; all others go to the broker.
        (Some(why), BrokerStatus::Ready) if usage.messages > 0 => BrokerStatus::Blocked(why),
        (Some(_), broker) => broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_can_store_is_usable_and_one_that_cannot_says_both_reasons() {
        let down = || BrokerStatus::Connecting("no route".to_owned());
        let held = |full| SpoolUsage { messages: 5, bytes: 9, full };
        let none = SpoolUsage::default();
        let is = |broker, store: &BrokerStatus, usage| combined(broker, store, usage, "DIR");
        assert_eq!(is(BrokerStatus::Ready, &BrokerStatus::Ready, held(false)), BrokerStatus::Ready);
        let spooling = is(down(), &BrokerStatus::Ready, none);
        assert!(
            matches!(&spooling, BrokerStatus::Spooling(why) if why.contains("no route") && why.contains("DIR"))
        );
        assert_eq!(spooling.problem(), None);
        let full = is(down(), &BrokerStatus::Ready, held(true)).problem().unwrap();
        assert!(full.contains("no route") && full.contains("DIR is full"), "{full}");
        let disk = BrokerStatus::Blocked("no space".to_owned());
        assert!(is(down(), &disk, none).problem().unwrap().contains("no space"));
        assert_eq!(is(BrokerStatus::Ready, &disk, none), BrokerStatus::Ready, "the broker has room");
        assert!(is(BrokerStatus::Ready, &disk, held(false)).problem().is_some());
        assert_eq!(is(BrokerStatus::Closed, &disk, held(true)), BrokerStatus::Closed);
    }
}
