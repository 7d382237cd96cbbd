//! Whether a call should be made at all, and at this moment.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::{CallKind, FlushPolicy, transport::CallRequest};

use super::{End, Lane, Model, Request, made::CallMade};

/// What the next call for a name is to a request that waits for that name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    /// A call that served the request has already ended.
    Again,
    /// The request may have been answered from the cache.
    Unclear,
}

impl Model {
    /// What is wrong with a call that has reached the transport.
    pub(super) fn complaints_about(
        &self,
        call: &CallRequest,
        lane: Lane,
        now: Instant,
    ) -> Vec<String> {
        let mut complaints = Vec::new();
        let distinct: HashSet<_> = call.names.iter().collect();
        if distinct.len() != call.names.len() || distinct.is_empty() {
            complaints.push("it has no names or a duplicate name".to_owned());
        }
        if call.names.len() > call.kind.max_names() {
            complaints.push(format!("{} names", call.names.len()));
        }
        if call.deadline > now + self.settings.timeout {
            complaints.push("its deadline is later than a request's".to_owned());
        }
        let unwanted = call.names.iter().filter(|name| !self.is_wanted(lane, name, now));
        let unwanted: Vec<_> = unwanted.collect();
        let may_have_more = self.may_have_more(call);
        let enough = if may_have_more { call.names.len() } else { 1 };
        // A part of a refused call: its transport checks for waiting callers.
        let is_part = call.refusal.is_some();
        if unwanted.len() >= enough && !is_part {
            complaints.push(format!("no caller waits for {unwanted:?}"));
        }
        let since = self.asked_since(call, lane, now);
        for name in call.names.iter() {
            let mut calls = self.calls_for(lane, name).map(|(_, call)| call);
            if calls.any(|other| {
                // A call lost before the model saw it, and sent again, is as old as its waiters.
                let first = self.requests_for(lane, name).map(|request| request.at).min();
                let first = first.filter(|_| may_have_more).unwrap_or(now);
                let from = since.min(other.since).min(first);
                let is_anew = self.is_asked_anew(lane, name, from, now)
                    || self.follows_an_earlier_call(other, lane, name, now);
                other.ends_at > now && !is_anew
            }) {
                complaints.push(format!("{name:?} is already in flight"));
            }
            if let Some(waiting) = self.waits_too_long(lane, name, now) {
                complaints.push(format!("{name:?} {waiting}"));
            }
            if !may_have_more && !is_part && self.is_kept_for_all(lane, name, now) {
                complaints.push(format!("{name:?} was cached for every request that waits for it"));
            }
        }
        complaints
    }

    /// Whether the call may contain names that no caller waits for any more. True of a lost call
    /// sent again as it was, and of one lost before the model saw it and sent again after a
    /// restart's pause.
    fn may_have_more(&self, call: &CallRequest) -> bool {
        let is_this = |made: &CallMade| made.is_lost() && Arc::ptr_eq(&made.names, &call.names);
        let mut calls = self.calls.iter().rev();
        calls.clone().any(is_this)
            || (!self.rests().is_zero() && calls.any(CallMade::ends_transport))
    }

    fn is_wanted(&self, lane: Lane, name: &Arc<str>, now: Instant) -> bool {
        self.who_wait(lane, name, now).next().is_some()
    }

    /// The requests that wait for a name and have no answer for it yet, or that ended at this
    /// moment.
    fn who_wait(
        &self,
        lane: Lane,
        name: &Arc<str>,
        now: Instant,
    ) -> impl Iterator<Item = &Request> {
        let waiting = self.requests_for(lane, name).filter(move |request| match request.end {
            None => true,
            Some(End::Left(at) | End::Answered(at)) => at == now,
            Some(End::Nobody) => false,
        });
        waiting.filter(move |request| {
            let mut calls = self.calls_for(lane, name).map(|(_, call)| call);
            !calls.any(|call| {
                let is_over = call.ends_at > request.at && call.ends_at < now;
                let may_have_been_missed = self.doubt_about(call).missed;
                let is_its_own = self.serves(call, request, name) == Some(true);
                let has_it = call.answered.contains(name) && !may_have_been_missed;
                is_over && is_its_own && has_it
            })
        })
    }

    /// Whether a request for the name bypassed the cache in this time.
    pub(super) fn is_asked_anew(
        &self,
        lane: Lane,
        name: &Arc<str>,
        from: Instant,
        to: Instant,
    ) -> bool {
        let mut requests = self.requests_for(lane, name);
        requests.any(|request| request.bypass_cache && (from..=to).contains(&request.at))
    }

    /// Whether the call's answer is for this request too, or `None` if that is unclear. A request
    /// that bypasses the cache, and every later request for the name, needs a call made since.
    fn serves(&self, call: &CallMade, request: &Request, name: &Arc<str>) -> Option<bool> {
        if self.stays_with_an_earlier_call(call, request, name) {
            return None;
        }
        let asked = self.requests_for(request.lane, name);
        let anew = asked.filter(|other| other.bypass_cache && other.at <= request.at);
        let Some(anew) = anew.max_by_key(|other| other.at) else { return Some(true) };
        if call.since > anew.at {
            return Some(true);
        }
        // The bypassing request may have been refused at once, or abandoned before the actor
        // received it. Then it superseded nothing.
        let has_left = matches!(anew.end, Some(End::Left(_)));
        let was_taken = !has_left && anew.end != Some(End::Answered(anew.at));
        let is_after = anew.at < request.at || request.bypass_cache;
        let is_clear = call.since < anew.at && is_after && was_taken && self.panics() == 0;
        is_clear.then_some(false)
    }

    /// Whether an earlier call for the name ended while `call`, made for a request that bypassed
    /// the cache, was in flight. The earlier call's waiters are retried in a call of their own,
    /// because their deadlines are earlier than that of `call`.
    fn follows_an_earlier_call(
        &self,
        call: &CallMade,
        lane: Lane,
        name: &Arc<str>,
        now: Instant,
    ) -> bool {
        let mut calls = self.calls_for(lane, name).map(|(_, call)| call);
        calls.any(|earlier| {
            earlier.since < call.since
                && (call.at..=now).contains(&earlier.ends_at)
                && self.is_asked_anew(lane, name, earlier.since, call.since)
        })
    }

    /// Whether the request may wait for a call that was in flight when another request bypassed the
    /// cache. The call made for that other request then does not serve this one.
    fn stays_with_an_earlier_call(
        &self,
        call: &CallMade,
        request: &Request,
        name: &Arc<str>,
    ) -> bool {
        let asked = self.requests_for(request.lane, name);
        let mut anew = asked
            .filter(|other| other.bypass_cache && (request.at..=call.since).contains(&other.at));
        anew.any(|anew| {
            let mut calls = self.calls_for(request.lane, name).map(|(_, call)| call);
            calls.any(|earlier| earlier.since < call.since && earlier.ends_at >= anew.at)
        })
    }

    /// Checks the wait in the buffer. No request waits longer than the interval; under
    /// `FlushPolicy::Adaptive`, none waits without a call in flight to wait for; and a retry does
    /// not wait at all.
    fn waits_too_long(&self, lane: Lane, name: &Arc<str>, now: Instant) -> Option<String> {
        let has_panicked = self.panics() > 0;
        let slack = if has_panicked { self.slack() } else { Duration::ZERO };
        let waiting = || self.who_wait(lane, name, now);
        let first = waiting().filter(|request| self.turn(request, name) == Turn::First);
        let Some(asked) = first.map(|request| request.at).min() else {
            let again = waiting().all(|request| self.turn(request, name) == Turn::Again);
            let ended = self.calls_for(lane, name).map(|(_, call)| call.ends_at).max()?;
            let waited = now.saturating_duration_since(ended);
            let is_late = again && !waited.is_zero() && !has_panicked;
            return is_late.then(|| format!("is retried {waited:?} late"));
        };
        let waited = now - asked;
        if waited > self.settings.flush_interval + slack {
            return Some(format!("was buffered for {waited:?}"));
        }
        if has_panicked || self.settings.flush_policy == FlushPolicy::Interval {
            return None;
        }
        let idle = self.idle_since(lane, asked, now)?;
        Some(format!("was buffered for {waited:?}, the last {:?} of it while idle", now - idle))
    }

    fn turn(&self, request: &Request, name: &Arc<str>) -> Turn {
        let mut calls = self.calls_for(request.lane, name).map(|(_, call)| call);
        for call in calls.clone().filter(|call| call.ends_at > request.at) {
            match self.serves(call, request, name) {
                Some(true) => return Turn::Again,
                None => return Turn::Unclear,
                Some(false) => {}
            }
        }
        let kept_for = |call: &CallMade| self.settings.cache.ttl + self.doubt_about(call).later;
        let is_unclear = calls.any(|call| {
            let may_be_kept = !request.bypass_cache && call.answered.contains(name);
            call.ends_at == request.at
                || (may_be_kept && call.ends_at + kept_for(call) > request.at)
        });
        if is_unclear { Turn::Unclear } else { Turn::First }
    }

    /// The first moment since `since` at which no call was in flight.
    fn idle_since(&self, lane: Lane, since: Instant, now: Instant) -> Option<Instant> {
        let mut busy_until = since;
        if lane.kind == CallKind::CheckGate {
            let calls = self.calls.iter().filter(|call| call.lane == lane);
            // Ordered by start time.
            for call in calls.filter(|call| call.ends_at >= since) {
                if call.at <= busy_until {
                    busy_until = busy_until.max(call.ends_at);
                }
            }
        }
        (busy_until < now).then_some(busy_until)
    }

    /// Whether every request that waits for a name should have been answered from the cache.
    fn is_kept_for_all(&self, lane: Lane, name: &Arc<str>, now: Instant) -> bool {
        let has_it = |request: &Request| {
            let kept = self.surely_kept(lane, name, request.at);
            !request.bypass_cache && kept.is_some_and(|age| age < self.settings.cache.ttl)
        };
        let mut waiting = self.who_wait(lane, name, now).peekable();
        waiting.peek().is_some() && waiting.all(has_it)
    }
}
