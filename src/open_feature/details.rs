//! The reason, variant and metadata that the SDK gets with a value.

use open_feature::{EvaluationReason as Reason, FlagMetadata, provider::ResolutionDetails};

use crate::model::evaluation::{ConfigEvaluation, GateEvaluation, Source};

/// How an evaluation was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision<'a> {
    source: Source,
    rule_id: Option<&'a str>,
    group_name: Option<&'a str>,
}

impl<'a> From<&'a GateEvaluation> for Decision<'a> {
    fn from(gate: &'a GateEvaluation) -> Self {
        Self::new(gate.source(), gate.rule_id(), gate.group_name())
    }
}

impl<'a> From<&'a ConfigEvaluation> for Decision<'a> {
    fn from(config: &'a ConfigEvaluation) -> Self {
        Self::new(config.source(), config.rule_id(), config.group_name())
    }
}

impl<'a> Decision<'a> {
    /// Drops empty ids, which a server may write in place of null.
    fn new(source: Source, rule_id: Option<&'a str>, group_name: Option<&'a str>) -> Self {
        let [rule_id, group_name] = [rule_id, group_name].map(|id| id.filter(|id| !id.is_empty()));
        Self { source, rule_id, group_name }
    }

    /// Returns whether neither a rule nor a group decided.
    pub(super) fn is_undecided(&self) -> bool {
        self.rule_id.is_none() && self.group_name.is_none()
    }

    pub(super) fn details<T>(self, value: T) -> ResolutionDetails<T> {
        ResolutionDetails {
            value,
            variant: self.group_name.or(self.rule_id).map(str::to_owned),
            reason: Some(self.reason()),
            flag_metadata: Some(self.metadata()),
        }
    }

    fn reason(self) -> Reason {
        match (self.source, self.rule_id) {
            (Source::Cache { .. }, _) => Reason::Cached,
            // The specification has this reason, but the SDK does not.
            (Source::Stale { .. }, _) => Reason::Other("STALE".to_owned()),
            // Without a matching rule, the rule id is null in the API document. Statsig's own
            // evaluators write `default`, or `disabled` for a gate or config that is turned off.
            (Source::Network, None | Some("default")) => Reason::Default,
            (Source::Network, Some("disabled")) => Reason::Disabled,
            (Source::Network, Some(_)) => Reason::TargetingMatch,
        }
    }

    fn metadata(self) -> FlagMetadata {
        let mut metadata = FlagMetadata::default();
        if let Some(rule_id) = self.rule_id {
            metadata.add_value("rule_id", rule_id);
        }
        if let Some(group_name) = self.group_name {
            metadata.add_value("group_name", group_name);
        }
        if let Source::Cache { age } | Source::Stale { age } = self.source {
            metadata.add_value("age_ms", i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        }
        metadata
    }
}
