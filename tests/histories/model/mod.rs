//! What must hold for every history. This file records what happened and decides when to check it;
//! the files beside it have the checks.

mod accounts;
mod asking;
mod keeping;
mod made;
mod reasons;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{CallKind, Error, ShutdownReport, Source, User, transport::CallRequest};
use fastrand::Rng;

use self::made::CallMade;
use crate::{
    fate::{Given, Weather},
    plan::{Question, Settings, Through},
    support::Reaction,
};

pub(crate) struct Model {
    settings: Settings,
    people: Vec<User>,
    /// Each user's position in `people`, by a JSON text that names every field.
    by_json: HashMap<String, usize>,
    pub(crate) weather: Weather,
    fates: Rng,
    calls: Vec<CallMade>,
    /// The numbers of the calls and of the requests for a name.
    calls_by_name: HashMap<(Lane, Arc<str>), Vec<usize>>,
    requests_by_name: HashMap<(Lane, Arc<str>), Vec<usize>>,
    requests: Vec<Request>,
    /// The number of names that may still hold places for requests without a caller.
    ghosts: usize,
    /// Panics armed since the last quiet moment. `ghosts` counts from there too.
    armed: HashMap<&'static str, u64>,
    armed_in_all: u64,
    broken: Vec<(&'static str, Lane, Instant)>,
    shutdowns: Vec<Shutdown>,
    /// How many requests were answered, and how many failed with each kind of error.
    told: BTreeMap<&'static str, u64>,
    /// How many evaluations came from each source.
    sources: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
    /// What happened, to compare with another run of the same seed.
    pub(crate) trace: Vec<String>,
}

/// The user, exposure mode and kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) who: usize,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
}

struct Request {
    lane: Lane,
    names: Vec<Arc<str>>,
    bypass_cache: bool,
    at: Instant,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answered(Instant),
    Left(Instant),
    /// No caller ever waited.
    Nobody,
}

struct Shutdown {
    began: Instant,
    deadline: Instant,
    report: Option<ShutdownReport>,
}

/// What a caller got.
#[derive(Debug)]
pub(crate) enum Told {
    /// The right answer, with the source of each evaluation.
    Right(Vec<Given>),
    Wrong(String),
    Failed(Error),
    MailboxClosed,
}

/// Several times a timer's precision.
const MOMENT: Duration = Duration::from_millis(10);

const FREE_RESTARTS: u64 = 3;
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Model {
    pub(crate) fn new(settings: Settings, people: Vec<User>, weather: Weather, fates: Rng) -> Self {
        let by_json: HashMap<_, _> = people.iter().map(User::to_json).zip(0..).collect();
        assert_eq!(by_json.len(), people.len(), "two users have the same JSON");
        Self {
            settings,
            people,
            by_json,
            weather,
            fates,
            calls: Vec::new(),
            calls_by_name: HashMap::new(),
            requests_by_name: HashMap::new(),
            requests: Vec::new(),
            ghosts: 0,
            armed: HashMap::new(),
            armed_in_all: 0,
            broken: Vec::new(),
            shutdowns: Vec::new(),
            told: BTreeMap::new(),
            sources: BTreeMap::new(),
            violations: Vec::new(),
            trace: Vec::new(),
        }
    }

    pub(crate) fn user(&self, who: usize) -> User {
        self.people[who].clone()
    }

    pub(crate) fn asked(&mut self, question: &Question, now: Instant) -> (usize, Lane) {
        let exposure = question.exposure.unwrap_or(self.settings.exposure);
        let lane = Lane { who: question.who, exposure, kind: question.kind };
        let end = (question.through == Through::Nobody).then_some(End::Nobody);
        if end.is_some() {
            self.ghosts += question.names.len();
        }
        let (id, names) = (self.requests.len(), question.names.clone());
        for name in names.iter().collect::<HashSet<_>>() {
            self.requests_by_name.entry((lane, Arc::clone(name))).or_default().push(id);
        }
        let bypass_cache = question.bypass_cache;
        self.requests.push(Request { lane, names, bypass_cache, at: now, end });
        (id, lane)
    }

    pub(crate) fn armed(&mut self, failpoint: &'static str, times: u32) {
        *self.armed.entry(failpoint).or_default() += u64::from(times);
        self.armed_in_all += u64::from(times);
    }

    /// Checks a call that has reached the transport, and decides how the transport reacts.
    pub(crate) fn called(&mut self, call: &CallRequest, now: Instant) -> Reaction {
        let json = call.user.to_json();
        let Some(&who) = self.by_json.get(&json) else {
            self.violation(format_args!("a call for a user without a request: {json}"));
            return Reaction::Lose;
        };
        let lane = Lane { who, exposure: call.exposure, kind: call.kind };
        for complaint in self.complaints_about(call, lane, now) {
            self.violation(format_args!("a call for {:?} of {lane:?}: {complaint}", call.names));
        }

        let number = self.calls.len();
        let since = self.asked_since(call, lane, now);
        let fate = self.weather.fate(&mut self.fates, number, call, now);
        let answers = match &fate.outcome {
            Some(Ok(answers)) => &**answers,
            _ => &[],
        };
        let answered = call.names.iter().zip(answers).filter(|(_, answer)| answer.is_some());
        self.calls.push(CallMade {
            lane,
            names: Arc::clone(&call.names),
            at: now,
            since,
            ends_at: now + fate.after,
            fault: fate.fault,
            answered: answered.map(|(name, _)| Arc::clone(name)).collect(),
            error: fate
                .outcome
                .as_ref()
                .and_then(|it| it.as_ref().err())
                .map(|error| error.kind().as_str()),
            doubt: None,
        });
        for name in call.names.iter() {
            self.calls_by_name.entry((lane, Arc::clone(name))).or_default().push(number);
        }
        fate.reaction()
    }

    pub(crate) fn left(&mut self, request: usize, now: Instant) {
        self.ghosts += self.requests[request].names.len();
        self.requests[request].end = Some(End::Left(now));
        self.trace.push(format!("{request} left"));
    }

    pub(crate) fn told(&mut self, request: usize, told: &Told, now: Instant) {
        let word = match told {
            Told::Right(_) | Told::Wrong(_) => "answered",
            Told::Failed(error) => error.kind().as_str(),
            Told::MailboxClosed => "mailbox_closed",
        };
        *self.told.entry(word).or_default() += 1;
        let waited = now - self.requests[request].at;
        self.trace.push(format!("{request} {word} after {waited:?}"));
        if let Told::Failed(Error::Internal { detail, .. }) = told {
            self.broken.push((detail, self.requests[request].lane, now));
        }
        let complaint = match told {
            Told::Right(given) => {
                for source in given.iter().map(|given| given.source) {
                    *self.sources.entry(word_for(source)).or_default() += 1;
                }
                self.is_late(request, now)
                    .or_else(|| self.is_answered_though_closed(request))
                    .or_else(|| self.comes_from_elsewhere(request, given, now))
            }
            Told::Wrong(how) => Some(how.clone()),
            Told::Failed(error) => match self.explains(request, error, now) {
                true => self
                    .is_late(request, now)
                    .or_else(|| self.fails_though_something_is_kept(request, error)),
                false => Some(format!("nothing explains {error:?}")),
            },
            Told::MailboxClosed if self.shutdowns.is_empty() => {
                Some("the mailbox is closed".into())
            }
            Told::MailboxClosed => None,
        };
        if let Some(complaint) = complaint {
            let Request { lane, names, .. } = &self.requests[request];
            let about = format!("request {request}, {lane:?}, {names:?}, after {waited:?}");
            self.violation(format_args!("{about}: {complaint}"));
        }
        self.requests[request].end = Some(End::Answered(now));
    }

    pub(crate) fn violation(&mut self, what: fmt::Arguments<'_>) {
        self.violations.push(what.to_string());
    }

    /// How often each outcome and each source occurred.
    pub(crate) fn tally(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.told.iter().chain(&self.sources).map(|(word, times)| (*word, *times))
    }

    /// The calls for a name, newest first.
    fn calls_for(
        &self,
        lane: Lane,
        name: &Arc<str>,
    ) -> impl Iterator<Item = (usize, &CallMade)> + Clone {
        let calls = self.calls_by_name.get(&(lane, Arc::clone(name)));
        calls.into_iter().flatten().rev().map(|number| (*number, &self.calls[*number]))
    }

    fn requests_for(&self, lane: Lane, name: &Arc<str>) -> impl Iterator<Item = &Request> {
        let requests = self.requests_by_name.get(&(lane, Arc::clone(name)));
        requests.into_iter().flatten().rev().map(|number| &self.requests[*number])
    }

    /// How long the actor may pause in all: before each restart of a series but the first few.
    fn rests(&self) -> Duration {
        let restarts = self.panics().saturating_sub(FREE_RESTARTS);
        LONGEST_REST * u32::try_from(restarts).unwrap_or(u32::MAX)
    }

    /// The most panics that there can have been since the last quiet moment.
    fn panics(&self) -> u64 {
        self.armed.values().sum()
    }

    fn slack(&self) -> Duration {
        let restarts = u32::try_from(self.panics()).unwrap_or(u32::MAX);
        // Each restart starts the flush interval again.
        MOMENT + self.settings.flush_interval * restarts + self.rests()
    }
}

fn word_for(source: Source) -> &'static str {
    match source {
        Source::Cache { .. } => "from the cache",
        Source::Stale { .. } => "stale",
        _ => "from the network",
    }
}
