//! Which names in an answer prove that a connection is off by one, and which are the server's own
//! mistakes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_statsig::Error;
use serde_json::json;

use crate::{
    assert_right, over_both,
    proof::off_by_one_after,
    start,
    support::hostile::{Connection, Hostile, with_length},
    user,
};

#[actix_rt::test]
async fn misnamed_first_answer_is_an_error_and_no_proof() {
    let count = Arc::new(AtomicUsize::new(0));
    let serve = move |mut connection: Connection| {
        let count = Arc::clone(&count);
        async move {
            while let Some(mut request) = connection.request().await? {
                if request.body["gateName"] == "wrong" {
                    count.fetch_add(1, SeqCst);
                    request.body["gateName"] = json!("Wrong");
                }
                connection.answer(&request).await?;
            }
            Ok(())
        }
    };
    over_both!(serve.clone(), async |server: Hostile| {
        let statsig = start(server.config().cache_ttl(Duration::from_secs(600)));
        for n in 0..5 {
            let error = statsig.gate_evaluation(&user(n), "wrong").await.unwrap_err();
            let Error::InvalidResponse { reason, .. } = error else { panic!("{error:?}") };
            assert!(reason.contains(r#"expected the name "wrong", found "Wrong""#), "{reason}");
            // From the second time on, the cached answers for other gates are kept.
            assert_right(&statsig, "beta", 1).await;
        }
        assert_eq!(server.requests(), 1 + 5 + 1, "only the first answer empties the cache");
    });
}

/// A first answer proves nothing about other connections, but its own may still be off by one.
#[actix_rt::test]
async fn connection_with_a_misnamed_answer_is_not_reused() {
    let serve = |mut connection: Connection| async move {
        match connection.number {
            0 | 2 => off_by_one_after(1, &mut connection).await,
            1 => off_by_one_after(0, &mut connection).await,
            _ => connection.answer_all().await,
        }
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_right(&statsig, "alpha", 0).await;
        // Both the pooled connection and the fresh one answer for another gate.
        statsig.gate_evaluation(&user(1), "alpha").await.unwrap_err();
        assert_right(&statsig, "alpha", 2).await;
        let error = statsig.gate_evaluation(&user(3), "alpha").await.unwrap_err();
        assert!(!error.to_string().contains("somebody else"), "{error}");
        for n in 4..30 {
            assert_right(&statsig, "alpha", n).await;
        }
        assert_eq!(server.connections(), 4);
    });
}

/// The answer to an earlier call for fewer names contains no unrequested name, but misses one.
#[actix_rt::test]
async fn incomplete_answer_on_a_reused_connection_is_retried() {
    let serve = |mut connection: Connection| async move {
        if connection.number > 0 {
            return connection.answer_all().await;
        }
        let mut before = None;
        while let Some(request) = connection.request().await? {
            connection.answer(before.as_ref().unwrap_or(&request)).await?;
            before = Some(request);
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        statsig.gate_evaluations(&user(0), ["one", "two"]).await.unwrap();
        for n in 1..5 {
            let gates = statsig.gate_evaluations(&user(n), ["one", "two", "three"]).await.unwrap();
            let whose = Some(format!("u-{n}"));
            assert!(gates.iter().all(|gate| gate.rule_id() == whose.as_deref()), "{gates:?}");
        }
    });
}

/// The server does not know every name.
#[actix_rt::test]
async fn name_left_out_of_a_first_answer_costs_one_call_once() {
    let serve = |mut connection: Connection| async move {
        while let Some(mut request) = connection.request().await? {
            if let Some(names) = request.body["gateNames"].as_array_mut() {
                names.retain(|name| name != "three");
            }
            connection.answer(&request).await?;
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_right(&statsig, "beta", 0).await;
        for n in 1..5 {
            let error = statsig.gate_evaluations(&user(n), ["one", "three"]).await.unwrap_err();
            assert!(error.to_string().contains("left out"), "{error}");
        }
        assert_eq!((server.connections(), server.requests()), (3, 1 + 1 + 4));
    });
}

/// The server changes the case of names.
#[actix_rt::test]
async fn misnamed_answers_cost_other_names_nothing() {
    let serve = |mut connection: Connection| async move {
        while let Some(mut request) = connection.request().await? {
            let name = request.body["gateName"].as_str().expect("a name").to_lowercase();
            request.body["gateName"] = json!(name);
            connection.answer(&request).await?;
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config().cache_ttl(Duration::from_secs(600)));
        let wrong = ["One", "Two", "Three"];
        for name in wrong {
            statsig.gate_evaluation(&user(1), name).await.unwrap_err();
        }
        for n in 0..5 {
            assert_right(&statsig, "beta", 1).await;
            statsig.gate_evaluation(&user(n), wrong[n % 3]).await.unwrap_err();
        }
        assert_eq!(server.requests(), 2 * 3 + 1 + 5, "other cached answers are kept");
    });
}

#[actix_rt::test]
async fn answer_of_the_other_kind_is_proof() {
    let serve = |mut connection: Connection| async move {
        match connection.number {
            0 => off_by_one_after(1, &mut connection).await,
            _ => connection.answer_all().await,
        }
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_right(&statsig, "beta", 1).await;
        let config = statsig.get_config(&user(2), "beta").await.unwrap();
        assert_eq!(config.rule_id(), Some("u-2"));
        assert_eq!((server.connections(), server.requests()), (2, 3));
    });
    let serve = |mut connection: Connection| async move {
        if connection.number == 0 {
            connection.request().await?;
            let config = json!({"name": "beta", "value": {}, "rule_id": "u-0"});
            connection.write(with_length(&config)).await?;
        }
        connection.answer_all().await
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        assert_right(&statsig, "beta", 1).await;
        assert_eq!((server.connections(), server.requests()), (2, 2));
    });
}

#[actix_rt::test]
async fn extra_gates_are_tolerated_on_a_fresh_connection() {
    let serve = |mut connection: Connection| async move {
        while let Some(mut request) = connection.request().await? {
            if let Some(names) = request.body["gateNames"].as_array_mut() {
                names.push(json!("always"));
            }
            connection.answer(&request).await?;
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for n in 0..5 {
            let gates = statsig.gate_evaluations(&user(n), ["one", "two"]).await.unwrap();
            let whose = Some(format!("u-{n}"));
            assert!(gates.iter().all(|gate| gate.rule_id() == whose.as_deref()), "{gates:?}");
        }
        assert_eq!((server.connections(), server.requests()), (3, 6));
    });
}

/// The server adds a gate to each answer, which proves nothing; its third connection is off by one.
#[actix_rt::test]
async fn name_always_added_does_not_hide_another_proof() {
    let serve = |mut connection: Connection| async move {
        let mut before = None;
        while let Some(mut request) = connection.request().await? {
            let names = request.body["gateNames"].as_array_mut().expect("several names");
            names.push(json!("always"));
            let answered = before.take().filter(|_| connection.number == 2);
            connection.answer(answered.as_ref().unwrap_or(&request)).await?;
            before = Some(request);
            if connection.number < 2 {
                return connection.close().await;
            }
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for (n, names) in [(0, &["one", "two"][..]), (1, &["one", "two", "zeta"])].repeat(2) {
            let gates = statsig.gate_evaluations(&user(n), names.iter().copied()).await.unwrap();
            let whose = Some(format!("u-{n}"));
            assert!(gates.iter().all(|gate| gate.rule_id() == whose.as_deref()), "{gates:?}");
            server.ended(server.connections().min(2)).await;
        }
    });
}

/// The server leaves out the name within each gate.
#[actix_rt::test]
async fn unasked_key_is_proof_if_gates_have_no_name() {
    let serve = |mut connection: Connection| async move {
        let mut before = None;
        while let Some(request) = connection.request().await? {
            let mut body = request.answer();
            for (_, gate) in body.as_object_mut().expect("gates") {
                gate.as_object_mut().expect("a gate").remove("name");
            }
            let answer = with_length(&body);
            let answered = before.take().filter(|_| connection.number == 0);
            connection.write(answered.as_ref().unwrap_or(&answer)).await?;
            before = Some(answer);
        }
        Ok(())
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        for (n, names) in [(0, &["one", "two", "three"][..]), (1, &["one", "two"])].repeat(2) {
            let gates = statsig.gate_evaluations(&user(n), names.iter().copied()).await.unwrap();
            let whose = Some(format!("u-{n}"));
            assert!(gates.iter().all(|gate| gate.rule_id() == whose.as_deref()), "{gates:?}");
        }
    });
}

/// The server does not know a name at first, and later does.
#[actix_rt::test]
async fn name_that_was_left_out_once_proves_as_much_as_any_other() {
    let serve = |mut connection: Connection| async move {
        match connection.number {
            0 => {
                let mut request = connection.request().await?.expect("a request");
                request.body["gateNames"] = json!(["one"]);
                connection.answer(&request).await?;
                connection.close().await
            }
            1 => off_by_one_after(1, &mut connection).await,
            _ => connection.answer_all().await,
        }
    };
    over_both!(serve, async |server: Hostile| {
        let statsig = start(server.config());
        statsig.gate_evaluations(&user(0), ["one", "three"]).await.unwrap_err();
        server.ended(1).await;
        assert_right(&statsig, "beta", 1).await;
        assert_right(&statsig, "three", 2).await;
        assert_eq!((server.connections(), server.requests()), (3, 4));
    });
}
