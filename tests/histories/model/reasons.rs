//! Whether an event in the history explains what a caller got.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use actix_statsig::{Error, ErrorKind};

use super::{End, Model, Request, made::CallMade};
use crate::fate::{Fault, call_of};

/// A request that shared a call is not retried with less time than this.
const WORTHWHILE: Duration = Duration::from_millis(50);

impl Model {
    pub(super) fn is_late(&self, request: usize, now: Instant) -> Option<String> {
        let request = &self.requests[request];
        let limit = request.at + self.settings.timeout + self.slack();
        let kept_waiting = || self.calls_of(request).any(|call| call.fault == Some(Fault::Late));
        (now > limit && !kept_waiting()).then(|| format!("{:?} too late", now - limit))
    }

    pub(super) fn is_answered_though_closed(&self, request: usize) -> Option<String> {
        let began = self.shutdowns.first()?.began;
        let asked = self.requests[request].at;
        (asked > began)
            .then(|| format!("answered, but sent {:?} after the shutdown", asked - began))
    }

    /// Whether an event in this history explains the request's error.
    pub(super) fn explains(&self, number: usize, error: &Error, now: Instant) -> bool {
        let request = &self.requests[number];
        let Request { lane, names, at, .. } = request;
        let (lane, at) = (*lane, *at);
        let left = (at + self.settings.timeout).saturating_duration_since(now);
        let mut calls = self.calls_of(request);
        match error {
            Error::ShuttingDown => !self.shutdowns.is_empty(),
            Error::InvalidName { name, .. } => {
                names.iter().any(|asked| **asked == **name) && !name.starts_with("name ")
            }
            Error::Overloaded { limit, .. } => {
                // Requests may have ended between the refusal and now.
                let was_open = |end: Option<End>| end.is_none_or(|end| end == End::Answered(now));
                let open = self.requests.iter().filter(|request| was_open(request.end));
                let pending = self.ghosts + open.map(|request| request.names.len()).sum::<usize>();
                *limit == self.settings.max_pending && pending > *limit
            }
            Error::OverloadedUser { limit, unit: "names", .. } => {
                let was_open = |end: Option<End>| end.is_none_or(|end| end == End::Answered(now));
                let own = self.requests.iter().filter(|request| request.lane.who == lane.who);
                let open = own.filter(|request| was_open(request.end));
                let held = self.ghosts + open.map(|request| request.names.len()).sum::<usize>();
                *limit < self.settings.max_pending && held > *limit
            }
            Error::MissingName { name, .. } => {
                let left_out = |call: &CallMade| {
                    let has_answer = call.error.is_none() && !call.is_lost();
                    has_answer && call.names.contains(name) && !call.answered.contains(name)
                };
                names.contains(name) && calls.any(left_out)
            }
            Error::Internal { detail, .. } => {
                let lost = calls.any(CallMade::is_lost)
                    || self.calls.iter().any(|call| call.at >= at && call.ends_transport());
                let panics = self.panics();
                match *detail {
                    detail if detail.contains("handler") => panics > 0,
                    detail if detail.contains("completion") => panics > 0,
                    detail if detail.contains("three restarts") => panics >= 3,
                    detail if detail.contains("lost") => lost,
                    _ => false,
                }
            }
            // The message reached the actor too late, because the actor paused before a restart.
            Error::Timeout { last: None, .. } => left.is_zero() && !self.rests().is_zero(),
            Error::Unauthorized { .. } => calls.any(|call| call.error == Some("unauthorized")),
            _ => {
                let Some(call) = call_of(error).and_then(|number| self.calls.get(number)) else {
                    return false;
                };
                let is_ours =
                    call.lane == lane && call.names.iter().any(|name| names.contains(name));
                // A request that joined a call in flight gets a retry, unless its time is over.
                let has_a_chance = call.at < at && error.is_retryable() && !left.is_zero();
                let is_early =
                    error.kind() == ErrorKind::Timeout && left > WORTHWHILE + self.slack();
                let is_it =
                    call.error == Some(error.kind().as_str()) && (at..=now).contains(&call.ends_at);
                is_ours && is_it && !has_a_chance && !is_early
            }
        }
    }

    /// The calls for one of the request's names that ended after it was made.
    fn calls_of(&self, request: &Request) -> impl Iterator<Item = &CallMade> {
        let names: HashSet<_> = request.names.iter().collect();
        let calls = names.into_iter().flat_map(|name| self.calls_for(request.lane, name));
        calls.map(|(_, call)| call).filter(|call| call.ends_at >= request.at)
    }
}
