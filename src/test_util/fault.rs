//! Faults on demand, and the requests that they affect. Pure.

use std::time::Duration;

use fastrand::Rng;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

/// A fault in answering a request, for [`LocalStatsig::inject`](super::LocalStatsig::inject).
///
/// A fault affects only the next request that it fits, unless [`times`](Self::times) or
/// [`always`](Self::always) says otherwise. If several faults fit, the one injected first applies.
/// After a [`delay`](Self::delay), the next fault that fits applies, too.
///
/// ```
/// use std::time::Duration;
/// use actix_statsig::test_util::Fault;
///
/// let slow_and_then_busy = Fault::status(429).retry_after("2").delayed(Duration::from_millis(50));
/// let one_in_ten = Fault::reset().with_probability(0.1, 7).for_path("/v1/check_gate").always();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(super) kind: FaultKind,
    delay: Duration,
    path: Option<String>,
    user_id: Option<String>,
    name: Option<String>,
    chance: Option<(f64, Rng)>,
    /// `None` means always.
    times: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum FaultKind {
    Delay,
    Answer { status: u16, headers: Vec<(HeaderName, HeaderValue)>, body: Vec<u8> },
    LeaveOut(Vec<String>),
    Reset,
    ResetMidBody,
    Truncated,
    StallBody,
    Close,
    Hang,
}

impl Fault {
    /// Delays the answer by this duration.
    pub fn delay(delay: Duration) -> Self {
        Self::new(FaultKind::Delay).delayed(delay)
    }

    /// Answers with this status and a JSON error as body.
    ///
    /// # Panics
    /// Panics if the status is not from 200 to 599. Other statuses cannot end a request.
    pub fn status(code: u16) -> Self {
        assert!(
            (200..600).contains(&code),
            "{code} cannot end a request: the status must be from 200 to 599"
        );
        Self::answer(code, r#"{"error": "injected"}"#.into())
    }

    /// Answers with status 200 and exactly this body.
    pub fn body(bytes: impl Into<Vec<u8>>) -> Self {
        Self::answer(200, bytes.into())
    }

    /// Answers with status 200, the content type of JSON, and a body that is not JSON.
    pub fn garbage() -> Self {
        Self::body("\u{0}<html>{{{")
    }

    /// Leaves these names out of the answer. This affects only checks of several gates.
    pub fn leave_out<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::new(FaultKind::LeaveOut(names.into_iter().map(Into::into).collect()))
    }

    /// Resets the connection before the first byte of the answer.
    pub fn reset() -> Self {
        Self::new(FaultKind::Reset)
    }

    /// Resets the connection in the middle of the answer's body.
    pub fn reset_mid_body() -> Self {
        Self::new(FaultKind::ResetMidBody)
    }

    /// Closes the connection in the middle of the answer's body.
    pub fn truncated() -> Self {
        Self::new(FaultKind::Truncated)
    }

    /// Begins the answer's body but never ends it. The connection stays open.
    pub fn stall_body() -> Self {
        Self::new(FaultKind::StallBody)
    }

    /// Closes the connection without an answer, as servers do with an idle connection.
    pub fn close() -> Self {
        Self::new(FaultKind::Close)
    }

    /// Never answers the request. The connection stays open until the client closes it.
    pub fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// Delays the fault by this duration.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds this `Retry-After` to a [`status`](Self::status).
    ///
    /// # Panics
    /// As [`header`](Self::header).
    pub fn retry_after(self, value: impl AsRef<str>) -> Self {
        self.header("retry-after", value)
    }

    /// Sets the content type of a [`body`](Self::body). Default `application/json`.
    ///
    /// # Panics
    /// As [`header`](Self::header).
    pub fn content_type(self, value: impl AsRef<str>) -> Self {
        self.header("content-type", value)
    }

    /// Sets a header of a [`status`](Self::status) or a [`body`](Self::body). It replaces an earlier
    /// value.
    ///
    /// # Panics
    /// Panics if the fault is of another kind, or HTTP does not allow the header.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
        match (&mut self.kind, header) {
            (FaultKind::Answer { headers, .. }, (Ok(name), Ok(value))) => {
                headers.retain(|(other, _)| *other != name);
                headers.push((name, value));
            }
            (FaultKind::Answer { .. }, _) => {
                panic!("HTTP does not allow the header {name}: {value}")
            }
            _ => panic!("only a status or a body has headers"),
        }
        self
    }

    /// Sets the body of a [`status`](Self::status).
    ///
    /// # Panics
    /// Panics if the fault is not a [`status`](Self::status) or a [`body`](Self::body).
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self.kind {
            FaultKind::Answer { body, .. } => *body = bytes.into(),
            _ => panic!("only a status or a body has a body"),
        }
        self
    }

    /// Affects this many of the requests that it fits.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Affects every request that it fits, until
    /// [`clear_faults`](super::LocalStatsig::clear_faults).
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Fits only requests to this path.
    pub fn for_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Fits only requests for the user with this `userID`.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Fits only requests that have this name.
    pub fn for_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Affects each request that it fits with this probability, from 0 to 1. The same seed selects
    /// the same requests. Only affected requests count for [`times`](Self::times).
    ///
    /// # Panics
    /// Panics if the probability is not from 0 to 1.
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "{probability} is no probability: it must be from 0 to 1"
        );
        self.chance = Some((probability, Rng::with_seed(seed)));
        self
    }

    fn answer(status: u16, body: Vec<u8>) -> Self {
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self::new(FaultKind::Answer { status, headers, body })
    }

    fn new(kind: FaultKind) -> Self {
        let (path, user_id, name) = (None, None, None);
        Self { kind, delay: Duration::ZERO, path, user_id, name, chance: None, times: Some(1) }
    }

    fn affects(&mut self, request: &RequestFacts<'_>) -> bool {
        let fits = |filter: &Option<String>, actual: Option<&str>| {
            filter.as_deref().is_none_or(|filter| Some(filter) == actual)
        };
        let has_name = |name: &String| request.names.contains(name);
        fits(&self.path, Some(request.path))
            && fits(&self.user_id, request.user_id)
            && self.name.as_ref().is_none_or(has_name)
            && self.chance.as_mut().is_none_or(|(chance, rng)| rng.f64() < *chance)
    }
}

/// The parts of a request that decide whether a fault fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestFacts<'a> {
    pub(super) path: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) names: &'a [String],
}

/// The injected faults that still wait for requests.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns how long this request waits, and its fault, if any.
    pub(super) fn decide(&mut self, request: &RequestFacts<'_>) -> (Duration, Option<FaultKind>) {
        let mut wait = Duration::ZERO;
        let mut chosen = None;
        for fault in &mut self.0 {
            if chosen.is_some() || fault.times == Some(0) || !fault.affects(request) {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            wait += fault.delay;
            if fault.kind != FaultKind::Delay {
                chosen = Some(fault.kind.clone());
            }
        }
        self.0.retain(|fault| fault.times != Some(0));
        (wait, chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(faults: &mut Faults, path: &str, user: &str, name: &str) -> Option<FaultKind> {
        let names = [name.to_owned()];
        faults.decide(&RequestFacts { path, user_id: Some(user), names: &names }).1
    }

    #[test]
    fn fault_strikes_once_by_default() {
        let mut faults = Faults::default();
        faults.inject(Fault::hang());
        faults.inject(Fault::reset().times(2));
        faults.inject(Fault::close().always());
        let chosen: Vec<_> = (0..5).map(|_| decide(&mut faults, "/", "u", "aa")).collect();
        let expected = [
            FaultKind::Hang,
            FaultKind::Reset,
            FaultKind::Reset,
            FaultKind::Close,
            FaultKind::Close,
        ];
        assert_eq!(chosen, expected.map(Some));
        faults.clear();
        assert_eq!(decide(&mut faults, "/", "u", "aa"), None);
    }

    #[test]
    fn fault_strikes_only_matching_requests() {
        let mut faults = Faults::default();
        faults.inject(Fault::hang().for_path("/v1").for_user("u").for_name("aa"));
        assert_eq!(decide(&mut faults, "/v2", "u", "aa"), None);
        assert_eq!(decide(&mut faults, "/v1", "v", "aa"), None);
        assert_eq!(decide(&mut faults, "/v1", "u", "bb"), None);
        assert_eq!(decide(&mut faults, "/v1", "u", "aa"), Some(FaultKind::Hang));
    }

    #[test]
    fn delays_add_up_and_let_the_next_fault_strike() {
        let mut faults = Faults::default();
        let second = Duration::from_secs(1);
        faults.inject(Fault::delay(second));
        faults.inject(Fault::hang().delayed(second));
        let decided = faults.decide(&RequestFacts { path: "/", user_id: None, names: &[] });
        assert_eq!(decided, (2 * second, Some(FaultKind::Hang)));
    }

    #[test]
    fn probability_strikes_about_that_share_and_repeats_by_seed() {
        let run = || -> Vec<bool> {
            let mut faults = Faults::default();
            faults.inject(Fault::hang().with_probability(0.1, 42).always());
            (0..1_000).map(|_| decide(&mut faults, "/", "u", "aa").is_some()).collect()
        };
        let chosen = run().into_iter().filter(|chosen| *chosen).count();
        assert!((60..140).contains(&chosen), "{chosen}");
        assert_eq!(run(), run());
    }

    #[test]
    #[should_panic(expected = "only a status or a body has headers")]
    fn impossible_fault_settings_panic() {
        let _ = Fault::reset().retry_after("2");
    }

    #[test]
    #[should_panic(expected = "101 cannot end a request")]
    fn interim_status_is_refused() {
        let _ = Fault::status(101);
    }
}
