//! Liveness and readiness.

use std::{sync::Arc, time::Duration};

use actix_statsig::{Stats, Statsig};
use actix_web::{
    HttpResponse,
    rt::{self, time::sleep},
    web::Data,
};
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Probes Statsig, one probe at a time.
pub(crate) struct ReadinessProbe(Arc<Semaphore>);

/// The shortest time between two probes, however often `/readyz` is polled.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

impl Default for ReadinessProbe {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl ReadinessProbe {
    /// Starts a probe in the background, unless one is running. A relay that is not ready may get
    /// no traffic. Then only a probe shows that Statsig has recovered.
    fn start(&self, statsig: &Statsig) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return };
        let statsig = statsig.clone();
        rt::spawn(async move {
            let (outcome, ()) = join(statsig.probe(), sleep(PROBE_PERIOD)).await;
            if let Err(error) = outcome {
                tracing::debug!(%error, "the readiness probe failed");
            }
            drop(permit);
        });
    }
}

/// `GET /healthz`: the process is up.
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: whether a check is likely to get an answer now.
pub(crate) async fn readyz(statsig: Data<Statsig>, probe: Data<ReadinessProbe>) -> HttpResponse {
    let stats = statsig.stats();
    if stats.is_ready() {
        return HttpResponse::Ok().json(json!({"status": "ready"}));
    }
    if !stats.is_leaving {
        probe.start(&statsig);
    }
    HttpResponse::ServiceUnavailable().json(why_not(&stats))
}

fn why_not(stats: &Stats) -> Value {
    if stats.is_leaving {
        return json!({"status": "draining"});
    }
    json!({
        "status": "not_ready",
        "breaker": stats.breaker,
        "last_call_failed": stats.last_call_failed,
    })
}

#[cfg(test)]
mod tests {
    use actix_statsig::{BreakerState, Config};
    use actix_web::{
        App,
        test::{TestRequest, call_service, init_service},
        web,
    };

    use super::*;

    #[test]
    fn readyz_says_why_it_is_not_ready() {
        let mut stats = Stats::default();
        (stats.last_call_failed, stats.breaker) = (true, BreakerState::HalfOpen);
        let why = json!({"status": "not_ready", "breaker": "half_open", "last_call_failed": true});
        assert_eq!(why_not(&stats), why);

        stats.is_leaving = true;
        assert_eq!(why_not(&stats), json!({"status": "draining"}));
    }

    #[actix_web::test]
    async fn draining_relay_is_not_ready() {
        let statsig = Statsig::start(Config::new("secret-key").unwrap()).unwrap();
        let app = App::new().app_data(Data::new(statsig.clone()));
        let app = app.app_data(Data::new(ReadinessProbe::default()));
        let app = init_service(app.route("/readyz", web::get().to(readyz))).await;
        let status = async || {
            let request = TestRequest::with_uri("/readyz").to_request();
            call_service(&app, request).await.status().as_u16()
        };

        assert_eq!(status().await, 200);
        statsig.shutdown(Duration::ZERO).await;
        assert_eq!(status().await, 503);
    }
}
