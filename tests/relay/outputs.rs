//! What becomes of what it writes, and of the relay where that cannot be written.

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use awc::http::StatusCode;

use crate::{
    gate,
    program::{KEY, Relay},
    upstream::{Mood, Upstream},
};

#[actix_rt::test]
async fn where_nobody_reads_its_log_it_serves_and_drains_all_the_same() {
    let upstream = Upstream::start(Mood::Hold);
    let key = [("STATSIG_API_KEY", KEY)];
    let options = ["--upstream", &upstream.url, "--timeout", "60s", "--attempt-timeout", "60s"];
    let mut relay = Relay::unread(&[&options[..], &["--log", "debug"]].concat(), &key).await;

    let held = relay.post("/v1/check_gate", &gate("u", 0));
    let leave = async {
        relay.has_received(1).await;
        relay.signal("TERM");
        relay.refuses_connections().await;
        upstream.release();
    };
    let ((status, _), ()) = tokio::join!(held, leave);

    assert_eq!(status, StatusCode::OK);
    assert_eq!(relay.ended().await.code, Some(0));
}

#[actix_rt::test]
async fn where_nobody_reads_its_log_what_fails_is_answered_all_the_same() {
    let upstream = LocalStatsig::start(Rules::sample()).unwrap();
    upstream.inject(Fault::status(503).always());
    let options = ["--upstream", &upstream.url(), "--retry-attempts", "1"];
    let mut relay = Relay::unread(&options, &[("STATSIG_API_KEY", KEY)]).await;

    let (status, _) = relay.post("/v1/check_gate", &gate("u", 0)).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(relay.get("/stats").await.1["restarts"], 0);
    relay.signal("TERM");
    assert_eq!(relay.ended().await.code, Some(0));
}
