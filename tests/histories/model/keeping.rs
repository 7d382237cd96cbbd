//! What the cache keeps: for whom, for how long, and when it may answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{Error, Source};

use super::{Lane, Model, Request, made::CallMade};
use crate::fate::{Given, call_of};

/// A repeated refusal of the key counts after this long.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

impl Model {
    /// Whether the source of one of an answer's evaluations is impossible.
    pub(super) fn comes_from_elsewhere(
        &self,
        request: usize,
        given: &[Given],
        now: Instant,
    ) -> Option<String> {
        let request = &self.requests[request];
        let mut complaints = request.names.iter().zip(given).filter_map(|(name, given)| {
            let why = match self.calls.get(given.call) {
                Some(call) if call.lane == request.lane && call.answered.contains(name) => {
                    match given.source {
                        Source::Network => self.is_no_news(request, call, now),
                        source => self.is_not_kept(request, name, given.call, source, now),
                    }
                }
                _ => Some("that call did not answer this name".to_owned()),
            };
            Some(format!("{name:?}, {given:?}: {}", why?))
        });
        complaints.next()
    }

    fn is_no_news(&self, request: &Request, call: &CallMade, now: Instant) -> Option<String> {
        let is_news = call.ends_at >= request.at && call.ends_at <= now;
        if !is_news {
            return Some("that call was not in flight".to_owned());
        }
        let is_older = request.bypass_cache && call.since < request.at;
        is_older.then(|| "the request bypassed the cache, but joined an earlier call".to_owned())
    }

    fn is_not_kept(
        &self,
        request: &Request,
        name: &Arc<str>,
        call: usize,
        source: Source,
        now: Instant,
    ) -> Option<String> {
        let cache = self.settings.cache;
        let (age, ages, at_once) = match source {
            Source::Cache { age } => (age, Duration::ZERO..cache.ttl, true),
            Source::Stale { age } => (age, cache.ttl..cache.ttl + cache.stale, false),
            _ => return Some("unknown source".to_owned()),
        };
        if request.bypass_cache {
            return Some("the request bypassed the cache".to_owned());
        }
        if cache.ttl.is_zero() {
            return Some("there is no cache".to_owned());
        }
        if !ages.contains(&age) {
            return Some(format!("the age is not between {:?} and {:?}", ages.start, ages.end));
        }
        let failures = self.calls_for(request.lane, name).map(|(_, call)| call);
        let failures = failures
            .filter(|call| call.is_outage() && call.ends_at >= request.at && call.ends_at <= now);
        // The possible moments of the look-up: when the request came, and when a call for it
        // failed.
        let asked = at_once.then_some(request.at);
        let moments = asked.into_iter().chain(failures.map(|call| call.ends_at));
        let mut why = "nothing failed".to_owned();
        for moment in moments {
            match self.is_not_kept_at(moment, request.lane, name, call, age) {
                None => return None,
                Some(complaint) => why = complaint,
            }
        }
        Some(why)
    }

    fn is_not_kept_at(
        &self,
        moment: Instant,
        lane: Lane,
        name: &Arc<str>,
        number: usize,
        age: Duration,
    ) -> Option<String> {
        let call = &self.calls[number];
        let oldest = (moment + self.rests()).saturating_duration_since(call.ends_at);
        let latest = call.ends_at + self.doubt_about(call).later;
        let youngest = moment.saturating_duration_since(latest);
        if call.ends_at > moment + self.rests() || !(youngest..=oldest).contains(&age) {
            return Some(format!("the age should be between {youngest:?} and {oldest:?}"));
        }
        // The order of events at the same moment is unknown, so only strict order counts.
        let is_between = |other: &CallMade| {
            let Some(doubt) = Some(self.doubt_about(other)).filter(|doubt| !doubt.missed) else {
                return false;
            };
            other.ends_at > call.ends_at && other.ends_at + doubt.later < moment
        };
        let mut others = self.calls_for(lane, name);
        if let Some((newer, _)) = others.find(|(_, other)| {
            let may_be_kept = other.answered.contains(name) && is_between(other);
            may_be_kept && !self.may_be_superseded(lane, name, other)
        }) {
            return Some(format!("call {newer} brought a newer one"));
        }
        let mut refusals = self.refusals().filter(|refusal| self.is_surely_for_good(refusal));
        // A refusal while the call was in flight: its answer is not kept.
        let is_since = |refusal: &CallMade| {
            let doubt = self.doubt_about(refusal);
            let ended = refusal.ends_at + doubt.later;
            !doubt.missed && refusal.ends_at > call.at && ended < call.ends_at
        };
        refusals
            .any(|refusal| is_between(refusal) || is_since(refusal))
            .then(|| "the key was refused since".to_owned())
    }

    /// The age of the answer that the cache must have for a name at this moment, if it must have
    /// one.
    pub(super) fn surely_kept(
        &self,
        lane: Lane,
        name: &Arc<str>,
        moment: Instant,
    ) -> Option<Duration> {
        let has_room = self.calls_by_name.len() <= self.settings.cache.entries;
        if self.settings.cache.ttl.is_zero() || !has_room || !self.rests().is_zero() {
            return None;
        }
        let is_surely_in = |call: &CallMade| {
            let doubt = self.doubt_about(call);
            !doubt.missed && call.ends_at + doubt.later < moment
        };
        let calls = self.calls_for(lane, name).map(|(_, call)| call);
        let answers = calls.filter(|call| call.answered.contains(name) && is_surely_in(call));
        let answers = answers.filter(|call| {
            let is_last = !self.may_be_superseded(lane, name, call);
            is_last && !self.may_be_from_before_a_refusal(call)
        });
        let kept = answers.map(|call| call.ends_at).max()?;
        let mut refusals = self.refusals().filter(|refusal| self.may_be_for_good(refusal));
        let is_forgotten = refusals.any(|call| {
            let latest = call.ends_at + self.doubt_about(call).later;
            latest >= kept && call.ends_at <= moment
        });
        (!is_forgotten).then(|| moment - kept)
    }

    /// Whether a request may have bypassed the cache for this name while the call was in flight.
    /// The call's answer is then not kept.
    fn may_be_superseded(&self, lane: Lane, name: &Arc<str>, call: &CallMade) -> bool {
        let latest = call.ends_at + self.doubt_about(call).later;
        self.is_asked_anew(lane, name, call.since, latest)
    }

    /// Whether the key may have been refused between the call's start and its end, so that its
    /// answer is not kept. A lost call that is sent again counts from its first start.
    fn may_be_from_before_a_refusal(&self, call: &CallMade) -> bool {
        let is_the_same = |other: &&CallMade| {
            other.is_lost() && other.lane == call.lane && other.names == call.names
        };
        let lost = self.calls.iter().filter(is_the_same).map(|other| other.at);
        let made = lost.chain([call.at]).min().unwrap_or(call.at);
        let mut refusals = self.refusals().filter(|refusal| self.may_be_for_good(refusal));
        refusals.any(|refusal| {
            let latest = refusal.ends_at + self.doubt_about(refusal).later;
            latest >= made && refusal.ends_at <= call.ends_at + self.doubt_about(call).later
        })
    }

    /// The calls for which the key was refused.
    fn refusals(&self) -> impl Iterator<Item = &CallMade> {
        self.calls.iter().filter(|call| call.error == Some("unauthorized"))
    }

    /// Whether this refusal may have emptied the cache: an earlier refusal may lie long enough
    /// back, with no answer since.
    fn may_be_for_good(&self, refusal: &CallMade) -> bool {
        let latest = refusal.ends_at + self.doubt_about(refusal).later;
        self.refusals().any(|other| other.ends_at + REFUSED_AGAIN <= latest)
    }

    /// Whether this refusal has certainly emptied the cache.
    fn is_surely_for_good(&self, refusal: &CallMade) -> bool {
        let is_known = |call: &CallMade| !self.doubt_about(call).missed;
        let latest = refusal.ends_at + self.doubt_about(refusal).later;
        is_known(refusal)
            && self.refusals().any(|first| {
                let noted = first.ends_at + self.doubt_about(first).later;
                let is_accepted = |call: &CallMade| {
                    let has_answer = call.error.is_none() && !call.is_lost();
                    has_answer
                        && call.ends_at + self.doubt_about(call).later >= first.ends_at
                        && call.ends_at <= latest
                };
                is_known(first)
                    && noted < refusal.at
                    && noted + REFUSED_AGAIN <= refusal.ends_at
                    && !self.calls.iter().any(is_accepted)
            })
    }

    /// Whether a request failed although each name that failed was still cached.
    pub(super) fn fails_though_something_is_kept(
        &self,
        request: usize,
        error: &Error,
    ) -> Option<String> {
        let request = &self.requests[request];
        let call = self.calls.get(call_of(error)?)?;
        if request.bypass_cache || !call.is_outage() {
            return None;
        }
        let cache = self.settings.cache;
        let mut failed = request.names.iter().filter(|name| call.names.contains(name));
        let is_kept = failed.all(|name| {
            let kept = self.surely_kept(request.lane, name, call.ends_at);
            kept.is_some_and(|age| age < cache.ttl + cache.stale)
        });
        is_kept.then(|| format!("{error:?} although the names were cached"))
    }
}
