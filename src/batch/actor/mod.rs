//! The actor around the buffer: takes in messages and time, and performs the buffer's decisions.

mod accept;
mod complete;
pub(super) mod dispatch;
mod drain;
mod failing_user;
mod flush;
mod handlers;
mod message;
mod perform;
mod reply;
mod restart;
mod shutdown;

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, Addr, Context, SpawnHandle};
use tokio::sync::oneshot;

use self::{dispatch::Dispatcher, drain::DrainTracker, failing_user::FailingUser, reply::Callers};
use super::buffer::{Buffer, CallId, key_status::KeyStatus};
use crate::{
    config::Config,
    message::call::TransportFactory,
    rt::{restart_backoff::RestartBackoff, yielding::YieldCounter},
    shared::Shared,
};

/// The actor that answers [`CheckGates`](crate::CheckGates) and [`GetConfigs`](crate::GetConfigs).
/// [`Statsig`](crate::Statsig) starts it.
///
/// It buffers requests, makes as few HTTP calls for them as the API allows, and passes the calls to
/// its transport. It runs under a supervisor: after a panic it goes on with the pending requests, at
/// the same address.
pub struct BatchActor {
    buffer: Buffer,
    callers: Callers,
    dispatcher: Dispatcher,
    /// Calls that were sent a second time, after a transport lost them.
    resent: HashSet<CallId>,
    key_status: KeyStatus,
    failing_user: FailingUser,
    timeout: Duration,
    flush_interval: Duration,
    /// Runs while something is buffered.
    interval: Option<SpawnHandle>,
    /// Whether a `FlushDue` is in the mailbox.
    is_flush_queued: bool,
    drains: DrainTracker,
    turns: YieldCounter,
    restarts: RestartBackoff,
    has_panicked: bool,
    shared: Arc<Shared>,
    ended: Option<oneshot::Sender<()>>,
    /// Keeps the actor alive from a panic to the restart.
    own_addr: Option<Addr<Self>>,
}

impl BatchActor {
    /// Sends to `ended` after a shutdown. Dropping the sender means the same: the actor is gone.
    pub(crate) fn new(
        config: &Config,
        factory: TransportFactory,
        shared: Arc<Shared>,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self {
            buffer: Buffer::new(config.batch_size(), config.flush_policy(), config.pending_bytes()),
            callers: Callers::default(),
            dispatcher: Dispatcher::new(factory, config.transports()),
            resent: HashSet::new(),
            key_status: KeyStatus::default(),
            failing_user: FailingUser::default(),
            timeout: config.timeout(),
            flush_interval: config.flush_interval(),
            interval: None,
            is_flush_queued: false,
            drains: DrainTracker::default(),
            turns: YieldCounter::default(),
            restarts: RestartBackoff::default(),
            has_panicked: false,
            shared,
            ended: Some(ended),
            own_addr: None,
        }
    }
}

impl fmt::Debug for BatchActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchActor").finish_non_exhaustive()
    }
}

impl Actor for BatchActor {
    type Context = Context<Self>;

    /// Also runs after each restart, which drops all intervals and futures of the context.
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.is_flush_queued = false;
        self.interval = None;
        self.schedule(ctx);
        self.watch_deadline(ctx);
        self.end_if_drained();
        self.own_addr = None;
    }
}

impl Drop for BatchActor {
    /// When a drained component ends, abandoned calls may still be in flight.
    fn drop(&mut self) {
        self.shared.close();
        self.shared.cache.clear();
        // Requests are pending only if the runtime was stopped. Their callers get an error.
        self.shared.counters.abandoned.fetch_add(self.buffer.pending() as u64, Relaxed);
        self.shared.counters.buffered.store(0, Relaxed);
        self.shared.counters.in_flight.store(0, Relaxed);
    }
}
