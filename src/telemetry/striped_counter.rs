//! Counts answers from the cache without contention between threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

/// Counts requests answered on their callers' threads, and their names.
///
/// One counter for all threads would move between CPU caches with each addition. Instead, each
/// thread has a stripe, which it shares with few other threads.
#[derive(Debug, Default)]
pub(crate) struct StripedCounter([CachePadded<Stripe>; STRIPES]);

#[derive(Debug, Default)]
struct Stripe {
    requests: AtomicU64,
    /// Names beyond the first of each request. Most requests have one name, and so need one addition.
    more_names: AtomicU64,
}

const STRIPES: usize = 32;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Relaxed) % STRIPES;
}

impl StripedCounter {
    /// Counts a request with at least one name.
    pub(crate) fn add(&self, names: usize) {
        let stripe = &self.0[STRIPE.with(|stripe| *stripe)];
        stripe.requests.fetch_add(1, Relaxed);
        if names > 1 {
            stripe.more_names.fetch_add(names as u64 - 1, Relaxed);
        }
    }

    /// Returns the number of requests and the number of their names.
    pub(crate) fn sum(&self) -> (u64, u64) {
        let sum = |count: fn(&Stripe) -> &AtomicU64| {
            self.0.iter().map(|stripe| count(stripe).load(Relaxed)).sum::<u64>()
        };
        let requests = sum(|stripe| &stripe.requests);
        (requests, requests + sum(|stripe| &stripe.more_names))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn counts_of_many_threads_add_up() {
        let hits = StripedCounter::default();
        thread::scope(|scope| {
            for names in 1..=100 {
                let hits = &hits;
                scope.spawn(move || (0..10).for_each(|_| hits.add(names)));
            }
        });
        assert_eq!(hits.sum(), (1_000, 50_500));
    }
}
