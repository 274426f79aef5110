//! Postern with the programs that it is made to work with: Kannel, Jasmin, RapidSMS, the libraries of Twilio and
//! other vendors; and Schemathesis, which generates requests. `tests/run` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod infobip;
mod jasmin;
mod kannel;
mod openapi;
mod python;
mod pywa;
mod rapidsms;
mod readme;
mod reports;
mod smsgate;
mod telegram;
mod twilio;
mod vendors;
