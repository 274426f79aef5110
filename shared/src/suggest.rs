//! What a mistyped word was meant to be.

/// The word of `known` that `word` was probably meant to be. At most one in three of its letters is
/// wrong, missing, added or swapped with its neighbour, or one word is the beginning of the other and
/// has at least four letters. Upper and lower case, `-` and `_` are the same. `None` if no word is near
/// enough.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let fold = |word: &str| word.to_lowercase().replace('-', "_");
    let word = fold(word);
    let near = known.into_iter().filter_map(|known| {
        let folded = fold(known);
        let distance = strsim::damerau_levenshtein(&word, &folded);
        let letters = word.chars().count().max(folded.chars().count());
        let begins =
            word.len().min(folded.len()) >= 4 && (word.starts_with(&folded) || folded.starts_with(&word));
        (begins || distance * 3 <= letters).then_some((distance, known))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// `; did you mean …?` for the end of an error about the unknown `word`; empty if no word of `known`
/// is near.
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let known = ["url", "method", "timeout", "external_id", "GET"];
        for (word, meant) in [
            ("urll", Some("url")),
            ("ulr", Some("url")),
            ("metod", Some("method")),
            ("time-out", Some("timeout")),
            ("External-ID", Some("external_id")),
            ("get", Some("GET")),
            ("methods_allowed", Some("method")),
            ("exte", Some("external_id")),
            ("u", None),
            ("recipients", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(hint("metod", known), "; did you mean method?");
        assert_eq!(hint("nothing like it", known), "");
    }
}
