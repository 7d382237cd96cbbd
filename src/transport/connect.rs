//! Whether an attempt opened a connection or was given one from the pool: awc does not say, and a
//! connection that dies as it is reused is no sign of trouble.

use std::{cell::Cell, task};

use actix_service::Service;
use tokio::task_local;

task_local! {
    static CONNECTED: Cell<bool>;
}

/// Runs an attempt; tells whether it did without a new connection.
pub(super) async fn noting_reuse<F: Future>(attempt: F) -> (F::Output, bool) {
    let noting = async {
        let output = attempt.await;
        (output, CONNECTED.with(|connected| !connected.get()))
    };
    CONNECTED.scope(Cell::new(false), noting).await
}

/// A connector that notes its use. awc polls it in the attempt's own task.
#[derive(Clone)]
pub(super) struct Noting<S>(pub(super) S);

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&self, request: R) -> Self::Future {
        // Outside of an attempt there is nothing to note.
        let _ = CONNECTED.try_with(|connected| connected.set(true));
        self.0.call(request)
    }
}
