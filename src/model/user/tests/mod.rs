//! Tests of a user's fields.

mod read;
mod refused;

use std::collections::HashSet;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// Returns users that each differ from the first in one field.
fn users_who_differ_in_one_field() -> Vec<User> {
    let base = || User::builder().user_id("u");
    let built = [
        base(),
        User::builder().user_id("v"),
        base().email("a@b.c"),
        base().ip("10.0.0.1"),
        base().user_agent("curl"),
        base().country("NL"),
        base().country("nl"),
        base().locale("en_US"),
        base().app_version("1.2.3"),
        base().custom("plan", "pro"),
        base().custom("plan", true),
        base().custom("plan", 1),
        base().custom("plan", 1.5),
        base().custom("plan", ["pro"]),
        base().custom("plan", Vec::<String>::new()),
        base().private_attribute("plan", "pro"),
        base().custom_id("plan", "pro"),
        base().environment(Tier::Staging),
        base().environment(Tier::Production),
        base().environment("qa"),
    ];
    built.into_iter().map(|user| user.build().expect("a valid user")).collect()
}

#[test]
fn promise_2_users_are_equal_only_when_every_field_is() {
    let users = users_who_differ_in_one_field();
    let again = users_who_differ_in_one_field();
    for (i, a) in users.iter().enumerate() {
        for (j, b) in again.iter().enumerate() {
            assert_eq!(a == b, i == j, "{a:?} and {b:?}");
        }
    }
    assert_eq!(users.iter().chain(&again).collect::<HashSet<_>>().len(), users.len());
}

#[test]
fn order_of_setting_fields_does_not_matter() {
    let a = User::builder().custom("a", 1).custom("b", 2).user_id("u").build().unwrap();
    let b = User::builder().user_id("u").custom("b", 2).custom("a", 1).build().unwrap();
    assert_eq!(a, b);
}

#[test]
fn every_field_is_sent_by_the_name_the_api_gives_it() {
    let user = User::builder()
        .user_id("u-1")
        .email("a@b.c")
        .ip("10.0.0.1")
        .user_agent("curl")
        .country("NL")
        .locale("nl_NL")
        .app_version("1.2.3")
        .custom("plan", "pro")
        .private_attribute("salary", 1)
        .custom_id("companyID", "c-1")
        .environment(Tier::Development)
        .build()
        .unwrap();
    let sent: Value = serde_json::from_str(user.json()).unwrap();
    assert_eq!(
        sent,
        json!({
            "userID": "u-1", "email": "a@b.c", "ip": "10.0.0.1", "userAgent": "curl",
            "country": "NL", "locale": "nl_NL", "appVersion": "1.2.3",
            "custom": {"plan": "pro"}, "privateAttributes": {"salary": 1},
            "customIDs": {"companyID": "c-1"}, "statsigEnvironment": {"tier": "development"},
        })
    );
    assert_eq!(User::from_json(sent).unwrap(), user);
}

/// Returns the JSON that is sent for a user.
fn sent(json: &str) -> String {
    let user = User::from_json_text(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let again = serde_json::from_str::<User>(json).expect("the same");
    assert_eq!(user, again);
    assert_eq!(user.to_json(), user.json());
    assert!(format!("{user:?}").starts_with("User({"));
    user.json().to_owned()
}

#[test]
fn promise_7_debug_shows_no_private_attribute() {
    let builder = User::builder().user_id("u").private_attribute("secret", "hunter2");
    let user = builder.clone().build().unwrap();
    let shown = format!("{builder:?} {user:?} {:?}", Attribute::from("hunter2"));
    assert!(shown.contains("[redacted]") && !shown.contains("hunter2"), "{shown}");
    assert!(user.has_private_attributes() && !User::new("u").unwrap().has_private_attributes());
}

proptest! {
    #[test]
    fn equality_agrees_with_equality_of_the_fields(
        a in proptest::collection::btree_map("[a-c]", 0..3i64, 0..3),
        b in proptest::collection::btree_map("[a-c]", 0..3i64, 0..3),
    ) {
        let user = |custom: &std::collections::BTreeMap<String, i64>| {
            User::from_json(json!({"userID": "u", "custom": custom})).expect("a valid user")
        };
        prop_assert_eq!(user(&a) == user(&b), a == b);
    }

    /// The builder, a JSON value and JSON text make the same user.
    #[test]
    fn builder_and_json_make_the_same_user(
        id in "\\PC{1,8}|[\0-\u{7f}]{1,8}",
        text in "\\PC{0,8}|[\0-\u{7f}]{0,8}",
        integer in any::<i64>(),
        float in any::<f64>().prop_filter("finite", |float| float.is_finite()),
        list in proptest::collection::vec("\\PC{0,4}", 0..3),
    ) {
        let json = json!({
            "userID": id, "country": text, "customIDs": {text.as_str(): id},
            "custom": {"a": integer, "b": float, "c": list, "d": true, "e": text},
            "statsigEnvironment": {"tier": text},
        });
        let built = User::builder().user_id(id.as_str()).country(text.as_str())
            .environment(text.as_str()).custom_id(text.as_str(), id.as_str()).custom("e", 0)
            .custom("e", text.as_str()).custom("d", true).custom("c", list)
            .custom("b", float).custom("a", integer).build();
        let built = built.expect("a valid user");
        prop_assert_eq!(&User::from_json_text(&json.to_string()).expect("a valid user"), &built);
        prop_assert_eq!(&User::from_json(json).expect("a valid user"), &built);
        prop_assert_eq!(&User::from_json_text(built.json()).expect("a valid user"), &built);
    }

    /// Text that is not JSON is an error. A user's own JSON is read as the same user.
    #[test]
    fn any_text_is_read_without_a_panic(text in r#"\{("userID"|"a"):[\\u"d8ef{}\[\]:,0-9 é.-]{0,40}\}"#) {
        match User::from_json_text(&text) {
            Err(error) => {
                let is_invalid_user = matches!(error, Error::InvalidUser { .. });
                prop_assert!(is_invalid_user);
            }
            Ok(user) => prop_assert_eq!(User::from_json_text(user.json()).expect("a user"), user),
        }
        prop_assert_eq!(serde_json::from_str::<&RawValue>(&text).is_ok(),
            !User::from_json_text(&text).is_err_and(|error| error.to_string().contains("be JSON")));
    }
}
