//! The HTTP server in front: where it listens, how patient it is, and how it leaves.

use std::{io, time::Duration};

use actix_statsig::{ShutdownReport, Statsig, web};
use actix_web::{App, HttpServer, web::Data};

use crate::{api, output};

/// Longer than clients keep the idle connections of their pools, so that none is closed just as it
/// is used again.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// The longest a connection takes to its first request's head. Generous: a machine that is busy is
/// no reason to turn its clients away.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// How much longer than a request the relay takes to leave.
const LEAVE: Duration = Duration::from_secs(2);

/// Binds, and says where; then serves until it is told to leave. `timeout` is the longest a request
/// takes.
pub(crate) fn serve(
    listen: &str,
    statsig: &Statsig,
    timeout: Duration,
) -> Result<impl Future<Output = io::Result<ShutdownReport>> + use<>, String> {
    let data = Data::new(statsig.clone());
    let server =
        HttpServer::new(move || App::new().app_data(Data::clone(&data)).configure(api::routes))
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_TIME)
            .bind(listen)
            .map_err(|error| format!("--listen cannot be {listen:?}: {error}"))?;
    let addresses = server.addrs();
    let serving = web::serve(server, statsig, timeout.saturating_add(LEAVE));
    // Whoever reads this may send a signal at once.
    for address in addresses {
        output::say(format_args!("listening on http://{address}"));
    }
    Ok(serving)
}
