//! Reads lists and tables that somebody else wrote, and holds no more of them than a message may contain.

use crate::read::with_exact_numbers;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};
use serde_json::{Map, Value, value::RawValue};
use std::{fmt, marker::PhantomData};

/// How many times as long as its limit a table may be with blanks and needless escapes: `\u00e9` is
/// three times as long as `é`.
const WRITTEN: usize = 4;
/// How many times as long a table may become when it is written again: `1e39` is read as a text of 40 digits.
const REWRITTEN: usize = 11;

/// Reads a list of at most `MOST` items, and stops at the first item that is too many.
///
/// # Errors
/// The value is not a list, one of its items is wrong, or there are too many.
pub(super) fn list<'de, D, T, const MOST: usize>(json: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Items<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &&*format!("a list of at most {MOST}")));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    json.deserialize_seq(Items::<T, MOST>(PhantomData))
}

/// Reads a table of at most `MOST` bytes, without blanks and needless escapes. A text that is much
/// longer is refused before it becomes a tree of values, which takes up to forty times the memory of the
/// text.
///
/// # Errors
/// The value is not a table, is too large, or is nested too deeply.
pub(super) fn table<'de, D: Deserializer<'de>, const MOST: usize>(
    json: D,
) -> Result<Map<String, Value>, D::Error> {
    let too_large = |bytes| D::Error::invalid_length(bytes, &&*format!("a table of at most {MOST} bytes"));
    let written = <&RawValue>::deserialize(json)?.get();
    if written.len() > MOST * WRITTEN {
        return Err(too_large(written.len()));
    }
    if !written.starts_with('{') {
        return Err(D::Error::invalid_value(Unexpected::Other("another value"), &"a map"));
    }
    // The text is known to be JSON: all that can be wrong is its depth.
    let unfit = |_| {
        let fit = "a table of at most 100 levels";
        D::Error::invalid_value(Unexpected::Map, &fit)
    };
    let table: Map<String, Value> = serde_json::from_str(&with_exact_numbers(written)).map_err(unfit)?;
    if written.len() * REWRITTEN > MOST {
        let bytes = serde_json::to_vec(&table).map_or(usize::MAX, |json| json.len());
        if bytes > MOST {
            return Err(too_large(bytes));
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use crate::message::{MAX_CONTEXT_BYTES, MAX_IDENTITIES, Outbound};

    fn read(more: &str) -> Result<Outbound, String> {
        let body = format!(r#"{{"backend":"demo","identities":["1"],"text":"x",{more}}}"#);
        Outbound::from_json(body.as_bytes()).map_err(|malformed| malformed.to_string())
    }

    #[test]
    fn a_context_is_bounded_as_the_interface_bounds_it() {
        let text = |bytes: usize| format!(r#""context":{{"c":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(read(&text(MAX_CONTEXT_BYTES)).is_ok());
        let escaped = format!(r#""context": {{ "c" : "{}" }}"#, "\\u00e9".repeat(32_000));
        assert!(read(&escaped).is_ok(), "64 kB in a text of 192 kB");
        for wrong in [
            text(MAX_CONTEXT_BYTES + 1),
            text(10_000_000),
            format!(r#""context":{{"c":[{}1]}}"#, "1e15,".repeat(10_000)),
            format!(r#""context":{{"c":[{}1]}}"#, "1,".repeat(5_000_000)),
        ] {
            let why = read(&wrong).unwrap_err();
            assert!(why.contains("context: must be a table of at most 65536 bytes"), "{why}");
        }
    }

    #[test]
    fn numbers_of_a_context_keep_their_digits() {
        let message =
            read(r#""context":{"id":4831666765594842123456,"n":[1.1e10,15550100.0,0.5,-7]}"#).unwrap();
        let expected = serde_json::json!({"id": "4831666765594842123456", "n": [11_000_000_000_u64, 15_550_100, 0.5, -7]});
        assert_eq!(serde_json::Value::Object(message.context), expected);
    }

    /// A retry is written from what was read: it must be readable again.
    #[test]
    fn what_is_read_can_be_read_again() {
        for (number, times) in
            [("1e15,", 600), ("1e15,", 3_000), ("1e15,", 3_440), ("1e39,", 1_500), ("1e400,", 3)]
        {
            let message = read(&format!(r#""context":{{"c":[{}1]}}"#, number.repeat(times))).unwrap();
            assert_eq!(Outbound::from_json(&message.to_json()).unwrap(), message);
        }
    }

    #[test]
    fn what_is_no_context_is_named_and_not_quoted() {
        let deep = format!(r#""context":{{"c":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
        for (wrong, says) in [
            (r#""context":["+1555"]"#.to_owned(), "context: must be a table"),
            (r#""context":"+1555""#.to_owned(), "context: must be a table"),
            (r#""context":null"#.to_owned(), "context: must be a table"),
            (deep, "context: must be a table of at most 100 levels"),
            (r#""context":{"+1555":}"#.to_owned(), "message: not valid JSON"),
        ] {
            let why = read(&wrong).unwrap_err();
            assert!(why.contains(says) && !why.contains("555"), "{why}");
        }
    }

    #[test]
    fn a_list_of_identities_is_read_no_further_than_to_one_too_many() {
        let many = |count: usize, last: &str| {
            let list = r#""1","#.repeat(count);
            let body = format!(r#"{{"backend":"demo","identities":[{list}{last}],"text":"x"}}"#);
            Outbound::from_json(body.as_bytes()).map_err(|malformed| malformed.to_string())
        };
        assert_eq!(many(MAX_IDENTITIES - 1, "\"1\"").unwrap().identities.len(), MAX_IDENTITIES);
        // A mistake after the limit is not even seen.
        let why = many(MAX_IDENTITIES + 1, "7").unwrap_err();
        assert!(why.contains("identities: must be a list of at most 10000"), "{why}");
        let why = many(1, "7").unwrap_err();
        assert!(why.contains("identities[1]: must be a string"), "{why}");
    }
}
