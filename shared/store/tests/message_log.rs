//! The message log in SQLite passes the suite that every message log must pass; and what only a file does.

use async_trait::async_trait;
use postern_store::message_log::{Keeping, MessageLog, SqliteLog, conformance::LogStorage};
use std::sync::Arc;
use tempfile::TempDir;

struct Folder(TempDir);

#[async_trait]
impl LogStorage for Folder {
    async fn open(&self, keeping: Keeping) -> anyhow::Result<Arc<dyn MessageLog>> {
        Ok(Arc::new(SqliteLog::open(&self.0.path().join("log"), keeping).await?))
    }
}

macro_rules! conformance {
    ($($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let folder = Arc::new(Folder(tempfile::tempdir().unwrap()));
            postern_store::message_log::conformance::run(stringify!($case), folder).await.unwrap();
        }
    )*};
}
postern_store::for_each_log_case!(conformance);
