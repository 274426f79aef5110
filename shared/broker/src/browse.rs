//! Looking at the messages that wait in a queue without consuming them.

use super::{Address, BrokerError, Envelope};
use async_trait::async_trait;
use std::fmt;

/// A look at the messages that waited in a queue when it began. Nothing is leased: consumers of the
/// queue notice nothing, and may take a message that is looked at.
#[async_trait]
pub trait Browse: Send + fmt::Debug {
    /// How many messages waited for a consumer when this began, including those that are not looked at.
    fn waiting(&self) -> u64;

    /// The next message, in the queue's order. `None` when all were seen.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn next(&mut self) -> Result<Option<BrowsedMessage>, BrokerError>;

    /// Replaces messages of the queue as `replacements` say, all in one transaction. Returns the numbers
    /// of the messages that were not replaced because they no longer wait: a consumer took them.
    ///
    /// # Errors
    /// The errors of [`Broker::publish`](super::Broker::publish). On an error nothing is replaced,
    /// except perhaps after a timeout.
    async fn replace(&mut self, replacements: Vec<Replacement>) -> Result<Vec<u64>, BrokerError>;
}

/// A message that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowsedMessage {
    /// Its number in the queue, which no other message there ever gets.
    pub number: u64,
    /// The message.
    pub envelope: Envelope,
}

/// The replacement of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Replacement {
    /// The number of the message to replace.
    pub number: u64,
    /// The messages that are published instead. Empty: the message is only removed.
    pub messages: Vec<(Address, Envelope)>,
}
