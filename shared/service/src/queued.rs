//! A message in a backend's queue: from when it counts, and under another backend's name.

use bytes::Bytes;
use jiff::Timestamp;
use postern_broker::{Envelope, queued::says};
use postern_shared::message::{BackendName, Outbound, Priority};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message that waits in a queue, or was taken from it.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a> {
    /// The message as it was in the queue.
    pub envelope: &'a Envelope,
    /// The message.
    pub message: &'a Outbound,
    /// The lane that it came in.
    pub lane: Priority,
}

impl Queued<'_> {
    /// When it was created, or later put into its queue by an operator. If its publisher does not say when
    /// it was created, that is `seen`, when it was first seen in its queue.
    pub fn counts_from(&self, seen: Timestamp) -> Timestamp {
        let created_at = if says(&self.envelope.body).created_at { self.message.created_at } else { seen };
        self.envelope.requeued_at().map_or(created_at, |requeued| requeued.max(created_at))
    }
}

/// The body of a queued message with another backend, otherwise byte for byte as it is. `None` if it is no
/// message.
pub fn with_backend(body: &Bytes, backend: &BackendName) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Addressed<'a> {
        #[serde(borrow)]
        backend: &'a RawValue,
    }
    // Serde would take an array for the same in another form.
    let object = body.trim_ascii_start().starts_with(b"{");
    let named = object.then(|| serde_json::from_slice::<Addressed<'_>>(body).ok())??.backend.get();
    let start = named.as_ptr() as usize - body.as_ptr() as usize;
    let end = start + named.len();
    Some([&body[..start], b"\"", backend.as_str().as_bytes(), b"\"", &body[end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::queued::read;

    #[test]
    fn another_backend_changes_nothing_else() {
        let klinik: BackendName = "klinik".parse().unwrap();
        for (was, is) in [
            (
                r#"{ "own": 1e99, "backend" : "clinic" , "a":{"backend":"x"} }"#,
                Some(r#"{ "own": 1e99, "backend" : "klinik" , "a":{"backend":"x"} }"#),
            ),
            (r#"{"backend":"cli\u006eic"}"#, Some(r#"{"backend":"klinik"}"#)),
            (r#"{"identities":["1"]}"#, None),
            (r#"["backend"]"#, None),
            ("no json", None),
        ] {
            let is = is.map(|is| Bytes::from(is.to_owned()));
            assert_eq!(with_backend(&Bytes::from(was.to_owned()), &klinik), is, "{was}");
        }
    }

    #[test]
    fn it_counts_from_its_creation_or_from_when_an_operator_put_it_there() {
        let [created, seen, requeued]: [Timestamp; 3] =
            ["2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z", "2026-11-27T10:00:00Z"]
                .map(|at| at.parse().unwrap());
        let undated = r#"{"backend":"demo","identities":["1"],"text":"x"}"#.to_owned();
        let dated = format!(r#"{{"created_at":"{created}",{}"#, &undated[1..]);
        let envelope = |body: &str| Envelope { body: body.to_owned().into(), ..Envelope::default() };
        for (envelope, expected) in [
            (envelope(&dated), created),
            (envelope(&undated), seen),
            (envelope(&dated).requeued(requeued), requeued),
            (envelope(&undated).requeued(requeued), requeued),
            (envelope(&undated).requeued(created), seen),
        ] {
            let message = read(&envelope).unwrap();
            let queued = Queued { envelope: &envelope, message: &message, lane: Priority::Normal };
            assert_eq!(queued.counts_from(seen), expected);
        }
    }
}
