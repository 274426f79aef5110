//! How the spool and the broker behind it fare, in one status.

use super::{Core, SpoolUsage};
use postern_broker::{Broker as _, Status};
use std::sync::Arc;

/// Keeps the status true until the spool is closed.
pub(super) async fn watch(core: Arc<Core>) {
    let (mut broker, mut store) = (core.broker.status(), core.store.status());
    let mut usage = core.usage.watch();
    let mut empty = usage.borrow_and_update().messages == 0;
    if !empty {
        tracing::info!(
            dir = core.dir,
            messages = usage.borrow().messages,
            "the spool holds messages of before"
        );
    }
    loop {
        let changed = tokio::select! {
            changed = broker.changed() => changed,
            changed = store.changed() => changed,
            changed = usage.changed() => changed,
            () = core.closed() => return,
        };
        // The broker or the store is gone: the process is about to end.
        if changed.is_err() {
            return core.closed().await;
        }
        core.tell();
        let now = usage.borrow_and_update().messages == 0;
        match (std::mem::replace(&mut empty, now), now) {
            (true, false) => tracing::warn!(dir = core.dir, "messages are stored in the spool"),
            (false, true) => tracing::info!(dir = core.dir, "the spool is empty: all was forwarded"),
            _ => {}
        }
    }
}

impl Core {
    /// Sets the status to what is the case now.
    pub(super) fn tell(&self) {
        let (broker, store) = (self.broker.status().borrow().clone(), self.store.status().borrow().clone());
        let now = combined(broker, &store, self.usage.usage(), &self.dir);
        self.status.send_if_modified(|status| {
            let changed = *status != now && *status != Status::Closed;
            if changed {
                *status = now;
            }
            changed
        });
    }
}

/// What can be said of both together.
fn combined(broker: Status, store: &Status, usage: SpoolUsage, dir: &str) -> Status {
    let unwritable = match store {
        Status::Blocked(why) | Status::Connecting(why) | Status::Spooling(why) => Some(why.clone()),
        Status::Ready | Status::Closed => None,
    };
    let full = usage.full.then(|| format!("the spool in {dir} is full"));
    match (unwritable.or(full), broker) {
        (_, Status::Closed) => Status::Closed,
        (None, broker @ (Status::Ready | Status::Spooling(_))) => broker,
        (None, broker) => Status::Spooling(format!(
            "broker {}; messages are stored in {dir} and forwarded when it is back",
            broker.problem().unwrap_or_default()
        )),
        (Some(why), Status::Connecting(broker)) => Status::Connecting(format!("{broker}; {why}")),
        (Some(why), Status::Blocked(broker)) => Status::Blocked(format!("{broker}; {why}")),
        // What goes behind spooled messages has no place; everything else goes to the broker.
        (Some(why), Status::Ready) if usage.messages > 0 => Status::Blocked(why),
        (Some(_), broker) => broker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_can_store_is_usable_and_one_that_cannot_says_both_reasons() {
        let down = || Status::Connecting("no route".to_owned());
        let held = |full| SpoolUsage { messages: 5, bytes: 9, full };
        let none = SpoolUsage::default();
        let is = |broker, store: &Status, usage| combined(broker, store, usage, "DIR");
        assert_eq!(is(Status::Ready, &Status::Ready, held(false)), Status::Ready);
        let spooling = is(down(), &Status::Ready, none);
        assert!(
            matches!(&spooling, Status::Spooling(why) if why.contains("no route") && why.contains("DIR"))
        );
        assert_eq!(spooling.problem(), None);
        let full = is(down(), &Status::Ready, held(true)).problem().unwrap();
        assert!(full.contains("no route") && full.contains("DIR is full"), "{full}");
        let disk = Status::Blocked("no space".to_owned());
        assert!(is(down(), &disk, none).problem().unwrap().contains("no space"));
        assert_eq!(is(Status::Ready, &disk, none), Status::Ready, "the broker has room");
        assert!(is(Status::Ready, &disk, held(false)).problem().is_some());
        assert_eq!(is(Status::Closed, &disk, held(true)), Status::Closed);
    }
}
