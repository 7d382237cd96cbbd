//! Whether the process lives, and whether it is worth sending it traffic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_statsig::{CheckGates, Stats, Statsig, User};
use actix_web::{
    HttpResponse,
    rt::{self, time::sleep},
    web::Data,
};
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What readiness needs to know besides the component's own figures.
pub(crate) struct Readiness {
    is_draining: AtomicBool,
    /// Has the one place for a probe.
    probe: Arc<Semaphore>,
}

/// The user and the gate of a probe, which are nobody's.
const PROBE: &str = "statsig-relay-readiness";

/// The shortest time between two probes: whoever asks for readiness often causes no more of them.
const PAUSE: Duration = Duration::from_secs(1);

impl Default for Readiness {
    fn default() -> Self {
        Self { is_draining: AtomicBool::default(), probe: Arc::new(Semaphore::new(1)) }
    }
}

impl Readiness {
    /// The relay is about to leave.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Relaxed);
    }

    /// Asks Statsig once, in the background, unless that is being done: where there is no traffic
    /// because the relay is not ready, nothing else would show that Statsig has recovered.
    fn probe(&self, statsig: &Statsig) {
        let Ok(place) = Arc::clone(&self.probe).try_acquire_owned() else { return };
        let Ok(user) = User::new(PROBE) else { return };
        let probe = CheckGates::new(user, [PROBE]).without_exposure().past_cache();
        let statsig = statsig.clone();
        rt::spawn(async move {
            let (outcome, ()) = join(statsig.ask(probe), sleep(PAUSE)).await;
            if let Err(error) = outcome {
                tracing::debug!(%error, "a probe for readiness failed");
            }
            drop(place);
        });
    }
}

/// Says that the process is up; whether Statsig is, `/readyz` tells.
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// Says whether a check is likely to get its answer now.
pub(crate) async fn readyz(statsig: Data<Statsig>, readiness: Data<Readiness>) -> HttpResponse {
    let stats = statsig.stats();
    let is_draining = readiness.is_draining.load(Relaxed);
    if !is_draining && !stats.is_ready() {
        readiness.probe(&statsig);
    }
    match why_not(&stats, is_draining) {
        None => HttpResponse::Ok().json(json!({"status": "ready"})),
        Some(why) => HttpResponse::ServiceUnavailable().json(why),
    }
}

fn why_not(stats: &Stats, is_draining: bool) -> Option<Value> {
    if is_draining {
        return Some(json!({"status": "draining"}));
    }
    (!stats.is_ready()).then(|| {
        json!({
            "status": "not_ready",
            "breaker": stats.breaker,
            "last_call_failed": stats.last_call_failed,
        })
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
    fn it_is_ready_with_the_breaker_closed_and_the_last_call_not_failed_until_it_leaves() {
        let mut stats = Stats::default();
        assert_eq!(why_not(&stats, false), None);
        assert_eq!(why_not(&stats, true), Some(json!({"status": "draining"})));

        stats.last_call_failed = true;
        let why = json!({"status": "not_ready", "breaker": "closed", "last_call_failed": true});
        assert_eq!(why_not(&stats, false), Some(why));

        (stats.last_call_failed, stats.breaker) = (false, BreakerState::HalfOpen);
        let why = json!({"status": "not_ready", "breaker": "half_open", "last_call_failed": false});
        assert_eq!(why_not(&stats, false), Some(why));
    }

    #[actix_web::test]
    async fn a_relay_that_leaves_is_not_ready_from_then_on() {
        let statsig = Statsig::start(Config::new("secret-key").unwrap()).unwrap();
        let readiness = Data::new(Readiness::default());
        let app = App::new().app_data(Data::new(statsig)).app_data(Data::clone(&readiness));
        let app = init_service(app.route("/readyz", web::get().to(readyz))).await;
        let status = async || {
            let request = TestRequest::with_uri("/readyz").to_request();
            call_service(&app, request).await.status().as_u16()
        };

        assert_eq!(status().await, 200);
        readiness.drain();
        assert_eq!(status().await, 503);
    }
}
