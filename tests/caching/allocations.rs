//! An answer from the cache allocates nothing. The test runs in a process of its own, because the
//! allocator counts the allocations of every thread.

use std::time::Duration;

use actix_statsig::ConfigBuilder;
use stats_alloc::Region;

use crate::{
    ALLOCATOR,
    support::{Script, config, own_process::in_own_process, user, virtual_time},
};

#[test]
fn cached_answer_allocates_nothing() {
    in_own_process(|| {
        let caching = || config().cache_ttl(Duration::from_secs(10));
        hits_allocate_nothing(caching());
        // The user with the component's environment is built only once.
        hits_allocate_nothing(caching().environment("staging"));
    });
}

fn hits_allocate_nothing(config: ConfigBuilder) {
    virtual_time(async {
        let statsig = Script::answering().start(config);
        let who = user("u-1");
        statsig.check_gate(&who, "beta").await.expect("an answer");
        statsig.get_config(&who, "homepage").await.expect("an answer");

        let region = Region::new(ALLOCATOR);
        for _ in 0..1_000 {
            statsig.check_gate(&who, "beta").await.expect("an answer");
            statsig.gate_evaluation(&who, "beta").await.expect("an answer");
            statsig.get_config(&who, "homepage").await.expect("an answer");
        }

        let allocations = region.change().allocations;
        assert_eq!(statsig.stats().cached, 3_000);
        assert_eq!(allocations, 0);
    });
}
