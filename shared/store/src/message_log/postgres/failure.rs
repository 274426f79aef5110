//! The meaning of PostgreSQL's errors. No value is quoted: the server's message may hold values of a row.

use super::connection::DEADLINE;
use crate::message_log::LogError;
use std::error::Error as _;
use tokio_postgres::{Error, error::SqlState};

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // An error of the connection: refused, unknown host, untrusted certificate, or closed.
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
            // Errors about logins, databases and permissions. Their messages quote only names.
            Some("28" | "3D" | "3F" | "42") => Self::Broken(format!(
                "cannot be used: PostgreSQL says: {message} ({code}); check the URL and the rights of its \
                 user"
            )),
            Some("XX" | "58") => {
                Self::Broken(format!("may be damaged: PostgreSQL reports {code}; see the log of PostgreSQL"))
            }
            // Errors about a value, and about one that is too large, such as for an index.
            Some("22" | "54") => {
                Self::Rejected(format!("PostgreSQL reports {code}; see the log of PostgreSQL"))
            }
            Some("53" | "57" | "25") => Self::Unavailable(format!("PostgreSQL says: {message} ({code})")),
            _ => Self::Unavailable(format!("PostgreSQL reports {code}; see the log of PostgreSQL")),
        }
    }
}
