//! What PostgreSQL's errors mean, without quoting a value: a message of the server's may hold a row's.

use super::connection::DEADLINE;
use crate::message_log::LogError;
use std::error::Error as _;
use tokio_postgres::{Error, error::SqlState};

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // Of a connection: refused, unknown host, an untrusted certificate, closed.
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            return match why.contains("certificate") {
                true => Self::Unavailable(format!(
                    "PostgreSQL: {why}: set SSL_CERT_FILE to a file with the server's certificate authority, \
                     or set sslmode=disable if the network is trusted"
                )),
                false => Self::Unavailable(format!("PostgreSQL: {why}")),
            };
        };
        let (state, message) = (db.code(), db.message());
        let code = state.code();
        if *state == SqlState::QUERY_CANCELED || *state == SqlState::LOCK_NOT_AVAILABLE {
            return Self::TimedOut(DEADLINE);
        }
        match code.get(..2) {
            // Who may connect, to which database; what Postern's user may do. They quote names alone.
            Some("28" | "3D" | "3F" | "42") => Self::Broken(format!(
                "cannot be used: PostgreSQL says: {message} ({code}); check the URL and the rights of its \
                 user"
            )),
            Some("XX" | "58") => {
                Self::Broken(format!("may be damaged: PostgreSQL reports {code}; see the log of PostgreSQL"))
            }
            Some("53" | "57" | "25") => Self::Unavailable(format!("PostgreSQL says: {message} ({code})")),
            _ => Self::Unavailable(format!("PostgreSQL reports {code}; see the log of PostgreSQL")),
        }
    }
}
