//! Which deliveries of a channel are unsettled, and how to settle many at once.

use postern_broker::Settle;
use std::collections::VecDeque;

/// A frame that settles deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettleFrame {
    /// `basic.ack` of this delivery.
    Ack(u64),
    /// `basic.ack` of this delivery and of every earlier one that is still unsettled.
    AckUpTo(u64),
    /// `basic.nack` with requeue of this delivery.
    Nack(u64),
}

/// The deliveries of one channel, from the earliest unsettled one on.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// The tag of the first entry of `settled`.
    first: u64,
    settled: VecDeque<bool>,
}

impl Unsettled {
    /// Records that the broker delivered `tag`. The tags of one channel count up by one.
    pub(super) fn delivered(&mut self, tag: u64) {
        if self.settled.is_empty() {
            self.first = tag;
        }
        self.settled.push_back(false);
    }

    /// Settles deliveries. Returns what to tell the broker, in this order. Unknown and already settled tags are
    /// ignored.
    pub(super) fn settle(&mut self, mut settles: Vec<(u64, Settle)>) -> Vec<SettleFrame> {
        // A queue redelivers in the order in which messages were requeued.
        settles.sort_unstable_by_key(|(tag, _)| *tag);
        let mut frames = Vec::new();
        let mut acked = Vec::with_capacity(settles.len());
        for (tag, settle) in settles {
            let place = tag.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
            let Some(settled) = place.and_then(|place| self.settled.get_mut(place)) else { continue };
            if std::mem::replace(settled, true) {
                continue;
            }
            match settle {
                Settle::Ack => acked.push(tag),
                Settle::Requeue => frames.push(SettleFrame::Nack(tag)),
            }
        }
        while self.settled.front() == Some(&true) {
            self.settled.pop_front();
            self.first += 1;
        }
        // Everything before `first` is settled, so that one ack may cover all of it.
        let covered = acked.partition_point(|tag| *tag < self.first);
        match &acked[..covered] {
            [] => {}
            [one] => frames.push(SettleFrame::Ack(*one)),
            [.., last] => frames.push(SettleFrame::AckUpTo(*last)),
        }
        frames.extend(acked[covered..].iter().map(|tag| SettleFrame::Ack(*tag)));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Settle::{Ack, Requeue};
    use SettleFrame::{Ack as Ack_, AckUpTo, Nack};
    use std::collections::BTreeMap;

    fn unsettled(deliveries: u64) -> Unsettled {
        let mut unsettled = Unsettled::default();
        (1..=deliveries).for_each(|tag| unsettled.delivered(tag));
        unsettled
    }

    #[test]
    fn neighbours_are_acked_at_once_and_stragglers_alone() {
        let mut unsettled = unsettled(6);
        assert_eq!(unsettled.settle(vec![(2, Ack), (4, Ack)]), [Ack_(2), Ack_(4)]);
        assert_eq!(unsettled.settle(vec![(1, Ack), (3, Ack)]), [AckUpTo(3)]);
        assert_eq!(unsettled.settle(vec![(6, Requeue), (5, Requeue)]), [Nack(5), Nack(6)]);
        unsettled.delivered(7);
        assert_eq!(unsettled.settle(vec![(7, Ack)]), [Ack_(7)]);
    }

    #[test]
    fn a_requeue_goes_before_the_ack_that_would_cover_it() {
        assert_eq!(unsettled(3).settle(vec![(1, Ack), (2, Requeue), (3, Ack)]), [Nack(2), AckUpTo(3)]);
    }

    #[test]
    fn what_is_unknown_or_settled_is_passed_over() {
        let mut unsettled = unsettled(2);
        assert_eq!(unsettled.settle(vec![(0, Ack), (3, Ack), (1, Ack)]), [Ack_(1)]);
        assert_eq!(unsettled.settle(vec![(1, Requeue)]), []);
    }

    /// A broker that follows the frames ends up with what was decided, in any order.
    #[test]
    fn any_order_of_settlement_means_the_same() {
        let mut seed: u64 = 1;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for _ in 0..200 {
            let (mut unsettled, mut open) = (Unsettled::default(), Vec::new());
            let (mut decided, mut broker) = (BTreeMap::new(), BTreeMap::new());
            let mut next = 1;
            while next < 60 || !open.is_empty() {
                for _ in 0..random(5).min(60 - next as usize) {
                    unsettled.delivered(next);
                    open.push(next);
                    broker.insert(next, None);
                    next += 1;
                }
                let mut settles = Vec::new();
                for _ in 0..random(4).min(open.len()) {
                    let tag = open.swap_remove(random(open.len()));
                    let settle = if random(4) == 0 { Requeue } else { Ack };
                    decided.insert(tag, Some(settle));
                    settles.push((tag, settle));
                }
                for frame in unsettled.settle(settles) {
                    match frame {
                        Ack_(tag) => assert_eq!(broker.insert(tag, Some(Ack)), Some(None)),
                        Nack(tag) => assert_eq!(broker.insert(tag, Some(Requeue)), Some(None)),
                        AckUpTo(tag) => {
                            broker.range_mut(..=tag).for_each(|(_, v)| *v = v.or(Some(Ack)));
                        }
                    }
                }
            }
            assert_eq!(broker, decided);
        }
    }
}
