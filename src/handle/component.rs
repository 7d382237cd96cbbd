//! The component's lifecycle: its thread, its actors and its end.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use actix::{Addr, Supervisor};
use actix_rt::{Arbiter, System};
use futures_util::future;
use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::LocalSet,
};

use crate::{
    batch::BatchActor, config::Config, message::call::TransportFactory, model::error::Error,
    shared::Shared,
};

/// A running component.
pub(crate) struct Component {
    pub(crate) addr: Addr<BatchActor>,
    pub(crate) shared: Arc<Shared>,
    /// Closed when the component's tasks, and its thread if it has one, have ended.
    pub(crate) gone: watch::Receiver<()>,
}

/// Starts a component on its own thread, with its own `System`. The factory is made on that thread.
pub(crate) fn on_own_thread(
    config: Config,
    factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory + Send + 'static,
) -> Result<Component, Error> {
    let shared = Arc::new(Shared::new(&config));
    let (alive, gone) = watch::channel(());
    let (started, address) = mpsc::channel();
    let shared_in_thread = Arc::clone(&shared);
    let run = move || {
        System::new().block_on(async move {
            let factory = factory(&config, &shared_in_thread);
            let (addr, life) = start(&config, factory, shared_in_thread);
            // Fails only if the starting thread has died.
            let _ = started.send(addr);
            life.await;
        });
        drop(alive);
    };
    let failed = |source| Error::Start { source: Arc::new(source) };
    thread::Builder::new().name("statsig".to_owned()).spawn(run).map_err(failed)?;
    let ended = |_| failed(io::Error::other("the thread ended before it had started"));
    let addr = address.recv().map_err(ended)?;
    Ok(Component { addr, shared, gone })
}

/// Starts a component on the current arbiter.
pub(crate) fn on_this_arbiter(
    config: &Config,
    factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory,
) -> Result<Component, Error> {
    // A thread may have an arbiter that does not run yet; tasks need a running one.
    if Arbiter::try_current().is_none() || runtime::Handle::try_current().is_err() {
        return Err(Error::NoArbiter);
    }
    let shared = Arc::new(Shared::new(config));
    let (alive, gone) = watch::channel(());
    let factory = factory(config, &shared);
    let (addr, life) = start(config, factory, Arc::clone(&shared));
    actix_rt::spawn(async move {
        life.await;
        drop(alive);
    });
    Ok(Component { addr, shared, gone })
}

/// Starts the actors. Returns their address, and a future that runs them until the component ends.
///
/// All their tasks live in the component's own `LocalSet`, and end when it is dropped. A supervised actor
/// cannot stop itself while an `Addr` is alive, because its supervisor restarts it.
fn start(
    config: &Config,
    factory: TransportFactory,
    shared: Arc<Shared>,
) -> (Addr<BatchActor>, impl Future<Output = ()> + use<>) {
    if cfg!(panic = "abort") {
        tracing::warn!(
            "built with panic = \"abort\": a panic will end the process instead of restarting the actor"
        );
    }
    let tasks = LocalSet::new();
    let (ended, has_ended) = oneshot::channel();
    let entered = tasks.enter();
    let actor = BatchActor::new(config, factory, shared, ended);
    let addr = Supervisor::start(|_| actor);
    drop(entered);
    // Ends when the actor sends `ended` after a shutdown, or drops it because its last address is
    // gone and no request is pending.
    let life = async move {
        future::select(tasks, has_ended).await;
    };
    (addr, life)
}
