//! Metrics for Prometheus.

use std::time::Duration;

use actix_statsig::Statsig;
use actix_web::{
    HttpResponse,
    rt::{self, time::sleep},
    web::Data,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::output::{self, bad_requests};

/// The text format's content type.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Buckets in seconds, from an answer of the cache up to the longest useful timeout.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Buckets for the number of names in a call.
const NAMES: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The time between two summaries of the histograms. A histogram keeps each measurement until its
/// next summary.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder for all metrics of this process.
pub(crate) fn install() -> Result<PrometheusHandle, String> {
    let buckets = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_names".to_owned()), &NAMES)
        });
    let recorder = buckets.map_err(|error| error.to_string())?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    metrics::describe_counter!("statsig_relay_requests_total", "Requests answered by the relay");
    metrics::describe_histogram!(
        "statsig_relay_request_duration_seconds",
        "Time from a request's head to its answer's head"
    );
    bad_requests::describe();
    output::describe();
    let upkeep = handle.clone();
    rt::spawn(async move {
        loop {
            sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// `GET /metrics`
pub(crate) async fn scrape(statsig: Data<Statsig>, handle: Data<PrometheusHandle>) -> HttpResponse {
    statsig.publish_metrics();
    HttpResponse::Ok().content_type(CONTENT_TYPE).body(handle.render())
}
