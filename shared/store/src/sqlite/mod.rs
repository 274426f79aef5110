//! The file `postern.db` of a folder: who may open it, what is in it, and what its errors mean.
//!
//! One process at a time writes it: the one that holds the lock on the folder's file `lock`. Others may read
//! meanwhile. `schema` has the tables and the steps from one version to the next.

mod connect;
mod error;
mod folder;
mod log_end;
mod open;
mod schema;

pub(crate) use connect::{connect, touch, use_wal};
pub(crate) use error::StoreError;
pub(crate) use folder::{Folder, private};
pub(crate) use open::{Database, open, read_beside};
pub(crate) use schema::NUMBER_BITS;

use std::path::Path;

/// The name of the file with a folder's messages.
pub const FILE: &str = "postern.db";

/// Whether the folder `dir` holds a store, also one of an unreleased version of Postern.
pub fn is_used(dir: &Path) -> bool {
    dir.join(FILE).exists() || folder::has_an_unreleased_store(dir)
}
