//! Listeners for clients that speak another gateway's protocol. `kannel` and `vumi` are the
//! handlers, `sendsms` and `vumi_message` read what each is told, `users` lets in who may send,
//! `consumer_probe` knows whether a message will wait, `answer` begins an answer.
//!
//! A client that shows a user's name and password, from one of the user's addresses, has its request made
//! into the same `Submission` as one of `/v1/messages`, and gets the other gateway's own answers. The 202
//! comes after the broker's confirm.

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

/// The compatibility listeners, made ready.
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
