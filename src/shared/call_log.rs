//! The event that each call logs at DEBUG: what was asked and what the answer was, without the user.

use std::fmt::Write;

use tracing::Span;

use super::Shared;
use crate::{
    message::call::{CallRequest, Outcome},
    model::{evaluation::Evaluation, text::beginning, user::User},
    telemetry::spans,
};

/// The longest part of a config's value or of a rule's id that is logged, in bytes.
const LONGEST: usize = 100;

impl Shared {
    /// Logs the outcome of a call within its span: one event, whatever the number of names.
    ///
    /// A server may repeat in its texts what it was sent. So texts are withheld if the user has private
    /// attributes, or if they contain the API key.
    pub(crate) fn log_call(&self, span: &Span, request: &CallRequest, outcome: &Outcome) {
        let operation = request.kind.operation();
        spans::within(span, || match outcome {
            Ok(evaluations) => tracing::debug!(
                operation,
                answers = self.answers(request, evaluations),
                "a call was answered"
            ),
            Err(error) => tracing::debug!(
                operation,
                names = request.names.join("; "),
                %error,
                "a call failed"
            ),
        });
    }

    fn answers(&self, request: &CallRequest, evaluations: &[Option<Evaluation>]) -> String {
        let evaluations = evaluations.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        let mut answers = String::new();
        for (name, evaluation) in request.names.iter().zip(evaluations) {
            let separator = if answers.is_empty() { "" } else { "; " };
            let _ = write!(answers, "{separator}{name}: ");
            let rule_id = match evaluation {
                None => {
                    answers.push_str("not answered");
                    None
                }
                Some(Evaluation::Gate(gate)) => {
                    let _ = write!(answers, "{}", gate.value());
                    gate.rule_id()
                }
                Some(Evaluation::Config(config)) => {
                    answers.push_str(&self.quote(config.json().get(), &request.user));
                    config.rule_id()
                }
            };
            if let Some(rule_id) = rule_id {
                let _ = write!(answers, ", rule {}", self.quote(rule_id, &request.user));
            }
        }
        answers
    }

    /// Quotes the beginning of a server's text, escaped.
    fn quote(&self, text: &str, user: &User) -> String {
        if user.has_private_attributes() {
            return "[withheld: the user has private attributes]".to_owned();
        }
        if self.api_key.is_in(text) {
            return "[withheld: it contains the API key]".to_owned();
        }
        let shown = beginning(text, LONGEST);
        let ellipsis = if shown.len() < text.len() { "…" } else { "" };
        format!("{shown:?}{ellipsis}")
    }
}
