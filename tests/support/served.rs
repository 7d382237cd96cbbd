//! An HTTP server that answers with the test's handler until it is dropped.

use std::sync::Arc;

use actix_web::{
    App, FromRequest, Handler, HttpServer, Responder,
    dev::ServerHandle,
    web::{self, Data},
};

pub(crate) struct Served {
    pub(crate) url: String,
    server: ServerHandle,
}

impl Served {
    /// Answers every request with this handler, which can extract `shared` as `Data<S>`.
    pub(crate) fn start<S, F, Args>(shared: &Arc<S>, answer: F) -> Self
    where
        S: Send + Sync + 'static,
        F: Handler<Args> + Send,
        F::Output: Responder,
        Args: FromRequest + 'static,
    {
        let shared = Data::from(Arc::clone(shared));
        let app = move || {
            let answer = web::to(answer.clone());
            App::new().app_data(shared.clone()).default_service(answer)
        };
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
        let server = server.bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self { url, server: handle }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}
