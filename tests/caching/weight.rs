//! The memory that the cache takes. The tests run in processes of their own, because the allocator
//! counts the allocations of every thread.

// Helpers outside a `#[test]` do not count as tests for clippy.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler, Recipient};
use actix_statsig::{
    CallKind, ConfigEvaluation, Error, Evaluation, FlushPolicy, GateEvaluation, Statsig,
    transport::{Call, CallRequest},
};
use stats_alloc::Region;

use crate::{
    ALLOCATOR,
    support::{config, own_process::in_own_process, user, virtual_time},
};

const BUDGET: usize = 1 << 20;

type Answer = fn(&CallRequest) -> Evaluation;

/// Answers each name at once.
struct AtOnce(Answer);

impl Actor for AtOnce {
    type Context = Context<Self>;
}

impl Handler<Call> for AtOnce {
    type Result = ();

    fn handle(&mut self, call: Call, _: &mut Context<Self>) {
        let evaluation = (self.0)(call.request());
        call.complete(Ok(vec![Some(evaluation)]));
    }
}

fn gate(call: &CallRequest) -> Evaluation {
    let name = Arc::clone(&call.names[0]);
    // Longer than the inline storage of an evaluation.
    GateEvaluation::new(name, true).with_rule("r".repeat(30), "a group of a long name").into()
}

fn config_of(name: &Arc<str>, whose: &str) -> Evaluation {
    let text = format!(r#"{{"whose": "{whose}", "text": "{}"}}"#, "x".repeat(3_000));
    ConfigEvaluation::from_json(Arc::clone(name), &text).expect("an object").into()
}

fn shared_config(call: &CallRequest) -> Evaluation {
    config_of(&call.names[0], "everybody's")
}

fn own_config(call: &CallRequest) -> Evaluation {
    config_of(&call.names[0], &format!("{:?}", call.user).replace('"', ""))
}

/// The bytes left on the heap after this many users have each requested this many names.
async fn heap(kind: CallKind, answer: Answer, users: usize, names: usize) -> usize {
    let factory = move || Ok::<Recipient<Call>, Error>(AtOnce(answer).start().recipient());
    let settings = config()
        .cache_ttl(Duration::from_secs(3_600))
        .cache_entries(100_000)
        .cache_bytes(BUDGET as u64)
        .flush_policy(FlushPolicy::Adaptive);
    let statsig = Statsig::builder(settings.build().unwrap())
        .transport(factory)
        .start_in_current_arbiter()
        .unwrap();
    statsig.check_gate(&user("first"), "first").await.ok();
    let region = Region::new(ALLOCATOR);
    for n in 0..users {
        for m in 0..names {
            // Each request creates its own `User`, as requests to an app do.
            let (who, name) = (user(n), format!("name-{m}"));
            match kind {
                CallKind::CheckGate => drop(statsig.gate_evaluation(&who, name).await.unwrap()),
                CallKind::GetConfig => drop(statsig.get_config(&who, name).await.unwrap()),
                other => unreachable!("{other:?}"),
            }
        }
    }
    let change = region.change();
    change.bytes_allocated - change.bytes_deallocated
}

#[test]
fn promise_4_heap_of_the_cache_is_what_cache_bytes_says() {
    use CallKind::{CheckGate, GetConfig};
    in_own_process(|| {
        for (what, kind, answer, users, names) in [
            ("gates of users' own", CheckGate, gate as Answer, 3_000, 1),
            ("many gates of a user", CheckGate, gate, 200, 20),
            ("values of users' own", GetConfig, own_config, 500, 1),
            ("a value that all share", GetConfig, shared_config, 3_000, 1),
        ] {
            let heap = virtual_time(heap(kind, answer, users, names));
            // The last evicted entries may not be freed yet.
            assert!(heap < BUDGET + BUDGET / 8, "{what}: {heap} bytes");
            assert!(heap > BUDGET / 2, "{what}: {heap} bytes, and there was room for more");
        }
    });
}
