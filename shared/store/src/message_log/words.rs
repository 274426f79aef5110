//! The words in the tables, and the values that they stand for.

use super::LoggedState;
use postern_shared::{
    error::FailureClass,
    event::{Direction, EventKind},
};

/// A value that is stored in a column as a word.
pub(super) trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The word for the value.
    fn word(self) -> &'static str;

    /// The value that `word` stands for. `None` if there is none.
    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }
}

impl Word for EventKind {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for FailureClass {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for Direction {
    const ALL: &'static [Self] = &[Self::Inbound, Self::Outbound];

    fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl Word for LoggedState {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;

    fn is_its_json<T: Word + Serialize>() {
        for value in T::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), value.word());
            assert_eq!(T::of_word(value.word()).map(Word::word), Some(value.word()));
        }
    }

    #[test]
    fn a_word_in_a_table_is_the_one_in_json() {
        is_its_json::<EventKind>();
        is_its_json::<FailureClass>();
        is_its_json::<Direction>();
        is_its_json::<LoggedState>();
    }
}
