//! Tests of refused users and their errors.

use super::*;

const NO_ID: &str = "user field `userID` must not be empty unless a custom id is given";

#[test]
fn bad_field_is_refused_by_name_and_rule() {
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
fn too_deeply_nested_user_is_refused_before_recursion() {
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
fn error_quotes_part_of_a_long_field_name() {
    let error = User::from_json(json!({"userID": "u", "customIDs": {"é".repeat(60_000): []}}));
    let error = error.unwrap_err();
    assert!(error.to_string().chars().count() < 250, "{error}");
}
