//! The query of `GET /v1/messages`, read so that one answer names everything wrong with it.

use crate::problem::Invalid;
use jiff::Timestamp;
use postern_service::{
    message_log::{ListOrder, MessageQuery},
    moment,
};
use postern_shared::{event::Direction, message::Identity, value::Window};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Display, str::FromStr, time::Duration};
use url::form_urlencoded;

/// The parameters that the query may have.
pub(super) const PARAMETERS: [&str; 11] = [
    "backend",
    "identity",
    "state",
    "direction",
    "external_id",
    "since",
    "until",
    "limit",
    "cursor",
    "order",
    "wait",
];
/// The most mistakes that one answer lists.
const MAX_LISTED: usize = 20;
/// The longest name of a parameter that an answer repeats, in characters.
const MAX_NAME: usize = 100;
/// The most messages of one answer.
const MAX_LIMIT: usize = 500;
/// The longest that a request waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long after its creation a message may appear in the log.
const LAG: Duration = Duration::from_secs(1);

/// The list that a client asks for.
#[derive(Debug, PartialEq)]
pub(super) struct ListRequest {
    /// The messages to list. The handler sets `allowed`.
    pub(super) query: MessageQuery,
    /// How long to wait if there are none. Zero: not at all.
    pub(super) wait: Duration,
}

/// Reads `query`, in which a time may be relative to `now`.
///
/// # Errors
/// Everything that is wrong with the query, at most 20 mistakes.
pub(super) fn read(query: &str, now: Timestamp) -> Result<ListRequest, Vec<Invalid>> {
    let mut wanted = ListRequest { query: MessageQuery::default(), wait: Duration::ZERO };
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let read = match PARAMETERS.into_iter().find(|known| *known == name) {
            None => Err(format!("unknown parameter; known: {}", PARAMETERS.join(", "))),
            Some(known) if !seen.insert(known) => Err("must be given once".to_owned()),
            Some(known) => wanted.set(known, &value, now),
        };
        if let Err(why) = read
            && errors.len() < MAX_LISTED
        {
            errors.push(Invalid::parameter(name.chars().take(MAX_NAME).collect::<String>(), why));
        }
    }
    if !wanted.wait.is_zero() && !seen.contains("order") {
        wanted.query.order = ListOrder::Oldest;
    }
    if !wanted.wait.is_zero() && wanted.query.order == ListOrder::Newest && errors.is_empty() {
        let why = "needs order=oldest: new messages come after the cursor only in that order";
        errors.push(Invalid::parameter("wait", why));
    }
    if let Some(until) = wanted.query.until {
        // Messages after `until` are not wanted: from then on, there is nothing to wait for.
        let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        wanted.wait = wanted.wait.min(left + LAG);
    }
    if errors.is_empty() { Ok(wanted) } else { Err(errors) }
}

impl ListRequest {
    /// Sets what the parameter `name`, one of [`PARAMETERS`], asks for.
    ///
    /// # Errors
    /// What is wrong with the parameter's value.
    fn set(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), String> {
        let Self { query, wait } = self;
        match name {
            "backend" => query.backend = Some(parsed(value)?),
            "identity" => query.identity = Some(identity(value)?),
            "state" => query.state = Some(parsed(value)?),
            "direction" => query.direction = Some(direction(value)?),
            "external_id" if value.is_empty() || value.contains('\0') => {
                return Err("must be a string without null characters".to_owned());
            }
            "external_id" => query.external_id = Some(value.to_owned()),
            "since" => query.since = Some(time(value, now)?),
            "until" => query.until = Some(time(value, now)?),
            "limit" => query.limit = limit(value)?,
            "cursor" => {
                let cursor = digits(value);
                query.cursor = Some(cursor.ok_or_else(|| "must be `next` of an earlier answer".to_owned())?);
            }
            "order" => query.order = order(value)?,
            _ => *wait = span(value)?,
        }
        Ok(())
    }
}

fn parsed<T: FromStr<Err: Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|rule: T::Err| rule.to_string())
}

/// Reads an identity. A `+` that was not written as `%2B` arrives as a blank, with which no identity begins.
fn identity(value: &str) -> Result<Identity, String> {
    match value.strip_prefix(' ') {
        Some(number) if !number.trim().is_empty() => parsed(&format!("+{number}")),
        _ => parsed(value),
    }
}

/// Reads a time. The `+` of its offset may have arrived as a blank, too.
fn time(value: &str, now: Timestamp) -> Result<Timestamp, String> {
    let read = moment::read(value, now);
    let read = read.or_else(|why| moment::read(&value.replace(' ', "+"), now).map_err(|_| why));
    read.map_err(|why| why.to_string())
}

fn direction(value: &str) -> Result<Direction, String> {
    match value {
        "inbound" => Ok(Direction::Inbound),
        "outbound" => Ok(Direction::Outbound),
        _ => Err("must be inbound or outbound".to_owned()),
    }
}

/// Reads a number without a sign.
fn digits<T: FromStr>(value: &str) -> Option<T> {
    Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn limit(value: &str) -> Result<usize, String> {
    let limit = digits(value).filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| format!("must be 1 to {MAX_LIMIT}"))
}

fn order(value: &str) -> Result<ListOrder, String> {
    match value {
        "newest" => Ok(ListOrder::Newest),
        "oldest" => Ok(ListOrder::Oldest),
        _ => Err("must be newest or oldest".to_owned()),
    }
}

/// Reads how long to wait, at most [`MAX_WAIT`]: the client asks again anyway.
fn span(value: &str) -> Result<Duration, String> {
    match Window::try_from(Value::from(value)) {
        Ok(Window(wait)) => Ok(wait.min(MAX_WAIT)),
        Err(_) => Err("must be a time such as 30s; a time longer than 60s counts as 60s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_service::message_log::{Cursor, LoggedState};
    use postern_shared::{message::State, value::BackendSelection};

    fn now() -> Timestamp {
        "2026-11-27T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_whole_query_is_read() {
        let all = "backend=clinic&identity=%2B1555&state=delivered&direction=outbound&external_id=SM%201\
                   &since=2h&until=2026-11-27T13:00:00%2B01:00&limit=500&cursor=17&order=oldest&wait=30s";
        let query = MessageQuery {
            backend: Some("clinic".parse().unwrap()),
            identity: Some("+1555".parse().unwrap()),
            state: Some(LoggedState::Outbound(State::Delivered)),
            direction: Some(Direction::Outbound),
            external_id: Some("SM 1".to_owned()),
            allowed: BackendSelection::All,
            since: Some("2026-11-27T10:00:00Z".parse().unwrap()),
            until: Some(now()),
            limit: 500,
            cursor: Some(Cursor(17)),
            order: ListOrder::Oldest,
        };
        // `until` is now: only messages that are on their way to the log may still come.
        assert_eq!(read(all, now()), Ok(ListRequest { query, wait: LAG }));
        let least = ListRequest { query: MessageQuery::default(), wait: Duration::ZERO };
        assert_eq!(read("", now()), Ok(least));
        let clumsy =
            read("identity=+1555&until=2026-11-27T14:00:00+01:00&order=oldest&wait=1h", now()).unwrap();
        assert_eq!(clumsy.query.identity, Some("+1555".parse().unwrap()), "a plus that is not encoded");
        assert_eq!(clumsy.query.until, Some("2026-11-27T13:00:00Z".parse().unwrap()));
        assert_eq!(clumsy.wait, MAX_WAIT);
        let over = read("until=2026-11-27T11:00:00Z&order=oldest&wait=30s", now()).unwrap();
        assert_eq!(over.wait, LAG, "nothing comes that is older than it is");
        for (query, order) in
            [("wait=30s", ListOrder::Oldest), ("wait=0s", ListOrder::Newest), ("", ListOrder::Newest)]
        {
            assert_eq!(read(query, now()).unwrap().query.order, order, "{query}");
        }
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let named = |query: &str| -> Vec<String> {
            let wrong = read(query, now()).unwrap_err();
            wrong.into_iter().map(|wrong| wrong.parameter.unwrap()).collect()
        };
        let empty: String = PARAMETERS.iter().map(|name| format!("{name}=&")).collect();
        assert_eq!(named(&empty), PARAMETERS);
        assert_eq!(named("limit=0&phone=1&wait=1s&order=up"), ["limit", "phone", "order"]);
    }

    #[test]
    fn each_wrong_value_says_what_is_right() {
        for (query, parameter, why) in [
            ("backend=No", "backend", "a-z, 0-9, - and _"),
            ("identity=%20", "identity", "not be blank"),
            ("state=lost", "state", "one of received, forwarded, queued"),
            ("direction=up", "direction", "inbound or outbound"),
            ("external_id=", "external_id", "must be a string"),
            ("external_id=%00", "external_id", "null characters"),
            ("since=2026-11-27", "since", "2h"),
            ("until=yesterday", "until", "2h"),
            ("limit=0", "limit", "1 to 500"),
            ("limit=501", "limit", "1 to 500"),
            ("limit=%2B1", "limit", "1 to 500"),
            ("cursor=abc", "cursor", "`next`"),
            ("cursor=-1", "cursor", "`next`"),
            ("order=down", "order", "newest or oldest"),
            ("wait=soon&order=oldest", "wait", "30s"),
            ("order=newest&wait=30s", "wait", "order=oldest"),
            ("limit=5&limit=5", "limit", "once"),
            ("phone=1", "phone", "known: backend, identity"),
        ] {
            let wrong = read(query, now()).unwrap_err();
            assert_eq!(wrong.len(), 1, "{query}: {wrong:?}");
            assert_eq!(wrong[0].parameter.as_deref(), Some(parameter), "{query}");
            assert!(wrong[0].detail.contains(why), "{query}: {}", wrong[0].detail);
        }
        assert_eq!(read(&"x=1&".repeat(50), now()).unwrap_err().len(), MAX_LISTED);
    }
}
