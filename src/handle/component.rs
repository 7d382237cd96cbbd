//! The component's life: the thread it runs on, the actors it is made of, and its end.

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

/// A component that has been started.
pub(crate) struct Component {
    pub(crate) addr: Addr<BatchActor>,
    pub(crate) shared: Arc<Shared>,
    /// Closed when the component's tasks, and its threads if it has any, are through.
    pub(crate) gone: watch::Receiver<()>,
}

/// Starts it on a thread with a `System` of its own, on which the factory is made.
pub(crate) fn on_own_thread(
    config: Config,
    factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory + Send + 'static,
) -> Result<Component, Error> {
    let shared = Arc::new(Shared::new(&config));
    let (alive, gone) = watch::channel(());
    let (started, address) = mpsc::channel();
    let its_shared = Arc::clone(&shared);
    let run = move || {
        System::new().block_on(async move {
            let factory = factory(&config, &its_shared);
            let (addr, life) = start(&config, factory, its_shared);
            // Nobody waits for the address only if the starting thread has died.
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

/// Starts it on the current arbiter.
pub(crate) fn on_this_arbiter(
    config: &Config,
    factory: impl FnOnce(&Config, &Arc<Shared>) -> TransportFactory,
) -> Result<Component, Error> {
    // An arbiter is known to its thread before it runs, and tasks need it to run.
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

/// Starts the actors, and returns with their address the future that is their life.
///
/// Everything they spawn lives in a `LocalSet` of the component's own, so that dropping it ends
/// them for certain: a supervised actor cannot stop itself while an `Addr` is alive, because its
/// supervisor restarts it.
fn start(
    config: &Config,
    factory: TransportFactory,
    shared: Arc<Shared>,
) -> (Addr<BatchActor>, impl Future<Output = ()> + use<>) {
    if cfg!(panic = "abort") {
        tracing::warn!("built with panic = \"abort\": a panic will end the process, not a restart");
    }
    let tasks = LocalSet::new();
    let (ended, has_ended) = oneshot::channel();
    let entered = tasks.enter();
    let actor = BatchActor::new(config, factory, shared, ended);
    let addr = Supervisor::start(|_| actor);
    drop(entered);
    // The actor says so after a shutdown; it is dropped, which counts as well, when nobody can
    // send to it any more and nothing is pending.
    let life = async move {
        future::select(tasks, has_ended).await;
    };
    (addr, life)
}
