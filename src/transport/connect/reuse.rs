//! Whether an attempt opened a connection or was given one from the pool: awc does not say, and a
//! connection that dies as it is reused is no sign of trouble.

use std::cell::Cell;

use tokio::task_local;

task_local! {
    static CONNECTED: Cell<bool>;
}

/// Runs an attempt; tells whether it did without a new connection.
pub(in crate::transport) async fn noting_reuse<F: Future>(attempt: F) -> (F::Output, bool) {
    let noting = async {
        let output = attempt.await;
        (output, CONNECTED.with(|connected| !connected.get()))
    };
    CONNECTED.scope(Cell::new(false), noting).await
}

/// The attempt opens a connection: awc polls the connector in the attempt's own task.
pub(super) fn connected() {
    // Outside of an attempt there is nothing to note.
    let _ = CONNECTED.try_with(|connected| connected.set(true));
}
