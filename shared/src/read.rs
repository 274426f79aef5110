//! From JSON to typed values: where each mistake is, and what is wrong in words of ours; from XML to JSON.
//!
//! serde says what is wrong, and not JSON Schema (schemars with jsonschema). Measured on three sections,
//! that was 27 crates more and a program of up to 5.2 MB more. Its errors quote values, so secrets too,
//! say of a value with alternatives only that none fits, and see no rule of a type of our own. The
//! reading without the mistakes, which the checks behind it need, stays ours either way.

mod byte_order_mark;
mod limited;
mod numbers;
mod surrogates;
mod tables;
mod wanted;
mod xml;

pub use byte_order_mark::{looks_like_json, without_byte_order_mark};
pub use limited::{JsonLimits, NotTaken, value_within};
pub use numbers::{restore_numbers, with_exact_numbers, with_exact_numbers_among};
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category, json};
use serde_path_to_error::{Path, Segment};
use std::{collections::BTreeSet, fmt};
pub use surrogates::without_lone_surrogates;
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

    /// The place `inner` of the part that is here.
    #[must_use]
    pub fn join(mut self, inner: Self) -> Self {
        self.0.extend(inner.0);
        self
    }

    /// The part that this one belongs to.
    fn around(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// What `value` holds here, if it has such a part.
    pub fn find<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get_mut(key.as_str()),
            Step::Index(index) => value.get_mut(index),
        })
    }

    /// Takes what is here out of `value`; returns whether there was such a part.
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

/// Reads a place as it prints. A key that has a dot or a bracket in it is taken apart.
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
    /// A key that must be there is not there.
    Missing,
    /// Another kind of value, another choice or another key is wanted. The text holds what is
    /// allowed and never the value.
    Allowed(String),
    /// What the value's own type says, or the library that reads it. A library may quote the value.
    OwnRule(String),
}

impl Wrong {
    /// Reads serde's text, which has the value in front of what is expected.
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
    /// Where it is; for a key that is missing, where the key should be.
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
    /// What is wrong. A text that is no JSON has no place but the line and column.
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

/// Reads a JSON text. One that is a list is a mistake: serde would take it for the fields of a table, in
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
    // Following the path costs more than reading, so only a text that is wrong is followed.
    serde_json::from_slice(text).map_err(|error| {
        let mut json = serde_json::Deserializer::from_slice(text);
        let followed = serde_path_to_error::deserialize::<_, T>(&mut json).err();
        let text = error.to_string();
        let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
        let not_json = |why: String| Mistake { place: Place::default(), wrong: Wrong::Allowed(why) };
        let mistake = match (error.classify(), followed) {
            (Category::Data, Some(followed)) => Mistake::of(followed.path(), text),
            (Category::Eof, _) => not_json("the JSON is incomplete".to_owned()),
            // What the parser says of the syntax has no value in it.
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

/// What can be read of a JSON value, and every mistake in it.
#[derive(Debug)]
pub struct Reading<T> {
    /// The value without what is wrong in it; `None` if nothing can be read without that.
    pub value: Option<T>,
    /// Every mistake, each in its place in the value as it was given.
    pub mistakes: Vec<Mistake>,
    /// The items of lists that were taken out since they are wrong.
    pub removed: Removed,
}

/// Items that were taken out of lists. A check of what was read counts the items that stayed.
#[derive(Debug, Default, Clone)]
pub struct Removed(BTreeSet<(Vec<Step>, usize)>);

impl Removed {
    /// Notes that `place`, which counts the items that are still there, is taken out.
    fn insert(&mut self, place: &Place) {
        if let Place(mut list) = self.original(place)
            && let Some(Step::Index(index)) = list.pop()
        {
            self.0.insert((list, index));
        }
    }

    /// Adds the items that were taken out of the part at `place`.
    pub fn extend(&mut self, place: &Place, inner: Self) {
        self.0.extend(inner.0.into_iter().map(|(list, index)| (place.clone().join(Place(list)).0, index)));
    }

    /// `place`, which counts the items that stayed, as the value that was given counts them.
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

/// What is known of a value besides its type.
pub trait Origin {
    /// What stands in for the key at `place` while it is missing. Without it, any value that can be
    /// read there does.
    fn built_in(&self, _place: &Place) -> Option<Value> {
        None
    }

    /// Whether the number or truth value at `place` may be meant as a text.
    fn may_be_text(&self, _place: &Place) -> bool {
        false
    }

    /// What stands in for `found`, with which `wrong` says what is wrong; it is noted all the same.
    /// Without it, `found` is taken out.
    fn in_place_of(&self, _found: &Value, _wrong: &str) -> Option<Value> {
        None
    }

    /// How many mistakes are enough: no more are looked for.
    fn enough(&self) -> usize {
        usize::MAX
    }
}

/// Reads `value` again and again, each time without the mistake that was found before. Something
/// stands in for a key that is missing, so that the rest of its table is read.
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
        // What was wrong and has been taken out is then missing: that is one mistake.
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

/// Puts something that can be read there where `missing` is; returns whether there is such a thing.
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
