//! What can go wrong on demand, and which requests it goes wrong for. Pure.

use std::time::Duration;

use fastrand::Rng;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

/// Something that goes wrong with a request, told to
/// [`LocalStatsig::inject`](super::LocalStatsig::inject).
///
/// A fault strikes the next request it fits, once; [`times`](Self::times) and
/// [`always`](Self::always) make it more. Of several faults that fit, the one injected first
/// strikes; a mere [`delay`](Self::delay) lets the next one strike too.
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
    /// `None`: always.
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
    /// The answer comes this much later.
    pub fn delay(delay: Duration) -> Self {
        Self::new(FaultKind::Delay).delayed(delay)
    }

    /// The answer is this status, with a JSON error for a body.
    ///
    /// # Panics
    /// If it is not from 200 to 599: another cannot end a request.
    pub fn status(code: u16) -> Self {
        assert!((200..600).contains(&code), "{code} is no status to answer with");
        Self::answer(code, r#"{"error": "injected"}"#.into())
    }

    /// The answer is status 200 with exactly this body.
    pub fn body(bytes: impl Into<Vec<u8>>) -> Self {
        Self::answer(200, bytes.into())
    }

    /// The answer is status 200 with a body that is not JSON, whatever its content type says.
    pub fn garbage() -> Self {
        Self::body("\u{0}<html>{{{")
    }

    /// The answer leaves these names out. Only a check of several gates has names to leave out.
    pub fn leave_out<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::new(FaultKind::LeaveOut(names.into_iter().map(Into::into).collect()))
    }

    /// The connection is reset before a byte of the answer.
    pub fn reset() -> Self {
        Self::new(FaultKind::Reset)
    }

    /// The connection is reset in the middle of the answer's body.
    pub fn reset_mid_body() -> Self {
        Self::new(FaultKind::ResetMidBody)
    }

    /// The connection is closed in the middle of the answer's body.
    pub fn truncated() -> Self {
        Self::new(FaultKind::Truncated)
    }

    /// The answer's body begins and never ends, and the connection stays open.
    pub fn stall_body() -> Self {
        Self::new(FaultKind::StallBody)
    }

    /// The connection is closed without an answer, as happens to one that is reused too late.
    pub fn close() -> Self {
        Self::new(FaultKind::Close)
    }

    /// The request is never answered; the connection stays open until the client leaves.
    pub fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// Strikes this much later.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With a [`status`](Self::status): sends this `Retry-After`.
    ///
    /// # Panics
    /// As [`header`](Self::header).
    pub fn retry_after(self, value: impl AsRef<str>) -> Self {
        self.header("retry-after", value)
    }

    /// With a [`body`](Self::body): sends this content type. Default `application/json`.
    ///
    /// # Panics
    /// As [`header`](Self::header).
    pub fn content_type(self, value: impl AsRef<str>) -> Self {
        self.header("content-type", value)
    }

    /// With a [`status`](Self::status) or a [`body`](Self::body): sends this header, in place of
    /// another value of it.
    ///
    /// # Panics
    /// With any other fault, and if HTTP does not allow the header.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
        match (&mut self.kind, header) {
            (FaultKind::Answer { headers, .. }, (Ok(name), Ok(value))) => {
                headers.retain(|(other, _)| *other != name);
                headers.push((name, value));
            }
            (FaultKind::Answer { .. }, _) => panic!("no header: {name}: {value}"),
            _ => panic!("only a status or a body has headers"),
        }
        self
    }

    /// With a [`status`](Self::status): sends this body.
    ///
    /// # Panics
    /// With a fault that is no answer.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self.kind {
            FaultKind::Answer { body, .. } => *body = bytes.into(),
            _ => panic!("only a status or a body has a body"),
        }
        self
    }

    /// Strikes so many requests that it fits.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes every request that it fits, until
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

    /// Fits only requests about the user with this `userID`.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// Fits only requests that ask for this name.
    pub fn for_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Strikes this part, from 0 to 1, of the requests that it fits: the same ones for the same
    /// seed. Only those it strikes count for [`times`](Self::times).
    ///
    /// # Panics
    /// If the probability is not from 0 to 1.
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
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

    fn strikes(&mut self, request: &RequestFacts<'_>) -> bool {
        let fits = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        let asked = |name: &String| request.names.contains(name);
        fits(&self.path, Some(request.path))
            && fits(&self.user_id, request.user_id)
            && self.name.as_ref().is_none_or(asked)
            && self.chance.as_mut().is_none_or(|(chance, rng)| rng.f64() < *chance)
    }
}

/// What of a request decides whether a fault fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestFacts<'a> {
    pub(super) path: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) names: &'a [String],
}

/// The faults that wait for a request.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How long this request waits, and what strikes it then.
    pub(super) fn decide(&mut self, request: &RequestFacts<'_>) -> (Duration, Option<FaultKind>) {
        let mut wait = Duration::ZERO;
        let mut struck = None;
        for fault in &mut self.0 {
            if struck.is_some() || fault.times == Some(0) || !fault.strikes(request) {
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            wait += fault.delay;
            if fault.kind != FaultKind::Delay {
                struck = Some(fault.kind.clone());
            }
        }
        self.0.retain(|fault| fault.times != Some(0));
        (wait, struck)
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
    fn a_fault_strikes_once_unless_it_says_otherwise() {
        let mut faults = Faults::default();
        faults.inject(Fault::hang());
        faults.inject(Fault::reset().times(2));
        faults.inject(Fault::close().always());
        let struck: Vec<_> = (0..5).map(|_| decide(&mut faults, "/", "u", "aa")).collect();
        let expected = [
            FaultKind::Hang,
            FaultKind::Reset,
            FaultKind::Reset,
            FaultKind::Close,
            FaultKind::Close,
        ];
        assert_eq!(struck, expected.map(Some));
        faults.clear();
        assert_eq!(decide(&mut faults, "/", "u", "aa"), None);
    }

    #[test]
    fn a_fault_strikes_only_what_it_fits() {
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
    fn a_probability_strikes_about_that_part_and_the_same_for_the_same_seed() {
        let run = || -> Vec<bool> {
            let mut faults = Faults::default();
            faults.inject(Fault::hang().with_probability(0.1, 42).always());
            (0..1_000).map(|_| decide(&mut faults, "/", "u", "aa").is_some()).collect()
        };
        let struck = run().into_iter().filter(|struck| *struck).count();
        assert!((60..140).contains(&struck), "{struck}");
        assert_eq!(run(), run());
    }

    #[test]
    #[should_panic(expected = "only a status or a body has headers")]
    fn what_a_fault_cannot_do_is_not_ignored() {
        let _ = Fault::reset().retry_after("2");
    }

    #[test]
    #[should_panic(expected = "101 is no status")]
    fn a_status_that_ends_no_request_is_refused() {
        let _ = Fault::status(101);
    }
}
