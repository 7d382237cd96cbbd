//! A provider for the [OpenFeature](https://openfeature.dev) SDK, the crate `open-feature` 0.3.
//! Apps that evaluate flags through OpenFeature's API get them from Statsig.
//!
//! ```
//! # #[cfg(feature = "test-util")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use actix_statsig::test_util::{LocalStatsig, Rules};
//! # use serde_json::json;
//! # let rules = Rules::new().gate("new_checkout", true);
//! # let rules = rules.config("homepage", json!({"theme": "dark", "columns": 3}));
//! # let server = LocalStatsig::start(rules)?;
//! # let config = actix_statsig::Config::builder("secret-key").base_url(server.url()).build()?;
//! use actix_statsig::{Statsig, open_feature::StatsigProvider};
//! use open_feature::{EvaluationContext, OpenFeature, StructValue};
//! use std::time::Duration;
//!
//! let statsig = Statsig::start(config)?;
//! # actix_rt::System::new().block_on(async move {
//! let mut api = OpenFeature::singleton_mut().await;
//! api.set_provider(StatsigProvider::new(statsig.clone())).await;
//! let client = api.create_client();
//! drop(api); // releases the singleton's write lock
//!
//! let user = EvaluationContext::default()
//!     .with_targeting_key("u-1")
//!     .with_custom_field("country", "NL")
//!     .with_custom_field("plan", "pro");
//! let is_new = client.get_bool_value("new_checkout", Some(&user), None).await;
//! let theme = client.get_string_value("homepage.theme", Some(&user), None).await;
//! let homepage = client.get_struct_value::<StructValue>("homepage", Some(&user), None).await;
//!
//! // On an error, the app uses its default.
//! assert!(is_new.unwrap_or(false));
//! assert_eq!(theme.unwrap_or("light".to_owned()), "dark");
//! assert_eq!(homepage.unwrap_or_default().fields["columns"].as_i64(), Some(3));
//!
//! statsig.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # })
//! # }
//! # #[cfg(not(feature = "test-util"))]
//! # fn main() {}
//! ```
//!
//! The provider is ready at once, because its [`Statsig`](crate::Statsig) has already started. All
//! guarantees of the handle apply here, too: flags are evaluated in batches and cached for
//! [`cache_ttl`](crate::Config::cache_ttl), and
//! [`exposure_logging`](crate::Config::exposure_logging) decides whether Statsig logs exposures.
//! You can await its futures in any runtime.
//!
//! # Flag keys
//!
//! | type | flag key | value |
//! |---|---|---|
//! | boolean | the gate's name | whether it is open |
//! | string, integer, float | `config.key` | the value under that key of the config (a dynamic config or an experiment) |
//! | struct | the config's name | the whole config |
//! | struct | `config.key` | the object under that key |
//!
//! **An unknown gate looks like a closed one**: Statsig answers `false` for both, without a rule. So an
//! unknown (or misspelt) gate is closed.
//!
//! The flag key of a gate is its name, dots included. The flag key of a config splits at the *last*
//! dot, because a config's name may have dots as well: `shop.homepage.theme` is the key `theme` of the
//! config `shop.homepage`. Therefore:
//!
//! - To read a whole config whose name has a dot, add a dot at the end: `shop.homepage.`.
//! - To read a key with a dot, or a boolean in a config, read the struct around it.
//!
//! An integer is any whole JSON number that fits into an `i64`, including `3.0`. A float is any number,
//! as the nearest `f64`. In a struct, numbers written as integers that fit into an `i64` are integers,
//! and all others are floats. OpenFeature has no null: a null field is left out of its struct, and a
//! null in a list is a `TYPE_MISMATCH`.
//!
//! # The evaluation context
//!
//! | context | [`User`](crate::User) |
//! |---|---|
//! | the targeting key | `userID` |
//! | `email`, `ip`, `userAgent`, `country`, `locale`, `appVersion` | the field of that name |
//! | `customIDs`, `privateAttributes`, `statsigEnvironment`, a struct each | the field of that name |
//! | `custom`, a struct | `custom` |
//! | every other attribute | an entry of `custom` with that name; it replaces such an entry of the struct `custom` |
//!
//! The names must match exactly: `user_agent` counts as another attribute, and so does `userID`. A
//! date becomes a string in the format of RFC 3339, in UTC. OpenFeature's structs can have any Rust
//! type. The provider reads the SDK's `StructValue` and `Value`, serde_json's `Value` and `Map`,
//! and `Vec<String>` for a list of strings:
//!
//! ```
//! use open_feature::{EvaluationContext, EvaluationContextFieldValue, StructValue};
//!
//! let private = StructValue::default().with_field("salary", 30_000);
//! let user = EvaluationContext::default()
//!     .with_targeting_key("u-1")
//!     .with_custom_field("privateAttributes", EvaluationContextFieldValue::new_struct(private));
//! ```
//!
//! A user needs a targeting key or a custom id that is not empty.
//! [`UserBuilder::build`](crate::UserBuilder::build) lists the other rules. If an attribute breaks
//! a rule, the provider refuses the context and does not drop the attribute.
//!
//! # Reasons
//!
//! | reason | when |
//! |---|---|
//! | `TARGETING_MATCH` | a new answer from Statsig, decided by a rule |
//! | `DEFAULT` | a new answer without a rule: the rule id is null, empty or `default` |
//! | `DISABLED` | a new answer with the rule id `disabled` |
//! | `CACHED` | from the cache: [`Source::Cache`](crate::Source::Cache) |
//! | `STALE` | from the cache, because Statsig fails: [`Source::Stale`](crate::Source::Stale). In the SDK this is `EvaluationReason::Other` |
//!
//! Statsig's answers do not show whether a rule's percentage decided, so no reason is `SPLIT`. The
//! variant is the group's name, or the rule's id if there is no group. The flag metadata has `rule_id`
//! and `group_name`, if any, and `age_ms`, the age of an answer from the cache.
//!
//! # Errors
//!
//! The message begins with the [kind](crate::Error::kind) of the [`Error`](crate::Error) and
//! includes its sources. It has at most 500 bytes.
//!
//! | error code | when |
//! |---|---|
//! | `FLAG_NOT_FOUND` | the config is empty and has neither rule nor group, which is Statsig's answer for an unknown config; the config has no such key; the API does not allow the name |
//! | `TYPE_MISMATCH` | the value has another type, or is a number that an integer cannot hold; a whole config is always a struct |
//! | `TARGETING_KEY_MISSING` | the context has neither a targeting key nor a custom id |
//! | `INVALID_CONTEXT` | the API does not allow the user; the message names the field |
//! | `PROVIDER_NOT_READY` | the component is shutting down or has ended |
//! | `PARSE_ERROR` | Statsig's answer does not follow its API document |
//! | `EvaluationErrorCode::General` with the kind | any other error: a timeout, a connection failure, an open circuit breaker, a refused key, overload |
//!
//! After each of these errors, the app uses its default. The component reports the fallback in the
//! same way as [`check_gate_or`](crate::Statsig::check_gate_or): in
//! [`Stats::fallbacks`](crate::Stats::fallbacks), in the log, and to
//! [`on_fallback`](crate::ConfigBuilder::on_fallback). It does not report the SDK's own errors,
//! such as those of a hook or of a struct that does not convert into the app's type.

mod context;
mod details;
mod error_code;
mod flag_key;
mod provider;
mod value;

pub use self::provider::StatsigProvider;
