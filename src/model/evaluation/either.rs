//! An evaluation of either kind.

use std::sync::Arc;

use super::{ConfigEvaluation, ConfigValue, Evaluated, GateEvaluation, Origin};
use crate::model::error::Error;

/// Either kind: what travels through the batch, which treats both alike.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Evaluation {
    /// Of a gate.
    Gate(GateEvaluation),
    /// Of a config.
    Config(ConfigEvaluation),
}

impl Evaluation {
    /// The same evaluation, from elsewhere.
    pub(crate) fn with_origin(&self, origin: Origin) -> Self {
        match self {
            Self::Gate(gate) => Self::Gate(gate.with_origin(origin)),
            Self::Config(config) => Self::Config(config.with_origin(origin)),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Gate(gate) => gate.1,
            Self::Config(config) => config.1,
        }
    }

    /// A config's value.
    pub(crate) fn value(&self) -> Option<&ConfigValue> {
        match self {
            Self::Gate(_) => None,
            Self::Config(config) => Some(&config.0.value),
        }
    }

    /// A config's evaluation with another copy of its value.
    pub(crate) fn with_value(&self, value: ConfigValue) -> Self {
        match self {
            Self::Gate(gate) => gate.clone().into(),
            Self::Config(ConfigEvaluation(evaluated, origin)) => {
                let evaluated = Evaluated { value, ..Evaluated::clone(evaluated) };
                ConfigEvaluation(Arc::new(evaluated), *origin).into()
            }
        }
    }

    /// The bytes of all that the server may make as long as it likes.
    pub(crate) fn text_len(&self) -> usize {
        self.ids_len() + self.value().map_or(0, |value| value.get().len())
    }

    /// Where the larger part of it lies: a clone's is the same.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Gate(gate) => Arc::as_ptr(&gate.0).addr(),
            // Equal values are one in the cache, whatever ids stand beside them.
            Self::Config(config) if config.0.value.get().len() > self.ids_len() => {
                config.0.value.get().as_ptr().addr()
            }
            Self::Config(config) => Arc::as_ptr(&config.0).addr(),
        }
    }

    /// The bytes of the rule's id and the group's name, which may be of any length.
    pub(crate) fn ids_len(&self) -> usize {
        match self {
            Self::Gate(gate) => gate.0.ids_len(),
            Self::Config(config) => config.0.ids_len(),
        }
    }
}

impl From<GateEvaluation> for Evaluation {
    fn from(gate: GateEvaluation) -> Self {
        Self::Gate(gate)
    }
}

impl From<ConfigEvaluation> for Evaluation {
    fn from(config: ConfigEvaluation) -> Self {
        Self::Config(config)
    }
}

impl TryFrom<Evaluation> for GateEvaluation {
    type Error = Error;

    fn try_from(evaluation: Evaluation) -> Result<Self, Error> {
        match evaluation {
            Evaluation::Gate(gate) => Ok(gate),
            Evaluation::Config(_) => Err(Error::Internal { detail: WRONG_KIND }),
        }
    }
}

impl TryFrom<Evaluation> for ConfigEvaluation {
    type Error = Error;

    fn try_from(evaluation: Evaluation) -> Result<Self, Error> {
        match evaluation {
            Evaluation::Config(config) => Ok(config),
            Evaluation::Gate(_) => Err(Error::Internal { detail: WRONG_KIND }),
        }
    }
}

const WRONG_KIND: &str = "an evaluation of the wrong kind, which only another transport can make";
