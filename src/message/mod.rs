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
/// Resolves to one [`GateEvaluation`] for each name, in the order asked, duplicates included, or to
/// one error. A message sent with `do_send` has nobody waiting and causes no call.
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
/// Resolves to one [`ConfigEvaluation`] for each name, in the order asked, duplicates included, or
/// to one error. Each distinct name is an HTTP call of its own, for the API takes one a call.
#[derive(Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct GetConfigs(parts::RequestParts);

/// The messages that ask: [`CheckGates`] and [`GetConfigs`]. Implemented by no others.
pub trait BatchRequest:
    Message<Result = Result<Vec<Self::Evaluation>, Error>> + parts::Parts + Send + 'static
{
    /// What one name is answered with.
    type Evaluation: TryFrom<Evaluation, Error = Error> + Send + 'static;
}

pub(crate) mod parts {
    use smallvec::SmallVec;

    use super::{Admitted, Arc, CallKind, MaybeSpan, User};

    /// Most requests ask for one.
    pub(crate) type Names = SmallVec<[Arc<str>; 1]>;

    /// What [`CheckGates`](super::CheckGates) and [`GetConfigs`](super::GetConfigs) have in common.
    #[derive(Debug)]
    #[expect(unnameable_types, reason = "users see the two messages only")]
    pub struct RequestParts {
        pub(crate) user: User,
        pub(crate) names: Names,
        pub(crate) exposure: Option<bool>,
        pub(crate) bypass_cache: bool,
        /// Set by the handle, which admits a request before it sends it.
        pub(crate) admitted: Option<Admitted>,
        /// What its caller was in when it asked.
        pub(crate) within: MaybeSpan,
    }

    #[expect(unnameable_types, reason = "seals `BatchRequest`")]
    pub trait Parts {
        const KIND: CallKind;

        fn parts(&mut self) -> &mut RequestParts;
        fn into_parts(self) -> RequestParts;
    }
}

/// The handle's permission for a request.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) permit: Permit,
    pub(crate) deadline: Instant,
}

macro_rules! asking {
    ($message:ident, $evaluation:ident, $kind:expr) => {
        impl $message {
            /// Asks about these names for this user, logging exposures as
            /// [`exposure_logging`](crate::Config::exposure_logging) says.
            ///
            /// Names are checked when the message is received: 2 to 100 characters of
            /// `a-z A-Z 0-9 _ - .` and space, as the API document has it. No name at all is
            /// answered with no evaluation and without a call.
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

            /// Has Statsig log exposures for this message, whatever the configuration says.
            pub fn with_exposure(mut self) -> Self {
                self.0.exposure = Some(true);
                self
            }

            /// Keeps Statsig from logging exposures for this message, whatever the configuration
            /// says.
            pub fn without_exposure(mut self) -> Self {
                self.0.exposure = Some(false);
                self
            }

            /// Asks Statsig, whatever is kept of earlier answers, and takes nothing stale if that
            /// fails. It joins no call that was made before it was asked: the answer is not older
            /// than the question. What Statsig says is kept as any other answer is, and nothing
            /// that an earlier call brings after it.
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

asking!(CheckGates, GateEvaluation, CallKind::CheckGate);
asking!(GetConfigs, ConfigEvaluation, CallKind::GetConfig);

/// Flushes everything that is buffered, and resolves when all of it has been answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flush;

impl Message for Flush {
    type Result = ();
}

/// The API key has changed: nothing is kept of what was asked before. Resolves when that is so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyChanged;

impl Message for KeyChanged {
    type Result = ();
}

/// Drains the component and ends it: what is buffered is flushed, what is in flight is waited for,
/// new requests get [`Error::ShuttingDown`]. May be sent more than once; the shortest limit counts.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// How long to wait. What is not answered by then gets [`Error::ShuttingDown`].
    pub limit: Duration,
}

impl Message for Shutdown {
    type Result = ShutdownReport;
}

/// What became of the requests that were pending when a shutdown began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Requests pending when it began: the sum of the four below.
    pub pending: u64,
    /// Answered with evaluations.
    pub answered: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Left by their callers.
    pub abandoned: u64,
    /// Cut off at the limit, with [`Error::ShuttingDown`].
    pub cut_off: u64,
}
