//! Connections to PostgreSQL: opened when they are needed, kept while they work.

use super::{schema, tls::PostgresTls};
use crate::message_log::{Keeping, LogError};
use postern_shared::{backoff::Backoff, value::Secret};
use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;
use tokio_postgres::{Client, Config, NoTls, Statement, config::SslMode};

/// How long an operation may take, or each of its steps if it has several.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// The most connections at the same time.
const MOST: usize = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct ConnectionPool {
    config: Config,
    tls: Option<PostgresTls>,
    keeping: Keeping,
    places: Semaphore,
    idle: Mutex<Vec<Session>>,
    failed: Mutex<Failed>,
}

/// The last failed attempt to connect. No other attempt is made before the pause is over.
struct Failed {
    backoff: Backoff,
    last: Option<(Instant, LogError)>,
}

/// A connection, and the statements that are prepared on it.
pub(super) struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl ConnectionPool {
    pub(super) fn new(url: &Secret, keeping: Keeping) -> Result<Self, LogError> {
        let form = "postgres://user:password@host:port/database?sslmode=require (or prefer, or disable)";
        let broken = || LogError::Broken(format!("needs a URL of this form: {form}"));
        let text = url.expose();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(broken());
        }
        // The parser's own error may quote the URL.
        let mut config: Config = text.parse().map_err(|_| broken())?;
        config.application_name("postern").connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(DEADLINE);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(
                PostgresTls::new().map_err(|e| LogError::Broken(format!("cannot read certificates: {e}")))?,
            ),
        };
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).with_jitter();
        let failed = Mutex::new(Failed { backoff, last: None });
        let places = Semaphore::new(MOST);
        Ok(Self { config, tls, keeping, places, idle: Mutex::default(), failed })
    }

    /// Runs `doing` with a connection that nobody else uses meanwhile, within [`DEADLINE`].
    pub(super) async fn run<T>(
        &self,
        doing: impl AsyncFnOnce(&mut Session) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        self.run_within(DEADLINE, doing).await
    }

    /// Runs `doing` with a connection that nobody else uses meanwhile, within `deadline`.
    pub(super) async fn run_within<T>(
        &self,
        deadline: Duration,
        doing: impl AsyncFnOnce(&mut Session) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let whole = async {
            let closed = |_| LogError::Unavailable("it is closed".to_owned());
            let _place = self.places.acquire().await.map_err(closed)?;
            let mut session = self.session().await?;
            let done = doing(&mut session).await;
            // After an error a transaction may be open, so the connection is dropped: the server then ends both.
            if done.is_ok() && !self.places.is_closed() {
                lock(&self.idle).push(session);
            }
            done
        };
        tokio::time::timeout(deadline, whole).await.unwrap_or(Err(LogError::TimedOut(deadline)))
    }

    /// Closes idle connections at once, and the others when their operations end.
    pub(super) fn close(&self) {
        self.places.close();
        lock(&self.idle).clear();
    }

    async fn session(&self) -> Result<Session, LogError> {
        loop {
            let idle = lock(&self.idle).pop();
            match idle {
                Some(session) if session.client.is_closed() => {}
                Some(session) => return Ok(session),
                None => break,
            }
        }
        if let Some((until, why)) = &lock(&self.failed).last
            && Instant::now() < *until
        {
            return Err(why.clone());
        }
        match self.connect().await {
            Ok(session) => {
                let mut failed = lock(&self.failed);
                failed.backoff.reset();
                failed.last = None;
                Ok(session)
            }
            Err(why) => {
                let mut failed = lock(&self.failed);
                let until = Instant::now() + failed.backoff.pause();
                failed.last = Some((until, why.clone()));
                Err(why)
            }
        }
    }

    async fn connect(&self) -> Result<Session, LogError> {
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
        };
        let milliseconds = DEADLINE.as_millis();
        client
            .batch_execute(&format!(
                "SET statement_timeout = {milliseconds}; SET idle_in_transaction_session_timeout = {milliseconds}; \
                 SET client_min_messages = warning"
            ))
            .await?;
        schema::prepare(&client, &self.keeping).await?;
        Ok(Session { client, statements: HashMap::new() })
    }
}

impl Session {
    /// The prepared statement for `sql`. It is prepared once for each connection.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, LogError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
