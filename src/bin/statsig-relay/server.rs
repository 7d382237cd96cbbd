//! The HTTP server in front: where it listens, how patient it is, and how it leaves.

use std::time::Duration;

use actix_statsig::Statsig;
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    rt,
    web::Data,
};
use futures_util::future::join;

use crate::{api, output, page::Page};

/// Longer than clients keep the idle connections of their pools, so that none is closed just as it
/// is used again.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// The longest a connection takes to its first request's head. Generous: a machine that is busy is
/// no reason to turn its clients away.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// Binds, and says where.
pub(crate) fn serve(
    listen: &str,
    statsig: Statsig,
    page: Page,
    timeout: Duration,
) -> Result<Server, String> {
    let (statsig, page) = (Data::new(statsig), Data::new(page));
    let app = move || {
        let app = App::new().app_data(Data::clone(&statsig)).app_data(Data::clone(&page));
        app.configure(api::routes)
    };
    let server = HttpServer::new(app)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIME)
        .shutdown_timeout(timeout.as_secs() + 2)
        .bind(listen)
        .map_err(|error| format!("--listen cannot be {listen:?}: {error}"))?;
    for address in server.addrs() {
        output::say(format_args!("listening on http://{address}"));
    }
    Ok(server.run())
}

/// Answers what has been received, and takes no more. The component ends last: the server's
/// connections wait for its answers.
pub(crate) async fn drain(server: &ServerHandle, statsig: &Statsig, limit: Duration) {
    tracing::info!("draining");
    arrivals_are_read(statsig).await;
    let (_, flushed) = join(server.stop(true), statsig.flush()).await;
    if let Err(error) = flushed {
        tracing::warn!(%error, "the component ended before it was told to");
    }
    statsig.shutdown(limit).await;
}

/// Waits until what had arrived has been read: a server that is told to stop closes connections it
/// has not accepted or not read from yet. Does not wait for traffic to end that goes on and on.
async fn arrivals_are_read(statsig: &Statsig) {
    for _ in 0..10 {
        let read = statsig.stats().requests;
        rt::time::sleep(Duration::from_millis(100)).await;
        if statsig.stats().requests == read {
            return;
        }
    }
}
