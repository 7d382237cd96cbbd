//! What becomes of a call.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{
    CallKind, CallRequest, ConfigEvaluation, ConnectFault, Error, Evaluation, GateEvaluation,
    Outcome,
};
use fastrand::Rng;
use serde_json::json;

use crate::support::Reaction;

/// How often something goes wrong, and what.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    faulty_percent: u32,
    kinds: Vec<Fault>,
    slowest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LeaveOut,
    /// An error that another attempt might mend.
    FailForNow,
    FailForGood,
    /// No answer by the deadline.
    TimeOut,
    /// An answer, but after the deadline.
    Late,
    /// The call is dropped.
    Lose,
    /// The transport panics, and loses every call that waits in its mailbox.
    Panic,
    /// The transport ends itself.
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

/// A call's fate.
pub(crate) struct Fate {
    pub(crate) fault: Option<Fault>,
    /// What is said, unless the call is lost.
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
        if fault == Some(Fault::Late) {
            return Fate { fault, outcome: Some(evaluations(call, &[])), after: left + after };
        }
        // A transport keeps to the deadline.
        if after > left || fault == Some(Fault::TimeOut) {
            let last = Some(Arc::new(Error::AttemptTimeout { limit: as_time(number) }));
            let timeout = Error::Timeout { limit: Duration::ZERO, last };
            return Fate { fault: Some(Fault::TimeOut), outcome: Some(Err(timeout)), after: left };
        }
        let outcome = match fault {
            None => Some(evaluations(call, &[])),
            Some(Fault::LeaveOut) => {
                let some = call.names.iter().filter(|_| rng.bool()).cloned().collect::<Vec<_>>();
                Some(evaluations(call, &some))
            }
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

/// The number of the call that an error came from, which every scripted error carries somewhere.
pub(crate) fn call_of(error: &Error) -> Option<usize> {
    match error {
        Error::Unavailable { retry_after: Some(time), .. }
        | Error::AttemptTimeout { limit: time } => usize::try_from(time.as_nanos()).ok(),
        Error::Timeout { last: Some(last), .. } => call_of(last),
        Error::Connect { source, .. } => source.to_string().parse().ok(),
        Error::Refused { excerpt, .. } | Error::InvalidResponse { excerpt, .. } => {
            excerpt.parse().ok()
        }
        _ => None,
    }
}

fn failure_for_now(rng: &mut Rng, number: usize, kind: CallKind) -> Error {
    match rng.u8(0..3) {
        0 => Error::Unavailable {
            path: kind.path(),
            status: rng.choice([408, 429, 500, 503]).expect("some"),
            retry_after: Some(as_time(number)),
        },
        1 => Error::AttemptTimeout { limit: as_time(number) },
        _ => connect(ConnectFault::Closed, number),
    }
}

fn failure_for_good(rng: &mut Rng, number: usize, kind: CallKind) -> Error {
    let (path, excerpt) = (kind.path(), number.to_string());
    match rng.u8(0..4) {
        0 => Error::Unauthorized { path, status: 401 },
        1 => Error::Refused { path, status: rng.choice([400, 404, 413]).expect("some"), excerpt },
        2 => Error::InvalidResponse { path, reason: "scripted".to_owned(), excerpt },
        _ => connect(ConnectFault::Tls, number),
    }
}

fn connect(fault: ConnectFault, number: usize) -> Error {
    Error::Connect { fault, source: Arc::new(io::Error::other(number.to_string())) }
}

fn as_time(number: usize) -> Duration {
    Duration::from_nanos(number as u64)
}

/// Answers that show whose they are, in every field of the user.
fn evaluations(call: &CallRequest, left_out: &[Arc<str>]) -> Outcome {
    let user = serde_json::to_string(&call.user).expect("a user is JSON");
    let one = |name: &Arc<str>| match call.kind {
        CallKind::CheckGate => Evaluation::from(gate(&user, name, call.exposure)),
        CallKind::GetConfig => Evaluation::from(value(&user, name, call.exposure)),
    };
    let names = call.names.iter();
    Ok(names.map(|name| (!left_out.contains(name)).then(|| one(name))).collect())
}

pub(crate) fn gate(user: &str, name: &str, exposure: bool) -> GateEvaluation {
    let sum = user.bytes().chain(name.bytes()).fold(0u8, u8::wrapping_add);
    GateEvaluation::new(name, sum.is_multiple_of(2)).with_rule(user, mode(exposure))
}

pub(crate) fn value(user: &str, name: &str, exposure: bool) -> ConfigEvaluation {
    let value = json!({ "user": user, "name": name });
    let value = value.as_object().cloned().expect("an object");
    ConfigEvaluation::new(name, value).with_rule(user, mode(exposure))
}

fn mode(exposure: bool) -> &'static str {
    if exposure { "exposed" } else { "quiet" }
}
