//! Promise 4: at most `max_pending` names are admitted, by the handle and by the actor.

use actix_statsig::{CheckGates, Error, ErrorKind};
use futures_util::FutureExt;

use crate::support::{Reaction, Script, flush_now, settle, user, with_each_variant};

#[test]
fn promise_4_address_refuses_names_beyond_max_pending() {
    with_each_variant(|config| async move {
        let script = Script::new(|_| Reaction::Hold);
        let statsig = script.start(config.max_pending(10));
        let addr = statsig.addr();
        let ask = |names: usize| {
            let names = (0..names).map(|n| format!("gate {n}"));
            addr.send(CheckGates::new(user("u-1"), names))
        };
        let in_flight = ask(4);
        flush_now(&statsig).await;
        let buffered = ask(6);

        let refused = ask(1).await.unwrap();

        assert!(matches!(refused, Err(Error::Overloaded { limit: 10, .. })), "{refused:?}");
        script.release();
        flush_now(&statsig).await;
        script.release();
        in_flight.await.unwrap().unwrap();
        buffered.await.unwrap().unwrap();
        let again = ask(10);
        settle().await;
        assert_eq!(statsig.stats().errors[&ErrorKind::Overloaded], 1, "the places are free again");
        drop(again);
    });
}

#[test]
fn promise_4_handle_refuses_before_it_sends() {
    with_each_variant(|config| async move {
        let statsig = Script::new(|_| Reaction::Hold).start(config.max_pending(2));
        let who = user("u-1");
        let mut first = Box::pin(statsig.check_gates(&who, ["aa", "bb"]));
        assert!((&mut first).now_or_never().is_none());

        let refused = statsig.check_gate(&who, "cc").now_or_never();

        assert!(matches!(refused, Some(Err(Error::Overloaded { limit: 2, .. }))), "{refused:?}");
        drop(first);
        // The message holds its places until the actor notices that its caller has left.
        settle().await;
        let mut admitted = Box::pin(statsig.check_gate(&who, "cc"));
        assert!((&mut admitted).now_or_never().is_none());
    });
}

#[test]
fn promise_4_messages_nobody_waits_for_count_as_pending() {
    with_each_variant(|config| async move {
        let script = Script::answering();
        let statsig = script.start(config.max_pending(2));

        for n in 0..10 {
            statsig.addr().do_send(CheckGates::new(user(n), ["aa"]));
        }
        settle().await;

        assert_eq!(statsig.stats().errors[&ErrorKind::Overloaded], 8);
        statsig.flush().await.unwrap();
        assert!(script.calls().is_empty());
        assert!(
            statsig.check_gates(&user("u-1"), ["aa", "bb"]).await.is_ok(),
            "the places are free again"
        );
    });
}
