//! Which user each evaluation context becomes in the call to Statsig.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use actix_statsig::test_util::Rules;
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue as Field, EvaluationErrorCode as Code,
    EvaluationReason, StructValue, Value as FlagValue,
};
use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset};
use tokio::runtime::Runtime;

use crate::{App, somebody};

/// The user that reaches Statsig for this context.
async fn arrives(app: &App, context: &EvaluationContext) -> Value {
    app.server.clear();
    app.client.get_bool_value("beta", Some(context), None).await.unwrap();
    let requests = app.server.requests();
    assert_eq!(requests[0].refusal, None);
    requests[0].user.clone()
}

fn structure(fields: impl IntoIterator<Item = (&'static str, FlagValue)>) -> Field {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Field::new_struct(StructValue { fields })
}

#[tokio::test]
async fn each_attribute_arrives_in_its_field_or_in_custom() {
    let app = App::start(Rules::new()).await;
    let context = EvaluationContext::default()
        .with_targeting_key("u-1")
        .with_custom_field("email", "a@b.c")
        .with_custom_field("ip", "10.0.0.1")
        .with_custom_field("userAgent", "curl")
        .with_custom_field("country", "NL")
        .with_custom_field("locale", "nl_NL")
        .with_custom_field("appVersion", "1.2.3")
        .with_custom_field("customIDs", structure([("companyID", "c-1".into())]))
        .with_custom_field("privateAttributes", structure([("salary", 30_000.into())]))
        .with_custom_field("statsigEnvironment", structure([("tier", "staging".into())]))
        .with_custom_field("plan", "pro")
        .with_custom_field("seats", 12)
        .with_custom_field("share", 0.25)
        .with_custom_field("is_trial", true)
        .with_custom_field("user_agent", "not a field")
        .with_custom_field("userID", "not the targeting key");
    assert_eq!(
        arrives(&app, &context).await,
        json!({
            "userID": "u-1", "email": "a@b.c", "ip": "10.0.0.1", "userAgent": "curl",
            "country": "NL", "locale": "nl_NL", "appVersion": "1.2.3",
            "customIDs": {"companyID": "c-1"}, "privateAttributes": {"salary": 30_000},
            "statsigEnvironment": {"tier": "staging"},
            "custom": {
                "plan": "pro", "seats": 12, "share": 0.25, "is_trial": true,
                "user_agent": "not a field", "userID": "not the targeting key",
            },
        })
    );
}

#[tokio::test]
async fn empty_targeting_key_is_none() {
    let app = App::start(Rules::new()).await;
    let context = EvaluationContext::default()
        .with_targeting_key("")
        .with_custom_field("customIDs", structure([("companyID", "c-1".into())]));
    assert_eq!(arrives(&app, &context).await, json!({"customIDs": {"companyID": "c-1"}}));
}

#[tokio::test]
async fn dedicated_field_wins_over_the_attribute() {
    let app = App::start(Rules::new()).await;
    let custom = structure([("plan", "free".into()), ("seats", 12.into())]);
    let context = somebody().with_custom_field("custom", custom);
    let expected = json!({"userID": "u-1", "custom": {"plan": "free", "seats": 12}});
    assert_eq!(arrives(&app, &context).await, expected);

    let context = context.with_custom_field("plan", "pro");
    let expected = json!({"userID": "u-1", "custom": {"plan": "pro", "seats": 12}});
    assert_eq!(arrives(&app, &context).await, expected);

    let context = context.with_custom_field("custom", Field::new_struct(Value::Null));
    let expected = json!({"userID": "u-1", "custom": {"plan": "pro"}});
    assert_eq!(arrives(&app, &context).await, expected, "null is none");
}

#[tokio::test]
async fn datetime_becomes_a_string_whatever_its_offset() {
    let app = App::start(Rules::new()).await;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(1_795_000_000_250_000_000).unwrap();
    let in_utc = arrives(&app, &somebody().with_custom_field("since", moment)).await;
    assert_eq!(in_utc["custom"]["since"], "2026-11-18T11:06:40.25Z");

    let elsewhere = moment.to_offset(UtcOffset::from_hms(5, 30, 0).unwrap());
    let context = somebody().with_custom_field("since", elsewhere);
    let again = app.client.get_bool_details("beta", Some(&context), None).await.unwrap();
    assert_eq!(again.reason, Some(EvaluationReason::Cached), "the same user");
}

#[tokio::test]
async fn struct_attribute_can_be_the_sdks_or_serde_jsons() {
    let app = App::start(Rules::new()).await;
    let json = json!({"salary": 30_000, "teams": ["a", "b"]});
    let teams = FlagValue::from(vec!["a", "b"]);
    let sdk = StructValue::default().with_field("salary", 30_000).with_field("teams", teams);
    let expected = json!({"userID": "u-1", "privateAttributes": json});
    for form in [
        Field::new_struct(sdk.clone()),
        Field::from(Arc::new(FlagValue::Struct(sdk))),
        Field::new_struct(json.as_object().unwrap().clone()),
        Field::from(Arc::new(json)),
    ] {
        let context = somebody().with_custom_field("privateAttributes", form);
        let answer = app.client.get_bool_value("beta", Some(&context), None).await;
        assert_eq!(answer, Ok(false));
    }
    let asked = app.server.requests();
    assert_eq!(asked.len(), 1, "they are the same user");
    assert_eq!(asked[0].user, expected);
}

#[tokio::test]
async fn list_of_strings_can_be_an_attribute() {
    let app = App::start(Rules::new()).await;
    for list in [
        Field::new_struct(vec!["a".to_owned(), "b".to_owned()]),
        Field::new_struct(FlagValue::from(vec!["a", "b"])),
        Field::new_struct(json!(["a", "b"])),
    ] {
        let context = somebody().with_custom_field("teams", list);
        assert_eq!(app.client.get_bool_value("beta", Some(&context), None).await, Ok(false));
    }
    let asked = app.server.requests();
    assert_eq!(asked.len(), 1, "they are the same user");
    assert_eq!(asked[0].user, json!({"userID": "u-1", "custom": {"teams": ["a", "b"]}}));
}

#[tokio::test]
async fn unsuitable_attribute_is_refused_by_name() {
    let app = App::start(Rules::new()).await;
    let ancient = OffsetDateTime::from_unix_timestamp(-100_000_000_000).unwrap();
    for (name, value, field) in [
        ("country", Field::new_struct(vec!["NL".to_owned()]), "country"),
        ("email", Field::from(f64::NAN), "email"),
        ("locale", structure([]), "locale"),
        ("custom", Field::from("plan"), "custom"),
        ("custom", structure([("share", f64::NAN.into())]), "custom.share"),
        ("customIDs", structure([("companyID", true.into())]), "customIDs.companyID"),
        ("customIDs", structure([("companyID", f64::INFINITY.into())]), "customIDs.companyID"),
        ("privateAttributes", Field::from(true), "privateAttributes"),
        ("privateAttributes", structure([("pay", f64::NAN.into())]), "privateAttributes.pay"),
        ("statsigEnvironment", structure([("tier", 1.into())]), "statsigEnvironment.tier"),
        ("plan", Field::new_struct(vec![1, 2]), "custom.plan"),
        ("plan", structure([("share", f64::NAN.into())]), "custom.plan.share"),
        ("plan", nested_in_a_list(f64::NEG_INFINITY), "custom.plan.deep"),
        ("share", Field::from(f64::INFINITY), "custom.share"),
        ("since", Field::from(ancient), "custom.since"),
        ("bio", Field::from("x".repeat(65 * 1024)), "user"),
    ] {
        let context = somebody().with_custom_field(name, value);
        let error = app.client.get_bool_value("beta", Some(&context), None).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidContext, "{name}");
        let message = error.message.unwrap();
        let expected = format!("invalid_user: user field `{field}` must ");
        assert!(message.starts_with(&expected), "{message}");
    }
    assert_eq!(app.server.calls(), 0);
}

/// A number in an object in a list.
fn nested_in_a_list(number: f64) -> Field {
    let inner = StructValue::default().with_field("deep", number);
    Field::new_struct(FlagValue::Array(vec![FlagValue::Struct(inner)]))
}

#[tokio::test]
async fn attributes_statsig_evaluates_arrive_unchanged() {
    let app = App::start(Rules::new()).await;
    let context = somebody()
        .with_custom_field("country", "Holland")
        .with_custom_field("email", 1)
        .with_custom_field("customIDs", structure([("a", 7.into()), ("b", 1.5.into())]))
        .with_custom_field("statsigEnvironment", structure([("tier", "qa".into())]))
        .with_custom_field("plan", structure([("name", "pro".into())]))
        .with_custom_field("none", Field::new_struct(json!(null)))
        .with_custom_field("list", Field::new_struct(json!([1, null, {"a": [null]}])))
        .with_custom_field("deep", nested_in_a_list(0.5));
    assert_eq!(
        arrives(&app, &context).await,
        json!({
            "userID": "u-1", "country": "Holland", "email": 1, "customIDs": {"a": "7", "b": 1.5},
            "statsigEnvironment": {"tier": "qa"},
            "custom": {"plan": {"name": "pro"}, "list": [1, null, {"a": [null]}], "deep": [{"deep": 0.5}]},
        })
    );
}

#[tokio::test]
async fn context_is_in_the_components_environment() {
    let app = App::start_with(Rules::new(), |config| config.environment("staging")).await;
    let user = arrives(&app, &somebody()).await;
    assert_eq!(user, json!({"userID": "u-1", "statsigEnvironment": {"tier": "staging"}}));
}

#[tokio::test]
async fn long_attribute_name_is_quoted_by_its_beginning() {
    let app = App::start(Rules::new()).await;
    let long = "n".repeat(100_000);
    for value in [Field::from(f64::NAN), Field::new_struct(vec![1, 2])] {
        let context = somebody().with_custom_field(long.as_str(), value);
        let error = app.client.get_bool_value("beta", Some(&context), None).await.unwrap_err();
        let message = error.message.unwrap();
        let name = "n".repeat(100 - "custom.".len());
        let expected = format!("invalid_user: user field `custom.{name}` must ");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[tokio::test]
async fn contexts_are_merged_and_the_nearer_counts() {
    let mut app = App::start(Rules::new()).await;
    let context = |key: &str, plan: &str, own: &str| {
        let context = EvaluationContext::default().with_targeting_key(key);
        context.with_custom_field("plan", plan).with_custom_field(own, true)
    };
    app.api.set_evaluation_context(context("global", "free", "on_api")).await;
    app.client.set_evaluation_context(
        EvaluationContext::default()
            .with_custom_field("plan", "pro")
            .with_custom_field("country", "NL"),
    );

    let user = arrives(&app, &EvaluationContext::default()).await;
    let custom = json!({"plan": "pro", "on_api": true});
    assert_eq!(user, json!({"userID": "global", "country": "NL", "custom": custom}));

    let user = arrives(&app, &context("u-1", "team", "on_call")).await;
    let custom = json!({"plan": "team", "on_api": true, "on_call": true});
    assert_eq!(user, json!({"userID": "u-1", "country": "NL", "custom": custom}));
}

/// The names of the user's fields.
const KNOWN: [&str; 10] = [
    "email",
    "ip",
    "userAgent",
    "country",
    "locale",
    "appVersion",
    "custom",
    "privateAttributes",
    "customIDs",
    "statsigEnvironment",
];

fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(&KNOWN[..]).prop_map(str::to_owned);
    prop_oneof![known, Just("userID".to_owned()), "\\PC{0,8}"]
}

/// A scalar that is valid as an attribute, and its JSON.
fn scalar() -> impl Strategy<Value = (FlagValue, Value)> {
    prop_oneof![
        any::<bool>().prop_map(|value| (value.into(), value.into())),
        any::<i64>().prop_map(|value| (value.into(), value.into())),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| (value.into(), value.into())),
        "\\PC{0,8}".prop_map(|value| (value.as_str().into(), value.into())),
        prop::collection::vec("\\PC{0,8}", 0..3)
            .prop_map(|value| (value.clone().into(), value.into())),
    ]
}

/// The same value as a field of a context.
fn field(value: &FlagValue) -> Field {
    match value {
        FlagValue::Bool(value) => Field::Bool(*value),
        FlagValue::Int(value) => Field::Int(*value),
        FlagValue::Float(value) => Field::Float(*value),
        FlagValue::String(value) => Field::String(value.clone()),
        other => Field::new_struct(other.clone()),
    }
}

/// Any field, valid or not.
fn anything() -> impl Strategy<Value = Field> {
    let entries = || btree_map("\\PC{0,4}", scalar(), 0..3);
    prop_oneof![
        scalar().prop_map(|(value, _)| field(&value)),
        any::<f64>().prop_map(Field::Float),
        (-400_000_000_000_i64..300_000_000_000).prop_map(|seconds| {
            OffsetDateTime::from_unix_timestamp(seconds).map_or(Field::Bool(false), Field::DateTime)
        }),
        entries().prop_map(|entries| {
            let fields = entries.into_iter().map(|(key, (value, _))| (key, value)).collect();
            Field::new_struct(StructValue { fields })
        }),
        entries().prop_map(|entries| {
            let fields = entries.into_iter().map(|(key, (_, json))| (key, json));
            Field::new_struct(Value::Object(fields.collect()))
        }),
        Just(Field::new_struct(Value::Null)),
        Just(Field::new_struct(("not", "readable"))),
    ]
}

fn context(
    key: Option<String>,
    fields: impl IntoIterator<Item = (String, Field)>,
) -> EvaluationContext {
    let custom_fields = fields.into_iter().collect();
    EvaluationContext { targeting_key: key, custom_fields }
}

#[test]
fn attributes_in_any_order_make_the_same_user() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start(Rules::new()));
    app.server.keep_requests(1);
    let attributes = btree_map("x\\PC{0,8}", scalar(), 1..6);
    let cases = Cell::new(0);
    proptest!(|(key in "\\PC{0,12}", attributes in attributes)| {
        // A new user in each case.
        cases.set(cases.get() + 1);
        let key = format!("{key}{}", cases.get());
        let fields = attributes.iter().map(|(name, (value, _))| (name.clone(), field(value)));
        let forth = context(Some(key.clone()), fields.clone());
        let back = context(Some(key.clone()), fields.rev());
        let custom: BTreeMap<_, _> = attributes.iter().map(|(name, (_, json))| (name, json)).collect();

        runtime.block_on(async {
            app.client.get_bool_value("beta", Some(&forth), None).await.unwrap();
            let arrived = app.server.requests().pop().unwrap().user;
            let again = app.client.get_bool_details("beta", Some(&back), None).await.unwrap();
            prop_assert_eq!(arrived, json!({"userID": key, "custom": custom}));
            prop_assert_eq!(again.reason, Some(EvaluationReason::Cached));
            Ok(())
        })?;
    });
    assert_eq!(app.server.refused(), 0);
}

#[test]
fn every_context_is_refused_here_or_accepted_by_the_api() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start(Rules::new()));
    app.server.keep_requests(1);
    let (key, fields) = (option::weighted(0.9, "\\PC{0,4}"), btree_map(name(), anything(), 0..4));
    proptest!(|(key in key, fields in fields)| {
        let context = context(key, fields.clone());
        let asked = app.server.calls();
        match runtime.block_on(app.client.get_bool_value("beta", Some(&context), None)) {
            Ok(_) if app.server.calls() == asked => {} // an earlier case made the same request
            Ok(_) => {
                let user = app.server.requests().pop().unwrap().user;
                for name in fields.keys() {
                    let place = if KNOWN.contains(&&**name) { &user } else { &user["custom"] };
                    prop_assert!(place.get(name).is_some() || is_null(&fields[name]), "{name}");
                }
            }
            Err(error) => prop_assert!(
                matches!(error.code, Code::InvalidContext | Code::TargetingKeyMissing),
                "{error:?}"
            ),
        }
    });
    assert_eq!(app.server.refused(), 0);
    assert!(app.server.calls() > 0, "about one in four contexts is accepted");
}

/// Whether the field is JSON's null, with which the API says that a field is missing.
fn is_null(field: &Field) -> bool {
    let value = field.as_struct();
    value.is_some_and(|value| matches!(value.downcast_ref(), Some(Value::Null)))
}
