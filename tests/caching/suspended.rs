//! A suspended machine. The test runs in a process of its own, because all components of a process
//! share the machine's clock.
#![cfg(feature = "test-util")]

use std::time::Duration;

use actix_rt::time::sleep;
use actix_statsig::{Source, test_util::suspend_machine};

use crate::support::{Script, config, own_process::in_own_process, user, virtual_time};

const TTL: Duration = Duration::from_secs(10);

#[test]
fn answer_grows_old_while_the_machine_is_suspended() {
    in_own_process(|| {
        virtual_time(async {
            let statsig = Script::answering().start(config().cache_ttl(TTL));
            let who = user("u-1");
            statsig.check_gate(&who, "beta").await.unwrap();
            sleep(Duration::from_secs(1)).await;
            statsig.check_gate(&who, "beta").await.unwrap();
            assert_eq!(statsig.stats().calls, 1);

            suspend_machine(TTL);
            sleep(Duration::from_millis(1)).await;

            let gate = statsig.gate_evaluation(&who, "beta").await.unwrap();
            assert_eq!((gate.source(), statsig.stats().calls), (Source::Network, 2));
            // The new entry's age counts from now on.
            sleep(Duration::from_secs(2)).await;
            let gate = statsig.gate_evaluation(&who, "beta").await.unwrap();
            assert_eq!(gate.source(), Source::Cache { age: Duration::from_secs(2) });
        })
    });
}
