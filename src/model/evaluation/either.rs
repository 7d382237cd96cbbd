//! An evaluation of any kind.

use std::sync::Arc;

use super::{ConfigEvaluation, ConfigValue, Evaluated, GateEvaluation, Origin};
use crate::model::error::Error;

/// An evaluation of any kind, as a transport returns it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Evaluation {
    /// The evaluation of a gate.
    Gate(GateEvaluation),
    /// The evaluation of a config.
    Config(ConfigEvaluation),
}

impl Evaluation {
    /// Returns the same evaluation with another origin.
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

    /// Returns a config's value.
    pub(crate) fn value(&self) -> Option<&ConfigValue> {
        match self {
            Self::Gate(_) => None,
            Self::Config(config) => Some(&config.0.value),
        }
    }

    /// Returns a config's evaluation with another copy of its value.
    pub(crate) fn with_value(&self, value: ConfigValue) -> Self {
        match self {
            Self::Gate(gate) => gate.clone().into(),
            Self::Config(ConfigEvaluation(evaluated, origin)) => {
                let evaluated = Evaluated { value, ..Evaluated::clone(evaluated) };
                ConfigEvaluation(Arc::new(evaluated), *origin).into()
            }
        }
    }

    /// Returns the bytes of the parts whose length the server decides.
    pub(crate) fn text_len(&self) -> usize {
        self.ids_len() + self.value().map_or(0, |value| value.get().len())
    }

    /// Returns the address of the larger part. Clones have the same address.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Gate(gate) => Arc::as_ptr(&gate.0).addr(),
            // The cache shares equal values, whatever their rule ids.
            Self::Config(config) if config.0.value.get().len() > self.ids_len() => {
                config.0.value.get().as_ptr().addr()
            }
            Self::Config(config) => Arc::as_ptr(&config.0).addr(),
        }
    }

    /// Returns the bytes of the rule id and the group name, which may have any length.
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

const WRONG_KIND: &str = "the transport returned an evaluation of the wrong kind";
