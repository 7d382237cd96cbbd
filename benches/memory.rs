//! Measures bytes on the heap with a counting allocator: for a request in the buffer, for a gate in
//! the cache, and for a user.
//!
//! `cargo bench --all-features --bench memory`

#![expect(clippy::print_stdout, reason = "a measurement is there to be read")]

mod support;

use std::{
    alloc::System,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler, Recipient};
use actix_statsig::{
    CallKind, CheckGates, Config, FlushPolicy, Statsig, User, test_util::PureBuffer,
    transport::Call,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::AtOnce;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The number of requests that a component accepts by default.
const REQUESTS: usize = 10_000;

/// Few enough names for each user that no user reaches the batch size.
const NAMES: usize = 50;

/// Returns the bytes that the made value keeps on the heap, and the value.
fn bytes<T>(make: impl FnOnce() -> T) -> (isize, T) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (change.bytes_allocated as isize - change.bytes_deallocated as isize, made)
}

fn user(n: usize) -> User {
    let user = User::builder().user_id(format!("user-{n:06}")).country("NL").custom("plan", "pro");
    user.build().expect("a valid user")
}

fn gate(n: usize) -> Arc<str> {
    format!("gate-number-{n:08}").into()
}

/// A user and a name for each request.
struct Asked {
    users: Vec<User>,
    gate_of: fn(usize) -> usize,
}

impl Asked {
    fn user(&self, request: usize) -> User {
        self.users[request % self.users.len()].clone()
    }

    /// Each caller allocates its own name, even if others ask for the same gate.
    fn gate(&self, request: usize) -> Arc<str> {
        gate((self.gate_of)(request))
    }
}

/// Measures requests in the pure buffer: the bytes that each keeps for its answer.
#[expect(clippy::disallowed_methods, reason = "a benchmark is no decision")]
fn pure(asked: &Asked) -> isize {
    let deadline = Instant::now();
    let (bytes, buffer) = bytes(|| {
        let mut buffer = PureBuffer::new(100, FlushPolicy::Interval);
        for request in 0..REQUESTS {
            let gates = vec![asked.gate(request)];
            buffer.add(asked.user(request), CallKind::CheckGate, gates, deadline);
        }
        buffer
    });
    drop(buffer);
    bytes
}

/// Measures the same through the actor, with the reply senders, the callers' ends of them, and the
/// places of `max_pending`.
fn through_the_actor(asked: &Asked) -> isize {
    actix::System::new().block_on(async {
        let config = Config::builder("secret-key")
            .timeout(Duration::from_secs(600))
            .flush_interval(Duration::from_secs(60))
            .cache_ttl(Duration::ZERO)
            .build();
        let transport = || Ok::<Recipient<Call>, _>(Keeps.start().recipient());
        let statsig = Statsig::builder(config.expect("valid"))
            .transport(transport)
            .start_in_current_arbiter()
            .expect("started");
        let addr = statsig.addr();
        let mut waiting = Vec::with_capacity(REQUESTS);
        let region = Region::new(ALLOCATOR);
        for request in 0..REQUESTS {
            let message = CheckGates::new(asked.user(request), [asked.gate(request)]);
            waiting.push(addr.clone().send(message));
        }
        while statsig.stats().requests < REQUESTS as u64 {
            tokio::task::yield_now().await;
        }
        let change = region.change();
        change.bytes_allocated as isize - change.bytes_deallocated as isize
    })
}

/// Measures cached gates, with a rule's id and a group's name: the difference between a component
/// that has cached the gates and one that has not.
fn cached(users: &[User]) -> isize {
    let holds = |ttl: Duration| {
        actix::System::new().block_on(async {
            let config = Config::builder("secret-key")
                .flush_policy(FlushPolicy::Adaptive)
                .cache_entries(REQUESTS)
                .cache_ttl(ttl);
            let region = Region::new(ALLOCATOR);
            let transport = AtOnce::factory;
            let config = config.build().expect("valid");
            let statsig = Statsig::builder(config)
                .transport(transport)
                .start_in_current_arbiter()
                .expect("started");
            for request in 0..REQUESTS {
                let user = &users[request % users.len()];
                statsig.check_gate(user, gate(request)).await.expect("an answer");
            }
            let change = region.change();
            assert_eq!(statsig.stats().calls, REQUESTS as u64);
            change.bytes_allocated as isize - change.bytes_deallocated as isize
        })
    };
    holds(Duration::from_secs(600)) - holds(Duration::ZERO)
}

/// A transport that gets no calls.
struct Keeps;

impl Actor for Keeps {
    type Context = Context<Self>;
}

impl Handler<Call> for Keeps {
    type Result = ();

    fn handle(&mut self, _: Call, _: &mut Context<Self>) {
        unreachable!("everything stays in the buffer");
    }
}

fn main() {
    let users = |count: usize| (0..count).map(user).collect::<Vec<_>>();
    let kinds = [
        (
            "a name of its own, a shared user",
            users(REQUESTS / NAMES),
            (|n| n) as fn(usize) -> usize,
        ),
        ("a name and a user that others ask for", users(1), |_| 0),
        ("a user of its own", users(REQUESTS), |_| 0),
    ];
    let each = |what: &str, bytes: isize| println!("{what:60} {:5}", bytes / REQUESTS as isize);
    println!("bytes for each of {REQUESTS}");
    for (what, users, gate_of) in kinds {
        let asked = Asked { users, gate_of };
        each(&format!("buffered request, {what}"), through_the_actor(&asked));
        each("    of these in the pure buffer", pure(&asked));
    }
    each("cached gate, its user not counted", cached(&users(REQUESTS / NAMES)));
    let (bytes, _users) = bytes(|| {
        let mut users = Vec::with_capacity(REQUESTS);
        users.extend((0..REQUESTS).map(user));
        users
    });
    each("user with id, country and one custom field", bytes);
}
