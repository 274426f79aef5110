//! Turning a provider's delivery report into ours.

use super::{
    choice::Choice,
    endpoint::{Bodies, ProviderEndpoint, Route},
    refusal::Refusal,
};
use crate::{
    forms::{Errors, Found, KeyProblem, Request},
    metrics::IngressMetrics,
    refusal_reason::RefusalReason,
};
use jiff::Timestamp;
use postern_config::backend::{
    BackendConfig,
    dates::Dates,
    receive::MAX_EXTERNAL_ID_CHARS,
    region::NumberRegion,
    status::{STATUS_FIELDS, Status},
};
use postern_shared::{
    clock::{is_of_a_set_clock, now},
    message::{Identity, MAX_DETAIL, MessageId, Reason, Recipient, Report, State, line},
};
use std::fmt;

const REQUIRED: &str = "This field is required.";

/// A backend's reporting side, prepared from the configuration.
pub(crate) struct Reporter {
    pub(crate) endpoint: ProviderEndpoint,
    /// Which part of a request is reports.
    pub(super) choice: Choice,
    region: Option<NumberRegion>,
    table: Status,
    dates: Dates,
}

impl Reporter {
    /// Prepares the reporting side of `backend`; `None` if the backend has no `status` table.
    ///
    /// # Errors
    /// The key below `backends.NAME` that is wrong.
    pub(crate) fn new(backend: &BackendConfig, public_url: Option<&str>) -> Result<Option<Self>, KeyProblem> {
        let Some(table) = &backend.definition.status else { return Ok(None) };
        let Status { methods, reply, format, nested, .. } = table;
        let bodies = Bodies::of(&table.batch());
        let route = Route { table: "status", methods, reply, bodies, format: *format, nested };
        Ok(Some(Self {
            endpoint: ProviderEndpoint::new(backend, &route, public_url)?,
            choice: Choice::of_reports(table),
            region: backend.definition.region,
            table: table.clone(),
            dates: table.dates.clone().unwrap_or_else(|| backend.definition.receive.dates.clone()),
        }))
    }

    /// Makes the reports, and the refusals that only reports can have, appear in the metrics from the start.
    pub(super) fn declare(&self, metrics: &IngressMetrics) {
        metrics.reports.declare_backend(&self.endpoint.name);
        if self.choice.refuses_items() {
            metrics.declare_refused(Some(&self.endpoint.name), &[RefusalReason::Items]);
        }
    }

    /// Makes a report of `request`, whose parameters are in the body, else in `query`. `place` is set if
    /// `request` is an item of a batch.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub(super) fn report(
        &self,
        place: Option<&str>,
        request: &Request<'_>,
        query: &Request<'_>,
    ) -> Result<Reported, Refusal> {
        self.choice.check(request, place)?;
        let given = StatusParameters { table: &self.table, dates: &self.dates, body: request, query };
        let report = self.cleaned(&given).map_err(Refusal::Invalid)?;
        let word = given.value("detail").or_else(|| given.value("state"));
        let word = word.or_else(|| Some(self.table.state?.as_str().to_owned())).unwrap_or_default();
        Ok(Reported { report, provider_word: line(&word, MAX_DETAIL), callback: None })
    }

    fn cleaned(&self, given: &StatusParameters<'_>) -> Result<Report, Errors> {
        let mut errors = Errors::default();
        let state = self.state(given, &mut errors);
        let external_id = given.value("external_id").filter(|id| {
            let fits = id.chars().count() <= MAX_EXTERNAL_ID_CHARS;
            if !fits {
                let why = format!("at most {MAX_EXTERNAL_ID_CHARS} characters are accepted");
                errors.push(given.name("external_id"), why);
            }
            fits
        });
        let message_id = self.message_id(given, external_id.as_deref(), &mut errors);
        let identity = given.value("identity").and_then(|identity| {
            let identity = Identity::try_from(identity).map(|identity| {
                self.region.map_or_else(|| identity.clone(), |region| region.identity(&identity))
            });
            identity.map_err(|rule| errors.push(given.name("identity"), rule.to_string())).ok()
        });
        match (state, message_id) {
            (Some((word, state)), Some(message_id)) if errors.is_empty() => Ok(Report {
                message_id,
                backend: self.endpoint.name.clone(),
                attempt: 0,
                at: given.at().unwrap_or_else(now),
                recipients: vec![Recipient {
                    identity,
                    state,
                    external_id,
                    external_ids: Vec::new(),
                    segments: None,
                    reason: given.reason(&word, state),
                    http_status: None,
                    duration_ms: None,
                }],
            }),
            _ => Err(errors),
        }
    }

    /// The provider's word for the state, and our state for it.
    fn state(&self, given: &StatusParameters<'_>, errors: &mut Errors) -> Option<(String, State)> {
        let Some(word) = given.value("state") else {
            if self.table.state.is_none() {
                errors.push(given.name("state"), REQUIRED);
            }
            return self.table.state.map(|state| (state.as_str().to_owned(), state));
        };
        let state = self.table.state(&word);
        if state.is_none() {
            let known: Vec<_> = self.table.states.keys().map(String::as_str).collect();
            errors.push(given.name("state"), format!("unknown state; known: {}", known.join(", ")));
        }
        state.map(|state| (word, state))
    }

    /// Our message id if the request carries it, else the id that stands for the provider's.
    fn message_id(
        &self,
        given: &StatusParameters<'_>,
        external: Option<&str>,
        errors: &mut Errors,
    ) -> Option<MessageId> {
        match (given.value("message_id"), external) {
            (Some(id), _) => {
                let id = MessageId::at_start(&id);
                id.map_err(|_| errors.push(given.name("message_id"), "Enter a valid UUID.")).ok()
            }
            (None, Some(external)) => Some(MessageId::reported(&self.endpoint.name, external)),
            (None, None) => {
                let names = format!("{}, {}", given.name("message_id"), given.name("external_id"));
                errors.push(&names, "At least one field is required.");
                None
            }
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("name", &self.endpoint.name).finish_non_exhaustive()
    }
}

/// A delivery report that a provider brought.
#[derive(Debug)]
pub(crate) struct Reported {
    pub(crate) report: Report,
    /// The provider's own detail of the state, else its word for the state.
    pub(crate) provider_word: String,
    /// The callback that the message's client asked for, sealed, as the message log holds it.
    pub(crate) callback: Option<String>,
}

/// The parameters of a report, by our names.
struct StatusParameters<'a> {
    table: &'a Status,
    dates: &'a Dates,
    body: &'a Request<'a>,
    query: &'a Request<'a>,
}

impl StatusParameters<'_> {
    /// The value of our `name`; `None` if it is absent, blank or not a text.
    fn value(&self, name: &str) -> Option<String> {
        debug_assert!(STATUS_FIELDS.contains(&name));
        [self.body, self.query].into_iter().find_map(|request| {
            self.table.param(name).find_map(|theirs| match request.find(theirs) {
                Found::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                _ => None,
            })
        })
    }

    /// The first name that the request may have for our `name`.
    fn name<'s>(&'s self, name: &'s str) -> &'s str {
        self.table.param(name).next().unwrap_or(name)
    }

    fn at(&self) -> Option<Timestamp> {
        self.dates.read(&self.value("at")?).filter(|at| is_of_a_set_clock(*at))
    }

    /// Why the message was not delivered, or an unknown state, in the provider's words.
    fn reason(&self, word: &str, state: State) -> Option<Reason> {
        Reason::reported(state, word, self.value("code").as_deref(), self.value("detail").as_deref())
    }
}
