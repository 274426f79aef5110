//! Several messages or reports in one body, as `receive` and `status` describe them; both are checked alike.

use super::{
    each::{Each, index},
    http::{BodyFormat, Method},
    nested::Nested,
};
use indexmap::IndexMap;
use postern_shared::value::OneOrMany;

/// The parameters that make up a message or a report; any other only goes with it. If one of them is read from a
/// list, all items of that list must be read.
const ESSENTIAL: [&str; 5] = ["identity", "text", "external_id", "message_id", "state"];

/// Whether the parameter that we call `name` makes up a message or a report, and does not only go with it.
pub fn is_essential(name: &str) -> bool {
    ESSENTIAL.contains(&name)
}

/// The JSON pointer in `name`, a request's name of a parameter. It is relative to the item or, with `^`, to the
/// whole body; the empty pointer is the item itself. `None` if `name` is not a pointer.
pub fn pointer(name: &str) -> Option<&str> {
    let pointer = name.strip_prefix('^').unwrap_or(name);
    (pointer.starts_with('/') || name.is_empty()).then_some(pointer)
}

/// What is wrong with `theirs`, the request's names of a parameter. With `of_items` they are names within an
/// item, and the empty name is the item itself.
pub(super) fn name_problem(theirs: &OneOrMany, of_items: bool) -> Option<&'static str> {
    let any = |is_wrong: fn(&str) -> bool| theirs.0.iter().any(|name| is_wrong(name));
    if theirs.0.is_empty() || any(str::is_empty) && !of_items {
        Some("must name a parameter")
    } else if any(|name| name.contains("{{")) {
        Some("must be the name of a parameter, not a template: write \"phone\" instead of \"{{ phone }}\"")
    } else if any(|name| name.starts_with("$.") || name.starts_with("$[")) {
        Some(
            "must be a JSON pointer, not a JSONPath: write \"/results/0/from\" instead of \
             \"$.results[0].from\"",
        )
    } else {
        None
    }
}

/// How one body holds several messages or reports.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'c> {
    pub(super) each: Option<&'c Each>,
    pub(super) methods: &'c [Method],
    pub(super) params: &'c IndexMap<String, OneOrMany>,
    pub(super) format: Option<BodyFormat>,
    pub(super) nested: &'c Nested,
    /// An example of `params`, for errors.
    pub(super) example: &'static str,
}

impl Batch<'_> {
    /// Whether one body may hold several.
    pub fn has_items(&self) -> bool {
        self.each.is_some()
    }

    /// Whether a request's name of a parameter is a JSON pointer.
    pub fn has_pointers(&self) -> bool {
        self.names().any(|(_, name)| pointer(name).is_some())
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().flat_map(|(ours, theirs)| theirs.0.iter().map(move |name| (&**ours, &**name)))
    }

    /// The mistakes: a key below the table, and what is wrong.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (ours, theirs) in self.names() {
            if pointer(theirs).is_some_and(|pointer| pointer.split('/').any(|token| token == "*")) {
                let why = "must point to one place, but * means every item of a list: set each to the list, \
                           and use a pointer into its items here";
                wrong.push((format!("params.{ours}"), why.to_owned()));
            }
            if self.each.is_some() && theirs.starts_with('^') && pointer(theirs).is_none() {
                let why = "begins with ^, which must be followed by a pointer into the whole body, such as \
                     \"^/id\"";
                wrong.push((format!("params.{ours}"), why.to_owned()));
            }
        }
        if self.each.is_none() {
            return wrong;
        }
        if !self.has_pointers() {
            let why = format!(
                "reads a JSON or XML body, but params has no pointer into its items: say where the values \
                 are in an item, such as params = {}",
                self.example
            );
            wrong.push(("each".to_owned(), why));
        }
        let what = match self.format {
            Some(BodyFormat::Form) if self.nested.is_empty() => "a form",
            Some(BodyFormat::Text) if self.nested.is_empty() => "a text",
            _ => "",
        };
        if !what.is_empty() {
            let why = format!(
                "says that the body is {what}, but each reads JSON or XML: remove one of them, or set \
                 \"json\""
            );
            wrong.push(("format".to_owned(), why));
        }
        if !self.methods.is_empty() && self.methods.iter().all(|method| *method == Method::Get) {
            let why = "reads a JSON or XML body, but a GET has none: methods must contain \"POST\" or \
                       \"PUT\"";
            wrong.push(("each".to_owned(), why.to_owned()));
        }
        wrong
    }

    /// The parameters that read one item of a list, although a body may have more, and what to write instead.
    pub(crate) fn fixed_indexes(&self) -> Vec<(String, String)> {
        let fixed = |(ours, theirs): (&str, &str)| {
            let pointer = pointer(theirs).filter(|_| self.each.is_none() && is_essential(ours))?;
            let number = pointer.split('/').position(|token| index(token).is_some())?;
            let list: Vec<_> = pointer.split('/').take(number).collect();
            let what = format!(
                "reads one item of a list: a body with more items is refused. To read every item, set each = \
                 \"{}\"",
                list.join("/")
            );
            Some((format!("params.{ours}"), what))
        };
        self.names().filter_map(fixed).collect()
    }
}
