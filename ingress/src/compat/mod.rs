//! Listeners for clients that speak another gateway's protocol. `kannel` and `vumi` are the handlers,
//! `sendsms` and `vumi_message` read their requests, `users` authenticates, `consumer_probe` finds out
//! whether a message will wait, and `answer` has what the answers have in common.
//!
//! A client sends a user's name and password, from one of the user's addresses. Its request becomes the same
//! `Submission` as one to `/v1/messages`, and it gets the other gateway's own answers. A 2xx is sent only
//! after the broker's confirm.

mod answer;
mod consumer_probe;
pub(crate) mod kannel;
mod sendsms;
mod users;
pub(crate) mod vumi;
mod vumi_message;

use consumer_probe::ConsumerProbe;
use postern_config::CompatSection;
use postern_service::rates::Buckets;
use postern_shared::callback::EgressPolicy;
use users::Users;

/// The compatibility listeners, prepared from the configuration.
#[derive(Debug)]
pub(crate) struct Compat {
    kannel: Users,
    vumi: Users,
    reach: EgressPolicy,
    consumers: ConsumerProbe,
}

/// What the users of each listener have left of their rates. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserBuckets {
    kannel: Buckets<String>,
    vumi: Buckets<String>,
}

impl Compat {
    pub(crate) fn new(section: &CompatSection, buckets: UserBuckets) -> Self {
        let UserBuckets { kannel, vumi } = buckets;
        Self {
            kannel: Users::new(section.kannel.iter().flat_map(|kannel| &kannel.users), kannel),
            vumi: Users::new(section.vumi.iter().flat_map(|vumi| &vumi.users), vumi),
            reach: EgressPolicy::new(&section.callbacks.allow),
            consumers: ConsumerProbe::default(),
        }
    }
}
