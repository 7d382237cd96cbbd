//! What is kept of the answers: for whom, how long, and when it may answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{Error, Source};

use super::{Lane, Model, Request, made::CallMade};
use crate::fate::{Given, call_of};

/// A refusal of the key counts if it is said again so long after.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

impl Model {
    /// Whether one of the evaluations of an answer came from where it cannot have come from.
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
                _ => Some("that call did not answer this".to_owned()),
            };
            Some(format!("{name:?}, {given:?}: {}", why?))
        });
        complaints.next()
    }

    fn is_no_news(&self, request: &Request, call: &CallMade, now: Instant) -> Option<String> {
        let is_news = call.ends_at >= request.at && call.ends_at <= now;
        if !is_news {
            return Some("that call was not under way".to_owned());
        }
        let is_older = request.bypass_cache && call.since < request.at;
        is_older.then(|| "it asked past the cache, and joined an earlier call".to_owned())
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
            _ => return Some("from where?".to_owned()),
        };
        if request.bypass_cache {
            return Some("who asked past the cache".to_owned());
        }
        if cache.ttl.is_zero() {
            return Some("there is no cache".to_owned());
        }
        if !ages.contains(&age) {
            return Some(format!("not from {:?} to {:?} old", ages.start, ages.end));
        }
        let failures = self.calls_for(request.lane, name).map(|(_, call)| call);
        let failures = failures
            .filter(|call| call.is_outage() && call.ends_at >= request.at && call.ends_at <= now);
        // When it may have been looked for: when it was asked for, and when a call for it failed.
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
            return Some(format!("from {youngest:?} to {oldest:?} old"));
        }
        // At the same moment, who can tell which came first?
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
        // Between the call and the moment: what it answered is not kept, or not any more.
        let is_since = |refusal: &CallMade| {
            let doubt = self.doubt_about(refusal);
            let ended = refusal.ends_at + doubt.later;
            !doubt.missed && refusal.ends_at > call.at && ended < call.ends_at
        };
        refusals
            .any(|refusal| is_between(refusal) || is_since(refusal))
            .then(|| "the key was refused since".to_owned())
    }

    /// How old the answer is that the cache must have of a name at this moment, if it must have one.
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

    /// Whether the name may have been asked for anew while the call was under way: then what it
    /// brought is not kept.
    fn may_be_superseded(&self, lane: Lane, name: &Arc<str>, call: &CallMade) -> bool {
        let latest = call.ends_at + self.doubt_about(call).later;
        self.is_asked_anew(lane, name, call.since, latest)
    }

    /// Whether the key may have been refused between the call and its end: then its answer is not
    /// kept. One that was lost and is sent again is as old as it was.
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

    /// Whether the key may have been refused so long before, without an answer since, that this
    /// refusal made the component forget what it kept.
    fn may_be_for_good(&self, refusal: &CallMade) -> bool {
        let latest = refusal.ends_at + self.doubt_about(refusal).later;
        self.refusals().any(|other| other.ends_at + REFUSED_AGAIN <= latest)
    }

    /// Whether it did.
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

    /// Whether a request failed though each of the names that failed was kept still.
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
        is_kept.then(|| format!("{error:?} though what it asked for was kept"))
    }
}
