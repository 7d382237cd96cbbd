//! Fallbacks, and the hooks that the component calls for fallbacks and errors.

use std::{
    sync::{Arc, Barrier, mpsc},
    time::Duration,
};

use actix_statsig::{CallKind, ConfigEvaluation, Error, ErrorKind, Fallback};
use serde_json::json;
use tracing::Level;

use crate::support::{Reaction, Script, config, trace::Trace, user, virtual_time};

fn failing() -> Script {
    Script::new(|_| Reaction::Reply(Err(Error::internal("it is a test"))))
}

#[test]
fn answer_is_returned_as_is_and_is_no_fallback() {
    virtual_time(async {
        let statsig = Script::answering().start(config());

        let open = statsig.check_gate(&user("u-1"), "beta").await.unwrap();

        assert_eq!(statsig.check_gate_or(&user("u-1"), "beta", !open).await, open);
        assert!(statsig.stats().fallbacks.is_empty());
    });
}

#[test]
fn fallback_is_counted_logged_and_reported() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a transport that fails
        let (tell, told) = mpsc::channel::<Fallback>();
        let config = config().on_fallback(move |fallback| tell.send(fallback.clone()).unwrap());
        let statsig = failing().start(config);

        // When defaults are returned
        assert!(statsig.check_gate_or(&user("u-1"), "beta", true).await);
        assert!(!statsig.check_gate_or(&user("u-1"), "a/b", false).await);
        assert_eq!(statsig.get_config_or(&user("u-1"), "homepage", "columns", 3).await, 3);

        // Then each fallback can be observed
        let stats = statsig.stats();
        let fallbacks: Vec<_> = stats.fallbacks.into_iter().collect();
        assert_eq!(fallbacks, [(ErrorKind::Internal, 2), (ErrorKind::InvalidName, 1)]);
        let told: Vec<_> = told.iter().take(3).collect();
        let told_of: Vec<_> =
            told.iter().map(|of| (of.kind, &*of.name, of.key.as_deref())).collect();
        assert_eq!(
            told_of,
            [
                (CallKind::CheckGate, "beta", None),
                (CallKind::CheckGate, "a/b", None),
                (CallKind::GetConfig, "homepage", Some("columns")),
            ]
        );
        assert!(matches!(told[0].error, Error::Internal { .. }));
        let seen = trace.seen();
        let logged = |level| {
            let at = seen.events.iter().filter(move |event| event.level == level);
            let of_defaults =
                at.filter(|event| event.fields.0["message"] == "a default replaced an answer");
            of_defaults.count()
        };
        assert_eq!((logged(Level::WARN), logged(Level::DEBUG)), (1, 2), "one warning a second");
    });
}

#[test]
fn missing_or_mistyped_key_is_a_fallback() {
    virtual_time(async {
        let statsig = Script::answering().start(config());

        assert_eq!(statsig.get_config_or(&user("u-1"), "homepage", "no_such", 3).await, 3);
        let named: String =
            statsig.get_config(&user("u-1"), "homepage").await.unwrap().get("name").unwrap();
        assert_eq!(
            statsig.get_config_or(&user("u-1"), "homepage", "name", String::new()).await,
            named
        );
        assert_eq!(statsig.get_config_or(&user("u-1"), "homepage", "name", 7).await, 7);

        let fallbacks: Vec<_> = statsig.stats().fallbacks.into_iter().collect();
        assert_eq!(fallbacks, [(ErrorKind::MissingKey, 1), (ErrorKind::WrongType, 1)]);
    });
}

#[test]
fn each_error_is_reported_once_wherever_it_comes_from() {
    virtual_time(async {
        // Given a hook
        let (tell, told) = mpsc::channel();
        let config = config().on_error(move |error| tell.send(error.kind().as_str()).unwrap());
        let statsig = failing().start(config);

        // When one request fails in the transport, one is refused by the handle, one is refused by
        // the actor, and one has no caller that waits
        statsig.check_gates(&user("u-1"), ["beta", "gamma"]).await.unwrap_err();
        statsig.check_gate(&user("u-1"), "a/b").await.unwrap_err();
        let message = actix_statsig::CheckGates::new(user("u-1"), ["x"]);
        statsig.addr().send(message).await.unwrap().unwrap_err();
        statsig.addr().do_send(actix_statsig::CheckGates::new(user("u-1"), ["beta"]));
        statsig.shutdown(Duration::ZERO).await;
        statsig.check_gate(&user("u-1"), "beta").await.unwrap_err();
        drop(statsig);

        // Then the hook gets the errors that callers got, and ends with the component
        let told: Vec<_> = told.iter().collect();
        assert_eq!(told, ["internal", "invalid_name", "invalid_name", "shutting_down"]);
    });
}

#[test]
fn error_of_an_ended_component_is_counted_and_reported() {
    // Given a component whose runtime is stopped while a request is pending
    let (tell, told) = mpsc::channel();
    let config = config().on_error(move |error| tell.send(error.kind().as_str()).unwrap());
    let statsig = virtual_time(async {
        let statsig = Script::new(|_| Reaction::Hold).start(config);
        let pending = statsig.clone();
        actix_rt::spawn(async move { pending.check_gate(&user("u-1"), "beta").await });
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        statsig
    });

    // When a request is made
    let refused = virtual_time(statsig.check_gate(&user("u-1"), "beta"));

    // Then its error is like any other
    assert!(matches!(refused, Err(Error::Closed)));
    assert_eq!(told.recv().unwrap(), "closed");
    let stats = statsig.stats();
    assert_eq!((stats.requests, stats.abandoned, stats.errors[&ErrorKind::Closed]), (2, 1, 1));
}

#[test]
fn untrusted_name_does_not_fill_the_log() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        let statsig = Script::answering().start(config());

        statsig.check_gate_or(&user("u-1"), "\n".repeat(10_000), false).await;

        let seen = trace.seen();
        let logged = seen.events.iter().find_map(|event| event.fields.0.get("name"));
        assert_eq!(logged.map(String::len), Some(100));
    });
}

#[test]
fn untrusted_key_does_not_fill_the_log() {
    let (trace, _guard) = Trace::of_this_thread();
    virtual_time(async {
        // Given a config with a long key
        let key = "k".repeat(100_000);
        let of_it = key.clone();
        let script = Script::new(move |call| {
            let value = json!({of_it.as_str(): "text"}).as_object().cloned().unwrap();
            let config = ConfigEvaluation::new(Arc::clone(&call.names[0]), value);
            Reaction::Reply(Ok(vec![Some(config.into())]))
        });
        let statsig = script.start(config());

        // When a default replaces a value of another type, and a missing key
        statsig.get_config_or(&user("u-1"), "homepage", &key, 3).await;
        statsig.get_config_or(&user("u-1"), "homepage", &key[1..], 3).await;

        // Then each log line is short and says what happened
        let seen = trace.seen();
        let fields = seen.events.iter().map(|event| &event.fields.0);
        let logged: Vec<_> = fields.filter(|fields| fields.contains_key("key")).collect();
        let [wrong_type, missing] = &logged[..] else { panic!("{} lines", logged.len()) };
        for fields in &logged {
            assert_eq!(fields["key"].len(), 100);
            assert!(fields["error"].len() <= 500, "{}", fields["error"].len());
        }
        assert!(wrong_type["error"].starts_with("config \"homepage\", key `kkk"));
        assert!(missing["error"].starts_with("config \"homepage\" has no key \"kkk"));
    });
}

#[test]
fn panicking_hook_harms_nothing() {
    virtual_time(async {
        let (tell, told) = mpsc::channel();
        let config = config().on_error(move |error| {
            tell.send(error.kind().as_str()).unwrap();
            panic!("a hook's own fault");
        });
        let statsig = failing().start(config);

        for _ in 0..3 {
            statsig.check_gate(&user("u-1"), "beta").await.unwrap_err();
        }

        assert_eq!(told.iter().take(3).count(), 3);
        let stats = statsig.stats();
        assert_eq!(
            (stats.errors[&ErrorKind::Internal], stats.restarts, stats.hooks_missed),
            (3, 0, 0)
        );
    });
}

#[test]
fn blocking_hook_delays_nobody_and_its_misses_are_counted() {
    virtual_time(async {
        // Given a hook that blocks
        let gate = Arc::new(Barrier::new(2));
        let (in_hook, test) = (Arc::clone(&gate), gate);
        let (tell, told) = mpsc::channel();
        let config = config().on_error(move |_| {
            tell.send(()).unwrap();
            in_hook.wait();
        });
        let statsig = failing().start(config);

        // When more events occur than fit into the hook's queue
        const EVENTS: u64 = 3_000;
        for _ in 0..EVENTS {
            statsig.check_gate(&user("u-1"), "a/b").await.unwrap_err();
        }

        // Then every caller has an answer, and the events that the hook missed are counted
        let missed = statsig.stats().hooks_missed;
        assert_eq!(statsig.stats().errors[&ErrorKind::InvalidName], EVENTS);
        assert!(missed >= EVENTS - 1 - 1024, "{missed}");
        for _ in missed..EVENTS {
            told.recv().unwrap();
            test.wait();
        }
    });
}

#[test]
fn failing_fallback_hook_leaves_the_defaults_in_place() {
    virtual_time(async {
        // Given a hook that panics at the first fallback and blocks at the second
        let gate = Arc::new(Barrier::new(2));
        let (in_hook, test) = (Arc::clone(&gate), gate);
        let (tell, told) = mpsc::channel();
        let config = config().on_fallback(move |fallback| {
            tell.send(fallback.name.to_string()).unwrap();
            match &*fallback.name {
                "first" => panic!("a hook's own fault"),
                "second" => drop(in_hook.wait()),
                _ => {}
            }
        });
        let statsig = failing().start(config);

        // When defaults are returned
        for gate in ["first", "second", "third"] {
            assert!(statsig.check_gate_or(&user("u-1"), gate, true).await);
        }

        // Then callers get them while the hook blocks, and the hook gets each fallback in the end
        let stats = statsig.stats();
        assert_eq!(
            (stats.fallbacks[&ErrorKind::Internal], stats.restarts, stats.hooks_missed),
            (3, 0, 0)
        );
        let next = || told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!([next(), next()], ["first", "second"]);
        test.wait();
        assert_eq!(next(), "third");
    });
}
