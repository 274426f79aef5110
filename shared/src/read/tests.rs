use super::*;
use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Whole {
    name: String,
    numbers: Vec<u8>,
    parts: Vec<Part>,
    kind: Option<Kind>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Part {
    on: bool,
    text: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Big,
    Small,
}

/// The values of one file; `name` may be a number that is meant as a text.
struct File;

impl Origin for File {
    fn built_in(&self, place: &Place) -> Option<Value> {
        (place.to_string() == "parts").then(|| json!([{"on": false, "text": "built in"}]))
    }

    fn may_be_text(&self, place: &Place) -> bool {
        place.to_string() == "name"
    }
}

fn texts<T>(reading: &Reading<T>) -> Vec<String> {
    reading.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_found_in_its_own_place() {
    let value = json!({
        "name": "a", "numbers": [1, "x", 3, 400], "odd": 1, "kind": "medium",
        "parts": [{"on": 1, "text": "a"}, {"on": true, "text": "b", "more": 1}, 7, {"on": true, "text": 8}]
    });
    let reading: Reading<Whole> = every(value, &File);
    assert_eq!(
        texts(&reading),
        [
            "numbers[1]: must be a whole number from 0 to 255",
            "numbers[3]: must be a whole number from 0 to 255",
            "odd: unknown key; allowed here: name, numbers, parts, kind",
            "kind: unknown value; allowed: \"big\" or \"small\"",
            "parts[0].on: must be true or false",
            "parts[1].more: unknown key; allowed here: on or text",
            "parts[2]: must be a table",
            "parts[3].text: must be a string",
        ]
    );
    assert_eq!(reading.removed.original(&"numbers[1]".into()), "numbers[2]".into());
}

#[test]
fn a_list_is_no_table_and_a_number_no_choice() {
    let whole = |change: Value| {
        let mut value = json!({"name": "a", "numbers": [], "parts": [], "kind": "big"});
        let (Value::Object(table), Value::Object(change)) = (&mut value, change) else { unreachable!() };
        table.extend(change);
        from_value::<Whole>(&value).map_err(|mistake| mistake.to_string())
    };
    assert_eq!(whole(json!({})).unwrap().kind, Some(Kind::Big));
    assert_eq!(whole(json!({"kind": null})).unwrap().kind, None);
    for (change, says) in [
        (json!({"parts": [[true, "a"]]}), "parts[0]: must be a table"),
        (json!({"parts": [{"on": true, "text": "a"}, []]}), "parts[1]: must be a table"),
        (json!({"kind": 7}), "kind: unknown value; allowed: \"big\" or \"small\""),
        (json!({"kind": ["big"]}), "kind: unknown value; allowed: \"big\" or \"small\""),
        (json!({"kind": {"big": null, "small": null}}), "kind: must be a table of one key"),
    ] {
        assert_eq!(whole(change.clone()).unwrap_err(), says, "{change}");
    }
    assert_eq!(from_value::<Whole>(&json!(["a", [], []])).unwrap_err().to_string(), "must be a table");
}

#[test]
fn what_is_missing_hides_nothing_else() {
    let reading: Reading<Whole> = every(json!({"name": 7, "numbers": ["x"]}), &File);
    assert_eq!(texts(&reading), ["numbers[0]: must be a whole number from 0 to 255", "parts: is missing"]);
    let whole = reading.value.unwrap();
    assert_eq!((whole.name.as_str(), whole.parts[0].text.as_str()), ("7", "built in"));
}

#[test]
fn no_more_is_looked_for_than_is_enough() {
    struct Two;
    impl Origin for Two {
        fn enough(&self) -> usize {
            2
        }
    }
    let reading: Reading<Vec<u8>> = every(json!(vec!["x"; 1_000]), &Two);
    assert_eq!(texts(&reading).len(), 2);
    assert!(reading.value.is_none());
}

#[test]
fn a_text_that_is_no_json_has_a_line_and_a_column() {
    for (text, says) in [
        ("{\"name\":\n7,", "name: must be a string (line 2, column 1)"),
        ("{\"name\":", "the JSON is incomplete (line 1, column 8)"),
        ("{\"name\":]", "not valid JSON: expected value (line 1, column 9)"),
        (
            "{\"name\":\"a\",\"numbers\":[],\"parts\":[]} x",
            "not valid JSON: trailing characters (line 1, column 38)",
        ),
        ("{\"name\":\"a\",\"name\":\"b\"}", "is given twice (line 1, column 18)"),
        (" []", "must be a table (line 1, column 1)"),
        ("[\"a\", [], [], \"big\"]", "must be a table (line 1, column 1)"),
    ] {
        assert_eq!(from_slice::<Whole>(text.as_bytes()).unwrap_err().to_string(), says, "{text}");
    }
}

#[test]
fn a_place_is_read_as_it_prints() {
    for text in ["a", "a.b[0][1].c", "[3]", ""] {
        assert_eq!(Place::from(text).to_string(), text);
    }
}
