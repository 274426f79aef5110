//! The message log in SQLite passes the suite that every message log must pass, and further tests of its file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use postern_shared::{
    clock,
    event::{Content, Direction, Event, EventKind},
    message::{Identity, MessageId},
};
use postern_store::message_log::{
    Access, HashKey, Keeping, LogError, LoggedCallback, MessageLog, Retention, SqliteLog,
    conformance::LogStorage,
};
use rusqlite::Connection;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
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

async fn open(folder: &Path) -> Result<SqliteLog, LogError> {
    SqliteLog::open(folder, Keeping::full()).await
}

fn file(folder: &Path) -> PathBuf {
    folder.join("message-log.sqlite")
}

fn accepted(identity: &Identity) -> Event {
    let content = Content {
        direction: Direction::Outbound,
        identities: vec![identity.clone()],
        text: Some(format!("for {} alone", identity.as_str())),
        segments: Some(1),
        created_at: clock::now(),
        fields: serde_json::Map::new(),
    };
    let event = Event::new(EventKind::Accepted, MessageId::new(), "clinic".parse().unwrap());
    Event { content: Some(content), ..event }
}

/// The files' bytes hold nothing of a forgotten person, even if numbers were added in an order that moves rows
/// from page to page.
#[tokio::test(flavor = "multi_thread")]
async fn no_file_holds_a_forgotten_number() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let person = |number: u64| -> Identity {
        format!("+1{:010}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10_000_000_000).parse().unwrap()
    };
    let forgotten: Vec<Identity> = (0..20).map(|number| person(number * 200)).collect();
    for round in 0..3 {
        for batch in (0..4000).collect::<Vec<u64>>().chunks(256) {
            let events: Vec<Event> = batch.iter().map(|number| accepted(&person(*number))).collect();
            log.record(&events).await.unwrap();
        }
        for identity in &forgotten {
            assert_eq!(log.forget(identity).await.unwrap(), 1, "round {round}");
        }
    }
    for name in ["message-log.sqlite", "message-log.sqlite-wal"] {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        for identity in &forgotten {
            let number = identity.as_str().as_bytes();
            let found = bytes.windows(number.len()).filter(|window| *window == number).count();
            assert_eq!(found, 0, "{name} holds a forgotten number");
        }
    }
    log.close().await;
}

/// A message to many recipients has many rows, so one step removes few of them, and holds up nobody for long.
#[tokio::test]
async fn a_step_of_removing_is_small_even_if_messages_have_many_recipients() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let people: Vec<Identity> = (0..1000).map(|n| format!("+1555{n:07}").parse().unwrap()).collect();
    for _ in 0..20 {
        let mut event = accepted(&people[0]);
        event.content.as_mut().unwrap().identities = people.clone();
        log.record(&[event]).await.unwrap();
    }
    let removed = log.expire(&Retention { age: None, max_bytes: Some(1) }).await.unwrap();
    assert!((1..20).contains(&removed), "{removed}");
    log.close().await;
}

/// A reader holds up the end of the erasure. The second run finds no row, and still ends it.
#[tokio::test(flavor = "multi_thread")]
async fn forgetting_again_ends_what_a_reader_held_up() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let identity: Identity = "+15550123456".parse().unwrap();
    log.record(&[accepted(&identity)]).await.unwrap();
    let holds = || {
        ["message-log.sqlite", "message-log.sqlite-wal"].iter().any(|name| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            bytes.windows(identity.as_str().len()).any(|window| window == identity.as_str().as_bytes())
        })
    };
    let reader = Connection::open(file(folder.path())).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages").unwrap();
    let held_up = log.forget(&identity).await;
    assert!(
        matches!(&held_up, Err(LogError::Unavailable(why)) if why.contains("run forget again")),
        "{held_up:?}"
    );
    assert!(holds());
    reader.execute_batch("ROLLBACK").unwrap();
    assert_eq!(log.forget(&identity).await.unwrap(), 0);
    assert!(!holds());
    log.close().await;
}

#[tokio::test]
async fn the_files_are_their_owner_s_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let log = open(&folder).await.unwrap();
    log.record(&[accepted(&"+1".parse().unwrap())]).await.unwrap();
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.clone()), 0o700);
    for name in ["message-log.sqlite", "message-log.sqlite-wal"] {
        assert_eq!(mode(folder.join(name)), 0o600, "{name}");
    }
    log.close().await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    log.close().await;
    let says = async |word: &str| match open(folder.path()).await {
        Err(LogError::Broken(why)) => assert!(why.contains(word), "{why}"),
        other => panic!("{other:?}"),
    };
    let connection = Connection::open(file(folder.path())).unwrap();
    connection.execute("UPDATE log_settings SET value = '99' WHERE name = 'version'", []).unwrap();
    says("run the version of Postern that created them").await;
    connection.execute_batch("UPDATE log_settings SET value = '2'; PRAGMA application_id = 7").unwrap();
    says("another program's").await;
    drop(connection);
    std::fs::write(file(folder.path()), "no database, but a text that is longer than a header".repeat(50))
        .unwrap();
    says("not an SQLite file").await;
}

/// Makes a log of the first version with a message in it.
async fn earlier(folder: &Path) -> MessageId {
    let log = open(folder).await.unwrap();
    let event = accepted(&"+1".parse().unwrap());
    log.record(std::slice::from_ref(&event)).await.unwrap();
    log.close().await;
    let columns = ["callback", "fingerprint", "answer"];
    let connection = Connection::open(file(folder)).unwrap();
    for column in columns {
        connection.execute_batch(&format!("ALTER TABLE messages DROP COLUMN {column}")).unwrap();
    }
    connection.execute_batch("UPDATE log_settings SET value = '1' WHERE name = 'version'").unwrap();
    event.message_id
}

/// Processes that start together, such as ingress and dispatcher, do not fail because of each other, and use
/// the same key.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_be_the_first_to_open_a_log() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let folder = folder.path().to_owned();
            opening.spawn(async move {
                SqliteLog::open(&folder, Keeping::states(HashKey::in_folder(&folder)?)).await
            });
        }
        for log in opening.join_all().await {
            log.unwrap().close().await;
        }
    }
}

#[tokio::test]
async fn tables_of_an_earlier_version_are_brought_up_by_the_gateway_alone() {
    let folder = tempfile::tempdir().unwrap();
    let id = earlier(folder.path()).await;
    match SqliteLog::beside(&file(folder.path()), Keeping::full(), Access::Read).await {
        Err(LogError::Broken(why)) => assert!(why.contains("start the gateway of this version"), "{why}"),
        other => panic!("{other:?}"),
    }
    let log = open(folder.path()).await.unwrap();
    assert_eq!(log.callback(id).await.unwrap(), LoggedCallback::NotWanted);
    assert_eq!(log.first_answer(id, "aa").await.unwrap(), None);
    let asked = Event { callback: Some("a.b".to_owned()), ..accepted(&"+2".parse().unwrap()) };
    log.record(std::slice::from_ref(&asked)).await.unwrap();
    assert_eq!(log.callback(asked.message_id).await.unwrap(), LoggedCallback::Wanted("a.b".to_owned()));
    log.close().await;
    open(folder.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_row_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let event = accepted(&"+1".parse().unwrap());
    log.record(std::slice::from_ref(&event)).await.unwrap();
    let connection = Connection::open(file(folder.path())).unwrap();
    connection.execute("UPDATE recipients SET state = 'lost'", []).unwrap();
    let broken = log.message(event.message_id).await;
    assert!(matches!(&broken, Err(LogError::Broken(why)) if why.contains("`state`")), "{broken:?}");
    log.close().await;
}

/// While nothing can be written, events are refused with the reason, and reading still works.
#[tokio::test]
async fn a_log_that_takes_nothing_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let event = accepted(&"+1".parse().unwrap());
    log.record(std::slice::from_ref(&event)).await.unwrap();
    let other = Connection::open(file(folder.path())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = log.record(&[accepted(&"+2".parse().unwrap())]).await;
    assert!(
        matches!(&refused, Err(LogError::Unavailable(why)) if why.contains("another program")),
        "{refused:?}"
    );
    assert!(log.message(event.message_id).await.unwrap().is_some());
    other.execute_batch("ROLLBACK").unwrap();
    log.record(&[accepted(&"+2".parse().unwrap())]).await.unwrap();
    log.close().await;
}

/// The guide's statements run on the real tables, and find what is there.
#[tokio::test]
async fn the_guide_s_statements_run() {
    let guide = include_str!("../../../docs/message-log.md");
    let of_sqlite = guide.split("## In PostgreSQL").next().unwrap();
    let statements: Vec<&str> =
        of_sqlite.split("```sql").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(statements.len() >= 6, "{statements:?}");
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let id = "0199b2a5-0000-7000-8000-000000000000".parse().unwrap();
    let identity: Identity = "+15551234567".parse().unwrap();
    let about = |event| Event { message_id: id, ..Event::new(event, id, "clinic".parse().unwrap()) };
    let about = |event| about(event).about(identity.clone());
    let sent = Event { external_id: Some("SM1".to_owned()), ..about(EventKind::Sent) };
    let deferred = Event { code: Some("http_503".to_owned()), ..about(EventKind::Deferred) };
    let accepted = Event { message_id: id, ..accepted(&identity) };
    log.record(&[accepted, deferred, sent, about(EventKind::Delivered)]).await.unwrap();
    let connection = Connection::open(file(folder.path())).unwrap();
    for statement in statements {
        let mut prepared = connection.prepare(statement).unwrap();
        assert!(prepared.exists([]).unwrap(), "{statement} finds nothing");
    }
    let first = "SELECT id, at FROM message_history ORDER BY at LIMIT 1";
    let (shown, at): (String, String) =
        connection.query_row(first, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(shown, "0199b2a5-0000-7000-8000-000000000000");
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    log.close().await;
}
