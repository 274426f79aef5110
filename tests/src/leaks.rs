//! Checks that logs contain no secrets.

/// Checks that none of `secrets` (telephone numbers, texts, passwords) is in any of `lines`: neither literally,
/// nor percent-encoded as in an address, nor escaped as in JSON.
///
/// # Panics
/// With the line, in which the secret is blanked; or if a secret is so short that an id may contain it by
/// chance.
#[track_caller]
pub fn assert_silent(lines: &[String], secrets: &[&str]) {
    for secret in secrets {
        assert!(!stands_in_ids(secret), "{secret:?} stands in an id now and then: take a longer one");
        for form in spellings(secret) {
            if let Some(line) = lines.iter().find(|line| line.contains(&form)) {
                panic!("a log line tells a secret (here blackened): {}", line.replace(&form, "█████"));
            }
        }
    }
}

/// Whether random ids contain `needle` by chance often enough to matter: in at least one of a thousand test
/// runs, with hundreds of ids in a log. That holds for up to six hexadecimal digits.
#[must_use]
pub fn stands_in_ids(needle: &str) -> bool {
    (1..7).contains(&needle.len()) && needle.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn spellings(secret: &str) -> Vec<String> {
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = serde_json::to_string(secret).expect("a text is JSON");
    let mut all = vec![secret.to_owned(), encoded.replace('+', "%20"), encoded];
    all.push(json.trim_matches('"').to_owned());
    all.retain(|spelling| !spelling.is_empty());
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found() {
        for line in
            ["to +1555", "url=/send?to=%2B1555&x=1", "text=a%20%22b%22", "text=a+%22b%22", r#"a \"b\""#]
        {
            let told = std::panic::catch_unwind(|| assert_silent(&[line.to_owned()], &["+1555", "a \"b\""]));
            assert!(told.is_err(), "{line}");
        }
        assert_silent(&["to +1".to_owned()], &["+1555"]);
    }

    #[test]
    fn what_an_id_can_contain_is_no_secret_to_look_for() {
        for (needle, stands) in
            [("caf", true), ("4711", true), ("+1555", false), ("café", false), ("2547110", false)]
        {
            assert_eq!(stands_in_ids(needle), stands, "{needle}");
        }
        assert!(std::panic::catch_unwind(|| assert_silent(&[], &["555"])).is_err());
    }
}
