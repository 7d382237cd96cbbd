//! What must be true of a history, whatever happens in it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{CallKind, CallRequest, Error, ShutdownReport, Stats, User};
use fastrand::Rng;

use crate::{
    fate::{Fault, Weather, call_of},
    plan::{Question, Settings, Through},
    support::Reaction,
};

pub(crate) struct Model {
    settings: Settings,
    people: Vec<User>,
    /// Who has this JSON, which names every field.
    by_json: HashMap<String, usize>,
    pub(crate) weather: Weather,
    fates: Rng,
    calls: Vec<CallMade>,
    requests: Vec<Request>,
    /// Names of requests that may still have places, though nobody waits for them.
    ghosts: usize,
    /// Since the last quiet moment, as is `ghosts`.
    armed: HashMap<&'static str, u64>,
    armed_in_all: u64,
    broken: Vec<(&'static str, Lane, Instant)>,
    shutdowns: Vec<Shutdown>,
    told: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
    /// What happened, to be compared with another run of the same seed.
    pub(crate) trace: Vec<String>,
}

/// Whom a call is about, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) who: usize,
    pub(crate) exposure: bool,
    pub(crate) kind: CallKind,
}

struct CallMade {
    lane: Lane,
    names: Arc<[Arc<str>]>,
    at: Instant,
    ends_at: Instant,
    fault: Option<Fault>,
    error: Option<&'static str>,
    left_out: HashSet<Arc<str>>,
}

struct Request {
    lane: Lane,
    names: Vec<Arc<str>>,
    at: Instant,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answered(Instant),
    Left(Instant),
    /// Nobody ever waited.
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
    Right,
    Wrong(String),
    Failed(Error),
    MailboxClosed,
}

/// A timer's precision, several times over.
const MOMENT: Duration = Duration::from_millis(10);

/// With less time than this a request that shared a call is not asked for again.
const WORTHWHILE: Duration = Duration::from_millis(50);

const FREE_RESTARTS: u64 = 3;
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Model {
    pub(crate) fn new(settings: Settings, people: Vec<User>, weather: Weather, fates: Rng) -> Self {
        let json = |user: &User| serde_json::to_string(user).expect("a user is JSON");
        let by_json: HashMap<_, _> = people.iter().map(json).zip(0..).collect();
        assert_eq!(by_json.len(), people.len(), "everybody differs from everybody else");
        Self {
            settings,
            people,
            by_json,
            weather,
            fates,
            calls: Vec::new(),
            requests: Vec::new(),
            ghosts: 0,
            armed: HashMap::new(),
            armed_in_all: 0,
            broken: Vec::new(),
            shutdowns: Vec::new(),
            told: BTreeMap::new(),
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
        self.requests.push(Request { lane, names: question.names.clone(), at: now, end });
        (self.requests.len() - 1, lane)
    }

    pub(crate) fn armed(&mut self, failpoint: &'static str, times: u32) {
        *self.armed.entry(failpoint).or_default() += u64::from(times);
        self.armed_in_all += u64::from(times);
    }

    /// A call has come to the transport: is it one that should have been made, and what becomes of
    /// it?
    pub(crate) fn called(&mut self, call: &CallRequest, now: Instant) -> Reaction {
        let json = serde_json::to_string(&call.user).expect("a user is JSON");
        let Some(&who) = self.by_json.get(&json) else {
            self.violation(format_args!("a call about nobody who was asked about: {json}"));
            return Reaction::Lose;
        };
        let lane = Lane { who, exposure: call.exposure, kind: call.kind };
        let distinct: HashSet<_> = call.names.iter().collect();
        if distinct.len() != call.names.len() || distinct.is_empty() {
            self.violation(format_args!("{lane:?}: names twice or none: {:?}", call.names));
        }
        if call.names.len() > call.kind.max_names() {
            self.violation(format_args!("{lane:?}: {} names in a call", call.names.len()));
        }
        if call.deadline > now + self.settings.timeout {
            self.violation(format_args!("{lane:?}: a call that may take longer than a request"));
        }
        let unwanted = call.names.iter().filter(|name| !self.is_wanted(lane, name, now));
        let unwanted: Vec<_> = unwanted.collect();
        if !unwanted.is_empty() {
            self.violation(format_args!("{lane:?}: nobody waits for {unwanted:?}"));
        }

        let fate = self.weather.fate(&mut self.fates, self.calls.len(), call, now);
        let outcome = fate.outcome.as_ref();
        let answers = outcome.and_then(|outcome| outcome.as_ref().ok()).into_iter().flatten();
        let left_out = call.names.iter().zip(answers).filter(|(_, answer)| answer.is_none());
        self.calls.push(CallMade {
            lane,
            names: Arc::clone(&call.names),
            at: now,
            ends_at: now + fate.after,
            fault: fate.fault,
            error: outcome.and_then(|outcome| outcome.as_ref().err()).map(Error::kind),
            left_out: left_out.map(|(name, _)| Arc::clone(name)).collect(),
        });
        fate.reaction()
    }

    pub(crate) fn left(&mut self, request: usize, now: Instant) {
        self.ghosts += self.requests[request].names.len();
        self.requests[request].end = Some(End::Left(now));
        self.trace.push(format!("{request} left"));
    }

    pub(crate) fn told(&mut self, request: usize, told: &Told, now: Instant) {
        let word = match told {
            Told::Right | Told::Wrong(_) => "answered",
            Told::Failed(error) => error.kind(),
            Told::MailboxClosed => "mailbox_closed",
        };
        *self.told.entry(word).or_default() += 1;
        let waited = now - self.requests[request].at;
        self.trace.push(format!("{request} {word} after {waited:?}"));
        if let Told::Failed(Error::Internal { detail }) = told {
            self.broken.push((detail, self.requests[request].lane, now));
        }
        let complaint = match told {
            Told::Right => self.is_late(request, now).or(self.is_answered_though_closed(request)),
            Told::Wrong(how) => Some(how.clone()),
            Told::Failed(error) => match self.explains(request, error, now) {
                true => self.is_late(request, now),
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

    pub(crate) fn shutdown_began(&mut self, limit: Duration, now: Instant) -> usize {
        self.shutdowns.push(Shutdown { began: now, deadline: now + limit, report: None });
        self.shutdowns.len() - 1
    }

    pub(crate) fn shut_down(&mut self, shutdown: usize, report: ShutdownReport, now: Instant) {
        self.trace.push(format!("{report:?}"));
        let deadline = self.shutdowns.iter().map(|shutdown| shutdown.deadline).min();
        let deadline = deadline.expect("it began").max(self.shutdowns[shutdown].began);
        let parts = report.answered + report.failed + report.abandoned + report.cut_off;
        if report.pending != parts {
            self.violation(format_args!("a report that does not add up: {report:?}"));
        }
        if now > deadline + MOMENT + self.rests() {
            self.violation(format_args!("shut down {:?} after the limit", now - deadline));
        }
        if report.cut_off > 0 && now < deadline {
            self.violation(format_args!("cut off {:?} before the limit", deadline - now));
        }
        self.shutdowns[shutdown].report = Some(report);
        if self.shutdowns.iter().any(|other| other.report.is_some_and(|other| other != report)) {
            self.violation(format_args!("two reports of one shutdown, one of them {report:?}"));
        }
    }

    /// In the middle of the work, when everything that was sent has been taken in.
    pub(crate) fn look(&mut self) {
        if !self.rests().is_zero() {
            return;
        }
        let waiting = self.requests.iter().filter(|request| request.end.is_none());
        let names: usize = waiting.map(|request| request.names.len()).sum();
        let max = self.settings.max_pending;
        if names > max {
            self.violation(format_args!("{names} names are pending, of {max} that may be"));
        }
    }

    /// At a moment when nothing is pending.
    pub(crate) fn quiet(&mut self, stats: &Stats) {
        self.trace.push(format!("{stats:?}"));
        let unanswered = self.requests.iter().filter(|request| request.end.is_none()).count();
        if unanswered > 0 {
            self.violation(format_args!("{unanswered} requests without an answer"));
        }
        if (stats.buffered, stats.in_flight) != (0, 0) {
            self.violation(format_args!("quiet, but something is pending: {stats:?}"));
        }
        let ended = stats.answered + stats.errors.values().sum::<u64>() + stats.abandoned;
        if stats.requests != ended {
            self.violation(format_args!("{} requests, {ended} of them ended", stats.requests));
        }
        if stats.restarts > self.armed_in_all {
            self.violation(format_args!("{} restarts, more than panics", stats.restarts));
        }
        if self.shutdowns.is_empty() {
            self.compare(stats);
        }
        self.look_at_panics();
        self.ghosts = 0;
        self.armed.clear();
        self.broken.clear();
    }

    /// What was counted is what the callers were told; of those who left nobody knows.
    fn compare(&mut self, stats: &Stats) {
        let left = |request: &&Request| !matches!(request.end, Some(End::Answered(_)));
        let unknown = self.requests.iter().filter(left).count() as u64;
        let sent = self.requests.len() as u64;
        let mut counts = vec![
            ("answered", stats.answered, self.count("answered")),
            ("requests", stats.requests, sent - unknown),
            ("abandoned", stats.abandoned, 0),
        ];
        let kinds: HashSet<_> = stats.errors.keys().chain(self.told.keys()).copied().collect();
        for kind in kinds.into_iter().filter(|kind| *kind != "answered") {
            let counted = stats.errors.get(kind).copied().unwrap_or_default();
            counts.push((kind, counted, self.count(kind)));
        }
        for (what, counted, seen) in counts {
            if !(seen..=seen + unknown).contains(&counted) {
                self.violation(format_args!(
                    "{what}: {counted} counted, {seen} seen, and {unknown} who left"
                ));
            }
        }
    }

    /// A panic is the business of those alone who had a part in it.
    fn look_at_panics(&mut self) {
        for (what, failpoint) in [("handler", "batch.request"), ("completion", "batch.completion")]
        {
            let broken = self.broken.iter().filter(|(detail, ..)| detail.contains(what));
            let broken = match what {
                "handler" => broken.count(),
                // Everybody who waited for the same call.
                _ => broken.map(|(_, lane, at)| (lane, at)).collect::<HashSet<_>>().len(),
            };
            let armed = self.armed.get(failpoint).copied().unwrap_or_default();
            if broken as u64 > armed {
                let panics = format!("{armed} panics at {failpoint}");
                self.violation(format_args!("{panics} were felt by {broken}"));
            }
        }
    }

    pub(crate) fn count(&self, told: &str) -> u64 {
        self.told.get(told).copied().unwrap_or_default()
    }

    pub(crate) fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.told
    }

    pub(crate) fn violation(&mut self, what: fmt::Arguments<'_>) {
        self.violations.push(what.to_string());
    }

    /// Whether there is a caller for it, or was before it was lost or refused: such a call is sent
    /// again as it is, or in halves.
    fn is_wanted(&self, lane: Lane, name: &Arc<str>, now: Instant) -> bool {
        let asked = self.requests.iter().rev();
        let mut callers =
            asked.filter(|request| request.lane == lane && request.names.contains(name));
        let was_sent_before = |request: &Request| {
            let mut calls = self.calls.iter().rev().take_while(|call| call.at >= request.at);
            calls.any(|call| call.ends_transport())
                || self
                    .calls_for(lane, std::slice::from_ref(name))
                    .any(|call| call.is_lost() || call.error == Some("refused"))
        };
        callers.any(|request| match request.end {
            None => true,
            Some(End::Left(at)) => at == now || was_sent_before(request),
            Some(End::Answered(_)) => was_sent_before(request),
            Some(End::Nobody) => false,
        })
    }

    fn is_late(&self, request: usize, now: Instant) -> Option<String> {
        let Request { lane, names, at, .. } = &self.requests[request];
        let limit = *at + self.settings.timeout + self.slack();
        let mut calls = self.calls_for(*lane, names).filter(|call| call.ends_at >= *at);
        let kept_waiting = calls.any(|call| call.fault == Some(Fault::Late));
        (now > limit && !kept_waiting).then(|| format!("{:?} too late", now - limit))
    }

    fn is_answered_though_closed(&self, request: usize) -> Option<String> {
        let began = self.shutdowns.first()?.began;
        let asked = self.requests[request].at;
        (asked > began).then(|| format!("answered, asked {:?} after the shutdown", asked - began))
    }

    fn slack(&self) -> Duration {
        let restarts = u32::try_from(self.panics()).unwrap_or(u32::MAX);
        // Each starts the interval again.
        MOMENT + self.settings.flush_interval * restarts + self.rests()
    }

    /// How long the actor may rest: before each of a row of restarts but the first few.
    fn rests(&self) -> Duration {
        let restarts = self.panics().saturating_sub(FREE_RESTARTS);
        LONGEST_REST * u32::try_from(restarts).unwrap_or(u32::MAX)
    }

    /// So many there may have been since the last quiet moment.
    fn panics(&self) -> u64 {
        self.armed.values().sum()
    }

    /// Whether something that happened in this run is a reason for this request's error.
    fn explains(&self, request: usize, error: &Error, now: Instant) -> bool {
        let Request { lane, names, at, .. } = &self.requests[request];
        let (lane, at) = (*lane, *at);
        let left = (at + self.settings.timeout).saturating_duration_since(now);
        let mut calls = self.calls_for(lane, names).filter(|call| call.ends_at >= at);
        match error {
            Error::ShuttingDown => !self.shutdowns.is_empty(),
            Error::InvalidName { name, .. } => {
                names.iter().any(|asked| **asked == **name) && !name.starts_with("name ")
            }
            Error::Overloaded { limit } => {
                // Others may have ended between the refusal and now.
                let was_open = |end: Option<End>| end.is_none_or(|end| end == End::Answered(now));
                let open = self.requests.iter().filter(|request| was_open(request.end));
                let pending = self.ghosts + open.map(|request| request.names.len()).sum::<usize>();
                *limit == self.settings.max_pending && pending > *limit
            }
            Error::MissingName { name, .. } => {
                names.contains(name) && calls.any(|call| call.left_out.contains(name))
            }
            Error::Internal { detail } => {
                let lost = calls.any(|call| call.is_lost())
                    || self.calls.iter().any(|call| call.at >= at && call.ends_transport());
                let panics = self.panics();
                match *detail {
                    detail if detail.contains("handler") => panics > 0,
                    detail if detail.contains("completion") => panics > 0,
                    detail if detail.contains("three restarts") => panics >= 3,
                    detail if detail.contains("lost") => lost,
                    _ => false,
                }
            }
            // It came too late to the actor, which rested.
            Error::Timeout { last: None, .. } => left.is_zero() && !self.rests().is_zero(),
            Error::Unauthorized { .. } => calls.any(|call| call.error == Some("unauthorized")),
            _ => {
                let Some(call) = call_of(error).and_then(|number| self.calls.get(number)) else {
                    return false;
                };
                let is_ours =
                    call.lane == lane && call.names.iter().any(|name| names.contains(name));
                // Who joined a call under way has had only a part of its time, and another chance.
                let has_a_chance = call.at < at && error.is_retryable() && !left.is_zero();
                let is_early = error.kind() == "timeout" && left > WORTHWHILE + self.slack();
                let is_it = call.error == Some(error.kind()) && (at..=now).contains(&call.ends_at);
                is_ours && is_it && !has_a_chance && !is_early
            }
        }
    }

    fn calls_for(&self, lane: Lane, names: &[Arc<str>]) -> impl Iterator<Item = &CallMade> {
        let calls = self.calls.iter().rev().filter(move |call| call.lane == lane);
        calls.filter(move |call| call.names.iter().any(|name| names.contains(name)))
    }
}

impl CallMade {
    fn is_lost(&self) -> bool {
        self.fault == Some(Fault::Lose) || self.ends_transport()
    }

    /// Other calls may be lost with it, before they were seen.
    fn ends_transport(&self) -> bool {
        matches!(self.fault, Some(Fault::Panic | Fault::Stop))
    }
}
