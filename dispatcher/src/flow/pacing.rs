//! When the next request may be made: by the rate, and by the lane whose turn it is.

use super::{
    lanes::LaneScheduler,
    rate::{Bucket, ProcessShare},
};
use postern_config::backend::flow::RateLimit;
use postern_shared::message::Priority;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// If no request waited for this long, the unused part of the rate is lost, except for the burst.
const IDLE: Duration = Duration::from_millis(50);

/// When something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// Now.
    Now,
    /// Not before this instant.
    At(Instant),
    /// Not before something changes.
    OnChange,
    /// Not at all: sending is paused, and the message is requeued.
    Paused,
}

/// A request that is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendRequest {
    pub(super) lane: Priority,
    /// What it counts for the rate.
    pub(super) cost: u32,
    /// Whether it belongs to the message that shows whether the provider is back.
    pub(super) probe: bool,
    /// Its place in the queue for the rate, from [`Pacing::waits`]. 0 if there is no rate.
    pub(super) ticket: u64,
}

/// Keeps a rate.
#[derive(Debug)]
pub(super) struct Pacing {
    pub(super) share: ProcessShare,
    bucket: Bucket,
    burst: f64,
    scheduler: LaneScheduler,
    /// The tickets of the requests that wait, by lane.
    waiting: [VecDeque<u64>; 2],
    next_ticket: u64,
    /// Messages in progress that have requests still to be made, by lane.
    unbegun: [usize; 2],
    /// Since when no request has waited.
    idle_since: Instant,
    /// The rate at which the bucket was last filled, per second.
    per_second: f64,
}

impl Pacing {
    /// Keeps `rate`. The processes that share it count each other within `settle`.
    pub(super) fn new(rate: RateLimit, settle: Duration, now: Instant) -> Self {
        let limit = rate.limit.per_second();
        Self {
            share: ProcessShare::new(limit, settle),
            bucket: Bucket::new(now),
            burst: rate.burst.map_or((limit / 10.0).max(1.0), f64::from),
            scheduler: LaneScheduler::default(),
            waiting: Default::default(),
            next_ticket: 0,
            unbegun: [0; 2],
            idle_since: now,
            per_second: limit,
        }
    }

    /// Notes that a message of `lane` was taken, whose requests are still to be made.
    pub(super) fn taken(&mut self, lane: Priority) {
        self.unbegun[index(lane)] += 1;
    }

    /// Notes that no request of a message of `lane` is still to be begun.
    pub(super) fn begun(&mut self, lane: Priority) {
        self.unbegun[index(lane)] = self.unbegun[index(lane)].saturating_sub(1);
    }

    /// Whether no message of `lane` has requests still to be made.
    pub(super) fn has_begun_all(&self, lane: Priority) -> bool {
        self.unbegun[index(lane)] == 0
    }

    /// Notes that a request no longer waits.
    pub(super) fn leaves(&mut self, lane: Priority, ticket: u64, now: Instant) {
        self.waiting[index(lane)].retain(|waiting| *waiting != ticket);
        if self.nobody_waits() {
            self.idle_since = now;
        }
    }

    /// Lets no request be made before `until`.
    pub(super) fn not_before(&mut self, until: Instant) {
        self.bucket.not_before(until);
    }

    fn nobody_waits(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Notes that a request of `lane` begins to wait for its turn, and returns its ticket.
    pub(super) fn waits(&mut self, lane: Priority, now: Instant) -> u64 {
        if self.nobody_waits() && now.saturating_duration_since(self.idle_since) > IDLE {
            self.bucket.idle(now, self.per_second, self.burst * self.share.part());
        }
        self.next_ticket += 1;
        self.waiting[index(lane)].push_back(self.next_ticket);
        self.next_ticket
    }

    /// When `request` may be made. `speed` is the part of the rate that is used now. If the answer is
    /// [`Release::Now`], the request is counted.
    pub(super) fn release(&mut self, request: SendRequest, speed: f64, now: Instant) -> Release {
        let (Some(share), Some(from)) = (self.share.per_second(), self.share.from()) else {
            return Release::OnChange;
        };
        self.bucket.not_before(from);
        if now < from {
            return Release::At(from);
        }
        let [normal, bulk] = &self.waiting;
        let first = self.waiting[index(request.lane)].front();
        if self.scheduler.next(!normal.is_empty(), !bulk.is_empty()) != Some(request.lane)
            || first != Some(&request.ticket)
        {
            return Release::OnChange;
        }
        let per_second = share * speed;
        if (per_second - self.per_second).abs() > f64::EPSILON {
            self.bucket.changed(now, self.per_second, per_second);
            self.per_second = per_second;
        }
        if now < self.bucket.due() {
            return Release::At(self.bucket.due());
        }
        self.bucket.take(now, per_second, self.burst * self.share.part(), request.cost);
        self.scheduler.went(request.lane);
        Release::Now
    }
}

fn index(lane: Priority) -> usize {
    match lane {
        Priority::Normal => 0,
        Priority::Bulk => 1,
    }
}
