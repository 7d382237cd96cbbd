//! A provider for the [OpenFeature](https://openfeature.dev) SDK, the crate `open-feature` 0.3: an
//! app that asks for its flags through OpenFeature's API gets them from Statsig.
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
//! drop(api); // it is a lock, for writing
//!
//! let user = EvaluationContext::default()
//!     .with_targeting_key("u-1")
//!     .with_custom_field("country", "NL")
//!     .with_custom_field("plan", "pro");
//! let is_new = client.get_bool_value("new_checkout", Some(&user), None).await;
//! let theme = client.get_string_value("homepage.theme", Some(&user), None).await;
//! let homepage = client.get_struct_value::<StructValue>("homepage", Some(&user), None).await;
//!
//! // An error is where the app's default stands in.
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
//! The provider is ready as soon as it is made, for its [`Statsig`](crate::Statsig) has been started
//! already. Everything that is promised of the handle holds here too: flags are asked for in
//! batches, kept for [`cache_ttl`](crate::Config::cache_ttl), and exposures are logged as
//! [`exposure_logging`](crate::Config::exposure_logging) says. Its futures can be awaited in any
//! runtime.
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
//! **An unknown gate can't be told from a closed one**: Statsig answers `false` for both, without a
//! rule. A mistyped gate is a closed gate.
//!
//! A gate's name is taken as it is, dots included. Of a config, what comes after the *last* dot is
//! the key, for a config's name may have dots as well: `shop.homepage.theme` is the key `theme` of
//! the config `shop.homepage`. It follows that
//!
//! - a config whose name has a dot is read whole with a dot at the end: `shop.homepage.`;
//! - a key that has a dot itself, and a boolean in a config, can only be read from the struct around
//!   it.
//!
//! An integer is any JSON number that is whole and fits into an `i64`, `3.0` too; a float is any
//! number, as the nearest `f64`. In a struct, numbers that are written as integers and fit into an
//! `i64` are integers, all others floats. OpenFeature has no null: a field that is null is left out
//! of its struct, and a list with null in it is a `TYPE_MISMATCH`.
//!
//! # The evaluation context
//!
//! | context | [`User`](crate::User) |
//! |---|---|
//! | the targeting key | `userID` |
//! | `email`, `ip`, `userAgent`, `country`, `locale`, `appVersion` | the field of that name |
//! | `customIDs`, `privateAttributes`, `statsigEnvironment`, a struct each | the field of that name |
//! | `custom`, a struct | `custom` |
//! | every other attribute | in `custom`, under its name, in place of one that the struct `custom` has |
//!
//! The names are the API's, to the letter: `user_agent` is one of the other attributes, and so is
//! `userID`. A date becomes a string, by RFC 3339 and in UTC. A struct, as OpenFeature has it, can be
//! of any Rust type; those that can be read are the SDK's `StructValue` and `Value`, `Value` and
//! `Map` of serde_json, and, for a list of strings, `Vec<String>`:
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
//! A user needs a targeting key or a custom id that is not empty. What else a user must be is said
//! at [`UserBuilder::build`](crate::UserBuilder::build); no attribute is dropped because it does not
//! fit, the context is refused.
//!
//! # Reasons
//!
//! | reason | when |
//! |---|---|
//! | `TARGETING_MATCH` | Statsig has answered now, by a rule |
//! | `DEFAULT` | Statsig has answered now, and no rule decided: the rule id is null, empty or `default` |
//! | `DISABLED` | the same with the rule id `disabled` |
//! | `CACHED` | from the cache: [`Source::Cache`](crate::Source::Cache) |
//! | `STALE` | from the cache, because Statsig fails: [`Source::Stale`](crate::Source::Stale). The SDK has it as `EvaluationReason::Other` |
//!
//! That the user fell into a rule's percentage, `SPLIT`, is not to be seen in Statsig's answers.
//! The variant is the group's name, or without one the rule's id. The flag metadata has `rule_id`
//! and `group_name` where there are any, and for what comes from the cache its age, `age_ms`.
//!
//! # Errors
//!
//! The message begins with the [kind](crate::Error::kind) of the [`Error`](crate::Error), and has
//! its sources. No more than 500 characters of it are kept.
//!
//! | error code | when |
//! |---|---|
//! | `FLAG_NOT_FOUND` | the config is empty and has neither rule nor group, which is Statsig's answer for one it does not know; the config has no such key; the API allows no such name |
//! | `TYPE_MISMATCH` | the value is of another type, or a number that an integer cannot hold; a whole config is a struct and nothing else |
//! | `TARGETING_KEY_MISSING` | the context has neither a targeting key nor a custom id |
//! | `INVALID_CONTEXT` | the API takes no such user; the message names the field |
//! | `PROVIDER_NOT_READY` | the component is shutting down, or has ended |
//! | `PARSE_ERROR` | Statsig answered what its API does not describe |
//! | general, as `EvaluationErrorCode::General` with the kind | all else: timeouts, connections, the open circuit breaker, the refused key, overload |
//!
//! Each of them leaves the app with its default, and is made visible as
//! [`check_gate_or`](crate::Statsig::check_gate_or) makes it: in [`Stats::fallbacks`](crate::Stats::fallbacks),
//! in the log, and to [`on_fallback`](crate::ConfigBuilder::on_fallback). The SDK's own errors, from
//! a hook or because a struct does not convert into the app's type, are not among them.

mod context;
mod details;
mod error_code;
mod flag_key;
mod provider;
mod value;

pub use self::provider::StatsigProvider;
