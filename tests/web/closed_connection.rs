//! What a visitor who has closed the connection costs, and how an app can choose.

use std::time::Duration;

use actix_rt::{System, time::timeout};
use actix_statsig::{
    Error, Statsig,
    test_util::{LocalStatsig, Rules},
    web::Flags,
};
use actix_web::{App, HttpServer, dev::Service, web};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use crate::{
    app::{config, flags},
    support::until,
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

async fn page(flags: Flags) -> Result<String, Error> {
    Ok(format!("open: {}", flags.check_gate("winter_sale").await?))
}

/// Sends a message when it is dropped.
struct Dropped(UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A visitor sends a request and shuts down the write side before the flush. Returns what the
/// visitor received, and the number of calls made.
async fn closed_before_the_flush(allow_half_closed: bool) -> (String, usize) {
    let local = LocalStatsig::start(Rules::new().gate("winter_sale", true)).unwrap();
    let config = config(&local).flush_interval(LONG).timeout(10 * LONG).build().unwrap();
    let statsig = Statsig::start(config).unwrap();
    let flags = flags(&statsig);
    let (sender, mut dropped) = unbounded_channel();
    let app = move || {
        let sender = sender.clone();
        let app = App::new().wrap_fn(move |request, service| {
            let (dropped, response) = (Dropped(sender.clone()), service.call(request));
            async move {
                // Dropped after the response future, which holds the request.
                let _dropped = dropped;
                response.await
            }
        });
        app.app_data(flags.clone()).route("/", web::get().to(page))
    };
    let server = HttpServer::new(app).workers(1).h1_allow_half_closed(allow_half_closed);
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);

    let mut visitor = TcpStream::connect(address).await.unwrap();
    visitor.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nx-user: marie\r\n\r\n").await.unwrap();
    until(|| statsig.stats().requests == 1).await;
    visitor.shutdown().await.unwrap();
    let mut got = String::new();
    if allow_half_closed {
        statsig.flush().await.unwrap();
    }
    visitor.read_to_string(&mut got).await.unwrap();
    // The visitor may see the connection closed before the server has dropped the request.
    dropped.recv().await.unwrap();
    statsig.flush().await.unwrap();
    handle.stop(false).await;
    (got, local.calls())
}

fn limited<T>(work: impl Future<Output = T>) -> T {
    System::new().block_on(async { timeout(LONG, work).await.unwrap() })
}

#[test]
fn closed_visitor_costs_no_call_if_half_close_is_off() {
    assert_eq!(limited(closed_before_the_flush(false)), (String::new(), 0));
}

#[test]
fn half_closed_visitor_is_answered_where_the_server_allows_it() {
    let (got, calls) = limited(closed_before_the_flush(true));
    assert!(got.ends_with("open: true"), "{got}");
    assert_eq!(calls, 1);
}
