//! The task of each consumer, between its [`Feed`] and the writer.

use super::{
    op::{Op, Ops},
    queue::Leased,
};
use postern_broker::{Feed, SettleRequest};
use tokio::sync::mpsc;

/// The most settlements that are passed on at once.
const AT_ONCE: usize = 256;

/// Tells the writer that the consumer has ended, even if the runtime drops its task.
struct ConsumerEnd {
    consumer: u64,
    ops: Ops,
}

impl Drop for ConsumerEnd {
    fn drop(&mut self) {
        let _ = self.ops.send(Op::Ended(self.consumer));
    }
}

/// Passes leased messages from the writer to the caller, and settlements from the caller to the writer, until the
/// writer ends the consumer.
pub(super) async fn feed_consumer(
    consumer: u64,
    mut feed: Feed,
    mut leased: mpsc::UnboundedReceiver<Vec<Leased>>,
    ops: Ops,
) {
    let ended = ConsumerEnd { consumer, ops };
    let mut stopped = false;
    let mut settlements = Vec::with_capacity(AT_ONCE);
    loop {
        tokio::select! {
            biased;
            _told = &mut feed.stopped, if !stopped => {
                stopped = true;
                let _ = ended.ops.send(Op::Stop(consumer));
            }
            _ = feed.settlements.recv_many(&mut settlements, AT_ONCE) => settle(&ended, &mut settlements),
            batch = leased.recv() => {
                let Some(batch) = batch else { break };
                for Leased { sequence, envelope, redelivered, lost } in batch {
                    // If the caller is gone, the dropped delivery requeues itself.
                    let _ = feed.deliver(sequence, envelope, redelivered, lost);
                }
            }
        }
    }
    while let Ok(settlement) = feed.settlements.try_recv() {
        settlements.push(settlement);
    }
    settle(&ended, &mut settlements);
}

fn settle(ConsumerEnd { consumer, ops }: &ConsumerEnd, settlements: &mut Vec<SettleRequest>) {
    if !settlements.is_empty() {
        let _ = ops.send(Op::Settle(*consumer, std::mem::take(settlements)));
    }
}
