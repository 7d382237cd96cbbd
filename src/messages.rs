//! The actix messages: what callers send to the [`BatchActor`](crate::BatchActor), and what it and
//! its transport send each other.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix::{Message, Recipient};
use tracing::Span;

use crate::{
    admission::Permit,
    error::Error,
    evaluation::{ConfigEvaluation, Evaluation, GateEvaluation},
    spans::{self, Held, Slim},
    user::User,
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
pub struct CheckGates(parts::Ask);

/// Asks for the evaluations of dynamic configs or experiments for one user.
///
/// Resolves to one [`ConfigEvaluation`] for each name, in the order asked, duplicates included, or
/// to one error. Each distinct name is an HTTP call of its own, for the API takes one a call.
#[derive(Debug)]
#[must_use = "a message does nothing until it is sent"]
pub struct GetConfigs(parts::Ask);

/// The messages that ask: [`CheckGates`] and [`GetConfigs`]. Implemented by no others.
pub trait Asking:
    Message<Result = Result<Vec<Self::Evaluation>, Error>> + parts::Parts + Send + 'static
{
    /// What one name is answered with.
    type Evaluation: TryFrom<Evaluation, Error = Error> + Send + 'static;
}

pub(crate) mod parts {
    use smallvec::SmallVec;

    use super::{Admitted, Arc, CallKind, Slim, User};

    /// Most requests ask for one.
    pub(crate) type Names = SmallVec<[Arc<str>; 1]>;

    /// What [`CheckGates`](super::CheckGates) and [`GetConfigs`](super::GetConfigs) have in common.
    #[derive(Debug)]
    pub struct Ask {
        pub(crate) user: User,
        pub(crate) names: Names,
        pub(crate) exposure: Option<bool>,
        pub(crate) past_cache: bool,
        /// Set by the handle, which admits a request before it sends it.
        pub(crate) admitted: Option<Admitted>,
        /// What its caller was in when it asked.
        pub(crate) within: Slim,
    }

    pub trait Parts {
        const KIND: CallKind;

        fn parts(&mut self) -> &mut Ask;
        fn into_parts(self) -> Ask;
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
                Self(parts::Ask {
                    user,
                    names,
                    exposure: None,
                    past_cache: false,
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
            /// fails. What Statsig says is kept as any other answer is.
            pub fn past_cache(mut self) -> Self {
                self.0.past_cache = true;
                self
            }
        }

        impl Message for $message {
            type Result = Result<Vec<$evaluation>, Error>;
        }

        impl Asking for $message {
            type Evaluation = $evaluation;
        }

        impl parts::Parts for $message {
            const KIND: CallKind = $kind;

            fn parts(&mut self) -> &mut parts::Ask {
                &mut self.0
            }

            fn into_parts(self) -> parts::Ask {
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

/// Which operation of the API a [`Call`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// `checkGate`: POST `/v1/check_gate`, up to 100 names a call.
    CheckGate,
    /// `getConfig`: POST `/v1/get_config`, one name a call.
    GetConfig,
}

impl CallKind {
    /// The operation's path.
    pub fn path(self) -> &'static str {
        match self {
            Self::CheckGate => "/v1/check_gate",
            Self::GetConfig => "/v1/get_config",
        }
    }

    /// The operation as a word, for spans and metrics.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::CheckGate => "check_gate",
            Self::GetConfig => "get_config",
        }
    }

    /// The most names one call may have.
    pub fn max_names(self) -> usize {
        match self {
            Self::CheckGate => 100,
            Self::GetConfig => 1,
        }
    }
}

/// What a call asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallRequest {
    /// The operation.
    pub kind: CallKind,
    /// Whom it is about.
    pub user: User,
    /// Distinct names, at most [`CallKind::max_names`].
    pub names: Arc<[Arc<str>]>,
    /// Whether the server is to log exposures.
    pub exposure: bool,
    /// When the request that caused the call has to have its answer.
    pub deadline: Instant,
    /// For a call that asks again for a part of the names of one that was refused: that refusal.
    /// It is the answer where there is no retry to be had.
    pub refusal: Option<Error>,
}

/// What a call came to: for each of its names, in its order, the evaluation or `None` where the
/// server left the name out; or one error for all of them.
pub type Outcome = Result<Vec<Option<Evaluation>>, Error>;

/// One HTTP call, from the [`BatchActor`](crate::BatchActor) to its transport.
///
/// A transport answers it with [`complete`](Self::complete), by its deadline. A call that is dropped
/// instead (its transport stopped, or its task ended) says so by itself, so that nobody waits for
/// an answer that cannot come.
pub struct Call {
    id: u64,
    request: CallRequest,
    reply_to: Option<Recipient<Report>>,
    load: Option<Load>,
    span: Held,
}

/// The calls that a transport has.
pub(crate) type Load = Arc<AtomicUsize>;

impl Call {
    pub(crate) fn new(
        id: u64,
        request: CallRequest,
        reply_to: Recipient<Report>,
        within: &Span,
    ) -> Self {
        let span = spans::call(within, request.kind.operation(), request.names.len());
        Self { id, request, reply_to: Some(reply_to), load: None, span }
    }

    /// Counts it here until it is gone.
    pub(crate) fn counted_by(mut self, load: Load) -> Self {
        load.fetch_add(1, Relaxed);
        self.load = Some(load);
        self
    }

    /// What it asks for.
    pub fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Its span, for what a transport does for it to stand in.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Answers the call.
    pub fn complete(mut self, outcome: Outcome) {
        self.reply(Some(outcome));
    }

    /// Whether somebody still waits for it, which is worth asking before an attempt that is made
    /// later than the call came.
    pub async fn is_wanted(&self) -> bool {
        let Some(reply_to) = &self.reply_to else { return false };
        reply_to.send(Report::IsWanted { call: self.id }).await.unwrap_or(true)
    }

    fn reply(&mut self, outcome: Option<Outcome>) {
        if let Some(reply_to) = self.reply_to.take() {
            let span = mem::replace(&mut self.span, Held::none());
            reply_to.do_send(Report::Completed { call: self.id, outcome, span });
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.fetch_sub(1, Relaxed);
        }
        self.reply(None);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("request", &self.request).finish()
    }
}

impl Message for Call {
    type Result = ();
}

/// From the transport back to the `BatchActor`, which answers whether somebody waits for the call.
#[derive(Debug)]
pub(crate) enum Report {
    /// The call has an outcome; none if the transport lost it.
    Completed { call: u64, outcome: Option<Outcome>, span: Held },
    /// An attempt is about to be made.
    IsWanted { call: u64 },
}

impl Message for Report {
    type Result = bool;
}

/// The API's rule for names of gates and configs (`pattern`, `minLength` and `maxLength` in the API
/// document): the server refuses the whole call for one bad name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let rule = if !(2..=MAX_NAME).contains(&name.len()) {
        "must have 2 to 100 characters"
    } else if !name.bytes().all(is_allowed) {
        "may only have the characters a-z A-Z 0-9 _ - . and space"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { name: name.chars().take(MAX_NAME).collect(), rule })
}

fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b' ')
}

const MAX_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_outside_the_apis_rule_are_refused_with_the_rule() {
        for name in ["", "a", &"a".repeat(101)] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.ends_with("must have 2 to 100 characters"), "{error}");
        }
        for name in ["a/b", "gate\n", "gate\"", "caf\u{e9}"] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains("may only have the characters"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn names_inside_the_apis_rule_are_taken(name in "[a-zA-Z0-9_\\-. ]{2,100}") {
            prop_assert!(check_name(&name).is_ok());
        }

        #[test]
        fn any_name_is_judged_without_a_panic(name in "\\PC{0,200}") {
            let _ = check_name(&name);
        }
    }
}
