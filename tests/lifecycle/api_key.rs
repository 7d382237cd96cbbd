//! The API key changes while the component runs: no caller loses its answer, and no later caller
//! gets an answer that was fetched with the old key.
#![cfg(feature = "test-util")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use actix_statsig::{Error, Source, Statsig, test_util::LocalStatsig, test_util::Rules};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{config, served::Served, user};

/// Answers requests with the key `new`, and holds requests with another key until that key is
/// revoked.
struct Rotated {
    server: Served,
    old: Arc<Old>,
}

struct Old {
    came: Semaphore,
    revoked: Semaphore,
    status: u16,
}

impl Rotated {
    fn start(status: u16) -> Self {
        let old = Old { came: Semaphore::new(0), revoked: Semaphore::new(0), status };
        let old = Arc::new(old);
        Self { server: Served::start(&old, answer), old }
    }

    async fn has_received(&self, calls: u32) {
        self.old.came.acquire_many(calls).await.unwrap().forget();
    }

    fn revoke(&self) {
        self.old.revoked.close();
    }
}

async fn answer(request: HttpRequest, old: web::Data<Old>, body: web::Json<Value>) -> HttpResponse {
    let key = request.headers().get("statsig-api-key").unwrap();
    let is_new = key == "new";
    if !is_new {
        old.came.add_permits(1);
        drop(old.revoked.acquire().await);
        if old.status != 200 {
            let status = old.status.try_into().unwrap();
            return HttpResponse::build(status).json(json!({"error": "the key is not known"}));
        }
    }
    let name = body["gateName"].as_str().or_else(|| body["gateNames"][0].as_str()).unwrap();
    let gate = json!({"name": name, "value": is_new, "rule_id": "r", "group_name": null});
    let many = body["gateNames"].is_array();
    HttpResponse::Ok().json(if many { json!({name: gate}) } else { gate })
}

fn start(url: &str, transports: usize) -> Statsig {
    let config = config().base_url(url).cache_ttl(Duration::from_secs(600));
    let config = config.timeout(Duration::from_secs(60)).attempt_timeout(Duration::from_secs(60));
    Statsig::start_in_current_arbiter(config.transports(transports).build().unwrap()).unwrap()
}

#[actix_rt::test]
async fn promise_1_calls_in_flight_survive_a_key_change() {
    for transports in [1, 3] {
        let server = Rotated::start(401);
        let statsig = start(&server.server.url, transports);
        let users: Vec<_> = (0..9).map(|number| user(format!("u-{number}"))).collect();

        let checks = join_all(users.iter().map(|user| statsig.check_gate(user, "beta")));
        let rotate = async {
            server.has_received(9).await;
            statsig.set_api_key("new").await.unwrap();
            server.revoke();
        };
        let (answers, ()) = tokio::join!(checks, rotate);

        for answer in answers {
            assert!(answer.unwrap());
        }
        assert_eq!(statsig.stats().errors.values().sum::<u64>(), 0);
    }
}

#[actix_rt::test]
async fn promise_2_key_change_drops_the_old_keys_answers() {
    let server = Rotated::start(200);
    let statsig = start(&server.server.url, 1);
    let (before, meanwhile) = (user("before"), user("meanwhile"));
    let (first, ()) = tokio::join!(statsig.check_gate(&before, "beta"), async {
        server.has_received(1).await;
        server.old.revoked.add_permits(1);
    });
    assert!(!first.unwrap());
    assert_ne!(statsig.gate_evaluation(&before, "beta").await.unwrap().source(), Source::Network);

    // The cached answer, and an answer that arrives only after the change.
    let late = statsig.check_gate(&meanwhile, "beta");
    let rotate = async {
        server.has_received(1).await;
        statsig.set_api_key("new").await.unwrap();
        server.revoke();
    };
    let (late, ()) = tokio::join!(late, rotate);
    assert!(!late.unwrap());
    for user in [&before, &meanwhile] {
        let gate = statsig.gate_evaluation(user, "beta").await.unwrap();
        assert_eq!((gate.value(), gate.source()), (true, Source::Network));
        assert_ne!(statsig.gate_evaluation(user, "beta").await.unwrap().source(), Source::Network);
    }
}

#[actix_rt::test]
async fn invalid_key_is_refused_and_the_same_key_changes_nothing() {
    let server = LocalStatsig::start(Rules::new().gate("beta", true)).unwrap();
    let statsig = start(&server.url(), 1);
    let who = user("u-1");
    server.require_key("secret-key");
    assert!(statsig.check_gate(&who, "beta").await.unwrap());

    for (bad, shown) in [("", "empty"), ("two words", "[redacted]"), ("cl\u{e9}", "[redacted]")] {
        let Err(Error::InvalidConfig { setting, value, .. }) = statsig.set_api_key(bad).await
        else {
            panic!("{bad}");
        };
        assert_eq!((setting, &*value), ("api_key", shown));
    }
    statsig.set_api_key("secret-key").await.unwrap();
    assert_ne!(statsig.gate_evaluation(&who, "beta").await.unwrap().source(), Source::Network);
    assert!(statsig.check_gate(&user("u-2"), "beta").await.unwrap());

    server.require_key("another");
    statsig.set_api_key("another").await.unwrap();
    assert_eq!(statsig.gate_evaluation(&who, "beta").await.unwrap().source(), Source::Network);

    statsig.shutdown(Duration::ZERO).await;
    let late = statsig.set_api_key("third").await;
    assert!(matches!(late, Err(Error::ShuttingDown)), "{late:?}");
}
