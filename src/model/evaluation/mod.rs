//! Evaluations of gates and configs.

mod config;
mod config_value;
mod either;
mod source;

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use smol_str::SmolStr;

pub(crate) use self::{config_value::ConfigValue, source::Origin};
pub use self::{either::Evaluation, source::Source};

/// A feature gate's evaluation for one user (`CheckGateResponse` of the API).
///
/// A clone shares the server's answer; callers of a batch do not each get a copy. Two evaluations are
/// equal if the server's answers are equal, whatever their source.
///
/// ```
/// use actix_statsig::GateEvaluation;
///
/// let gate = GateEvaluation::new("new_checkout", true).with_rule("2RamGs", "Test Group");
/// assert!(gate.value());
/// assert_eq!(gate.group_name(), Some("Test Group"));
/// ```
#[derive(Clone, Debug)]
pub struct GateEvaluation(Arc<Evaluated<bool>>, Origin);

/// A dynamic config's or experiment's evaluation for one user (`GetConfigResponse` of the API).
///
/// Its value is the JSON text that the server wrote, and the getters read from that text: no number
/// loses a digit, and keys keep their order. A clone shares the text.
///
/// Two evaluations are equal if the server's answers are equal, whatever their source. Values are
/// compared as JSON: the order of keys does not matter, and `1` equals `1.0`.
///
/// ```
/// use actix_statsig::ConfigEvaluation;
/// use serde_json::json;
///
/// let homepage = ConfigEvaluation::new("homepage", json!({"theme": "dark"}).as_object().cloned().unwrap());
/// assert_eq!(homepage.get::<String>("theme")?, "dark");
/// assert_eq!(homepage.get_or("columns", 3), 3);
/// # Ok::<(), actix_statsig::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigEvaluation(Arc<Evaluated<ConfigValue>>, Origin);

#[derive(Clone, Debug, PartialEq)]
struct Evaluated<T> {
    name: Arc<str>,
    value: T,
    /// Inline: rule ids and group names are nearly always short.
    rule_id: Option<SmolStr>,
    group_name: Option<SmolStr>,
}

impl<T> Evaluated<T> {
    fn ids_len(&self) -> usize {
        [&self.rule_id, &self.group_name].into_iter().flatten().map(SmolStr::len).sum()
    }
}

macro_rules! shared_parts {
    ($type:ident, $value:ty) => {
        impl $type {
            /// Returns the same evaluation, decided by this rule and group.
            #[must_use]
            pub fn with_rule(self, rule_id: impl AsRef<str>, group_name: impl AsRef<str>) -> Self {
                let Evaluated { name, value, .. } = Arc::unwrap_or_clone(self.0);
                let (rule_id, group_name) = (rule_id.as_ref().into(), group_name.as_ref().into());
                Self::from_parts(name, value, Some(rule_id), Some(group_name))
            }

            pub(crate) fn from_parts(
                name: Arc<str>,
                value: $value,
                rule_id: Option<SmolStr>,
                group_name: Option<SmolStr>,
            ) -> Self {
                let evaluated = Evaluated { name, value, rule_id, group_name };
                Self(Arc::new(evaluated), Origin::Network)
            }

            /// Returns the same evaluation with another origin.
            pub(crate) fn with_origin(&self, origin: Origin) -> Self {
                Self(Arc::clone(&self.0), origin)
            }

            /// Returns the source of the evaluation.
            pub fn source(&self) -> Source {
                self.1.into()
            }

            /// Returns the name of the gate or config.
            pub fn name(&self) -> &str {
                &self.0.name
            }

            /// Returns the id of the rule that decided, if a rule did.
            pub fn rule_id(&self) -> Option<&str> {
                self.0.rule_id.as_deref()
            }

            /// Returns the name of the user's group, if there is one.
            pub fn group_name(&self) -> Option<&str> {
                self.0.group_name.as_deref()
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }
    };
}

shared_parts!(GateEvaluation, bool);
shared_parts!(ConfigEvaluation, ConfigValue);

impl GateEvaluation {
    /// Makes an evaluation that no rule decided, for tests and for a transport of your own.
    pub fn new(name: impl Into<Arc<str>>, value: bool) -> Self {
        Self::from_parts(name.into(), value, None, None)
    }

    /// Returns whether the gate is open for the user. An unknown gate is closed, as on Statsig.
    pub fn value(&self) -> bool {
        self.0.value
    }
}

/// Writes the API's JSON form, `CheckGateResponse`.
impl Serialize for GateEvaluation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("GateEvaluation", 4)?;
        fields.serialize_field("name", &*self.0.name)?;
        fields.serialize_field("value", &self.0.value)?;
        fields.serialize_field("rule_id", &self.0.rule_id)?;
        fields.serialize_field("group_name", &self.0.group_name)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evaluations_are_written_in_the_apis_form() {
        let gate = GateEvaluation::new("beta", true).with_rule("r", "g");
        assert_eq!(
            serde_json::to_value(&gate).unwrap(),
            json!({"name": "beta", "value": true, "rule_id": "r", "group_name": "g"})
        );
        assert_eq!(
            serde_json::to_value(ConfigEvaluation::new("homepage", serde_json::Map::new()))
                .unwrap(),
            json!({"name": "homepage", "value": {}, "group": "", "rule_id": null, "group_name": null})
        );
    }
}
