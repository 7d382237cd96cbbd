//! Decodes the bodies of answers.

use std::{borrow::Cow, collections::HashMap, fmt, marker::PhantomData, str, sync::Arc};

use foldhash::fast::RandomState;
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
        value::MapAccessDeserializer,
    },
};
use smol_str::SmolStr;

use crate::model::{
    call_kind::CallKind,
    evaluation::{ConfigEvaluation, ConfigValue, Evaluation, GateEvaluation},
    json::replace_lone_surrogates,
};

/// The content of an answer's body.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// One for each of the call's names, in their order.
    pub(crate) evaluations: Vec<Option<Evaluation>>,
    /// The answer has names that were not requested.
    pub(crate) has_unrequested: bool,
}

/// Reads the body of the answer to a call of these names.
pub(crate) fn decode(
    kind: CallKind,
    names: &[Arc<str>],
    body: &[u8],
) -> Result<Decoded, serde_json::Error> {
    let body = &*replace_lone_surrogates(text(body)?);
    let evaluation = match (kind, names) {
        (CallKind::GetConfig, names) => {
            let name = names.first().ok_or_else(|| serde_json::Error::custom("expected a name"))?;
            let Object(config): Object<Config<'_>> = serde_json::from_str(body)?;
            config.evaluation(name)?
        }
        (CallKind::CheckGate, [name]) => {
            let Object(gate): Object<Gate<'_>> = serde_json::from_str(body)?;
            gate.evaluation(name)?
        }
        (CallKind::CheckGate, names) => {
            let mut json = serde_json::Deserializer::from_str(body);
            let gates = Gates { names }.deserialize(&mut json)?;
            json.end()?;
            return Ok(gates);
        }
    };
    Ok(Decoded { evaluations: vec![Some(evaluation)], has_unrequested: false })
}

/// Returns the body as text. serde_json would accept invalid UTF-8 in fields that it skips.
fn text(body: &[u8]) -> Result<&str, serde_json::Error> {
    match str::from_utf8(body) {
        Ok(text) if text.starts_with('\u{feff}') => {
            Err(serde_json::Error::custom("expected JSON, found a byte order mark"))
        }
        Ok(text) => Ok(text),
        Err(error) => {
            // A body that ends inside a character is reported as truncated JSON.
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

/// A string that is borrowed if it has no escapes. serde would copy a bare `Cow`, or a `Cow` in an
/// `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Accepts a struct only as an object. A derived struct would also accept an array of its field
/// values.
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
        f.write_str("an object with one evaluation")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl Gate<'_> {
    fn evaluation(self, requested: &Arc<str>) -> Result<Evaluation, serde_json::Error> {
        check_name(self.name, requested)?;
        let name = Arc::clone(requested);
        let gate = GateEvaluation::from_parts(name, self.value, self.rule_id, self.group_name);
        Ok(gate.into())
    }
}

impl Config<'_> {
    fn evaluation(self, requested: &Arc<str>) -> Result<Evaluation, serde_json::Error> {
        check_name(self.name, requested)?;
        let (name, value) = (Arc::clone(requested), self.value);
        Ok(ConfigEvaluation::from_parts(name, value, self.rule_id, self.group_name).into())
    }
}

/// Accepts the requested name, `null`, or no name. Any other name belongs to another evaluation.
fn check_name(found: Option<Text<'_>>, requested: &str) -> Result<(), serde_json::Error> {
    match found {
        Some(Text(name)) if name != requested => Err(serde_json::Error::custom(format_args!(
            "expected the name {requested:?}, found {name:?}"
        ))),
        _ => Ok(()),
    }
}

/// Reads an object of gates straight into the order of the requested names. If a gate is repeated,
/// the last one wins, as in JavaScript.
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
        let positions: HashMap<&str, usize, RandomState> =
            self.names.iter().enumerate().map(|(position, name)| (&**name, position)).collect();
        let mut evaluations = vec![None; self.names.len()];
        let (mut single_fields, mut has_unrequested) = (0, false);
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            let Some(&position) = positions.get(&*key) else {
                map.next_value::<IgnoredAny>()?;
                has_unrequested = true;
                single_fields += u8::from(["name", "value"].contains(&&*key));
                continue;
            };
            let Object(gate): Object<Gate<'_>> = map.next_value()?;
            let evaluation = gate.evaluation(&self.names[position]).map_err(A::Error::custom)?;
            evaluations[position] = Some(evaluation);
        }
        if single_fields > 1 && evaluations.iter().all(Option::is_none) {
            return Err(A::Error::custom(
                "expected an object of gates by name, found the answer for one gate",
            ));
        }
        Ok(Decoded { evaluations, has_unrequested })
    }
}
