//! Tests of users that are read from JSON and other formats.

use super::*;

#[test]
fn null_fields_are_absent_and_nested_nulls_stay() {
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
fn integer_ids_become_digits_and_other_numbers_pass() {
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
fn promise_2_numbers_beyond_64_bits_tell_users_apart() {
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
fn any_format_makes_the_same_user_only_text_keeps_long_numbers() {
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
