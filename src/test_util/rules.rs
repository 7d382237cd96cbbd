//! The rules that [`LocalStatsig`](super::LocalStatsig) answers from, and their evaluation. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::attribute::{Attribute, text};
use crate::model::evaluation::{ConfigEvaluation, ConfigValue, GateEvaluation};

/// Gates and configs, each with its rule.
///
/// Rules can be written in a JSON file. A gate may also be just `true` or `false`:
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
/// Tests can build rules with [`Rules::gate`] and [`Rules::config`]. [`Rule`] describes how a rule
/// decides. In the file only `value` is required. An unknown or repeated key is an error.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    gates: BTreeMap<String, Rule<bool>>,
    configs: BTreeMap<String, Rule<Map<String, Value>>>,
}

/// The rule of one gate or config. It decides in this order:
///
/// 1. An override for the user's `userID` is the answer.
/// 2. Otherwise the user must have each attribute in `when`, with an equal value. Attributes are
///    `userID`, `email`, `ip`, `userAgent`, `country`, `locale`, `appVersion`, `os_name`,
///    `os_version`, `browser_name`, `browser_version`, `custom.x`, `privateAttributes.x`,
///    `customIDs.x`, `statsigEnvironment.tier` and other `statsigEnvironment.x`. Numbers are
///    compared by value, ids and other single fields by their text: `1` equals the user id `"1"`.
/// 3. The user must also be in the `percentage` of users. The selected users are the same in every
///    run and version, and a larger percentage includes the users of a smaller one. The selection
///    depends on the gate's or config's name and the `userID`, or without a `userID`, on the custom
///    id whose key sorts first.
/// 4. Then the answer is `value`.
///
/// The answer has the rule's `rule_id` (default `local`) and `group_name`, even for an override. If
/// the user does not pass, a gate is `false` and a config is `{}`, both without ids.
#[derive(Clone, Debug)]
pub struct Rule<T> {
    pub(super) value: T,
    pub(super) overrides: BTreeMap<String, T>,
    pub(super) when: BTreeMap<Attribute, Value>,
    /// From 0 to 100.
    pub(super) percentage: f64,
    pub(super) rule_id: Option<String>,
    pub(super) group_name: Option<String>,
}

impl Rules {
    /// Returns empty rules: every gate is closed, and every config empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a gate: `true`, `false` or a [`Rule`].
    ///
    /// # Panics
    /// Panics if the API does not allow the name.
    #[must_use]
    pub fn gate(mut self, name: impl Into<String>, rule: impl Into<Rule<bool>>) -> Self {
        self.gates.insert(checked_name(name.into()), rule.into());
        self
    }

    /// Adds a config: an object, such as `json!({…})`, or a [`Rule`].
    ///
    /// # Panics
    /// Panics if the API does not allow the name, or the value is not an object.
    #[must_use]
    pub fn config(
        mut self,
        name: impl Into<String>,
        rule: impl Into<Rule<Map<String, Value>>>,
    ) -> Self {
        self.configs.insert(checked_name(name.into()), rule.into());
        self
    }

    pub(super) fn from_parts(
        gates: BTreeMap<String, Rule<bool>>,
        configs: BTreeMap<String, Rule<Map<String, Value>>>,
    ) -> Self {
        Self { gates, configs }
    }

    pub(super) fn check_gate(&self, name: &str, user: &Map<String, Value>) -> GateEvaluation {
        let decided = self.gates.get(name).and_then(|rule| rule.decide(name, user));
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
                ConfigEvaluation::from_parts(name.into(), ConfigValue::new(value), id, group)
            }
            None => ConfigEvaluation::new(name, Map::new()),
        }
    }
}

impl<T> Rule<T> {
    /// Returns a rule that answers every user with this value.
    pub fn new(value: T) -> Self {
        Self {
            value,
            overrides: BTreeMap::new(),
            when: BTreeMap::new(),
            percentage: ALL_USERS,
            rule_id: None,
            group_name: None,
        }
    }

    /// Sets the value for the user with this user id. It takes precedence over all conditions.
    #[must_use]
    pub fn override_for(mut self, user_id: impl Into<String>, value: T) -> Self {
        self.overrides.insert(user_id.into(), value);
        self
    }

    /// Requires that the user has this attribute with an equal value.
    ///
    /// # Panics
    /// Panics if users have no such attribute, or the attribute cannot have such a value.
    #[must_use]
    pub fn when(mut self, attribute: impl AsRef<str>, value: impl Into<Value>) -> Self {
        let attribute: Attribute =
            attribute.as_ref().parse().unwrap_or_else(|error: String| panic!("{error}"));
        let value = value.into();
        assert!(attribute.accepts(&value), "`{attribute}` must be {}", attribute.expected());
        self.when.insert(attribute, value);
        self
    }

    /// Requires that the user is among this percentage of users.
    ///
    /// # Panics
    /// Panics if the percentage is not from 0 to 100.
    #[must_use]
    pub fn percentage(mut self, percentage: f64) -> Self {
        assert!(
            (0.0..=100.0).contains(&percentage),
            "{percentage} is no percentage: it must be from 0 to 100"
        );
        self.percentage = percentage;
        self
    }

    /// Sets the rule id and the group name of the answer. Default: `local`, and no group name.
    #[must_use]
    pub fn named(mut self, rule_id: impl Into<String>, group_name: impl Into<String>) -> Self {
        self.rule_id = Some(rule_id.into());
        self.group_name = Some(group_name.into());
        self
    }

    fn decide(&self, name: &str, user: &Map<String, Value>) -> Option<(&T, &Self)> {
        let id = user.get("userID").and_then(text);
        if let Some(value) = id.and_then(|id| self.overrides.get(&*id)) {
            return Some((value, self));
        }
        let holds = self.when.iter().all(|(attribute, value)| attribute.equals(user, value));
        (holds && bucket(name, user) < self.percentage * 100.0).then_some((&self.value, self))
    }

    fn ids(&self) -> (Option<SmolStr>, Option<SmolStr>) {
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
            other => panic!("expected an object as the config's value, found {other}"),
        }
    }
}

/// The percentage of a rule without a percentage.
pub(super) const ALL_USERS: f64 = 100.0;

/// Hashes a name and a user to a number from 0 to 9,999, the same in every run. The hash is FNV-1a
/// with a final mix, because the high bits of FNV-1a hardly depend on the last bytes.
fn bucket(name: &str, user: &Map<String, Value>) -> f64 {
    let id = identifier(user).unwrap_or_default();
    let bytes = name.bytes().chain([0]).chain(id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) % 10_000) as f64
}

fn identifier(user: &Map<String, Value>) -> Option<Cow<'_, str>> {
    let id = |value| text(value).filter(|id| !id.is_empty());
    user.get("userID").and_then(id).or_else(|| {
        // The first by key, because features of other crates decide whether a JSON object keeps its
        // order.
        let ids = user.get("customIDs")?.as_object()?.iter();
        ids.filter_map(|(key, value)| Some((key, id(value)?))).min().map(|(_, id)| id)
    })
}

fn checked_name(name: String) -> String {
    if let Some(fault) = name_fault(&name) {
        panic!("the name {name:?} {fault}");
    }
    name
}

/// Returns the rule of the API that a name breaks. This is not the client's own check: a server
/// that shared the client's mistakes would find none of them.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    if !(2..=100).contains(&name.chars().count()) {
        Some("must have 2 to 100 characters")
    } else if !name.chars().all(allowed) {
        Some("may only contain the characters a-z A-Z 0-9 _ - . and space")
    } else {
        None
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
    fn override_wins_over_everything() {
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
    fn unknown_names_are_closed_or_empty_without_ids() {
        let rules = Rules::sample();
        let gate = rules.check_gate("unknown", &user(json!({"userID": "u"})));
        let config = rules.get_config("unknown", &user(json!({"userID": "u"})));
        assert_eq!(gate, GateEvaluation::new("unknown", false));
        assert_eq!(config, ConfigEvaluation::new("unknown", Map::new()));
    }

    #[test]
    fn sample_rules_parse_and_have_the_documented_names() {
        let rules = Rules::sample();
        let pro_user = user(json!({"userID": "u-1", "custom": {"plan": "pro"}}));
        assert!(rules.check_gate("new_checkout", &pro_user).value());
        assert!(rules.check_gate("beta", &pro_user).value());
        assert_eq!(rules.get_config("homepage", &pro_user).get::<String>("theme").unwrap(), "dark");
    }

    #[test]
    fn users_percentile_never_changes() {
        let at = |json| bucket("new_checkout", &user(json));
        // This is a guarantee: every version puts the same users into the same buckets.
        assert_eq!((at(json!({"userID": "u-1"})), at(json!({"userID": "u-2"}))), (2329.0, 6802.0));
        assert_eq!(at(json!({"customIDs": {"b": "x", "a": "u-1"}})), 2329.0);
        assert_eq!(at(json!({"userID": "", "customIDs": {"a": "", "b": "u-1"}})), 2329.0);
    }

    #[test]
    fn private_attributes_custom_ids_and_the_tier_count_as_well() {
        let rule = Rule::new(true)
            .when("privateAttributes.score", 3)
            .when("customIDs.companyID", "c-1")
            .when("statsigEnvironment.tier", "staging");
        let fits = json!({
            "privateAttributes": {"score": 3.0}, "customIDs": {"companyID": "c-1"},
            "statsigEnvironment": {"tier": "staging"},
        });
        assert!(open(rule.clone(), fits.clone()));
        for part in ["/privateAttributes/score", "/customIDs/companyID", "/statsigEnvironment/tier"]
        {
            let mut other = fits.clone();
            *other.pointer_mut(part).unwrap() = json!("other");
            assert!(!open(rule.clone(), other), "{part} does not count");
        }
    }

    #[test]
    fn attributes_match_by_value_and_ids_by_text() {
        let rule = Rule::new(true)
            .when("userID", 4711)
            .when("customIDs.companyID", "7")
            .when("os_version", 14)
            .when("custom.list", json!([1, "a", {"b": null}]))
            .when("custom.object", json!({"a": 1.0, "b": [true]}));
        let fits = json!({
            "userID": "4711", "customIDs": {"companyID": 7}, "os_version": "14",
            "custom": {"list": [1.0, "a", {"b": null}], "object": {"b": [true], "a": 1}},
        });
        assert!(open(rule.clone(), fits.clone()));
        for part in [
            "/userID",
            "/customIDs/companyID",
            "/os_version",
            "/custom/list/2/b",
            "/custom/object/a",
        ] {
            let mut other = fits.clone();
            *other.pointer_mut(part).unwrap() = json!("other");
            assert!(!open(rule.clone(), other), "{part} does not count");
        }
    }

    #[test]
    fn id_that_is_a_number_counts_as_its_digits() {
        let rules = |id: &str| Rules::new().gate("gate", Rule::new(false).override_for(id, true));
        assert!(rules("4711").check_gate("gate", &user(json!({"userID": 4711}))).value());
        let at = |json| bucket("gate", &user(json));
        assert_eq!(at(json!({"userID": 4711})), at(json!({"userID": "4711"})));
        assert_eq!(at(json!({"customIDs": {"a": 4711}})), at(json!({"userID": "4711"})));
    }

    #[test]
    #[should_panic(expected = "unknown attribute `contry`")]
    fn attribute_that_users_lack_is_refused() {
        let _ = Rule::new(true).when("contry", "NL");
    }

    #[test]
    #[should_panic(expected = "`statsigEnvironment.tier` must be a string")]
    fn value_that_an_attribute_cannot_have_is_refused() {
        let _ = Rule::new(true).when("statsigEnvironment.tier", 1);
    }

    #[test]
    #[should_panic(expected = "2 to 100 characters")]
    fn name_that_the_api_does_not_allow_is_refused() {
        let _ = Rules::new().gate("x", true);
    }

    proptest! {
        #[test]
        fn user_in_a_percentage_is_in_every_larger_one(
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
    }

    #[test]
    fn percentage_selects_about_that_many_users() {
        let passes = |n: &u32| {
            open(Rule::new(true).percentage(25.0), json!({"userID": format!("user-{n}")}))
        };
        let passing = (0..10_000).filter(passes).count();
        assert!((2_300..2_700).contains(&passing), "{passing}");
    }
}
