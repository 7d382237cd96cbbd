//! The calls that were made, and how they ended.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_statsig::transport::CallRequest;

use super::{Lane, Model};
use crate::fate::Fault;

pub(super) struct CallMade {
    pub(super) lane: Lane,
    pub(super) names: Arc<[Arc<str>]>,
    pub(super) at: Instant,
    /// When the names were first requested. For a part of a refused call, and for a lost call that
    /// is sent again, this is the first call's value.
    pub(super) since: Instant,
    pub(super) ends_at: Instant,
    pub(super) fault: Option<Fault>,
    /// The names that the call answered.
    pub(super) answered: HashSet<Arc<str>>,
    pub(super) error: Option<&'static str>,
    /// Set at the first quiet moment after the call.
    pub(super) doubt: Option<Doubt>,
}

/// How late the component may have handled the end of a call, if at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// The longest possible delay.
    pub(super) later: Duration,
    /// Whether a panic may have kept the component from handling it.
    pub(super) missed: bool,
}

impl CallMade {
    pub(super) fn is_lost(&self) -> bool {
        self.fault == Some(Fault::Lose) || self.ends_transport()
    }

    /// Whether the call stops the transport. Other calls may be lost with it before the model sees
    /// them.
    pub(super) fn ends_transport(&self) -> bool {
        matches!(self.fault, Some(Fault::Panic | Fault::Stop))
    }

    /// Whether a stale evaluation may replace the failed one.
    pub(super) fn is_outage(&self) -> bool {
        self.error.is_some_and(|error| OUTAGES.contains(&error))
    }
}

const OUTAGES: [&str; 6] =
    ["timeout", "attempt_timeout", "unavailable", "connect", "intermediary", "invalid_response"];

impl Model {
    /// When the names of a call that has reached the transport were first requested.
    pub(super) fn asked_since(&self, call: &CallRequest, lane: Lane, now: Instant) -> Instant {
        let Some(name) = call.names.first() else { return now };
        let mut earlier = self.calls_for(lane, name).map(|(_, made)| made);
        let before = earlier.find(|made| match &call.refusal {
            Some(_) => made.error == Some("refused") && made.ends_at <= now,
            None => made.is_lost() && Arc::ptr_eq(&made.names, &call.names),
        });
        before.map_or(now, |made| made.since)
    }

    pub(super) fn doubt_about(&self, call: &CallMade) -> Doubt {
        call.doubt.unwrap_or(self.doubt())
    }

    pub(super) fn doubt(&self) -> Doubt {
        Doubt { later: self.rests(), missed: self.armed.contains_key("batch.completion") }
    }
}
