//! Everything that can go wrong at once, in any order: each request still has exactly one answer,
//! its own, and nothing is left behind.
#![cfg(feature = "test-util")]

mod support;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix_rt::time::{sleep, timeout};
use actix_statsig::{
    CheckGates, ConnectFault, Error, GateEvaluation, Statsig, User, test_util::panic_at,
};
use fastrand::Rng;
use futures_util::future::join_all;
use support::{Reaction, Script, config, gate, user, virtual_time};

const MAX_PENDING: usize = 400;

/// Mostly answers, and otherwise does whatever a transport may do.
fn unreliable(rng: &mut Rng) -> Reaction {
    match rng.u8(..20) {
        0 => Reaction::Lose,
        1 => Reaction::Panic,
        2 => Reaction::Reply(Ok(Vec::new())),
        3 => Reaction::Reply(Err(Error::Unauthorized { path: "/v1/check_gate", status: 401 })),
        4..8 => {
            let source = Arc::new(std::io::Error::other("broken"));
            Reaction::Reply(Err(Error::Connect { fault: ConnectFault::Closed, source }))
        }
        _ => Reaction::AnswerAfter(Duration::from_millis(rng.u64(..40))),
    }
}

type Asked = (User, Vec<String>, Option<Result<Vec<GateEvaluation>, Error>>);

/// One caller: asks, and leaves without an answer if that takes longer than it has patience for.
async fn caller(statsig: Statsig, mut rng: Rng) -> Asked {
    sleep(Duration::from_millis(rng.u64(..200))).await;
    let who = user(rng.u8(..4));
    let names: Vec<_> = (0..rng.usize(1..6)).map(|_| format!("gate {}", rng.u8(..8))).collect();
    let message = CheckGates::new(who.clone(), names.iter().map(String::as_str));
    let patience = if rng.u8(..4) == 0 { Duration::from_millis(rng.u64(..10)) } else { HOUR };
    let asked: futures_util::future::LocalBoxFuture<'_, _> = if rng.bool() {
        Box::pin(statsig.ask(message))
    } else {
        let addr = statsig.addr();
        Box::pin(async move { addr.send(message).await.expect("the address is valid") })
    };
    (who, names, timeout(patience, asked).await.ok())
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn promises_1_2_and_5_hold_while_everything_fails() {
    for seed in 0..100 {
        virtual_time(async move {
            let mut rng = Rng::with_seed(seed);
            let reactions = Rc::new(RefCell::new(rng.fork()));
            let script = Script::new(move |_| unreliable(&mut reactions.borrow_mut()));
            let limits = config().batch_size(rng.usize(1..10)).max_pending(MAX_PENDING);
            let statsig = script.start(limits);
            let callers = (0..300).map(|_| caller(statsig.clone(), rng.fork()));
            let callers = actix_rt::spawn(join_all(callers.collect::<Vec<_>>()));
            for _ in 0..10 {
                sleep(Duration::from_millis(rng.u64(..30))).await;
                let places = ["batch.request", "batch.timer", "batch.completion"];
                panic_at(places[rng.usize(..3)], rng.u32(1..3));
                if rng.bool() {
                    let statsig = statsig.clone();
                    actix_rt::spawn(async move { statsig.flush().await });
                }
            }

            let answers = timeout(HOUR, callers).await.expect("an answer for each").unwrap();

            for (who, names, answer) in answers {
                if let Some(Ok(gates)) = answer {
                    let own: Vec<_> = names.iter().map(|name| gate(&who, name, true)).collect();
                    assert_eq!(gates, own, "seed {seed}");
                }
            }
            for place in ["batch.request", "batch.timer", "batch.completion"] {
                panic_at(place, 0);
            }
            statsig.flush().await.unwrap();
            sleep(HOUR).await;
            let stats = statsig.stats();
            let errors: u64 = stats.errors.values().sum();
            assert_eq!(
                stats.requests,
                stats.answered + errors + stats.abandoned,
                "{seed} {stats:?}"
            );
            assert_eq!((stats.buffered, stats.in_flight), (0, 0), "{seed} {stats:?}");
            let names: Vec<_> = (0..MAX_PENDING).map(|n| format!("gate {n}")).collect();
            let all_places = statsig.check_gates(&user("last"), names).await;
            assert!(!matches!(all_places, Err(Error::Overloaded { .. })), "{seed}");
        });
    }
}
