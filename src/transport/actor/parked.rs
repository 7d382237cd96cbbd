//! The actor's part in waiting: calls that wait for a probe's outcome or for calm, and the probes.

use std::{sync::Arc, time::Instant};

use actix::{AsyncContext, Context, Message};
use tokio::sync::watch;

use super::{
    TransportActor,
    job::{self, Job},
};
use crate::{
    model::error::Error,
    rt::clock,
    transport::{
        parking::Parking,
        retry::{
            breaker::{LONGEST_WAIT, Probe},
            upstream::Server,
        },
    },
};

/// Calls that wait for something else than a place in flight.
pub(super) struct Parked {
    for_probe: Parking<Job>,
    for_calm: Parking<Job>,
    /// What has been heard of the probes of all transports.
    news: watch::Receiver<()>,
    is_listening: bool,
}

/// A probe has ended. `None`: it panicked.
pub(super) struct Probed {
    probe: Probe,
    outcome: Option<Result<(), Error>>,
}

impl Message for Probed {
    type Result = ();
}

/// A transport knows more of the server.
pub(super) struct News;

impl Message for News {
    type Result = ();
}

impl Parked {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self {
            for_probe: Parking::default(),
            for_calm: Parking::default(),
            news: server.news(),
            is_listening: false,
        }
    }

    pub(super) fn for_probe(&mut self, mut job: Job, now: Instant) {
        job.has_waited = true;
        let until = job.call.request().deadline.min(now + LONGEST_WAIT);
        self.for_probe.park(now, until, job);
    }

    pub(super) fn for_calm(&mut self, mut job: Job, until: Instant, now: Instant) {
        job.has_waited = true;
        self.for_calm.park(now, until, job);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.for_probe.next().into_iter().chain(self.for_calm.next()).min()
    }
}

impl TransportActor {
    /// Has what was waited for come about, or can it not any more in time?
    pub(super) fn move_parked(&mut self, now: Instant) {
        for job in self.parked.for_calm.expire(now) {
            self.line_up(job);
        }
        if self.parked.for_probe.is_empty() {
            return;
        }
        // Before the look: what comes after it is heard of.
        self.parked.news.mark_unchanged();
        let Some((failed, cause)) = self.upstream.probing() else {
            for job in self.parked.for_probe.take_all() {
                self.line_up(job);
            }
            return;
        };
        // A probe that began before a call came says nothing of the server since.
        let mut refused = failed.map_or_else(Vec::new, |at| self.parked.for_probe.take_since(at));
        refused.extend(self.parked.for_probe.expire(now));
        for job in refused {
            if job.call.request().deadline <= now {
                self.note_wait(&job, now);
                self.time_out(job);
            } else {
                self.refuse(job, Error::CircuitOpen { cause: Arc::clone(&cause) }, now);
            }
        }
    }

    /// Another transport may have the probe that this one's calls wait for.
    pub(super) fn listen(&mut self, ctx: &mut Context<Self>) {
        if self.parked.is_listening || self.parked.for_probe.is_empty() {
            return;
        }
        self.parked.is_listening = true;
        let (mut news, transport) = (self.parked.news.clone(), ctx.address().downgrade());
        actix_rt::spawn(async move {
            // An error says that all transports have gone.
            if news.changed().await.is_ok()
                && let Some(transport) = transport.upgrade()
            {
                transport.do_send(News);
            }
        });
    }

    pub(super) fn hear_news(&mut self, ctx: &mut Context<Self>) {
        self.parked.is_listening = false;
        self.start_attempts(ctx);
    }

    /// Makes the probes that are due, if somebody has asked lately. Never with a user's check: that user
    /// may be what breaks the server, and would pay for the wait.
    pub(super) fn probe(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.shared.is_closing() && self.parked.for_probe.is_empty() {
            return;
        }
        for probe in self.upstream.probe(self.shared.asked(), now) {
            let Ok(http) = self.http() else {
                self.upstream.probed(probe, None, now);
                continue;
            };
            let transport = ctx.address();
            actix_rt::spawn(async move {
                let outcome = job::probe(&http, probe).await.ok();
                transport.do_send(Probed { probe, outcome });
            });
        }
    }

    pub(super) fn next_probe(&self, now: Instant, ctx: &Context<Self>) -> Option<Instant> {
        // Nobody can ask any more: what is parked has its own moments.
        let is_over = self.shared.is_closing() || !ctx.connected();
        let asked = self.shared.asked().filter(|_| !is_over || !self.parked.for_probe.is_empty());
        self.upstream.next_probe(asked, now)
    }

    pub(super) fn probed(&mut self, probed: Probed, ctx: &mut Context<Self>) {
        let Probed { probe, outcome } = probed;
        let now = clock::now();
        if matches!(outcome, Some(Ok(()))) {
            self.shared.probe_answered();
        }
        let outcome = outcome.as_ref().map(|outcome| outcome.as_ref().map(drop));
        self.upstream.probed(probe, outcome, now);
        self.start_attempts(ctx);
    }
}
