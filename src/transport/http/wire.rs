//! The API's JSON, both ways: operations `checkGate` and `getConfig` of the OpenAPI document
//! "Statsig SDK HTTP API" 1.0.0. Tolerant of fields it does not know, strict about types.

use std::{borrow::Cow, collections::HashMap, fmt, marker::PhantomData, str, sync::Arc};

use foldhash::fast::RandomState;
use serde::{
    Deserialize, Serializer,
    de::{
        DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
        value::MapAccessDeserializer,
    },
};
use smol_str::SmolStr;

use crate::{
    message::call::CallRequest,
    model::{
        call_kind::CallKind,
        evaluation::{ConfigEvaluation, ConfigValue, Evaluation, GateEvaluation},
        json::replace_lone_surrogates,
    },
};

/// The body of the call's request.
pub(super) fn encode(call: &CallRequest) -> Result<Vec<u8>, serde_json::Error> {
    let user = call.user.json();
    let names = call.names.iter().map(|name| name.len() + r#""","#.len()).sum::<usize>();
    let mut body = Vec::with_capacity(names + user.len() + ROOM_FOR_THE_REST);
    match (call.kind, &*call.names) {
        (CallKind::CheckGate, [name]) => {
            body.extend_from_slice(br#"{"gateName":"#);
            serde_json::to_writer(&mut body, &**name)?;
        }
        (CallKind::CheckGate, names) => {
            body.extend_from_slice(br#"{"gateNames":"#);
            serde_json::Serializer::new(&mut body).collect_seq(names.iter().map(|name| &**name))?;
        }
        (CallKind::GetConfig, [name, ..]) => {
            body.extend_from_slice(br#"{"configName":"#);
            serde_json::to_writer(&mut body, &**name)?;
        }
        (CallKind::GetConfig, []) => {
            return Err(serde::ser::Error::custom("a call without a name"));
        }
    }
    body.extend_from_slice(br#","user":"#);
    body.extend_from_slice(user.as_bytes());
    body.extend_from_slice(METADATA.as_bytes());
    body.extend_from_slice(if call.exposure { b"false}}" } else { b"true}}" });
    Ok(body)
}

/// Up to the value of `exposureLoggingDisabled`.
const METADATA: &str = concat!(
    r#","statsigMetadata":{"sdkType":""#,
    env!("CARGO_PKG_NAME"),
    r#"","sdkVersion":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","exposureLoggingDisabled":"#
);

const ROOM_FOR_THE_REST: usize = METADATA.len() + 64;

/// What an answer's body says.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// About each of the call's names, in their order.
    pub(crate) evaluations: Vec<Option<Evaluation>>,
    /// There are others among the names that it is about.
    pub(super) has_unrequested: bool,
}

impl Decoded {
    fn one(evaluation: Evaluation) -> Self {
        Self { evaluations: vec![Some(evaluation)], has_unrequested: false }
    }
}

/// Reads the body of the answer to a call of these names.
pub(crate) fn decode(
    kind: CallKind,
    names: &[Arc<str>],
    body: &[u8],
) -> Result<Decoded, serde_json::Error> {
    let body = &*replace_lone_surrogates(text(body)?);
    match (kind, names) {
        (CallKind::GetConfig, names) => {
            let Object(config): Object<Config<'_>> = serde_json::from_str(body)?;
            let name = names.first().ok_or_else(|| serde_json::Error::custom("no name"))?;
            Ok(Decoded::one(config.evaluation(name)?))
        }
        (CallKind::CheckGate, [name]) => {
            let Object(gate): Object<Gate<'_>> = serde_json::from_str(body)?;
            Ok(Decoded::one(gate.evaluation(name)?))
        }
        (CallKind::CheckGate, names) => {
            let mut json = serde_json::Deserializer::from_str(body);
            let gates = Gates { names }.deserialize(&mut json)?;
            json.end()?;
            Ok(gates)
        }
    }
}

/// The body as text. serde_json would let pass what is no UTF-8 where it skips a field.
fn text(body: &[u8]) -> Result<&str, serde_json::Error> {
    match str::from_utf8(body) {
        Ok(text) if text.starts_with('\u{feff}') => {
            Err(serde_json::Error::custom("a byte order mark stands before the JSON"))
        }
        Ok(text) => Ok(text),
        Err(error) => {
            // A body that ends in the middle of a character ends too early above all.
            serde_json::from_slice::<IgnoredAny>(body)?;
            Err(serde_json::Error::custom(error))
        }
    }
}

/// `CheckGateResponse`
#[derive(Deserialize)]
struct Gate<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    value: bool,
    #[serde(default)]
    rule_id: Option<SmolStr>,
    #[serde(default)]
    group_name: Option<SmolStr>,
}

/// A string in place, where it has no escapes. Serde reads a bare `Cow`, and one in an `Option`, into
/// a string of its own.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// `GetConfigResponse`, without the deprecated `group`.
#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    value: ConfigValue,
    #[serde(default)]
    rule_id: Option<SmolStr>,
    #[serde(default)]
    group_name: Option<SmolStr>,
}

/// What is written as an object. Serde takes an array of the fields' values for it as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one answer's object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl Gate<'_> {
    fn evaluation(self, asked: &Arc<str>) -> Result<Evaluation, serde_json::Error> {
        same_name(self.name, asked)?;
        let name = Arc::clone(asked);
        let gate = GateEvaluation::from_parts(name, self.value, self.rule_id, self.group_name);
        Ok(gate.into())
    }
}

impl Config<'_> {
    fn evaluation(self, asked: &Arc<str>) -> Result<Evaluation, serde_json::Error> {
        same_name(self.name, asked)?;
        let (name, value) = (Arc::clone(asked), self.value);
        Ok(ConfigEvaluation::from_parts(name, value, self.rule_id, self.group_name).into())
    }
}

/// A name that is `null` or missing is tolerated, another one is not: it would be somebody else's
/// evaluation.
fn same_name(answered: Option<Text<'_>>, asked: &str) -> Result<(), serde_json::Error> {
    match answered {
        Some(Text(name)) if name != asked => Err(serde_json::Error::custom(format_args!(
            "an answer for {name:?} instead of {asked:?}"
        ))),
        _ => Ok(()),
    }
}

/// Reads an object of gates straight into the places of the names that were asked for.
struct Gates<'a> {
    names: &'a [Arc<str>],
}

impl<'de> DeserializeSeed<'de> for Gates<'_> {
    type Value = Decoded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Gates<'_> {
    type Value = Decoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of gates by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let places: HashMap<&str, usize, RandomState> =
            self.names.iter().enumerate().map(|(place, name)| (&**name, place)).collect();
        let mut evaluations = vec![None; self.names.len()];
        let (mut fields_of_one, mut has_unrequested) = (0, false);
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            let Some(&place) = places.get(&*key) else {
                map.next_value::<IgnoredAny>()?;
                has_unrequested = true;
                fields_of_one += u8::from(["name", "value"].contains(&&*key));
                continue;
            };
            let Object(gate): Object<Gate<'_>> = map.next_value()?;
            let evaluation = gate.evaluation(&self.names[place]).map_err(A::Error::custom)?;
            if evaluations[place].replace(evaluation).is_some() {
                return Err(A::Error::custom(format_args!("two answers for {key:?}")));
            }
        }
        if fields_of_one > 1 && evaluations.iter().all(Option::is_none) {
            return Err(A::Error::custom(
                "one gate's answer instead of an object of gates by name",
            ));
        }
        Ok(Decoded { evaluations, has_unrequested })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::user::User;

    #[allow(clippy::disallowed_methods)]
    fn call(kind: CallKind, names: &[&str], exposure: bool) -> CallRequest {
        CallRequest {
            kind,
            user: User::builder().user_id("u-1").private_attribute("a", 1).build().unwrap(),
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            exposure,
            deadline: Instant::now(),
            refusal: None,
        }
    }

    fn sent(call: &CallRequest) -> Value {
        serde_json::from_slice(&encode(call).unwrap()).unwrap()
    }

    #[test]
    fn requests_are_what_the_api_document_describes() {
        let user = json!({"userID": "u-1", "privateAttributes": {"a": 1}});
        let metadata = |disabled: bool| {
            json!({"sdkType": "actix-statsig", "sdkVersion": env!("CARGO_PKG_VERSION"),
                   "exposureLoggingDisabled": disabled})
        };
        assert_eq!(
            sent(&call(CallKind::CheckGate, &["beta"], true)),
            json!({"gateName": "beta", "user": user, "statsigMetadata": metadata(false)})
        );
        assert_eq!(
            sent(&call(CallKind::CheckGate, &["b", "a"], false)),
            json!({"gateNames": ["b", "a"], "user": user, "statsigMetadata": metadata(true)})
        );
        assert_eq!(
            sent(&call(CallKind::GetConfig, &["homepage"], true)),
            json!({"configName": "homepage", "user": user, "statsigMetadata": metadata(false)})
        );
    }

    #[test]
    fn a_users_numbers_are_sent_as_they_were_written() {
        let user = r#"{"custom":{"a":100000000000000000001,"b":1.50,"c":1e400},"userID":"u"}"#;
        let mut call = call(CallKind::CheckGate, &["beta"], true);
        call.user = User::from_json_text(user).unwrap();
        let body = String::from_utf8(encode(&call).unwrap()).unwrap();
        assert!(body.contains(&format!(r#","user":{user},"#)), "{body}");
    }

    fn read(kind: CallKind, names: &[&str], body: &str) -> Result<Vec<Option<Evaluation>>, String> {
        decode(
            kind,
            &names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>(),
            body.as_bytes(),
        )
        .map(|decoded| decoded.evaluations)
        .map_err(|error| error.to_string())
    }

    fn gate(name: &str, value: bool) -> Option<Evaluation> {
        Some(GateEvaluation::new(name, value).into())
    }

    #[test]
    fn answers_are_read_in_the_order_asked_and_what_is_left_out_is_none() {
        let body = r#"{"c": {"name": "c", "value": true, "rule_id": null, "group_name": null},
            "unasked": 1, "a": {"name": null, "value": false, "new_field": {}}}"#;
        assert_eq!(
            read(CallKind::CheckGate, &["a", "b", "c"], body).unwrap(),
            [gate("a", false), None, gate("c", true)]
        );
    }

    #[test]
    fn one_gate_and_a_config_are_read_from_one_object() {
        let body = r#"{"name": "a", "value": true, "rule_id": "r", "group_name": "g"}"#;
        let expected = GateEvaluation::new("a", true).with_rule("r", "g");
        assert_eq!(read(CallKind::CheckGate, &["a"], body).unwrap(), [Some(expected.into())]);

        let body =
            r#"{"name": "a", "value": {"k": 1}, "group": "", "rule_id": null, "group_name": null}"#;
        let value = json!({"k": 1}).as_object().cloned().unwrap();
        let expected = ConfigEvaluation::new("a", value);
        assert_eq!(read(CallKind::GetConfig, &["a"], body).unwrap(), [Some(expected.into())]);
    }

    #[test]
    fn what_the_api_does_not_describe_is_an_error() {
        let two = &["a", "b"][..];
        for (kind, names, body) in [
            (CallKind::CheckGate, two, r#"{"name": "a", "value": true, "a": true}"#),
            (CallKind::CheckGate, two, r#"{"a": {"value": "true"}}"#),
            (CallKind::CheckGate, two, r#"{"a": {"value": true}, "a": {"value": true}}"#),
            (CallKind::CheckGate, two, r#"{"a": {"name": "b", "value": true}}"#),
            (CallKind::CheckGate, two, r#"{"a": {"value": true}} trailing"#),
            (CallKind::CheckGate, two, r#"{"a": {"value": true}"#),
            (CallKind::CheckGate, &["a"], r#"{"a": {"name": "a", "value": true}}"#),
            (CallKind::CheckGate, &["a"], r#"{"name": "b", "value": true}"#),
            (CallKind::CheckGate, &["a"], ""),
            (CallKind::GetConfig, &["a"], r#"{"name": "a", "value": true}"#),
            (CallKind::GetConfig, &["a"], r#"{"name": "a", "value": {}, "rule_id": 7}"#),
            (CallKind::GetConfig, &["a"], "[]"),
            // Serde takes an array of a struct's fields for the struct.
            (CallKind::CheckGate, &["a"], r#"["a", true, null, null]"#),
            (CallKind::CheckGate, two, r#"{"a": ["a", true, null, null]}"#),
            (CallKind::GetConfig, &["a"], r#"["a", {}, null, null]"#),
            (CallKind::GetConfig, &["a"], r#"{"value": []}"#),
            (CallKind::GetConfig, &["a"], r#"{"value": {"k": 01}}"#),
        ] {
            assert!(read(kind, names, body).is_err(), "{body}");
        }
    }
}
