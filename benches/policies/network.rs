//! The latency of calls, and the limit of calls in flight.

use std::{collections::VecDeque, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, LogNormal};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    /// The standard deviation of the logarithm. With 0, every call takes the median.
    pub(crate) sigma: f64,
}

impl Latency {
    pub(crate) fn mean(self) -> Duration {
        self.median.mul_f64((self.sigma * self.sigma / 2.0).exp())
    }
}

/// The calls in flight, and the calls that wait for a place.
pub(crate) struct Network {
    latency: Latency,
    factor: LogNormal<f64>,
    random: StdRng,
    places: usize,
    waiting: VecDeque<u64>,
}

impl Network {
    pub(crate) fn new(latency: Latency, max_in_flight: Option<usize>, seed: u64) -> Self {
        Self {
            latency,
            factor: LogNormal::new(0.0, latency.sigma).expect("a spread that is not negative"),
            random: StdRng::seed_from_u64(seed),
            places: max_in_flight.unwrap_or(usize::MAX),
            waiting: VecDeque::new(),
        }
    }

    /// Sends a call. Returns how long it takes from now, or `None` if it must wait for a place.
    pub(crate) fn send(&mut self, call: u64) -> Option<Duration> {
        if self.places == 0 {
            self.waiting.push_back(call);
            return None;
        }
        self.places -= 1;
        Some(self.draw())
    }

    /// Records that a call has returned. Returns the call that gets its place, and how long that
    /// call takes from now.
    pub(crate) fn is_back(&mut self) -> Option<(u64, Duration)> {
        match self.waiting.pop_front() {
            Some(next) => Some((next, self.draw())),
            None => {
                self.places += 1;
                None
            }
        }
    }

    fn draw(&mut self) -> Duration {
        self.latency.median.mul_f64(self.factor.sample(&mut self.random))
    }
}
