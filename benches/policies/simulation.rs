//! Simulates the `BatchActor` around the pure buffer in virtual time. It has the same mailbox,
//! interval and messages to itself as the real actor, on a thread that takes [`SERVICE`] for each
//! message. The timer is exact, while tokio's is late by up to a millisecond, and no call fails.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use actix_statsig::{CallKind, FlushPolicy, test_util::PureBuffer, transport::CallRequest};
use hdrhistogram::Histogram;

use crate::{
    agenda::Agenda,
    network::{Latency, Network},
    workload::{Page, Source, Workload},
};

/// The actor's time for a message, short enough to keep up with a million messages per second.
pub(crate) const SERVICE: Duration = Duration::from_nanos(250);

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) policy: FlushPolicy,
    pub(crate) flush_interval: Duration,
    pub(crate) batch_size: usize,
    pub(crate) latency: Latency,
    pub(crate) max_in_flight: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) checks: u64,
    pub(crate) calls: u64,
    /// The latency that the component adds, in nanoseconds: from a check to its answer, without the
    /// latency of the call. Zero for a check that joined a call in flight.
    pub(crate) added: Histogram<u64>,
    pub(crate) longest: Duration,
    pub(crate) took: Duration,
}

impl Measured {
    pub(crate) fn calls_per_check(&self) -> f64 {
        self.calls as f64 / self.checks as f64
    }

    pub(crate) fn added_at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.added.value_at_quantile(quantile))
    }

    pub(crate) fn mean_added(&self) -> Duration {
        Duration::from_nanos(self.added.mean() as u64)
    }
}

pub(crate) fn simulate(workload: Workload, setup: Setup, checks: u32, seed: u64) -> Measured {
    let mut simulation = Simulation::new(workload, setup, checks, seed);
    simulation.await_page();
    while let Some((now, event)) = simulation.agenda.next() {
        simulation.now = now;
        simulation.meet(event);
    }
    simulation.end()
}

enum Event {
    PageArrives { user: usize },
    Asked(Check),
    MessageIsHandled,
    IntervalHasRun,
    CallIsBack(u64),
}

#[derive(Clone, Copy)]
struct Check {
    user: usize,
    /// Checks of the page that wait for the answer to this one.
    after: u32,
}

enum Message {
    Ask { check: Check, at: Duration },
    Outcome { call: u64 },
    FlushDue,
    FlushAll,
}

struct Simulation {
    now: Duration,
    agenda: Agenda<Event>,
    source: Source,
    page: Page,
    pages_left: u32,
    setup: Setup,
    buffer: PureBuffer,
    epoch: Instant,
    mailbox: VecDeque<Message>,
    interval_runs: bool,
    due_is_announced: bool,
    asked: HashMap<u64, (Check, Duration)>,
    calls: HashMap<u64, (CallRequest, Duration)>,
    network: Network,
    measured: Measured,
}

impl Simulation {
    #[expect(clippy::disallowed_methods, reason = "an instant to count virtual time from")]
    fn new(workload: Workload, setup: Setup, checks: u32, seed: u64) -> Self {
        let measured = Measured {
            checks: 0,
            calls: 0,
            added: Histogram::new(3).expect("three digits"),
            longest: Duration::ZERO,
            took: Duration::ZERO,
        };
        Self {
            now: Duration::ZERO,
            agenda: Agenda::new(),
            source: Source::new(workload, seed),
            page: workload.page,
            pages_left: checks / workload.page.checks(),
            setup,
            buffer: PureBuffer::new(setup.batch_size, setup.policy),
            epoch: Instant::now(),
            mailbox: VecDeque::new(),
            interval_runs: false,
            due_is_announced: false,
            asked: HashMap::new(),
            calls: HashMap::new(),
            network: Network::new(setup.latency, setup.max_in_flight, seed),
            measured,
        }
    }

    fn meet(&mut self, event: Event) {
        match event {
            Event::PageArrives { user } => self.open_page(user),
            Event::Asked(check) => self.post(Message::Ask { check, at: self.now }),
            Event::MessageIsHandled => self.handle_message(),
            Event::IntervalHasRun => self.post(Message::FlushAll),
            Event::CallIsBack(call) => {
                self.post(Message::Outcome { call });
                if let Some((next, latency)) = self.network.is_back() {
                    self.leaves(next, latency);
                }
            }
        }
    }

    fn await_page(&mut self) {
        if self.pages_left > 0 {
            self.pages_left -= 1;
            let (at, user) = self.source.page();
            self.agenda.enter(at, Event::PageArrives { user });
        }
    }

    fn open_page(&mut self, user: usize) {
        self.await_page();
        let mut at = self.now;
        let (alone, after) = match self.page {
            Page::InTurn(checks) => (1, checks - 1),
            page => (page.checks(), 0),
        };
        for _ in 0..alone {
            self.agenda.enter(at, Event::Asked(Check { user, after }));
            if let Page::Spread(_, mean) = self.page {
                at += self.source.exponential(mean);
            }
        }
    }

    fn post(&mut self, message: Message) {
        self.mailbox.push_back(message);
        if self.mailbox.len() == 1 {
            self.agenda.enter(self.now + SERVICE, Event::MessageIsHandled);
        }
    }

    fn handle_message(&mut self) {
        match self.mailbox.front() {
            Some(&Message::Ask { check, at }) => self.ask(check, at),
            Some(&Message::Outcome { call }) => self.deal_out(call),
            Some(Message::FlushDue) => {
                self.due_is_announced = false;
                let calls = self.buffer.flush_due();
                self.launch(calls);
            }
            Some(Message::FlushAll) => self.on_interval(),
            None => unreachable!("only a message is handled"),
        }
        self.schedule();
        self.mailbox.pop_front();
        if !self.mailbox.is_empty() {
            self.agenda.enter(self.now + SERVICE, Event::MessageIsHandled);
        }
    }

    fn ask(&mut self, check: Check, at: Duration) {
        let (user, names) = (self.source.user(check.user), vec![self.source.name()]);
        let deadline = self.epoch + self.now + TIMEOUT;
        let request = self.buffer.add(user, CallKind::CheckGate, names, deadline);
        self.asked.insert(request, (check, at));
        self.measured.checks += 1;
    }

    fn deal_out(&mut self, call: u64) {
        let (request, latency) = self.calls.remove(&call).expect("a call comes back once");
        for answered in self.buffer.answer(call, &request, self.epoch + self.now) {
            let (check, at) = self.asked.remove(&answered).expect("a request is answered once");
            let added = (self.now - at).saturating_sub(latency);
            self.measured.longest = self.measured.longest.max(added);
            let nanos = u64::try_from(added.as_nanos()).expect("less than five centuries");
            self.measured.added.record(nanos).expect("a histogram that grows");
            if let Some(after) = check.after.checked_sub(1) {
                self.agenda.enter(self.now, Event::Asked(Check { after, ..check }));
            }
        }
    }

    fn on_interval(&mut self) {
        let calls = self.buffer.flush_all();
        self.launch(calls);
        self.interval_runs = self.buffer.buffered() > 0;
        if self.interval_runs {
            self.agenda.enter(self.now + self.setup.flush_interval, Event::IntervalHasRun);
        }
    }

    /// Does the same as `BatchActor::schedule`.
    fn schedule(&mut self) {
        if self.buffer.is_due() && !self.due_is_announced {
            self.due_is_announced = true;
            self.mailbox.push_back(Message::FlushDue);
        }
        if self.buffer.is_waiting() && !self.interval_runs {
            self.interval_runs = true;
            self.agenda.enter(self.now + self.setup.flush_interval, Event::IntervalHasRun);
        }
    }

    fn launch(&mut self, calls: Vec<(u64, CallRequest)>) {
        for (call, request) in calls {
            self.measured.calls += 1;
            self.calls.insert(call, (request, Duration::ZERO));
            if let Some(latency) = self.network.send(call) {
                self.leaves(call, latency);
            }
        }
    }

    fn leaves(&mut self, call: u64, latency: Duration) {
        self.calls.get_mut(&call).expect("a call that is open").1 = latency;
        self.agenda.enter(self.now + latency, Event::CallIsBack(call));
    }

    fn end(mut self) -> Measured {
        assert!(self.asked.is_empty() && self.calls.is_empty(), "everybody is answered");
        assert_eq!(self.measured.added.len(), self.measured.checks, "exactly one answer each");
        assert!(self.measured.calls <= self.measured.checks, "a check needs one call at most");
        self.measured.took = self.now;
        self.measured
    }
}
