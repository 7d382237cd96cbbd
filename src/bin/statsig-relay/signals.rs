//! The signals that ask the relay to leave: SIGTERM and ctrl-c.

use std::io;

use futures_util::future::select;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Caught from here on, also while nobody waits for them.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(crate) async fn received(&mut self) {
        let Self { terminate, interrupt } = self;
        select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
    }
}

/// Ctrl-c alone, where there is no SIGTERM.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn received(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
