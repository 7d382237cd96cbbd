//! What a user is made of.

use std::collections::HashSet;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;

/// One user for each field there is, each differing from the first in that field alone.
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
fn the_order_in_which_fields_are_set_does_not_matter() {
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

const NO_ID: &str = "user field `userID` must not be empty where no custom id is given";

#[test]
fn a_bad_field_is_refused_by_name_and_rule() {
    for (json, message) in [
        (json!({}), NO_ID),
        (json!({"userID": ""}), NO_ID),
        (json!({"userID": null, "customIDs": {"a": null}}), NO_ID),
        (json!({"customIDs": {"a": ""}}), NO_ID),
        (json!({"userID": true}), "user field `userID` must be a string or a number"),
        (
            json!({"userID": "u", "country": ["NL"]}),
            "user field `country` must be a string, a number or a boolean",
        ),
        (json!({"userID": "u", "custom": []}), "user field `custom` must be an object"),
        (
            json!({"userID": "u", "customIDs": {"a": {}}}),
            "user field `customIDs.a` must be a string or a number",
        ),
        (
            json!({"userID": "u", "statsigEnvironment": {"tier": 1}}),
            "user field `statsigEnvironment.tier` must be a string",
        ),
        (json!("u"), "user field `user` must be an object"),
        (
            json!({"userID": "u".repeat(MAX_USER_BYTES)}),
            "user field `user` must have at most 65536 bytes as JSON",
        ),
    ] {
        let text = json.to_string();
        assert_eq!(User::from_json(json).unwrap_err().to_string(), message);
        assert_eq!(User::from_json_text(&text).unwrap_err().to_string(), message);
        let error = serde_json::from_str::<User>(&text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = User::from_json_text("{\"userID\": \"u\"").unwrap_err();
    assert_eq!(error.to_string(), "user field `user` must be JSON");
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = User::builder().user_id("u").custom("a", number).build().unwrap_err();
        assert_eq!(error.to_string(), "user field `custom.a` must be a finite number");
    }
}

#[test]
fn misspelt_user_id_is_refused_with_the_right_spelling() {
    for field in ["userId", "user_id", "userid", "UserID", "USER_ID", "user-id"] {
        for json in [json!({field: "u"}), json!({field: 1, "customIDs": {"a": "c"}})] {
            let error = User::from_json(json).unwrap_err().to_string();
            assert_eq!(error, format!("user field `{field}` must be spelt `userID`"));
        }
        let both = User::from_json(json!({field: "v", "userID": "u"})).unwrap();
        assert!(both.json().contains(field), "{both:?}: it is passed on");
        let absent = User::from_json(json!({field: null, "customIDs": {"a": "c"}})).unwrap();
        assert_eq!(absent.json(), r#"{"customIDs":{"a":"c"}}"#);
    }
    assert_eq!(User::from_json(json!({"id": "u"})).unwrap_err().to_string(), NO_ID);
}

/// What is sent of a user.
fn sent(json: &str) -> String {
    let user = User::from_json_text(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let again = serde_json::from_str::<User>(json).expect("the same");
    assert_eq!(user, again);
    assert_eq!(serde_json::to_string(&user).expect("JSON"), user.json());
    assert!(format!("{user:?}").starts_with("User({"));
    user.json().to_owned()
}

#[test]
fn null_fields_and_entries_are_absent_and_nulls_inside_of_them_stay() {
    for field in ["custom", "privateAttributes", "customIDs"] {
        let json = format!(r#"{{"userID": "u", "{field}": {{"a": null, "b": "c"}}}}"#);
        let expected = format!(r#""{field}":{{"b":"c"}}"#);
        assert!(sent(&json).contains(&expected), "{}", sent(&json));
    }
    let json = r#"{"userID": "u", "email": null, "stableID": "s", "statsigEnvironment": {"tier": null},
        "custom": {"list": [null, 1], "object": {"deep": null, "a": {"b": null}}}}"#;
    assert_eq!(
        sent(json),
        r#"{"custom":{"list":[null,1],"object":{"a":{"b":null},"deep":null}},"#.to_owned()
            + r#""stableID":"s","statsigEnvironment":{},"userID":"u"}"#
    );
}

#[test]
fn integer_ids_become_their_digits_and_other_numbers_pass_unchanged() {
    for (id, expected) in [
        ("1", r#""1""#),
        ("-7", r#""-7""#),
        ("-0", r#""0""#),
        ("100000000000000000001", r#""100000000000000000001""#),
        ("1.5", "1.5"),
        ("1e3", "1e3"),
        ("1.0", "1.0"),
        (r#""1""#, r#""1""#),
    ] {
        assert_eq!(sent(&format!(r#"{{"userID": {id}}}"#)), format!(r#"{{"userID":{expected}}}"#));
        let custom = format!(r#"{{"customIDs": {{"a": {id}}}}}"#);
        assert_eq!(sent(&custom), format!(r#"{{"customIDs":{{"a":{expected}}}}}"#));
    }
}

#[test]
fn whatever_statsig_may_evaluate_is_passed_on() {
    for field in [
        r#""country":"""#,
        r#""country":"T1""#,
        r#""country":"NLD""#,
        r#""appVersion":5"#,
        r#""email":true"#,
        r#""custom":{"list":["a",1,true,null,{"b":[]}],"number":1.50,"object":{"a":1}}"#,
        r#""privateAttributes":{"list":[1,2],"object":{"a":1}}"#,
        r#""statsigEnvironment":{"tier":"qa"}"#,
        r#""statsigEnvironment":{"region":1,"tier":""}"#,
        r#""os_name":"Linux","os_version":"6.1""#,
        r#""browser_name":"Firefox","browser_version":140"#,
    ] {
        let expected = format!(r#"{{{field},"userID":"u"}}"#);
        assert_eq!(sent(&format!(r#"{{"userID": "u", {field}}}"#)), expected);
    }
}

#[test]
fn promise_2_users_whose_numbers_differ_beyond_64_bits_are_different_users() {
    let user = |number: &str| {
        User::from_json_text(&format!(r#"{{"userID": "u", "custom": {{"n": [{number}]}}}}"#))
            .unwrap()
    };
    let numbers = ["100000000000000000001", "100000000000000000002", "1e400", "1e401", "1", "1.0"];
    for (i, a) in numbers.iter().enumerate() {
        for (j, b) in numbers.iter().enumerate() {
            assert_eq!(user(a) == user(b), i == j, "{a} and {b}");
        }
        assert!(user(a).json().contains(&format!("[{a}]")), "{a} keeps its text");
    }
    let ids = |id| User::from_json_text(&format!(r#"{{"userID": {id}}}"#)).unwrap();
    assert_ne!(ids("100000000000000000001"), ids("100000000000000000002"));
}

#[test]
fn lone_surrogates_become_the_replacement_character() {
    let json = r#"{"userID": "\ud800", "custom": {"a\udc00": "\ud83d\ude00 \ud83d"}}"#;
    assert_eq!(
        sent(json),
        "{\"custom\":{\"a\u{fffd}\":\"\u{1f600} \u{fffd}\"},\"userID\":\"\u{fffd}\"}"
    );
}

#[test]
fn spacing_escapes_order_and_repeated_keys_make_no_difference() {
    let plain = r#"{"custom":{"a":[1,"x"],"b":"\n\"é\\"},"userID":"u"}"#;
    for json in [
        " {\t\"userID\" : \"\\u0075\",\r\n \"custom\": { \"b\":\"\\u000a\\\"\\u00e9\\\\\", \"a\":[ 1 , \"x\" ] } } ",
        r#"{"userID": "v", "custom": {"a": 0, "b": "\n\"é\\", "a": [1, "x"]}, "userID": "u"}"#,
        r#"{"custom": 1, "userID": "u", "custom": {"a": [1, "x"], "b": "\n\"é\\", "c": 1, "c": null}}"#,
    ] {
        assert_eq!(sent(json), plain, "{json}");
    }
}

#[test]
fn any_format_makes_the_same_user_and_only_text_keeps_long_numbers() {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Buffered {
        User(User),
    }
    let text = r#"{"custom":{"a":[1,-2,1.5,true,null,"x",{"b":{}}]},"userID":"u"}"#;
    let user = User::from_json_text(text).unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::from_slice::<User>(text.as_bytes()).unwrap(), user);
    assert_eq!(serde_json::from_reader::<_, User>(text.as_bytes()).unwrap(), user);
    assert_eq!(User::deserialize(&value).unwrap(), user);
    assert_eq!(serde_json::from_value::<User>(value).unwrap(), user);
    let Buffered::User(buffered) = serde_json::from_str(text).unwrap();
    assert_eq!(buffered, user);

    let long = r#"{"userID":"u","custom":{"n":100000000000000000001}}"#;
    let whole: Vec<User> = serde_json::from_str(&format!("[{long}, {long}]")).unwrap();
    assert!(whole[0].json().contains("100000000000000000001"));
    assert_eq!(whole, [User::from_json_text(long).unwrap(), whole[1].clone()]);
}

#[test]
fn number_that_is_not_finite_is_refused_from_any_format() {
    use serde::de::value::{Error, MapDeserializer};
    for number in [f64::NAN, f64::INFINITY] {
        let fields = MapDeserializer::<_, Error>::new([("userID", number)].into_iter());
        let error = User::deserialize(fields).unwrap_err().to_string();
        assert_eq!(error, "a user's numbers must be finite");
    }
    let fields = MapDeserializer::<_, Error>::new([("userID", 1.5)].into_iter());
    assert_eq!(User::deserialize(fields).unwrap().json(), r#"{"userID":1.5}"#);
}

#[test]
fn user_too_long_is_refused_without_being_held() {
    let long = format!(r#"{{"userID": "u", "list": [{}1]}}"#, "1,".repeat(1_000_000));
    let error = User::from_json_text(&long).unwrap_err().to_string();
    assert_eq!(error, "user field `user` must have at most 65536 bytes as JSON");
    let spaced = format!(r#"{{"userID": "u",{}"custom": {{}}}}"#, " ".repeat(1_000_000));
    assert_eq!(sent(&spaced), r#"{"custom":{},"userID":"u"}"#);
}

#[test]
fn a_user_nested_too_deep_is_refused_before_any_code_that_calls_itself_sees_it() {
    let nested = |levels: usize| {
        let deep = (0..levels).fold(Value::Null, |inner, _| json!([inner]));
        User::from_json(json!({"userID": "u", "privateAttributes": {"a": 1}, "deep": deep}))
    };
    let deepest = nested(63).unwrap();
    assert!(deepest.has_private_attributes() && !format!("{deepest:?}").is_empty());
    let message = "user field `user` must have at most 64 levels of nesting";
    for levels in [64, 1_000] {
        let error = nested(levels).unwrap_err().to_string();
        assert_eq!(error, message);
    }
    for levels in [63, 64, 1_000_000] {
        let deep = "[".repeat(levels) + &"]".repeat(levels);
        let text = User::from_json_text(&format!(r#"{{"userID": "u", "deep": {deep}}}"#));
        assert_eq!(
            text.err().map(|error| error.to_string()),
            (levels > 63).then(|| message.into())
        );
    }
}

#[test]
fn an_error_quotes_a_part_of_a_long_field_name() {
    let error = User::from_json(json!({"userID": "u", "customIDs": {"é".repeat(60_000): []}}));
    let error = error.unwrap_err();
    assert!(error.to_string().chars().count() < 250, "{error}");
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

    /// Field by field, from a value and from text: the same user.
    #[test]
    fn the_builder_and_json_make_the_same_user(
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

    /// Text that is not JSON is an error, and what is a user is the same user when it is read again.
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
