//! Properties that each parser has for any input. `tests/wire/parsers.rs` checks them with
//! proptest, and the package `fuzz` with libFuzzer, each under the name of its fuzz target.

#![allow(missing_docs, unreachable_pub, reason = "a test's module, and the fuzz package's library")]

use std::collections::{BTreeMap, HashSet};

use actix_statsig::{
    CallKind, Config, Error, Evaluation, User,
    test_util::{Rules, answer_request, frame_answer, parse_answer},
};
use serde_json::{Map, Value, json, value::RawValue};

/// The names that each call asks for, in this order.
pub const GATES: [&str; 3] = ["open", "shut", "beta gate"];
pub const GATE: &str = "open";
pub const CONFIG: &str = "homepage";

/// An answer to a call for several gates.
pub fn gates(input: &[u8]) {
    let Ok(evaluations) = parse_answer(CallKind::CheckGate, &GATES, input) else { return };
    assert_named(&evaluations, &GATES);
    let gates = evaluations.iter().flatten();
    let rewritten: Value = gates.map(|gate| (name(gate).to_owned(), json(gate))).collect();
    let reread = parse_answer(CallKind::CheckGate, &GATES, &bytes(&rewritten));
    assert_eq!(reread, Ok(evaluations.clone()));
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    for (name, evaluation) in GATES.iter().zip(&evaluations) {
        assert_eq!(object.get(name).is_some(), evaluation.is_some(), "{name}");
        if let Some(gate) = evaluation {
            assert_equal(&object[name], gate);
        }
    }
}

/// An answer to a call for one gate.
pub fn gate(input: &[u8]) {
    single(CallKind::CheckGate, GATE, input);
}

/// An answer to a call for a config.
pub fn config(input: &[u8]) {
    single(CallKind::GetConfig, CONFIG, input);
}

/// An answer to a call for one name.
fn single(kind: CallKind, name: &str, input: &[u8]) {
    let Ok(evaluations) = parse_answer(kind, &[name], input) else { return };
    assert_named(&evaluations, &[name]);
    let evaluation = evaluations[0].as_ref().expect("one object answers the one name");
    let reread = parse_answer(kind, &[name], &text(evaluation));
    assert_eq!(reread.as_ref(), Ok(&evaluations));
    if let (Evaluation::Config(config), Ok([Some(Evaluation::Config(reread))])) =
        (evaluation, reread.as_deref())
    {
        assert_eq!(reread.json().get(), config.json().get(), "the value's text stays the same");
        let input = str::from_utf8(input).expect("an accepted answer is text");
        let is_verbatim = input.contains(config.json().get());
        assert!(
            is_verbatim || input.to_ascii_lowercase().contains("\\ud"),
            "the text is Statsig's"
        );
    }
    if let Ok(object) = serde_json::from_slice::<Value>(input) {
        assert_equal(&object, evaluation);
    }
}

/// The bytes of a connection, after a byte that says how to split them.
pub fn response(input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else { return };
    let whole = frame_answer([bytes]);
    assert_eq!(frame_answer(bytes.chunks(usize::from(*size).max(1))), whole);
    if let Ok((shown, true)) = whole {
        assert_eq!(shown, bytes, "a reusable connection sent nothing else");
    }
}

/// A user in the API's JSON.
pub fn user(input: &[u8]) {
    if let Ok(json) = serde_json::from_slice::<Value>(input) {
        check_user(User::from_json(json));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    check_user(User::from_json_text(text));
    let read = serde_json::from_slice::<User>(input).ok();
    assert_eq!(read, User::from_json_text(text).ok());
}

fn check_user(user: Result<User, Error>) {
    let user = match user {
        Ok(user) => user,
        Err(error) => return assert!(matches!(error, Error::InvalidUser { .. }), "{error}"),
    };
    let text = user.to_json();
    assert!(text.len() <= 64 * 1024, "{} bytes", text.len());
    let reread = User::from_json_text(&text).expect("a written user can be read");
    assert_eq!(reread, user);
    assert_eq!(reread.to_json(), text);
    assert_eq!(HashSet::from([user.clone(), reread]).len(), 1);

    let shown = format!("{user:?}");
    let shown = shown.strip_prefix("User(").and_then(|shown| shown.strip_suffix(')'));
    let shown: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(shown.expect("User(…)")).expect("JSON");
    let private = shown.get("privateAttributes");
    assert!(private.is_none_or(|shown| shown.get() == "\"[redacted]\""), "{shown:?}");

    // The server accepts every user that the client accepts.
    let request = format!(r#"{{"gateName":"{GATE}","user":{text}}}"#);
    let answer = answer_request(&Rules::sample(), CallKind::CheckGate, request.as_bytes());
    assert!(answer.is_ok(), "{answer:?}");
}

/// Settings as text, with `setting=value` on each line.
pub fn settings(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut builder = Config::builder("secret-key");
    for (setting, value) in text.split('\n').filter_map(|line| line.split_once('=')) {
        // Any other text is a file's path.
        if setting == "extra_root_certificates" && !value.contains("-----BEGIN") {
            continue;
        }
        builder = match builder.set(setting, value) {
            Ok(builder) => builder,
            Err(error) => return assert!(matches!(error, Error::InvalidConfig { .. })),
        };
    }
    let config = match builder.build() {
        Ok(config) => config,
        Err(error) => return assert!(matches!(error, Error::InvalidConfig { .. })),
    };
    assert!((1..=100).contains(&config.batch_size()) && config.flush_interval() < config.timeout());
    let mut reread = Config::builder("secret-key");
    for &(setting, _) in Config::SETTINGS {
        if let Some(text) = config.text(setting) {
            reread = reread.set(setting, &text).expect("a written setting can be read");
        }
    }
    let reread = reread.build().expect("written settings are valid");
    for &(setting, _) in Config::SETTINGS {
        // A proxy with credentials has no text form to read.
        if setting == "proxy" && config.text(setting).is_none() {
            continue;
        }
        assert_eq!(reread.text(setting), config.text(setting), "{setting}");
    }
}

/// A rules file.
pub fn rules(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let rules = match Rules::from_json(text) {
        Ok(rules) => rules,
        Err(error) => return assert!(error.to_string().starts_with("line "), "{error}"),
    };
    let reread = Rules::from_json(text).expect("the same text");
    assert_eq!(format!("{rules:?}"), format!("{reread:?}"));
    let user = json!({"userID": "u-1", "country": "NL", "custom": {"plan": "pro"}});
    for (kind, names, request) in [
        (CallKind::CheckGate, &GATES[..], json!({ "gateNames": GATES, "user": user })),
        (CallKind::CheckGate, &[GATE], json!({ "gateName": GATE, "user": user })),
        (CallKind::GetConfig, &[CONFIG], json!({ "configName": CONFIG, "user": user })),
    ] {
        let (_, answer) = answer_request(&rules, kind, &bytes(&request)).expect("a valid request");
        let evaluations = parse_answer(kind, names, &bytes(&answer)).expect("a valid answer");
        assert!(evaluations.iter().all(Option::is_some), "{answer}");
    }
}

/// A request to `LocalStatsig`.
pub fn request(input: &[u8]) {
    let rules = Rules::sample();
    for (kind, max_names) in [(CallKind::CheckGate, 100), (CallKind::GetConfig, 1)] {
        let Ok((names, answer)) = answer_request(&rules, kind, input) else { continue };
        assert!((1..=max_names).contains(&names.len()), "{names:?}");
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
        for name in &names {
            assert!((2..=100).contains(&name.len()) && name.chars().all(is_allowed), "{name:?}");
        }
        // Only the server can read a body with a lone surrogate in a key.
        let body = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(input);
        let Ok(body) = body else { continue };
        let names: Vec<&str> = if body.contains_key("gateNames") && kind == CallKind::CheckGate {
            // With a second name, because an answer for one name must be a single object.
            let distinct: HashSet<_> = names.iter().map(String::as_str).collect();
            distinct.into_iter().chain([INVALID_NAME]).collect()
        } else {
            names.iter().map(String::as_str).collect()
        };
        let evaluations = parse_answer(kind, &names, &bytes(&answer)).expect("a valid answer");
        assert_named(&evaluations, &names);
        for (name, evaluation) in names.iter().zip(&evaluations) {
            assert_eq!(evaluation.is_some(), *name != INVALID_NAME, "{name}");
        }
    }
}

/// A name that the API does not allow.
const INVALID_NAME: &str = "/";

/// Checks that there is at most one evaluation for each name.
fn assert_named(evaluations: &[Option<Evaluation>], names: &[&str]) {
    assert_eq!(evaluations.len(), names.len());
    for (evaluation, expected) in evaluations.iter().zip(names) {
        assert!(evaluation.as_ref().is_none_or(|evaluation| name(evaluation) == *expected));
    }
}

/// Checks that an evaluation holds what the answer's JSON holds.
fn assert_equal(answer: &Value, evaluation: &Evaluation) {
    let read = json(evaluation);
    for field in ["value", "rule_id", "group_name"] {
        assert_eq!(answer.get(field).unwrap_or(&Value::Null), &read[field], "{field}");
    }
    let name = answer.get("name").filter(|name| !name.is_null());
    assert!(name.is_none_or(|name| *name == read["name"]), "{name:?}");
    assert!(answer.as_object().map(Map::len) >= Some(1), "{answer}");
}

fn name(evaluation: &Evaluation) -> &str {
    match evaluation {
        Evaluation::Gate(gate) => gate.name(),
        Evaluation::Config(config) => config.name(),
        other => unreachable!("{other:?}"),
    }
}

fn json(evaluation: &Evaluation) -> Value {
    match evaluation {
        Evaluation::Gate(gate) => json!(gate),
        Evaluation::Config(config) => json!(config),
        other => unreachable!("{other:?}"),
    }
}

/// Writes an evaluation as text, because a `Value` cannot hold every number in a config.
fn text(evaluation: &Evaluation) -> Vec<u8> {
    let text = match evaluation {
        Evaluation::Gate(gate) => serde_json::to_vec(gate),
        Evaluation::Config(config) => serde_json::to_vec(config),
        other => unreachable!("{other:?}"),
    };
    text.expect("an evaluation is JSON")
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}
