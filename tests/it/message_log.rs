//! The message log in PostgreSQL passes the suite for every message log, and the tests of what only a server
//! does.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use postern_shared::{
    event::{Event, EventKind},
    message::MessageId,
    value::Secret,
};
use postern_store::message_log::{
    Keeping, LogError, LoggedCallback, MessageLog, PostgresLog, conformance::LogStorage,
};
use postern_tests::{PASSWORD, Postgres, eventually};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

struct Database(String);

fn log(url: &str) -> Result<PostgresLog, LogError> {
    PostgresLog::new(&Secret::from(url.to_owned()), Keeping::full())
}

fn event() -> Result<Event> {
    Ok(Event::new(EventKind::Sent, MessageId::new(), "clinic".parse()?).about("+15551234567".parse()?))
}

#[async_trait]
impl LogStorage for Database {
    async fn open(&self, keeping: Keeping) -> Result<Arc<dyn MessageLog>> {
        let log = PostgresLog::new(&Secret::from(self.0.clone()), keeping)?;
        log.check().await?;
        Ok(Arc::new(log))
    }
}

macro_rules! conformance {
    ($($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let database = tokio::task::spawn_blocking(|| Database(Postgres::shared().database()));
            let database = Arc::new(database.await.unwrap());
            postern_store::message_log::conformance::run(stringify!($case), database).await.unwrap();
        }
    )*};
}
postern_store::for_each_log_case!(conformance);

/// Several processes start at once, and the schema is created once.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_made_by_one_of_many() -> Result<()> {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database()).await?;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        starts.spawn(async move { log(&url)?.record(&[event()?]).await.map_err(anyhow::Error::from) });
    }
    while let Some(start) = starts.join_next().await {
        start??;
    }
    Ok(())
}

/// Tables of the first version get the present columns, and keep their rows.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_earlier_version_are_brought_up() -> Result<()> {
    let server = tokio::task::spawn_blocking(Postgres::shared).await?;
    let url = server.database();
    let before = event()?;
    log(&url)?.record(std::slice::from_ref(&before)).await?;
    let database = url.rsplit('/').next().and_then(|end| end.split('?').next()).unwrap_or_default();
    server.sql(
        database,
        "ALTER TABLE postern.messages DROP COLUMN callback, DROP COLUMN fingerprint, DROP COLUMN answer; \
         UPDATE postern.log_settings SET value = '1' WHERE name = 'version'",
    );
    let log = log(&url)?;
    ensure!(log.callback(before.message_id).await? == LoggedCallback::NotWanted, "it was lost");
    ensure!(log.first_answer(before.message_id, "aa").await?.is_none());
    Ok(())
}

/// While the server is away, each call fails in time; when it is back, the log works again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_go_and_come_back() -> Result<()> {
    let server = tokio::task::spawn_blocking(Postgres::to_harm).await?;
    let log = log(&server.database())?;
    let first = event()?;
    log.record(std::slice::from_ref(&first)).await?;
    server.stop();
    for _ in 0..3 {
        let start = Instant::now();
        let away = log.record(&[event()?]).await;
        ensure!(matches!(away, Err(LogError::Unavailable(_))), "{away:?}");
        ensure!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
        ensure!(!format!("{away:?}").contains(PASSWORD), "the error holds the password");
    }
    server.start();
    eventually("the log works again", async || log.record(std::slice::from_ref(&first)).await).await;
    ensure!(log.message(first.message_id).await?.is_some(), "what was recorded is gone");
    Ok(())
}

/// An error says what to do and contains no password.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_must_mend_is_said() -> Result<()> {
    let server = tokio::task::spawn_blocking(Postgres::shared).await?;
    let right = server.database();
    for (url, said) in [
        (right.replace(PASSWORD, "wrong-password"), "password authentication failed"),
        (server.url("nobodys"), "does not exist"),
        (right.replace("sslmode=disable", "sslmode=require"), "TLS"),
        (format!("mysql://x:{PASSWORD}@h/d"), "postgres://"),
        (format!("postgres://x:{PASSWORD}@h/d?sslmode=verify-full"), "sslmode=require"),
    ] {
        let error = match log(&url) {
            Ok(log) => log.check().await.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let error = error.unwrap_or_default();
        ensure!(error.contains(said), "{error:?} does not say {said:?}");
        ensure!(!error.contains(PASSWORD) && !error.contains("wrong-password"), "{error:?} holds a password");
    }
    Ok(())
}

/// A value that fits no index is not taken for a server that is down, and the log goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_for_an_index_is_rejected() -> Result<()> {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database()).await?;
    let log = log(&url)?;
    // Random digits, since PostgreSQL compresses what repeats.
    let long: String = (0..250).map(|_| MessageId::new().to_string()).collect();
    let large = Event { external_id: Some(long), ..event()? };
    let small = event()?;
    let rejected = log.record(&[small.clone(), large]).await;
    ensure!(matches!(rejected, Err(LogError::Rejected(_))), "{rejected:?}");
    log.record(std::slice::from_ref(&small)).await?;
    ensure!(log.message(small.message_id).await?.is_some(), "the other event is not there");
    Ok(())
}

/// The guide's statements for PostgreSQL run on the real tables.
#[tokio::test(flavor = "multi_thread")]
async fn the_guide_s_statements_run() -> Result<()> {
    let server = tokio::task::spawn_blocking(Postgres::shared).await?;
    let url = server.database();
    let log = log(&url)?;
    let id: MessageId = "0199b2a5-0000-7000-8000-000000000000".parse()?;
    let about = |kind, code: Option<&str>| -> Result<Event> {
        let event = Event::new(kind, id, "clinic".parse()?).about("+15551234567".parse()?);
        Ok(Event { code: code.map(str::to_owned), ..event })
    };
    let sent = Event { external_id: Some("SM1".to_owned()), ..about(EventKind::Sent, None)? };
    log.record(&[about(EventKind::Deferred, Some("http_503"))?, sent, about(EventKind::Delivered, None)?])
        .await?;
    let guide = include_str!("../../docs/message-log.md");
    let (_, of_postgres) = guide.split_once("## In PostgreSQL").unwrap_or_default();
    let statements: Vec<&str> =
        of_postgres.split("```sql").skip(1).filter_map(|block| block.split("```").next()).collect();
    ensure!(statements.len() >= 6, "{statements:?}");
    let database = url.rsplit('/').next().and_then(|end| end.split('?').next()).unwrap_or_default();
    for statement in statements {
        ensure!(!server.sql(database, statement).is_empty(), "{statement} finds nothing");
    }
    Ok(())
}
