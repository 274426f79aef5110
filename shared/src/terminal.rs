//! Makes strangers' texts safe to show on an operator's terminal, which would obey some characters.

/// Whether a terminal obeys `c` instead of showing it: a control character, including U+0080 to U+009F
/// (U+009B begins a command like ESC `[`), or one that changes the direction of the text after it
/// (Unicode Standard Annex 9, 2.1 to 2.5), so that a line looks different from what it says.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with U+FFFD in place of each character that a terminal would obey.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// `json` with an escape in place of each character that a terminal would obey, except for line feeds
/// between its values. It means the same: in what serde writes, these characters occur only within
/// texts.
pub fn json(json: &str) -> String {
    let mut harmless = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_obeyed(c) {
            harmless.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            harmless.push(c);
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Some of each kind of characters that a terminal obeys.
    const OBEYED: [char; 14] = [
        '\u{0}', '\u{7}', '\u{1b}', '\r', '\n', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{202a}',
        '\u{202e}', '\u{2066}', '\u{2069}', '\t',
    ];

    #[test]
    fn what_a_terminal_obeys_is_replaced_and_everything_else_stays() {
        for c in OBEYED {
            assert_eq!(plain(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        let shown = "Grüße, ни\u{301} 好 שלום \u{200f}👩\u{200d}⚕️ \u{a0}\u{2029}\u{2065}\u{206a}";
        assert_eq!(plain(shown), shown);
        assert_eq!(json(shown), shown);
    }

    #[test]
    fn json_means_the_same_and_holds_nothing_that_a_terminal_obeys() {
        let text: String = OBEYED.iter().flat_map(|c| ['a', *c, '\\', '"']).collect();
        let value = json!({ (text.clone()): [1, null, text] });
        let shown = json(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        assert!(shown.contains("\n  "), "it is still in lines");
        assert!(!shown.chars().any(|c| c != '\n' && is_obeyed(c)), "{shown:?}");
    }
}
