//! The callers, and the measurement of their load.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock, scenario::Scenario, upstream::Upstream};

/// The observations of one caller. Each caller has its own, so that no caller waits for another.
#[derive(Default)]
struct Seen {
    /// The time of one check in nanoseconds, or the mean time in a sample of several.
    latencies: Vec<u64>,
    had_wrong: bool,
}

/// A caller: the numbers of its checks, and its observations.
pub struct Caller {
    next: u64,
    step: u64,
    checks_a_sample: u64,
    seen: Arc<Mutex<Seen>>,
}

impl Caller {
    /// Asks until an answer is wrong. `check` gets a number that no other check has, and returns
    /// whether the answer was right.
    pub async fn ask<F: Future<Output = bool>>(mut self, check: impl Fn(u64) -> F) {
        let mut began = clock::now();
        loop {
            let mut is_right = true;
            for _ in 0..self.checks_a_sample {
                is_right &= check(self.next).await;
                self.next += self.step;
            }
            let ended = clock::now();
            let took = (ended - began).as_nanos() as u64 / self.checks_a_sample;
            began = ended;
            self.note(took, is_right);
            if !is_right {
                return;
            }
            if self.checks_a_sample > 1 {
                // Without this, checks that never wait would starve the measuring task.
                tokio::task::yield_now().await;
            }
        }
    }

    fn note(&self, took: u64, is_right: bool) {
        let mut seen = lock(&self.seen);
        seen.latencies.push(took);
        seen.had_wrong |= !is_right;
    }
}

/// All callers of a measurement.
pub struct Load {
    scenario: Scenario,
    seen: Vec<Arc<Mutex<Seen>>>,
}

/// The result of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Checks per second.
    pub rate: f64,
    /// The latency of one check, in microseconds.
    pub p50: f64,
    pub p99: f64,
    /// HTTP calls per check.
    pub calls: f64,
    /// CPU time of the client's process per check, in microseconds.
    pub cpu: f64,
}

impl Load {
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, seen: (0..scenario.callers()).map(|_| Arc::default()).collect() }
    }

    pub fn callers(&self) -> impl Iterator<Item = Caller> {
        let (step, checks_a_sample) = (self.scenario.callers(), self.scenario.checks_a_sample());
        let callers = (0..).zip(&self.seen);
        callers.map(move |(next, seen)| Caller {
            next,
            step,
            checks_a_sample,
            seen: Arc::clone(seen),
        })
    }

    /// Measures for `window`, once each caller has had an answer. Goes on longer if no answer
    /// arrives in that time.
    pub async fn measure(
        &self,
        upstream: &mut Upstream,
        window: Duration,
    ) -> Result<Measured, Box<dyn Error>> {
        tokio::time::sleep(WARM_UP).await;
        while self.seen.iter().any(is_empty) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.seen.iter().for_each(|seen| lock(seen).latencies.clear());

        let calls = upstream.calls()?;
        let (began, cpu) = (clock::now(), clock::cpu());
        tokio::time::sleep(window).await;
        while self.seen.iter().all(is_empty) {
            tokio::time::sleep(window).await;
        }
        let (took, cpu) = (began.elapsed(), clock::cpu() - cpu);
        let calls = upstream.calls()? - calls;

        let mut latencies = Vec::new();
        for seen in &self.seen {
            let mut seen = lock(seen);
            if seen.had_wrong {
                return Err("an answer was wrong".into());
            }
            latencies.append(&mut seen.latencies);
        }
        latencies.sort_unstable();
        let quantile = |q: f64| latencies[(q * (latencies.len() - 1) as f64) as usize] as f64 / 1e3;
        let checks = latencies.len() as f64 * self.scenario.checks_a_sample() as f64;
        Ok(Measured {
            rate: checks / took.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            calls: calls as f64 / checks,
            cpu: cpu.as_secs_f64() * 1e6 / checks,
        })
    }
}

const WARM_UP: Duration = Duration::from_millis(300);

impl Measured {
    /// Formats the result for the comparing process.
    pub fn to_line(self) -> String {
        format!("{} {} {} {} {}", self.rate, self.p50, self.p99, self.calls, self.cpu)
    }

    pub fn from_line(line: &str) -> Result<Self, Box<dyn Error>> {
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [rate, p50, p99, calls, cpu] = numbers[..] else {
            return Err(format!("this is no measurement: {line}").into());
        };
        Ok(Self { rate, p50, p99, calls, cpu })
    }
}

fn is_empty(seen: &Arc<Mutex<Seen>>) -> bool {
    lock(seen).latencies.is_empty()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
