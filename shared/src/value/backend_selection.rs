//! Some of the backends, as a configuration selects them.

use crate::message::BackendName;
use serde::Deserialize;

/// Some backends by name, all of them (`["*"]`), or all but some (`["*", "!clinic"]`; `"*"` may be left out).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub enum BackendSelection {
    /// All backends.
    All,
    /// These backends.
    Some(Vec<BackendName>),
    /// All backends except these.
    AllBut(Vec<BackendName>),
}

impl BackendSelection {
    /// Whether `backend` is selected.
    pub fn contains(&self, backend: &BackendName) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(backend),
            Self::AllBut(names) => !names.contains(backend),
        }
    }

    /// The names that were written down: those of the backends that are selected, or of those that are not.
    /// Empty for all backends.
    pub fn mentioned(&self) -> &[BackendName] {
        match self {
            Self::All => &[],
            Self::Some(names) | Self::AllBut(names) => names,
        }
    }
}

impl TryFrom<Vec<String>> for BackendSelection {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("must be [\"*\"], a list of names, or [\"*\", \"!name\"] for all but some: {why}")
        };
        let all = names.iter().any(|name| name == "*");
        let (excluded, included): (Vec<_>, Vec<_>) =
            names.iter().filter(|name| *name != "*").partition(|name| name.starts_with('!'));
        let read = |name: &str| BackendName::try_from(name.trim_start_matches('!').to_owned());
        if let (false, [name, ..], [other, ..]) = (all, &included[..], &excluded[..]) {
            return Err(wrong(format!("it contains {name}, so remove {other}")));
        }
        if excluded.is_empty() && all {
            return Ok(Self::All);
        }
        let (of, chosen): (fn(_) -> _, _) =
            if excluded.is_empty() { (Self::Some, included) } else { (Self::AllBut, excluded) };
        let chosen = chosen.into_iter().map(|name| read(name)).collect::<Result<_, _>>();
        chosen.map(of).map_err(|rule| wrong(rule.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_all_some_or_all_but_some() {
        let contains = |list: &[&str]| {
            let selection =
                BackendSelection::try_from(list.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            Ok(["a", "b", "c"].map(|name| selection.contains(&name.parse().unwrap())))
        };
        assert_eq!(contains(&["*"]), Ok([true; 3]));
        assert_eq!(contains(&["a", "c"]), Ok([true, false, true]));
        for all_but in [&["*", "!b"][..], &["!b"], &["!b", "*", "a"]] {
            assert_eq!(contains(all_but), Ok([true, false, true]), "{all_but:?}");
        }
        assert_eq!(contains(&["!a", "!b"]), Ok([false, false, true]));
        assert_eq!(contains(&[]), Ok([false; 3]));
        for wrong in [&["a", "!b"][..], &["!"], &["!B"], &["no name"], &["* "]] {
            let why: String = contains(wrong).unwrap_err();
            assert!(why.contains("[\"*\", \"!name\"]"), "{wrong:?}: {why}");
        }
    }
}
