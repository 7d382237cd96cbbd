//! What the relay answers when Statsig asks it to wait.

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use awc::http::header::RETRY_AFTER;
use serde_json::json;

use crate::{
    gate,
    program::{KEY, Relay, read},
};

#[actix_rt::test]
async fn retry_after_is_passed_on_with_the_remaining_time() {
    for status in [429, 503] {
        let upstream = LocalStatsig::start(Rules::sample()).unwrap();
        let url = upstream.url();
        let relay = Relay::start_with(&["--upstream", &url], &[("STATSIG_API_KEY", KEY)]).await;
        upstream.inject(Fault::status(status).retry_after("40").always());

        for number in 0..20 {
            let request = relay.client.post(relay.url("/v1/check_gate"));
            let response = request.send_json(&gate("u", number)).await.unwrap();

            let wait = response.headers().get(RETRY_AFTER).expect("a retry-after header").clone();
            let wait: u64 = wait.to_str().unwrap().parse().unwrap();
            assert!((1..=40).contains(&wait), "{wait}");
            let (got, answer) = read(response).await;
            assert_eq!((got.as_u16(), &answer["error"]["kind"]), (status, &json!("unavailable")));
        }
        assert_eq!(upstream.calls(), 1, "the other requests fail without a call");
    }
}
