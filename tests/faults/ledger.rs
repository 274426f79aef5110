//! What was accepted, what came of it, and what of that nobody can explain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How a message came in, and so at which end it comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From a provider's form, or one of several in a JSON body: to the application.
    Received,
    /// By `POST /v1/messages`: to the provider.
    Submitted,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Received, Self::Submitted];
}

/// What the end where a message comes out makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes it.
    Taken,
    /// It says 503 the first time, and takes it then: a retry.
    PutOff,
    /// It says 400, for ever: a dead letter.
    Refused,
}

impl Fate {
    /// That of the message with this number.
    pub(crate) fn of(number: usize) -> Self {
        match number % 64 {
            7 | 28 | 49 => Self::PutOff,
            14 => Self::Refused,
            _ => Self::Taken,
        }
    }
}

/// From the moment before a fault until everything flows again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

#[derive(Debug)]
struct Entry {
    way: Way,
    /// The first message of the request that it was posted with.
    request: usize,
    begun: Instant,
    /// When it was last posted.
    tried: Instant,
    tries: usize,
    accepted: bool,
    put_off: bool,
    cancelled: bool,
    /// When its end took it, or refused it for ever.
    ended: Vec<Instant>,
    /// Under which ids it was answered and seen.
    ids: BTreeSet<String>,
    reports: usize,
}

impl Entry {
    fn new(way: Way, request: usize) -> Self {
        let (tries, accepted, put_off, cancelled, reports) = (0, false, false, false, 0);
        let (now, ended, ids) = (Instant::now(), Vec::new(), BTreeSet::new());
        Self {
            way,
            request,
            begun: now,
            tried: now,
            tries,
            accepted,
            put_off,
            cancelled,
            ended,
            ids,
            reports,
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    numbers: BTreeMap<String, usize>,
    accepted: Vec<Instant>,
    /// How long each of `accepted` took to be answered.
    answers: Vec<Duration>,
    ended: Vec<Instant>,
    /// Answered 503, and not answered at all.
    not_taken: [usize; 2],
    strange: Vec<String>,
}

/// How many of each there are so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: [usize; 2],
    pub(crate) ended: [usize; 2],
    /// Answers 503.
    pub(crate) refusals: usize,
    /// Requests that got no answer.
    pub(crate) unanswered: usize,
}

/// What a span of time brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    /// How long each accepted message took to be answered.
    pub(crate) answers: Vec<Duration>,
    /// How many messages came out.
    pub(crate) ended: usize,
}

/// What came of all of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    pub(crate) lost: usize,
    /// Ends beyond the first, but for those that a repetition of its sender explains.
    pub(crate) doubled: usize,
    /// Ends beyond the first of messages that their senders repeated since nobody answered them.
    pub(crate) repeated: usize,
    /// The most of both that belong to one strike of the fault.
    pub(crate) at_once: [usize; 2],
    pub(crate) dead: usize,
    /// The longest time in which nothing was accepted, and in which nothing came out.
    pub(crate) pauses: [Duration; 2],
    /// What must not be.
    pub(crate) problems: Vec<String>,
}

/// The ledger of one scenario. Numbers are its messages'.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

impl Ledger {
    /// So many messages that are about to be posted in one request.
    pub(crate) fn begin(&self, way: Way, messages: usize) -> Vec<usize> {
        let mut book = self.book();
        let request = book.entries.len();
        book.entries.extend((0..messages).map(|_| Entry::new(way, request)));
        (request..request + messages).collect()
    }

    /// It is posted, once more.
    pub(crate) fn tries(&self, number: usize) {
        let entry = &mut self.book().entries[number];
        entry.tries += 1;
        entry.tried = Instant::now();
    }

    /// It was answered with that status, or with none; `id` is what the answer says.
    pub(crate) fn answered(&self, number: usize, status: Option<u16>, id: Option<&str>) {
        let mut book = self.book();
        match status {
            Some(200..=299) => {
                let now = Instant::now();
                let entry = &mut book.entries[number];
                entry.accepted = true;
                let took = now.duration_since(entry.tried);
                book.accepted.push(now);
                book.answers.push(took);
                book.seen(number, id);
            }
            Some(503) => book.not_taken[0] += 1,
            None => book.not_taken[1] += 1,
            Some(status) => book.strange.push(format!("message {number} was answered {status}")),
        }
    }

    /// It came out at its end; the status to answer with.
    pub(crate) fn arrived(&self, number: usize, id: Option<&str>) -> u16 {
        let mut book = self.book();
        let now = Instant::now();
        let Some(entry) = book.entries.get_mut(number) else {
            book.strange.push(format!("nobody posted the message {number} that arrived"));
            return 200;
        };
        let fate = Fate::of(number);
        if fate == Fate::PutOff && !entry.put_off {
            entry.put_off = true;
            book.seen(number, id);
            return 503;
        }
        entry.ended.push(now);
        book.ended.push(now);
        book.seen(number, id);
        if fate == Fate::Refused { 400 } else { 200 }
    }

    /// A report says what became of the message with that id.
    pub(crate) fn reported(&self, id: &str) {
        let mut book = self.book();
        match book.numbers.get(id).copied() {
            Some(number) => book.entries[number].reports += 1,
            None => book.strange.push(format!("a report on a message {id} that nobody knows")),
        }
    }

    /// A report says that the message with that id was cancelled: that is its end. Nobody knows the id of one
    /// that was stored although its sender got no answer.
    pub(crate) fn cancelled(&self, id: &str) {
        let mut book = self.book();
        if let Some(number) = book.numbers.get(id).copied() {
            let entry = &mut book.entries[number];
            entry.cancelled = true;
            entry.reports += 1;
            entry.ended.push(Instant::now());
        }
    }

    /// How many messages were cancelled.
    pub(crate) fn cancellations(&self) -> usize {
        self.book().entries.iter().filter(|entry| entry.cancelled).count()
    }

    pub(crate) fn counts(&self) -> Counts {
        let book = self.book();
        let mut counts =
            Counts { refusals: book.not_taken[0], unanswered: book.not_taken[1], ..Counts::default() };
        for entry in &book.entries {
            counts.accepted[entry.way as usize] += usize::from(entry.accepted);
            counts.ended[entry.way as usize] += usize::from(!entry.ended.is_empty());
        }
        counts
    }

    /// What happened after `from` and before `until`.
    pub(crate) fn between(&self, from: Instant, until: Instant) -> Span {
        let book = self.book();
        let within = |moment: &Instant| (from..until).contains(moment);
        let answers = book.accepted.iter().zip(&book.answers).filter(|(moment, _)| within(moment));
        Span {
            answers: answers.map(|(_, took)| *took).collect(),
            ended: book.ended.iter().filter(|moment| within(moment)).count(),
        }
    }

    /// Whether something has come out within this time.
    pub(crate) fn flows(&self, within: Duration) -> bool {
        self.book().ended.last().is_some_and(|last| last.elapsed() < within)
    }

    /// Whether a message of that way that was begun after `mark` has come out.
    pub(crate) fn arrived_since(&self, mark: Instant, way: Way) -> bool {
        self.book().begun_since(mark).any(|entry| entry.way == way && !entry.ended.is_empty())
    }

    /// Whether a message that was begun after `mark` has been put off and has come out then.
    pub(crate) fn retried_since(&self, mark: Instant) -> bool {
        self.book().begun_since(mark).any(|entry| entry.put_off && !entry.ended.is_empty())
    }

    /// The accepted messages that have not come out, are not reported though they are to be, or are
    /// refused and not among `dead`.
    pub(crate) fn outstanding(&self, dead: &[String], reports: bool) -> Vec<usize> {
        let book = self.book();
        let open = book.entries.iter().enumerate().filter(|(number, entry)| {
            let unreported = reports && entry.way == Way::Submitted && entry.reports == 0;
            let unburied = !entry.cancelled
                && Fate::of(*number) == Fate::Refused
                && dead.iter().all(|id| !entry.ids.contains(id));
            entry.accepted && (entry.ended.is_empty() || unreported || unburied)
        });
        open.map(|(number, _)| number).collect()
    }

    /// The requests of which some messages have come out and others have not: none where a request is stored
    /// as a whole, or not at all.
    pub(crate) fn torn_requests(&self) -> Vec<String> {
        let book = self.book();
        let torn = book.entries.chunk_by(|one, next| one.request == next.request).filter_map(|messages| {
            let ended = messages.iter().filter(|entry| !entry.ended.is_empty()).count();
            let (number, all) = (messages[0].request, messages.len());
            (0 < ended && ended < all)
                .then(|| format!("{ended} of {all} messages of one request came out, from {number} on"))
        });
        torn.collect()
    }

    /// What came of everything between `begun` and `stopped`, when the load did; `windows` are those
    /// of the faults, `dead` the ids of the dead letters, each as often as it is there.
    pub(crate) fn verdict(
        &self,
        (begun, stopped): (Instant, Instant),
        windows: &[Window],
        dead: &[String],
        reports: bool,
    ) -> Verdict {
        let lost = self.outstanding(dead, reports);
        let book = self.book();
        let mut verdict = Verdict { dead: dead.len(), lost: lost.len(), ..Verdict::default() };
        verdict.problems = book.strange.clone();
        verdict
            .problems
            .extend(lost.iter().take(5).map(|number| format!("lost: {:?}", book.entries[*number])));
        let mut copies: BTreeMap<usize, usize> = BTreeMap::new();
        for id in dead {
            match book.numbers.get(id) {
                Some(number) if Fate::of(*number) == Fate::Refused => {
                    *copies.entry(*number).or_default() += 1
                }
                Some(number) => {
                    verdict.problems.push(format!("message {number} is dead, and nobody refused it"))
                }
                None => verdict.problems.push(format!("{id} is dead, and nobody posted it")),
            }
        }
        let mut strikes = vec![[0, 0]; windows.len()];
        for (number, entry) in book.entries.iter().enumerate() {
            verdict.accepted += usize::from(entry.accepted);
            if entry.ids.len() > 1 {
                verdict.problems.push(format!("message {number} has several ids: {:?}", entry.ids));
            }
            let ends = entry.ended.len().max(copies.get(&number).copied().unwrap_or(0));
            let doubles = ends.saturating_sub(1);
            let repeated = doubles.min(entry.tries.saturating_sub(1));
            verdict.repeated += repeated;
            verdict.doubled += doubles - repeated;
            let last = entry.ended.last().copied().unwrap_or(entry.begun);
            match windows.iter().position(|window| entry.begun <= window.to && window.from <= last) {
                Some(strike) => {
                    strikes[strike][0] += doubles - repeated;
                    strikes[strike][1] += repeated;
                }
                None if doubles == 0 => {}
                None => {
                    verdict.problems.push(format!("message {number} came {ends} times, far from any fault"));
                }
            }
        }
        for strike in strikes {
            verdict.at_once = [verdict.at_once[0].max(strike[0]), verdict.at_once[1].max(strike[1])];
        }
        verdict.pauses = [&book.accepted, &book.ended].map(|moments| longest_pause(moments, begun, stopped));
        verdict
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn begun_since(&self, mark: Instant) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take_while(move |entry| entry.begun > mark)
    }

    fn seen(&mut self, number: usize, id: Option<&str>) {
        let Some(id) = id else { return };
        self.entries[number].ids.insert(id.to_owned());
        self.numbers.insert(id.to_owned(), number);
    }
}

fn longest_pause(moments: &[Instant], begun: Instant, stopped: Instant) -> Duration {
    let within = moments.iter().copied().filter(|moment| (begun..stopped).contains(moment));
    let mut last = begun;
    let mut longest = Duration::ZERO;
    for moment in within.chain([stopped]) {
        longest = longest.max(moment.saturating_duration_since(last));
        last = moment;
    }
    longest
}

#[cfg(test)]
mod tests;
