//! Decides how each call ends.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{
    CallKind, ConfigEvaluation, ConnectFault, Error, Evaluation, GateEvaluation, Source,
    transport::{CallRequest, Outcome},
};
use fastrand::Rng;
use serde_json::json;

use crate::support::Reaction;

/// How often calls fail, and how.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    faulty_percent: u32,
    kinds: Vec<Fault>,
    slowest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LeaveOut,
    /// An error that a retry might fix.
    FailForNow,
    FailForGood,
    /// No answer by the deadline.
    TimeOut,
    /// The answer comes after the deadline.
    Late,
    /// The call is dropped.
    Lose,
    /// The transport panics, and loses every call in its mailbox.
    Panic,
    /// The transport stops itself.
    Stop,
}

const FAULTS: [Fault; 8] = [
    Fault::LeaveOut,
    Fault::FailForNow,
    Fault::FailForGood,
    Fault::TimeOut,
    Fault::Late,
    Fault::Lose,
    Fault::Panic,
    Fault::Stop,
];

/// An evaluation from the scripted transport. It shows its user, with every field, and the number
/// of its call.
pub(crate) trait Scripted: PartialEq + fmt::Debug {
    fn of(user: &str, name: &str, exposure: bool, call: usize) -> Self;
    fn group(&self) -> Option<&str>;
    fn source(&self) -> Source;
}

/// The source of an evaluation that a caller got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The number of the call.
    pub(crate) call: usize,
    pub(crate) source: Source,
}

/// How a call ends.
pub(crate) struct Fate {
    pub(crate) fault: Option<Fault>,
    /// The reply, unless the call is lost.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) after: Duration,
}

impl Weather {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let kinds = match rng.u8(0..3) {
            0 => FAULTS.to_vec(),
            1 => vec![rng.choice(FAULTS).expect("some")],
            _ => FAULTS.into_iter().filter(|_| rng.bool()).collect(),
        };
        Self {
            faulty_percent: match kinds.is_empty() {
                true => 0,
                false => rng.choice([0, 1, 10, 50, 100]).expect("some"),
            },
            kinds,
            slowest: rng.choice([1, 20, 1_000, 5_000]).expect("some"),
        }
    }

    pub(crate) fn fate(
        &self,
        rng: &mut Rng,
        number: usize,
        call: &CallRequest,
        now: Instant,
    ) -> Fate {
        let left = call.deadline.saturating_duration_since(now);
        let faulty = rng.u32(0..100) < self.faulty_percent;
        let fault = if faulty { rng.choice(self.kinds.iter().copied()) } else { None };
        let after = Duration::from_millis(if rng.bool() { 0 } else { rng.u64(0..self.slowest) });
        // As a transport answers that has no retry left.
        if let Some(refusal) = call.refusal.as_ref().filter(|_| rng.u8(0..4) == 0) {
            let (fault, outcome) = (Some(Fault::FailForGood), Some(Err(refusal.clone())));
            return Fate { fault, outcome, after: Duration::ZERO };
        }
        if matches!(fault, Some(Fault::Panic | Fault::Stop)) {
            return Fate { fault, outcome: None, after: Duration::ZERO };
        }
        if fault == Some(Fault::Late) {
            let outcome = Some(Ok(evaluations(call, number)));
            return Fate { fault, outcome, after: left + after };
        }
        // A transport observes the deadline.
        if after > left || fault == Some(Fault::TimeOut) {
            let last = Error::attempt_timeout(as_time(number));
            let timeout = Error::timeout(Duration::ZERO, Some(last));
            return Fate { fault: Some(Fault::TimeOut), outcome: Some(Err(timeout)), after: left };
        }
        let outcome = match fault {
            None => Some(Ok(evaluations(call, number))),
            Some(Fault::LeaveOut) => Some(Ok(with_gaps(evaluations(call, number), rng))),
            Some(Fault::FailForNow) => Some(Err(failure_for_now(rng, number, call.kind))),
            Some(Fault::FailForGood) => Some(Err(failure_for_good(rng, number, call.kind))),
            Some(_) => None,
        };
        Fate { fault, outcome, after }
    }
}

impl Fate {
    pub(crate) fn reaction(self) -> Reaction {
        match (self.fault, self.outcome) {
            (Some(Fault::Panic), _) => Reaction::Panic,
            (Some(Fault::Stop), _) => Reaction::Stop,
            (_, Some(outcome)) if self.after.is_zero() => Reaction::Reply(outcome),
            (_, Some(outcome)) => Reaction::ReplyAfter(self.after, outcome),
            (_, None) => Reaction::LoseAfter(self.after),
        }
    }
}

/// The number of the call that an error came from. Every scripted error carries it somewhere.
pub(crate) fn call_of(error: &Error) -> Option<usize> {
    match error {
        Error::Unavailable { retry_after: Some(time), .. }
        | Error::AttemptTimeout { limit: time, .. } => usize::try_from(time.as_nanos()).ok(),
        Error::Intermediary { status, .. } => Some(usize::from(*status)),
        Error::Timeout { last: Some(last), .. } => call_of(last),
        Error::Connect { source, .. } => source.to_string().parse().ok(),
        Error::Refused { excerpt, .. } | Error::InvalidResponse { excerpt, .. } => {
            excerpt.parse().ok()
        }
        _ => None,
    }
}

fn failure_for_now(rng: &mut Rng, number: usize, kind: CallKind) -> Error {
    let short = u16::try_from(number).ok();
    match rng.u8(0..4) {
        0 => {
            let status = rng.choice([408, 429, 500, 503]).expect("some");
            Error::unavailable(kind, status, Some(as_time(number)))
        }
        1 => Error::attempt_timeout(as_time(number)),
        2 if short.is_some() => Error::intermediary(kind, short.unwrap_or_default(), "text/html"),
        _ => connect(ConnectFault::Closed, number),
    }
}

fn failure_for_good(rng: &mut Rng, number: usize, kind: CallKind) -> Error {
    let excerpt = number.to_string();
    match rng.u8(0..4) {
        0 => Error::unauthorized(kind, rng.choice([401, 403]).expect("some")),
        1 => Error::refused(kind, rng.choice([400, 404, 413]).expect("some"), excerpt),
        2 => Error::invalid_response(kind, "scripted", excerpt),
        _ => connect(ConnectFault::Tls, number),
    }
}

fn connect(fault: ConnectFault, number: usize) -> Error {
    Error::connect(fault, number.to_string())
}

fn as_time(number: usize) -> Duration {
    Duration::from_nanos(number as u64)
}

fn evaluations(call: &CallRequest, number: usize) -> Vec<Option<Evaluation>> {
    let user = call.user.to_json();
    let one = |name: &Arc<str>| match call.kind {
        CallKind::CheckGate => GateEvaluation::of(&user, name, call.exposure, number).into(),
        CallKind::GetConfig => ConfigEvaluation::of(&user, name, call.exposure, number).into(),
        other => unreachable!("{other:?}"),
    };
    call.names.iter().map(|name| Some(one(name))).collect()
}

fn with_gaps(mut all: Vec<Option<Evaluation>>, rng: &mut Rng) -> Vec<Option<Evaluation>> {
    if rng.u8(0..4) == 0 {
        all.truncate(rng.usize(0..=all.len()));
    }
    all.into_iter().map(|one| one.filter(|_| rng.bool())).collect()
}

/// The source of each evaluation of an answer, if the evaluations are the requested ones.
pub(crate) fn read<E: Scripted>(
    answer: &[E],
    user: &str,
    names: &[Arc<str>],
    exposure: bool,
) -> Result<Vec<Given>, String> {
    if answer.len() != names.len() {
        return Err(format!("{} evaluations", answer.len()));
    }
    let each = answer.iter().zip(names).map(|(evaluation, name)| {
        let number = evaluation.group().and_then(|group| group.split_once(' ')?.1.parse().ok());
        let call = number.ok_or_else(|| format!("{evaluation:?}, which no call brought"))?;
        match E::of(user, name, exposure, call) {
            right if *evaluation == right => Ok(Given { call, source: evaluation.source() }),
            right => Err(format!("{evaluation:?} where {right:?} was due")),
        }
    });
    each.collect()
}

impl Scripted for GateEvaluation {
    fn of(user: &str, name: &str, exposure: bool, call: usize) -> Self {
        let sum = user.bytes().chain(name.bytes()).fold(call, |sum, byte| sum + usize::from(byte));
        Self::new(name, sum.is_multiple_of(2)).with_rule(user, group_of(exposure, call))
    }

    fn group(&self) -> Option<&str> {
        self.group_name()
    }

    fn source(&self) -> Source {
        self.source()
    }
}

impl Scripted for ConfigEvaluation {
    fn of(user: &str, name: &str, exposure: bool, call: usize) -> Self {
        let value = json!({ "user": user, "name": name });
        let value = value.as_object().cloned().expect("an object");
        Self::new(name, value).with_rule(user, group_of(exposure, call))
    }

    fn group(&self) -> Option<&str> {
        self.group_name()
    }

    fn source(&self) -> Source {
        self.source()
    }
}

fn group_of(exposure: bool, call: usize) -> String {
    format!("{} {call}", if exposure { "exposed" } else { "quiet" })
}
