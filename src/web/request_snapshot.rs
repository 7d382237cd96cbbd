//! A request's snapshot: made at its first use, and stored in the request's extensions.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{HttpMessage, HttpRequest};
use tokio::sync::OnceCell;

use super::{
    config::FlagsConfig,
    errors::{FlagsInIdentify, IdentifyError, MissingConfig},
    snapshot::Snapshot,
};
use crate::model::error::Error;

/// Returns the request's snapshot. The first use identifies the user.
pub(super) async fn request_snapshot(
    request: &HttpRequest,
) -> Result<Rc<Snapshot>, actix_web::Error> {
    let config = FlagsConfig::of(request).ok_or_else(|| MissingConfig::log(request))?;
    let cell = SnapshotCells::cell(request, config);
    if cell.is_identifying.get() {
        return Err(FlagsInIdentify::log(request).into());
    }
    let snapshot = cell.snapshot.get_or_init(|| async {
        // A plain function runs when it is called, so call `identify` inside the tracked poll.
        let identify = async { config.identify(request).await };
        let identified = TrackIdentify { cell: &cell, identify: pin!(identify) }.await;
        let user = identified.map_err(|error| {
            if let Some(error @ Error::InvalidUser { .. }) = error.as_error() {
                config.log_invalid_user(request, error);
            }
            IdentifyError::new(error)
        })?;
        Ok(Rc::new(Snapshot::new(config.clone(), user)))
    });
    Ok(snapshot.await.clone()?)
}

/// A request's snapshot, or the reason why there is none.
///
/// A shared future would hold the request, whose extensions would hold the future. This cycle would
/// leak both if the client left in the meantime.
#[derive(Default)]
struct SnapshotCell {
    snapshot: OnceCell<Result<Rc<Snapshot>, IdentifyError>>,
    /// Whether `identify` is being polled, so that an extraction of `Flags` comes from `identify`
    /// itself.
    is_identifying: Cell<bool>,
}

/// Sets [`SnapshotCell::is_identifying`] during each poll of `identify`.
struct TrackIdentify<'a, F> {
    cell: &'a SnapshotCell,
    identify: Pin<&'a mut F>,
}

impl<F: Future> Future for TrackIdentify<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.cell.is_identifying.set(true);
        let _guard = ClearOnDrop(&self.cell.is_identifying);
        self.identify.as_mut().poll(cx)
    }
}

/// Clears the flag, even if `identify` panics.
struct ClearOnDrop<'a>(&'a Cell<bool>);

impl Drop for ClearOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The request's cells, one for each configuration that its middlewares and handler see.
#[derive(Default)]
struct SnapshotCells(Vec<(FlagsConfig, Rc<SnapshotCell>)>);

impl SnapshotCells {
    fn cell(request: &HttpRequest, config: &FlagsConfig) -> Rc<SnapshotCell> {
        // Uses a shared borrow first: `identify` may hold the extensions while other callers wait
        // for its result.
        if let Some(cell) = request.extensions().get::<Self>().and_then(|cells| cells.get(config)) {
            return cell;
        }
        let cell = Rc::<SnapshotCell>::default();
        let mut extensions = request.extensions_mut();
        let Self(cells) = extensions.get_or_insert_with(Self::default);
        cells.push((config.clone(), Rc::clone(&cell)));
        cell
    }

    fn get(&self, config: &FlagsConfig) -> Option<Rc<SnapshotCell>> {
        let found = self.0.iter().find(|(other, _)| other.is_same(config));
        found.map(|(_, cell)| Rc::clone(cell))
    }
}
