//! How much memory the process takes.

use futures_util::StreamExt;
use serde_json::json;

use crate::{
    program::{KEY, Relay, limited},
    upstream::{Mood, Upstream},
};

/// Has each of these users ask for a config of so many bytes, some at once; gives the peak in MiB.
async fn peak(users: usize, bytes: usize, is_shared: bool, options: &[&str]) -> usize {
    let upstream = Upstream::start(Mood::Long { bytes, is_shared });
    let patient = ["--cache-ttl", "600s", "--timeout", "60s", "--attempt-timeout", "60s"];
    let options = [&["--upstream", &upstream.url], &patient[..], options].concat();
    let relay = Relay::start_with(&options, &[("STATSIG_API_KEY", KEY)]).await;
    let asked = futures_util::stream::iter(0..users).map(|n| {
        let user = json!({"userID": format!("u-{n}")});
        let body = json!({"configName": "homepage", "user": user});
        let request = relay.client.post(relay.url("/v1/get_config")).send_json(&body);
        async { limited(limited(request).await.expect("a response").body()).await.expect("a body") }
    });
    let mut answers = asked.buffer_unordered(8);
    while let Some(answer) = answers.next().await {
        assert!(answer.len() > bytes, "{answer:?}");
    }
    relay.peak_memory()
}

/// Parsed, they were 529 MiB.
#[actix_rt::test]
async fn promise_4_config_of_57_kb_for_600_users_keeps_the_relay_under_128_mib() {
    let shared = peak(600, 57_000, true, &[]).await;
    let own = peak(600, 57_000, false, &[]).await;
    assert!(shared < 64, "{shared} MiB with one value for all");
    assert!(own < 128, "{own} MiB with a value for each user");
}

#[actix_rt::test]
async fn promise_4_relay_takes_no_more_memory_than_cache_bytes_lets_it() {
    // 60 MiB of values.
    let peak = peak(3_000, 20_000, false, &["--cache-bytes", "4MiB"]).await;
    assert!(peak < 48, "{peak} MiB");
}
