//! Tests of the buffer: a file for each decision, and random histories checked against a model.

mod byte_budget;
mod cache;
mod complete;
mod driven;
mod flush;
mod recovery;
mod refused_names;
mod second_chance;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};

use self::driven::{Driven, ModelRequest};
use super::*;
use crate::{
    config::FlushPolicy::{Adaptive, Interval},
    message::call::Outcome,
    model::{
        error::ConnectFault,
        evaluation::{ConfigEvaluation, GateEvaluation, Origin},
        user::User,
    },
};

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Add { user: u8, exposure: bool, kind: CallKind, names: Vec<u8>, cache: CacheUse },
    AddMany { user: u8, names: usize },
    Leave(usize),
    FlushDue,
    FlushAll,
    Answer { call: usize, left_out: Vec<usize> },
    Fail { call: usize, error: Failing },
    Restart,
    Pass(u64),
}

/// How a request uses the cache.
#[derive(Clone, Copy, Debug, Default)]
struct CacheUse {
    /// The position of a name that is cached. The last name never is.
    cached: Option<usize>,
    bypass_cache: bool,
}

fn cache_use() -> impl Strategy<Value = CacheUse> {
    (proptest::option::of(0..5usize), any::<bool>())
        .prop_map(|(cached, bypass_cache)| CacheUse { cached, bypass_cache })
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(CallKind::CheckGate), Just(CallKind::GetConfig)];
    let add = (0..3u8, any::<bool>(), kind, vec(0..6u8, 1..6), cache_use());
    let add = add.prop_map(|(user, exposure, kind, names, cache)| Step::Add {
        user,
        exposure,
        kind,
        names,
        cache,
    });
    prop_oneof![
        6 => add,
        1 => (0..3u8, 90..230usize).prop_map(|(user, names)| Step::AddMany { user, names }),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => Just(Step::FlushDue),
        2 => Just(Step::FlushAll),
        4 => (any::<usize>(), vec(any::<usize>(), 0..2))
            .prop_map(|(call, left_out)| Step::Answer { call, left_out }),
        2 => (any::<usize>(), failing()).prop_map(|(call, error)| Step::Fail { call, error }),
        1 => Just(Step::Restart),
        2 => (0..400u64).prop_map(Step::Pass),
    ]
}

fn is_clean(Buffer { groups, refused, .. }: &Buffer) -> bool {
    groups.is_empty() && refused.has_no_bisections()
}

fn key(user: u8, exposure: bool) -> BatchKey {
    BatchKey { user: User::new(format!("u-{user}")).unwrap(), exposure }
}

fn key_of(call: &CallRequest) -> BatchKey {
    BatchKey { user: call.user.clone(), exposure: call.exposure }
}

/// An evaluation from Statsig that shows its user, exposure mode and name.
fn evaluation(key: &BatchKey, kind: CallKind, name: &Arc<str>) -> Evaluation {
    evaluation_from("network", key, kind, name)
}

/// An evaluation that also shows its source.
fn evaluation_from(source: &str, key: &BatchKey, kind: CallKind, name: &Arc<str>) -> Evaluation {
    let owner = format!("{key:?}");
    match kind {
        CallKind::CheckGate => {
            GateEvaluation::new(Arc::clone(name), true).with_rule(owner, source).into()
        }
        CallKind::GetConfig => {
            let value = serde_json::Map::default();
            ConfigEvaluation::new(Arc::clone(name), value).with_rule(owner, source).into()
        }
    }
}

/// Whether the name has a stale evaluation: two names do, in an outage.
fn has_stale(name: &Arc<str>, error: &Error) -> bool {
    matches!(&**name, "name 0" | "name 1") && error.is_retryable()
}

fn stale_results(call: &CallRequest, outcome: &Outcome) -> PartialResults {
    let Err(error) = outcome else { return no_results() };
    let stale = |name| evaluation_from("stale", &key_of(call), call.kind, name);
    call.names.iter().map(|name| has_stale(name, error).then(|| stale(name))).collect()
}

fn no_results() -> PartialResults {
    PartialResults::new()
}

const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Failing {
    Broken,
    Unauthorized,
    Refused,
    TimedOut,
}

fn failing() -> impl Strategy<Value = Failing> {
    let any = [Failing::Broken, Failing::Unauthorized, Failing::Refused, Failing::TimedOut];
    select(any.to_vec())
}

fn failure(failing: Failing) -> Error {
    let path = "/v1/check_gate";
    match failing {
        Failing::Broken => {
            let source = Arc::new(io::Error::other("broken"));
            Error::Connect { fault: ConnectFault::Closed, source }
        }
        Failing::TimedOut => Error::Timeout { limit: TIMEOUT, last: None },
        Failing::Unauthorized => Error::Unauthorized { path, status: 401 },
        Failing::Refused => Error::Refused { path, status: 400, excerpt: String::new() },
    }
}

fn names<const N: usize>(names: [&str; N]) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn names_of_calls(effects: &Effects) -> Vec<Vec<&str>> {
    let calls = effects.calls.iter();
    calls.map(|(_, call)| call.names.iter().map(|name| &**name).collect()).collect()
}

fn bypass_cache(names: Vec<Arc<str>>) -> ModelRequest {
    let cache = CacheUse { cached: None, bypass_cache: true };
    ModelRequest::new(key(0, true), CallKind::CheckGate, names, cache)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn promises_1_2_3_hold_for_any_history(
        batch_size in 1..=100usize,
        policy in select(&[Interval, Adaptive]),
        steps in vec(step(), 0..60),
    ) {
        let mut driven = Driven::new(batch_size, policy);
        for step in steps {
            driven.step(step);
        }
        driven.finish();
    }
}
