//! The steps of a graceful shutdown.

use std::{convert::Infallible, io, pin::pin, time::Duration};

use actix_rt::time::{sleep, timeout};
use actix_server::Server;

use super::{serve::GracefulShutdown, signals::Signals};
use crate::{
    handle::Statsig,
    message::{Flush, ShutdownReport},
};

/// Runs a server until a signal comes or `stop` completes, then drains it. `start` gets the server's
/// shutdown timeout in seconds.
pub(super) fn run<T: Future<Output = ()>>(
    start: impl FnOnce(u64) -> Server,
    statsig: Statsig,
    GracefulShutdown { limit, delay }: GracefulShutdown,
    stop: T,
) -> impl Future<Output = io::Result<ShutdownReport>> {
    let signals = Signals::listen();
    // Longer than `limit`, so that only `limit` cuts requests off.
    let server_timeout = limit.as_secs().saturating_add(1);
    async move {
        let mut signals = signals?;
        let mut server = start(server_timeout);
        let statsig = &statsig;
        let result = tokio::select! {
            result = &mut server => Err(result),
            trigger = shutdown_begins(statsig, delay, stop, &mut signals) => Ok(trigger),
        };
        match result {
            Ok(trigger) => {
                let draining = drain(server, statsig, limit);
                Ok(finish(statsig, draining, trigger.next_signal(&mut signals), limit).await)
            }
            Err(server_result) => {
                let cut_off = Trigger::App.next_signal(&mut signals);
                let report = finish(statsig, statsig.shutdown(limit), cut_off, limit).await;
                server_result.map(|()| report)
            }
        }
    }
}

/// Waits for a signal or `stop`, and then for the delay.
async fn shutdown_begins(
    statsig: &Statsig,
    delay: Duration,
    stop: impl Future<Output = ()>,
    signals: &mut Signals,
) -> Trigger {
    let trigger = tokio::select! {
        () = signals.received() => Trigger::Signal,
        () = stop => Trigger::App,
    };
    if delay.is_zero() {
        return trigger;
    }
    tracing::info!(?delay, "reporting not ready, and still serving until the delay has passed");
    statsig.leave();
    tokio::select! {
        () = sleep(delay) => trigger,
        () = trigger.next_signal(signals) => Trigger::Signal,
    }
}

/// The cause of the shutdown.
#[derive(Clone, Copy)]
enum Trigger {
    Signal,
    App,
}

impl Trigger {
    /// Completes at the next signal, or at the second one if the app began the shutdown.
    async fn next_signal(self, signals: &mut Signals) {
        if matches!(self, Self::App) {
            signals.received().await;
        }
        while timeout(SIGNAL_GAP, signals.received()).await.is_ok() {}
        signals.received().await;
    }
}

/// Waits until the server and the component have drained, or until `cut_off` completes or the limit is
/// reached.
async fn finish(
    statsig: &Statsig,
    draining: impl Future<Output = ShutdownReport>,
    cut_off: impl Future<Output = ()>,
    limit: Duration,
) -> ShutdownReport {
    tracing::info!("draining: answering requests that have arrived");
    statsig.leave();
    let mut draining = pin!(draining);
    tokio::select! {
        report = &mut draining => return report,
        () = cut_off => {}
        () = sleep(limit) => {}
    }
    // The server still runs, and has a moment to answer the requests whose checks are cut off here.
    let report = statsig.shutdown(Duration::ZERO).await;
    let cut_off = report.cut_off;
    tracing::warn!(
        cut_off,
        "shutdown cut short: pending requests were cut off, open connections are closed"
    );
    let _ = timeout(GRACE, draining).await;
    report
}

/// Stops the server gracefully, then the component, because the server's requests wait for the
/// component.
async fn drain(server: Server, statsig: &Statsig, limit: Duration) -> ShutdownReport {
    let handle = server.handle();
    let stopped = async {
        // Under constant traffic, leave most of the limit for the answers.
        let _ = timeout(limit / 4, arrivals_are_read(statsig)).await;
        handle.stop(true).await;
    };
    tokio::select! {
        // The server's result says nothing new after the stop.
        _ = server => {}
        () = stopped => {}
        never = flush_repeatedly(statsig) => match never {},
    }
    statsig.shutdown(limit).await
}

/// Waits until the component gets no new requests: a stopping server closes connections that it has
/// not accepted or read from yet. Gives up after a second, because traffic may go on.
async fn arrivals_are_read(statsig: &Statsig) {
    for _ in 0..5 {
        let before = statsig.stats().requests;
        sleep(2 * POLL_INTERVAL).await;
        if statsig.stats().requests == before {
            return;
        }
    }
}

/// Flushes repeatedly, because a handler may ask for another flag after each answer.
async fn flush_repeatedly(statsig: &Statsig) -> Infallible {
    loop {
        statsig.addr().do_send(Flush);
        sleep(POLL_INTERVAL).await;
    }
}

/// Signals closer together than this count as one.
const SIGNAL_GAP: Duration = Duration::from_millis(100);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the server may still answer requests whose checks were cut off.
const GRACE: Duration = Duration::from_millis(100);
