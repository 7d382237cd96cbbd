//! Maps errors to the error codes of OpenFeature's specification.

use std::{error::Error as StdError, iter::successors};

use open_feature::{EvaluationError, EvaluationErrorCode as Code};

use crate::model::{error::Error, text::beginning};

/// Converts an error for the SDK. The message begins with the [kind](Error::kind) and includes the
/// sources, because the SDK's error has no source.
pub(super) fn evaluation_error(error: &Error) -> EvaluationError {
    let chain = successors(Some(error as &dyn StdError), |&error| error.source());
    let message = chain.fold(error.kind().to_string(), |text, error| format!("{text}: {error}"));
    // serde quotes a value of the wrong type in full.
    let message = beginning(&message, MAX_MESSAGE).to_owned();
    EvaluationError { code: code(error), message: Some(message) }
}

/// In bytes.
const MAX_MESSAGE: usize = 500;

fn code(error: &Error) -> Code {
    match error {
        Error::ShuttingDown | Error::Closed => Code::ProviderNotReady,
        // The API does not allow the name, so no flag has it.
        Error::InvalidName { .. } | Error::MissingName { .. } | Error::MissingKey { .. } => {
            Code::FlagNotFound
        }
        Error::WrongType { .. } => Code::TypeMismatch,
        // The targeting key is a string, so the only error in it is that it is missing.
        Error::InvalidUser { field, .. } if field == "userID" => Code::TargetingKeyMissing,
        Error::InvalidUser { .. } => Code::InvalidContext,
        Error::InvalidResponse { .. } => Code::ParseError,
        _ => Code::General(error.kind().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[test]
    fn message_has_the_kind_and_every_source() {
        let last = Error::AttemptTimeout { limit: Duration::from_secs(1) };
        let limit = Duration::from_secs(3);
        let error = evaluation_error(&Error::Timeout { limit, last: Some(Arc::new(last)) });
        let message = "timeout: no answer within 3s: the attempt took longer than 1s";
        assert_eq!(error.message.as_deref(), Some(message));
        assert_eq!(error.code, Code::General("timeout".to_owned()));
    }

    #[test]
    fn whatever_ended_the_component_it_is_not_ready() {
        for error in [Error::ShuttingDown, Error::Closed] {
            assert_eq!(evaluation_error(&error).code, Code::ProviderNotReady, "{error}");
        }
    }

    #[test]
    fn message_is_cut_between_characters() {
        let path = "/v1/get_config";
        let error = Error::MissingName { path, name: "é".repeat(MAX_MESSAGE).into() };
        let message = evaluation_error(&error).message.unwrap();
        assert!((MAX_MESSAGE - 1..=MAX_MESSAGE).contains(&message.len()), "{}", message.len());
    }
}
