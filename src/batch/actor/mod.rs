//! The actor's shell: messages and time in, effects of the buffer's decisions out.

mod complete;
pub(super) mod dispatch;
mod failing_user;
mod flush;
mod handlers;
mod reply;
mod shutdown;
mod waiters;

use std::{
    collections::HashSet,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Message, SpawnHandle, Supervised,
    fut::wrap_future,
};
use actix_rt::time::sleep;
use tokio::sync::oneshot;

use self::{
    dispatch::Transports,
    failing_user::FailingUser,
    reply::{Callers, Later},
    waiters::{Ending, Waits},
};
use super::buffer::{
    Buffer, CallId, Found, Request,
    group::{Lane, RequestId},
    refused_key::Refusals,
};
use crate::{
    config::Config,
    message::{BatchRequest, admission::Permit, call::TransportFactory, parts::RequestParts},
    model::{
        call_kind::CallKind,
        error::{Error, outcome},
        evaluation::Evaluation,
        name::check_name,
    },
    rt::{clock, failpoint::failpoint, restart_backoff::RestartBackoff, yielding::YieldCounter},
    shared::{Shared, cache::KeyRef},
    telemetry::spans,
};

/// The actor that answers [`CheckGates`](crate::CheckGates) and [`GetConfigs`](crate::GetConfigs),
/// made by [`Statsig`](crate::Statsig).
///
/// It buffers what is asked, makes as few HTTP calls of it as the API allows, and hands these to
/// its transport. It lives under a supervisor: after a panic it goes on with the requests it has,
/// at the same address.
pub struct BatchActor {
    buffer: Buffer,
    callers: Callers,
    transports: Transports,
    /// Calls that a transport lost and that were sent a second time.
    sent_again: HashSet<CallId>,
    refusals: Refusals,
    failing_user: FailingUser,
    timeout: Duration,
    flush_interval: Duration,
    /// Runs while something is buffered.
    interval: Option<SpawnHandle>,
    due_is_announced: bool,
    waits: Waits,
    turns: YieldCounter,
    restarts: RestartBackoff,
    has_panicked: bool,
    shared: Arc<Shared>,
    ended: Option<oneshot::Sender<()>>,
    /// Set from a panic to the restart.
    this: Option<Addr<Self>>,
}

/// What a `BatchActor` is made of, besides the configuration.
pub(crate) struct Parts {
    pub(crate) factory: TransportFactory,
    pub(crate) shared: Arc<Shared>,
    /// Told when the component is to end.
    pub(crate) ended: oneshot::Sender<()>,
}

/// What became of a request that was received.
enum Taken {
    In(RequestId, Permit),
    /// The cache has all of its evaluations.
    Kept(Vec<Evaluation>),
}

/// To itself: the wait of those who wait for requests to end may be over.
pub(super) struct Settle;

impl Message for Settle {
    type Result = ();
}

impl BatchActor {
    pub(crate) fn new(config: &Config, parts: Parts) -> Self {
        Self {
            buffer: Buffer::new(config.batch_size(), config.flush_policy(), config.pending_bytes()),
            callers: Callers::default(),
            transports: Transports::new(parts.factory, config.transports()),
            sent_again: HashSet::new(),
            refusals: Refusals::default(),
            failing_user: FailingUser::default(),
            timeout: config.timeout(),
            flush_interval: config.flush_interval(),
            interval: None,
            due_is_announced: false,
            waits: Waits::default(),
            turns: YieldCounter::default(),
            restarts: RestartBackoff::default(),
            has_panicked: false,
            shared: parts.shared,
            ended: Some(parts.ended),
            this: None,
        }
    }

    fn accept<M: BatchRequest>(&mut self, message: M, ctx: &mut Context<Self>) -> Later<M> {
        self.turns.take(ctx);
        let ask = message.into_parts();
        self.shared.counters.received(ask.names.len());
        if ask.names.is_empty() && !self.is_draining() {
            self.shared.counters.answered(&Ok(()));
            return Later::now(Ok(Vec::new()));
        }
        let mut span = None;
        let taken = self.guarded(ctx, |actor, ctx| {
            span = spans::request(&ask.within, M::KIND.operation(), ask.names.len());
            actor.take::<M>(ask, ctx)
        });
        match taken.unwrap_or(Err(Error::Internal { detail: "a handler panicked" })) {
            Ok(Taken::In(request, permit)) => {
                Later::when_answered(request, permit, span, self.callers.clone())
            }
            Ok(Taken::Kept(evaluations)) => {
                spans::request_ended(&span, outcome(Ok(())));
                self.shared.counters.answered_with(&evaluations);
                self.shared.counters.answered(&Ok(()));
                Later::now(evaluations.into_iter().map(M::Evaluation::try_from).collect())
            }
            Err(error) => {
                spans::request_ended(&span, outcome::<()>(Err(&error)));
                self.shared.refused(&error);
                Later::now(Err(error))
            }
        }
    }

    fn take<M: BatchRequest>(
        &mut self,
        ask: RequestParts,
        ctx: &mut Context<Self>,
    ) -> Result<Taken, Error> {
        failpoint("batch.request");
        if self.is_draining() {
            return Err(Error::ShuttingDown);
        }
        let RequestParts { user, names, exposure, bypass_cache, admitted, within: _ } = ask;
        names.iter().try_for_each(|name| check_name(name))?;
        let user = user.into_environment(self.shared.environment.as_ref());
        let lane = Lane { user, exposure: exposure.unwrap_or(self.shared.exposure_logging) };
        let known = self.known(&lane, M::KIND, &names, bypass_cache);
        if known.len() == names.len() && known.iter().all(Option::is_some) {
            return Ok(Taken::Kept(known.into_iter().flatten().collect()));
        }
        let now = clock::now();
        let (permit, deadline) = match admitted {
            Some(admitted) => (admitted.permit, admitted.deadline),
            None => (self.shared.admission.admit(&lane.user, &names)?, now + self.timeout),
        };
        if deadline <= now {
            return Err(Error::Timeout { limit: self.timeout, last: None });
        }
        let request = Request { lane, kind: M::KIND, names, known, bypass_cache, deadline };
        let (request, joined) = self.buffer.add(request);
        if joined > 0 {
            self.shared.counters.joined.fetch_add(joined as u64, Relaxed);
        }
        self.schedule(ctx);
        Ok(Taken::In(request, permit))
    }

    /// What is kept of these names, up to the last of which something is.
    fn known(&self, lane: &Lane, kind: CallKind, names: &[Arc<str>], bypass_cache: bool) -> Found {
        let mut known = Found::new();
        if bypass_cache || !self.shared.cache.is_on() {
            return known;
        }
        let reader = self.shared.cache.reader();
        for (position, name) in names.iter().enumerate() {
            let key = KeyRef { user: &lane.user, exposure: lane.exposure, kind, name };
            if let Some((evaluation, origin)) = self.shared.lookup(&reader, key) {
                known.resize(position, None);
                known.push(Some(evaluation.with_origin(origin)));
            }
        }
        known
    }

    /// Runs a handler's work so that a panic in it ends in a restart. `Supervisor` alone does not
    /// survive one: it unwinds through the supervisor's own task, and the address is dead for good.
    fn guarded<R>(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl FnOnce(&mut Self, &mut Context<Self>) -> R,
    ) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self, ctx)));
        if done.is_err() {
            self.has_panicked = true;
            // A supervisor restarts only what can be sent to, but there may be requests to answer
            // after the last handle and address are gone.
            self.this = (!self.buffer.is_empty()).then(|| ctx.address());
            ctx.stop();
        }
        done.ok()
    }
}

impl fmt::Debug for BatchActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchActor").finish_non_exhaustive()
    }
}

impl Actor for BatchActor {
    type Context = Context<Self>;

    /// Also runs after each restart, which has dropped every interval and future of the context.
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.due_is_announced = false;
        self.interval = None;
        self.schedule(ctx);
        self.watch_drain(ctx);
        ctx.notify(Settle);
        self.this = None;
    }
}

impl Drop for BatchActor {
    /// Calls that nobody waits for any more may be in flight when a drained component ends.
    fn drop(&mut self) {
        self.shared.close();
        self.shared.cache.clear();
        // None, unless the runtime was stopped around it: their callers hear of it as of a refusal.
        self.shared.counters.abandoned.fetch_add(self.buffer.pending() as u64, Relaxed);
        self.shared.counters.buffered.store(0, Relaxed);
        self.shared.counters.in_flight.store(0, Relaxed);
    }
}

impl Supervised for BatchActor {
    fn restarting(&mut self, ctx: &mut Context<Self>) {
        self.shared.counters.restarts.fetch_add(1, Relaxed);
        let (pending, pause) = (self.buffer.pending(), self.restarts.note(clock::now()));
        let reason = if mem::take(&mut self.has_panicked) { "it panicked" } else { "it stopped" };
        tracing::error!(pending, ?pause, "BatchActor restarts, because {reason}");
        if !pause.is_zero() {
            ctx.wait(wrap_future(sleep(pause)));
        }
        let answers = self.buffer.restarted();
        self.give(answers, Ending::Failed);
    }
}
