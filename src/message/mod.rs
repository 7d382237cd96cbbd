//! The actix messages that callers send to the [`BatchActor`](crate::BatchActor).

pub(crate) mod admission;
pub(crate) mod call;
pub(crate) mod share;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::Message;

use self::admission::Permit;
use crate::{
    model::{
        call_kind::CallKind,
        error::Error,
        evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
        user::User,
    },
    telemetry::spans::{self, MaybeSpan},
};

/// Asks for the evaluations of gates for one user.
///
/// Resolves to one [`GateEvaluation`] for each name, in the order of the names, duplicates included, or
/// to one error. A message sent with `do_send` has no waiting caller, and causes no call.
///
/// ```
/// # use actix_statsig::{CheckGates, User};
/// let user = User::new("u-1")?;
/// let quietly = CheckGates::new(user, ["new_checkout", "beta"]).without_exposure();
/// # Ok::<(), actix_statsig::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct CheckGates(parts::RequestParts);

/// Asks for the evaluations of dynamic configs or experiments for one user.
///
/// Resolves to one [`ConfigEvaluation`] for each name, in the order of the names, duplicates included,
/// or to one error. Each distinct name needs its own HTTP call, because the API takes one per call.
#[derive(Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct GetConfigs(parts::RequestParts);

/// The request messages, [`CheckGates`] and [`GetConfigs`]. The trait is sealed.
pub trait BatchRequest:
    Message<Result = Result<Vec<Self::Evaluation>, Error>> + parts::Parts + Send + 'static
{
    /// The answer for one name.
    type Evaluation: TryFrom<Evaluation, Error = Error> + Send + 'static;
}

pub(crate) mod parts {
    use smallvec::SmallVec;

    use super::{Admitted, Arc, CallKind, MaybeSpan, User};

    /// Most requests have one name.
    pub(crate) type Names = SmallVec<[Arc<str>; 1]>;

    /// The parts that [`CheckGates`](super::CheckGates) and [`GetConfigs`](super::GetConfigs)
    /// share.
    #[derive(Debug)]
    #[expect(unnameable_types, reason = "users see the two messages only")]
    pub struct RequestParts {
        pub(crate) user: User,
        pub(crate) names: Names,
        pub(crate) exposure: Option<bool>,
        pub(crate) bypass_cache: bool,
        /// Set by the handle, which admits a request before it sends the message.
        pub(crate) admitted: Option<Admitted>,
        /// The caller's span.
        pub(crate) within: MaybeSpan,
    }

    #[expect(unnameable_types, reason = "seals `BatchRequest`")]
    pub trait Parts {
        const KIND: CallKind;

        fn parts(&mut self) -> &mut RequestParts;
        fn into_parts(self) -> RequestParts;
    }
}

/// A request's permit and deadline, from the handle.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) permit: Permit,
    pub(crate) deadline: Instant,
}

macro_rules! request_message {
    ($message:ident, $evaluation:ident, $kind:expr) => {
        impl $message {
            /// Makes a message for this user and these names. Exposures are logged as
            /// [`exposure_logging`](crate::Config::exposure_logging) says.
            ///
            /// A name has 2 to 100 characters of `a-z A-Z 0-9 _ - .` and space, by the API's rule; the
            /// component checks the names when it receives the message. A message without names is
            /// answered with no evaluations, and causes no call.
            pub fn new<N: Into<Arc<str>>>(user: User, names: impl IntoIterator<Item = N>) -> Self {
                let names = names.into_iter().map(Into::into).collect();
                let within = spans::current();
                Self(parts::RequestParts {
                    user,
                    names,
                    exposure: None,
                    bypass_cache: false,
                    admitted: None,
                    within,
                })
            }

            /// Logs exposures for this message, whatever the configuration says.
            pub fn with_exposure(mut self) -> Self {
                self.0.exposure = Some(true);
                self
            }

            /// Logs no exposures for this message, whatever the configuration says.
            pub fn without_exposure(mut self) -> Self {
                self.0.exposure = Some(false);
                self
            }

            /// Asks Statsig instead of the cache, and accepts no stale answer if Statsig fails.
            ///
            /// The request does not join a call that is in flight already, so its answer is never older
            /// than the request. The answer goes into the cache. A call that was made earlier and ends
            /// later does not replace it.
            pub fn bypass_cache(mut self) -> Self {
                self.0.bypass_cache = true;
                self
            }
        }

        impl Message for $message {
            type Result = Result<Vec<$evaluation>, Error>;
        }

        impl BatchRequest for $message {
            type Evaluation = $evaluation;
        }

        impl parts::Parts for $message {
            const KIND: CallKind = $kind;

            fn parts(&mut self) -> &mut parts::RequestParts {
                &mut self.0
            }

            fn into_parts(self) -> parts::RequestParts {
                self.0
            }
        }
    };
}

request_message!(CheckGates, GateEvaluation, CallKind::CheckGate);
request_message!(GetConfigs, ConfigEvaluation, CallKind::GetConfig);

/// Flushes all buffered requests. Resolves when all of them have been answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flush;

impl Message for Flush {
    type Result = ();
}

/// Reports that the API key has changed. The actor clears the cache and keeps the outcomes of
/// earlier calls out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyChanged;

impl Message for KeyChanged {
    type Result = ();
}

/// Shuts the component down gracefully: flushes buffered requests, waits for calls in flight, and
/// refuses new requests with [`Error::ShuttingDown`]. May be sent more than once; the shortest
/// limit applies.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// The longest wait. Requests that are still pending after it get [`Error::ShuttingDown`].
    pub limit: Duration,
}

impl Message for Shutdown {
    type Result = ShutdownReport;
}

/// The outcomes of the requests that were pending when a shutdown began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Requests pending at the beginning: the sum of the four below.
    pub pending: u64,
    /// Answered with evaluations.
    pub answered: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Abandoned by their callers.
    pub abandoned: u64,
    /// Cut off at the limit, with [`Error::ShuttingDown`].
    pub cut_off: u64,
}
