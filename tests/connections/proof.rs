//! An answer that names another gate than the requested one proves that its connection is off by
//! one.

use std::{io, sync::Arc, time::Duration};

use actix_statsig::FlushPolicy;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    assert_right, over_both, start,
    support::hostile::{Connection, Hostile, gate, stray, with_length},
    user,
};

/// Answers this many requests correctly, and each later request with the answer to the one before
/// it.
pub(crate) async fn off_by_one_after(right: usize, connection: &mut Connection) -> io::Result<()> {
    let mut before = with_length(&stray());
    for n in 0.. {
        let Some(request) = connection.request().await? else { break };
        let answer = with_length(&request.answer());
        if n < right {
            connection.write(answer).await?;
        } else {
            connection.write(&before).await?;
            before = answer;
        }
    }
    Ok(())
}

#[actix_rt::test]
async fn connection_that_is_off_by_one_heals_at_the_first_other_name() {
    let serve = |mut connection: Connection| async move {
        match connection.number {
            0 => off_by_one_after(1, &mut connection).await,
            _ => connection.answer_all().await,
        }
    };
    over_both!(serve, async |server: Hostile| {
        let config = server.config().cache_ttl(Duration::from_secs(600));
        let statsig = start(config.flush_interval(Duration::from_millis(1)));
        assert_right(&statsig, "beta", 1).await;
        // This answer looks right: it is for the requested gate.
        let first = statsig.gate_evaluation(&user(2), "beta").await.unwrap();
        assert_eq!(first.rule_id(), Some("somebody else"));

        // The next answer is for the gate requested before.
        assert_right(&statsig, "alpha", 3).await;

        // The cache is emptied, including the wrong answer, and every later answer is right.
        server.ended(1).await;
        for n in (1..100).chain(1..100) {
            assert_right(&statsig, "beta", n).await;
        }
        assert_eq!(server.requests(), 4 + 99);
        assert_eq!(statsig.stats().errors.len(), 0);
    });
}

/// The first connection answers each request with the answer to the one before, and sends the last
/// answer when it is idle. All requests are for the same gate, so no answer proves anything.
#[actix_rt::test]
async fn connection_off_by_one_for_the_same_name_heals_at_rest() {
    let pause = Duration::from_millis(30);
    let serve = move |mut connection: Connection| async move {
        if connection.number > 0 {
            return connection.answer_all().await;
        }
        let Some(request) = connection.request().await? else { return Ok(()) };
        tokio::time::sleep(2 * pause).await;
        connection.answer(&request).await?;
        let mut before = with_length(&stray());
        while let Ok(request) = tokio::time::timeout(pause, connection.request()).await {
            let Some(request) = request? else { return Ok(()) };
            connection.write(&before).await?;
            before = with_length(&request.answer());
        }
        connection.write(&before).await?;
        connection.answer_all().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config().flush_policy(FlushPolicy::Adaptive));
        let mut wrong = 0;
        for n in 0..300 {
            let gate = statsig.gate_evaluation(&user(n), "beta").await.unwrap();
            wrong += usize::from(gate.rule_id() != Some(&*format!("u-{n}")));
        }
        // About 15 are wrong, unless the machine delays the server.
        assert!(wrong < 60, "{wrong} of 300");
    });
}

#[actix_rt::test]
async fn proof_ends_all_connections_that_were_open() {
    let serve = |mut connection: Connection| async move {
        if connection.number >= 10 {
            return connection.answer_all().await;
        }
        off_by_one_after(1, &mut connection).await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        join_all((0..10).map(|n| assert_right(&statsig, "beta", n))).await;
        assert_eq!(server.connections(), 10);

        assert_right(&statsig, "alpha", 10).await;

        server.ended(10).await;
        for n in 0..50 {
            assert_right(&statsig, "beta", n).await;
        }
    });
}

#[actix_rt::test]
async fn answer_of_another_kind_of_call_is_proof() {
    // Each body answers a call for `one`, and a call for `one` and `two`.
    let gate = |name: &str| gate(&json!(name), &json!("somebody else"));
    let bodies = [
        gate("three"),
        json!({"three": gate("three")}),
        json!({"one": gate("three"), "two": gate("two")}),
        json!({"one": gate("one"), "three": gate("three")}),
        json!({"one": gate("one"), "two": gate("two"), "three": gate("three")}),
        json!({"name": "three", "value": {"theme": "dark"}}),
    ];
    for body in bodies {
        let answer = Arc::<str>::from(with_length(&body));
        let serve = move |mut connection: Connection| {
            let answer = Arc::clone(&answer);
            async move {
                if connection.number == 0 {
                    connection.request().await?;
                    connection.write(&*answer).await?;
                }
                connection.answer_all().await
            }
        };
        over_both!(serve.clone(), async |server: Hostile| {
            let statsig = start(server.config());
            let gates = statsig.gate_evaluations(&user(1), ["one", "two"]).await.unwrap();
            assert!(gates.iter().all(|gate| gate.rule_id() == Some("u-1")), "{body} {gates:?}");
            assert_eq!((server.connections(), server.requests()), (2, 2), "{body}");
        });
        if body.get("one").is_none() {
            over_both!(serve, async |server: Hostile| {
                let statsig = start(server.config());
                assert_right(&statsig, "one", 1).await;
                assert_eq!((server.connections(), server.requests()), (2, 2), "{body}");
            });
        }
    }
}
