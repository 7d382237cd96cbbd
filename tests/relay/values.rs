//! Values pass through the process unchanged.

use actix_statsig::test_util::{Fault, LocalStatsig, Rules};
use serde_json::json;

use crate::program::{KEY, Relay, limited};

#[actix_rt::test]
async fn relay_answers_with_the_value_as_its_upstream_wrote_it() {
    let server = LocalStatsig::start(Rules::new()).unwrap();
    let options = ["--upstream", &server.url()];
    let relay = Relay::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await;
    let value = r#"{ "z":12345678901234567890123, "a" : 1.0,"e":1e400,"b":{"y":-0,"x":[1E+2]}}"#;
    let cut = r#","cut":"\ud83d","#;
    let upstream = value.replacen(',', cut, 1);
    server.inject(Fault::body(format!(r#"{{"name": "limits", "value": {upstream}}}"#)));
    let expected = value.replacen(',', r#","cut":"\ufffd","#, 1);

    // The second answer comes from the cache.
    for _ in 0..2 {
        let body = json!({"configName": "limits", "user": {"userID": "u-1"}});
        let request = relay.client.post(relay.url("/v1/get_config")).send_json(&body);
        let body = limited(limited(request).await.unwrap().body()).await.unwrap();
        let answer = String::from_utf8(body.to_vec()).unwrap();
        assert!(answer.contains(&format!(r#""value":{expected},"group":"""#)), "{answer}");
    }
    assert_eq!(server.calls(), 1);
}
