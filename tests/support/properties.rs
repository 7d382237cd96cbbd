//! What holds for each parser whatever it is given: run with proptest by `tests/parsers.rs`, and with
//! libFuzzer by the package `fuzz`, each under the name of its target.

#![allow(missing_docs, unreachable_pub, reason = "a test's module, and the fuzz package's library")]

use std::collections::{BTreeMap, HashSet};

use actix_statsig::{
    CallKind, Config, Error, Evaluation, User,
    test_util::{Rules, answer_request, frame_answer, parse_answer},
};
use serde_json::{Map, Value, json, value::RawValue};

/// The names that the answers are read for, in this order.
pub const GATES: [&str; 3] = ["open", "shut", "beta gate"];
pub const GATE: &str = "open";
pub const CONFIG: &str = "homepage";

/// An answer to a call for several gates.
pub fn gates(input: &[u8]) {
    let Ok(evaluations) = parse_answer(CallKind::CheckGate, &GATES, input) else { return };
    assert_named(&evaluations, &GATES);
    let answered = evaluations.iter().flatten();
    let again: Value = answered.map(|gate| (name(gate).to_owned(), json(gate))).collect();
    assert_eq!(parse_answer(CallKind::CheckGate, &GATES, &bytes(&again)), Ok(evaluations.clone()));
    let Ok(whole) = serde_json::from_slice::<Value>(input) else { return };
    for (asked, evaluation) in GATES.iter().zip(&evaluations) {
        assert_eq!(whole.get(asked).is_some(), evaluation.is_some(), "{asked}");
        if let Some(gate) = evaluation {
            assert_same(&whole[asked], gate);
        }
    }
}

/// An answer to a call for one gate.
pub fn gate(input: &[u8]) {
    one(CallKind::CheckGate, GATE, input);
}

/// An answer to a call for a config.
pub fn config(input: &[u8]) {
    one(CallKind::GetConfig, CONFIG, input);
}

fn one(kind: CallKind, asked: &str, input: &[u8]) {
    let Ok(evaluations) = parse_answer(kind, &[asked], input) else { return };
    assert_named(&evaluations, &[asked]);
    let evaluation = evaluations[0].as_ref().expect("one object answers the one name");
    let again = parse_answer(kind, &[asked], &text(evaluation));
    assert_eq!(again.as_ref(), Ok(&evaluations));
    if let (Evaluation::Config(config), Ok([Some(Evaluation::Config(again))])) =
        (evaluation, again.as_deref())
    {
        assert_eq!(again.json().get(), config.json().get(), "handed on as it came");
        let input = str::from_utf8(input).expect("an accepted answer is text");
        let is_there = input.contains(config.json().get());
        assert!(is_there || input.to_ascii_lowercase().contains("\\ud"), "as it came");
    }
    if let Ok(whole) = serde_json::from_slice::<Value>(input) {
        assert_same(&whole, evaluation);
    }
}

/// The bytes of a connection, after one that says how they are split.
pub fn response(input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else { return };
    let whole = frame_answer([bytes]);
    assert_eq!(frame_answer(bytes.chunks(usize::from(*size).max(1))), whole);
    if let Ok((shown, true)) = whole {
        assert_eq!(shown, bytes, "a connection that can be used again said nothing else");
    }
}

/// A user in the API's JSON.
pub fn user(input: &[u8]) {
    if let Ok(json) = serde_json::from_slice::<Value>(input) {
        one_user(User::from_json(json));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    one_user(User::from_json_text(text));
    let read = serde_json::from_slice::<User>(input).ok();
    assert_eq!(read, User::from_json_text(text).ok());
}

fn one_user(user: Result<User, Error>) {
    let user = match user {
        Ok(user) => user,
        Err(error) => return assert!(matches!(error, Error::InvalidUser { .. }), "{error}"),
    };
    let text = user.to_json();
    assert!(text.len() <= 64 * 1024, "{} bytes", text.len());
    let again = User::from_json_text(&text).expect("a user is a user");
    assert_eq!(again, user);
    assert_eq!(again.to_json(), text);
    assert_eq!(HashSet::from([user.clone(), again]).len(), 1);

    let shown = format!("{user:?}");
    let shown = shown.strip_prefix("User(").and_then(|shown| shown.strip_suffix(')'));
    let shown: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(shown.expect("User(…)")).expect("JSON");
    let private = shown.get("privateAttributes");
    assert!(private.is_none_or(|shown| shown.get() == "\"[redacted]\""), "{shown:?}");

    // Whom this side takes, the other side takes.
    let request = format!(r#"{{"gateName":"{GATE}","user":{text}}}"#);
    let answered = answer_request(&Rules::sample(), CallKind::CheckGate, request.as_bytes());
    assert!(answered.is_ok(), "{answered:?}");
}

/// Settings as text, `setting=value` a line.
pub fn settings(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut builder = Config::builder("secret-key");
    for (setting, value) in text.split('\n').filter_map(|line| line.split_once('=')) {
        // Anything else is the path of a file.
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
    let mut again = Config::builder("secret-key");
    for &(setting, _) in Config::SETTINGS {
        if let Some(text) = config.text(setting) {
            again = again.set(setting, &text).expect("what a setting is as text can be read");
        }
    }
    let again = again.build().expect("settings that were good");
    for &(setting, _) in Config::SETTINGS {
        // A proxy with credentials is not shown, and so not read again.
        if setting == "proxy" && config.text(setting).is_none() {
            continue;
        }
        assert_eq!(again.text(setting), config.text(setting), "{setting}");
    }
}

/// A rules file.
pub fn rules(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let rules = match Rules::from_json(text) {
        Ok(rules) => rules,
        Err(error) => return assert!(error.to_string().starts_with("line "), "{error}"),
    };
    let again = Rules::from_json(text).expect("the same text");
    assert_eq!(format!("{rules:?}"), format!("{again:?}"));
    let user = json!({"userID": "u-1", "country": "NL", "custom": {"plan": "pro"}});
    for (kind, names, request) in [
        (CallKind::CheckGate, &GATES[..], json!({ "gateNames": GATES, "user": user })),
        (CallKind::CheckGate, &[GATE], json!({ "gateName": GATE, "user": user })),
        (CallKind::GetConfig, &[CONFIG], json!({ "configName": CONFIG, "user": user })),
    ] {
        let (_, answer) = answer_request(&rules, kind, &bytes(&request)).expect("a good request");
        let evaluations = parse_answer(kind, names, &bytes(&answer)).expect("a good answer");
        assert!(evaluations.iter().all(Option::is_some), "{answer}");
    }
}

/// A request to `LocalStatsig`.
pub fn request(input: &[u8]) {
    let rules = Rules::sample();
    for (kind, most) in [(CallKind::CheckGate, 100), (CallKind::GetConfig, 1)] {
        let Ok((names, answer)) = answer_request(&rules, kind, input) else { continue };
        assert!((1..=most).contains(&names.len()), "{names:?}");
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
        for name in &names {
            assert!((2..=100).contains(&name.len()) && name.chars().all(is_allowed), "{name:?}");
        }
        // One with a lone surrogate in a key is read by the server alone.
        let body = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(input);
        let Ok(body) = body else { continue };
        let names: Vec<&str> = if body.contains_key("gateNames") && kind == CallKind::CheckGate {
            // Read with a name more: for one name the answer would have to be one object.
            let distinct: HashSet<_> = names.iter().map(String::as_str).collect();
            distinct.into_iter().chain([ANOTHER]).collect()
        } else {
            names.iter().map(String::as_str).collect()
        };
        let evaluations = parse_answer(kind, &names, &bytes(&answer)).expect("a good answer");
        assert_named(&evaluations, &names);
        for (name, evaluation) in names.iter().zip(&evaluations) {
            assert_eq!(evaluation.is_some(), *name != ANOTHER, "{name}");
        }
    }
}

/// No name that the API allows.
const ANOTHER: &str = "/";

/// As many as were asked for, each of its name.
fn assert_named(evaluations: &[Option<Evaluation>], names: &[&str]) {
    assert_eq!(evaluations.len(), names.len());
    for (evaluation, asked) in evaluations.iter().zip(names) {
        assert!(evaluation.as_ref().is_none_or(|evaluation| name(evaluation) == *asked));
    }
}

/// What an evaluation says is what stands there.
fn assert_same(written: &Value, evaluation: &Evaluation) {
    let read = json(evaluation);
    for field in ["value", "rule_id", "group_name"] {
        assert_eq!(written.get(field).unwrap_or(&Value::Null), &read[field], "{field}");
    }
    let name = written.get("name").filter(|name| !name.is_null());
    assert!(name.is_none_or(|name| *name == read["name"]), "{name:?}");
    assert!(written.as_object().map(Map::len) >= Some(1), "{written}");
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

/// As it is handed on. A `Value` may have no place for a config's numbers.
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
