//! Looking at what waits in a queue without taking it.

use super::{Address, BrokerError, Envelope};
use async_trait::async_trait;
use std::fmt;

/// A look at what waited in a queue when it began. Nothing is leased: whoever takes from the queue meanwhile
/// sees no difference, and may take what is looked at.
#[async_trait]
pub trait Browse: Send + fmt::Debug {
    /// How many messages waited for a consumer when this began, whichever of them are looked at.
    fn waiting(&self) -> u64;

    /// The next message, in the queue's order. `None` when all were seen.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn next(&mut self) -> Result<Option<BrowsedMessage>, BrokerError>;

    /// Puts what each of `replacements` says in place of a message of the queue, all of it in one transaction.
    /// Returns the numbers of the messages that nothing was put in place of, since they did not wait any more:
    /// somebody has taken them.
    ///
    /// # Errors
    /// As [`Broker::publish`](super::Broker::publish); then nothing is replaced.
    async fn replace(&mut self, replacements: Vec<Replacement>) -> Result<Vec<u64>, BrokerError>;
}

/// A message that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowsedMessage {
    /// Its number in the queue, which is its own for ever.
    pub number: u64,
    /// The message.
    pub envelope: Envelope,
}

/// What is put in place of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Replacement {
    /// The message's number.
    pub number: u64,
    /// What is published instead; nothing if the message is dropped.
    pub messages: Vec<(Address, Envelope)>,
}
