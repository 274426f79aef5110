//! Reads typed values from JSON, with the place of each mistake and errors in our own words, and JSON
//! from XML.
//!
//! serde finds the mistakes, and not JSON Schema (schemars with jsonschema). Measured on three sections,
//! JSON Schema took 27 more crates and made the program up to 5.2 MB larger. Its errors quote values,
//! and so secrets; if none of several alternatives fits, they say only that; and they do not know the
//! rules of our own types. Reading a value without its mistakes, which later checks need, would be our
//! own code either way.

mod byte_order_mark;
mod escapes;
mod limited;
mod numbers;
mod tables;
mod wanted;
mod xml;

pub use byte_order_mark::{looks_like_json, without_byte_order_mark};
pub use escapes::with_valid_escapes;
pub use limited::{JsonLimits, NotTaken, value_within};
pub use numbers::{restore_numbers, with_exact_numbers, with_exact_numbers_among};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category, json};
use serde_path_to_error::{Path, Segment};
use std::{collections::BTreeSet, fmt};
use tables::Strict;
pub use xml::{XmlNotTaken, looks_like_xml, xml_within};

/// One step from a JSON value into one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To the item of a list, counted from 0.
    Index(usize),
}

/// The way from a JSON value to one of its parts. It prints as `a.list[0].b`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Vec<Step>);

impl Place {
    fn of(path: &Path) -> Self {
        let steps = path.iter().filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } | Segment::Enum { variant: key } => Some(Step::Key(key.clone())),
            Segment::Unknown => None,
        });
        Self(steps.collect())
    }

    /// This place followed by `inner`, which is a place within the part at this one.
    #[must_use]
    pub fn join(mut self, inner: Self) -> Self {
        self.0.extend(inner.0);
        self
    }

    /// The place of the part that contains this one.
    fn around(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The part of `value` at this place, if there is one.
    pub fn find<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(index),
        })
    }

    /// Removes the part at this place from `value`. Returns whether there was one.
    fn take_out(&self, value: &mut Value) -> bool {
        match (self.around().find(value), self.0.last()) {
            (Some(Value::Object(table)), Some(Step::Key(key))) => table.shift_remove(key).is_some(),
            (Some(Value::Array(items)), Some(Step::Index(index))) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Reads a place as it prints. A key that contains a dot or a bracket is split.
impl From<&str> for Place {
    fn from(text: &str) -> Self {
        let steps = text.split(['.', '[']).filter(|step| !step.is_empty());
        Self(
            steps
                .map(|step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
                    Some(index) => Step::Index(index),
                    None => Step::Key(step.to_owned()),
                })
                .collect(),
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if number == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// What is wrong at a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A required key is missing.
    Missing,
    /// Another kind of value, another choice or another key is wanted. The text says what is allowed,
    /// and never contains the value.
    Allowed(String),
    /// The error of the value's own type, or of the library that reads it, which may quote the value.
    OwnRule(String),
}

impl Wrong {
    /// Reads serde's error, which names the value before what is expected.
    fn of(text: &str) -> Self {
        let expected = || text.rsplit_once("expected ").map_or("", |(_, expected)| expected.trim_end());
        let begins = |with: &[&str]| with.iter().any(|start| text.starts_with(start));
        if begins(&["missing field"]) {
            Self::Missing
        } else if begins(&["invalid type", "invalid value", "invalid length"]) {
            Self::Allowed(wanted::of(expected()))
        } else if begins(&["unknown field"]) {
            Self::Allowed(wanted::key(text, expected()))
        } else if begins(&["unknown variant"]) {
            Self::Allowed(wanted::choice(text, expected()))
        } else if begins(&["duplicate field"]) {
            Self::Allowed("is given twice".to_owned())
        } else if begins(&["UUID parsing failed"]) {
            Self::Allowed("must be a UUID".to_owned())
        } else {
            Self::OwnRule(text.to_owned())
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Allowed(text) | Self::OwnRule(text) => f.write_str(text),
        }
    }
}

/// A mistake in a JSON value. It prints as `a.list[0].b: is missing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where the mistake is; for a key that is missing, where the key should be.
    pub place: Place,
    /// What is wrong there.
    pub wrong: Wrong,
}

impl Mistake {
    fn of(path: &Path, text: &str) -> Self {
        let (mut place, wrong) = (Place::of(path), Wrong::of(text));
        let field = text.split('`').nth(1).filter(|_| wrong == Wrong::Missing);
        place.0.extend(field.map(|field| Step::Key(field.to_owned())));
        Self { place, wrong }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.place.0.is_empty() { "" } else { ": " };
        write!(f, "{}{gap}{}", self.place, self.wrong)
    }
}

/// A JSON text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidJson {
    /// The mistake. If the text is not JSON, the line and the column are its only place.
    pub mistake: Mistake,
    /// The line of the text, from 1.
    pub line: usize,
    /// The column in that line, from 1.
    pub column: usize,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {})", self.mistake, self.line, self.column)
    }
}

/// Reads a JSON text. A list is a mistake: serde would take its items for the fields of a table, in
/// their order.
///
/// # Errors
/// The first mistake in it.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, InvalidJson> {
    if text.trim_ascii_start().starts_with(b"[") {
        let wrong = Wrong::Allowed("must be a table".to_owned());
        let mistake = Mistake { place: Place::default(), wrong };
        return Err(InvalidJson { mistake, line: 1, column: 1 });
    }
    // Tracking the path costs more than reading, so it is done only for a text with a mistake.
    serde_json::from_slice(text).map_err(|error| {
        let mut json = serde_json::Deserializer::from_slice(text);
        let followed = serde_path_to_error::deserialize::<_, T>(&mut json).err();
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
        let not_json = |why: String| Mistake { place: Place::default(), wrong: Wrong::Allowed(why) };
        let mistake = match (error.classify(), followed) {
            (Category::Data, Some(followed)) => Mistake::of(followed.path(), text),
            (Category::Eof, _) => not_json("the JSON is incomplete".to_owned()),
            // What the parser says about the syntax quotes no value.
            (Category::Syntax, _) => not_json(format!("not valid JSON: {text}")),
            (Category::Data | Category::Io, _) => not_json("cannot be read".to_owned()),
        };
        InvalidJson { mistake, line: error.line(), column: error.column() }
    })
}

/// Reads a JSON value.
///
/// # Errors
/// The first mistake in it.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Mistake> {
    serde_path_to_error::deserialize(Strict(value))
        .map_err(|error| Mistake::of(error.path(), &error.inner().to_string()))
}

/// What can be read from a JSON value, and every mistake in it.
#[derive(Debug)]
pub struct Reading<T> {
    /// The value without its mistakes. `None` if nothing can be read without them.
    pub value: Option<T>,
    /// Every mistake, with its place in the original value.
    pub mistakes: Vec<Mistake>,
    /// The list items that were removed because of a mistake.
    pub removed: Removed,
}

/// Items that were removed from lists. A check of what was read counts only the items that stayed.
#[derive(Debug, Default, Clone)]
pub struct Removed(BTreeSet<(Vec<Step>, usize)>);

impl Removed {
    /// Notes that the part at `place`, which counts only the items that are still there, is removed.
    fn insert(&mut self, place: &Place) {
        if let Place(mut list) = self.original(place)
            && let Some(Step::Index(index)) = list.pop()
        {
            self.0.insert((list, index));
        }
    }

    /// Adds the items that were removed from the part at `place`.
    pub fn extend(&mut self, place: &Place, inner: Self) {
        self.0.extend(inner.0.into_iter().map(|(list, index)| (place.clone().join(Place(list)).0, index)));
    }

    /// The place in the original value of what is at `place`, which counts only the items that stayed.
    pub fn original(&self, place: &Place) -> Place {
        let mut original = Vec::new();
        for step in &place.0 {
            let step = match step {
                Step::Key(_) => step.clone(),
                Step::Index(index) => {
                    let gone = self.0.iter().filter(|(list, _)| *list == original).map(|(_, at)| *at);
                    Step::Index(
                        gone.fold(*index, |index, gone| if gone <= index { index + 1 } else { index }),
                    )
                }
            };
            original.push(step);
        }
        Place(original)
    }
}

/// What is known about a value besides its type.
pub trait Origin {
    /// The substitute for the missing key at `place`. `None`: any value that can be read there.
    fn built_in(&self, _place: &Place) -> Option<Value> {
        None
    }

    /// Whether the number or truth value at `place` may be meant as a text.
    fn may_be_text(&self, _place: &Place) -> bool {
        false
    }

    /// The substitute for `found`, about which `wrong` says what is wrong; the mistake is noted all the
    /// same. `None`: `found` is removed.
    fn in_place_of(&self, _found: &Value, _wrong: &str) -> Option<Value> {
        None
    }

    /// The number of mistakes after which no more are looked for.
    fn enough(&self) -> usize {
        usize::MAX
    }
}

/// Reads `value` again and again, each time without the mistake that was found before. A missing key
/// gets a substitute, so that the rest of its table is read.
pub fn every<T: DeserializeOwned>(mut value: Value, origin: &impl Origin) -> Reading<T> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let (mut removed, mut filled) = (Removed::default(), BTreeSet::new());
    loop {
        let Mistake { place, wrong } = match from_value(&value) {
            Ok(value) => return Reading { value: Some(value), mistakes, removed },
            Err(mistake) => mistake,
        };
        if origin.may_be_text(&place) && make_text(&mut value, &place) {
            continue;
        }
        let original = removed.original(&place);
        let is_missing = wrong == Wrong::Missing;
        let said = wrong.to_string();
        // A wrong value that was removed is then missing: that is one mistake, not two.
        if mistakes.iter().all(|known| known.place != original) {
            mistakes.push(Mistake { place: original.clone(), wrong });
        }
        let is_enough = mistakes.len() >= origin.enough();
        if is_missing && !is_enough && filled.insert(original) && stand_in::<T>(&mut value, &place, origin) {
            continue;
        }
        if !is_missing
            && !is_enough
            && let Some(found) = place.find(&mut value)
            && let Some(other) = origin.in_place_of(found, &said)
        {
            *found = other;
            continue;
        }
        let gone = if is_missing { place.around() } else { place };
        if is_enough || !gone.take_out(&mut value) {
            return Reading { value: None, mistakes, removed };
        }
        removed.insert(&gone);
    }
}

fn make_text(value: &mut Value, place: &Place) -> bool {
    let found = place.find(value).filter(|found| found.is_number() || found.is_boolean());
    found.map(|found| *found = Value::String(found.to_string())).is_some()
}

/// Inserts a substitute that can be read at `missing`. Returns whether there is one.
fn stand_in<T: DeserializeOwned>(value: &mut Value, missing: &Place, origin: &impl Origin) -> bool {
    let Some(Step::Key(key)) = missing.0.last() else { return false };
    let texts = ["unread", "1s", "http://unread.invalid/"].map(Value::from);
    let others = [json!(1), json!(true), json!([]), json!({})];
    for candidate in origin.built_in(missing).into_iter().chain(texts).chain(others) {
        let Some(Value::Object(table)) = missing.around().find(value) else { return false };
        table.insert(key.clone(), candidate);
        if from_value::<T>(value).err().is_none_or(|error| !error.place.0.starts_with(&missing.0)) {
            return true;
        }
    }
    missing.take_out(value);
    false
}

#[cfg(test)]
mod tests;
