//! Statsig behind OpenFeature's API: each request goes through the SDK's client, over sockets.
//!
//! `values.rs` tests flag keys and types, `context.rs` the user, `details.rs` reasons, variants and
//! metadata, and `errors.rs` the error codes.
#![cfg(all(feature = "open-feature", feature = "test-util"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod context;
mod details;
mod errors;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::time::Duration;

use actix_statsig::{
    Config, ConfigBuilder, FlushPolicy, Statsig, User,
    open_feature::StatsigProvider,
    test_util::{Fault, LocalStatsig, Rules},
};
use futures_util::future::join_all;
use open_feature::{
    Client, EvaluationContext, EvaluationErrorCode, EvaluationResult, OpenFeature,
    provider::{FeatureProvider, ProviderStatus},
};
use support::until;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// An app that uses the SDK, and its parts.
struct App {
    server: LocalStatsig,
    statsig: Statsig,
    api: OpenFeature,
    client: Client,
}

impl App {
    async fn start(rules: Rules) -> Self {
        Self::start_with(rules, |config| config).await
    }

    async fn start_with(rules: Rules, set: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Self {
        let server = LocalStatsig::start(rules).unwrap();
        let config = Config::builder("secret-key").base_url(server.url());
        // Longer than a test takes, even on a busy machine.
        let config = config.cache_ttl(HOUR).timeout(2 * MINUTE).attempt_timeout(MINUTE);
        let config = config.flush_policy(FlushPolicy::Adaptive);
        let statsig = Statsig::start(set(config).build().unwrap()).unwrap();
        // Not the process's own instance, which the tests would share.
        let mut api = OpenFeature::default();
        api.set_provider(StatsigProvider::new(statsig.clone())).await;
        let client = api.create_client();
        Self { server, statsig, api, client }
    }

    /// The number of fallbacks so far.
    fn fallbacks(&self) -> u64 {
        self.statsig.stats().fallbacks.values().sum()
    }
}

fn somebody() -> EvaluationContext {
    EvaluationContext::default().with_targeting_key("u-1")
}

#[track_caller]
fn code<T>(result: EvaluationResult<T>) -> EvaluationErrorCode {
    match result {
        Ok(_) => panic!("resolved"),
        Err(error) => error.code,
    }
}

#[tokio::test]
async fn provider_has_a_name() {
    let app = App::start(Rules::new()).await;
    assert_eq!(app.api.provider_metadata().await.name, "Statsig");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_on_several_threads_share_calls() {
    const TASKS: usize = 20;
    // Given a component that makes no call before all tasks have made their requests
    let gate = |n: usize| format!("gate-{n}");
    let rules = (0..TASKS).fold(Rules::new(), |rules, n| rules.gate(gate(n), n % 2 == 0));
    let app = App::start_with(rules, |config| {
        let config = config.batch_size(TASKS).flush_policy(FlushPolicy::Interval);
        config.flush_interval(Duration::from_secs(10))
    })
    .await;

    // When each task makes a request through its own client
    let asking = (0..TASKS).map(|n| {
        let client = app.api.create_client();
        tokio::spawn(async move { client.get_bool_value(&gate(n), Some(&somebody()), None).await })
    });
    let answers = join_all(asking).await;

    // Then each has its answer, from a single call
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), Ok(n % 2 == 0), "{n}");
    }
    assert_eq!(app.server.calls(), 1);
}

#[tokio::test]
async fn provider_status_says_whether_statsig_answers() {
    let app = App::start_with(Rules::new(), |config| config.retry_attempts(1)).await;
    let provider = StatsigProvider::new(app.statsig.clone());
    assert_eq!(provider.status(), ProviderStatus::Ready);

    app.server.inject(Fault::status(503));
    assert!(app.client.get_bool_value("beta", Some(&somebody()), None).await.is_err());
    assert_eq!(provider.status(), ProviderStatus::Error);

    assert!(app.client.get_bool_value("beta", Some(&somebody()), None).await.is_ok());
    assert_eq!(provider.status(), ProviderStatus::Ready);

    app.statsig.shutdown(Duration::from_secs(5)).await;
    assert_eq!(provider.status(), ProviderStatus::NotReady);
}

#[tokio::test]
async fn while_the_component_drains_the_provider_is_not_ready() {
    // Given a call in flight
    let app = App::start_with(Rules::new(), |config| config.retry_attempts(1)).await;
    let provider = StatsigProvider::new(app.statsig.clone());
    app.server.inject(Fault::hang());
    let statsig = app.statsig.clone();
    let user = User::new("u-1").unwrap();
    let pending = tokio::spawn(async move { statsig.check_gate(&user, "beta").await });
    app.server.calls_reached(1).await;
    assert_eq!(provider.status(), ProviderStatus::Ready);

    // When a shutdown begins, which waits for the call
    let statsig = app.statsig.clone();
    let shutdown = tokio::spawn(async move { statsig.shutdown(MINUTE).await });
    until(|| app.statsig.stats().is_leaving).await;

    // Then the provider's status matches the result of each evaluation
    let refused = app.client.get_bool_value("gamma", Some(&somebody()), None).await;
    assert_eq!(code(refused), EvaluationErrorCode::ProviderNotReady);
    assert_eq!(provider.status(), ProviderStatus::NotReady);
    app.server.stop();
    assert!(pending.await.unwrap().is_err());
    assert_eq!(shutdown.await.unwrap().failed, 1);
}

#[tokio::test]
async fn dropping_the_provider_leaves_the_component_running() {
    let mut app = App::start(Rules::new().gate("beta", true)).await;

    app.api.shutdown().await;

    let user = User::new("u-1").unwrap();
    assert!(app.statsig.check_gate(&user, "beta").await.unwrap());
}
