//! Publishes metrics.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};

use super::Statsig;

impl Statsig {
    /// Publishes the counters and gauges of [`metrics`](crate::metrics). Call it just before a scrape, or
    /// before the process ends.
    pub fn publish_metrics(&self) {
        self.shared.publish_metrics();
    }

    /// Publishes now, then once every `period`, and a last time when the component has ended; then
    /// completes. Use it for recorders without scrapes, or if the app cannot tell when a scrape
    /// comes:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn publish(statsig: &actix_statsig::Statsig) {
    /// actix_rt::spawn(statsig.publish_metrics_every(Duration::from_secs(5)));
    /// # }
    /// ```
    ///
    /// The future does not keep the component alive. It needs a runtime with a timer. A period of zero
    /// counts as one millisecond.
    pub fn publish_metrics_every(
        &self,
        period: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (shared, mut gone) = (Arc::clone(&self.shared), self.gone.clone());
        async move {
            let mut ticks = actix_rt::time::interval(period.max(Duration::from_millis(1)));
            loop {
                let has_ended = {
                    let (tick, end) = (pin!(ticks.tick()), pin!(gone.changed()));
                    matches!(select(end, tick).await, Either::Left(_))
                };
                shared.publish_metrics();
                if has_ended {
                    return;
                }
            }
        }
    }
}
