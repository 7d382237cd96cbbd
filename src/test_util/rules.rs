//! What [`LocalStatsig`](super::LocalStatsig) answers: rules from a file or from a test, and their
//! evaluation, which is pure.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};
use thiserror::Error as ThisError;

use crate::{
    evaluation::{ConfigEvaluation, GateEvaluation},
    messages::check_name,
};

/// Gates and configs with the rules that decide them.
///
/// As a JSON file, in which a gate may also be just `true` or `false`:
///
/// ```
/// # let text = r#"
/// {
///   "gates": {
///     "new_checkout": {
///       "value": true,
///       "overrides": { "u-1": false },
///       "when": { "country": "NL", "custom.plan": "pro" },
///       "percentage": 25,
///       "rule_id": "dutch_pros",
///       "group_name": "Dutch professionals"
///     },
///     "beta": true
///   },
///   "configs": {
///     "homepage": { "value": { "theme": "dark" }, "overrides": { "u-2": { "theme": "light" } } }
///   }
/// }
/// # "#;
/// # actix_statsig::test_util::Rules::from_json(text)?;
/// # Ok::<(), actix_statsig::test_util::RulesError>(())
/// ```
///
/// or in a test with [`Rules::gate`] and [`Rules::config`]. How a [`Rule`] decides is said there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    gates: BTreeMap<Name, Gate>,
    configs: BTreeMap<Name, Rule<Map<String, Value>>>,
}

/// How one gate or config is decided, in this order:
///
/// 1. an override for the user's `userID` is the answer;
/// 2. otherwise each attribute in `when` must be equal to the user's (the API's field names;
///    `custom.x`, `privateAttributes.x`, `customIDs.x` and `statsigEnvironment.tier` for those
///    inside),
/// 3. and the user must be among the `percentage` of users: the same ones in every run, and all
///    those of a smaller percentage among those of a larger;
/// 4. then the answer is `value`. A gate that does not pass is `false`, a config is `{}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<T> {
    value: T,
    #[serde(default = "BTreeMap::new")]
    overrides: BTreeMap<String, T>,
    #[serde(default)]
    when: BTreeMap<String, Value>,
    #[serde(default = "everybody", deserialize_with = "percentage")]
    percentage: f64,
    #[serde(default)]
    rule_id: Option<String>,
    #[serde(default)]
    group_name: Option<String>,
}

/// Rules that cannot be read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RulesError {
    /// The file cannot be read.
    #[error("rules file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is not JSON, or not of the form of [`Rules`].
    #[error("{}line {line}, column {column}: {reason}", in_file(.path))]
    Parse {
        /// The file, if there is one.
        path: Option<String>,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
}

impl Rules {
    /// No gate and no config: every gate is closed, every config empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rules that `statsig-relay` answers from when it has no key.
    pub fn sample() -> Self {
        Self::from_json(SAMPLE).unwrap_or_default()
    }

    /// Reads rules from JSON.
    ///
    /// # Errors
    /// [`RulesError::Parse`] names line and column.
    pub fn from_json(json: &str) -> Result<Self, RulesError> {
        serde_json::from_str(json).map_err(|error| {
            let at = format!(" at line {} column {}", error.line(), error.column());
            RulesError::Parse {
                path: None,
                line: error.line(),
                column: error.column(),
                reason: error.to_string().replace(&at, ""),
            }
        })
    }

    /// Reads rules from a file.
    ///
    /// # Errors
    /// [`RulesError::Read`] if there is no such file, otherwise as [`from_json`](Self::from_json),
    /// with the path.
    pub fn from_file(file: impl AsRef<Path>) -> Result<Self, RulesError> {
        let name = file.as_ref().display().to_string();
        let text = fs::read_to_string(file);
        let text = text.map_err(|source| RulesError::Read { path: name.clone(), source })?;
        Self::from_json(&text).map_err(|error| match error {
            RulesError::Parse { line, column, reason, .. } => {
                RulesError::Parse { path: Some(name), line, column, reason }
            }
            error => error,
        })
    }

    /// Adds a gate: `true`, `false` or a [`Rule`].
    ///
    /// # Panics
    /// If the API does not allow the name.
    #[must_use]
    pub fn gate(mut self, name: impl Into<String>, rule: impl Into<Rule<bool>>) -> Self {
        self.gates.insert(Name::checked(name.into()), Gate(rule.into()));
        self
    }

    /// Adds a config: an object, as `json!({…})` makes it, or a [`Rule`].
    ///
    /// # Panics
    /// If the API does not allow the name, or the value is not an object.
    #[must_use]
    pub fn config(
        mut self,
        name: impl Into<String>,
        rule: impl Into<Rule<Map<String, Value>>>,
    ) -> Self {
        self.configs.insert(Name::checked(name.into()), rule.into());
        self
    }

    pub(super) fn check_gate(&self, name: &str, user: &Map<String, Value>) -> GateEvaluation {
        let decided = self.gates.get(name).and_then(|Gate(rule)| rule.decide(name, user));
        match decided {
            Some((true, rule)) => {
                let (id, group) = rule.ids();
                GateEvaluation::from_parts(name.into(), true, id, group)
            }
            _ => GateEvaluation::new(name, false),
        }
    }

    pub(super) fn get_config(&self, name: &str, user: &Map<String, Value>) -> ConfigEvaluation {
        let decided = self.configs.get(name).and_then(|rule| rule.decide(name, user));
        match decided {
            Some((value, rule)) => {
                let (id, group) = rule.ids();
                ConfigEvaluation::from_parts(name.into(), value.clone(), id, group)
            }
            None => ConfigEvaluation::new(name, Map::new()),
        }
    }
}

impl<T> Rule<T> {
    /// Answers this value to everybody.
    pub fn new(value: T) -> Self {
        Self {
            value,
            overrides: BTreeMap::new(),
            when: BTreeMap::new(),
            percentage: everybody(),
            rule_id: None,
            group_name: None,
        }
    }

    /// Answers this value to the user with this user id, whatever the rule says.
    #[must_use]
    pub fn override_for(mut self, user_id: impl Into<String>, value: T) -> Self {
        self.overrides.insert(user_id.into(), value);
        self
    }

    /// Asks for this attribute to be equal to the user's.
    #[must_use]
    pub fn when(mut self, attribute: impl Into<String>, value: impl Into<Value>) -> Self {
        self.when.insert(attribute.into(), value.into());
        self
    }

    /// Asks for the user to be among this percentage of users.
    ///
    /// # Panics
    /// If it is not from 0 to 100.
    #[must_use]
    pub fn percentage(mut self, percentage: f64) -> Self {
        assert!((0.0..=100.0).contains(&percentage), "{percentage} is no percentage");
        self.percentage = percentage;
        self
    }

    /// The rule id and the group name of the answer. By default `local` and none.
    #[must_use]
    pub fn named(mut self, rule_id: impl Into<String>, group_name: impl Into<String>) -> Self {
        self.rule_id = Some(rule_id.into());
        self.group_name = Some(group_name.into());
        self
    }

    fn decide(&self, name: &str, user: &Map<String, Value>) -> Option<(&T, &Self)> {
        let id = user.get("userID").and_then(Value::as_str);
        if let Some(value) = id.and_then(|id| self.overrides.get(id)) {
            return Some((value, self));
        }
        let mut conditions = self.when.iter();
        let holds =
            conditions.all(|(attribute, value)| attribute_of(user, attribute) == Some(value));
        (holds && bucket(name, user) < self.percentage * 100.0).then_some((&self.value, self))
    }

    fn ids(&self) -> (Option<Box<str>>, Option<Box<str>>) {
        let id = self.rule_id.as_deref().unwrap_or("local");
        (Some(id.into()), self.group_name.as_deref().map(Into::into))
    }
}

impl From<bool> for Rule<bool> {
    fn from(value: bool) -> Self {
        Self::new(value)
    }
}

impl From<Value> for Rule<Map<String, Value>> {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(value) => Self::new(value),
            other => panic!("a config's value is an object, not {other}"),
        }
    }
}

const SAMPLE: &str = include_str!("sample_rules.json");

fn everybody() -> f64 {
    100.0
}

fn in_file(path: &Option<String>) -> String {
    path.as_ref().map(|path| format!("rules file {path}, ")).unwrap_or_default()
}

fn attribute_of<'a>(user: &'a Map<String, Value>, attribute: &str) -> Option<&'a Value> {
    match attribute.split_once('.') {
        Some((object, key)) => user.get(object)?.get(key),
        None => user.get(attribute),
    }
}

/// From 0 to 9,999, the same for the same name and user in every run: FNV-1a with a final mix, for
/// its high bits hardly depend on the last bytes.
fn bucket(name: &str, user: &Map<String, Value>) -> f64 {
    let custom = || user.get("customIDs")?.as_object()?.values().find_map(Value::as_str);
    let id = user.get("userID").and_then(Value::as_str).or_else(custom).unwrap_or_default();
    let bytes = name.bytes().chain([0]).chain(id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) % 10_000) as f64
}

/// A name that the API allows; refused where it stands, so that the error names the line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl Name {
    fn checked(name: String) -> Self {
        if let Err(error) = check_name(&name) {
            panic!("{error}");
        }
        Self(name)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        check_name(&name).map_err(D::Error::custom)?;
        Ok(Self(name))
    }
}

fn percentage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let percentage = f64::deserialize(deserializer)?;
    match (0.0..=100.0).contains(&percentage) {
        true => Ok(percentage),
        false => Err(D::Error::custom("`percentage` must be from 0 to 100")),
    }
}

/// A gate's rule, or `true` or `false`. By hand, because an untagged enum would lose the line.
#[derive(Clone, Debug)]
struct Gate(Rule<bool>);

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Gate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a rule")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Gate, E> {
                Ok(Gate(Rule::new(value)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Gate, A::Error> {
                Rule::deserialize(MapAccessDeserializer::new(map)).map(Gate)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn user(json: Value) -> Map<String, Value> {
        json.as_object().cloned().unwrap()
    }

    fn open(rule: Rule<bool>, json: Value) -> bool {
        Rules::new().gate("gate", rule).check_gate("gate", &user(json)).value()
    }

    #[test]
    fn an_override_wins_over_everything() {
        let rule = Rule::new(true).override_for("u-1", false).override_for("u-2", true);
        let rule = rule.when("country", "NL");
        assert!(!open(rule.clone(), json!({"userID": "u-1", "country": "NL"})));
        assert!(open(rule.clone(), json!({"userID": "u-2"})));
        assert!(open(rule, json!({"userID": "u-3", "country": "NL"})));
    }

    #[test]
    fn every_attribute_must_be_equal() {
        let rule = Rule::new(true).when("country", "NL").when("custom.plan", "pro");
        assert!(open(rule.clone(), json!({"country": "NL", "custom": {"plan": "pro"}})));
        assert!(!open(rule.clone(), json!({"country": "NL", "custom": {"plan": "free"}})));
        assert!(!open(rule, json!({"custom": {"plan": "pro"}})));
    }

    #[test]
    fn what_is_unknown_is_closed_or_empty_without_ids() {
        let rules = Rules::sample();
        let gate = rules.check_gate("unknown", &user(json!({"userID": "u"})));
        let config = rules.get_config("unknown", &user(json!({"userID": "u"})));
        assert_eq!(gate, GateEvaluation::new("unknown", false));
        assert_eq!(config, ConfigEvaluation::new("unknown", Map::new()));
    }

    #[test]
    fn the_sample_rules_can_be_read_and_know_the_documented_names() {
        let rules = Rules::from_json(SAMPLE).unwrap();
        let somebody = user(json!({"userID": "u-1", "custom": {"plan": "pro"}}));
        assert!(rules.check_gate("new_checkout", &somebody).value());
        assert!(rules.check_gate("beta", &somebody).value());
        assert_eq!(rules.get_config("homepage", &somebody).get::<String>("theme").unwrap(), "dark");
    }

    #[test]
    fn an_error_names_the_line_and_what_is_wrong() {
        for (json, line, reason) in [
            ("{\n\"gates\": {\n\"beta\": 1}}", 3, "expected true, false or a rule"),
            ("{\n\"gate\": {}}", 2, "unknown field `gate`, expected `gates` or `configs`"),
            ("{\"gates\": {\n\n\"b\": true}}", 3, "must have 2 to 100 characters"),
            (
                "{\"gates\": {\"beta\":\n{\"value\": true, \"percent\": 1}}}",
                2,
                "unknown field `percent`",
            ),
            (
                "{\"gates\": {\"beta\":\n{\"value\": true,\n\"percentage\": 101}}}",
                3,
                "from 0 to 100",
            ),
            ("{\"configs\": {\"home\":\n{\"value\": true}}}", 2, "expected a map"),
            ("{\n", 2, "EOF"),
        ] {
            let error = Rules::from_json(json).unwrap_err();
            let RulesError::Parse { line: at, reason: said, .. } = &error else {
                panic!("{error}")
            };
            assert!(*at == line && said.contains(reason), "{json}: {error}");
        }
        let missing = Rules::from_file("/does/not/exist.json").unwrap_err().to_string();
        assert!(missing.starts_with("rules file /does/not/exist.json: "), "{missing}");
    }

    proptest! {
        #[test]
        fn who_is_in_a_percentage_is_in_every_larger_one(
            id in "[a-z0-9-]{1,12}", small in 0.0..100.0f64, more in 0.0..100.0f64,
        ) {
            let large = (small + more).min(100.0);
            let passes = |percentage| {
                open(Rule::new(true).percentage(percentage), json!({"userID": id}))
            };
            prop_assert_eq!(passes(small), passes(small));
            prop_assert!(!passes(small) || passes(large));
            prop_assert!(passes(100.0) && !passes(0.0));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,100}") {
            let _ = Rules::from_json(&text);
        }
    }

    #[test]
    fn a_percentage_is_about_that_many_users() {
        let passes = |n: &u32| {
            open(Rule::new(true).percentage(25.0), json!({"userID": format!("user-{n}")}))
        };
        let passing = (0..10_000).filter(passes).count();
        assert!((2_300..2_700).contains(&passing), "{passing}");
    }
}
